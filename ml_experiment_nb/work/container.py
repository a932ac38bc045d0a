"""A task's process in a container of its own, as its slot sees it; the container's side is `work.contained`."""

from __future__ import annotations

import getpass
import json
import math
import os
import shutil
import signal
import site
import socket
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ml_experiment_nb.containment import Container
from ml_experiment_nb.errors import EngineError, ImageError, TaskMemoryError
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.containers import Folder, Launch
from ml_experiment_nb.images.engine import Engine, Image, reach
from ml_experiment_nb.paths import is_elsewhere
from ml_experiment_nb.plans import Task
from ml_experiment_nb.projects import SOCKETS
from ml_experiment_nb.records import Failure, Outcome, Status, size
from ml_experiment_nb.targets import Notebook, Script
from ml_experiment_nb.wire import SOCKET
from ml_experiment_nb.work import lent
from ml_experiment_nb.work.children import death
from ml_experiment_nb.work.contained import ENV, OUTPUT
from ml_experiment_nb.work.faraway import reachable
from ml_experiment_nb.work.memory import Tree, descendants
from ml_experiment_nb.work.tree import MARK, end_all

TASK, HOST, OWNER = "ml-experiment.task", "ml-experiment.host", "ml-experiment.uid"
"""Labels of a task's container: its slot's socket, where nobody listens once the slot is gone; whose machine that is
on; and the number of the user whose it is."""

GPUS = "CUDA_VISIBLE_DEVICES"
_LARGEST = 60_000  # bytes of an environment: a pipe takes so many before anybody reads
_PATIENCE = 5.0  # seconds that a slot has to answer
_AT_START = ("PYTHONPATH", "PYTHONHASHSEED", "OMP_NUM_THREADS", MARK)
"""Variables that have to be there when an interpreter starts; none of them is a secret."""


class Contained:
    """A `Child` that runs in a container, which is removed when it is closed.

    Args:
        container: What is known of the container.
        task: The task.
        request: The file that says what it is asked to perform.
        env: Its environment, which holds the task's mark.

    Raises:
        EngineError: The engine can't start it.
        ImageError: The engine of this machine hasn't got the image.
    """

    def __init__(self, container: Container, task: Task, request: str, *, env: Mapping[str, str]) -> None:
        self._code: int | None = None
        self._memory = task.memory
        self._ended = threading.Event()
        self._why: str | None = None
        with ExitStack() as stack:
            self._engine = stack.enter_context(reach(container.engine))
            image = _image_of(self._engine, container)
            folder = Path(tempfile.mkdtemp(prefix="mlexp-", dir=SOCKETS))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.output = _pipe(folder / OUTPUT)
            stack.callback(os.close, self.output)
            handed = _pipe(folder / ENV)
            stack.callback(os.close, handed)
            env = _reachable(container, task, env)
            _hand_over(handed, {name: value for name, value in env.items() if name not in (*_AT_START, GPUS)})
            self._container = containers.start(
                self._engine, _launch(self._engine, container, image.id, task, request, folder, env)
            )
            stack.callback(self._container.remove)
            self.life, self._end_of_life = os.pipe()
            stack.callback(os.close, self.life)
            self._kept = stack.pop_all()
        self.pid = self._container.pid
        self._waiter = threading.Thread(target=self._wait, name="container", daemon=True)
        self._waiter.start()

    def poll(self) -> int | None:
        """Return how it ended."""
        return self._code if self._ended.is_set() else None

    def wait(self, timeout: float) -> int | None:
        """Wait until it has ended."""
        self._ended.wait(max(0.0, timeout))
        return self.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal("TERM")

    def end(self) -> None:
        """End it; nothing that it started outlives its container."""
        self._signal("KILL")
        self._ended.wait(10)

    def end_others(self) -> None:
        """End all that it started."""
        for _ in range(5):  # a process may start another while we look
            if not (found := self.tree().pids[2:]):
                return
            end_all(found)

    def tree(self) -> Tree:
        """Return it with what it has started; nothing where the engine's processes can't be seen from here."""
        if not self.pid or not os.path.exists(f"/proc/{self.pid}/task"):
            return Tree(())
        return Tree(descendants(self.pid))

    def death(self, code: int) -> Outcome:
        """Return what came of a process that ended without a word, with the end of what the container itself says."""
        if self._why is not None:
            return Outcome(Status.FAILED, Failure("TaskDiedError", self._why))
        try:
            ended = self._container.ended()
        except EngineError:
            return death(code)
        if ended.out_of_memory:
            limit = f" of {size(self._memory)}" if self._memory else ""
            return Outcome(Status.FAILED, Failure(TaskMemoryError.__name__, f"stopped at its memory limit{limit}"))
        if code == -signal.SIGKILL:
            killed = "its container was killed from outside (SIGKILL), or memory ran out; not by its own limit"
            return Outcome(Status.FAILED, Failure("TaskDiedError", killed))
        found = death(code)
        if not ended.output.strip() or found.failure is None:
            return found
        text = f"{found.failure.message}; its container says: {ended.output.strip()}"
        return Outcome(found.status, Failure(found.failure.type, text))

    def close(self) -> None:
        """Remove the container, and what connects it."""
        with suppress(EngineError):  # the engine is gone, or removes it already: the next plan sweeps it
            self._kept.close()
        self._waiter.join(5)

    def _wait(self) -> None:
        try:
            code = self._container.wait()
        except Exception as error:  # whatever Docker's client raises when the engine has gone
            code, self._why = 255, f"its container was lost: {error}"
        self._code = -(code - 128) if code - 128 in set(signal.Signals) else code
        self._ended.set()
        os.close(self._end_of_life)

    def _signal(self, name: str) -> None:
        if not self._ended.is_set():
            with suppress(EngineError):  # the engine is gone, which the waiter hears too
                self._container.kill(name)


def sweep(engine: Engine) -> int:
    """Remove this user's containers of tasks whose slots are gone; return how many there were.

    A task's process ends by itself when its slot is gone, and its container stays behind; one that hangs does not.
    Those of others are left alone: whether their slots are there can't be seen from here.
    """
    found = containers.labelled(engine, {HOST: socket.gethostname(), OWNER: str(os.getuid())})
    left = [id for id, labels in found if TASK in labels and _is_gone(labels[TASK])]
    containers.remove(engine, left)
    return len(left)


def labels_of(path: str) -> dict[str, str]:
    """Return the labels of a container that is swept when nobody listens at a socket of this machine any more."""
    return {TASK: path, HOST: socket.gethostname(), OWNER: str(os.getuid())}


@contextmanager
def listening() -> Iterator[str]:
    """Listen at a socket in a folder of its own, as a slot does, and yield its path."""
    folder = tempfile.mkdtemp(prefix="mlexp-", dir=SOCKETS)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.join(folder, "s"))
            server.listen()
            yield os.path.join(folder, "s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gpus_of(container: Container, env: Mapping[str, str]) -> int | tuple[str, ...]:
    """Return the GPUs that a container sees: those that its slot was given, or as many as it asks for."""
    if not container.gpus:
        return 0
    given = tuple(one for one in env.get(GPUS, "").split(",") if one)
    return given or math.ceil(container.gpus)


def _launch(
    engine: Engine, container: Container, image: str, task: Task, request: str, folder: Path, env: Mapping[str, str]
) -> Launch:
    folders = [*_folders(container, task, env), Folder.same(folder, writable=True)]
    if container.site is not None:
        folders += [*lent.parts(), lent.told_of(folder, container.site)]
    user = containers.caller(engine)
    return Launch(
        image=image,
        command=(container.python, "-u", "-P", "-m", "ml_experiment_nb.work.contained", str(folder), request),
        env={name: env[name] for name in _AT_START if name in env}
        | {"PYTHONPATH": os.pathsep.join(imported_from(task))}
        | _home_of(user),
        user=user,
        cwd=task.cwd,
        folders=tuple(folders),
        memory=task.memory,
        cpus=container.cpus,
        gpus=gpus_of(container, env),
        labels=labels_of(env[SOCKET]),
    )


def imported_from(task: Task) -> tuple[str, ...]:
    """Return the folders that a container's code imports from: the user's own, and none of this interpreter's.

    A notebook's whole import path travels with its tasks, and what is installed here, for this user alone too, is not
    what the image has.
    """
    folders = (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), site.getusersitepackages())
    installed = {os.path.realpath(one) for one in folders}
    own = (one for one in task.path if os.path.isdir(one))
    return tuple(one for one in own if not any(Path(os.path.realpath(one)).is_relative_to(at) for at in installed))


def _folders(container: Container, task: Task, env: Mapping[str, str]) -> list[Folder]:
    """Return what a task's container sees of this machine, each at its own path, none below another."""
    written = [env.get("ML_EXPERIMENT_ROOT", task.cwd), task.cwd, task.folder, os.path.dirname(env[SOCKET])]
    if task.output is not None and not is_elsewhere(task.output):
        written.append(os.path.dirname(task.output))
    read = [*imported_from(task), *container.folders, *([task.payload] if task.payload else [])]
    for target in (step.target for step in task.steps):
        if isinstance(target, Script) or (isinstance(target, Notebook) and not target.is_elsewhere):
            read.append(os.path.dirname(os.path.abspath(target.path)))
    found: list[Folder] = []
    for path, writable in [*((one, True) for one in written), *((one, False) for one in read)]:
        absolute = Path(path).absolute()
        is_seen = any(absolute.is_relative_to(one.source) for one in found)
        if not is_seen and (writable or absolute.exists()):
            found = [one for one in found if writable < one.writable or not Path(one.source).is_relative_to(absolute)]
            found.append(Folder.same(absolute, writable=writable))
    return found


def _home_of(user: str) -> dict[str, str]:
    """Return what tells a user whom the image doesn't know of a home; root has one in every image."""
    if user.startswith("0:"):
        return {}
    with suppress(Exception):  # here, too, it may have no name
        name = getpass.getuser()
        return {"HOME": "/tmp", "USER": name, "LOGNAME": name}
    return {"HOME": "/tmp"}


def _reachable(container: Container, task: Task, env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the store's address as MLflow's own calls in a container can use it."""
    uri = env.get("MLFLOW_TRACKING_URI")
    if uri is None:
        return dict(env)
    seen = [one.source for one in _folders(container, task, env)]
    file = uri.partition(":///")[2] if uri.startswith("sqlite") else uri
    same = any(Path("/", file.removeprefix("file://")).is_relative_to(one) for one in seen)
    return {**env, "MLFLOW_TRACKING_URI": reachable(uri, same_files=same, same_machine=False)}


def _pipe(path: Path) -> int:
    """Make a named pipe, and open it so that it never seems to be at its end."""
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _hand_over(pipe: int, env: Mapping[str, str]) -> None:
    line = json.dumps(dict(env)).encode() + b"\n"
    if len(line) > _LARGEST:
        raise EngineError(f"the environment of the task is too large for a container: {size(len(line))}")
    os.write(pipe, line)


def _image_of(engine: Engine, container: Container) -> Image:
    """Return the image on this node's engine, fetched by its digest where it has one."""
    if (found := engine.find(container.image)) is not None:
        return found
    if container.digest:
        return engine.have(container.digest)
    raise ImageError(
        f"the engine of {socket.gethostname()} hasn't got image {container.name!r}, which another machine has: "
        "push it to a registry that all nodes see, and name it by `image`"
    )


def _is_gone(path: str) -> bool:
    """Whether nobody listens at a socket any more; one that can't be asked, or is busy, is not gone."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_PATIENCE)
        try:
            line.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False
