import shutil
import sqlite3
from contextlib import closing

import pytest
from readers import as_reader, locked

from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.sqlite_files import WrittenMeanwhileError, again_when_written, may_be_written, reading, why_not

READ = """
import os, sqlite3, sys
from pathlib import Path
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.sqlite_files import WrittenMeanwhileError, may_be_written, reading
path = Path(sys.argv[1]) / "a%3F b?.db"
assert not may_be_written(path)
def rows(connect):
    connection = connect()
    found = [one for one, in connection.execute("SELECT n FROM t")]
    connection.close()
    return found
try:
    with reading(path) as connect:
        print(rows(connect))
        meanwhile()
except (StoreError, WrittenMeanwhileError) as error:
    print(type(error).__name__, error)
"""


def made(folder, mode="WAL"):
    """Make a file with a row; it is closed, and nothing lies beside it."""
    folder.mkdir()
    path = folder / "a%3F b?.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE t (n)")
        database.execute("INSERT INTO t VALUES (1)")
        database.commit()
    assert [one.name for one in folder.iterdir()] == [path.name]
    return path


def read(path, meanwhile="pass"):
    with locked(path.parent):
        return as_reader(f"def meanwhile(): {meanwhile}\n{READ}", path.parent).strip()


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_file_is_read_that_nobody_writes(tmp_path, mode):
    assert read(made(tmp_path / "store", mode)) == "[1]"


def test_what_somebody_has_written_ahead_is_read_while_it_is_open_there(tmp_path):
    path = made(tmp_path / "store")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO t VALUES (2)")
        writer.commit()
        assert read(path) == "[1, 2]"


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_what_is_written_in_a_file_beside_it_alone_is_not_left_out(tmp_path, ending):
    path = made(tmp_path / "store")
    path.with_name(f"{path.name}{ending}").write_bytes(b"x" * 100)
    said = read(path)
    assert said.startswith(f"StoreError {path} may only be read here, and what was written last is still in ")
    assert f"{path.name}{ending}: list its runs once" in said


def test_a_file_that_is_written_while_it_is_read_as_one_that_is_not(tmp_path):
    assert read(made(tmp_path / "store"), "os.utime(path)").splitlines()[-1].startswith("WrittenMeanwhileError")


def test_a_file_that_is_written_while_sqlite_looks_after_it_is_read(tmp_path):
    assert read(made(tmp_path / "store", "DELETE"), "os.utime(path)") == "[1]"


def test_what_is_no_database_says_so(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"no database, and long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"), reading(path):
        pass


def test_it_is_read_again_until_it_was_not_written():
    tries = iter([WrittenMeanwhileError(), WrittenMeanwhileError(), None])

    @again_when_written
    def look(what):
        if (problem := next(tries)) is not None:
            raise problem
        return what

    assert look("rows") == "rows"


def test_what_is_written_all_the_time_is_not_waited_for():
    @again_when_written
    def look():
        raise WrittenMeanwhileError

    with pytest.raises(StoreError, match="being written by somebody else"):
        look()


def test_a_file_may_be_written_where_its_folder_may(tmp_path):
    assert may_be_written(made(tmp_path / "store"))


@pytest.mark.parametrize(
    ("error", "free", "why", "advice"),
    [
        ("database is locked", 0, "database is locked", "end what holds it (`fuser` names the process)"),
        ("database or disk is full", 0, "database or disk is full: its disk is full", "make room there"),
        ("disk I/O error", 0, "disk I/O error: its disk is full", "make room there"),
        ("disk I/O error", 10**9, "disk I/O error", "change its rights, or its folder's"),
    ],
)
def test_what_a_sqlite_error_means(tmp_path, monkeypatch, error, free, why, advice):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))
    assert why_not(str(tmp_path / "a.db"), sqlite3.OperationalError(error)) == (why, advice)
