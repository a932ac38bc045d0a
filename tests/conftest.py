"""What several test modules share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import time
from contextlib import suppress

import psutil
import pytest

pytest.register_assert_rewrite("contract")


def pytest_configure():
    """Have what tests start be interrupted though this process was started in the background, which ignores that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project: the working directory, with nothing of the caller's MLflow or Ray in the environment."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "ML_EXPERIMENT_")) or name in ("RAY_ADDRESS", "JPY_SESSION_NAME"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("ML_EXPERIMENT_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    _let_go_of_stores(str(tmp_path))


def _let_go_of_stores(folder):
    """Close what MLflow keeps open of the stores in a folder: of hundreds of tests it would be thousands of files."""
    if (module := sys.modules.get("mlflow.store.tracking.sqlalchemy_store")) is not None:
        engines = module.SqlAlchemyStore._engine_map
        for address in [one for one in engines if folder in one]:
            engines.pop(address).dispose()


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """A store's database with nothing in it: making one takes seconds, copying it none."""
    from ml_experiment_nb.projects import home
    from ml_experiment_nb.tracking import Store

    folder = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Store(folder)
    return home(folder) / "mlflow.db"


@pytest.fixture
def stored(project, database):
    """A project whose store is there already."""
    from ml_experiment_nb.projects import home

    shutil.copy(database, home(project) / "mlflow.db")
    return project


@pytest.fixture
def client(stored):
    """Read the store with nothing but MLflow."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{stored}/.ml-experiment/mlflow.db")


@pytest.fixture
def search(project):
    """Open a search of a group that has these keys besides what every group needs."""
    from made_studies import SPACE

    from ml_experiment_nb.search import Search
    from ml_experiment_nb.specs import spec_from_mapping

    def make(name="study", **keys):
        keys = {"param_space": SPACE, "metric": {"name": "acc", "direction": "maximize"}, **keys}
        return Search(spec_from_mapping({"kind": "group", "run": "train.py", **keys}), project, name)

    return make


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory):
    """A folder for what images keep: looking through all shared libraries takes seconds, once."""
    return tmp_path_factory.mktemp("image-cache")


@pytest.fixture(scope="session")
def docker_engine():
    """A Docker engine of this session's own, with a base image; the test is skipped where there can be none."""
    import engine

    try:
        with engine.engine() as running:
            engine.import_base(running)
            yield running
    except engine.Unavailable as why:
        pytest.skip(f"no Docker engine: {why}")


@pytest.fixture
def docker(docker_engine, monkeypatch):
    """That engine as the one that this process and what it starts find."""
    for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "BUILDX_BUILDER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in docker_engine.environment.items():
        monkeypatch.setenv(name, value)
    return docker_engine


@pytest.fixture(scope="session")
def debian_base(docker_engine):
    """A base image in which ``apt-get`` works; the test is skipped where this is no Debian."""
    import debian_base
    import engine

    try:
        return debian_base.import_debian(docker_engine)
    except engine.Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def make_task(project):
    """Make tasks whose steps are the given targets; their folders are below the project."""
    from ml_experiment_nb.observing import VARIABLE
    from ml_experiment_nb.plans import Step, Task

    def make(*targets, key="0", params=None, **options):
        params = params or {}
        # On a busy machine any task may take long enough to be sampled.
        options["env"] = {VARIABLE: '{"system_metrics": false}', **options.get("env", {})}
        steps = tuple(Step(target, params) for target in targets)
        folder = str(project / ".tasks" / key)
        return Task(key=key, name=f"task {key}", steps=steps, params=params, cwd=str(project), folder=folder, **options)

    return make


@pytest.fixture
def script(project):
    """Write a script into the project."""
    from ml_experiment_nb.targets import Script

    def write(source, name="script.py"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
        return Script(path=str(path))

    return write


@pytest.fixture
def has_ended():
    """Wait until a process is gone; say whether it went."""

    def wait(pid, timeout=10.0):
        until = time.monotonic() + timeout
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # a zombie only waits for being fetched
                if time.monotonic() >= until:
                    return False
                time.sleep(0.02)
        return True

    return wait


GRANDCHILD = """
import os, time
def leave_a_daemon():
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            time.sleep(600)
        os._exit(0)
    os.wait()
    return os.read(read, 20).decode()
"""


@pytest.fixture
def daemons(project):
    """Put a module into the project whose `leave_a_daemon` starts a process that leaves the tree, and gives its id."""
    (project / "daemons.py").write_text(GRANDCHILD)
