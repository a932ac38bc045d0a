from dataclasses import replace
from datetime import UTC, datetime

from ml_experiment_nb.cli.record import print_record
from ml_experiment_nb.records import Record, Status

RECORD = Record(
    run_id="a" * 32, name="svm", experiment="svm", kind="experiment", status=Status.FINISHED, params={"C": 0.5},
    metrics={"acc": 0.9}, started=datetime(2026, 11, 1, tzinfo=UTC), seconds=1.0, artifact_uri="file:///a",
    autologged={"tol": 0.001}, notes=("the session has hidden state: x was deleted",),
    tags={
        "mlexp.driver": "vm/7/c3c2", "mlexp.values": "none", "mlexp.asked_hash": "cdfa", "mlexp.unseeded": "numpy",
        "mlexp.system.hostname": "vm", "mlexp.system.memory": "25276510208", "mlexp.system.python": "3.11.7",
        "mlexp.cwd": "/home/me", "mlflow.source.name": "train.py", "mlflow.source.git.commit": "0123456789abcdef",
        "mlexp.data": "train.csv abc", "team": "vision",
    },
)  # fmt: skip


def printed(capsys, record=RECORD, **more):
    print_record(record, ["record/log.txt", "model.pkl"], **more)
    return capsys.readouterr().out.splitlines()


def test_what_was_asked_and_what_came_of_it_stand_first_and_the_rest_in_words(capsys):
    lines = printed(capsys)
    assert [line.split()[0] for line in lines] == [
        "run", "name", "experiment", "kind", "status", "started", "took", "params", "C", "metrics", "acc", "libraries",
        "files", "model.pkl", "record/log.txt", "note", "warning", "source", "ran", "machine", "data",
    ]  # fmt: skip
    text = "\n".join(lines)
    assert text.count("x was deleted") == 1
    assert "random numbers drawn without a seed: numpy" in text
    assert "train.py, commit 0123456789\n" in text
    assert "vm, 25.3 GB, Python 3.11.7" in text
    assert not any(word in text for word in ("vm/7", "asked_hash", "none", "tol", "unseeded"))


def test_all_of_it_is_there_when_asked_for(capsys):
    lines = printed(capsys, every=True)
    found = {tuple(line.split(maxsplit=1)) for line in lines}
    assert {("driver", "vm/7/c3c2"), ("values", "none"), ("unseeded", "numpy"), ("tol", "0.001")} <= found
    assert ("asked_hash", "cdfa") in found
    assert ("team", "vision") not in found


def test_a_run_without_libraries_has_no_heading_for_them(capsys):
    assert not any("libraries" in line for line in printed(capsys, replace(RECORD, autologged={})))
