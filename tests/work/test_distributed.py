"""Functions on several workers: real Ray Train, real torch, XGBoost and LightGBM."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from ml_experiment_nb import job, make_plan, run
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors import connection
from ml_experiment_nb.loop import collect
from ml_experiment_nb.records import Status
from ml_experiment_nb.spec_files import read_spec
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.tracking import Store

pytest.importorskip("xgboost")
pytestmark = [pytest.mark.frameworks, pytest.mark.ray, pytest.mark.timeout(1800)]  # mostly imports, on a busy machine

TORCH = """
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from beside import scale
from ml_experiment_nb import artifact, job, report


def on_all_ranks(model, what):
    own = torch.cat([what(p).double().flatten() for p in model.parameters()])
    found = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    return found


@job(distributed="torch")
def train(lr, epochs=3):
    rank = dist.get_rank()
    torch.manual_seed(rank)  # DDP gives every rank the parameters of rank 0
    model = DistributedDataParallel(torch.nn.Linear(3, 1))
    x = torch.randn(32, 3) * scale
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        optimizer.step()
        report(loss=loss.item(), step=epoch)
    rates = [torch.zeros(1) for _ in range(2)]
    dist.all_gather(rates, torch.tensor([lr]))
    print("rank", rank, "is done")
    artifact("who.txt", f"rank {rank}")
    gradients, parameters = on_all_ranks(model, lambda p: p.grad), on_all_ranks(model, lambda p: p.detach())
    losses = [torch.zeros(1) for _ in range(2)]
    dist.all_gather(losses, torch.tensor([loss.item()]))
    return {
        "gradients_agree": float(torch.equal(*gradients)), "parameters_agree": float(torch.equal(*parameters)),
        "data_agrees": float(torch.equal(*losses)), "rate_of_1": rates[1].item(), "ranks": len(rates),
    }


if __name__ == "__main__":
    train()
"""


@pytest.fixture(scope="module")
def two_cpus():
    """A Ray with room for two workers of one CPU, which is there already."""
    before = os.environ.pop("RAY_ADDRESS", None)
    ray.shutdown()
    connection._init("local", {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False})
    yield
    ray.shutdown()
    if before is not None:
        os.environ["RAY_ADDRESS"] = before


def do(target, *, values=None, **keys):
    plan = make_plan(spec_from_mapping({"run": target, **keys}), path=tuple(p for p in sys.path if p), values=values)
    return collect(plan, run(plan))


def runs_in(project):
    client = Store(project).client
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def files(record):
    return Path(record.artifact_uri.removeprefix("file://"))


def write_pids(folder):
    """Write down which process a rank is; in a worker."""
    rank = os.environ["ML_EXPERIMENT_RANK"]
    (Path(folder) / f"pid-{rank}").write_text(str(os.getpid()))


def pids_in(folder, count=2, timeout=400):
    until = time.monotonic() + timeout
    while len(found := [p for p in sorted(Path(folder).glob("pid-*")) if p.read_text()]) < count:
        assert time.monotonic() < until, "the workers did not start"
        time.sleep(0.1)
    return [int(path.read_text()) for path in found]


class TestTorch:
    def test_two_workers_train_one_model_and_rank_0_speaks_for_the_run(self, two_cpus, stored, script):
        pytest.importorskip("torch")
        script("scale = 2.0", "beside.py")
        [record] = do(script(TORCH, "train.py").path, params={"lr": 0.01})
        assert record.ok, record.failure
        assert record.params == {"lr": 0.01, "epochs": 3}
        loss = record.metrics["loss"]
        assert {name: value for name, value in record.metrics.items() if name != "loss"} == {
            "gradients_agree": 1, "parameters_agree": 1, "data_agrees": 0, "rate_of_1": pytest.approx(0.01), "ranks": 2,
        }  # fmt: skip
        history = Store(stored).client.get_metric_history(record.run_id, "loss")
        assert [one.step for one in history] == [0, 1, 2]
        assert history[-1].value == loss
        assert (files(record) / "who.txt").read_text() == "rank 0"
        log = (files(record) / "record/log.txt").read_text()
        assert "rank 0 is done" in log
        assert "rank 1" not in log
        assert "rank 1 is done" in (files(record) / "record/rank-1.txt").read_text()

    def test_the_example_of_the_docs(self, two_cpus, stored, script):
        pytest.importorskip("torch")
        text = (Path(__file__).parents[2] / "docs/distributed.md").read_text()
        blocks = dict(re.findall(r"^```(python|yaml)\n(.*?)^```", text, re.M | re.S))
        script(blocks["python"], "train_torch.py")
        (stored / "spec.yaml").write_text(blocks["yaml"])
        plan = make_plan(read_spec(stored / "spec.yaml"))
        [record] = run(plan)
        assert record.ok, record.failure
        losses = Store(stored).client.get_metric_history(record.run_id, "loss")
        assert losses[0].value > losses[-1].value
        assert json.loads((files(record) / "weights.json").read_text()).keys() == {"weight", "bias"}


def boost(depth):
    """Train on this rank's half of the data; return whether both ranks have the same trees."""
    import hashlib

    import numpy as np
    import xgboost

    from ml_experiment_nb import report

    rank = xgboost.collective.get_rank()
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(200, 4))
    data = xgboost.DMatrix(x, label=x[:, 0] * 2 + x[:, 1])
    seen = {}
    trees = xgboost.train(
        {"max_depth": depth, "nthread": 1}, data, num_boost_round=4, evals=[(data, "train")], evals_result=seen,
        verbose_eval=False,
    )  # fmt: skip
    for step, value in enumerate(seen["train"]["rmse"]):
        report(rmse=value, step=step)
    digest = int(hashlib.sha256("".join(trees.get_dump()).encode()).hexdigest()[:8], 16)
    sums = xgboost.collective.allreduce(np.array([digest, -digest], dtype="int64"), xgboost.collective.Op.MAX)
    return {"agree": int(sums[0] == -sums[1]), "workers": xgboost.collective.get_world_size(), "rows": len(x)}


def boost_lightly(leaves):
    import hashlib

    import lightgbm
    import numpy as np
    import ray.train.lightgbm

    rank = int(os.environ["ML_EXPERIMENT_RANK"])
    x = np.random.default_rng(rank).normal(size=(200, 4))
    network = ray.train.lightgbm.get_network_params()
    params = {"num_leaves": leaves, "tree_learner": "data", "pre_partition": True, "num_threads": 1, "verbose": -1}
    model = lightgbm.train({**params, **network}, lightgbm.Dataset(x, label=x[:, 0]), num_boost_round=3)
    text = model.model_to_string().partition("parameters:")[0]
    Path(os.environ["FOLDER"], f"digest-{rank}").write_text(hashlib.sha256(text.encode()).hexdigest())
    return {"machines": network["num_machines"]}


class TestTrees:
    def test_xgboost_in_a_group_of_a_jobs_calls(self, two_cpus, stored):
        records = job(distributed={"framework": "xgboost"})(boost).group(
            {"depth": "choice([3])"}, metric="rmse", num_trials=1, seed=1
        )
        assert records[0].ok, records[0].failure
        found = records[0].metrics
        assert (found["agree"], found["workers"], found["rows"]) == (1, 2, 200)
        assert len(Store(stored).client.get_metric_history(records[0].run_id, "rmse")) == 4
        assert ray.is_initialized()

    def test_lightgbm_by_a_job_that_is_called_here(self, two_cpus, stored, monkeypatch):
        pytest.importorskip("lightgbm")
        folder = str(stored)

        @job(distributed="lightgbm")
        def train(leaves):
            os.environ["FOLDER"] = folder
            return boost_lightly(leaves)

        assert train(leaves=4) == {"machines": 2}
        digests = [(stored / f"digest-{rank}").read_text() for rank in range(2)]
        assert digests[0] == digests[1]


def fail(how, folder):
    import xgboost

    write_pids(folder)
    xgboost.collective.allreduce(__import__("numpy").ones(1), xgboost.collective.Op.SUM)
    if xgboost.collective.get_rank() == 1:
        match how:
            case "raise":
                raise ValueError("no good")
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


class TestFailures:
    @pytest.mark.parametrize(
        ("how", "failure"),
        [
            ("raise", ("ValueError", "rank 1: no good")),
            ("exit", ("TaskDiedError", "rank 1 of 2 (process {pid} on ")),
            ("kill", ("TaskDiedError", "rank 1 of 2 (process {pid} on ")),
        ],
    )
    def test_a_worker_that_fails_ends_the_run_and_is_named(self, two_cpus, stored, has_ended, how, failure):
        [record] = do(
            {"function": fail}, params={"how": how, "folder": str(stored)}, values={"function": fail}, timeout=400.0,
            distributed={"framework": "xgboost"},
        )  # fmt: skip
        pids = pids_in(stored, timeout=0)
        assert record.status is Status.FAILED
        assert (record.failure.type, record.failure.message[: len(failure[1].format(pid=pids[1]))]) == (
            failure[0], failure[1].format(pid=pids[1])
        )  # fmt: skip
        assert [has_ended(pid) for pid in pids] == [True, True]
        if how == "raise":
            assert 'raise ValueError("no good")' in record.failure.traceback
            assert "ml_experiment_nb/" not in record.failure.traceback


def creep(x, folder):
    from ml_experiment_nb import report

    write_pids(folder)
    for step in range(2):
        report(value=x, step=step)
    return {"value": x}


class TestGroups:
    def test_trials_share_a_ray_that_has_room_for_one_and_some_are_pruned(self, two_cpus, stored, has_ended):
        records = job(distributed={"framework": "xgboost"})(creep).group(
            {"x": "range(4)"}, sampler="grid", params={"folder": str(stored)}, slots=4, metric="value",
            pruner={"name": "threshold", "upper": 1.5},
        )  # fmt: skip
        assert {record.params["x"]: record.status for record in records} == {
            0: Status.FINISHED, 1: Status.FINISHED, 2: Status.PRUNED, 3: Status.PRUNED,
        }  # fmt: skip
        assert [has_ended(pid) for pid in pids_in(stored)] == [True, True]

    def test_a_cell_calls_a_distributed_job(self, two_cpus, stored):
        @job(distributed="xgboost")
        def ranks(x):
            import xgboost

            from ml_experiment_nb import report

            report(inner=x)
            return {"count": xgboost.collective.get_world_size()}

        source = "x = uniform(0, 1)\nfound = ranks(x=x)\n{'twice': 2 * found['count']}"
        [record] = do([Cell(source=source, parameters=("x",))], values={"ranks": ranks}, kind="group", num_trials=1,
                      param_space={"x": "uniform(0, 1)"})  # fmt: skip
        assert record.ok, record.failure
        assert record.metrics == {"inner": record.params["x"], "twice": 4}

    def test_what_never_fits_is_said_at_the_start(self, two_cpus, stored):
        asked = {"framework": "xgboost", "num_workers": 3, "cpus_per_worker": 1}
        with pytest.raises(ExecutorError, match=r"asks for 3 of xgboost.* 1 CPU each; Ray has 2 CPU.* room for 2"):
            do({"function": creep}, values={"function": creep}, distributed=asked, params={"x": 1, "folder": "."})
        assert runs_in(stored) == []


SLEEP = """
import os, time
from pathlib import Path
from ml_experiment_nb import job

@job(distributed="xgboost")
def wait():
    (Path("pid-" + os.environ["ML_EXPERIMENT_RANK"])).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process(stored, script, has_ended, number):
    path = script(SLEEP, "sleep.py").path
    ran = subprocess.Popen([sys.executable, "-m", "ml_experiment_nb.cli", "run", path], stdout=subprocess.DEVNULL)
    try:
        pids = pids_in(stored)
        started = {one.pid: " ".join(one.cmdline()) for one in psutil.Process(ran.pid).children(recursive=True)}
        assert started.keys() >= set(pids)
        started = {pid: text for pid, text in started.items() if "Agent" not in text}  # Ray's own take their time
        ran.send_signal(number)
        ran.wait(200)
    finally:
        ran.kill()
    assert {pid: text for pid, text in started.items() if not has_ended(pid, timeout=30)} == {}
    if number == signal.SIGINT:
        assert [found.info.status for found in runs_in(stored)] == ["KILLED"]
