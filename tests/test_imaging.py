"""Images: planned, written for `docker build` elsewhere, built on a real engine and run."""

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from made_notebooks import write_notebook

from ml_experiment_nb import image_plans, imaging, verifying
from ml_experiment_nb.cli import commands
from ml_experiment_nb.errors import EngineError, ImageError, SpecError
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.containers import Launch
from ml_experiment_nb.images.engine import reach
from ml_experiment_nb.listing import listed
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.spec_files import parse_mapping
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.verdicts import Tolerance, Verdict, VerdictAnswer


@pytest.mark.slow
def test_a_plan_says_what_goes_in_and_does_nothing(project, monkeypatch, image_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(image_cache))
    (project / "a.csv").write_text("12345")
    write_notebook(project / "My train.ipynb", "open('a.csv')\n!git log")
    done = CliRunner().invoke(commands, ["image", "My train.ipynb", "--plan", "--base", "base:1"])
    assert done.exit_code == 0, done.output
    for line in (
        "image     my-train:latest",
        "runs      ml-experiment run My train.ipynb",
        "data      a.csv (5 B)",
        "note: the code calls git in a shell: what an image hasn't of that goes in apt.txt",
        "FROM base:1",
    ):
        assert line in done.output.splitlines()
    assert sorted(os.listdir(project)) == ["My train.ipynb", "a.csv"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a.ipynb"], "there is no such notebook"),
        (["a.txt"], "an image is made of a notebook (.ipynb), a script (.py)"),
        (["train.ipynb", "-t", "Team/SVM"], "is no name of an image"),
        (["0123abcd"], "nothing is recorded"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(project, words, problem):
    write_notebook(project / "train.ipynb")
    (project / "a.txt").write_text("")
    with pytest.raises((SpecError, Exception)) as error:
        CliRunner().invoke(commands, ["image", "--plan", *words], catch_exceptions=False, standalone_mode=False)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_without_an_engine_it_is_said_before_anything_is_fetched(project, monkeypatch, tmp_path, image_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(image_cache))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    write_notebook(project / "train.ipynb")
    said = []
    with pytest.raises(
        EngineError, match=r"no Docker engine answers at .*; `ml-experiment image … --context-only DIR`"
    ):
        imaging.export_image("train.ipynb", tell=said.append)
    assert said == []


@pytest.mark.parametrize(
    ("engine", "here"), [("x86_64", "x86_64"), ("amd64", "x86_64"), ("arm64", "aarch64"), ("", "x")]
)
def test_an_engine_for_this_machines_processor_is_taken(monkeypatch, engine, here):
    monkeypatch.setattr(imaging.platform, "machine", lambda: here)
    imaging._check_processor(engine)


def test_an_engine_for_another_processor_is_refused(monkeypatch):
    monkeypatch.setattr(imaging.platform, "machine", lambda: "x86_64")
    with pytest.raises(ImageError, match="the engine builds for aarch64, and the wheels are those of this machine"):
        imaging._check_processor("aarch64")


SCRIPTS = {
    "helper.py": "def scale(x):\n    return 3 * x\n",
    "train.py": "import sys\nfrom helper import scale\nfrom ml_experiment_nb import report\n"
    "report(loss=scale(float(sys.argv[-1])))\n",
    "jobs.py": "from helper import scale\nfrom ml_experiment_nb import job\n\n@job\ndef fit(C, k=2):\n"
    "    return {'acc': scale(C)}\n\nif __name__ == '__main__':\n    fit(C=0.5)\n",
    "command.yaml": "name: A command\nkind: experiment\nrun: [{command: 'python train.py {C}'}, jobs.py]\n"
    "params: {C: 0.9}\n",
    "search.yaml": "name: Search\nkind: group\nrun: train.py\nnum_trials: 1\nexecutor: inline\nsampler: random\n"
    "param_space: {C: 'uniform(0, 1)'}\nmetric: {name: loss, direction: minimize}\n",
}


@pytest.mark.slow
def test_an_image_of_a_command_several_files_a_trial_or_a_called_job_runs_a_spec_with_its_parameters(stored):
    """A container can be given others then, and the code is that which the run has kept."""
    for name, text in SCRIPTS.items():
        (stored / name).write_text(text)
    for words in (["-m", "ml_experiment_nb.cli", "run", "-q", "command.yaml"], ["jobs.py"],
                  ["-m", "ml_experiment_nb.cli", "run", "-q", "search.yaml"]):  # fmt: skip
        subprocess.run([sys.executable, *words], check=True, timeout=300, capture_output=True)
    (stored / "jobs.py").write_text("what it is now is no matter")
    runs = {one.name: one for one in listed(stored, wanted(limit=9))}
    planned = {}
    for name in ("A command", "fit", "Search #0"):
        plan = imaging.plan_image(runs[name].run_id, base="base:1", choices=Choices(only_imports=True))
        program = plan.frozen.program
        texts = {str(place): content.decode() for place, content in program.contents.items()}
        spec = spec_from_mapping(parse_mapping(texts[program.file]))
        planned[name] = plan.name, dict(spec.params), sorted(texts), {one.place for one in plan.frozen.modules}
        taken = {one.place for one in plan.frozen.data}
        assert ("train.py" in taken) == (name == "A command")  # nobody has kept what a shell is called with
    drawn = runs["Search #0"].params["C"]
    assert planned == {
        "A command": ("a-command:latest", {"C": 0.9}, ["a-command.yaml", "jobs.py"], {"helper.py"}),
        "fit": ("fit:latest", {"C": 0.5, "k": 2}, ["fit.yaml", "jobs.py"], {"helper.py"}),
        "Search #0": ("search-0:latest", {"C": drawn}, ["search-0.yaml", "train.py"], {"helper.py"}),
    }


# ------------------------------------------------------------------------------------------- on a real engine

BASE = f"mlexp-base:py{sys.version_info.major}.{sys.version_info.minor}"
REPOSITORY = Path(__file__).parents[1]
SECRET = "s3cr3t-of-this-test-0123"
CODE = """\
%pip install -q humanize
import humanize, helper_module, mine
from ml_experiment_nb import report, secret
token = secret("API_TOKEN")
text = open("data/a.csv").read()
print(humanize.intcomma(1234567))
report({"value": mine.double(C) + helper_module.ONE + len(text)})"""
MINE = {
    "pyproject.toml": '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    '[project]\nname = "mine"\nversion = "0.3"\n',
    "mine/__init__.py": "def double(x):\n    return 2 * x\n",
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel in an environment of its own, with this package and another one that is imported from its source."""
    folder = tmp_path_factory.mktemp("kernel")
    for name, text in MINE.items():
        (folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / name).write_text(text)
    python = folder / "venv/bin/python"
    env = {**os.environ, "ML_EXPERIMENT_NB_SKIP_LABEXTENSION": "1"}
    subprocess.run(["uv", "venv", "-q", "--seed", "--python", sys.executable, folder / "venv"], check=True)
    install = ["uv", "pip", "install", "-q", "--python", python, "-e", str(REPOSITORY), "-e", folder / "mine"]
    subprocess.run(install, check=True, timeout=600, env=env)
    spec = folder / "share/jupyter/kernels/own-kernel/kernel.json"
    spec.parent.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "language": "python", "display_name": "Own"}))
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("work")
    (root / "pyproject.toml").write_text("")
    (root / "data").mkdir()
    (root / "data/a.csv").write_text("12345")
    (root / "helper_module.py").write_text("ONE = 1\n")
    write_notebook(root / "train.ipynb", CODE, kernel="own-kernel")
    return root


@pytest.fixture(scope="module")
def here(docker_engine, kernel, work):
    """The engine, the kernel and the project as what this process and its children find."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "ML_EXPERIMENT_ROOT", "DOCKER_CONTEXT", "BUILDX_BUILDER"):
            patch.delenv(name, raising=False)
        for name, value in docker_engine.environment.items():
            patch.setenv(name, value)
        patch.setenv("JUPYTER_PATH", str(kernel / "share/jupyter"))
        patch.setenv("ML_EXPERIMENT_ROOT", str(work))
        patch.setenv("API_TOKEN", SECRET)
        patch.setenv("ML_EXPERIMENT_NB_SKIP_LABEXTENSION", "1")
        patch.chdir(work)
        yield work


@pytest.fixture(scope="module")
def host_run(here):
    """The notebook's run here, which installs a package in mid-session."""
    return run_here("train.ipynb")


@pytest.fixture(scope="module")
def built(host_run, here):
    """An image of the notebook, made once: it takes a minute or two."""
    return imaging.export_image("train.ipynb", "team/svm:1", base=BASE, only_imports=True)


def run_here(target):
    run = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "--json", target, "-p", "C", "3"]
    done = subprocess.run(run, check=True, timeout=600, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_image(*words, options=(), check=True):
    command = ["docker", "run", "--rm", "--network", "none", *options, "team/svm:1", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=check)


@pytest.mark.docker
def test_a_run_in_the_image_gives_the_metrics_of_a_run_here(built, host_run, here):
    """Its record is in the project's store, which the container sees at its own path."""
    user = f"{os.getuid()}:{os.getgid()}"
    seen = ("-v", f"{here}:{here}", "-e", f"ML_EXPERIMENT_ROOT={here}", "--user", user, "-e", "API_TOKEN")
    done = run_image("-p", "C", "3", "--json", options=seen)
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["metrics"] == host_run["metrics"] == {"value": 12.0}
    assert record["run_id"] in {one.run_id for one in listed(here, wanted(limit=5))}
    assert "1,234,567" in Store(here).log_text(Store(here).record(record["run_id"]))


@pytest.mark.docker
def test_what_is_in_the_image_and_what_is_not(built, here):
    inspected = json.loads(subprocess.check_output(["docker", "image", "inspect", "team/svm:1"]))[0]
    assert inspected["Config"]["User"] == "1000"
    assert inspected["Config"]["Labels"]["org.opencontainers.image.title"] == "train"
    assert built.secrets == ("API_TOKEN",)
    assert built.size == inspected["Size"] >= sum(size for size, _ in built.layers[1:])
    python = ["--entrypoint", "/opt/env/bin/python"]
    code = "import importlib.metadata as m; print(*sorted({d.name.lower() for d in m.distributions()}))"
    command = ["docker", "run", "--rm", "--network", "none", *python, "team/svm:1", "-c", code]
    names = set(subprocess.check_output(command, text=True).split())
    assert {"mine", "humanize", "ml-experiment-nb"} <= names
    assert not {"ray", "jupyterlab", "pytest", "uv"} & names
    done = run_image("lab", check=False)
    assert (done.returncode, done.stderr) == (2, "error: JupyterLab isn't in this image: make it with --lab\n")
    done = run_image(options=("-e", "ML_EXPERIMENT_ROOT=/absent"), check=False)
    assert "is no folder that user 1000 may write to" in done.stderr


@pytest.mark.docker
def test_no_layer_holds_the_secret_or_a_path_of_this_machine(built, here):
    saved = subprocess.run(["docker", "save", "team/svm:1"], capture_output=True, check=True).stdout
    history = subprocess.check_output(["docker", "history", "--no-trunc", "team/svm:1"], text=True)
    assert SECRET not in history
    assert str(here) not in history
    looked = 0
    with tarfile.open(fileobj=io.BytesIO(saved)) as image:
        for member in image:
            content = image.extractfile(member) if member.isfile() else None
            looked += 1
            assert content is None or SECRET.encode() not in content.read(), member.name
    assert looked > 5


@pytest.mark.docker
def test_a_changed_cell_makes_the_last_layers_alone(built, here):
    nb = nbformat.read(here / "train.ipynb", 4)
    nb.cells[1].source += "  # changed"
    nbformat.write(nb, here / "train.ipynb")
    said = []
    again = imaging.export_image("train.ipynb", "team/svm:2", base=BASE, only_imports=True, tell=said.append)
    steps = {line.split()[0]: line for line in said if "/" in line.partition("]")[0] and line.startswith("#")}
    cached = {line.split()[0] for line in said if line.endswith(" CACHED")}
    made = [line.partition("] ")[2] for number, line in steps.items() if number not in cached]
    assert not [one for one in made if one.startswith("RUN")]
    assert [one for one in made if one.startswith("COPY work/")]
    assert again.layers[:4] == built.layers[:4]


@pytest.mark.docker
def test_a_build_that_is_interrupted_leaves_nothing(built, here, monkeypatch, tmp_path):
    """It is interrupted while wheels are installed, as Ctrl-C does it in the command."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (here / "apt.txt").unlink(missing_ok=True)
    command = [sys.executable, "-m", "ml_experiment_nb.cli", "image", "train.ipynb", "-t", "team/svm:3", "--base", BASE]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*command, "--no-lab"], env=env, stderr=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(400, process.kill)
        timer.start()
        assert process.stderr is not None
        for line in process.stderr:
            if "uv venv" in line:  # nothing of it is kept from before: all packages go in, not the imported ones
                time.sleep(1)
                process.send_signal(2)
        timer.cancel()
    assert process.returncode == 130
    assert os.listdir(tmp_path) == []
    images = subprocess.check_output(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"], text=True)
    assert "team/svm:3" not in images


@pytest.mark.docker
def test_a_context_builds_with_docker_alone(built, here, tmp_path):
    """All of its layers are those of the image that was made here."""
    plan = image_plans.plan_image("train.ipynb", "team/svm:4", base=BASE, choices=Choices(only_imports=True))
    imaging.write_context(plan, tmp_path / "context")
    assert (tmp_path / "context/Dockerfile").read_text() == plan.dockerfile
    build = ["docker", "build", "-q", "--network", "none", "-t", "team/svm:4", str(tmp_path / "context")]
    subprocess.run(build, check=True, timeout=600, capture_output=True)
    inspect = ["docker", "image", "inspect", "-f", "{{json .RootFS.Layers}}"]
    made = json.loads(subprocess.check_output([*inspect, "team/svm:4"]))
    assert made[:4] == json.loads(subprocess.check_output([*inspect, "team/svm:1"]))[:4]


@pytest.mark.docker
def test_an_image_of_a_run_is_proven_by_its_metrics(built, host_run, here):
    made = imaging.export_image(host_run["run_id"][:12], "team/svm:5", base=BASE, only_imports=True)
    assert made.verdict == Verdict(VerdictAnswer.IDENTICAL, compared={"metric": 1})
    assert "proof    the run repeated in it: identical: 1 metric is the same" in str(made)
    record = Store(here).record(host_run["run_id"])
    assert record.tags["mlflow.docker.image.uri"] == "team/svm:5"
    assert record.tags["mlflow.docker.image.id"] == made.id
    assert record.tags["mlexp.image.verdict"].startswith("identical")
    with reach() as engine:
        image = engine.find("team/svm:5")
        assert image.id == made.id
        assert image.labels["mlexp.image.verdict"] == "identical"
        assert engine.find("team/svm:1").labels["mlexp.image.verdict"] == "not verified"
        assert not subprocess.check_output(["docker", "image", "ls", "-q", "--filter", "dangling=true"], text=True)
        other = replace(record, metrics={"value": 12.1})
        found = verifying.verify(engine, image, other, built.secrets, {}, lambda text: None)
        assert found.answer is VerdictAnswer.DIFFERS
        near = {"value": Tolerance(absolute=0.2)}
        found = verifying.verify(engine, image, other, (), near, lambda text: None)
        assert found.answer is VerdictAnswer.COULD_NOT_RUN  # it was not given its secret
        assert "API_TOKEN" in found.reason
        little = verifying.Limits(memory=32 << 20)
        found = verifying.verify(engine, image, record, built.secrets, {}, lambda text: None, limits=little)
        assert found.answer is VerdictAnswer.COULD_NOT_RUN  # what runs it takes more than that


ASK_LAB = """
import json, time, urllib.request as u
def get(path):
    asked = u.Request("http://127.0.0.1:8888" + path, headers={"Authorization": "token of-this-test"})
    return u.urlopen(asked).read().decode()
for _ in range(1500):
    try:
        found = json.loads(get("/api/contents/double.py"))
        break
    except OSError:
        time.sleep(0.2)
print(found["name"], "jupyter-config-data" in get("/lab/tree/double.py"))
"""  # from within: the engine of these tests makes no network
DOUBLE = "import sys\nfrom ml_experiment_nb import report\nreport(double=2 * float(sys.argv[-1]))\n"


@pytest.mark.docker
def test_images_of_a_command_s_run_and_a_script_s_are_proven_and_jupyterlab_opens_in_them(here):
    (here / "double.py").write_text(DOUBLE)
    for name, run in (("By command", "{command: 'python double.py {C}'}"), ("By script", "double.py")):
        (here / "double.yaml").write_text(f"name: {name}\nrun: [{run}]\nparams: {{C: 1.5}}\n")
        record = run_here("double.yaml")
        assert record["metrics"] == {"double": 6.0}
        made = imaging.export_image(record["run_id"], "team/double:1", base=BASE, only_imports=True, lab=True)
        assert made.verdict == Verdict(VerdictAnswer.IDENTICAL, compared={"metric": 1})
    with reach() as engine:
        launch = Launch("team/double:1", arguments=("lab", "--IdentityProvider.token=of-this-test"), network="none")
        with containers.started(engine, launch) as container:
            words = ["docker", "exec", container.id, "/opt/env/bin/python", "-c", ASK_LAB]
            done = subprocess.run(words, capture_output=True, text=True, timeout=400)
            assert done.stdout == "double.py True\n", done.stderr + container.output(50)


DECLARED = {
    "apt.txt": "hello\n",
    "postBuild": "#!/bin/sh\nhello > greeting.txt\n",
    "environment.yml": "channels: [conda-forge]\ndependencies:\n  - python\n  - pip:\n    - humanize\n",
}
GREETING = """\
from importlib.metadata import version
from ml_experiment_nb import report
said = !hello
assert said == open("greeting.txt").read().splitlines() and version("humanize")
report(words=len(said[0].split()))"""


@pytest.mark.docker
def test_what_the_project_declares_is_in_the_image(host_run, here, debian_base):
    """A Debian package, what a script makes of it, and a package of the kernel that nothing imports."""
    write_notebook(here / "greeting.ipynb", GREETING, kernel="own-kernel")
    for name, text in DECLARED.items():
        (here / name).write_text(text)
    try:
        options = {"base": debian_base, "only_imports": True, "network": "host"}
        made = imaging.export_image("greeting.ipynb", "team/greeting:1", **options)
    finally:
        for name in DECLARED:
            (here / name).unlink()
    assert not [note for note in made.notes if "hello" in note]
    run = ["docker", "run", "--rm", "--network", "none", "team/greeting:1", "--json"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=600, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["metrics"] == {"words": 2.0}


@pytest.mark.docker
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"base": "mlexp-absent:1"}, "; --base names another image to begin with"),
        (
            {"base": BASE, "name": "127.0.0.1:9/team/svm:1", "push": True, "only_imports": True},
            "can't be pushed",
        ),
    ],
)
def test_an_engine_or_registry_that_refuses_is_one_sentence(built, here, options, problem):
    with pytest.raises((EngineError, ImageError)) as error:
        imaging.export_image("train.ipynb", **options)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)
