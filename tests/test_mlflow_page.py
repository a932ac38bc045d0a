"""Where MLflow's page is, as a run's card links to it."""

import os
import sys

import psutil
import pytest
import services

from ml_experiment_nb.mlflow_page import address_of, announce

URI = "sqlite:////data/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://mlflow.team:5000", "http://mlflow.team:5000/#/runs/r1"),
        ("https://me:secret@mlflow.team/", "https://mlflow.team/#/runs/r1"),
        (URI, None),
    ],
)
def test_a_server_has_the_page_and_a_database_has_none(tmp_path, uri, page):
    assert address_of("r1", tmp_path, uri) == page


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("127.0.0.1", "http://127.0.0.1:5001/#/runs/r1"),
        ("0.0.0.0", "http://127.0.0.1:5001/#/runs/r1"),
        ("::1", "http://[::1]:5001/#/runs/r1"),
    ],
)
def test_it_is_there_while_who_serves_it_lives(tmp_path, monkeypatch, host, page):
    announce(tmp_path, URI, host, 5001)
    assert address_of("r1", tmp_path, URI) == page
    assert address_of("r1", tmp_path, "sqlite:////data/other.db") is None
    began = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: began + 1)  # its number is another process's now
    assert address_of("r1", tmp_path, URI) is None


def test_what_was_left_half_written_is_no_page(tmp_path):
    announce(tmp_path, URI, "127.0.0.1", 5001)
    (tmp_path / ".ml-experiment" / "ui.json").write_text('{"store"')
    assert address_of("r1", tmp_path, URI) is None


@pytest.mark.slow
def test_the_command_leaves_word_of_the_page_that_it_serves(stored):
    uri, port = f"sqlite:///{stored}/.ml-experiment/mlflow.db", services.free_port()
    words = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", "ui", "--port", str(port)]
    for name in ("json.py", "mlflow.py", "uvicorn.py"):  # the user's own, and no libraries
        (stored / name).write_text(f"raise SystemExit('{name} was imported')")
    with services.running(words, stored / "page.log", ready=lambda: services.answers(port), env={**os.environ}):
        assert address_of("r1", stored, uri) == f"http://127.0.0.1:{port}/#/runs/r1"
    assert address_of("r1", stored, uri) is None
