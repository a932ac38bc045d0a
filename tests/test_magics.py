import os
import re
import signal
import threading
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.exceptions import PapermillExecutionError

from ml_experiment_nb import writing
from ml_experiment_nb.errors import ExperimentError, SpecError, TaskError
from ml_experiment_nb.magics import ExperimentMagics
from ml_experiment_nb.records import Status
from ml_experiment_nb.usage import parsed

# --- in a shell ---


@pytest.fixture
def shell(project):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(history_length=0)
    shell.history_manager.enabled = False
    shell.run_line_magic("load_ext", "ml_experiment_nb")
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


@pytest.fixture
def store(stored):
    from ml_experiment_nb.tracking import Store

    return Store(stored)


class Shown:
    def __init__(self, result, out):
        self.error, self.out, self.err = result.error_in_exec or result.error_before_exec, out.stdout, out.stderr
        self.displayed = [output.data["text/plain"] for output in out.outputs]
        self.traceback = re.sub(r"\x1b\[[0-9;]*m", "", out.stdout)


@pytest.fixture
def run(shell):
    """Run a cell as a user does."""

    def run(source):
        with capture_output() as out:
            result = shell.run_cell(source)
        return Shown(result, out)

    return run


def test_a_run_says_what_is_wrong_with_its_cell(run, store):
    shown = run("%%experiment\nC = 1\nif C > 1:\n    open('/home/me/x.csv')\n{'a': C}")
    [record] = store.records()
    told = "'/home/me/x.csv' is a path of this machine alone (line 4)"
    assert record.tags["mlexp.preflight"] == told
    assert f"⚠ {told}" in shown.displayed[-1]
    run("%%experiment\nC = 1\n{'a': C}")
    assert "mlexp.preflight" not in store.records()[0].tags


def test_a_cell_is_an_experiment(run, store, shell):
    shown = run("""\
%%experiment "SVM" --into result --tag team=vision
C = 0.5
kernel = "rbf"

doubled = C * 2
print("hello")
{"accuracy": doubled}, {"notes.txt": "text"}""")
    assert shown.error is None
    assert shown.out == "hello\n"
    [record] = store.records()
    assert shown.displayed == [f"{shell.user_ns['result']}\n  files    notes.txt (4 B)"]
    assert (shell.user_ns["C"], shell.user_ns["doubled"]) == (0.5, 1.0)
    assert shell.user_ns["result"].run_id == record.run_id
    assert (record.name, record.status, record.params) == ("SVM", Status.FINISHED, {"C": 0.5, "kernel": "rbf"})
    assert record.metrics == {"accuracy": 1.0}
    assert record.tags["team"] == "vision"
    assert store.log_text(record) == "hello\n"
    assert {"notes.txt", "record/source/cell.py"} <= set(store.artifacts(record))


def test_a_parameter_is_overridden_and_expanded(run, store, shell):
    shell.user_ns["strength"] = 3
    assert run("%%experiment {strength}x -p C={strength}\nC = 0.5\n{'a': C}").error is None
    assert shell.user_ns["C"] == 3
    [record] = store.records()
    assert (record.name, record.params, record.metrics) == ("3x", {"C": 3}, {"a": 3.0})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "metrics"),
    [
        ("C = 1\n{'a': C};", {"a": 1.0}),
        ("C = 1", {}),
        ("C = 1\nNone", {}),
        ("C = 1\nb = {'a': 2}", {}),
        ("C = 1\n!echo from the shell\n{'a': C}", {"a": 1.0}),
        ("C = 1\n%time x = C\n{'a': x}", {"a": 1.0}),
        ("C = 1\nfiles = !echo one\n{'a': len(files)}", {"a": 1.0}),
        ("C = 1\ndef f():\n    return C\n{'a': f()}", {"a": 1.0}),
        ("C = 1\n{'a': sum(C for _ in range(2))}", {"a": 2.0}),
        ("from ml_experiment_nb import report\nC = 1\nfor k in range(3): report(step=k, loss=k)", {"loss": 2.0}),
        ("'''A docstring.'''\n# comment\nC = 1\n{'a': 'text', 'b': True}", {}),
    ],
)
def test_cells_of_many_kinds(run, store, cell, metrics):
    shown = run(f"%%experiment\n{cell}")
    assert shown.error is None, shown.out
    [record] = store.records()
    assert record.status is Status.FINISHED
    assert {name: value for name, value in record.metrics.items() if name != "b"} == metrics


def test_a_failing_cell_shows_its_own_frames_and_closes_its_run(run, store, shell):
    run("def divide(x):\n    return x / 0")
    shown = run("%%experiment --into result\nC = 1\n\ndivide(C)")
    assert isinstance(shown.error, ZeroDivisionError)
    assert "divide(C)" in shown.traceback
    assert "return x / 0" in shown.traceback
    assert "ml_experiment_nb" not in shown.traceback
    assert "contextlib" not in shown.traceback
    [record] = store.records()
    assert (record.status, record.failure.type) == (Status.FAILED, "ZeroDivisionError")
    assert "record/error.txt" in store.artifacts(record)
    assert shell.user_ns["result"].run_id == record.run_id
    error = store.client.download_artifacts(record.run_id, "record/error.txt", str(store.root))
    text = Path(error).read_text()
    assert "return x / 0" in text
    assert "ml_experiment_nb" not in text


def test_our_own_error_in_the_users_code_shows_where(run, store):
    shown = run("%%experiment\nfrom ml_experiment_nb import report\nC = 1\nx = 2\nreport(loss='high')")
    assert isinstance(shown.error, ExperimentError)
    assert "report(loss='high')" in shown.traceback
    assert store.records()[0].status is Status.FAILED


def test_an_interrupted_cell_closes_its_run_as_killed(run, store):
    shown = run("%%experiment\nC = 1\nraise KeyboardInterrupt")
    assert isinstance(shown.error, KeyboardInterrupt)
    [record] = store.records()
    assert record.status is Status.KILLED


@pytest.mark.parametrize(
    "cell",
    [
        "%%experiment -p D=1\nC = 1",
        "%%experiment two words\nC = 1",
        "%%experiment --colour\nC = 1",
        "%%experiment 'open\nC = 1",
        "%%experiment\nC = (",
        "%%group\nC = 1",
        "%%group --trials many\nC = uniform(0, 1)",
        "%%group --sampler best\nC = uniform(0, 1)",
        "%%group --executor cloud\nC = uniform(0, 1)",
    ],
)
def test_a_mistake_is_one_line_and_touches_nothing(run, project, cell):
    before = list(project.iterdir())
    shown = run(cell)
    assert isinstance(shown.error, SpecError)
    assert shown.traceback.strip().splitlines()[1:] == []
    assert str(shown.error) in shown.traceback
    assert list(project.iterdir()) == before


@pytest.mark.parametrize(("magic", "value"), [("experiment", "1"), ("group", "uniform(0, 1)")])
def test_a_plan_says_what_is_wrong(run, magic, value):
    cell = f"%%{magic} n --plan\nC = {value}\nk = 2\nimport random\n{{'a': C + random.random() + nowhere}}"
    shown = run(cell)
    assert "line 3: [unused-parameter] the parameter k has no effect" in shown.out
    assert "line 5: [unseeded] random.random() draws" in shown.out
    assert "line 5: [undefined] reads nowhere" in shown.out
    run("nowhere = 1")
    shown = run(cell.replace("random.random()", "k"))
    assert "random" not in shown.out
    assert "line " not in shown.out


@pytest.mark.parametrize("magic", ["experiment", "group"])
def test_plan_shows_and_touches_nothing(run, project, shell, magic):
    shell.user_ns["X"] = 1
    value = "uniform(0, 1)" if magic == "group" else "1"
    shown = run(f"%%{magic} n --plan\nC = {value}\nside = X + C\n{{'a': side}}")
    assert shown.error is None
    assert shown.out.startswith(f"Plan 'n'\n  kind       {magic}\n  run        cell\n")
    assert "side" not in shell.user_ns
    assert list(project.iterdir()) == []


@pytest.mark.parametrize(
    ("magic", "options"),
    [
        ("experiment", ("--param", "--into", "--tag", "--plan")),
        ("group", ("--trials", "--sampler", "--pruner", "--maximize", "--slots", "--seed", "--executor", "--retries")),
    ],
)
def test_help(shell, magic, options):
    text = shell.find_cell_magic(magic).__doc__
    for option in options:
        assert option in text
    assert f"%%{magic}" in text or f"%{magic}" in text


def test_a_store_that_is_dead_is_one_line(run, monkeypatch, shell):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/x.db")
    shown = run("%%experiment\nC = 1\nran = True")
    assert "can't be opened as a SQLite store" in shown.traceback
    assert len(shown.traceback.strip().splitlines()) == 1
    assert "ran" not in shell.user_ns


# --- groups ---


@pytest.mark.slow
def test_a_group_of_a_cell_that_draws_and_its_front(run, shell):
    shown = run("""\
%%group --define-by-run --trials 4 --maximize a --minimize b --slots 1 --into found --stop-when 'a >= 90'
from ml_experiment_nb import Trial
trial = Trial.get_current()
x = trial.suggest_int("x", 0, 9)
{"a": x + 90 * (trial.number == 2), "b": x if trial.number else -1}""")
    assert shown.error is None, shown.out
    found = shell.user_ns["found"]
    assert [record.number for record in found] == [0, 1, 2]
    assert found.best is None
    names = ", ".join(record.name for record in found.front)
    assert f"front: {names}\n" in shown.out
    assert "note: no more was begun: stop_when is met by cell #2" in shown.out


def test_a_group_of_the_cell(run, store, shell):
    run("""\
offset = 10
seen = []
def square(x):
    return x * x
class Point:
    def __init__(self, x):
        self.x = x + offset""")
    shown = run("""\
%%group "squares" --trials 3 --minimize loss --executor inline --slots 2 --into found --seed 1 --tag team=vision
x = uniform(1, 2)
fixed = 5
print("trial", fixed)
seen.append(x)
offset = offset + 1
{"loss": square(Point(x).x), "seen": len(seen)}""")
    assert shown.error is None, shown.out
    found = shell.user_ns["found"]
    assert (len(found), found.parent.ok, found.metric) == (3, True, "loss")
    assert shell.user_ns["seen"] == []
    assert shell.user_ns["offset"] == 10
    assert "x" not in shell.user_ns
    for record in found:
        assert record.metrics["loss"] == pytest.approx((record.params["x"] + 10) ** 2)
        assert record.metrics["seen"] == 1.0
    trials = store.records(parent_id=found.parent.run_id)
    assert {record.number for record in trials} == {0, 1, 2}
    assert {record.params["fixed"] for record in trials} == {5}
    assert {store.log_text(record) for record in trials} == {"trial 5\n"}
    assert found.best.metrics["loss"] == min(record.metrics["loss"] for record in trials)
    assert store.record(found.parent.run_id).tags["team"] == "vision"
    assert str(found) in shown.displayed[-1]


def test_a_group_of_which_no_trial_finishes_is_an_error(run, store, shell):
    shown = run("%%group --trials 2 --executor inline --slots 2 --into found\nx = uniform(1, 2)\n1 / 0")
    assert isinstance(shown.error, TaskError)
    assert "no trial finished; the first: ZeroDivisionError: division by zero" in str(shown.error)
    assert "Traceback" not in shown.traceback
    assert [record.status for record in shell.user_ns["found"]] == [Status.FAILED] * 2
    assert {record.status for record in store.records()} == {Status.FAILED}


def test_a_value_that_can_not_be_sent_is_named_in_one_line(run, store, shell):
    shell.user_ns["lock"] = threading.Lock()
    shown = run("%%group --executor inline\nx = uniform(1, 2)\nlock.acquire()\n{'loss': x}")
    assert "'lock' (lock, " in str(shown.error)
    assert len(shown.traceback.strip().splitlines()) == 1
    assert [record for record in store.records() if record.status is Status.RUNNING] == []


@pytest.mark.slow
def test_an_interrupted_group_keeps_what_it_has(run, store, shell, project):
    """The second trial interrupts the notebook, as a user who has seen enough."""
    shell.user_ns["notebook"] = os.getpid()
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        shown = run("""\
%%group --executor inline --slots 1 --trials 5 --minimize loss --into found
x = uniform(1, 2)
import os, pathlib, signal, threading
first = pathlib.Path("first")
if first.exists():
    os.kill(notebook, signal.SIGINT)
    threading.Event().wait()
first.touch()
{"loss": x}""")
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(shown.error, KeyboardInterrupt)
    assert "the group was stopped and its runs are closed; run the cell again to go on with it" in shown.traceback
    assert len(shown.traceback.strip().splitlines()) == 1
    assert [record.status for record in shell.user_ns["found"]] == [Status.FINISHED]
    assert shell.user_ns["found"].best is not None
    assert sorted(record.status for record in store.records()) == ["finished", "killed", "killed"]
    assert psutil.Process().children() == []


STOPS_ONCE = """\
%%group again --executor inline --slots 1 --trials 4 --minimize loss --into found
x = uniform(1, 2)
import os, pathlib, signal, threading
first, second = pathlib.Path("first"), pathlib.Path("second")
if first.exists() and not second.exists():
    second.touch()
    os.kill(notebook, signal.SIGINT)
    threading.Event().wait()
first.touch()
{"loss": x}"""


@pytest.mark.slow
def test_an_interrupted_group_goes_on_when_its_cell_is_run_again(run, store, shell):
    shell.user_ns["notebook"] = os.getpid()
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert isinstance(run(STOPS_ONCE).error, KeyboardInterrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    [group] = [record for record in store.records() if record.kind == "group"]
    shown = run(STOPS_ONCE)
    assert shown.error is None, shown.traceback
    assert f"note: goes on with the group {group.run_id[:8]}: 1 of 4 trials are done, 1 to be tried again" in shown.err
    assert f"{shown.out}{shown.err}".count("goes on with the group") == 1
    found = shell.user_ns["found"]
    assert (found.parent.run_id, len(found), found.parent.ok) == (group.run_id, 4, True)
    assert len([record for record in store.records() if record.kind == "group"]) == 1
    assert run(STOPS_ONCE).error is None  # one that has finished is run anew
    assert shell.user_ns["found"].parent.run_id != group.run_id


@pytest.mark.slow
def test_failures_are_told_by_what_they_share(run):
    shown = run("""\
%%group --executor inline --slots 1 --sampler grid --minimize loss
kernel = choice(["rbf", "poly", "lin"])
if kernel == "poly":
    raise ValueError("no poly")
{"loss": 1}""")
    assert "1 trial failed at the cell, line 4: ValueError: no poly" in shown.err


@pytest.mark.parametrize(
    ("above", "line"), [("", 4), ("\n  \n", 6), ("%%time\n", 5)], ids=["alone", "blank lines", "another magic"]
)
def test_lines_are_numbered_as_the_editor_shows_them(shell, store, above, line):
    def traceback(code):
        with capture_output() as out:
            result = shell.run_cell(f"{above}%%experiment lines\nC = 1\n{code}", store_history=True)
        return result.error_in_exec, re.sub(r"\x1b\[[0-9;]*m", "", out.stdout)

    error, text = traceback("\ndef f():\n    return 1 / 0\nf()")
    assert isinstance(error, ZeroDivisionError)
    assert f", line {line + 2}\n" in text
    assert f", line {line + 1}, in f()\n" in text
    assert f"---> {line + 1}     return 1 / 0" in text
    assert str(traceback("C ==== 2")[0]) == f"line {line - 1}: invalid syntax: C ==== 2"
    [record] = store.records()
    assert f"line {line + 1}, in f" in store.text(record, "record/error.txt")
    assert "1 / 0" in store.text(record, "record/error.txt")


def test_an_option_of_the_other_magic_is_told_as_such(run):
    shown = run("%%experiment --max acc\n{'acc': 1}")
    assert "--max: there is no such option: --maximize is an option of %%group, not of %%experiment" in shown.traceback
    assert "--prove is an option of %%experiment, not of %%group" in run("%%group --prove\nC = 1").traceback


def test_a_cell_is_stopped_from_elsewhere(run, store, shell):
    """Somebody asks for the run to be stopped while its cell runs here."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        shown = run("""\
%%experiment
import os, pathlib, time
from ml_experiment_nb import drivers
[folder] = drivers.driven(pathlib.Path(".ml-experiment").absolute())
drivers.ask_to_stop(folder)
time.sleep(60)""")
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(shown.error, KeyboardInterrupt)
    [record] = store.records()
    assert (record.status, record.failure.message[:11]) == (Status.KILLED, "stopped by ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report(loss=None)", "MetricError: report(loss=…): a metric is a number"),
        ("report(loss=1, step='a')", "MetricError: report(step='a'): a step is a whole number"),
        ("artifact('../x', 'a')", "CaptureError: artifact '../x' (str) can't be saved"),
    ],
)
def test_an_error_of_ours_in_a_cell_shows_the_cells_line_alone(run, store, line, message):
    text = run(f"%%experiment\nfrom ml_experiment_nb import artifact, report\n{line}").traceback
    assert f"> 3 {line}" in text
    assert message in text
    assert "ml_experiment_nb/" not in text
    assert "direct cause" not in text


def test_what_the_users_code_says_to_have_led_to_its_error_is_shown(run, store):
    text = run(
        "%%experiment\ntry:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise OSError('mine') from error"
    ).traceback
    assert text.index("ZeroDivisionError: division by zero") < text.index("direct cause") < text.index("OSError: mine")


class Interrupting:
    """A value that has somebody interrupt the process when it is looked at, which is before the cell's code runs."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGINT)
        return Interrupting, ()


def test_an_interrupt_before_the_cells_code_is_a_line_and_its_run_is_closed(run, store, shell):
    shell.user_ns["value"] = Interrupting()
    shown = run("%%experiment stopped\nC = 1\nprint('begun')\n{'score': value and C}")
    assert isinstance(shown.error, KeyboardInterrupt)
    assert shown.traceback.strip().splitlines() == ["KeyboardInterrupt: interrupted before the cell's code began"]
    assert [record.status for record in store.records()] in ([], [Status.KILLED])
    assert run("%%experiment again\nC = 1\n{'score': C}").error is None


def test_an_interrupt_while_the_cell_above_is_written_is_the_cells(shell, monkeypatch):
    """IPython catches what a hook before a cell raises, and runs the cell."""
    monkeypatch.setattr(writing, "CELL", 120.0)
    is_over = threading.Event()

    def write():
        writing._writer.hurry.wait(60)  # the next cell waits for this
        is_over.wait(0.5)  # and is interrupted when it does
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        is_over.wait(10)

    def cell():
        shell.events.callbacks["pre_execute"][-1]()  # as before each
        threading.Event().wait(60)

    writing.later(write, "nothing")
    try:
        with pytest.raises(KeyboardInterrupt) as found:
            cell()
    finally:
        is_over.set()
    assert "_let_write" not in [entry.name for entry in found.traceback]


# --- in a kernel ---


def notebook(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def texts(cell):
    outputs = [output.get("data", {}).get("text/plain") or output.get("text", "") for output in cell.outputs]
    return [text if isinstance(text, str) else "".join(text) for text in outputs]


@pytest.mark.kernel
def test_a_notebook(store, project):
    found = notebook(
        "%load_ext ml_experiment_nb\nfrom ml_experiment_nb import job\nX = [1, 2, 3]",
        "%%experiment one --into first\nC = 2\n{'a': C * len(X)}",
        "%%group many --trials 2 --maximize a --executor inline --slots 2 --into several\nC = uniform(0, 1)\n"
        "X.append(4)\n{'a': C + len(X)}",
        "@job\ndef train(C, kernel='rbf'):\n    print('training')\n    return {'a': C}\ntrain(C=0.5)",
        "print(len(X), first.metrics, len(several), several.parent.ok)",
    )
    NotebookClient(found, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(project)}}).execute()
    assert texts(found.cells[4]) == ["3 {'a': 6.0} 2 True\n"]
    assert texts(found.cells[1])[0].startswith("one  ✓ finished")
    assert any("many: 2/2" in text for text in texts(found.cells[2]))
    assert {"training\n", "{'a': 0.5}"} <= set(texts(found.cells[3]))
    records = store.records()
    assert sorted((record.name, record.kind) for record in records) == [
        ("many", "group"), ("many #0", "trial"), ("many #1", "trial"), ("one", "experiment"), ("train", "experiment")
    ]  # fmt: skip
    assert {record.status for record in records} == {Status.FINISHED}


@pytest.mark.kernel
def test_a_mistake_stops_a_headless_notebook(project):
    """nbclient looks at the reply, papermill at the outputs: both have to say that it was an error."""
    path = project / "book.ipynb"
    first, second = "%load_ext ml_experiment_nb", "%%group --sampler best\nC = uniform(0, 1)"
    nbformat.write(notebook(first, second, "never = 1"), path)
    found = nbformat.read(path, as_version=4)
    with pytest.raises(CellExecutionError, match="no sampler is called 'best'"):
        NotebookClient(found, timeout=120, kernel_name="python3").execute()
    [error] = [output for output in found.cells[1].outputs if output.output_type == "error"]
    assert error.ename == "SpecError"
    assert len(error.traceback) == 1
    with pytest.raises(PapermillExecutionError, match="no sampler is called 'best'"):
        papermill.execute_notebook(path, project / "out.ipynb", kernel_name="python3", progress_bar=False)
    assert nbformat.read(project / "out.ipynb", as_version=4).cells[-1].execution_count is None


@pytest.mark.kernel
def test_an_interrupted_kernel_closes_the_runs_and_leaves_no_process(store, project):
    os.mkfifo(project / "started")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(project))
    try:
        client.execute_interactive("%load_ext ml_experiment_nb", timeout=120)
        client.execute(
            "%%group stop --trials 4 --executor inline --slots 2 --minimize a --into found\n"
            "x = uniform(0, 1)\nimport threading\nopen('started', 'w').close()\nthreading.Event().wait()\n{'a': x}"
        )
        (project / "started").read_text()  # until a trial has opened it
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=120)["content"]
        while reply["status"] == "ok":  # that of the %load_ext
            reply = client.get_shell_msg(timeout=120)["content"]
        assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
        kernel = psutil.Process(manager.provisioner.pid)
        assert [one for one in kernel.children(recursive=True) if "ml_experiment_nb" in " ".join(one.cmdline())] == []
        reply = client.execute_interactive("assert len(found) == 0", timeout=120)["content"]
        assert reply["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    records = store.records()
    assert records[-1].kind == "group"
    assert {record.status for record in records} == {Status.KILLED}


# --- a table ---


def test_a_group_of_rows(run, store, shell):
    shell.user_ns["rows"] = [{"C": 2}, {"kernel": "linear"}]
    line = "%%group SVM --each rows --executor inline --slots 2 --maximize a --into recs"
    shown = run(f"{line}\nC = 1\nkernel = 'rbf'\ntail = 3\n{{'a': C + tail}}")
    assert shown.error is None
    found = shell.user_ns["recs"]
    assert [one.params for one in found] == [
        {"tail": 3, "C": 2, "kernel": "rbf"},
        {"tail": 3, "C": 1, "kernel": "linear"},
    ]
    assert found.best.metrics == {"a": 5.0}


@pytest.mark.parametrize(
    ("line", "cell", "says"),
    [
        (
            "--each row",
            "C = 1",
            "--each row: there is no such variable, and it is no table's file; did you mean 'rows'",
        ),
        ("--each no.csv", "C = 1", "no.csv: there is no such file"),
        ("--each rows", "D = 1", "each[0].C: the cell has no such parameter"),
        ("--each rows -p C=1", "C = 1", "each[0].C: is fixed for all rows"),
        ("--each rows", "C = 1\nD = uniform(0, 1)", "D is a distribution: give it in every row, or fix it with -p D="),
        ("--each rows --trials 2", "C = 1", "num_trials: is for a search, and `each` names the points already"),
        ("--each number", "C = 1", "each: must be a table's path"),
    ],
)
def test_rows_that_do_not_fit(run, shell, project, line, cell, says):
    shell.user_ns |= {"rows": [{"C": 2}], "number": 5}
    shown = run(f"%%group {line}\n{cell}")
    assert isinstance(shown.error, SpecError)
    assert says in str(shown.error)


def test_a_table_s_file_in_a_magic(run, store, project):
    (project / "params.csv").write_text("C\n1\n2\n")
    shown = run("%%group --each params.csv --plan\nC = 5\nC")
    assert "row 1    C=2" in shown.out


def test_an_option_is_known_by_its_whole_name_alone():
    with pytest.raises(UsageError, match="--prov: there is no such option"):
        parsed(ExperimentMagics.experiment, "--prov")
