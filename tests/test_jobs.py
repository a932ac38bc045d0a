import asyncio
import importlib
import pickle
import subprocess
import sys

import cloudpickle
import pandas as pd
import pytest

from ml_experiment_nb import artifact, job, report, reports
from ml_experiment_nb.errors import MetricError, SpecError
from ml_experiment_nb.jobs import Job
from ml_experiment_nb.records import Status


@pytest.fixture
def store(stored):
    from ml_experiment_nb.tracking import Store

    return Store(stored)


# --- the decorator ---


def test_a_job_looks_like_its_function():
    @job
    def train(C, kernel="rbf"):
        """Train it."""

    assert isinstance(train, Job)
    assert (train.name, train.__name__, train.__doc__) == ("train", "train", "Train it.")
    assert repr(train) == "<job train(C, kernel='rbf')>"


def test_options():
    @job(name="SVM", description="a test", tags={"team": "vision"})
    def train():
        pass

    assert (train.name, train.description, train.tags) == ("SVM", "a test", {"team": "vision"})
    assert job()(lambda: 1).name == "<lambda>"


async def coroutine():
    pass


async def stream():
    yield {}


def positional(C, /):
    pass


def starred(*layers):
    pass


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (coroutine, "coroutine is async"),
        (stream, "stream is async"),
        (positional, r"positional\(C, /\): a job's parameters are given by name; leave the / out"),
        (starred, r"starred\(\*layers\): a job's parameters have names"),
    ],
)
def test_functions_that_can_not_be_jobs(function, says):
    with pytest.raises(SpecError, match=says):
        job(function)


# --- a call ---


def test_a_call_is_tracked_and_returns_its_own_value(store, capsys):
    @job(name="SVM", description="first", tags={"team": "vision"})
    def train(C, kernel="rbf", *, gamma=0.1, **more):
        print("training")
        report(step=0, loss=0.5)
        artifact("notes", "text")
        return {"accuracy": C}, {"extra": b"bytes"}

    value = train(0.5, gamma=0.2, depth=3)
    assert value == ({"accuracy": 0.5}, {"extra": b"bytes"})
    [record] = store.records()
    assert (record.name, record.experiment, record.kind, record.status) == (
        "SVM", "SVM", "experiment", Status.FINISHED
    )  # fmt: skip
    assert record.params == {"C": 0.5, "kernel": "rbf", "gamma": 0.2, "depth": 3}
    assert record.metrics == {"accuracy": 0.5, "loss": 0.5}
    assert (record.tags["mlflow.note.content"], record.tags["team"]) == ("first", "vision")
    assert {"extra.bin", "notes.txt", "record/log.txt", "record/source/train.py", "record/spec.yaml"} <= set(
        store.artifacts(record)
    )
    assert store.log_text(record) == "training\n"
    shown = capsys.readouterr()
    assert shown.out == "training\n"
    assert record.run_id in shown.err


def test_an_exception_closes_the_run_and_goes_on(store):
    @job
    def train(C):
        report(step=0, loss=1.0)
        raise ZeroDivisionError("no luck")

    with pytest.raises(ZeroDivisionError, match="no luck") as error:
        train(1)
    assert error.value.__traceback__
    [record] = store.records()
    assert (record.status, str(record.failure)) == (Status.FAILED, "ZeroDivisionError: no luck")
    assert record.metrics == {"loss": 1.0}
    assert "record/error.txt" in store.artifacts(record)


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), Status.KILLED), (SystemExit(0), Status.FINISHED), (SystemExit(3), Status.FAILED)],
)
def test_other_ways_out(store, error, status):
    @job
    def train():
        raise error

    with pytest.raises(type(error)):
        train()
    assert [record.status for record in store.records()] == [status]


def test_a_generator_yields_steps(store):
    @job
    def train(epochs=3):
        for epoch in range(epochs):
            yield {"loss": 1.0 - epoch / 10}
        return {"accuracy": 0.9}

    assert train() == {"accuracy": 0.9}
    [record] = store.records()
    assert record.metrics == {"loss": 0.8, "accuracy": 0.9}
    history = store.client.get_metric_history(record.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.9), (2, 0.8)]


def test_a_generator_that_yields_no_metrics(store):
    @job
    def train():
        yield 3

    with pytest.raises(MetricError, match="this yielded a int"):
        train()
    assert store.records()[0].status is Status.FAILED


def test_a_job_within_a_job_is_a_plain_call(store):
    @job
    def inner(x):
        report(step=0, inner=x)
        return {"inner_result": x}

    @job
    def outer(x=2):
        return {"outer": inner(x)["inner_result"] + 1}

    assert outer() == {"outer": 3}
    [record] = store.records()
    assert record.name == "outer"
    assert record.metrics == {"outer": 3.0, "inner": 2.0}
    assert record.params == {"x": 2}


def test_wrong_arguments_are_pythons_error_and_no_run(store):
    @job(name="my SVM")
    def train(C):
        pass

    with pytest.raises(TypeError, match=r"train\(\) missing a required argument: 'C'"):
        train()
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'D'"):
        train(C=1, D=2)
    assert store.records() == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: job("svm"), "a job is a function, not 'svm'; to name it, write @job(name='svm')"),
        (lambda: job(3), "a job is a function, not 3"),
        (lambda: job(Exception), "a job is a function, not the class Exception"),
        (lambda: job(tags=["a"])(print), "tags is a mapping of names to texts, such as {'team': 'vision'}, not ['a']"),
        (lambda: job(name=3)(lambda: {})(), "name: must be text (in quotes), not 3"),
        (lambda: job(seed="x")(lambda: {})(), "seed: must be a valid integer, not 'x'"),
        (
            lambda: job(lambda C: {}).group("C"),
            "param_space: must be a mapping, such as {'C': 'uniform(0, 1)'}, not 'C'",
        ),
        (
            lambda: job(lambda C: {}).group({"C": "uniform(0, 1)"}, maximize="acc"),
            "maximize: is no key: write metric='acc', direction='maximize'",
        ),
    ],
)
def test_what_a_job_can_not_be_is_told(project, make, said):
    with pytest.raises(SpecError) as raised:
        make()
    assert str(raised.value) == said


def test_any_value_comes_back(store):
    for value in (None, 3, "text", [1], {"a": "b"}, (1, 2), {"best": float("nan")}):
        assert repr(job(lambda value=value: value)()) == repr(value)
    assert {record.status for record in store.records()} == {Status.FINISHED}


def test_jobs_can_be_called_in_a_running_event_loop(store):
    async def main():
        return job(lambda: {"a": 1})()

    assert asyncio.run(main()) == {"a": 1}


class Gathered:
    """A sink as a script's process has one."""

    def __init__(self, artifacts):
        self.artifacts, self.events = artifacts, []

    def send(self, event):
        self.events.append(event)

    def ask(self, event):
        self.events.append(event)
        return False


def test_in_a_script_the_parameters_come_from_the_spec(project, monkeypatch):
    calls = []
    sink = Gathered(project)

    @job
    def train(C, kernel="rbf"):
        calls.append((C, kernel))
        if len(calls) == 1:
            assert other(5) == {"other": 5}  # a plain call
        return {"accuracy": C}

    @job
    def other(C):
        return {"other": C}

    monkeypatch.setattr(reports, "assigned", {"C": 0.5, "gamma": 1})
    with reports.local_sink(sink):
        assert train() == {"accuracy": 0.5}
        train(kernel="linear")
        train(2)
    assert calls == [(0.5, "rbf"), (0.5, "linear"), (2, "rbf")]
    assert [event.values for event in sink.events] == [
        {"C": 0.5, "kernel": "rbf"}, {"accuracy": 0.5},
        {"C": 0.5, "kernel": "linear"}, {"accuracy": 0.5},
        {"C": 2, "kernel": "rbf"}, {"accuracy": 2.0},
    ]  # fmt: skip
    assert reports.assigned == {"C": 0.5, "gamma": 1}
    assert list(project.iterdir()) == []


# --- pickling ---

MODULE = """\
from ml_experiment_nb import job

@job(name="SVM", tags={"a": "b"})
def train(C):
    return {"accuracy": C}
"""


def test_a_job_of_a_module_pickles_by_name(project, monkeypatch):
    (project / "a_module_of_jobs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(project)
    module = importlib.import_module("a_module_of_jobs")
    try:
        assert pickle.loads(pickle.dumps(module.train)) is module.train
        assert cloudpickle.loads(cloudpickle.dumps(module.train)) is module.train
    finally:
        del sys.modules["a_module_of_jobs"]


def test_a_job_of_main_pickles_by_value():
    namespace = {"__name__": "__main__"}
    exec(MODULE, namespace)
    again = cloudpickle.loads(cloudpickle.dumps(namespace["train"]))
    assert (again.name, again.tags, again.function(2)) == ("SVM", {"a": "b"}, {"accuracy": 2})


# --- a group ---


def test_a_group_of_trials(store):
    offset = 1

    @job
    def train(x, sign="plus"):
        report(step=0, loss=float(x))
        return {"loss": x + offset}

    found = train.group(
        {"x": "choice([1, 2, 3])"},
        metric="loss",
        direction="minimize",
        params={"sign": "minus"},
        sampler="grid",
        executor="inline",
        slots=2,
    )
    assert len(found) == 3
    assert (found.best.params["x"], found.best.metrics) == (1, {"loss": 2.0})
    assert found.parent.ok
    assert {record.params["sign"] for record in found} == {"minus"}
    assert len(store.records(parent_id=found.parent.run_id)) == 3


@pytest.mark.parametrize(
    ("space", "options", "says"),
    [
        ({"y": "uniform(0, 1)"}, {}, r"train has no such parameter.*it takes x"),
        ({"x": "uniform(0, 1)"}, {"num_trails": 3}, "did you mean 'num_trials'"),
        ({"x": "loguniform(-1, 1)"}, {}, "param_space.x"),
        ({}, {}, "needs it; give it in params"),
    ],
)
def test_a_group_that_makes_no_sense(project, space, options, says):
    @job
    def train(x):
        pass

    with pytest.raises(SpecError, match=says):
        train.group(space, **options)
    assert list(project.iterdir()) == []


# --- the command line ---


SCRIPT = """\
from ml_experiment_nb import job

@job
def train(C: float, kernel="rbf"):
    print("C is", C)
    return {"accuracy": C / 2}

@job
def never():
    raise AssertionError

if __name__ == "__main__":
    train()
"""


@pytest.mark.slow
def test_a_script_run_by_hand(store, project):
    (project / "train.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "train.py", "--C", "0.5"], capture_output=True, text=True, timeout=120, cwd=project
    )
    assert (ran.returncode, ran.stdout) == (0, "C is 0.5\n"), ran.stderr
    [record] = store.records()
    assert record.params == {"C": 0.5, "kernel": "rbf"}
    assert record.metrics == {"accuracy": 0.25}
    assert record.run_id in ran.stderr

    helped = subprocess.run([sys.executable, "train.py", "-h"], capture_output=True, text=True, timeout=60)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "usage: train.py" in helped.stdout
    wrong = subprocess.run([sys.executable, "train.py", "--D", "1"], capture_output=True, text=True, timeout=60)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--C" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert len(store.records()) == 1


# --- a table of points ---


def test_a_call_for_each_row(store):
    @job
    def train(C, kernel="rbf"):
        if C > 5:
            raise ValueError("too much")
        return {"accuracy": C / 10}

    rows = [{"C": 2}, {"C": 6, "kernel": "linear"}, {"C": 1}]
    found = train.group(each=rows, metric="accuracy", direction="maximize", slots=1)
    assert [(one.number, dict(one.params), one.ok) for one in found] == [
        (0, {"C": 2}, True),
        (1, {"C": 6, "kernel": "linear"}, False),
        (2, {"C": 1}, True),
    ]
    assert found.best is found[0]
    assert found.parent.failure.message == "1 of 3 rows did not finish; the first: row 1: ValueError: too much"


def test_rows_of_a_data_frame(store):
    frame = pd.DataFrame({"C": [1, 2], "kernel": ["linear", None]})

    @job
    def train(C, kernel="rbf"):
        assert type(C) is int
        return {"rbf": kernel == "rbf"}

    found = train.group(each=frame, slots=1)
    assert [one.params for one in found] == [{"C": 1, "kernel": "linear"}, {"C": 2}]
    assert [one.metrics for one in found] == [{"rbf": 0.0}, {"rbf": 1.0}]


def test_a_table_and_a_space_exclude_each_other(project):
    @job
    def train(C): ...

    with pytest.raises(SpecError, match="param_space: is for a search, and `each` names the points already"):
        train.group({"C": "uniform(0, 1)"}, each=[{"C": 1}])
