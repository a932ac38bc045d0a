"""A run done again in a container, on a real engine."""

import engine as engines
import pytest

from ml_experiment_nb import loop
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.replays import replay
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.verdicts import VerdictAnswer

SCRIPT = """\
from pathlib import Path
from ml_experiment_nb import report
print("in", Path.cwd())
report(acc=float(Path("x.txt").read_text()))
Path("out.txt").write_text("mine")
"""


@pytest.fixture
def record(stored):
    (stored / "one.py").write_text(SCRIPT)
    (stored / "x.txt").write_text("0.5")
    spec = spec_from_mapping({"run": "one.py", "system_metrics": False})
    found = list(loop.run(make_plan(spec)))[-1]
    (stored / "out.txt").unlink()
    return found


@pytest.mark.docker
def test_a_run_is_done_again_in_an_image(stored, docker, record):
    found = replay(record.run_id, image=engines.BASE)
    assert found.verdict.sentence == "identical: 1 metric and 1 output are the same"
    assert found.env == f"the image {engines.BASE}"
    assert found.record.tags["mlflow.docker.image.uri"] == engines.BASE
    assert any(one.kind == "package" for one in found.verdict.causes)  # the image has hardly any
    assert not (stored / "out.txt").exists()


@pytest.mark.docker
def test_an_image_that_is_not_there_could_not_run(stored, docker, record):
    found = replay(record.run_id, image="no-such-image-of-tests:1")
    assert found.verdict.answer is VerdictAnswer.COULD_NOT_RUN
    assert "no-such-image-of-tests" in found.verdict.reason
    assert found.record.status is Status.FAILED


@pytest.mark.slow
def test_without_an_engine_it_could_not_run(stored, record, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{stored}/no-engine.sock")
    found = replay(record.run_id, image="python:3.11")
    assert found.verdict.answer is VerdictAnswer.COULD_NOT_RUN
    assert "engine" in found.verdict.reason.lower()
