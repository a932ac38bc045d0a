import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from ml_experiment_nb import cli
from ml_experiment_nb.records import Record, Status

TRAIN = """\
import os, signal, threading
from ml_experiment_nb import artifact, job, report

@job
def main(C, kernel="rbf", fail="no"):
    print("training with", C)
    if fail == "raise":
        raise ValueError("that failed")
    if fail == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fail == "wait":
        if os.path.exists("started"):
            open("started", "w").close()
        threading.Event().wait()
    report(step=0, loss=1.0)
    artifact("notes", "text")
    return {"accuracy": C / 2}

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def folder(project):
    """A project with something to run in it."""
    (project / "train.py").write_text(TRAIN)
    (project / "plain.py").write_text("print('plain')\n")
    cells = [nbformat.v4.new_code_cell(text) for text in ("C = 1", "print('C is', C)\nif C > 5:\n    1 / 0\n{'a': C}")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "book.ipynb")
    write(project, "svm.yaml", name="SVM", run=["train.py"], params={"C": 0.5, "kernel": "rbf"})
    write(
        project, "group.json", kind="group", name="search", run="train.py", num_trials=2, executor="inline", slots=2,
        param_space={"C": "uniform(0, 1)"}, metric={"name": "accuracy", "direction": "maximize"}, seed=1,
        sampler="random",
    )  # fmt: skip
    return project


def write(folder, file, /, **keys):
    lines = [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    (folder / file).write_text(json.dumps(keys) if file.endswith(".json") else "\n".join(lines) + "\n")


@pytest.fixture
def command(project, monkeypatch, capsys):
    """Run the command in this process; return its exit code and what it wrote."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ml-experiment", *words])
        before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def store(stored):
    from ml_experiment_nb.tracking import Store

    return Store(stored)


# --- run ---


@pytest.mark.parametrize("words", [["-p", "C=0.25"], ["-p", "C", "0.25"], ["--param", "C=0.25"], ["-pC=0.25"]])
def test_parameters_are_given_in_both_ways(folder, command, words):
    code, out, _ = command("run", "svm.yaml", "--plan", *words)
    assert code == 0
    assert "params     C=0.25, kernel='rbf'" in out


@pytest.mark.parametrize("suffix", ["py", "ipynb", "yaml"])
def test_a_name_that_no_file_can_have_and_a_link_to_itself(folder, command, suffix):
    code, out, err = command("run", f"{'x' * 5000}.{suffix}")
    assert (code, out) == (2, "")
    assert err.endswith("there is no such file\n")
    (folder / f"loop.{suffix}").symlink_to(f"loop.{suffix}")
    assert command("run", f"loop.{suffix}") == (2, "", f"error: loop.{suffix}: there is no such file\n")


def test_several_parameters(folder, command):
    words = ["-p", "C", "-1e-5", "-p", "kernel=linear", "-p", "fail", "a=b"]
    assert "params     C=-1e-05, kernel='linear', fail='a=b'" in command("run", "svm.yaml", "--plan", *words)[1]


@pytest.mark.parametrize(
    "words", [["svm.yaml"], ["group.json"], ["train.py", "-p", "C=1"], ["book.ipynb"], ["book.ipynb", "out.ipynb"]]
)
def test_plan_touches_nothing(folder, command, words):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, err = command("run", "--plan", *words)
    assert (code, err) == (0, "")
    assert out.startswith("Plan '")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_experiment(folder, command, store):
    code, out, err = command("run", "svm.yaml", "-p", "C=0.25")
    assert code == 0
    [record] = store.records()
    assert out.splitlines() == [
        "training with 0.25",
        out.splitlines()[1],
        "  params   C=0.25, kernel=rbf, fail=no",
        "  metrics  loss=1, accuracy=0.125",
        f"  look     ml-experiment show {record.run_id[:8]}, or ml-experiment ui",
    ]
    assert out.splitlines()[1].startswith("SVM  ✓ finished  ")
    assert err == ""
    assert (record.name, record.experiment, record.kind) == ("SVM", "SVM", "experiment")
    assert record.params == {"C": 0.25, "kernel": "rbf", "fail": "no"}
    assert record.metrics == {"loss": 1.0, "accuracy": 0.125}
    assert {"notes.txt", "record/source/train.py", "record/spec.yaml"} <= set(store.artifacts(record))


@pytest.mark.slow
def test_a_group_as_json_and_what_shows_it(folder, command, store):
    code, out, err = command("run", "group.json", "--json", "-q")
    assert (code, err) == (0, "")
    records = [Record.from_json(line) for line in out.splitlines()]
    assert [Record.from_json(record.to_json()) for record in records] == records
    *trials, parent = records
    assert (parent.kind, parent.status, len(trials)) == ("group", Status.FINISHED, 2)
    assert {trial.parent_id for trial in trials} == {parent.run_id}

    code, out, _ = command("ls", "-g", parent.run_id[:10])
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:6] == ["run_id", "started", "name", "trial", "status", "seconds"]
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(trial.run_id[:8] for trial in trials)

    code, out, _ = command("ls", "--json", "-n", "1")
    assert [Record.from_json(line).run_id for line in out.splitlines()]
    assert len(out.splitlines()) == 1
    assert len(command("ls", "--json", "-e", "search")[1].splitlines()) == 3
    assert command("ls", "-s", "failed") == (0, "", "no such runs\n")

    code, out, _ = command("show", parent.run_id[:10])
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["run", "name", "experiment", "kind"]
    for trial in trials:
        assert trial.run_id[:8] in out
    assert "record/plan.txt" in out
    assert Record.from_json(command("show", "--json", parent.run_id)[1]).run_id == parent.run_id

    assert command("logs", trials[0].run_id[:12])[:2] == (0, f"training with {trials[0].params['C']}\n")


def test_a_group_prints_a_table_and_the_best(folder, command, store):
    code, out, err = command("run", "group.json", "--trials", "1", "--name", "other [name]")
    assert (code, err) == (0, "")  # no bar: nobody looks
    assert "other [name] #0" in out
    [best] = [line for line in out.splitlines() if line.startswith("  best")]
    assert best.startswith("  best     other [name] #0: C=")
    assert len(store.records()) == 2


@pytest.mark.slow
def test_a_notebook(folder, command, store):
    code, out, _ = command("run", "book.ipynb", "out.ipynb", "-p", "C", "2")
    assert code == 0, out
    assert "C is 2" in out
    [record] = store.records()
    assert (record.name, record.metrics, record.params) == ("book", {"a": 2.0}, {"C": 2})
    executed = nbformat.read("out.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "C is 2\n"
    assert "out.ipynb" in store.artifacts(record)


def test_a_job_leaves_no_store(folder, command):
    code, out, _ = command("run", "train.py", "--kind", "job", "-p", "C=1")
    assert code == 0
    assert "(not tracked)" in out
    assert "metrics  loss=1, accuracy=0.5" in out
    assert not (folder / ".ml-experiment" / "mlflow.db").exists()


def test_json_keeps_standard_output_clean(folder, command, store):
    code, out, err = command("run", "plain.py", "--json")
    assert code == 0
    [line] = out.splitlines()
    assert Record.from_json(line).name == "plain"
    assert err == "plain\n"


# --- exit codes ---


@pytest.mark.parametrize(
    ("fail", "code", "failure"),
    [("raise", 1, "ValueError: that failed"), ("die", 4, "TaskDiedError"), ("wait", 5, "TaskTimeoutError")],
)
def test_exit_codes_of_runs_that_fail(folder, command, store, fail, code, failure):
    params = {"C": 1, "fail": fail}
    write(folder, "f.yaml", name="f", run="train.py", params=params, **({"timeout": 3.0} if fail == "wait" else {}))
    left, out, _ = command("run", "f.yaml")
    assert left == code
    assert failure in out
    [record] = store.records()
    assert record.status is Status.FAILED
    assert failure in str(record.failure)


def test_a_group_of_which_no_trial_finishes(folder, command, store):
    code, out, err = command("run", "group.json", "-p", "fail=raise", "--trials", "1")
    assert code == 1
    assert "no trial finished; the first: ValueError: that failed" in out
    assert "1 trial failed at train.py, line 8, in main: ValueError: that failed" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "missing.yaml"], "error: missing.yaml: there is no such file"),
        (["run", "svn.yaml"], "did you mean 'svm.yaml'"),
        (["run", "missing.py"], "error: missing.py: there is no such file"),
        (["run", "data.csv"], "error: data.csv: is neither a spec (.yaml, .json), a script (.py) nor a notebook"),
        (["run", "wrong.yaml"], "error: wrong.yaml:3: parms: is no key; did you mean 'params'?"),
        (["run", "svm.yaml", "-p", "kernal=rbf"], "error: kernal: train has no such parameter; did you mean 'kernel'?"),
        (["run", "train.py"], "error: C: train: main() needs it; give it in params, or with -p C=…"),
        (["run", "svm.yaml", "-p", "C"], "'C' is not NAME=VALUE, such as C=0.5"),
        (["run", "svm.yaml", "-p"], "requires an argument"),
        (
            ["run", "svm.yaml", "--trials", "3"],
            "error: --trials is for a group, and this is kind: experiment; say what",
        ),
        (["run", "svm.yaml", "--kind", "job", "-p", "C=uniform(0, 1)"], "uniform(0, 1): a search is for a group, and"),
        (["run", "group.json", "--sampler", "tpi"], "error: sampler: no sampler is called 'tpi'; did you mean 'TPE'?"),
        (["run", "group.json", "--sampler", "tpe(n_startup=1)"], "error: sampler.n_startup: TPESampler has no such"),
        (["run", "group.json", "--sampler", "tpe(x)"], "'tpe(x)' can't be read: write options by name"),
        (["run", "group.json", "--sampler", "tpe(seed=f())"], "sampler.seed: takes literals only, not f()"),
        (["run", "group.json", "--pruner", "threshold"], "error: pruner: ThresholdPruner doesn't take that"),
        (["run", "group.json", "--stop-when", "acc"], "error: stop_when: 'acc': ends where a comparison after acc"),
        (["run", "group.json", "--enqueue", "C=3"], "error: enqueue[0].C: 3 is outside of uniform(0, 1)"),
        (["run", "group.json", "--enqueue", "C"], "'C' is not NAME=VALUE"),
        (
            ["run", "group.json", "--maximize", "a", "--minimize", "b", "--pruner", "sha"],
            "pruner: a trial can't be judged",
        ),
        (["run", "group.json", "--timeout", "0"], "0.0 is not in the range"),
        (["run", "svm.yaml", "--storage", "x"], "error: --storage is for a group"),
        (["run", "svm.yaml", "--retries", "1"], "error: --retries is for a group"),
        (["run", "group.json", "--kind", "job"], "a group stays a group"),
        (["run", "group.json", "--trials", "0"], "0 is not in the range"),
        (["run", "group.json", "-p", "C=1"], "nothing left to search"),
        (["run", "svm.yaml", "out.ipynb"], "OUTPUT is for a single notebook"),
        (["run", "book.ipynb", "nowhere/out.ipynb"], "error: nowhere/out.ipynb: its folder does not exist"),
        (["run", "svm.yaml", "--cwd", "nowhere"], "'nowhere' does not exist"),
        (["run", "book.ipynb", "-p", "D=1"], "D"),
        (["rum", "svm.yaml"], "No such command 'rum'"),
        (["run"], "Missing argument 'TARGET'"),
        (["run", "svm.yaml", "--colour"], "No such option"),
    ],
)
def test_what_is_asked_wrongly(folder, command, words, says):
    write(folder, "wrong.yaml", name="w", run="train.py", parms={"C": 1})
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert not (folder / ".ml-experiment").exists()


def test_a_store_that_can_not_be_had(folder, command, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/x.db")
    for words in (["run", "svm.yaml"], ["ls"], ["show", "abcd"]):
        code, out, err = command(*words)
        assert (code, out) == (3, "")
        assert err.startswith("error: /dev/null/x.db can't be opened as a SQLite store")
        assert len(err.splitlines()) == 1


def test_unknown_runs(command, store):
    for words in (["show", "abcd"], ["logs", "abcd"], ["ls", "-g", "abcd"]):
        code, _, err = command(*words)
        assert code == 2
        assert "no run 'abcd' in sqlite:///" in err
    assert command("ls", "-e", "nope")[0] == 2
    assert command("ls") == (0, "", "no such runs\n")


def test_runs_are_listed_as_they_are_asked_for(command, store):
    for k, kernel in enumerate(["rbf", "poly", "rbf"]):
        run = store.client.create_run("0", run_name=f"run {k}")
        store.client.log_param(run.info.run_id, "kernel", kernel)
        store.client.log_metric(run.info.run_id, "acc", 0.5 + k / 10)
        store.client.set_terminated(run.info.run_id, "FAILED" if k == 0 else "FINISHED")

    def names(*words):
        code, out, err = command("ls", "--csv", *words)
        assert (code, err) == (0, "")
        return [row["name"] for row in csv.DictReader(io.StringIO(out))]

    assert names("--sort", "acc") == ["run 0", "run 1", "run 2"]
    assert names("--sort", "metrics.acc", "-r", "-n", "1") == ["run 2"]
    assert names("-r") == ["run 0", "run 1", "run 2"]
    assert names("-w", "kernel = rbf and acc > 0.5") == ["run 2"]
    assert names("-k", "group") == []
    assert names("-s", "failed") == ["run 0"]
    rows = list(csv.DictReader(io.StringIO(command("ls", "--csv", "-s", "failed")[1])))
    assert (rows[0]["params.kernel"], rows[0]["metrics.acc"], len(rows[0]["run_id"])) == ("rbf", "0.5", 32)
    code, _, err = command("ls", "-w", "kernel ~ rbf")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "can't be read at '~ rbf'" in err


@pytest.mark.slow
def test_a_list_is_had_without_mlflow(store):
    store.client.create_run("0", run_name="one")
    code = "import sys; from ml_experiment_nb.cli import commands; commands(['ls'], standalone_mode=False); "
    code += "assert not {'mlflow', 'pandas'} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "one" in ran.stdout


def test_looking_makes_no_store(command, project):
    assert command("ls") == (0, "", "no runs yet: `ml-experiment run` makes one\n")
    code, _, err = command("show", "abcd")
    assert (code, err) == (2, f"error: nothing is recorded in {project} yet: `ml-experiment run` does that\n")
    assert list(project.iterdir()) == []


def test_values_in_brackets_are_no_markup(command, store):
    run = store.client.create_run("0", run_name="[bold]x :smile:")
    store.client.log_param(run.info.run_id, "layers", "[relu, tanh]")
    for words in (["ls"], ["show", run.info.run_id]):
        out = command(*words)[1]
        assert "[bold]x :smile:" in out
        assert "[relu, tanh]" in out


def test_runs_that_no_metric_orders_are_said_to_be_by_their_date(command, store):
    for value in (1, 2):
        run = store.client.create_run("0", run_name=f"run {value}")
        store.client.log_metric(run.info.run_id, "acc", value)
        store.client.set_terminated(run.info.run_id)
    code, out, err = command("compare")
    assert (code, err) == (0, "by their date: --maximize or --minimize METRIC puts the best first\n")
    assert len(out.splitlines()) == 3
    code, out, err = command("compare", "--maximize", "acc")
    assert (code, err) == (0, "")
    assert "run 2" in out.splitlines()[1]


def test_version_and_help(command):
    from ml_experiment_nb import __version__

    assert command("--version") == (0, f"{__version__}\n", "")
    for words in (["-h"], ["run", "--help"], ["ls", "-h"]):
        code, out, err = command(*words)
        assert (code, err) == (0, "")
        assert out.startswith("Usage: ")


def test_what_is_started_under_nohup_outlives_its_terminal(command):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command("--version")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# --- as a process ---


def start(*words, **options):
    command = [sys.executable, "-m", "ml_experiment_nb.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "how"), [("svm.yaml", signal.SIGINT), ("group.json", signal.SIGTERM), ("svm.yaml", signal.SIGHUP)]
)
def test_an_interrupt(folder, store, kind, how):
    os.mkfifo(folder / "started")
    with start("run", kind, "-p", "fail=wait") as process:
        (folder / "started").read_text()  # until the code has opened it
        process.send_signal(how)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    *more, last = [line.strip() for line in err.splitlines() if line.strip()]
    assert last == "interrupted: what ran was stopped and its runs are closed"
    group = next((record.run_id[:8] for record in store.records() if record.kind == "group"), None)
    assert more == ([f"go on    ml-experiment resume {group}, or the same command again"] if group else [])
    assert "Traceback" not in out
    assert {record.status for record in store.records()} == {Status.KILLED}
    assert [one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])] == []


@pytest.mark.slow
def test_a_reader_that_goes_away(folder, store):
    for _ in range(20):
        run = store.client.create_run("0", run_name="x" * 1000)
        store.client.log_param(run.info.run_id, "long", "y" * 6000)
    with start("ls", "--json") as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert err == ""
    assert process.returncode == 1


@pytest.mark.slow
def test_the_command_is_installed(folder):
    command = Path(sys.executable).with_name("ml-experiment")
    ran = subprocess.run([command, "run", "svm.yaml", "--plan"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Plan 'SVM'")


# --- a table ---


@pytest.mark.kernel
def test_a_notebook_for_each_row(folder, command, store):
    (folder / "params.csv").write_text("C\n6\n1\n2.5\n")
    (folder / "out").mkdir()
    code, out, err = command(
        "run", "book.ipynb", "out/{C}.ipynb", "--each", "params.csv",
        "--slots", "2", "--executor", "inline", "--results", "results.csv",
    )  # fmt: skip
    assert code == 1
    header, *lines = out.splitlines()
    assert header.split() == ["row", "C", "a", "status", "seconds", "error", "run_id"]
    assert [line.split()[:3] for line in lines[:3]] == [
        ["0", "6", "failed"],
        ["1", "1", "1"],
        ["2", "2.5", "2.5"],
    ]
    assert "ZeroDivisionError: division by zero" in lines[0]
    assert "1 trial failed at cell 3, line 3: ZeroDivisionError: division by zero\n  trials   #0\n" in err
    read = (folder / "results.csv").read_text().splitlines()
    assert read[0] == "row,C,a,status,seconds,error,run_id"
    assert [line.split(",")[1] for line in read[1:]] == ["6", "1", "2.5"]
    for name in ("6", "1", "2.5"):
        book = nbformat.read(folder / f"out/{name}.ipynb", as_version=4)
        assert any(f"C is {name}" in str(cell.get("outputs")) for cell in book.cells)
    parent = next(one for one in store.records() if one.kind == "group")
    assert "results.csv" in store.artifacts(parent)


def test_rows_from_standard_input(folder, command, store, monkeypatch):
    rows = io.TextIOWrapper(io.BytesIO(b'{"C": 1}\n{"C": 3, "kernel": "linear"}\n'))
    monkeypatch.setattr(sys, "stdin", rows)
    words = ["--each", "-", "--slots", "1", "-p", "fail=no", "--json", "--results", "r.jsonl"]
    code, out, _ = command("run", "train.py", *words)
    assert code == 0
    found = [Record.from_json(line) for line in out.splitlines()]
    assert [(one.number, one.metrics.get("accuracy")) for one in found] == [(0, 0.5), (1, 1.5), (None, None)]
    read = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert [(one["C"], one["kernel"], one["fail"]) for one in read] == [(1, "rbf", "no"), (3, "linear", "no")]


@pytest.mark.slow
def test_results_of_a_search(folder, command, store):
    assert command("run", "group.json", "-q", "--results", "r.csv")[0] == 0
    assert (folder / "r.csv").read_text().startswith("trial,C,")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--each", "param.csv"], "param.csv: there is no such file; did you mean 'params.csv'?"),
        (["--each", "params.csv", "-p", "C=1"], "params.csv:1: C: is fixed for all rows (params, -p)"),
        (["--each", "params.csv", "--trials", "2"], "--trials is for a search, and a table has its points already"),
        (["--each", "params.csv", "--storage", "x"], "--storage is for a search, and a table has its points already"),
        (["--each", "params.csv", "--kind", "job"], "--each records a run for each row, and a job is not recorded"),
        (["-", "--each", "params.csv"], "OUTPUT - is for a single run"),
        (["a.ipynb", "--each", "params.csv"], "rows 0 and 1 would both be written to"),
        (["--each", "params.csv", "--results", "r.txt"], "r.txt: a table of results ends in .csv or .jsonl"),
        (["--each", "params.csv", "--results", "no/r.csv"], "no/r.csv: its folder does not exist"),
        (["--results", "r.csv"], "--results is for a group, and this is kind: experiment"),
    ],
)
def test_a_table_that_is_asked_for_wrongly(folder, command, words, says):
    (folder / "params.csv").write_text("C\n1\n2\n")
    code, _, err = command("run", "book.ipynb", *words)
    assert code == 2
    assert says in err
    assert not (folder / ".ml-experiment/mlflow.db").exists()


def test_a_search_takes_no_table(folder, command):
    (folder / "params.csv").write_text("C\n1\n2\n")
    code, _, err = command("run", "group.json", "--each", "params.csv")
    assert (code, "param_space: is for a search, and `each` names the points already" in err) == (2, True)


# --- runs of other processes, and of before ---


@pytest.mark.slow
def test_a_group_that_has_ended_is_attached_to_stopped_and_resumed(folder, command, store):
    code, out, _ = command("run", "group.json")
    run_id = next(record.run_id for record in store.records() if record.kind == "group")
    attached = command("attach", run_id[:8])
    assert attached[0] == code == 0
    assert [line.split()[:2] for line in attached[1].splitlines()] == [line.split()[:2] for line in out.splitlines()]
    assert command("stop", run_id[:8]) == (0, "", f"search ({run_id[:8]}) had ended: finished\n")
    code, _, err = command("resume", run_id[:8])
    assert (code, err) == (2, f"error: nothing is missing of {run_id[:8]}: --trials N asks for N more\n")
    code, out, _ = command("resume", run_id[:8], "--trials", "1", "--plan")
    assert (code, "trials     3" in out) == (0, True)
    code, out, err = command("resume", run_id[:8], "--trials", "1")
    assert code == 0
    assert f"note: goes on with the group {run_id[:8]}: 2 of 3 trials are done" in err
    assert "goes on with" not in out  # it was told when it began
    assert len(out.splitlines()) == len(attached[1].splitlines()) + 1
    assert len(store.children(run_id)) == 3


def test_a_single_run_s_log_is_followed_to_its_end(folder, command, store):
    command("run", "plain.py")
    [record] = store.records()
    assert command("logs", "-f", record.run_id)[1] == "plain\n"
    code, out, err = command("attach", record.run_id)
    assert (code, out) == (0, "plain\n")
    assert "plain  ✓ finished" in err


@pytest.mark.parametrize("verb", ["resume", "attach", "stop"])
def test_a_run_that_is_not_there(folder, command, store, verb):
    code, _, err = command(verb, "abcdef12")
    assert (code, "no run 'abcdef12'" in err) == (2, True)


@pytest.mark.slow
def test_fresh(folder, command, store):
    assert command("run", "group.json", "--fresh", "-q")[0] == 0


def test_failures_are_told_and_kept(folder, command, store):
    code, _, err = command("run", "group.json", "-p", "fail=raise")
    assert code == 1
    assert "2 trials failed at train.py, line 8, in main: ValueError: that failed\n  trials   #0, #1\n" in err
    group = next(record for record in store.records() if record.kind == "group")
    assert "2 trials failed at train.py, line 8" in command("show", group.run_id)[1]


# --- a search without a spec ---


def test_a_script_becomes_a_group(folder, command, store):
    words = ["-p", "C=uniform(0, 1)", "-p", "kernel=linear", "--trials", "3", "--maximize", "accuracy", "--slots", "1"]
    code, out, err = command("run", "train.py", *words, "--enqueue", "C=0.5", "--seed", "3")
    assert code == 0, err
    assert "best     train #" in out
    parent = next(record for record in store.records() if record.kind == "group")
    trials = store.records(parent_id=parent.run_id)
    assert {record.params["kernel"] for record in trials} == {"linear"}
    assert [record.params["C"] for record in trials if record.number == 0] == [0.5]
    assert len(trials) == 3


def test_a_distribution_alone_makes_a_group_and_a_raw_text_does_not(folder, command):
    code, out, _ = command("run", "train.py", "-p", "C=uniform(0, 1)", "--plan")
    assert (code, "kind       group" in out, "trials     10" in out) == (0, True, True)
    code, out, _ = command("run", "train.py", "-p", "C=1", "-r", "kernel", "uniform(0, 1)", "--plan")
    assert (code, "kind       experiment" in out) == (0, True)


def test_a_notebook_and_an_experiment_s_spec_become_groups(folder, command):
    code, out, _ = command("run", "book.ipynb", "-p", "C=range(1, 4)", "--sampler", "grid", "--maximize", "a", "--plan")
    assert (code, "sampler    Grid" in out, "metric     maximize a" in out) == (0, True, True)
    code, out, _ = command("run", "svm.yaml", "-p", "C=uniform(0, 1)", "--trials", "2", "--plan")
    assert (code, "params     kernel='rbf'" in out, "C        uniform(0, 1)" in out) == (0, True, True)


def test_the_options_of_a_search_override_a_spec(folder, command):
    words = [
        "--sampler", "tpe(n_startup_trials=3)", "--pruner", "median(n_warmup_steps=2)", "--seed", "0", "--trials", "7",
        "--timeout", "60", "--timeout-per-trial", "5", "--max-failures", "2", "--stop-when", "accuracy > 0.4",
        "--enqueue", "C=1", "--slots", "1", "--storage", "x.log",
    ]  # fmt: skip
    code, out, _ = command("run", "group.json", *words, "--plan")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "sampler TPE(n_startup_trials=3), seed 0",
        "pruner Median(n_warmup_steps=2)",
        "trials 7",
        "point 0 C=1",
        "stops after 1 min 00 s; when accuracy > 0.4; after 2 failures",
        "per trial at most 5.00 s",
        "metric maximize accuracy",
    ):
        assert line in lines


@pytest.mark.slow
def test_several_metrics_on_the_command_line(folder, command):
    (folder / "trade.py").write_text("import sys; from ml_experiment_nb import report\n"
                                     "x = int(sys.argv[2]); report(gain=x, cost=x * x if x else 9)")  # fmt: skip
    words = ["-p", "x=range(0, 4)", "--sampler", "grid", "--maximize", "gain", "--minimize", "cost", "--slots", "1"]
    code, out, err = command("run", "trade.py", *words)
    assert code == 0, err
    front = sorted(line.partition(": ")[2] for line in out.splitlines() if line.startswith("  front"))
    assert front == ["x=1 (gain=1, cost=1)", "x=2 (gain=2, cost=4)", "x=3 (gain=3, cost=9)"]
    assert "  best " not in out


@pytest.mark.slow
def test_code_that_draws_by_itself_on_the_command_line(folder, command):
    text = "from ml_experiment_nb import Trial, report\nreport(loss=Trial.get_current().suggest_float('x', 0, 1))"
    (folder / "draws.py").write_text(text)
    words = ["--define-by-run", "--trials", "3", "--minimize", "loss", "--slots", "1", "--results", "r.csv"]
    code, out, err = command("run", "draws.py", *words)
    assert code == 0, err
    assert (folder / "r.csv").read_text().splitlines()[0] == "trial,x,loss,status,seconds,error,run_id"
    code, out, _ = command("run", "draws.py", "-p", "x=0.5")
    assert (code, "loss=0.5" in out) == (0, True)


@pytest.mark.slow
def test_the_exit_codes_of_a_group_that_is_stopped(folder, command):
    (folder / "waits.py").write_text("import time; time.sleep(600)")
    words = ["-p", "x=uniform(0, 1)", "--slots", "1"]
    code, out, _ = command("run", "waits.py", *words, "--timeout", "1")
    assert (code, "stopped at its limit of 1.00 s, and no trial had finished" in out) == (5, True)
    (folder / "fails.py").write_text("1 / 0")
    code, out, _ = command("run", "fails.py", *words, "--max-failures", "2")
    assert (code, "max_failures is reached: 2 failed; the last: fails #1: ZeroDivisionError" in out) == (1, True)


@pytest.mark.slow
def test_the_plan_of_a_group_that_would_go_on_says_so(folder, command, store):
    (folder / "waits.py").write_text("import time; time.sleep(600)")
    words = ["run", "waits.py", "-p", "x=uniform(0, 1)", "--trials", "2", "--slots", "1", "--executor", "inline"]
    with subprocess.Popen([sys.executable, "-m", "ml_experiment_nb.cli", *words], start_new_session=True) as process:
        while not any(record.kind == "trial" for record in store.records()):
            time.sleep(0.1)
        process.kill()
    code, out, _ = command(*words, "--plan")
    assert (code, "note       goes on with the group" in out, "such as" in out) == (0, True, False)
    code, out, _ = command(*words, "--plan", "--fresh")
    assert (code, "goes on" in out, "such as" in out) == (0, False, True)


def test_a_script_s_own_options_are_known(folder, command):
    (folder / "tree.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--max-depth', type=int)\n"
        "parser.add_argument('--verbose', action='store_true')\nprint(parser.parse_args())\n"
    )
    code, out, err = command("run", "tree.py", "-p", "max-depth=4", "-p", "verbose=True")
    assert (code, "Namespace(max_depth=4, verbose=True)" in out) == (0, True), err
    code, _, err = command("run", "tree.py", "-p", "max_dept=4")
    assert (code, "did you mean 'max_depth'?" in err) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk to write to")
def test_output_that_cannot_be_written_is_one_line(project):
    asked = [sys.executable, "-m", "ml_experiment_nb.cli", "schema"]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(asked, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (3, "error: [Errno 28] No space left on device\n")


def test_closed_standard_streams_are_no_error_and_no_file_takes_their_place(project):
    code = (
        "import os, click; from ml_experiment_nb import cli\n"
        "look = lambda: open('seen', 'w').write(str(open(os.devnull).fileno()))\n"
        "cli.commands.add_command(click.command('look')(look))\n"
        "cli.main()"
    )
    ran = subprocess.run(["/bin/sh", "-c", '"$0" -c "$1" look <&- >&- 2>&-', sys.executable, code])
    assert ran.returncode == 0
    assert int((project / "seen").read_text()) > 2


@pytest.mark.parametrize(
    ("env", "wanted"), [({}, None), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, None), ({"TERM": "dumb"}, False)]
)
def test_who_wants_no_colours_gets_none(monkeypatch, env, wanted):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert cli._wanted_colour() is wanted
