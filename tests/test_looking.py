import json
import shutil
import subprocess
import sys

import pytest
from readers import as_reader, locked

from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.events import Log, Metrics
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.tracking import Store

LOOK = """
import io, json, os, contextlib
os.environ.pop("ML_EXPERIMENT_ROOT", None)
from pathlib import Path
from click.testing import CliRunner
from ml_experiment_nb.backend import runs as asked
from ml_experiment_nb.backend.asks import Nothing
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.runs import Where
from ml_experiment_nb import best_run, compare, diff, runs
from ml_experiment_nb.cli import commands
from ml_experiment_nb.errors import ExperimentError

def told(*words):
    done = CliRunner().invoke(commands, words)
    if isinstance(done.exception, ExperimentError):
        return f"{type(done.exception).__name__}: {done.exception}"
    assert done.exception is None, (words, done.exception)
    return done.output

found = runs()
one, other = found.run_id
page = Where(Path.cwd(), Path.cwd(), {"run": one, "file": "record/log.txt"})
verbs = (asked.run, asked.log, asked.metrics, asked.artifacts, asked.artifact)
record, log, metrics, files, file = [verb(Project(Path.cwd()), page, Nothing()) for verb in verbs]
paths = [one["path"] for one in files["artifacts"]]
answers = {
    "panel": [record["name"], log["text"], len(metrics["metrics"]), paths, Path(file.path).read_text()],
    "runs": sorted(found.name), "best": best_run(maximize="acc").name, "compare": len(compare()),
    "diff": [change.name for change in diff(one, other)["parameters"].changes],
    "ls": told("ls"), "show": told("show", one), "logs": told("logs", one), "follow": told("logs", "-f", one),
    "diff command": told("diff", one, other), "compare command": told("compare", one, other),
    "stop": told("stop", one), "replay": told("replay", one), "run": told("run", "train.py"),
}
"""


@pytest.fixture
def recorded(stored):
    """A project with two runs and a script; nobody has it open."""
    store = Store(stored)
    for number in (1, 2):
        given = {"experiment": "SVM", "kind": "experiment", "params": {"C": number}, "tags": {}}
        live = open_run(store, name=f"svm {number}", snapshot=snapshot(stored), **given)
        live.add(Log(f"epoch {number}\n"))
        live.add(Metrics({"acc": number / 10}, 1))
        live.close(Outcome(Status.FINISHED))
    store.settle()
    engines = type(store.client._tracking_client.store)._engine_map
    engines.pop(store.uri).dispose()
    (stored / "train.py").write_text("print(1)\n")
    return stored


def looked_at(project):
    with locked(project):
        before = sorted(str(path) for path in project.rglob("*"))
        said = as_reader(f"{LOOK}\nprint(json.dumps(answers))", project)
        assert sorted(str(path) for path in project.rglob("*")) == before
    return json.loads(said.splitlines()[-1])


@pytest.mark.slow
def test_a_project_that_may_only_be_read_is_looked_at(recorded):
    """A colleague's, say, on a disk that is mounted so; its files lie elsewhere here than where they were written."""
    assert not (recorded / ".ml-experiment" / "mlflow.db-wal").exists()
    mounted = recorded / "mounted"
    mounted.mkdir()
    for name in (".ml-experiment", "train.py"):
        shutil.move(recorded / name, mounted)
    found = looked_at(mounted)
    assert found["runs"] == ["svm 1", "svm 2"]
    assert (found["best"], found["compare"], found["diff"]) == ("svm 2", 2, ["C"])
    assert "svm 1" in found["ls"]
    assert "record/log.txt" in found["show"]
    assert found["logs"] == found["follow"] == "epoch 2\n"
    assert "C" in found["diff command"]
    assert "svm 2" in found["compare command"]
    assert found["panel"] == ["svm 2", "epoch 2\n", 1, ["record/log.txt", "record/requirements.txt"], "epoch 2\n"]
    for verb in ("stop", "replay", "run"):
        assert found[verb].startswith(f"StoreError: {mounted}/.ml-experiment/mlflow.db may only be read here: "), verb
        assert len(found[verb].splitlines()) == 1


@pytest.mark.slow
def test_runs_are_read_while_somebody_else_writes_them(recorded):
    store = Store(recorded)  # which keeps the file open
    live = open_run(
        store, name="svm 3", experiment="SVM", kind="experiment", params={"C": 3}, tags={}, snapshot=snapshot(recorded)
    )
    try:
        with locked(recorded):
            said = as_reader(
                "from ml_experiment_nb import runs\nprint(list(runs()[['name', 'status']].itertuples(index=False)))",
                recorded,
            )
    finally:
        live.close(Outcome(Status.FINISHED))
    assert "name='svm 3', status='running'" in said
    assert "name='svm 1', status='finished'" in said


@pytest.mark.slow
def test_looking_needs_no_mlflow(project):
    (project / "quad.py").write_text("from ml_experiment_nb import report\n\nreport({'loss': 1.0})\n")
    (project / "quad.yaml").write_text(
        "{name: quad, kind: group, num_trials: 2, executor: inline, param_space: {x: 'uniform(0, 5)'},"
        " metric: {name: loss, direction: minimize}, run: [quad.py]}"
    )
    command = [sys.executable, "-m", "ml_experiment_nb.cli"]
    subprocess.run([*command, "run", "-q", "quad.yaml"], check=True, capture_output=True)
    listed = subprocess.run([*command, "ls", "--json"], check=True, capture_output=True, text=True).stdout
    records = [json.loads(line) for line in listed.splitlines()]
    group = next(one["run_id"] for one in records if one["kind"] == "group")
    a, b = [one["run_id"] for one in records if one["kind"] == "trial"]
    asked = [
        (["show", a], "metrics"), (["show", group[:8]], "quad #1"), (["show", "--json", a], '"run_id"'),
        (["logs", a], ""),
        (["show", "--as", "command", a], "quad.py"), (["show", "zzzz"], "no run 'zzzz'"),
        (["diff", a, b], "parameters"),
        (["compare", group], "loss"), (["resume", group, "--trials", "2", "--plan"], "of 4 trials are done"),
        (["run", "quad.yaml", "--plan"], "2 past runs"), (["run", "quad.py", "-p", "x=1", "--plan"], "estimate"),
    ]  # fmt: skip
    code = """if True:
        import contextlib, io, json, sys
        from ml_experiment_nb.cli import commands
        for words in json.loads(sys.argv[1]):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                try:
                    commands(words, standalone_mode=False)
                except Exception as error:
                    print(error)
            loaded = sorted({'mlflow', 'pandas', 'ray'} & set(sys.modules))
            print(json.dumps([said.getvalue(), loaded]))
    """
    words = json.dumps([one for one, _ in asked])
    ran = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for (which, expected), line in zip(asked, ran.stdout.splitlines(), strict=True):
        said, loaded = json.loads(line)
        assert expected in said, (which, said)
        assert loaded == [], which
