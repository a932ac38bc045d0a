"""What autologging says to what it takes for its store."""

from types import SimpleNamespace

import pytest

from ml_experiment_nb import reports
from ml_experiment_nb.events import Metrics, Params, Tags
from ml_experiment_nb.observing import mlflow_calls
from ml_experiment_nb.observing.mlflow_calls import RunStore, without_pyplot
from ml_experiment_nb.observing.thisrun import ThisRun

OURS, OTHER = "a" * 32, "b" * 32


class Sink:
    """Keeps what it is sent."""

    def __init__(self, artifacts):
        self.artifacts, self.events = artifacts, []

    def send(self, event):
        self.events.append(event)


class Real:
    """The real store, by what it is asked."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        return lambda *args, **options: self.asked.append((name, args[0] if args else None)) or f"real {name}"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv(reports.PRUNING, raising=False)
    monkeypatch.setattr(mlflow_calls, "_earlier", set())
    sink, real = Sink(tmp_path), Real()
    made = RunStore(ThisRun(OURS, "7", sink), lambda: real)
    return SimpleNamespace(calls=made, events=sink.events, asked=real.asked)


@pytest.fixture
def session(monkeypatch):
    """Say which library is being autologged."""

    def say(integration):
        found = SimpleNamespace(id="fit", integration=integration)
        monkeypatch.setattr(mlflow_calls.safety._AutologgingSessionManager, "active_session", lambda: found)

    return say


def metric(key, value, step=0, timestamp=5000):
    return SimpleNamespace(key=key, value=value, step=step, timestamp=timestamp)


def entry(key, value):
    return SimpleNamespace(key=key, value=value)


def test_what_is_logged_of_this_run_goes_over_its_wire(store):
    store.calls.log_batch(
        OURS,
        [metric("loss", 2.0), metric("acc", 0.5), metric("loss", 1.0, 1, 6000)],
        [entry("C", 1)],
        [entry("t", "x")],
    )
    params, tags, first, second = store.events
    assert (params, tags) == (Params({"C": "1"}, autologged=True), Tags({"t": "x"}))
    assert isinstance(first, Metrics)
    assert (dict(first.values), first.step, first.time) == ({"loss": 2.0, "acc": 0.5}, 0, 5.0)
    assert (dict(second.values), second.step, second.time) == ({"loss": 1.0}, 1, 6.0)
    assert store.asked == []


@pytest.mark.parametrize("suffix", ["", "_async"])
def test_single_values_go_the_same_way(store, suffix):
    getattr(store.calls, f"log_metric{suffix}")(OURS, metric("loss", 2.0))
    getattr(store.calls, f"log_param{suffix}")(OURS, entry("C", 1))
    getattr(store.calls, f"set_tag{suffix}")(OURS, entry("t", "x"))
    assert [type(one) for one in store.events] == [Metrics, Params, Tags]
    assert store.asked == []


def test_another_run_is_the_real_store_s(store):
    store.calls.log_batch(OTHER, [metric("loss", 2.0)], [], [])
    assert store.calls.log_batch_async(OTHER, [], [], []) == "real log_batch_async"
    assert store.calls.get_run(OTHER) == "real get_run"
    assert store.calls.update_run_info(OTHER, "FINISHED") == "real update_run_info"
    store.calls.log_outputs(OTHER, [])
    assert store.calls.search_runs(["7"]) == "real search_runs"
    assert [name for name, _ in store.asked] == [
        "log_batch", "log_batch_async", "get_run", "update_run_info", "log_outputs", "search_runs",
    ]  # fmt: skip
    assert store.events == []


def test_a_run_of_an_earlier_cell_means_the_present_one(store):
    mlflow_calls._earlier.add(OTHER)
    store.calls.log_batch(OTHER, [metric("loss", 2.0)], [], [])
    assert (len(store.events), store.asked) == (1, [])


def test_this_run_is_open_and_its_driver_closes_it(store, tmp_path):
    found = store.calls.get_run(OURS)
    assert (found.info.run_id, found.info.experiment_id, found.info.status) == (OURS, "7", "RUNNING")
    assert found.info.artifact_uri == tmp_path.as_uri()
    assert store.calls.update_run_info(OURS, "FAILED", 1, None).status == "RUNNING"
    store.calls.log_outputs(OURS, [])
    assert (store.events, store.asked) == ([], [])


def test_keras_says_each_validation_loss_twice_and_it_is_kept_once(store, session):
    session("keras")
    store.calls.log_batch(OURS, [metric("val_loss", 2.0), metric("validation_loss", 2.0)], [], [])
    session("sklearn")
    store.calls.log_batch(OURS, [metric("validation_loss", 1.0)], [], [])
    assert [dict(one.values) for one in store.events] == [{"val_loss": 2.0}, {"validation_loss": 1.0}]


def test_a_model_stands_for_one_of_the_run_s_artifacts(store, tmp_path):
    found = store.calls.create_logged_model("7", name="net")
    assert (found.name, found.artifact_location, found.source_run_id) == ("net", (tmp_path / "net").as_uri(), OURS)
    assert store.calls.create_logged_model("7").name == "model"


def test_a_module_of_mlflows_can_not_draw_unless_that_is_wanted():
    wanted = False
    names = {"__builtins__": without_pyplot(lambda: wanted)}
    exec("def draw():\n    import matplotlib.pyplot\n\ndef other():\n    import json.decoder\n    return json", names)
    with pytest.raises(LookupError, match="no plots are asked for"):
        names["draw"]()
    assert names["other"]().__name__ == "json"
    wanted = True
    names["draw"]()
