"""Which containers are a gone slot's, and what of a notebook's import path goes into one; no engine is asked."""

import os
import site
import socket
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from ml_experiment_nb import verifying
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.containers import Ended
from ml_experiment_nb.work import container
from ml_experiment_nb.work.container import HOST, OWNER, TASK, imported_from, labels_of, listening, sweep


@dataclass
class Listed:
    """An engine's list of containers, and what is removed of it."""

    found: list
    gone: list

    def labelled(self, engine, wanted):
        return [(id, labels) for id, labels in self.found if wanted.items() <= labels.items()]

    def remove(self, engine, ids):
        self.gone += ids


@pytest.fixture
def engine(monkeypatch):
    listed = Listed([], [])
    monkeypatch.setattr(containers, "labelled", listed.labelled)
    monkeypatch.setattr(containers, "remove", listed.remove)
    return listed


def test_the_containers_of_slots_that_are_gone_are_swept(engine, tmp_path):
    with listening() as path:
        engine.found = [("absent", labels_of(str(tmp_path / "s"))), ("here", labels_of(path))]
        left = tmp_path / "left"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(left))  # the file of one that was killed stays
        engine.found += [("killed", labels_of(str(left))), ("other", {})]
        assert sweep(engine) == 2
    assert engine.gone == ["absent", "killed"]
    assert sweep(engine) == 3  # the listener has closed


def test_the_containers_of_another_user_or_machine_are_left_alone(engine, tmp_path):
    gone = labels_of(str(tmp_path / "s"))
    engine.found = [("user", {**gone, OWNER: str(os.getuid() + 1)}), ("machine", {**gone, HOST: "another"})]
    assert sweep(engine) == 0
    assert engine.gone == []


def test_a_slot_that_can_not_be_asked_is_not_gone(engine, monkeypatch, tmp_path):
    """As the folder of another's slot is closed, or a busy one doesn't answer."""

    class Closed(socket.socket):
        def connect(self, path):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(container.socket, "socket", Closed)
    engine.found = [("closed", labels_of(str(tmp_path / "s")))]
    assert sweep(engine) == 0


def test_a_slot_that_is_busy_is_not_gone(engine, monkeypatch, tmp_path):
    monkeypatch.setattr(container, "_PATIENCE", 0.05)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(path)
        server.listen(0)
        waiting.connect(path)  # the queue is full, and nobody takes from it
        engine.found = [("busy", labels_of(path))]
        assert sweep(engine) == 0


def test_the_container_of_a_proof_is_swept_when_what_proves_is_gone(engine, monkeypatch):
    def run(_, launch):
        engine.found = [("proof", launch.labels)]
        assert sweep(engine) == 0
        return Ended(1, "no such program")

    monkeypatch.setattr(verifying, "run", run)
    record = SimpleNamespace(name="svm", metrics={})
    verdict = verifying.verify(engine, SimpleNamespace(id="sha256:1"), record, (), {}, lambda line: None)
    assert "no such program" in verdict.sentence
    assert TASK in engine.found[0][1]
    assert sweep(engine) == 1


def test_what_is_installed_for_this_user_is_not_the_code_s_own(monkeypatch, tmp_path):
    own, installed = tmp_path / "own", tmp_path / "lib/python/site-packages"
    own.mkdir()
    installed.mkdir(parents=True)
    monkeypatch.setattr(site, "USER_SITE", str(installed))
    task = SimpleNamespace(path=(str(own), str(installed), os.path.dirname(os.__file__)))
    assert imported_from(task) == (str(own),)
