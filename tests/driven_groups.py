"""A group of eight trials that another process drives, and what has to come of it."""

import subprocess
import sys
import time

import pytest

from ml_experiment_nb.records import Status
from ml_experiment_nb.tracking import Store

TRAIN = """
import os, signal, time
from ml_experiment_nb import job, report

@job
def main(C):
    print("at", C, flush=True)
    report(seen=C)
    if os.path.exists("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.path.exists("stubborn") or os.path.exists(f"hang{C}"):
        time.sleep(0.02)
    time.sleep(float(open("pause").read()))
    with open("model.bin", "wb") as file:
        file.write(b"x" * int(open("size").read()))
    from ml_experiment_nb import artifact
    artifact("model.bin", "model.bin")
    return {"acc": C / 10}

main()
"""


POINTS = list(range(8))


@pytest.fixture
def folder(stored):
    (stored / "train.py").write_text(TRAIN)
    (stored / "pause").write_text("0.3")
    (stored / "size").write_text("10")
    write_group(stored)
    return stored


def write_group(folder, **keys):
    asked = {
        "kind": "group", "name": "g", "run": "train.py", "sampler": "Grid", "slots": 2, "executor": "inline",
        "param_space": '{C: "range(0, 8)"}', "metric": "{name: acc, direction: maximize}", **keys,
    }  # fmt: skip
    (folder / "g.yaml").write_text("".join(f"{key}: {value}\n" for key, value in asked.items()))


@pytest.fixture
def command(folder):
    """Start the command in a process of its own; at the end none is left."""
    started = []

    def start(*words):
        made = subprocess.Popen(
            [sys.executable, "-m", "ml_experiment_nb.cli", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip
        started.append(made)
        return made

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


def finish(process, timeout=180):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def wait_for(condition, process=None, timeout=120):
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if found := condition():
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.2)
    raise AssertionError("it never came")


def records(folder):
    return Store(folder).records(limit=1000)


def group_of(folder):
    return next((one for one in records(folder) if one.kind == "group"), None)


def ended(folder, count):
    """Return the group's run when so many of its trials have finished."""
    found = records(folder)
    return group_of(folder) if sum(one.ok and one.kind == "trial" for one in found) >= count else None


def check_whole(folder, parent):
    """Every point has one finished trial, the others are closed as killed, and nothing is left open."""
    store = Store(folder)
    children = store.children(parent.run_id)
    assert sorted(int(one.params["C"]) for one in children if one.ok) == POINTS
    assert {one.status for one in children} <= {Status.FINISHED, Status.KILLED}
    numbers = [one.number for one in children]
    assert len(numbers) == len({*numbers})
    repeated = [one.tags["mlexp.repeats"] for one in children if "mlexp.repeats" in one.tags]
    killed = [str(one.number) for one in children if one.status is Status.KILLED]
    unopened = {*repeated} - {*killed}  # drawn, and the driver was killed before they had a run
    assert sorted(repeated) == sorted([*killed, *unopened])
    assert not unopened & {*map(str, numbers)}
    assert store.record(parent.run_id).status is Status.FINISHED
    assert all(one.status.ended for one in store.records(limit=1000))
    for one in children:
        if one.ok:
            assert {"model.bin", "record/log.txt"} <= set(store.artifacts(one))
        assert "mlexp.driver" in one.tags
    runs = folder / ".ml-experiment/runs"
    assert [*runs.iterdir()] == []
