import json
import math
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ml_experiment_nb.capture import Snapshot, snapshot
from ml_experiment_nb.errors import RunNotFoundError, StoreError
from ml_experiment_nb.events import Log, Metrics, Note, Params
from ml_experiment_nb.openings import open_run, untracked
from ml_experiment_nb.projects import home
from ml_experiment_nb.readings import RunQuery
from ml_experiment_nb.records import Failure, Outcome, Record, Status
from ml_experiment_nb.stores import default_uri
from ml_experiment_nb.tracking import Store

FINISHED = Outcome(Status.FINISHED)


@pytest.fixture
def store(stored):
    return Store(stored)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    return snapshot(tmp_path_factory.mktemp("no-git"))


@pytest.fixture
def start(store, taken):
    def start(name="svm", experiment="svm", kind="experiment", params=(), tags=(), **more):
        more.setdefault("snapshot", taken)
        return open_run(
            store, name=name, experiment=experiment, kind=kind, params=dict(params), tags=dict(tags), **more
        )

    return start


def plain(store):
    return MlflowClient(store.uri)


def kept(store, record, path):
    """Return the text of an artifact as a plain client downloads it."""
    folder = store.root / "downloaded"
    folder.mkdir(exist_ok=True)
    return Path(plain(store).download_artifacts(record.run_id, path, str(folder))).read_text()


# --- what a plain client reads ---


def test_all_of_a_run_is_read_by_a_plain_client(store, start):
    live = start(params={"C": 0.5, "kernel": "rbf", "layers": [1, 2]}, tags={"team": "vision"})
    client = plain(store)
    assert client.get_run(live.run_id).info.status == "RUNNING"
    assert client.get_run(live.run_id).data.params == {"C": "0.5", "kernel": "rbf", "layers": "[1, 2]"}

    for step, loss in enumerate([0.9, 0.5, 0.7]):
        live.add(Metrics({"loss": loss}, step, time=1_700_000_000.0))
    live.add(Metrics({"loss": 0.6, "accuracy": 0.8}, None, time=1_700_000_000.0))
    live.add(Log("epoch 1\nepo"))
    live.add(Log("ch 2\n"))
    live.add(Note("a remark"))
    live.save("source/train.py", "print('é')\n")
    (live.artifacts / "plots").mkdir()
    (live.artifacts / "plots" / "curve.txt").write_text("curve")
    record = live.close(FINISHED, {"mlexp.more": "yes"})

    run = client.get_run(record.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "svm")
    assert client.get_experiment(run.info.experiment_id).name == "svm"
    assert run.data.metrics == {"loss": 0.6, "accuracy": 0.8} == record.metrics
    assert [(m.step, m.value) for m in client.get_metric_history(record.run_id, "loss")] == [
        (0, 0.9), (1, 0.5), (2, 0.7), (2, 0.6)
    ]  # fmt: skip
    assert run.info.end_time >= run.info.start_time
    tags = run.data.tags
    assert tags["mlexp.kind"] == "experiment"
    assert tags["mlexp.status"] == "finished"
    assert tags["mlexp.more"] == "yes"
    assert tags["team"] == "vision"
    assert json.loads(tags["mlexp.notes"]) == ["a remark"]
    assert tags["mlexp.system.python"] == ".".join(map(str, sys.version_info[:3]))
    for fact in ("hostname", "user", "os", "cpu", "cores_logical", "memory", "executable"):
        assert tags[f"mlexp.system.{fact}"]
    assert tags["mlflow.user"] == tags["mlexp.system.user"]

    assert store.artifacts(record) == [
        "plots/curve.txt", "record/log.txt", "record/requirements.txt", "record/source/train.py"
    ]  # fmt: skip
    read = {path: Path(client.download_artifacts(record.run_id, path)).read_text() for path in store.artifacts(record)}
    assert read["record/log.txt"] == "epoch 1\nepoch 2\n"
    assert read["record/source/train.py"] == "print('é')\n"
    assert "mlflow==" in read["record/requirements.txt"]
    assert not list((home(store.root) / "runs").iterdir())


def test_a_dirty_work_tree_is_recorded(project, start, store):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], check=True, capture_output=True)

    git("init", "-b", "trunk")
    Path("train.py").write_text("C = 1\n")
    git("add", "train.py")
    git("commit", "-m", "first")
    clean = start(snapshot=snapshot(project)).close(FINISHED)
    Path("train.py").write_text("C = 2\n")
    dirty = start(snapshot=snapshot(project)).close(FINISHED)

    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    tags = plain(store).get_run(clean.run_id).data.tags
    assert (tags["mlflow.source.git.commit"], tags["mlflow.source.git.branch"]) == (head, "trunk")
    assert tags["mlexp.git.dirty"] == "false"
    assert plain(store).get_run(dirty.run_id).data.tags["mlexp.git.dirty"] == "true"
    assert "record/git.diff" not in store.artifacts(clean)
    diff = kept(store, dirty, "record/git.diff")
    assert "-C = 1\n+C = 2\n" in diff


@pytest.mark.parametrize(
    ("status", "mlflows"),
    [(Status.FINISHED, "FINISHED"), (Status.FAILED, "FAILED"), (Status.PRUNED, "KILLED"), (Status.KILLED, "KILLED")],
)
def test_every_way_to_end_comes_back(store, start, status, mlflows):
    failure = None if status is Status.FINISHED else Failure("ValueError", "wrong: really", "Traceback …\nboom\n")
    told = start().close(Outcome(status, failure))
    assert plain(store).get_run(told.run_id).info.status == mlflows
    read = store.record(told.run_id)
    assert (read.status, read.ok) == (status, status is Status.FINISHED)
    if failure:
        assert (read.failure.type, read.failure.message) == ("ValueError", "wrong: really")
        error = kept(store, told, "record/error.txt")
        assert error == failure.traceback


def test_parameters_come_back_as_what_they_were(store, start):
    given = {"C": 0.5, "n": 3, "size": (2, 3), "bias": True, "word": "rbf", "zip": "0123", "code": "5", "none": "None"}
    live = start("typed", params=given | {"x+": "1"})
    live.add(Params({"late": "0.5", "sizes": [1]}))
    told = live.close(FINISHED)
    read = store.record(told.run_id)
    assert read.params == {"x_" if name == "x+" else name: value for name, value in told.params.items()}
    [listed] = store.listed(RunQuery())
    assert listed.params == read.params


def test_the_record_that_is_told_is_the_record_that_is_read(store, start):
    parent = start("group", kind="group", params={"C": "uniform(0.0, 1.0)"}).close(FINISHED)
    live = start("trial", kind="trial", params={"C": 0.25}, parent_id=parent.run_id, number=3)
    live.add(Metrics({"a": 1.0, "nan": math.nan}, None))
    told = live.close(Outcome(Status.FAILED, Failure("KeyError", "")))
    read = store.record(told.run_id)
    for name in ("run_id", "name", "experiment", "kind", "status", "failure", "number", "parent_id", "artifact_uri"):
        assert getattr(read, name) == getattr(told, name), name
    assert (told.params, read.params) == ({"C": 0.25}, {"C": 0.25})
    assert read.metrics["a"] == 1.0
    assert math.isnan(read.metrics["nan"])
    assert abs((read.started - told.started).total_seconds()) < 0.001
    assert abs(read.seconds - told.seconds) < 0.002
    assert {k: v for k, v in read.tags.items() if k.startswith("mlexp.")} == {
        k: v for k, v in told.tags.items() if k.startswith("mlexp.")
    }


def test_what_runs_prints_is_read_while_it_runs_and_after(store, start):
    live = start()
    live.add(Log("one\ntw"))
    record = store.record(live.run_id)
    assert record.status is Status.RUNNING
    assert store.log_text(record) == "one\n"
    live.add(Log("o\n 10%\r100%\n"))
    live.close(FINISHED)
    assert store.log_text(record) == "one\ntwo\n100%\n"


def test_a_run_without_a_log_has_an_empty_one(store):
    run = plain(store).create_run("0")
    assert store.log_text(store.record(run.info.run_id)) == ""


# --- odd values ---


def test_a_long_parameter_is_cut_and_kept_whole_beside(store, start):
    long = "x" * 6001
    live = start(params={"short": "y" * 6000, "long": long})
    record = live.close(FINISHED)
    params = plain(store).get_run(record.run_id).data.params
    assert params == {"short": "y" * 6000, "long": "x" * 6000}
    assert record.params["long"] == long
    whole = kept(store, record, "record/params/long.txt")
    assert whole == long
    assert [note for note in store.record(record.run_id).notes if "'long' is cut at 6000" in note]


@pytest.mark.slow
def test_many_parameters_and_metrics_in_one_flush(store, start):
    live = start()
    live.add(Params({f"p{k}": k for k in range(250)}))
    live.add(Metrics({f"m{k}": float(k) for k in range(2500)}, 0))
    record = live.close(FINISHED)
    run = plain(store).get_run(record.run_id)
    assert run.data.params == {f"p{k}": str(k) for k in range(250)}
    assert run.data.metrics == {f"m{k}": float(k) for k in range(2500)}
    assert record.notes == ()


@pytest.mark.parametrize(
    ("name", "mlflows"),
    [
        ("val/accuracy at 5:1-a.b_c", None),
        ("größe", None),
        ("f1(macro)", "f1_macro_"),
        ("top-5%", "top-5_"),
        ("a=b\n'c' \"d\"", "a_b__c_ _d_"),
        ("/loss", "loss"),
        ("loss//train/", "loss/train"),
        ("../../x", "x"),
        ("..", "_"),
        ("", "_"),
        ("n" * 300, "n" * 250),
    ],
    ids=ascii,
)
def test_odd_names_of_metrics_and_parameters(store, start, name, mlflows):
    live = start(params={name: 1}, tags={name or "x": "value"})
    live.add(Metrics({name: 0.5}))
    record = live.close(FINISHED)
    run = plain(store).get_run(record.run_id)
    assert run.data.metrics == {mlflows or name: 0.5}
    assert run.data.params == {mlflows or name: "1"}
    assert record.metrics == {name: 0.5}
    assert len(record.notes) == (mlflows is not None)


def test_odd_numbers(store, start):
    live = start(params={"n": math.nan, "i": math.inf, "none": None, "yes": True})
    live.add(Metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf, "zero": -0.0}))
    record = live.close(FINISHED)
    run = plain(store).get_run(record.run_id)
    assert run.data.params == {"n": "nan", "i": "inf", "none": "None", "yes": "True"}
    assert math.isnan(run.data.metrics["nan"])
    assert run.data.metrics["inf"] > 1e300
    assert run.data.metrics["minus"] < -1e300
    assert record.metrics["inf"] == math.inf


def test_a_final_value_is_the_latest_even_below_a_later_step_and_in_the_same_moment(store, start):
    live = start()
    moment = time.time()
    live.add(Metrics({"loss": 0.9}, 10, time=moment))
    live.add(Metrics({"loss": 0.5}, 3, time=moment))  # a curve that goes back
    live.add(Metrics({"loss": 0.1}, None, time=moment))
    record = live.close(FINISHED)
    assert record.metrics == {"loss": 0.1} == plain(store).get_run(record.run_id).data.metrics


def test_text_that_is_no_unicode_is_kept(store, start):
    live = start()
    live.add(Log("a\ud800b\n"))
    live.save("source/cell.py", "'\udcff'")
    record = live.close(Outcome(Status.FAILED, Failure("E", "m", "\ud800")))
    assert store.log_text(record) == "a\\ud800b\n"
    assert "record/error.txt" in store.artifacts(record)


def test_a_value_that_can_not_be_shown_is_no_fault_of_the_run(store, start):
    class Shy:
        def __str__(self):
            raise RuntimeError("no")

    record = start(params={"model": Shy()}).close(FINISHED)
    assert plain(store).get_run(record.run_id).data.params["model"].startswith("<Shy")


def test_a_parameter_that_the_code_changed_is_noted(store, start):
    live = start(params={"C": 0.5, "kernel": "rbf", "layers": (1, 2)})
    live.add(Params({"C": 1.0, "kernel": "rbf", "layers": [1, 2], "gamma": "scale"}))
    record = live.close(FINISHED)
    assert record.notes == ("parameter 'C' was given as 0.5; the code ran with 1.0",)
    assert store.record(record.run_id).params["gamma"] == "scale"


def test_endless_notes_and_errors_still_close_the_run(store, start):
    live = start()
    for k in range(500):
        live.add(Note(f"note {k} " + "é" * 100))
    record = live.close(Outcome(Status.FAILED, Failure("E", "m" * 20_000)))
    read = store.record(record.run_id)
    assert read.status is Status.FAILED
    assert read.notes[0] == record.notes[0]
    assert 1 < len(read.notes) < 500


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".", 'it\'s "quoted"', "漢字" * 40, "100%", "new\nline", " padded ", "x" * 300, "C:\\x?*"],
    ids=ascii,
)
def test_any_experiment_name(store, start, name):
    live = start(name=name, experiment=name)
    (live.artifacts / "a.txt").write_text("a")
    record = live.close(FINISHED)
    assert record.notes == ()
    assert "a.txt" in store.artifacts(record)
    assert [one.run_id for one in store.records(experiment=name)] == [record.run_id]
    [file] = home(store.root).glob("artifacts/*/*/artifacts/a.txt")
    assert file.parts[-3] == record.run_id


@pytest.mark.parametrize("name", ["a b", "ü 漢", "100%20", "what?", "#1", "it's"], ids=ascii)
def test_any_folder_may_be_the_project(project, database, taken, name):
    root = project / name
    root.mkdir()
    shutil.copy(database, home(root) / "mlflow.db")
    store = Store(root)
    live = open_run(store, name="n", experiment="e", kind="experiment", params={}, tags={}, snapshot=taken)
    live.close(FINISHED)
    assert "record/log.txt" in store.artifacts(store.records()[0])


# --- finding runs ---


def test_records_are_filtered_and_newest_first(store, start):
    first = start(experiment="a").close(FINISHED)
    second = start(experiment="b").close(Outcome(Status.FAILED, Failure("E", "m")))
    third = start(experiment="a", parent_id=first.run_id).close(Outcome(Status.PRUNED))

    def ids(**filters):
        return [record.run_id for record in store.records(**filters)]

    assert set(ids()) == {first.run_id, second.run_id, third.run_id}
    assert set(ids(experiment="a")) == {first.run_id, third.run_id}
    assert ids(parent_id=first.run_id) == [third.run_id]
    assert ids(status="failed") == [second.run_id]
    assert ids(status="pruned") == [third.run_id]
    assert ids(status="killed") == []
    assert len(ids(limit=2)) == 2
    with pytest.raises(RunNotFoundError, match="no experiment is called 'c'"):
        ids(experiment="c")


def test_a_run_is_found_by_the_beginning_of_its_id(store, start):
    ids = [start().close(FINISHED).run_id for _ in range(17)]  # two of them begin alike
    one = ids[0]
    assert store.record(one).run_id == one
    assert store.record(one[:31]).run_id == one
    shared = next(c for c in "0123456789abcdef" if sum(run.startswith(c) for run in ids) > 1)
    with pytest.raises(RunNotFoundError, match=f"more than one run begins with '{shared}'"):
        store.record(shared)


@pytest.mark.parametrize("run_id", ["", "f" * 32, "zzzz", "g" * 32, "a" * 40, "%", "a'b", "../x"])
def test_an_unknown_run(store, start, run_id):
    start().close(FINISHED)
    with pytest.raises(RunNotFoundError, match=f"no run '{run_id}'|no run \"{run_id}\""):
        store.record(run_id)


def test_runs_of_others_are_read_too(store):
    client = plain(store)
    run = client.create_run("0", run_name="theirs")
    client.log_metric(run.info.run_id, "loss", 0.5)
    client.log_param(run.info.run_id, "lr", 0.1)
    client.set_terminated(run.info.run_id, "FAILED")
    theirs = client.create_run("0")
    record = store.record(run.info.run_id)
    assert (record.name, record.experiment, record.kind) == ("theirs", "Default", "experiment")
    assert (record.status, record.failure, record.number) == (Status.FAILED, None, None)
    assert (record.metrics, record.params) == ({"loss": 0.5}, {"lr": 0.1})
    assert store.record(theirs.info.run_id).status is Status.RUNNING
    assert len(store.records()) == 2


def test_a_store_without_any_experiment_has_no_runs(store):
    plain(store).delete_experiment("0")
    assert store.records() == []


def test_a_deleted_experiment_is_brought_back(store, start):
    before = start(experiment="gone").close(FINISHED)
    client = plain(store)
    number = client.get_experiment_by_name("gone").experiment_id
    client.delete_experiment(number)
    again = Store(store.root)
    assert again.experiment_id("gone") == number
    assert client.get_experiment(number).lifecycle_stage == "active"
    assert before.run_id


# --- which store ---


def test_mlflows_variables_are_honoured(project, database, taken, monkeypatch):
    elsewhere = project / "else" / "where.db"
    elsewhere.parent.mkdir()
    shutil.copy(database, elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///else/where.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    store = Store(project)
    live = open_run(store, name="n", experiment="ours", kind="experiment", params={}, tags={}, snapshot=taken)
    record = live.close(FINISHED)
    assert store.uri == f"sqlite:///{elsewhere}"
    assert record.experiment == "theirs"
    assert MlflowClient(f"sqlite:///{elsewhere}").get_experiment_by_name("theirs")
    assert not (home(project) / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("scheme", "user"),
    [("http://", ""), ("http://", "me:secret@"), ("postgresql://", ""), ("mysql+pymysql://", "u:p@")],
)
def test_a_dead_server_is_told_at_once(project, monkeypatch, scheme, user):
    with socket.socket() as taken_port:  # bound and not listening: nobody else can come to listen here
        taken_port.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken_port.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}{user}{where}/x")
        began = time.monotonic()
        with pytest.raises(
            StoreError, match=f"no tracking server answers at .*{where}.*unset MLFLOW_TRACKING_URI"
        ) as error:
            Store(project)
        assert time.monotonic() - began < 8
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://localhost:port", "is no address"),
        ("sqlite://", "in memory"),
        ("sqlite:////dev/null/x.db", "can't be opened as a SQLite store"),
        ("bogus://x", "unsupported URI"),
        ("mlruns", "keeps runs in no folder any more"),
    ],
)
def test_an_address_that_is_no_store(project, monkeypatch, uri, says):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(StoreError, match=says):
        Store(project)


def test_a_file_that_is_no_database(project, monkeypatch):
    (home(project) / "mlflow.db").write_text("no database at all, but a text of some length")
    with pytest.raises(StoreError, match=r"mlflow\.db can't be opened as a SQLite store: file is not a database"):
        Store(project)


def test_a_root_that_can_not_be_written(project):
    (project / ".ml-experiment").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"can't be written .* set ML_EXPERIMENT_ROOT"):
        Store(project)


CREATE = """\
import sys
from pathlib import Path
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.system import system_info
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.tracking import Store
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
store = Store(Path(sys.argv[1]))
live = open_run(store, name="n", experiment="same", kind="experiment", params={"k": sys.argv[2]}, tags={},
                snapshot=Snapshot(None, system_info(), (), ()))
live.close(Outcome(Status.FINISHED))
"""


@pytest.mark.slow
def test_processes_that_create_a_store_at_once(project):
    words = [sys.executable, "-c", CREATE, str(project)]
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen([*words, str(k)], stdin=pipe, stdout=pipe, stderr=pipe, text=True) for k in range(4)
    ]  # fmt: skip
    try:
        for one in running:
            assert one.stdout.readline() == "ready\n"
        for one in running:
            one.stdin.write("go\n")
            one.stdin.flush()
        for one in running:
            assert (one.communicate(timeout=250)[1], one.returncode) == ("", 0)
    finally:
        for one in running:
            one.kill()
            one.communicate()
    found = MlflowClient(default_uri(project)).search_runs(
        [e.experiment_id for e in MlflowClient(default_uri(project)).search_experiments()]
    )
    assert sorted(run.data.params["k"] for run in found) == ["0", "1", "2", "3"]
    assert {run.info.status for run in found} == {"FINISHED"}


# --- when the store fails meanwhile ---


class Failing:
    """A client whose writes fail until it is told otherwise."""

    def __init__(self, client):
        self.client, self.broken = client, True

    def __getattr__(self, name):
        if self.broken and name in ("log_batch", "set_terminated", "log_artifacts"):
            return self._fail
        return getattr(self.client, name)

    def _fail(self, *words, **options):
        raise MlflowException("database is locked")


def test_a_store_that_comes_back_misses_nothing(store, start, monkeypatch):
    live = start()
    failing = Failing(store.client)
    monkeypatch.setattr(store, "client", failing)
    monkeypatch.setattr("ml_experiment_nb.recording.FLUSH_SECONDS", -1)
    live.add(Metrics({"loss": 0.5}, 0))  # a flush is due and fails: the user's code goes on
    live.add(Params({"C": 1}))
    with pytest.raises(StoreError, match="database is locked"):
        live.flush()
    failing.broken = False
    live.add(Metrics({"loss": 0.4}, 1))
    record = live.close(FINISHED)
    assert [m.value for m in plain(store).get_metric_history(record.run_id, "loss")] == [0.5, 0.4]
    assert store.record(record.run_id).params == {"C": 1}


def test_a_store_that_stays_away_leaves_the_files_where_it_says(store, start, monkeypatch):
    live = start()
    live.add(Log("precious\n"))
    monkeypatch.setattr(store, "client", Failing(store.client))
    with pytest.raises(StoreError, match="what was recorded stays in ") as error:
        live.close(FINISHED)
    assert str(live.folder) in str(error.value)
    assert (live.artifacts / "record" / "log.txt").read_text() == "precious\n"


def test_artifacts_that_can_not_be_kept_do_not_leave_the_run_open(store, start):
    live = start()
    folder = Path(live.first.artifact_uri.removeprefix("file://"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file in the way")
    record = live.close(FINISHED)
    assert plain(store).get_run(record.run_id).info.status == "FINISHED"
    assert "files could not be sent to the store" in store.record(record.run_id).notes[0]
    assert (live.artifacts / "record" / "requirements.txt").exists()


# --- untracked ---


def test_a_job_gathers_and_is_recorded_nowhere(project):
    live = untracked("train", "job", {"C": 1})
    live.add(Metrics({"a": 1.0}))
    live.add(Log("x\n"))
    live.flush()
    live.tag({"a": "b"})
    record = live.close(FINISHED)
    assert isinstance(record, Record)
    assert (record.run_id, record.kind, record.params, record.metrics) == (None, "job", {"C": 1}, {"a": 1.0})
    assert not live.folder.exists()
    assert list(project.iterdir()) == []


def test_snapshot_notes_become_the_runs(store, start, taken):
    noted = Snapshot(None, taken.system, (), ("no commit is recorded: git is not installed",))
    assert start(snapshot=noted).close(FINISHED).notes == noted.notes
