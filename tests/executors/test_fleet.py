"""Groups on a Ray cluster of several nodes, which come, go and don't see the driver's files."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import optuna
import psutil
import pytest
import ray
from cluster import Cluster, can_hide
from nbformat.v4 import new_code_cell, new_notebook
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray._private.authentication_test_utils import reset_auth_token_state

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.loop import collect, follow, run
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Happened, Started

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, and a node of two CPUs and GPUs; a test that needs more adds them."""
    folder = tempfile.mkdtemp(prefix="rc-", dir="/tmp")  # sockets lie in it: its path is to be short
    ray.shutdown()
    found = Cluster(Path(folder))
    try:
        yield from connected(found)
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)


def connected(found):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.env.items():
            patch.setenv(name, value)
        reset_auth_token_state()  # this process may have been on another Ray
        found.add(2, gpus=2)
        yield found
        ray.shutdown()
    reset_auth_token_state()


@pytest.fixture(scope="module")
def far(cluster, tmp_path_factory):
    """A node that sees none of the tests' folders; it alone has three GPUs."""
    if not can_hide():
        pytest.skip("a process may not have mounts of its own here")
    cluster.add(1, gpus=3, hidden=tmp_path_factory.getbasetemp())
    return {"gpu": 3}


@pytest.fixture
def plan(cluster, stored, script):
    """Make the plan of a group on the cluster, of a script of this source."""

    def make(source, name="train.py", **keys):
        config = {"address": cluster.address, **keys.pop("ray_config", {})}
        asked = {
            "kind": "group",
            "name": "on a cluster",
            "run": script(source, name).path,
            "param_space": {"x": "range(0, 100)"},
            "metric": "y",
            "sampler": "Random",
            "seed": 1,
            "ray_config": config,
            "allow_unknown_params": True,
            **keys,
        }
        return make_plan(spec_from_mapping(asked))

    return make


WAITING = """
import os, time
from ml_experiment_nb import job, report

@job
def train(x):
    report(y=x)
    while not os.path.exists("go"):
        time.sleep(0.05)
    return {"y": x}

train()
"""


def drive(plan, react):
    """Run a plan, have `react` look at all that happens, and return the records and the group's runs in the store."""
    records = []
    for update in follow(plan):
        react(update)
        if isinstance(update, Record):
            records.append(update)
    found = collect(plan, records)
    return found, Store(stores_root()).client


def stores_root():
    return Path(os.environ["ML_EXPERIMENT_ROOT"])


def children(client, parent):
    return client.search_runs(
        [client.get_run(parent.run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'"
    )


def processes(node, name):
    """Return a node's processes of this name."""
    return [one for one in psutil.Process(node.pid).children(recursive=True) if name in " ".join(one.cmdline())]


def test_a_node_is_lost_and_another_joins(plan, cluster, project):
    lost = cluster.add(1)
    reported, started, joined = set(), [], []

    def react(update):
        match update:
            case Started(key=key, parent=False):
                started.append(key)
                if len(started) == 4:  # only the node that has joined had a slot for it
                    (project / "go").touch()
            case Happened(key=key, event=Metrics()) if key not in reported:
                reported.add(key)
                if len(reported) == 3:
                    joined.append(cluster.add(1, wait=False))
                    cluster.kill(lost)

    found, client = drive(plan(WAITING, num_trials=5), react)
    cluster.kill(joined[0])
    assert [record.status for record in found] == [Status.FINISHED] * 5
    assert sorted(record.number for record in found) == [0, 1, 2, 3, 4]
    assert len(started) == 6
    again = started[3]
    assert started.count(again) == 2
    runs = {run.info.run_id: run for run in children(client, found.parent)}
    assert sorted(run.info.status for run in runs.values()) == ["FINISHED"] * 5 + ["KILLED"]
    killed = next(run for run in runs.values() if run.info.status == "KILLED")
    assert killed.data.tags["mlexp.error"].startswith("SlotLostError: its slot on ")
    new = runs[killed.data.tags["mlexp.retried_by"]]
    assert new.data.tags["mlexp.retry_of"] == killed.info.run_id
    assert new.data.tags["mlexp.trial"] == killed.data.tags["mlexp.trial"] == again
    assert new.data.params == killed.data.params
    listed = Store(project).records(parent_id=found.parent.run_id)
    assert sorted(record.number for record in listed) == [0, 1, 2, 3, 4]
    assert f"on a cluster #{again} is tried again" in found.parent.notes[0]
    tags = Store(project).record(found.parent.run_id).tags
    storage = JournalStorage(JournalFileBackend(tags["mlexp.storage"]))
    study = optuna.load_study(study_name=tags["mlexp.study"], storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5


def test_a_slots_process_is_killed(plan, cluster, project):
    started = []

    def react(update):
        match update:
            case Started(key=key, parent=False):
                started.append(key)
                if len(started) == 2:
                    (project / "go").touch()
            case Happened(event=Metrics()) if len(started) == 1:
                for one in processes(cluster.nodes[1], "ray::Node"):
                    one.kill()

    found, client = drive(plan(WAITING, num_trials=2, slots=1), react)
    assert [record.status for record in found] == [Status.FINISHED] * 2
    assert started == ["0", "0", "1"]
    assert len(children(client, found.parent)) == 3


def test_a_process_of_the_users_own_that_is_killed_is_not_tried_again(plan):
    source = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    found, client = drive(plan(source, num_trials=1), lambda update: None)
    assert found[0].failure.type == "TaskDiedError"
    assert len(children(client, found.parent)) == 1


DEVICES = """
import os, time
from ml_experiment_nb import job

@job
def train(x):
    open(f"here-{x}", "w").close()
    while sum(name.startswith("here-") for name in os.listdir(".")) < 4:  # all of them run at once
        time.sleep(0.05)
    assert os.environ["OF_THE_ENV"] == "yes"
    return {"y": int(os.environ["CUDA_VISIBLE_DEVICES"])}

train()
"""


def test_slots_that_share_gpus_and_a_runtime_env(plan):
    asked = plan(
        DEVICES,
        each=[{"x": k} for k in range(4)],
        param_space=None,
        sampler=None,
        seed=None,
        resources_per_worker={"cpu": 0.5, "gpu": 0.5},
        ray_config={"runtime_env": {"env_vars": {"OF_THE_ENV": "yes"}}},
    )
    found, _ = drive(asked, lambda update: None)
    assert [record.failure for record in found] == [None] * 4
    assert sorted(record.metrics["y"] for record in found) == [0, 0, 1, 1]


def test_what_no_node_has_is_said_at_once(plan):
    with pytest.raises(ExecutorError, match=r"cpu 8 and gpu 0.*CPU 0 and GPU 0, CPU 2 and GPU 2.*lower it"):
        list(run(plan(WAITING, num_trials=1, resources_per_worker={"cpu": 8})))


FAR = """
import hashlib, os, sys
import mlflow
from ml_experiment_nb import artifact, job
from beside import twice

@job
def train(x):
    assert not os.path.exists(sys.argv[0].replace("train.py", "ignored.txt"))
    assert open("data/table.csv").read() == "kept"
    os.makedirs("out", exist_ok=True)
    try:
        mlflow.log_metric("z", 1)
    except Exception as error:
        print("mlflow said", error)
    data = os.urandom(9_000_000)
    artifact("large.bin", data)
    artifact("sum.txt", hashlib.sha256(data).hexdigest())
    return {"y": twice(x)}

train()
"""


def test_a_node_that_does_not_see_the_files(plan, far, cluster, project, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(project / "tmp"))
    for name, text in {
        "beside.py": "def twice(x): return 2 * x",
        ".gitignore": "ignored.txt\ndata\n",
        "ignored.txt": "not for others",
        "data/table.csv": "kept",
        "tmp/none": "",
    }.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    asked = plan(FAR, num_trials=1, resources_per_worker=far, data={"folder": "data", "files": ["*.csv"]})
    [record], client = drive(asked, lambda update: None)
    assert record.failure is None, record.failure.traceback
    assert record.metrics["y"] == 2 * record.params["x"]
    files = Path(client.download_artifacts(record.run_id, "", str(project / "tmp")))
    assert hashlib.sha256((files / "large.bin").read_bytes()).hexdigest() == (files / "sum.txt").read_text()
    text = (files / "record" / "log.txt").read_text()
    assert "mlflow server --host 0.0.0.0 --backend-store-uri sqlite:///" in text
    assert any("mlflow server" in note for note in record.notes)
    values = {"numbers": np.arange(1e6)}
    spec = {
        "run": [Cell(source="x = 0\n{'y': float(numbers.sum()) + x}", parameters=("x",))],
        "each": [{"x": 1.0}],
        "ray_config": {"address": cluster.address},
        "resources_per_worker": far,
    }
    cell = make_plan(spec_from_mapping(spec), values=values)
    [one], _ = drive(cell, lambda update: None)
    assert one.failure is None, one.failure.traceback
    assert one.metrics["y"] == np.arange(1e6).sum() + 1


@pytest.mark.kernel
def test_a_notebook_that_is_executed_on_such_a_node_comes_back(cluster, far, stored):
    nb = new_notebook(
        cells=[new_code_cell("x = 0", metadata={"tags": ["parameters"]}), new_code_cell("print('x is', x)")]
    )
    nbformat.write(nb, stored / "nb.ipynb")
    (stored / "out").mkdir()
    spec = {
        "run": "nb.ipynb",
        "each": [{"x": 7}],
        "ray_config": {"address": cluster.address},
        "resources_per_worker": far,
    }
    [record], client = drive(make_plan(spec_from_mapping(spec), output="out/{row}.ipynb"), lambda update: None)
    assert record.failure is None, record.failure.traceback
    executed = nbformat.read(stored / "out" / "0.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "x is 7\n"
    assert any(one.path.endswith(".ipynb") for one in client.list_artifacts(record.run_id))
