"""The command ``ml-experiment``: parse, call one verb, show.

Exit codes: 0 done; 1 the user's code failed (a search: no trial finished; a table: a row did not), or nobody reads the
output any more;
2 what was asked is wrong; 3 the store, Ray or Docker can't be had, or a disk can't be written;
4 a process or kernel died without a word; 5 it took
longer than its time limit; 6 it used more memory than its limit; 7 a replay could not run (1 where it differs);
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

import click

from ml_experiment_nb.cli.check import check
from ml_experiment_nb.cli.comparison import compare, diff
from ml_experiment_nb.cli.doctor import doctor
from ml_experiment_nb.cli.groups import attach, resume, stop
from ml_experiment_nb.cli.image import image
from ml_experiment_nb.cli.kernel import kernel
from ml_experiment_nb.cli.look import list_runs, logs, show, ui
from ml_experiment_nb.cli.replay import replay
from ml_experiment_nb.cli.run import run
from ml_experiment_nb.cli.schema import schema
from ml_experiment_nb.cli.starting import completion, init
from ml_experiment_nb.cli.watch import CommandWatch
from ml_experiment_nb.errors import (
    EngineError,
    ExecutorError,
    ExperimentError,
    ImageError,
    RunNotFoundError,
    StoreError,
)


def main(watch: CommandWatch | None = None) -> None:
    """Run the command, turning this package's errors into one line and an exit code.

    Args:
        watch: Who is told what happens, where nobody waits for the command.
    """
    _open_what_is_closed()
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a closed terminal stops what it ran, not under nohup
        signal.signal(signal.SIGHUP, lambda *_: _interrupt())
    try:
        commands.main(standalone_mode=False, obj=watch, color=_wanted_colour())
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: what ran was stopped and its runs are closed", err=True)
        sys.exit(130)
    except ExperimentError as error:
        click.echo(f"error: {error}", err=True)
        away = isinstance(error, StoreError | ExecutorError | EngineError)
        unreachable = away and not isinstance(error, RunNotFoundError | ImageError)
        sys.exit(3 if unreachable else 2)
    except OSError as error:
        if error.errno not in _MACHINE:
            raise
        _say(f"error: {error}")
        sys.exit(3)


_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What is wrong with a machine's disks, its output among them, and not with what this package does."""


def _wanted_colour() -> bool | None:
    """Return False where a terminal has no colours, or nobody wants them (https://no-color.org); else Click decides."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _open_what_is_closed() -> None:
    """Open what a daemon or ``>&-`` has closed of standard input and output: the next file opened would be it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


def _say(text: str) -> None:
    """Print an error, where that can be; what waits for an output that can't be written is dropped."""
    try:
        click.echo(text, err=True)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt() -> None:
    raise KeyboardInterrupt


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ml-experiment-nb", message="%(version)s")
def commands() -> None:
    """Run jobs, experiments and groups; look at what came of them."""


for _command in (
    init,
    run,
    check,
    list_runs,
    show,
    compare,
    diff,
    replay,
    logs,
    resume,
    attach,
    stop,
    ui,
    image,
    doctor,
    kernel,
    schema,
    completion,
):
    commands.add_command(_command)
