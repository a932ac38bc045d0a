import os
import shutil
import sqlite3
from contextlib import closing, suppress

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url

from ml_experiment_nb import stores
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.sweeps import opened_store
from ml_experiment_nb.tracking import Store


def journal_mode(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA journal_mode").fetchone()[0]


def opened(store, project):
    options = {"experiment": "e", "kind": "experiment", "params": {"C": 1}, "tags": {}}
    return open_run(store, name="r", snapshot=snapshot(project), **options)


def test_our_own_store_writes_ahead_and_its_file_is_whole_when_it_is_settled(stored, tmp_path_factory):
    store = Store(stored)
    assert journal_mode(home(stored) / "mlflow.db") == "wal"
    opened(store, stored).close(Outcome(Status.FINISHED))
    store.settle()
    alone = shutil.copy(home(stored) / "mlflow.db", tmp_path_factory.mktemp("alone"))
    client = MlflowClient(f"sqlite:///{alone}")
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert run.data.params == {"C": "1"}
    assert run.info.status == "FINISHED"


def test_a_store_whose_making_was_killed_is_made_by_whoever_comes_next(project):
    def killed(uri):
        with closing(sqlite3.connect(make_url(uri).database)) as database:
            database.execute("CREATE TABLE experiments (id INTEGER)")
        os._exit(9)

    uri = stores.store_uri(project)
    if (pid := os.fork()) == 0:
        with suppress(BaseException), stores.opening(uri, project, killed):
            pass
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    made = []
    with stores.opening(uri, project, lambda uri: made.append(uri) or _write_table(uri)):
        assert [one.name for one in home(project).glob("mlflow.db*") if one.suffix == ".new"] == []
    assert len(made) == 1
    with stores.opening(uri, project, made.append):
        assert len(made) == 1


def _write_table(uri):
    with closing(sqlite3.connect(make_url(uri).database)) as database:
        database.execute("CREATE TABLE whole (id INTEGER)")  # and nothing of what the killed one had begun
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("whole",)]


def test_a_store_that_cannot_be_made_is_not_begun(project):
    def failing(uri):
        raise OSError("the disk is full")

    uri = stores.store_uri(project)
    with pytest.raises(StoreError, match="the disk is full"), stores.opening(uri, project, failing):
        pass
    assert not list(home(project).glob("*.new"))
    Store(project)
    assert journal_mode(home(project) / "mlflow.db") == "wal"


def test_commits_of_our_own_store_do_not_wait_for_the_disk(stored):
    engine = Store(stored).client._tracking_client.store.engine
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL


def test_a_store_that_was_deleted_and_made_anew_is_the_one_that_is_written(stored, database):
    opened(opened_store(stored), stored).close(Outcome(Status.FINISHED))
    shutil.rmtree(home(stored))
    shutil.copy(database, home(stored) / "mlflow.db")  # as another process makes it
    run = opened(opened_store(stored, make=True), stored).close(Outcome(Status.FINISHED))
    with closing(sqlite3.connect(home(stored) / "mlflow.db")) as connection:
        assert connection.execute("SELECT run_uuid FROM runs").fetchall() == [(run.run_id,)]
    shutil.rmtree(home(stored))
    assert opened_store(stored, make=True).records() == []


def test_a_store_that_the_user_names_is_left_as_it_is(stored, monkeypatch, database):
    theirs = stored / "theirs.db"
    shutil.copy(database, theirs)
    with closing(sqlite3.connect(theirs)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///theirs.db")
    store = Store(stored)
    assert journal_mode(theirs) == "delete"
    with store.client._tracking_client.store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


@pytest.mark.parametrize("name", ["nfs4", "CIFS", "fuse.sshfs", "lustre"])
def test_nothing_is_written_ahead_on_a_shared_file_system(project, monkeypatch, name):
    monkeypatch.setattr(stores, "_file_system", lambda path: name.lower())
    monkeypatch.setattr(stores, "_quick", set())
    path = home(project) / "new.db"
    stores._write_ahead(path)
    assert not stores._quick
    assert not path.exists()


def test_the_file_system_is_that_of_the_innermost_mount(project):
    assert stores._file_system(project / "mlflow.db") not in ("", "proc")
    assert stores._file_system(stores.Path("/proc/self/status")) == "proc"


def test_a_store_that_goes_away_is_told_of_and_not_begun_anew(stored):
    store = Store(stored)
    live = opened(store, stored)
    path = home(stored) / "mlflow.db"
    path.rename(path.with_name("away.db"))
    with pytest.raises(StoreError, match="has gone"):
        live.close(Outcome(Status.FINISHED))
    assert not path.exists()
    assert (live.folder / "artifacts" / "record" / "log.txt").exists()


def test_an_error_of_the_store_is_told_without_what_helps_nobody():
    with pytest.raises(StoreError, match=r"^sqlite:///x\.db: disk is full$"), stores.translated("sqlite:///x.db"):
        raise MlflowException("disk is full\n(Background on this error at: https://sqlalche.me/e/21/e3q8)")


def test_mlflow_prints_no_traceback_of_an_error_that_is_ours_to_tell(stored, capfd):
    store = Store(stored)
    with closing(sqlite3.connect(home(stored) / "mlflow.db")) as connection:
        connection.execute("DROP TABLE experiment_tags")
    with pytest.raises(StoreError), stores.translated(store.uri):
        store.client.set_experiment_tag("0", "a", "b")
    assert "Traceback" not in capfd.readouterr().err
