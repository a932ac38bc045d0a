"""Whether a run's driver lives: what it leaves in the run's folder while it goes on, and what it can be asked there.

A driver holds a lock on the file ``driver`` of each of its runs, which the kernel gives back when the driver ends,
however it ends. The file says who it is. It is locked before it gets its name, so that nobody ever sees it free.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ml_experiment_nb.errors import StillRunningError
from ml_experiment_nb.whole_files import write_whole

FILE = "driver"
STOP = "stop"
LOOK = 0.5  # seconds between two looks for somebody who asks for a run to be stopped
GONE = "gone"  # somebody knows that the driver's machine is
NEW = "new-"  # how a folder's name begins before the store has given its run an id


@dataclass(frozen=True)
class Driver:
    """Who drives a run, and what is known of the run before the store has it all.

    Attributes:
        host: The machine's name.
        pid: The process.
        boot: Which start of the machine's kernel it is: locks are known to that one alone.
        token: Tells this run from all others, before it has an id.
        store: The address of the store that it is recorded in.
        name: The run's name.
        kind: The run's kind.
        parent: The id of the run that it belongs to.
        number: Its number in its group.
        params: Its parameters as text.
    """

    host: str
    pid: int
    boot: str
    token: str
    store: str = ""
    name: str = ""
    kind: str = ""
    parent: str | None = None
    number: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """What the run is tagged with from its very first moment."""
        return f"{self.host}/{self.pid}/{self.token}"

    @property
    def is_near(self) -> bool:
        """Whether it is or was a process of this machine."""
        return self.boot == _boot() or self.host == socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_driver(
    *, store: str, name: str, kind: str, parent: str | None = None, number: int | None = None,
    params: Mapping[str, str] | None = None,
) -> Driver:  # fmt: skip
    """Return what this process says of itself as the driver of a run."""
    return Driver(
        socket.gethostname(), os.getpid(), _boot(), uuid.uuid4().hex[:12],
        store, name, kind, parent, number, dict(params or {}),
    )  # fmt: skip


class Hold:
    """A driver's hold on its run's folder, until it is released or the process ends.

    Args:
        folder: The run's folder; it exists.
        driver: Who holds it.

    Raises:
        OSError: The file can't be written.
    """

    def __init__(self, folder: Path, driver: Driver) -> None:
        self.folder = folder
        self.driver = driver
        hidden = folder / f".{driver.token}"
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _held.add(self._file)
        with suppress(OSError):  # a file system without locks: then the process's id alone says that it lives
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._file, json.dumps(asdict(driver)).encode())
        hidden.rename(folder / FILE)

    def move(self, folder: Path) -> None:
        """Give the run's folder another name."""
        self.folder.rename(folder)
        self.folder = folder

    def drop(self) -> None:
        """Let go and leave the file: what is still to be done for the run, a sweep does."""
        file, self._file = self._file, -1
        if file in _held:
            _held.discard(file)
            os.close(file)

    def release(self) -> None:
        """Let go: nothing is left to be done."""
        for name in (FILE, STOP):
            (self.folder / name).unlink(missing_ok=True)
        self.drop()


def take_up(root: Path, run_id: str, driver: Driver) -> Hold:
    """Take hold of a run that has ended, to go on with it.

    Args:
        root: The project's ``.ml-experiment`` folder.
        run_id: The run.
        driver: Who takes it up.

    Raises:
        StillRunningError: A driver holds it.
    """
    folder = folders(root) / run_id
    with alone(root):
        folder.mkdir(parents=True, exist_ok=True)
        if (other := read_driver(folder)) is not None:
            raise StillRunningError(
                f"{run_id[:8]} is being run by {other}: `ml-experiment attach {run_id[:8]}` shows it, "
                f"`ml-experiment stop {run_id[:8]}` stops it"
            )
        return Hold(folder, driver)


def folders(root: Path) -> Path:
    """Return where the folders of a project's runs are, of those that go on; it may not exist.

    Args:
        root: The project's ``.ml-experiment`` folder.
    """
    return root / "runs"


def read_driver(folder: Path) -> Driver | None:
    """Return who drives, or drove, the run of a folder; None where that is over."""
    try:
        return Driver(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_alive(folder: Path) -> bool:
    """Return whether the driver of a run's folder still holds it."""
    try:
        file = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        driver = read_driver(folder)
        return driver is not None and (driver.boot != _boot() or Path(f"/proc/{driver.pid}").exists())
    else:
        return False
    finally:
        os.close(file)


def driven(root: Path) -> Iterator[Path]:
    """Return the folders of all runs that a driver, alive or dead, has left open; one look at one folder.

    Args:
        root: The project's ``.ml-experiment`` folder.
    """
    with suppress(FileNotFoundError), os.scandir(folders(root)) as found:
        for one in found:
            if os.path.exists(os.path.join(one.path, FILE)):
                yield Path(one.path)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Be the only process that sweeps a project's runs, or takes one of them up again, within this block."""
    with (root / "runs.lock").open("w") as file:
        _held.add(file.fileno())
        try:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            _held.discard(file.fileno())


def ask_to_stop(folder: Path) -> None:
    """Ask the driver of a run's folder to stop it; the file says who asks.

    Raises:
        FileNotFoundError: It has ended.
    """
    write_whole(folder / STOP, f"stopped by {_user()} on {socket.gethostname()}")


def stop_asked(folder: Path) -> str | None:
    """Return who asks for a run to be stopped, as a sentence; None when nobody does."""
    try:
        return (folder / STOP).read_text() or "stopped by somebody"
    except OSError:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


_held: set[int] = set()


def _let_go() -> None:
    """Close the locks in a process that this one has forked: it would keep them when the driver is dead."""
    for file in _held:
        with suppress(OSError):
            os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
