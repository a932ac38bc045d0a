"""A run done again from its record, in a copy of the project and in its recorded environment, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from numbers import Real
from typing import get_args

from ml_experiment_nb.errors import ReplayError, SpecError
from ml_experiment_nb.records import Record, Records
from ml_experiment_nb.replays.choice import chosen
from ml_experiment_nb.replays.preparing import Env, Preparation
from ml_experiment_nb.replays.results import Replay, Shown, judged, keep, run_again, unshown, without_run
from ml_experiment_nb.sweeps import opened_store
from ml_experiment_nb.tracebacks import shortened
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.verdicts import Verdict, could_not_run, read_tolerances

__all__ = ["Env", "Replay", "Shown", "chosen", "replay"]


@shortened
def replay(
    run: str | Record | Records,
    *,
    env: Env = "recorded",
    image: str | None = None,
    tolerance: float | str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    timeout: float | None = None,
    cold: bool = False,
    leave: bool = False,
    store: Store | None = None,
    shown: Shown | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Replay:
    """Do a run again from its record, and return the verdict on it, which is recorded as a run of its own.

    It runs in a copy of the project with the code as it is recorded; see `scratch`. A group stands for its best trial.

    Args:
        run: A run: its record, its id or the beginning of that; or a group's records.
        env: ``recorded``: an environment with the packages that are recorded, made by uv unless this one has them;
            ``here``: this one, with what differs said.
        image: In place of an environment: the image in whose container it runs; see ``docker_config``.
        tolerance: How far metrics may be from what they were: ``val_accuracy=0.01``, ``loss=1%``, ``0.01`` for all.
        ignore: What is not compared: metrics, files, cells by name or pattern; ``outputs``, ``files``, ``metrics``.
        timeout: Seconds after which it is stopped, in place of those of its spec.
        cold: Make the recorded environment anew, even where an earlier replay has left it.
        leave: Leave the copy of the project.
        store: The store; by default the one in use.
        shown: Shows what happens.
        say: Is told, in sentences, what is not as it was and what takes its time.

    Raises:
        RunNotFoundError: There is no such run, or more than one.
        SpecError: A tolerance can't be read, or names no metric of the run.
        ReplayError: It is no run that can be done again.
        StoreError: The store can't be reached.
    """
    if env not in get_args(Env):
        raise SpecError(f"env is 'recorded' or 'here', not {env!r}")
    if timeout is not None and not isinstance(timeout, Real):
        raise SpecError(f"timeout is a number of seconds, not {timeout!r}")
    store = store or opened_store()
    original, *others = chosen(store, run)
    if others:
        raise ReplayError(f"it ran several files: replay one of its {1 + len(others)} steps by its id")
    words = [str(tolerance)] if isinstance(tolerance, str | float | int) else tolerance
    tolerances = read_tolerances(words, original.metrics)
    ignored = [ignore] if isinstance(ignore, str) else list(ignore)
    asked = Preparation(store, original, env, image, timeout, cold, leave, say)
    with ExitStack() as stack:
        ready = asked.ready(stack)
        if isinstance(ready, Verdict):
            return keep(store, original, without_run(store, original, ready), ready, "")
        for cause in ready.causes:
            say(f"before it runs: {cause}")
        try:
            outer, inner = run_again(store, original, ready, shown or unshown)
        except ReplayError as error:
            verdict = could_not_run(str(error), ready.causes)
            return keep(store, original, without_run(store, original, verdict), verdict, "")
        verdict = judged(store, original, outer, inner, ready, tolerances, ignored)
        if written := ready.scratch.written():
            say(f"the code has written to files of yours that were too large to be copied: {', '.join(written)}")
        if leave:
            say(f"the copy is left in {ready.scratch.folder}")
    return keep(store, original, outer, verdict, ready.env, inner)
