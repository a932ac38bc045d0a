"""A secret reaches the code, whatever runs it, and stands nowhere on the disk: the whole project is searched for it."""

import base64
import hashlib
import json
import os
import secrets as random_secrets
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from ml_experiment_nb import job, loop
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.spec_files import read_spec
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function

pytestmark = pytest.mark.slow  # the disk is searched after each of them

PYTHON = {"name": "python3", "display_name": "Python", "language": "python"}
TELLS = """
import base64, hashlib, json, os, sys, urllib.parse
def tell(value):
    print("plain", value, file=sys.stderr)
    print("repr", repr(value), json.dumps({"k": value}), urllib.parse.quote(value), flush=True)
    print("basic", base64.b64encode(("user:" + value).encode()).decode())
    for character in value:
        sys.stdout.write(character); sys.stdout.flush()
    print()
    return float(int(hashlib.sha256(value.encode()).hexdigest()[:8], 16))
"""


@pytest.fixture
def value(monkeypatch):
    """A secret's value with all that is written otherwise somewhere; it is in the environment as API_TOKEN."""
    value = f"""{random_secrets.token_hex(8)}'"\\ &<é>+/%{random_secrets.token_hex(4)}"""
    monkeypatch.setenv("API_TOKEN", value)
    return value


def told(value):
    return float(int(hashlib.sha256(value.encode()).hexdigest()[:8], 16))


def forms(value):
    found = {value, repr(value)[1:-1], json.dumps(value)[1:-1], urllib.parse.quote(value), value.split("'")[0]}
    found |= {base64.b64encode(b"0" * k + value.encode()).decode()[4:-4] for k in range(3)}
    return [form.encode() for form in found] + [value.encode("utf-16-le")]


def leaks(folder, value, since=0.0):
    """Return the files below a folder that hold a value in any form."""
    found = []
    for path in (Path(above, name) for above, _, names in os.walk(folder) for name in names):
        try:  # what others have there may go meanwhile
            if path.is_symlink() or not path.is_file() or path.stat().st_mtime < since:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        if any(form in content or form in str(path).encode() for form in forms(value)):
            found.append(str(path))
    return found


@pytest.fixture
def clean(project, value):
    """After the test, the value stands in no file of the project, nor in what was left in the temporary folder."""
    since = time.time()
    yield
    assert leaks(project, value) == []
    assert [one for top in Path(tempfile.gettempdir()).glob("*mlexp-*") for one in leaks(top, value, since)] == []


def only(project):
    from ml_experiment_nb.tracking import Store

    [record] = [one for one in Store(project).records() if one.kind != "trial"]
    return record


def check(project, value, *, output=True):
    record = only(project)
    assert record.failure is None
    assert record.params["token"] == "secret(API_TOKEN)"
    assert record.metrics["told"] == told(value)
    assert any("secret API_TOKEN was found and masked" in note for note in record.notes)
    if output:
        from ml_experiment_nb.tracking import Store

        text = Store(project).log_text(record)
        assert text.count("<secret API_TOKEN>") >= 5
        assert "repr '<secret API_TOKEN>'" in text.replace('"', "'")
    return record


SCRIPT = f"{TELLS}\nfrom ml_experiment_nb import report\nreport(told=tell(sys.argv[sys.argv.index('--token') + 1]))\n"


def run(mapping, **options):
    return list(loop.run(make_plan(spec_from_mapping(mapping), **options)))


@pytest.mark.usefixtures("stored", "clean")
def test_a_script(project, value, script):
    script(SCRIPT + "open('/proc/self/cmdline', 'rb').read().find(sys.argv[-1].encode()) == -1 or sys.exit('seen')\n")
    (project / "spec.yaml").write_text("run: script.py\nparams:\n  token: secret(API_TOKEN)\n")
    list(loop.run(make_plan(read_spec("spec.yaml"))))
    record = check(project, value)
    assert "token: secret(API_TOKEN)" in _kept(project, record, "record/spec.yaml")


@pytest.mark.usefixtures("stored", "clean")
def test_a_part_of_a_parameter_in_json(project, value, script):
    script(SCRIPT.replace("'--token') + 1]", "'--token') + 1][16:-5]"))
    spec = {"run": "script.py", "params": {"token": "postgres://user:${env:API_TOKEN}@host"}}
    (project / "spec.json").write_text(json.dumps(spec))
    list(loop.run(make_plan(read_spec("spec.json"))))
    record = only(project)
    assert record.params["token"] == "postgres://user:${env:API_TOKEN}@host"
    assert record.metrics["told"] == told(value)


@pytest.mark.usefixtures("stored", "clean")
def test_a_command(project, value):
    """The shell is given a variable, however the place in the command is quoted."""
    (project / "tell.py").write_text(SCRIPT.replace("sys.argv.index('--token')", "0"))
    command = (
        "ps -o args= -p $$; python tell.py {token} && test \"a {token}\" = 'a {token}' && printf '%s' {token} > a.txt"
    )
    run({"run": {"command": command}, "params": {"token": "x"}, "kind": "job"})
    assert (project / "a.txt").read_text() == "x"
    (project / "spec.yaml").write_text(
        json.dumps({"run": {"command": command}, "params": {"token": "secret(API_TOKEN)"}})
    )
    list(loop.run(make_plan(read_spec("spec.yaml"))))
    assert (project / "a.txt").read_text() == value
    (project / "a.txt").unlink()
    check(project, value)


@pytest.mark.usefixtures("stored", "clean")
def test_a_function_and_its_artifacts(project, value):
    """Text is masked, what isn't keeps its length, and so do archives of either; names of files too."""

    def train(token):
        import numpy as np

        from ml_experiment_nb import artifact

        namespace = {}
        exec(TELLS, namespace)
        artifact("a.json", {"token": token, "list": [token]})
        artifact("page.html", f"<p>{token}</p>")
        artifact("model.pkl", {"weights": [1, 2], "token": token})
        artifact("raw.bin", b"\xff\x00" + token.encode() + b"\xff")
        artifact("wide.bin", b"\xff\x00" + token.encode("utf-16-le"))
        np.savez("arrays.npz", x=np.arange(3), token=np.array([token]))
        artifact("arrays", Path("arrays.npz"))
        Path("arrays.npz").unlink()
        return {"told": namespace["tell"](token)}

    run(
        {"run": [Function(function=train)], "params": _read({"token": "secret(API_TOKEN)"})},
        values={"function": train},
    )
    record = check(project, value)
    assert json.loads(_kept(project, record, "a.json")) == {
        "token": "<secret API_TOKEN>",
        "list": ["<secret API_TOKEN>"],
    }
    assert _kept(project, record, "page.html") == "<p>&lt;secret API_TOKEN&gt;</p>"
    import pickle

    from ml_experiment_nb.tracking import Store

    folder = Path(Store(project).record(record.run_id).artifact_uri.removeprefix("file://"))
    model = pickle.loads((folder / "model.pkl").read_bytes())
    assert model["weights"] == [1, 2]
    assert set(model["token"]) == {"*"}
    import numpy as np

    with np.load(folder / "arrays.npz") as arrays:
        assert list(arrays["x"]) == [0, 1, 2]
    assert any("model.pkl is no text" in note for note in record.notes)


@pytest.mark.usefixtures("stored", "clean")
def test_a_failure(project, value):
    def train(token):
        raise ValueError(f"no access with {token!r}")

    run(
        {"run": [Function(function=train)], "params": _read({"token": "secret(API_TOKEN)"})},
        values={"function": train},
    )
    record = only(project)
    assert "no access with" in str(record.failure)
    assert "<secret API_TOKEN>" in str(record.failure)


@pytest.mark.usefixtures("stored", "clean")
def test_a_called_job(project, value, capsys):
    from ml_experiment_nb import secret

    @job
    def train(token, n=3):
        namespace = {}
        exec(TELLS, namespace)
        return {"told": namespace["tell"](token)}, {"token.txt": token}

    train(token=secret("API_TOKEN"))
    check(project, value)
    shown = capsys.readouterr()
    assert value not in shown.out + shown.err
    assert "<secret API_TOKEN>" in shown.out


@pytest.fixture
def shell(project):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(history_length=0)
    shell.history_manager.enabled = False
    shell.run_line_magic("load_ext", "ml_experiment_nb")
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


CELL = f"""\
token = secret("API_TOKEN")
url = f"https://user:{{secret('API_TOKEN')}}@host"
{TELLS}
assert url == f"https://user:{{token}}@host"
{{"told": tell(token)}}, {{"token.txt": token}}"""


@pytest.mark.usefixtures("stored", "clean")
def test_a_cell(project, value, shell):
    with capture_output() as shown:
        result = shell.run_cell(f"%%experiment cell\n{CELL}")
    assert result.success
    record = check(project, value)
    assert record.params["url"] == "https://user:${env:API_TOKEN}@host"
    assert value not in shown.stdout + shown.stderr
    assert shell.user_ns["token"] == value
    assert "secret" not in shell.user_ns
    from ml_experiment_nb.forms import as_file, asked_by
    from ml_experiment_nb.tracking import Store
    from ml_experiment_nb.typed_forms import as_cell

    asked = asked_by(record, _kept(project, record, "record/spec.yaml"))
    assert asked.losses == ()
    assert 'token = secret("API_TOKEN")' in as_cell(asked).text
    assert "token: secret(API_TOKEN)" in as_file(asked).text
    assert Store(project).records()[0].tags["mlexp.spec_hash"]


@pytest.mark.usefixtures("stored", "clean")
def test_a_cell_that_fails(project, value, shell):
    with capture_output() as shown:
        shell.run_cell("%%experiment cell\ntoken = secret('API_TOKEN')\nraise ValueError(token)")
    assert value not in shown.stdout + shown.stderr
    assert "ValueError" in shown.stdout
    assert only(project).failure.message == "<secret API_TOKEN>"


@pytest.mark.usefixtures("stored", "clean")
def test_a_variable_of_the_notebook_in_a_group(project, value, shell):
    """A value that was had above by ``secret`` travels to the trials by its name alone."""
    shell.run_cell(
        "from ml_experiment_nb import secret\nheld = {'deep': [secret('API_TOKEN'), b'x']}\nclass Client: pass"
    )
    shell.run_cell(
        "client = Client(); client.url = 'https://u:' + held['deep'][0] + '@h'; client.raw = held['deep'][0].encode()"
    )
    source = (
        "%%group cells --executor inline --slots 1 --trials 2 --maximize told\n"
        f"x = choice([1, 2])\n{TELLS}\n"
        "assert client.url[10:-2] == held['deep'][0] == client.raw.decode()\n"
        "import glob, os\n"
        "found = [p for p in glob.glob(os.environ['ML_EXPERIMENT_ROOT'] + '/.ml-experiment/runs/**', recursive=True)\n"
        "         if os.path.isfile(p) and held['deep'][0].encode() in open(p, 'rb').read()]\n"
        "assert not found, found\n"
        "{'told': tell(held['deep'][0])}"
    )
    with capture_output() as shown:
        result = shell.run_cell(source)
    assert result.success, shown.stdout
    from ml_experiment_nb.tracking import Store

    trials = [one for one in Store(project).records() if one.kind == "trial"]
    assert [one.metrics["told"] for one in trials] == [told(value)] * 2


GROUP = f"""\
%%group cells --trials 2 --maximize told --slots 2 OPTIONS
x = choice([1, 2])
token = secret("API_TOKEN")
{TELLS}
import glob, os
def holds(path):
    try:
        return token.encode() in open(path, "rb").read()
    except OSError:  # a folder, or the other trial's, which has ended
        return False
paths = glob.glob(os.environ["ML_EXPERIMENT_ROOT"] + "/.ml-experiment/**", recursive=True, include_hidden=True)
found = [path for path in paths if not path.endswith("token.txt") and holds(path)]
assert not found, found
{{"told": tell(token) + x * 0}}, {{"token.txt": token}}"""


def _check_group(project, value, shell, options):
    with capture_output() as shown:
        result = shell.run_cell(GROUP.replace("OPTIONS", options))
    assert result.success, shown.stdout
    from ml_experiment_nb.tracking import Store

    trials = [one for one in Store(project).records() if one.kind == "trial"]
    assert [one.failure for one in trials] == [None, None]
    assert [one.metrics["told"] for one in trials] == [told(value)] * 2
    assert {one.params["token"] for one in trials} == {"secret(API_TOKEN)"}
    assert 'token = secret("API_TOKEN")' in _kept(project, trials[0], "record/source/cell.py")
    assert "<secret API_TOKEN>" in Store(project).log_text(trials[0])
    assert value not in shown.stdout + shown.stderr


@pytest.mark.usefixtures("stored", "clean")
def test_a_group(project, value, shell):
    _check_group(project, value, shell, "--executor inline")


@pytest.mark.ray
@pytest.mark.usefixtures("stored", "clean")
def test_a_group_on_ray(project, value, shell, monkeypatch):
    """The nodes need not have the variable: it travels with the tasks."""
    import ray

    with monkeypatch.context() as patch:
        patch.delenv("API_TOKEN")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    _check_group(project, value, shell, "--executor ray")
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    ray.shutdown()
    assert leaks(session, value) == []


@pytest.mark.kernel
@pytest.mark.usefixtures("stored", "clean")
def test_a_notebook(project, value):
    """The injected cell reads the environment, so that the notebook can be run again by papermill alone."""
    import papermill

    code = nbformat.v4.new_code_cell
    cells = [
        code("token = ''\ndeep = {}", metadata={"tags": ["parameters"]}),
        code(TELLS),
        code("from IPython.display import HTML\nprint(token)\ndisplay(HTML(f'<b>{token}</b>'), {'k': token}, deep)"),
        code("assert deep['url'] == [f'x{token}y', 1]\n{'told': tell(token)}"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": PYTHON}), "book.ipynb")
    (project / "spec.yaml").write_text(
        "run: book.ipynb\nparams:\n  token: secret(API_TOKEN)\n  deep: {url: ['x${env:API_TOKEN}y', 1]}\n"
    )
    list(loop.run(make_plan(read_spec("spec.yaml"), output="out.ipynb")))
    check(project, value)
    text = (project / "out.ipynb").read_text()
    assert "<secret API_TOKEN>" in text
    injected = next(
        c for c in nbformat.read("out.ipynb", 4).cells if "injected-parameters" in c.metadata.get("tags", [])
    )
    assert 'token = __import__("os").environ["API_TOKEN"]' in injected.source
    papermill.execute_notebook("out.ipynb", "again.ipynb", progress_bar=False)
    assert value in nbformat.read("again.ipynb", 4).cells[3].outputs[0].text  # it did get it; papermill masks nothing
    (project / "again.ipynb").unlink()


def _read(params):
    from ml_experiment_nb import secrecy

    return secrecy.read(params)


def _kept(project, record, name):
    from ml_experiment_nb.tracking import Store

    store = Store(project)
    folder = Path(str(store.record(record.run_id).artifact_uri).removeprefix("file://"))
    return (folder / name).read_text()


@pytest.mark.usefixtures("stored", "clean")
def test_what_the_code_writes_by_mlflow_itself(project, value, script):
    script(f"""{TELLS}
import mlflow, pathlib, pickle, tempfile
token = sys.argv[-1]
mlflow.log_param("own", token)
mlflow.log_params({{"headers": {{"Authorization": token}}, "n": 1}})
mlflow.set_tag("note", f"with {{token}}")
mlflow.log_metric("told", tell(token))
mlflow.log_text(token, "own.txt")
mlflow.log_dict({{"k": token}}, "own.json")
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "model.pkl")
    path.write_bytes(pickle.dumps(token))
    mlflow.log_artifacts(folder, "model")
    assert pickle.loads(path.read_bytes()) == token  # the code's own file stays as it is
mlflow.set_experiment_tag("owner", f"of {{token}}")
client = mlflow.MlflowClient()
client.create_registered_model("m", tags={{"told": token}}, description=token)
client.create_model_version("m", pathlib.Path("model").resolve().as_uri(), description=f"with {{token}}")
frame = __import__("pandas").DataFrame({{"a": [1]}})
mlflow.log_input(mlflow.data.from_pandas(frame, source=f"https://u:{{token}}@h/x.csv"))
""")
    (project / "spec.yaml").write_text("run: script.py\nparams:\n  token: secret(API_TOKEN)\n")
    list(loop.run(make_plan(read_spec("spec.yaml"))))
    record = check(project, value)
    assert record.params["own"] == "<secret API_TOKEN>"
    assert record.tags["note"] == "with <secret API_TOKEN>"
    assert _kept(project, record, "own.txt") == "<secret API_TOKEN>"
    from mlflow import MlflowClient

    from ml_experiment_nb.tracking import Store

    client = MlflowClient(Store(project).uri)
    tags = client.get_experiment_by_name(record.experiment).tags
    model, version = client.get_registered_model("m"), client.get_model_version("m", "1")
    assert [tags["owner"], model.tags["told"], model.description, version.description] == [
        "of <secret API_TOKEN>", "<secret API_TOKEN>", "<secret API_TOKEN>", "with <secret API_TOKEN>"
    ]  # fmt: skip
    assert any("MLflow's own calls" in note for note in record.notes)


@pytest.mark.usefixtures("stored")
def test_a_table_that_holds_one_is_not_kept_with_the_run(project, value, script):
    script(f"""{TELLS}
import pandas, pathlib
from ml_experiment_nb import artifact
frame = pandas.DataFrame({{"a": [f"Bearer {{sys.argv[-1]}}"] * 9}})
frame.to_parquet("t.parquet")
frame.to_csv("t.csv.gz")
artifact("t.parquet", pathlib.Path("t.parquet"))
artifact("t.csv.gz", pathlib.Path("t.csv.gz"))
""")
    (project / "spec.yaml").write_text("run: script.py\nparams:\n  token: secret(API_TOKEN)\n")
    [record] = loop.run(make_plan(read_spec("spec.yaml")))
    files = {path.name for path in (project / ".ml-experiment/artifacts").rglob("t.*")}
    assert files == {"t.csv.gz"}
    aside = project / ".ml-experiment/withheld" / record.run_id / "t.parquet"
    assert aside.is_file()
    assert any(note.endswith(f"it is not kept with the run, and lies in {aside}") for note in record.notes)
    assert value not in "".join(record.notes)


@pytest.mark.usefixtures("stored", "clean")
def test_a_name_that_no_source_has(project, value):
    """The code says which secret it asks for, and its driver masks it from there on."""

    def train():
        from ml_experiment_nb import artifact, secret

        namespace = {}
        exec(TELLS, namespace)
        token = secret("_".join(["API", "TOKEN"]))
        artifact("token.txt", token)
        return {"told": namespace["tell"](token)}

    run({"run": [Function(function=train)], "params": {}}, values={"function": train})
    record = only(project)
    assert record.metrics["told"] == told(value)
    assert _kept(project, record, "token.txt") == "<secret API_TOKEN>"


@pytest.mark.usefixtures("stored", "clean")
def test_a_driver_that_dies(project, value, script):
    """Whoever closes the run masks what it left."""
    from ml_experiment_nb.sweeps import sweep
    from ml_experiment_nb.tracking import Store

    script(f"""{TELLS}
import pathlib, signal, time
from ml_experiment_nb import artifact
tell(sys.argv[-1])
artifact("token.txt", sys.argv[-1])
print("done", flush=True)
time.sleep(0.5)
os.kill(int(os.environ["DRIVER"]), signal.SIGKILL)
""")
    (project / "spec.yaml").write_text("run: script.py\nparams:\n  token: secret(API_TOKEN)\n")
    drive = "import os, runpy, sys; os.environ['DRIVER'] = str(os.getpid()); sys.argv = ['x', 'run', 'spec.yaml']\n"
    drive += "runpy.run_module('ml_experiment_nb.cli.__main__', run_name='__main__')"
    subprocess.run([sys.executable, "-c", drive], capture_output=True, check=False)
    store = Store(project)
    [record] = sweep(store)
    assert record.params["token"] == "secret(API_TOKEN)"
    assert _kept(project, record, "token.txt") == "<secret API_TOKEN>"
    assert "<secret API_TOKEN>" in store.log_text(record)


@pytest.mark.kernel
@pytest.mark.usefixtures("stored", "clean")
def test_a_saved_cell(project, value, shell):
    with capture_output() as shown:
        result = shell.run_cell(f"%%experiment cell --save saved.yaml\n{CELL}")
    assert result.success, shown.stdout
    spec = read_spec("saved.yaml")
    from ml_experiment_nb.secrecy import Secret

    assert spec.params["token"] == Secret.of("API_TOKEN")
    list(loop.run(make_plan(spec)))
    check(project, value)
