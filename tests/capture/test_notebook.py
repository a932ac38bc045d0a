"""Which notebook a kernel belongs to, and what is kept of it."""

import json
import os
import subprocess
import sys
import time
from urllib.request import Request, urlopen

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ml_experiment_nb.capture import notebook
from ml_experiment_nb.capture.notebook import notebook_text, this_notebook
from ml_experiment_nb.tracking import Store

METADATA = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
CELL = "%%experiment\nC = 1\n{'a': C}"
ASK = "from ml_experiment_nb.capture.notebook import this_notebook\nprint('notebook', this_notebook())"


def write(path, *sources):
    cells = [new_markdown_cell("# A title"), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)


def test_a_process_that_is_no_kernel_has_none(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/other.ipynb")
    assert this_notebook() is None


def test_a_large_notebook_is_kept_without_its_outputs(tmp_path, monkeypatch):
    path = tmp_path / "n.ipynb"
    output = new_output("stream", name="stdout", text="x" * 100)
    nbformat.write(new_notebook(cells=[new_code_cell("print()", outputs=[output])]), path)
    assert notebook_text(path) == (path.read_text(), False)
    monkeypatch.setattr(notebook, "MOST_BYTES", 100)
    os.utime(path, (1, 1))
    text, is_cut = notebook_text(path)
    assert is_cut
    assert json.loads(text)["cells"][0]["outputs"] == []
    path.write_text("no notebook")
    assert notebook_text(path) is None
    assert notebook_text(tmp_path / "absent.ipynb") is None


@pytest.mark.kernel
@pytest.mark.parametrize(
    "command",
    [
        ["papermill", "my work.ipynb", "out.ipynb"],
        ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--output", "out.ipynb", "my work.ipynb"],
    ],
    ids=lambda command: command[0],
)
def test_who_executes_a_notebook_has_named_it(stored, command):
    write(stored / "my work.ipynb", "%load_ext ml_experiment_nb", CELL)
    env = {**os.environ, "JPY_SESSION_NAME": "/of/who/started/it.ipynb"}
    subprocess.run([sys.executable, "-m", *command], env=env, check=True, capture_output=True, timeout=300)
    (record,) = Store(stored).records()
    assert record.name == record.experiment == "my work"
    assert record.tags["mlflow.source.name"] == "my work.ipynb"
    kept = Store(stored).artifacts(record)
    assert {"record/notebook/my work.ipynb", "record/notebook/my work.html"} <= set(kept)
    assert "<h1>A title</h1>" in Store(stored).text(record, "record/notebook/my work.html")


@pytest.mark.kernel
def test_vs_code_has_written_it_into_the_namespace(stored):
    write(stored / "code.ipynb", "pass")
    write(stored / "t.ipynb", f"__vsc_ipynb_file__ = {str(stored / 'code.ipynb')!r}", ASK)
    words = [sys.executable, "-m", "papermill", "t.ipynb", "out.ipynb", "--log-output"]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    assert f"notebook {stored / 'code.ipynb'}" in (stored / "out.ipynb").read_text()


@pytest.mark.kernel
def test_jupyter_s_server_says_it_also_after_it_was_renamed(stored, tmp_path):
    pytest.importorskip("jupyter_server")
    write(stored / "old.ipynb", "pass")
    runtime = tmp_path / "runtime"
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    words = ["-m", "jupyter_server", "--no-browser", "--port=0", "--ip=127.0.0.1", "--allow-root"]
    with (tmp_path / "server.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *words, f"--ServerApp.root_dir={stored}"], env=env, stdout=log, stderr=log
        )
    try:
        info = _wait_for(lambda: json.loads(next(runtime.glob("jpserver-*.json")).read_text()), server)

        def ask(method, path, body):
            headers = {"Authorization": f"token {info['token']}", "Content-Type": "application/json"}
            request = Request(f"{info['url']}api/{path}", json.dumps(body).encode(), headers, method=method)
            with urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())

        named = {"path": "old.ipynb", "name": "old.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
        session = _wait_for(lambda: ask("POST", "sessions", named), server)
        client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{session['kernel']['id']}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=120)
            assert _printed(client, ASK) == f"notebook {stored / 'old.ipynb'}"
            (stored / "old.ipynb").rename(stored / "new.ipynb")
            ask("PATCH", f"sessions/{session['id']}", {"path": "new.ipynb", "name": "new.ipynb"})
            assert _printed(client, ASK) == f"notebook {stored / 'new.ipynb'}"
        finally:
            client.stop_channels()
    finally:
        server.terminate()
        server.wait(60)


def _wait_for(get, server):
    until = time.monotonic() + 120
    while True:
        try:
            return get()
        except (OSError, StopIteration, ValueError):
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)


def _printed(client, source):
    found = []
    client.execute_interactive(source, timeout=120, output_hook=lambda m: found.append(m["content"].get("text", "")))
    return "".join(found).strip()
