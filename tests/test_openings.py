import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from ml_experiment_nb import inplace, openings, sweeps
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.system import system_info
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import finishing
from ml_experiment_nb.tracking import Store


@pytest.fixture
def store(stored):
    return Store(stored)


@pytest.fixture
def open_run(store):
    def make(**options):
        given = {"name": "run", "experiment": "e", "kind": "trial", "params": {"C": 0.5}, "number": 0, **options}
        taken = Snapshot(None, system_info(notes=[]), (), ())
        return openings.open_run(store, tags={}, snapshot=taken, **given)

    return make


@pytest.fixture
def losing(monkeypatch):
    """Have a store's answers to some of the calls that create a run get lost, or the calls themselves."""

    def lose(client, *, created, times=1):
        create, left = client.create_run, [times]

        def faulty(*arguments, **options):
            if left[0] == 0:
                return create(*arguments, **options)
            left[0] -= 1
            if created:
                create(*arguments, **options)
            raise MlflowException("Connection aborted.")

        monkeypatch.setattr(client, "create_run", faulty)

    return lose


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """Have a store asked once at each try."""
    monkeypatch.setattr(openings, "PAUSES", ())


def folders(store):
    return [one.name for one in (store.root / ".ml-experiment/runs").iterdir()]


def fail(open_run, **options):
    with pytest.raises(StoreError, match="Connection aborted"):
        open_run(**options)


@pytest.mark.parametrize("created", [False, True])
def test_the_next_try_finds_the_run_whose_answer_was_lost(store, open_run, losing, created):
    losing(store.client, created=created, times=2 if not created else 1)
    fail(open_run)
    if not created:
        fail(open_run)
    (left,) = folders(store)
    assert left.startswith("new-")
    live = open_run()
    assert folders(store) == [live.run_id]
    live.close(Outcome(Status.FINISHED))
    [record] = store.records()
    assert (record.run_id, record.status, record.params) == (live.run_id, Status.FINISHED, {"C": 0.5})
    assert record.tags["mlexp.driver"] == live.first.tags["mlexp.driver"]
    assert folders(store) == []


@pytest.mark.parametrize("created", [False, True])
def test_a_store_that_stumbles_is_asked_again(store, open_run, losing, monkeypatch, created):
    monkeypatch.setattr(openings, "PAUSES", (0.01, 0.01))
    losing(store.client, created=created)
    open_run().close(Outcome(Status.FINISHED))
    assert len(store.records()) == 1
    losing(store.client, created=False, times=3)
    fail(open_run, number=1)


def test_a_refusal_is_told_at_once(store, open_run, monkeypatch):
    def refuse(*arguments, **options):
        tries.append(1)
        raise MlflowException("no", error_code=INVALID_PARAMETER_VALUE)

    tries = []
    monkeypatch.setattr(openings, "PAUSES", (60.0,))
    monkeypatch.setattr(store.client, "create_run", refuse)
    with pytest.raises(StoreError, match="no"):
        open_run()
    assert len(tries) == 1


@pytest.mark.slow
def test_another_run_is_not_taken_for_it(store, open_run, losing):
    losing(store.client, created=True)
    fail(open_run)
    other = open_run(number=1)
    same = open_run()
    assert other.run_id != same.run_id
    assert len(store.records()) == 2


def test_what_is_not_tried_again_is_closed_in_the_end(store, open_run, losing):
    losing(store.client, created=True)
    with finishing(store):
        fail(open_run)
        [record] = store.records()
        assert record.status is Status.RUNNING
    [record] = store.records()
    assert (record.status, record.failure.message) == (Status.KILLED, "the store did not answer when it was opened")
    assert folders(store) == []


def test_without_a_store_it_is_left_to_a_later_sweep(store, open_run, losing):
    losing(store.client, created=True)
    database = store.root / ".ml-experiment/mlflow.db"
    with finishing(store):
        fail(open_run)
        database.rename(database.with_name("away.db"))
    assert len(folders(store)) == 1
    database.with_name("away.db").rename(database)
    with finishing(store):
        losing(store.client, created=False)
        fail(open_run, number=1)
    assert folders(store) == []
    assert [one.status for one in store.records()] == [Status.KILLED]


def test_a_cell_whose_run_cannot_be_opened_leaves_none_open(stored, monkeypatch, losing, script):
    made = sweeps.Store

    def faulty(root):
        store = made(root)
        losing(store.client, created=True)
        return store

    monkeypatch.setattr(sweeps, "Store", faulty)
    spec = spec_from_mapping({"name": "here", "kind": "experiment", "run": script("C = 1").path})
    with pytest.raises(StoreError, match="Connection aborted"), inplace.here(spec, {}):
        pass
    store = made(stored)
    assert [one.status for one in store.records()] == [Status.KILLED]
    assert folders(store) == []


def test_a_folder_that_can_not_be_written_is_told_in_a_line(store, open_run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml_experiment_nb.drivers.os.write", full)
    with pytest.raises(StoreError, match=r"^no run can be begun: .*runs can't be written \(No space left on device\)$"):
        open_run()
    assert folders(store) == []
