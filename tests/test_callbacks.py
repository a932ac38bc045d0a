import http.server
import json
import threading

import pytest

from ml_experiment_nb import job, make_plan
from ml_experiment_nb import run as run_plan
from ml_experiment_nb.callbacks import watched
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.loop import follow
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

SPACE = {"C": "uniform(0, 1)"}
QUICK = {"metric": "loss", "num_trials": 3, "slots": 1, "seed": 1, "executor": "inline"}


class Diary:
    def __init__(self):
        self.said = []

    def on_start(self, record):
        assert record.status is Status.RUNNING
        self.said.append(("start", record.kind, record.name))
        self.params = record.params

    def on_record(self, record):
        assert record.status.ended
        self.said.append(("record", record.kind, record.name))

    def on_end(self, records):
        self.said.append(("end", len(records)))
        self.records = records


@job
def train(C):
    return {"loss": C}


@pytest.fixture
def hook(monkeypatch):
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret")
    yield got
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_group_s_records_are_heard_of_as_they_come(stored):
    diary, heard = Diary(), []
    records = train.group(SPACE, **QUICK, callbacks=[diary, heard.append])
    names = [record.name for record in records]
    trials = [one for name in names for one in (("start", "trial", name), ("record", "trial", name))]
    assert diary.said == [("start", "group", "train"), *trials, ("record", "group", "train"), ("end", 3)]
    assert [one.run_id for one in heard] == [*(one.run_id for one in records), records.parent.run_id]
    assert diary.records.best == records.best
    assert diary.records.parent.run_id == records.parent.run_id
    assert set(diary.params) == {"C"}


@pytest.mark.slow
def test_a_callback_that_fails_is_a_note_and_changes_nothing(stored, capsys):
    def broken(record):
        raise ValueError("no")

    heard = []
    records = train.group(SPACE, **QUICK, callbacks=[broken, heard.append])
    assert [one.status for one in records] == [Status.FINISHED] * 3
    assert len(heard) == 4
    note = "the callback broken failed in on_record: ValueError: no"
    assert records.parent.notes == (note,)
    assert Store(stored).record(records.parent.run_id).notes == (note,)
    assert capsys.readouterr().err.count(note) == 1


def test_a_job_s_calls_are_heard_of(stored):
    diary = Diary()

    @job(callbacks=diary)
    def fit(C):
        if C > 1:
            raise ValueError("too much")
        return {"loss": C}

    assert fit(C=1) == {"loss": 1}
    assert diary.said == [("start", "experiment", "fit"), ("record", "experiment", "fit"), ("end", 1)]
    assert diary.records[0].metrics == {"loss": 1}
    assert diary.params == {"C": 1}
    with pytest.raises(ValueError, match="too much"):
        fit(C=2)
    assert diary.records[0].status is Status.FAILED
    fit.group(SPACE, **QUICK)
    assert diary.said[-1] == ("end", 3)


def test_the_end_of_a_plan_that_is_stopped_is_heard_of(stored):
    diary = Diary()
    spec = spec_from_mapping({"kind": "group", "run": {"function": train.function}, "param_space": SPACE, **QUICK})
    plan = make_plan(spec, values={"function": train.function})
    updates = watched(plan, follow(plan), diary)
    next(update for update in updates if isinstance(update, Record))
    updates.close()
    assert diary.said[-1] == ("end", 1)
    assert {one.status for one in Store(stored).records()} <= {Status.FINISHED, Status.KILLED}


def test_what_is_no_callback(stored):
    for wrong in (1, ["x"], object()):
        with pytest.raises(SpecError, match="is no callback"):
            train.group(SPACE, **QUICK, callbacks=wrong)
    assert Store(stored).records() == []


def test_nobody_asks_and_nothing_is_between():
    plan = make_plan(spec_from_mapping({"run": {"command": "true"}}))
    updates = iter([1, 2])
    assert watched(plan, updates) is updates


def test_the_end_of_a_group_is_told(stored, hook):
    records = train.group(SPACE, **QUICK, notify="${env:HOOK}")
    [told] = hook
    assert (told["status"], told["counts"], told["run_id"]) == ("finished", {"finished": 3}, records.parent.run_id)
    assert told["best"]["params"] == {"C": records.best.params["C"]}
    assert told["text"].startswith("train finished in ")
    kept = Store(stored).text(records.parent, "record/spec.yaml")
    assert "${env:HOOK}" in kept
    assert "secret" not in kept


def test_a_group_that_breaks_off_is_told(stored, hook):
    spec = {"kind": "group", "run": {"function": train.function}, "param_space": SPACE, "notify": "${env:HOOK}"}
    plan = make_plan(spec_from_mapping({**spec, **QUICK}), values={"function": train.function})

    def breaks_off():
        yield from []
        raise OSError("the store has gone")

    with pytest.raises(OSError):
        list(watched(plan, breaks_off()))
    [told] = hook
    assert (told["status"], told["error"]) == ("failed", "OSError")


def test_who_can_not_be_told_is_noted(stored, monkeypatch):
    monkeypatch.delenv("HOOK", raising=False)
    records = train.group(SPACE, **QUICK, notify="${env:HOOK}")
    assert records.parent.ok
    assert any("the variable HOOK is not set" in note for note in Store(stored).record(records.parent.run_id).notes)


def test_a_single_run_is_told_by_the_command(stored, hook, script):
    from click.testing import CliRunner

    from ml_experiment_nb.cli import commands

    script("from ml_experiment_nb import report\nreport(loss=1)", "train.py")
    ran = CliRunner().invoke(commands, ["run", "train.py", "--notify", "${env:HOOK}"])
    assert ran.exit_code == 0, ran.output
    [told] = hook
    assert (told["name"], told["status"], told["kind"]) == ("train", "finished", "experiment")


@pytest.fixture
def shell(stored):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "ml_experiment_nb")
    yield shell
    shell.history_manager.end_session()


@pytest.mark.slow
def test_cells_are_told_by_their_magics(shell, hook):
    shell.run_cell("%%experiment one --notify ${env:HOOK}\nC = 1\n{'loss': C}").raise_error()
    shell.run_cell(
        "%%group many --notify '${env:HOOK}' --minimize loss --trials 2 --slots 1 --executor inline\n"
        "C = uniform(0, 1)\n{'loss': C}"
    ).raise_error()
    with pytest.raises(ZeroDivisionError):
        shell.run_cell("%%experiment bad --notify ${env:HOOK}\n1 / 0").raise_error()
    assert [(one["name"], one["status"]) for one in hook] == [
        ("one", "finished"), ("many", "finished"), ("bad", "failed")
    ]  # fmt: skip
    assert hook[1]["counts"] == {"finished": 2}


@pytest.mark.slow
def test_plain_iteration_needs_none_of_it(stored):
    spec = spec_from_mapping({"kind": "experiment", "run": {"function": train.function}, "params": {"C": 1}})
    [record] = run_plan(make_plan(spec, values={"function": train.function}))
    assert record.ok
