"""A replay, run and judged; its verdict, kept with its run and with the original."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from ml_experiment_nb import loop, markup
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.comparison.differences import Evidence
from ml_experiment_nb.comparison.evidence import LARGEST, curve, read_both
from ml_experiment_nb.errors import ExperimentError, ReplayError, StoreError
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.records import Failure, Outcome, Record, Status
from ml_experiment_nb.replays import judging
from ml_experiment_nb.replays.material import OF
from ml_experiment_nb.replays.preparing import Ready
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Started, Update
from ml_experiment_nb.verdicts import Tolerance, Verdict, could_not_run

Shown: TypeAlias = Callable[[Plan, Iterator[Update]], Iterable[Record]]
"""Takes a plan and what happens as it is done, shows that, and gives the records."""

VERDICT: Final = "mlexp.replay.verdict"
SENTENCE: Final = "mlexp.replay.sentence"
ENV: Final = "mlexp.replay.env"
RUN: Final = "mlexp.replay.run"
REPLAYED: Final = "mlexp.replayed"
REPLAYED_BY: Final = "mlexp.replayed.by"
FILE: Final = "record/replay.json"
_HISTORIES: Final = 500  # metrics of a run whose values at each step are compared


@dataclass(frozen=True)
class Replay:
    """A run that was done again.

    Attributes:
        original: The run, as the store has it.
        record: The run that was made of it: its own, or one that only says why it could not run.
        verdict: Whether it is the same.
        env: The environment in which it ran, in words; empty where it didn't come to that.
    """

    original: Record
    record: Record
    verdict: Verdict
    env: str

    def to_json(self) -> str:
        """Return it as a line of JSON."""
        told = {"run_id": self.record.run_id, "of": self.original.run_id, "name": self.original.name, "env": self.env}
        return json.dumps({**told, **json.loads(self.verdict.to_json())})

    def __str__(self) -> str:
        short, own = (str(one.run_id)[:8] for one in (self.original, self.record))
        where = f"replayed in {self.env} as {own}" if self.env else f"not replayed; its record is {own}"
        head = f"{self.original.name}, run {short}, {where}"
        return f"{head}\n{self.verdict}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        head, sentence, *lines = str(self).splitlines()
        listed = "".join(f"<li>{markup.escaped(' '.join(line.split()))}</li>" for line in lines)
        return (
            f"<div><div>{markup.escaped(head)}</div><div><b>{markup.escaped(sentence)}</b></div>"
            f"{f'<ul>{listed}</ul>' if listed else ''}</div>"
        )


def unshown(plan: Plan, updates: Iterator[Update]) -> Iterator[Record]:
    """Show nothing of what happens, and give the records."""
    return (one for one in updates if isinstance(one, Record))


def run_again(store: Store, original: Record, ready: Ready, shown: Shown) -> tuple[Record, Record | None]:
    """Run it, and return its record and that of the run that its code has opened.

    Raises:
        StoreError: The store can't be reached.
        ReplayError: What it is to run in can't be had.
    """
    begun: list[str] = []

    def noting(updates: Iterator[Update]) -> Iterator[Update]:
        for update in updates:
            if isinstance(update, Started) and update.run_id:
                begun.append(update.run_id)
            yield update

    try:
        with closing(loop.follow(ready.plan)) as updates:  # type: ignore[type-var]
            last = list(shown(ready.plan, noting(updates)))[-1]
    except BaseException as error:
        if begun:
            with suppress(ExperimentError):
                why = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
                keep(store, original, store.record(begun[0]), could_not_run(why, ready.causes), ready.env)
        elif isinstance(error, ExperimentError) and not isinstance(error, StoreError):
            raise ReplayError(str(error)) from error
        raise
    outer = store.record(str(last.run_id))
    if not ready.material.inner:
        return outer, None
    sweep(store)
    return outer, _inner(store, original, outer)


def _inner(store: Store, original: Record, outer: Record) -> Record | None:
    """Return the run that a replay's code has opened, and that is the original's other version."""
    names = {original.name, original.experiment}
    found = [one for one in store.children(str(outer.run_id)) if one.name in names and one.kind == "experiment"]
    alike = [one for one in found if dict(one.params) == dict(original.params)]
    return (alike or found)[-1] if found else None


def judged(
    store: Store, original: Record, outer: Record, inner: Record | None, ready: Ready,
    tolerances: Mapping[str, Tolerance], ignored: Sequence[str],
) -> Verdict:  # fmt: skip
    """Return the verdict on a replay that ran.

    Args:
        store: The store.
        original: The run.
        outer: The run that was made of it.
        inner: The one that its code has opened, if that is to be compared.
        ready: What was run.
        tolerances: How far metrics may be apart.
        ignored: What is not compared.

    Raises:
        StoreError: The store can't be read.
    """
    if ready.material.inner and inner is None:
        why = f"its session failed before its cell: {outer.failure}" if outer.failure else "its cell opened no run"
        return could_not_run(_as_then(original, ready, why), ready.causes)
    before, after = read_both(store, original, inner or outer)
    if original.kind == "trial":  # of which less is kept
        after = replace(after, files={path: one for path, one in after.files.items() if path in before.files})
    after = replace(after, notebooks={n: _as_then(original, ready, text) for n, text in after.notebooks.items()})
    names = [*dict.fromkeys([*before.record.metrics, *after.record.metrics])]
    curves = tuple(_curves(store, one.record, names) for one in (before, after))
    beyond = len(names) - _HISTORIES
    notes = [f"of {beyond:,} more metrics only the last values were compared"] if beyond > 0 else []
    logs = store.log_text(original), _as_then(original, ready, store.log_text(after.record))
    return judging.verdict_of(
        before, after, curves=(curves[0], curves[1]), logs=logs,
        alike=_alike(store, original, ready, before, after),
        tolerances=tolerances, ignored=ignored, causes=ready.causes,
        elsewhere=ready.plan.spec.docker_config is not None, notes=notes,
    )  # fmt: skip


def _as_then(original: Record, ready: Ready, text: str) -> str:
    """Return a text in which the folders of the project and of the environment are those of the original."""
    for new, old in _folders(original, ready).items():
        text = text.replace(new, old)
    return text


def _folders(original: Record, ready: Ready) -> dict[str, str]:
    """Return the folders of a replay, and those that were in their place."""
    found = {str(ready.scratch.folder): str(ready.scratch.origin)}
    environment = original.tags.get("mlexp.system.environment")
    if ready.plan.python is not None and environment is not None:
        found[str(Path(ready.plan.python).parent.parent)] = environment
    return found


def _curves(store: Store, record: Record, names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """Return a record's metrics with their values at each step; of those that are beyond count, the last values."""
    found = {
        name: [(one.step, one.value) for one in curve(store, record, name)]
        for name in names[:_HISTORIES]
        if name in record.metrics
    }
    return found | {name: [(0, record.metrics[name])] for name in names[_HISTORIES:] if name in record.metrics}


def _alike(store: Store, original: Record, ready: Ready, before: Evidence, after: Evidence) -> set[str]:
    """Return the files that differ in nothing but what names the run."""
    names = {str(after.record.run_id): str(original.run_id)} | _folders(original, ready)
    sizes, found = store.files(original), set()
    for path, told in before.files.items():
        if after.files.get(path, told) == told or sizes.get(path, 0) > LARGEST:
            continue
        old, new = (store.content(one.record, path) for one in (before, after))
        if old is not None and new is not None and judging.is_alike(path, old, new, names):
            found.add(path)
    return found


def without_run(store: Store, original: Record, verdict: Verdict) -> Record:
    """Record a replay that could not begin as a run that failed."""
    tags = {OF: str(original.run_id), "mlflow.source.name": original.tags.get("mlflow.source.name", original.name)}
    live = open_run(
        store, name=original.name, experiment=original.experiment, kind="experiment", params={}, tags=tags,
        snapshot=snapshot(store.root),
    )  # fmt: skip
    return live.close(Outcome(Status.FAILED, Failure("ReplayError", verdict.reason)))


def keep(
    store: Store, original: Record, record: Record, verdict: Verdict, env: str, inner: Record | None = None
) -> Replay:
    """Keep a verdict with the run that came of it, and with its original.

    Raises:
        StoreError: The store can't be written.
    """
    found = Replay(original, record, verdict, env)
    tags = {VERDICT: verdict.answer.value, SENTENCE: verdict.sentence, "mlflow.runName": f"{original.name} (replay)"}
    tags |= {ENV: env} if env else {}
    if inner is not None:
        tags[RUN] = str(inner.run_id)
        store.set_tags(str(inner.run_id), {OF: str(original.run_id)})
    with tempfile.TemporaryDirectory(prefix="mlexp-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, FILE)
        file.parent.mkdir()
        file.write_text(found.to_json() + "\n", encoding="utf-8")
        store.take_files(record, Path(folder))
    store.set_tags(str(record.run_id), tags)
    store.set_tags(str(original.run_id), {REPLAYED: verdict.sentence, REPLAYED_BY: str(record.run_id)})
    return replace(found, record=store.record(str(record.run_id)))
