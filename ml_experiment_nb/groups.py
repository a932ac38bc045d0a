"""Groups that outlive their driver: going on with one, taking over its trials, and stopping what runs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment_nb import drivers, unfinished
from ml_experiment_nb.again import (
    IMPORTED,
    REPEATS,
    Again,
    Taken,
    TakenTrial,
    is_lost,
    last_tries,
    misfit,
    missing,
    split,
)
from ml_experiment_nb.archive import SPEC, Archive
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.entries import key_of
from ml_experiment_nb.errors import ExperimentError, ResumeError, RunNotFoundError, StillRunningError
from ml_experiment_nb.goals import read_metric
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.plans import Plan, Spec
from ml_experiment_nb.projects import find_root, home
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.rows import Table, read_table
from ml_experiment_nb.spec_files import parse_mapping, spec_from_text
from ml_experiment_nb.specs import Group
from ml_experiment_nb.unfinished import GroupIdentity, Left, identity_of

if TYPE_CHECKING:
    from ml_experiment_nb.tracking import Store

STOP_SECONDS = 60.0  # that a driver may take to stop a run
_SAMPLED = 3  # reasons that a note names


def continued(plan: Plan, *, fresh: bool = False, look: bool = False) -> Plan:
    """Return a plan that goes on with the same group if its driver was stopped before it had finished.

    It is the same when name, experiment, target and code are. Where its space, or a fixed parameter, is another, the
    group is a new one and takes over the trials that fit. Notes of the plan say what is done.

    Args:
        plan: What was asked.
        fresh: Start anew.
        look: It is only to be shown.

    Raises:
        StillRunningError: The same group is being run.
    """
    if plan.kind != "group" or fresh or (plan.known is not None and plan.known.whole):
        return plan
    root, identity = find_root(), identity_of(plan)
    left = unfinished.found(root, identity)
    if not left:
        return plan
    from ml_experiment_nb.sweeps import opened_store

    store = opened_store(root, make=True)
    same = [one for one in left if one.identity.code == identity.code]
    for one in same:
        if (found := _continued(plan, store, one, identity)) is not None:
            return found
    if not same and not left[0].noted and not drivers.is_alive(left[0].folder):
        if not look:
            unfinished.note(left[0])
        return _noted(
            plan,
            f"the group {left[0].run_id[:8]} of this name did not finish, and ran other code: this one starts anew "
            f"(`ml-experiment resume {left[0].run_id[:8]}` goes on with that one)",
        )
    return plan


def resumed(run_id: str, *, trials: int | None = None, failed: bool = False, store: Archive | None = None) -> Plan:
    """Return the plan that goes on with a group, whichever way it ended; what it needs comes from its own record.

    Args:
        run_id: The group's run, or the beginning of its id.
        trials: How many trials more are wanted than it was asked for.
        failed: Try the points of failed trials again.
        store: The store; by default the one in use.

    Raises:
        RunNotFoundError: There is no such run.
        StillRunningError: Its driver lives.
        ResumeError: It can't go on; says why and what to do.
    """
    store = store or opened_archive()
    record = _group(store, run_id)
    folder = drivers.folders(home(store.root)) / str(record.run_id)
    if (driver := drivers.read_driver(folder)) is not None:
        raise StillRunningError(f"{_short(record)} is being run by {driver}: stop it first")
    if record.status is Status.RUNNING:
        raise ResumeError(f"{_short(record)} is not run from here: its driver is {record.tags.get('mlexp.driver')}")
    spec, kept = _recorded(store, record, folder)
    payload = _payload(record, folder, kept)
    if trials is not None and (spec.each is not None or spec.num_trials is None):
        raise ResumeError("--trials is for a search with num_trials: a table or a whole grid has its points already")
    if trials is not None and spec.num_trials is not None:
        spec = spec.model_copy(update={"num_trials": spec.num_trials + trials})
    plan = make_plan(
        spec, path=tuple(kept["path"]), cwd=kept["cwd"], output=kept["output"], cold=kept["cold"]
    )  # fmt: skip
    _check_table(plan, store, record)
    again = _again(plan, store, record, failed=failed, more=trials or 0)
    changed = _changed(store, record, plan)
    notes = [_goes_on(plan, record, again)]
    if changed:
        notes += [f"{', '.join(changed)} changed since: what comes now is of other code than what was there before"]
    return replace(plan, again=replace(again, payload=payload), notes=(*plan.notes, *notes))


def recorded_plan(store: Archive, record: Record) -> Plan:
    """Return what a group's plan was, to be shown with its trials of the store; it can't be run.

    Raises:
        ResumeError: The record doesn't say.
    """
    folder = drivers.folders(home(store.root)) / str(record.run_id)
    spec, kept = _recorded(store, record, folder, values=False)
    table = None
    if spec.each is not None:
        rows: Sequence[Any] = () if isinstance(spec.each, str) else spec.each
        table = Table(rows)
        if isinstance(spec.each, str) and (Path(spec.root_path or ".") / spec.each).exists():
            table = read_table(Path(spec.root_path or ".") / spec.each)
    keys = tuple(one.model_copy(update={"name": key_of(one.name)}) for one in spec.metrics)  # as its trials have them
    shown = spec.model_copy(update={"metric": keys[0] if len(keys) == 1 else keys or None})
    return Plan(shown, spec.run, kept["cwd"], None, spec.executor, output=kept["output"], table=table)


def stop(run_id: str, *, store: Store, timeout: float = STOP_SECONDS, gone: bool = False) -> Record:
    """Stop a run that goes on, wait until it has ended, and return its record; one that has ended stays as it is.

    Args:
        run_id: A group, one of its trials or a single run: its id, or the beginning of it.
        store: The store.
        timeout: Seconds to wait.
        gone: Its driver's machine is gone for good: close it without asking.

    Raises:
        StillRunningError: Its driver didn't stop it in time, or can't be asked from here.
    """
    from ml_experiment_nb.sweeps import forget, sweep

    sweep(store)
    record = store.record(run_id)
    if record.status.ended:
        return record
    folder = drivers.folders(home(store.root)) / str(record.run_id)
    driver = drivers.read_driver(folder)
    if driver is None:
        where = record.tags.get("mlexp.driver", "nobody knows where")
        raise StillRunningError(f"{_short(record)} is not run from this project's folder: its driver is {where}")
    if gone:
        forget(folder)
    else:
        drivers.ask_to_stop(folder)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        sweep(store)
        if drivers.read_driver(folder) is None:
            return store.record(str(record.run_id))
        time.sleep(0.2)
    raise StillRunningError(
        f"{_short(record)} did not stop within {timeout:g} s: its driver is {driver}"
        + ("" if driver.is_near else "; if that machine is gone for good, --gone closes its runs")
    )


def _continued(plan: Plan, store: Archive, left: Left, identity: GroupIdentity) -> Plan | None:
    """Return the plan that goes on with a group that was left; None when it isn't one to go on with."""
    if drivers.is_alive(left.folder):
        if left.identity.points != identity.points:
            return None
        raise StillRunningError(
            f"{plan.spec.name!r} is being run already, by {drivers.read_driver(left.folder)}: "
            f"`ml-experiment attach {left.run_id[:8]}` shows it; --fresh runs it once more beside that"
        )
    try:
        record = store.record(left.run_id)
    except RunNotFoundError:
        return None
    if record.status is not Status.KILLED:
        return None
    if left.identity.points != identity.points:
        return _taking_over(plan, store, record, left.folder)
    try:
        again = _again(plan, store, record)
    except ResumeError as error:
        return _noted(plan, f"{error}: this one starts anew")
    note = f"{_goes_on(plan, record, again)}; --fresh starts anew"
    return _noted(replace(plan, again=again), note)


def _again(plan: Plan, store: Archive, record: Record, *, failed: bool = False, more: int = 0) -> Again:
    """Return how a group goes on; `more` of its plan's trials are asked for beside those that it was asked for."""
    children = last_tries(store.children(str(record.run_id)))
    kept, redo = split(children, rows=plan.table is not None, failed=failed)
    kept = (*_imported(store, record), *(_with_traceback(store, one) for one in kept))
    tags = record.tags
    if plan.table is not None:
        if len(kept) == len(plan.table.rows) and record.status is not Status.KILLED:
            raise ResumeError(f"nothing is missing of {_short(record)}: every row has finished")
        return Again(str(record.run_id), kept, None)
    group = plan.group
    if group.sampler.is_exhaustive and group.num_trials is None:
        left = None
        if record.status is Status.FINISHED and not redo:
            raise _nothing(record, kept)
    elif record.status is Status.KILLED:
        left = (missing((group.num_trials or 0) - more, kept) or 0) + more
    else:  # it ended by itself: its failed trials were trials
        there = {one.number for one in kept}
        left = max(0, (group.num_trials or 0) - more - len(kept)) + more + sum(number in there for number in redo)
    if left == 0 and record.status is not Status.KILLED:  # else its driver died before it could say so
        raise _nothing(record, kept)
    if "mlexp.study" not in tags:
        raise ResumeError(f"{_short(record)} has no study: run it anew")
    if "://" not in (storage := tags["mlexp.storage"]) and not Path(storage).exists():
        raise ResumeError(f"the study of {_short(record)} is gone (there is no {storage}): run it anew, with --fresh")
    return Again(str(record.run_id), kept, left, redo, tags["mlexp.study"], tags["mlexp.storage"])


def _nothing(record: Record, kept: Sequence[Record]) -> ResumeError:
    failed = sum(one.status is Status.FAILED for one in kept)
    hint = f"; --failed tries the {failed} that failed again" if failed else ""
    return ResumeError(f"nothing is missing of {_short(record)}: --trials N asks for N more{hint}")


def _taking_over(plan: Plan, store: Archive, record: Record, folder: Path) -> Plan | None:
    with held_back():
        from ml_experiment_nb.studies import ended_trials

    try:
        spec, _ = _recorded(store, record, folder)
        if plan.table is not None or spec.each is not None:
            return _noted(plan, f"the rows were edited since {_short(record)}, which did not finish: all are run")
        found = ended_trials(spec, record.tags["mlexp.storage"], record.tags["mlexp.study"])
    except (ExperimentError, KeyError) as error:
        return _noted(plan, f"the trials of {_short(record)} can't be taken over: {error}")
    children = {one.number: one for one in last_tries(store.children(str(record.run_id)))}
    group, trials, left = plan.group, [], []
    same = repr(group.metric) == repr(spec.metric)
    for one in found:
        run = store.record(one.origin) if one.origin else children.get(one.number)
        if run is None:
            continue
        params = {**spec.params, **one.params}
        reason = misfit(params, group.param_space, group.params) or (None if same else "its metric was another")
        if reason is None and (both := [name for name in one.drawn if name in params]):
            reason = f"its code drew {', '.join(both)} itself"
        if reason is None:
            drawn = {name: value for name, (_, value) in one.drawn.items()}
            trials.append(TakenTrial(replace(run, number=None), {**params, **drawn}, one.values, one.steps, one.drawn))
        else:
            left.append(f"{run.run_id} {run.name}: {reason}")
    numbers = {one.number for one in found}
    left += [f"{one.run_id} {one.name}: {one.status}" for one in children.values() if one.number not in numbers]
    note = f"the space was edited: {len(trials)} trials of {_short(record)}, which did not finish, count in this group"
    if left:
        reasons = "; ".join(line.split(" ", 1)[1] for line in left[:_SAMPLED]) + ("; …" if len(left) > _SAMPLED else "")
        note += f", {len(left)} don't ({reasons})"
    taken = Taken(str(record.run_id), tuple(trials), tuple(left))
    return _noted(replace(plan, taken=taken), f"{note}; --fresh starts without them")


def trials_of(store: Archive, record: Record) -> list[Record]:
    """Return the trials that count in a group: those that it took over from others, and its own.

    A trial that was lost and drawn again, and a row that was run again, counts once.
    """
    children = last_tries(store.children(str(record.run_id)))
    repeated = {int(told) for one in children if (told := one.tags.get(REPEATS, "")).isdigit()}
    there = [one for one in children if one.number not in repeated or not is_lost(one)]
    own = {one.run_id if one.number is None else one.number: one for one in there}  # an experiment's steps have none
    return [*_imported(store, record), *own.values()]


def goals_of(store: Archive, record: Record) -> dict[str, bool]:
    """Return the metrics that a group optimised, and of each whether more of it is better."""
    text = store.text(record, SPEC)
    found = read_metric(parse_mapping(text).get("metric")) if text is not None else None
    several = found if isinstance(found, tuple) else () if found is None else (found,)
    return {one.name: one.direction == "maximize" for one in several}


def _check_table(plan: Plan, store: Archive, record: Record) -> None:
    """Refuse a table that isn't what it was: its runs are known by the numbers of their rows."""
    if (table := plan.table) is None or table.file is None:
        return
    name = f"record/each{Path(table.file).suffix}"
    if (before := store.text(record, name)) is not None and before != table.text:
        raise ResumeError(
            f"{table.file} was edited since {_short(record)} was run: run it anew, or put back what it was ({name})"
        )


def _with_traceback(store: Archive, record: Record) -> Record:
    """Return a failed trial's record with its traceback, which the store keeps in a file."""
    if record.failure is None or record.status is not Status.FAILED:
        return record
    text = store.text(record, "record/error.txt") or ""
    return replace(record, failure=replace(record.failure, traceback=text))


def _imported(store: Archive, record: Record) -> tuple[Record, ...]:
    """Return the trials of other groups that count in a group; they have no number in it."""
    if IMPORTED not in record.tags:
        return ()
    lines = (store.text(record, "record/imported.txt") or "").splitlines()
    return tuple(replace(store.record(line.split()[0]), number=None) for line in lines)


def _recorded(store: Archive, record: Record, folder: Path, *, values: bool = True) -> tuple[Group, dict[str, Any]]:
    """Return a group's spec and what its record keeps of its plan."""
    plan = store.text(record, f"record/{unfinished.PLAN}")
    text = store.text(record, SPEC)
    if plan is None or text is None:
        raise ResumeError(f"{_short(record)} has no record of what it ran (record/spec.yaml): run it anew")
    try:
        kept: dict[str, Any] = json.loads(plan)
    except ValueError as error:
        raise ResumeError(
            f"record/{unfinished.PLAN} of {_short(record)} can't be read ({error}): run it anew"
        ) from None
    if values:
        _payload(record, folder, kept)
    spec: Spec | None = unfinished.spec_left(folder) if values else None
    spec = spec or spec_from_text(text)
    if not isinstance(spec, Group):
        raise ResumeError(f"{_short(record)} is no group")
    return spec, kept


def _payload(record: Record, folder: Path, kept: dict[str, Any]) -> str | None:
    if not kept["payload"]:
        return None
    path = folder / str(kept["payload"])
    if not path.exists():
        why = "they are removed when it has finished" if record.status is Status.FINISHED else f"there is no {path}"
        raise ResumeError(f"the values that {_short(record)}'s trials need are gone ({why}): run its cell again")
    return str(path)


def _group(store: Archive, run_id: str) -> Record:
    record = store.record(run_id)
    if record.kind == "trial":
        raise ResumeError(
            f"{_short(record)} is a trial; resume its group: `ml-experiment resume {(record.parent_id or '')[:8]}`"
        )
    if record.kind != "group":
        raise ResumeError(f"{_short(record)} is a single {record.kind}, which starts anew: run it again")
    return record


def _changed(store: Archive, record: Record, plan: Plan) -> list[str]:
    """Return the names of the files that are not as they were recorded."""
    now = sources(plan.targets)
    return [
        name
        for name, text in now.items()
        if (before := store.text(record, f"record/source/{name}")) is not None and before != text
    ]


def _goes_on(plan: Plan, record: Record, again: Again) -> str:
    done = sum(one.status is not Status.FAILED for one in again.kept)
    total = len(plan.table.rows) if plan.table else plan.group.num_trials
    of = f" of {total}" if total else ""
    what = "rows" if plan.table else "trials"
    redo = f", {len(again.redo)} to be tried again" if again.redo else ""
    return f"goes on with the group {_short(record)}: {done}{of} {what} are done{redo}"


def _noted(plan: Plan, note: str) -> Plan:
    return replace(plan, notes=(*plan.notes, note))


def _short(record: Record) -> str:
    return str(record.run_id)[:8]
