"""What a run does of itself with what it is told, whoever drives it."""

import contextlib
import json
import shutil
import threading
from datetime import timedelta

import pytest
from mlflow import MlflowClient

from ml_experiment_nb import notify, patterns, secrecy
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.system import system_info
from ml_experiment_nb.errors import StoreError, StoreLostError
from ml_experiment_nb.events import Ask, Log, Metrics, Params, Secrets, Tags
from ml_experiment_nb.loop import run
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.trials import answered

FINISHED = Outcome(Status.FINISHED)


@pytest.fixture
def store(stored):
    return Store(stored)


@pytest.fixture
def live(store):
    taken = Snapshot(None, system_info(notes=[]), (), ())
    return open_run(store, name="r", experiment="e", kind="experiment", params={"C": 1}, tags={}, snapshot=taken)


def kept(store, live):
    return store.client.get_run(live.run_id).data


def test_a_parameter_that_the_store_refuses_costs_nothing_else(store, live):
    MlflowClient(store.uri).log_param(live.run_id, "rate", 0.1)  # by code of the user's own
    live.add(Params({"rate": 0.2, "depth": 3}))
    for step in range(3):
        live.add(Metrics({"loss": 1.0 / (step + 1)}, step=step))
    live.add(Tags({"team": "vision"}))
    live.flush()
    live.add(Metrics({"later": 1.0}))
    record = live.close(FINISHED)
    data = kept(store, live)
    assert (data.params["rate"], data.params["depth"]) == ("0.1", "3")
    assert len(store.client.get_metric_history(live.run_id, "loss")) == 3
    assert (data.metrics["later"], data.tags["team"]) == (1.0, "vision")
    [note] = [note for note in record.notes if "refused" in note]
    assert note.startswith("the store refused the parameter 'rate'")


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED])
def test_a_run_that_was_deleted_with_its_store_is_not_said_to_be_kept(store, live, status):
    shutil.rmtree(store.root / ".ml-experiment")
    failure = Failure("ValueError", "no", "a traceback") if status is Status.FAILED else None
    live.add(Log("hello\n"))
    live.settle(Outcome(status, failure))
    with pytest.raises(StoreLostError, match=r"\.ml-experiment was deleted while r ran: this run is not recorded$"):
        live.close(Outcome(status, failure))


def test_a_store_whose_file_alone_has_gone_may_come_back(store, live):
    (store.root / ".ml-experiment/mlflow.db").rename(store.root / "aside.db")
    with pytest.raises(StoreError, match="what was recorded stays in") as raised:
        live.close(FINISHED)
    assert not isinstance(raised.value, StoreLostError)
    (store.root / "aside.db").rename(store.root / ".ml-experiment/mlflow.db")
    assert live.close(FINISHED).ok


def test_a_clock_that_is_set_back_gives_no_run_a_time_below_zero(live, monkeypatch):
    monkeypatch.setattr("ml_experiment_nb.recording.now", lambda: live.first.started - timedelta(hours=1))
    assert live.close(FINISHED).seconds == 0


def test_a_parameter_that_a_library_has_told_first_is_the_run_s_when_the_code_names_it(store, live):
    live.add(Params({"depth": 3, "eta": 0.3}, autologged=True))
    live.flush()
    live.add(Params({"depth": 5}))
    record = live.close(FINISHED)
    assert record.params == {"C": 1, "depth": 5}
    assert any("'depth' was given as 5; a library's fit had 3" in note for note in record.notes)
    found = store.record(live.run_id)
    assert set(found.params) == {"C", "depth"}
    assert set(found.autologged) == {"eta"}


@pytest.mark.parametrize("first", [True, False], ids=["given first", "given last"])
def test_of_several_fits_one_that_has_what_was_given_is_enough(live, first):
    if first:
        live.add(Params({"depth": 5, "eta": 0.3}))
    for depth in (3, 5, 4):
        live.add(Params({"depth": depth, "eta": 0.1}, autologged=True))
    if not first:
        live.add(Params({"depth": 5, "eta": 0.3}))
    record = live.close(FINISHED)
    told = [note for note in record.notes if "was given as" in note]
    assert told == ["parameter 'eta' was given as 0.3; a library's fit had 0.1"]
    assert record.params == {"C": 1, "depth": 5, "eta": 0.3}


def test_an_attribute_waits_for_a_store_that_has_gone(store, live, monkeypatch):
    class Source:
        number, metric = 0, None

        def set_attr(self, name, value):
            pass

    def gone(*_, **__):
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr("ml_experiment_nb.recording.check", gone)
        assert answered(Ask("attr", {"name": "fold", "value": 3}), Source(), live).error is None
    live.close(FINISHED)
    assert kept(store, live).tags["mlexp.attr.fold"] == "3"


def test_tags_that_are_set_while_others_are_written_are_not_lost(store, live):
    threads = [
        threading.Thread(target=lambda k=k: [live.add(Tags({f"t{k}.{n}": "x"})) for n in range(50)]) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        live.flush()
    live.close(FINISHED)
    assert len([name for name in kept(store, live).tags if name.startswith("t")]) == 200


def test_a_driver_that_dies_before_it_has_written_leaves_the_data_that_was_read(store, live):
    from ml_experiment_nb.capture.inputs import Input

    live.use([Input(name="table", digest="abc", kind="local", source="table.csv", about="3 rows")])
    live.end(FINISHED)
    live.drop()
    [record] = sweep(store)
    assert record.status is Status.FINISHED
    [found] = store.client.get_run(live.run_id).inputs.dataset_inputs
    assert found.dataset.name == "table"


def test_an_address_that_is_told_of_a_run_s_end_stands_nowhere(stored):
    address = "http://127.0.0.1:9/services/T000/very-private"
    (stored / "train.py").write_text(f"print('telling {address}')")
    [record] = run(make_plan(spec_from_mapping({"run": "train.py", "notify": {"webhook": address, "after": 60}})))
    text = Store(stored).log_text(record)
    assert "very-private" not in text
    assert "telling <secret notify>" in text
    assert "very-private" not in json.dumps(record.tags)
    assert notify.Notify(webhook=address).address == address


def test_a_secret_within_an_object_is_not_shown(live, monkeypatch):
    class Config:
        def __str__(self):
            return "Config(token=very-secret-5471)"

    monkeypatch.setenv("A_TOKEN", "very-secret-5471")
    secrecy.learn("A_TOKEN")
    live.add(Params({"cfg": Config()}))
    record = live.close(FINISHED)
    assert record.params["cfg"] == "Config(token=<secret A_TOKEN>)"
    assert "very-secret" not in str(record) + record.to_json()


def test_files_that_may_hold_a_secret_are_not_sent(store, live, monkeypatch):
    def away(*given):
        raise OSError(30, "Read-only file system")

    (live.artifacts / "a.txt").write_text("text")
    monkeypatch.setattr(live.veil, "folder", away)
    record = live.close(FINISHED)
    assert store.client.list_artifacts(live.run_id) == []
    assert (live.artifacts / "a.txt").read_text() == "text"
    assert any("may hold secrets; they are in" in note for note in record.notes)
    assert "may hold secrets" in kept(store, live).tags["mlexp.notes"]


def test_threads_that_print_at_once_are_masked_one_after_the_other(live, monkeypatch):
    """What is held back of one piece, for a secret may begin there, is put before the next one."""
    together, feed, met = threading.Barrier(2), live._printed.feed, []

    def fed(text):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.2)
            met.append(text)
        return feed(text)

    monkeypatch.setattr(live._printed, "feed", fed)
    monkeypatch.setenv("A_TOKEN", "very-secret-5471")
    secrecy.learn("A_TOKEN")
    threads = [threading.Thread(target=live.send, args=[Log(f"{k}\n")]) for k in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert met == []
    assert sorted(live.log_path.read_text().split()) == ["0", "1"]


def test_a_short_secret_that_the_code_asks_for_draws_a_note(live, monkeypatch):
    monkeypatch.setitem(secrecy.secrets_seen, "8341", "PIN")
    monkeypatch.setattr(patterns, "_made", None)
    live.send(Secrets({"PIN": "8341"}))
    live.send(Log("pin 8341, loss 0.28341\n"))
    live.settle(FINISHED)
    assert live.log_path.read_text() == "pin <secret PIN>, loss 0.28341\n"
    assert any(note.startswith("the secret PIN has fewer than 8 characters") for note in live.told.notes)
