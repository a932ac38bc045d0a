"""Specs with `docker_config`, run from end to end on a real engine: what comes back, and what is left."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import engine as engines
import pytest

from ml_experiment_nb import job, loop
from ml_experiment_nb.errors import EngineError, ImageError, SpecError
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.builds import build
from ml_experiment_nb.images.engine import reach
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.spec_files import read_spec
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Readied

TRAIN = """
import argparse, os
from pathlib import Path
from ml_experiment_nb import artifact, report

parser = argparse.ArgumentParser()
parser.add_argument("--C", type=float)
C = parser.parse_args().C
print("in a container:", Path("/in-the-image").exists(), os.environ.get("LEFT_AT_HOME"))
for step in range(3):
    report(step=step, loss=C / (step + 1))
limits = {name: Path("/sys/fs/cgroup", name) for name in ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us",
          "memory.max", "cpu.max")}
artifact("limits.json", {name: path.read_text().split()[0] for name, path in limits.items() if path.exists()})
Path(f"left-{C:g}.txt").write_text("seen outside")
"""
DOCKERFILE = f"""
FROM {engines.BASE}
ARG NAME
COPY seed.txt /in-the-image
LABEL name=$NAME
"""
GROUP = """
name: In containers
kind: group
run: train.py
num_trials: 4
slots: 2
executor: {executor}
param_space: {{C: 'uniform(0, 1)'}}
metric: {{name: loss, direction: minimize}}
resources_per_worker: {{cpu: 0.5}}
memory: 300MB
docker_config: {{dockerfile: docker/Dockerfile, context: docker, args: {{NAME: x}}}}
"""
WAITS = """
import time
from pathlib import Path
Path("begun").touch()
print("begun", flush=True)
time.sleep(600)
"""


@pytest.fixture
def files(stored, docker):
    """Write files into the project."""

    def write(**texts):
        for name, text in texts.items():
            path = stored / name.replace("__", "/").replace("_yaml", ".yaml").replace("_py", ".py").replace(
                "_txt", ".txt"
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return stored

    yield write
    assert_nothing_is_left()


def assert_nothing_is_left():
    with reach() as engine:
        assert containers.labelled(engine, {}) == []


def follow(spec):
    """Run a spec; return its records and what was said before."""
    updates = list(loop.follow(make_plan(spec)))
    records = [one for one in updates if isinstance(one, loop.Record)]
    return records, [one.text for one in updates if isinstance(one, Readied)]


def of_function(function, **keys):
    return spec_from_mapping({"run": [Function(function=function)], "docker_config": {"image": engines.BASE}, **keys})


def artifacts_of(record):
    return Path(unquote(urlparse(record.artifact_uri).path))


def tagged(root, record):
    return Store(root).record(record.run_id).tags


# ----------------------------------------------------------------------------------------------- what comes back


@pytest.mark.docker
@pytest.mark.ray
@pytest.mark.parametrize("executor", ["ray", "inline"])
def test_a_group_of_four_trials_in_containers(files, monkeypatch, executor):
    monkeypatch.setenv("LEFT_AT_HOME", "yes")
    root = files(
        train_py=TRAIN, spec_yaml=GROUP.format(executor=executor), docker__Dockerfile=DOCKERFILE, docker__seed_txt="x"
    )
    records, said = follow(read_spec("spec.yaml"))
    *trials, group = records
    assert [one.status for one in records] == [Status.FINISHED] * 5
    assert any("seed.txt" in line for line in said)
    store = Store(root)
    for one in trials:
        assert one.metrics["loss"] == pytest.approx(one.params["C"] / 3)
        assert (root / f"left-{one.params['C']:g}.txt").stat().st_uid == os.getuid()
        assert store.log_text(store.record(one.run_id)) == "in a container: True None\n"
        limits = (artifacts_of(one) / "limits.json").read_text()
        assert re.search(r'"memory[^:]*": "(2999\d+|300000000)"', limits)  # in whole pages
        assert re.search(r'"cpu[^:]*": "50000"', limits)
    tags = tagged(root, group)
    assert tags["mlflow.docker.image.uri"].startswith("ml-experiment/in-containers:")
    assert tags["mlflow.docker.image.id"] == tagged(root, trials[0])["mlflow.docker.image.id"]
    assert tags["mlexp.system.environment_kind"] == "container"
    with reach() as engine:
        image = engine.find(tags["mlflow.docker.image.uri"])
        assert (image.id, image.labels["name"]) == (tags["mlflow.docker.image.id"], "x")
        engine.remove(image.name)
    assert "has no ml-experiment-nb" in " ".join(group.notes)


@pytest.mark.docker
def test_an_experiment_s_record_says_what_its_image_has(files):
    root = files(train_py="print('hello')")
    [record], _ = follow(spec_from_mapping({"run": "train.py", "docker_config": {"image": engines.BASE}}))
    assert record.ok
    requirements = (artifacts_of(record) / "record/requirements.txt").read_text()
    assert "pip==" in requirements
    assert "mlflow" not in requirements  # which this environment has
    assert record.tags["mlflow.docker.image.uri"] == engines.BASE
    assert tagged(root, record)["mlexp.system.environment"] == engines.BASE


@pytest.mark.docker
def test_a_job_s_trials_have_its_values_and_the_image_s_packages(files):
    files()
    table = {"a": 2}

    def train(x):
        from importlib.util import find_spec

        return {"y": table["a"] * x, "has_mlflow": find_spec("mlflow") is not None}, {"table.json": table}

    found = job(train).group(
        {"x": "range(1, 3)"}, metric="y", num_trials=2, sampler="Grid", executor="inline", slots=1,
        docker_config={"image": engines.BASE},
    )  # fmt: skip
    assert sorted(one.metrics["y"] for one in found) == [2, 4]
    assert [one.metrics["has_mlflow"] for one in found] == [0, 0]
    assert (artifacts_of(found[0]) / "table.json").exists()


@pytest.mark.docker
def test_a_command_gets_its_parameters(files):
    files()
    spec = {"run": [{"command": "echo got {x} && python -c 'import ml_experiment_nb as m; m.report(z=4)'"}]}
    [record], _ = follow(spec_from_mapping({**spec, "params": {"x": "a b"}, "docker_config": {"image": engines.BASE}}))
    assert record.metrics == {"z": 4.0}


@pytest.fixture(scope="module")
def notebook_image(docker_engine, tmp_path_factory):
    """An image with what notebooks and cells need, copied from this environment."""
    context = tmp_path_factory.mktemp("notebooks")
    for name in _with_all_that_they_need(["papermill", "ipykernel", "nbclient"]):
        for file in metadata.files(name) or ():
            path, place = Path(file.locate()), context / "packages" / str(file)
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
    kernels = Path(sys.prefix, "share/jupyter/kernels/python3/kernel.json")
    (context / "kernel.json").write_text(kernels.read_text().replace(sys.executable, "python"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (context / "Dockerfile").write_text(
        f"FROM {engines.BASE}\nCOPY packages /usr/local/lib/{version}/site-packages\n"
        "COPY kernel.json /usr/local/share/jupyter/kernels/python3/kernel.json\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in docker_engine.environment.items():
            patch.setenv(name, value)
        with reach() as engine:
            build(engine, context, tags=["mlexp/notebooks:1"])
    return "mlexp/notebooks:1"


def _with_all_that_they_need(names):
    from packaging.requirements import Requirement

    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        wanted = [Requirement(one) for one in metadata.requires(name) or ()]
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.docker
def test_a_notebook_and_a_cell_in_an_image_that_has_what_they_need(files, notebook_image):
    import nbformat

    root = files()
    cells = [nbformat.v4.new_code_cell("C = 1", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell("print('in', C)\n{'loss': C / 2}")]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python"}}),
        root / "n.ipynb",
    )
    spec = {"params": {"C": 5}, "docker_config": {"image": notebook_image}}
    [record], _ = follow(spec_from_mapping({"run": "n.ipynb", **spec}))
    assert (record.status, record.metrics["loss"]) == (Status.FINISHED, 2.5)
    assert "in 5" in (artifacts_of(record) / "n.ipynb").read_text()
    plan = make_plan(spec_from_mapping({"run": [{"source": "C = 1\n{'loss': C * k}"}], **spec}), values={"k": 3})
    [record] = loop.run(plan)
    assert (record.status, record.failure, record.notes[1:]) == (Status.FINISHED, None, ())
    assert record.metrics["loss"] == 15


# ---------------------------------------------------------------------------------------------------- stopping


def started(*words):
    """Run the command in the project, and wait until its task has begun."""
    process = subprocess.Popen([sys.executable, "-m", "ml_experiment_nb.cli", "run", *words], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not Path("begun").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.1)
    return process


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_its_container(files, number):
    root = files(wait_py=WAITS, spec_yaml=f"run: wait.py\ndocker_config: {{image: '{engines.BASE}'}}\n")
    with started("spec.yaml") as process:
        process.send_signal(number)
        process.communicate(timeout=120)
    [record] = Store(root).records()
    assert record.status is Status.KILLED
    assert_nothing_is_left()


@pytest.mark.docker
def test_a_container_does_not_outlive_a_driver_that_is_killed(files):
    root = files(
        wait_py=WAITS, spec_yaml=f"run: wait.py\ndocker_config: {{image: '{engines.BASE}'}}\n", next_py="print('next')"
    )
    with started("spec.yaml") as process, reach() as engine:
        [(id, _)] = containers.labelled(engine, {})
        process.kill()
        process.communicate()
        assert engine.client.api.wait(id, timeout=60)["StatusCode"] == 1  # it has ended itself
    follow(spec_from_mapping({"run": "next.py", "docker_config": {"image": engines.BASE}}))
    assert {one.name: one.status for one in Store(root).records()} == {"wait": Status.KILLED, "next": Status.FINISHED}
    assert_nothing_is_left()


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("kind", ["experiment", "job"])
def test_without_an_engine_there_is_one_sentence_and_no_run(stored, monkeypatch, kind):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{stored}/none.sock")
    (stored / "train.py").touch()
    plan = make_plan(spec_from_mapping({"kind": kind, "run": "train.py", "docker_config": {"image": "x"}}))
    with pytest.raises(EngineError, match="no Docker engine answers"):
        list(loop.run(plan))
    assert Store(stored).records() == []


def test_an_engine_elsewhere_is_refused(stored, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    (stored / "train.py").touch()
    with pytest.raises(EngineError, match="no Docker engine answers at tcp"):
        list(loop.run(make_plan(spec_from_mapping({"run": "train.py", "docker_config": {"image": "x"}}))))


def test_distributed_workers_are_no_containers(stored):
    def train(x):
        return {"y": x}

    spec = of_function(train, kind="experiment", params={"x": 1}, distributed="torch")
    with pytest.raises(SpecError, match=r"docker_config: workers of distributed training can't be run in containers"):
        make_plan(spec, values={"function": train})


@pytest.fixture(scope="module")
def odd_images(docker_engine, tmp_path_factory):
    """Images that lack what every task needs."""
    context = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in docker_engine.environment.items():
            patch.setenv(name, value)
        with reach() as engine:
            for name, step in (("no-python", "rm /usr/local/bin/python*"), ("broken", "rm -r /usr/local/lib/*/json")):
                (context / "Dockerfile").write_text(f"FROM {engines.BASE}\nRUN {step}\n")
                build(engine, context, tags=[f"mlexp/{name}:1"], network="none")


@pytest.mark.docker
@pytest.mark.usefixtures("odd_images")
@pytest.mark.parametrize(
    ("config", "run", "why"),
    [
        (
            {"image": "localhost:1/none:1"},
            "train.py",
            "image 'localhost:1/none:1' can't be pulled: the registry can't be",
        ),
        ({"image": "Not A Name"}, "train.py", "is no name of an image"),
        ({"image": engines.BASE}, "n.ipynb", "has no IPython, ipykernel, nbclient, papermill, which a notebook needs"),
        ({"image": engines.BASE}, [{"source": "1"}], "has no IPython, which a cell needs"),
        (
            {"dockerfile": "docker/Dockerfile"},
            "train.py",
            r"the end of what the build said:\n(?s:.*)no such thing here",
        ),
        ({"image": "mlexp/no-python:1"}, "train.py", "has no Python"),
        ({"image": "mlexp/broken:1"}, "train.py", "can't run Python"),
    ],
)
def test_what_can_not_be_had_is_said_before_anything_runs(files, config, run, why):
    import nbformat

    root = files(train_py="", docker__Dockerfile=f"FROM {engines.BASE}\nCOPY no such thing here /\n")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), root / "n.ipynb")
    with pytest.raises((ImageError, SpecError), match=why):
        list(loop.run(make_plan(spec_from_mapping({"run": run, "docker_config": config}))))
    assert Store(root).records() == []
    assert not list((root / ".ml-experiment/runs").glob("*"))
