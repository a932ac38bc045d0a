"""papermill's command line, as `ml-experiment run` takes it."""

import base64
import http.server
import io
import json
import subprocess
import sys
import threading

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import cli

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture
def folder(project):
    """A project with a notebook, a script, and a group of trials of that script."""
    cells = [
        new_code_cell("C: float = 1.0  # the cost\nname = 'rbf'\nflag = None", metadata={"tags": ["parameters"]}),
        new_code_cell("print(C, name)\n{'a': C}", metadata={"tags": ["last"]}),
    ]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), project / "book.ipynb")
    (project / "train.py").write_text(
        "from ml_experiment_nb import job\n@job\ndef main(C, name='x'): return {'a': C}\n"
    )
    spec = {"kind": "group", "run": "train.py", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 2}
    (project / "group.json").write_text(json.dumps(spec))
    (project / "book.yaml").write_text("run: {notebook: book.ipynb, kernel: python3, execution_timeout: 60}\n")
    (project / "p.yaml").write_text("C: 2\nname: from the file\n")
    return project


@pytest.fixture
def command(folder, monkeypatch, capsysbinary):
    """Run the command in this process; return its exit code and what it wrote."""

    def run(*words, stdin=None):
        monkeypatch.setattr(sys, "argv", ["ml-experiment", "run", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b"")))
        monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def b64(text):
    return base64.b64encode(text.encode()).decode()


PARAMETERS = [
    (["-f", "p.yaml"], "C=2, name='from the file'"),
    (["-b", b64("C: 1"), "-f", "p.yaml"], "C=2, name='from the file'"),
    (["-y", "{C: 3}", "-f", "p.yaml"], "C=3, name='from the file'"),
    (["-p", "C", "4", "-y", "{C: 3}"], "C=4"),
    (["-r", "C", "5", "-p", "C=4"], "C='5'"),
    (["-y", "C: 1", "-y", "C: 2"], "C=2"),
    (["-y", "flag: yes\nname: 2026-11-01\nC: 1e-5"], "flag=True, name='2026-11-01', C=1e-05"),
    (["-y", "name: 1e\nC: -.5E+3"], "name='1e', C=-500.0"),
    (["-y", ""], ""),
    (["--parameters", "C", "1", "--parameters_raw", "name", "-p"], "C=1, name='-p'"),
    (["--parameters_file", "p.yaml", "--parameters_yaml", "C: 3", "--parameters_base64", b64("C: 9")], "C=3, name="),
    (["--inject-paths"], "PAPERMILL_INPUT_PATH='book.ipynb', PAPERMILL_OUTPUT_PATH='out-{C}.ipynb'"),
    (["--inject-input-path"], "PAPERMILL_INPUT_PATH='book.ipynb'"),
    (["--inject-output-path", "-p", "C", "1"], "PAPERMILL_OUTPUT_PATH='out-{C}.ipynb', C=1"),
]


@pytest.mark.parametrize(("words", "shown"), PARAMETERS)
def test_parameters(command, words, shown):
    given = words if "-p" in words or "C" in shown else [*words, "-p", "C=1"]
    output = [] if "inject" not in words[0] else ["out-{C}.ipynb"]
    given = given if not output or "-p" in given else [*given, "-p", "C=1"]
    code, out, err = command("book.ipynb", *output, "--plan", *given)
    assert (code, err) == (0, "")
    [params] = [line for line in out.splitlines() if line.startswith("  params")]
    assert params.removeprefix("  params     ").startswith(shown)


@pytest.mark.slow
def test_parameters_of_scripts_and_groups(command):
    assert "params     C=2, name='from the file'" in command("train.py", "-f", "p.yaml", "--plan")[1]
    out = command("group.json", "--plan", "-y", "{C: 'uniform(1, 2)'}", "-r", "name", "uniform(1, 2)")[1]
    assert "  C        uniform(1, 2)" in out
    assert "params     name='uniform(1, 2)'" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-f", "none.yaml"], "error: none.yaml: can't be read: No such file or directory"),
        (["-f", "."], "error: .: can't be read: Is a directory"),
        (["-y", "[1, 2]"], "error: -y: holds a list, not names and values such as C: 0.5"),
        (["-y", "C: [1"], "error: -y:1: isn't YAML"),
        (["-y", "{1: 2}"], "error: -y: 1 can't be a parameter: it must be a Python name"),
        (["-y", "!!python/object:os.system {}"], "isn't YAML"),
        (["-b", "***"], "error: -b: isn't base64 of YAML"),
        (["-b", base64.b64encode(b"\xff").decode()], "error: -b: isn't base64 of YAML"),
        (["-r", "a-b", "1"], "error: -r: 'a-b' can't be a parameter"),
        (["-r", "C"], "requires 2 arguments"),
        (["-y", "D: 1"], "error: book: D: the parameters cell (cell 1) has no such parameter"),
        (["out-{D}.ipynb"], "error: out-{D}.ipynb: the run gives no parameter 'D'"),
        (["{"], "can't be filled in"),
        (["-k", "python4"], "error: book: kernel: no kernel is called 'python4'; did you mean 'python3'?"),
        (["--engine", "nbclint"], "papermill has no engine 'nbclint'; did you mean 'nbclient'?"),
        (["--engine", "nbclient", "--from-cell", "1"], "error: from_cell and until_cell need the engine"),
        (["--from-cell", "lost"], "error: book: from_cell: there is no cell 'lost'; did you mean 'last'?"),
        (["--until-cell", "0"], "error: --until-cell: 0 names no cell"),
        (["--execution-timeout", "0"], "0 is not in the range"),
        (["--log-level", "LOUD"], "'LOUD' is not one of"),
        (["-", "--json"], "error: --json and OUTPUT `-` both take standard output"),
        (["--prepare-only"], "error: --prepare-only needs OUTPUT"),
    ],
)
def test_what_is_asked_wrongly(command, folder, words, says):
    code, out, err = command("book.ipynb", *words)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert not (folder / ".ml-experiment").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train.py", "-p", "C=1", "--from-cell", "1"], "error: --from-cell is for a notebook"),
        (["train.py", "-p", "C=1", "--inject-paths"], "error: --inject-paths is for a single notebook"),
        (["train.py", "-p", "C=1", "--help-notebook"], "error: --help-notebook is for a single notebook"),
        (["group.json", "--stdout-file", "x"], "error: --stdout-file is for a notebook"),
        (["-"], "error: standard input: isn't a notebook: it is empty"),
        (["ftp://host/x.ipynb"], "error: ftp://host/x.ipynb: papermill knows no such place; it knows abs://"),
        (["https://host/train.yaml"], "only a notebook can lie elsewhere: fetch it first"),
        (["https://host/train.json?raw=1"], "only a notebook can lie elsewhere: fetch it first"),
        (["{D}.ipynb"], "error: {D}.ipynb: the run gives no parameter 'D'"),
    ],
)
def test_targets_that_are_wrong(command, folder, words, says):
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert not (folder / ".ml-experiment").exists()


def test_standard_input_that_is_no_notebook(command):
    _, _, err = command("-", stdin=b"<html>no</html>")
    assert (
        err
        == "error: standard input:1: isn't a notebook: not JSON (Expecting value); it begins with '<html>no</html>'\n"
    )


def test_options_of_a_spec_s_notebook(command, monkeypatch):
    made = []
    monkeypatch.setattr(
        sys.modules["ml_experiment_nb.cli.run"], "run_plan", lambda plan, *_, **__: made.append(plan) or sys.exit(0)
    )
    command("book.yaml", "--report-mode", "--from-cell", "2", "--until-cell", "last", "--stdout-file", "out.txt")
    [notebook] = made[0].targets
    assert (notebook.kernel, notebook.execution_timeout, notebook.report_mode) == ("python3", 60, True)
    assert (notebook.from_cell, notebook.until_cell) == (2, "last")
    assert notebook.stdout_file.endswith("/out.txt")


def test_a_target_s_name_is_filled_in(command, folder):
    (folder / "book.ipynb").rename(folder / "book-7.ipynb")
    assert "Plan 'book-7'" in command("book-{C}.ipynb", "-p", "C", "7", "--plan")[1]
    (folder / "book-7.ipynb").rename(folder / "{C}.ipynb")
    assert "Plan '{C}'" in command("{C}.ipynb", "-p", "C", "7", "--plan")[1]


@pytest.mark.slow
def test_help_on_a_notebook_is_papermill_s(command):
    code, out, err = command("book.ipynb", "--help-notebook")
    assert (code, err) == (0, "")
    theirs = subprocess.run(
        [sys.executable, "-m", "papermill", "--help-notebook", "book.ipynb"], capture_output=True, text=True
    )
    assert out.startswith("Usage: ")
    assert out.splitlines()[3:] == theirs.stdout.splitlines()[-3:]
    assert "  C: float (default 1.0)          the cost" in out


@pytest.mark.slow
def test_a_prepared_notebook_is_papermill_s(command, folder):
    words = ["book.ipynb", "{}-{{C}}.ipynb", "-p", "C", "2", "--prepare-only", "--report-mode"]
    assert command(*(word.format("ours") for word in words)) == (0, "", "")
    theirs = [sys.executable, "-m", "papermill", *(word.format("theirs") for word in words)]
    assert subprocess.run(theirs, capture_output=True).returncode == 0
    ours, theirs = (json.loads((folder / f"{name}-2.ipynb").read_text()) for name in ("ours", "theirs"))
    for nb in (ours, theirs):
        for path in ("input_path", "output_path"):
            assert nb["metadata"]["papermill"].pop(path).endswith(".ipynb")
        for cell in nb["cells"]:
            del cell["id"]
    assert ours == theirs
    assert not (folder / ".ml-experiment").exists()
    code, out, _ = command("-", "-", "--prepare-only", "-p", "C=3", stdin=(folder / "book.ipynb").read_bytes())
    assert (code, json.loads(out)["cells"][1]["source"]) == (0, ["# Parameters\n", "C = 3\n"])


# --- with a kernel ---


@pytest.mark.kernel
def test_a_pipe_carries_the_notebook_alone(command, folder, stored):
    words = ["-", "-", "-p", "C", "2", "--from-cell", "last"]
    code, out, err = command(*words, stdin=(folder / "book.ipynb").read_bytes())
    assert code == 0, err
    nb = json.loads(out)
    paths = nb["metadata"]["papermill"]
    assert (paths["input_path"], paths["output_path"], paths["parameters"]) == ("-", "-", {"C": 2})
    assert nb["cells"][-1]["outputs"][0]["text"] == ["2 rbf\n"]
    assert "2 rbf\n" in err
    assert "cell 3/3  print(C, name)\n" in err
    from ml_experiment_nb.tracking import Store

    [record] = Store(stored).records()
    assert (record.name, record.metrics) == ("stdin", {"a": 2.0})
    assert record.tags["mlexp.partial"] == "from cell last"
    assert "left out 0 of its 2 cells" in record.notes[0]


@pytest.mark.kernel
def test_a_failing_cell_in_a_pipe(command, stored):
    cells = [new_code_cell("print('before')"), new_code_cell("1 / 0"), new_code_cell("print('never')")]
    text = nbformat.writes(new_notebook(cells=cells, metadata=KERNEL))
    code, out, err = command("-", "-", "--no-progress-bar", stdin=text.encode())
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "cell 1/3" not in err
    assert "before\n" in json.loads(out)["cells"][1]["outputs"][0]["text"]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("source", "code", "failure"),
    [
        ("import os; os._exit(3)", 4, "TaskDiedError: the notebook's kernel died in cell 2 (import os; os._exit(3))"),
        (
            "while True: pass",
            5,
            "TaskTimeoutError: stopped in cell 2 (while True: pass): it took longer than its limit",
        ),
    ],
)
def test_exit_codes_of_notebooks_that_are_cut_off(command, folder, source, code, failure):
    cells = [new_code_cell(text) for text in ("print('before')", source, "print('never')")]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), folder / "cut.ipynb")
    left, out, _ = command("cut.ipynb", "out.ipynb", "--execution-timeout", "5", "--kind", "job")
    assert left == code
    assert failure in out
    first, second, third = nbformat.read("out.ipynb", as_version=4).cells
    assert first.outputs[0].text == "before\n"
    assert second.metadata.papermill.status == "failed"
    assert third.outputs == []


def test_a_pattern_may_lie_elsewhere(folder, command):
    (folder / "p.csv").write_text("C\n1\n2\n")
    code, out, _ = command("book.ipynb", "s3://bucket/{row}.ipynb", "--each", "p.csv", "--plan")
    assert code == 0, out
    code, _, err = command("book.ipynb", "s3://bucket/same.ipynb", "--each", "p.csv", "--plan")
    assert code == 2
    assert "rows 0 and 1 would both be written to s3://bucket/same.ipynb" in err


def test_outputs_are_shown_in_any_case(folder, command):
    assert command("book.ipynb", "--stdout-file", "-", "--plan")[0] == 0
    assert not (folder / "-").exists()


@pytest.mark.slow  # imports Ray
def test_nothing_to_write_leaves_earlier_results_alone(folder, command, monkeypatch):
    (folder / "p.csv").write_text("C\n1\n2\n")
    (folder / "res.csv").write_text("earlier\n")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # nobody listens there
    assert command("book.ipynb", "--each", "p.csv", "--results", "res.csv", "--executor", "ray")[0] == 3
    assert (folder / "res.csv").read_text() == "earlier\n"


@pytest.fixture
def web(folder):
    """A server of this machine that gives and takes files; `web.taken` has what it took."""
    taken = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write((folder / self.path.lstrip("/").partition("?")[0]).read_bytes())

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.setdefault(self.path, []).append(json.loads(body))
            self.send_response(403 if "denied" in self.path else 201)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.taken, server.url = taken, f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.kernel
def test_a_notebook_from_and_to_a_server(command, web, stored):
    from ml_experiment_nb.tracking import Store

    code, out, err = command(f"{web.url}/book.ipynb?key=1", f"{web.url}/out-{{C}}.ipynb", "-p", "C", "2", "-f",
                             f"{web.url}/p.yaml", "--inject-paths")  # fmt: skip
    assert code == 0, err
    [(path, states)] = web.taken.items()
    assert path == "/out-2.ipynb"
    assert len(states) >= 2  # it stood there before it was done
    assert not any(cell.get("outputs") for cell in states[0]["cells"])
    assert states[-1]["cells"][-1]["outputs"][0]["text"] == ["2 from the file\n"]
    given = states[-1]["metadata"]["papermill"]["parameters"]
    assert given["PAPERMILL_INPUT_PATH"] == f"{web.url}/book.ipynb?key=1"
    assert states[-1]["metadata"]["papermill"]["input_path"] == f"{web.url}/book.ipynb?key=1"
    store = Store(stored)
    [record] = store.records()
    assert record.name == "book"
    assert {"out-2.ipynb", "record/source/book.ipynb"} <= set(store.artifacts(record))

    code, out, _ = command("book.ipynb", f"{web.url}/denied.ipynb")
    assert code == 2
    assert "denied.ipynb: can't be written: 403" in out
    assert len(web.taken["/denied.ipynb"]) == 1  # before the first cell, and no more
