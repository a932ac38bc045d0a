"""A plan of what is needed alone: what the store knows already of it is looked up, and taken from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ml_experiment_nb.addresses import local_path
from ml_experiment_nb.capture.basis import ENVIRONMENT, MODULES, VALUES, basis_of
from ml_experiment_nb.capture.digests import file_digests, joined
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.containment import CONTAINED
from ml_experiment_nb.entries import key_of
from ml_experiment_nb.errors import CaptureError, RunNotFoundError, SpecError
from ml_experiment_nb.groups import trials_of
from ml_experiment_nb.identity import ASKED, CODE, Code, code_of
from ml_experiment_nb.known import DATA, REPLAY_OF, TAKEN_FROM, Known, compared, counts, differences, digests_of, taken
from ml_experiment_nb.limits import is_cut_by_time
from ml_experiment_nb.observing.seeding import UNSEEDED
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import find_root, has_store
from ml_experiment_nb.provenance import identity_of, plan_inputs
from ml_experiment_nb.readings import RunQuery
from ml_experiment_nb.records import Record
from ml_experiment_nb.specs import Group
from ml_experiment_nb.sweeps import opened_store
from ml_experiment_nb.taking import executed_notebook
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.trials import DRAWN

_NAMED = (ASKED, MODULES, ENVIRONMENT, VALUES, DATA, TAKEN_FROM, DRAWN, UNSEEDED, REPLAY_OF, CONTAINED)
"""The tags that are looked at of many runs."""
_NEWEST = 20
_SHOWN = 3


def needed(plan: Plan) -> Plan:
    """Return a plan that runs only what has no successful record yet with the same code, parameters, data and packages.

    The digests of the data are those of now. What is known stands in the plan's `known`; a group that was run to its
    end with the same space and search is taken as it is.

    Raises:
        SpecError: It is a job, which is not recorded; or a data file isn't there.
        StoreError: The store can't be reached.
    """
    if not isinstance(plan, Plan):
        raise SpecError(f"needed takes a plan, such as make_plan(spec) gives, not one of type {type(plan).__name__}")
    if not plan.tracked:
        raise SpecError("--needed takes what is recorded, and a job is not: make it kind: experiment")
    if plan.spec.docker_config is not None:
        note = "nothing is taken from earlier runs, for what is in an image can't be compared: leave --needed out"
        return replace(plan, notes=(*plan.notes, note), known=Known(compared="nothing"))
    root, cwd = find_root(), Path(plan.cwd)
    basis = basis_of(plan.targets, cwd, values=plan.values, path=plan.path)
    if basis.problem:
        note = f"nothing is taken from earlier runs, for what the code reads can't be compared: {basis.problem}"
        return replace(plan, notes=(*plan.notes, note), known=Known(compared="nothing"))
    inputs = plan_inputs(plan, root)
    tags = {VALUES: "none", **basis.tags()}
    words = compared(tags, inputs)
    if not has_store(root):
        return replace(plan, known=Known(compared=words))
    store = opened_store(root)
    code = code_of(plan.targets, cwd)
    own = identity_of(plan, code)
    judge = _Judge(store, tags, inputs)
    for one in _asked(store, own[ASKED], plan.kind):  # the newest first
        if judge.accepts(one) and (whole := _whole(store, plan, one, judge)):
            return replace(plan, known=Known({own[ASKED]: one}, words, whole=whole))
    known: dict[str, Record] = {}
    if plan.nested:
        goals, judge = _goals(plan), _Judge(store, tags, inputs)
        for one in _of_tasks(store, plan, code):
            if one.tags.get(ASKED, "") not in known and judge.accepts(one, goals):
                known[one.tags[ASKED]] = one
    return replace(plan, known=Known(known, words, judge.apart()))


def _goals(plan: Plan) -> list[str]:
    """Return the metrics that a record has to have, by MLflow's names for them."""
    return [key_of(name) for name in plan.goal[0]]


def _asked(store: Store, asked: str, kind: str) -> Iterable[Record]:
    return store.listed(RunQuery(kind=kind, status="finished", tagged=((ASKED, asked),), limit=_NEWEST, tags=True))


def _of_tasks(store: Store, plan: Plan, code: Code) -> list[Record]:
    """Return the finished runs that may be those of a plan's tasks, the newest first."""
    if not isinstance(plan.spec, Group):
        tasks = [identity_of(plan, code, task) for task in plan.tasks()]
        return [one for task in tasks for one in _asked(store, task[ASKED], plan.kind)]
    if plan.table is None and not plan.spec.param_space:
        return []  # its code draws by itself: what it will draw isn't known before it runs
    found = store.listed(RunQuery(status="finished", tagged=((CODE, code.digest),), named=_NAMED))
    return [one for one in found if one.kind != "group"]


def _whole(store: Store, plan: Plan, found: Record, judge: _Judge) -> tuple[Record, ...]:
    """Return the records of a plan that was done before, if all of it was."""
    if plan.output is not None and not plan.nested and executed_notebook(store, found) is None:
        return ()
    if not plan.nested:
        return (taken(found),)
    if plan.output is not None:
        return ()  # each of its rows has a notebook to be written
    children = trials_of(store, found)
    if plan.kind == "group" and (is_cut_by_time(found) or any(one.failure is not None for one in children)):
        return ()
    if not all(judge.is_as_it_was(one) for one in children):
        return ()
    if plan.kind != "group":
        children.sort(key=lambda one: one.started)
    return (*children, taken(found))


class _Judge:
    """Decides which records count, and remembers why others don't."""

    def __init__(self, store: Store, tags: Mapping[str, str], inputs: Sequence[Input]) -> None:
        self._store = store
        self._tags = tags
        self._inputs = inputs
        self._why: Counter[str] = Counter()

    def accepts(self, record: Record, goals: Sequence[str] = ()) -> bool:
        if not counts(record, goals):
            return False
        found = differences(record, self._tags, self._inputs) or self._of_its_own(record)
        if found:
            self._why[found[0]] += 1
        return not found

    def is_as_it_was(self, child: Record) -> bool:
        """Return whether what a run of the plan's was seen to read is as it was; of one that was taken, its origin."""
        try:
            origin = child.tags.get(TAKEN_FROM)
            found = self._of_its_own(child if origin is None else self._store.record(origin))
        except RunNotFoundError:
            found = ["the run that it was taken from is gone"]
        if found:
            self._why[found[0]] += 1
        return not found

    def apart(self) -> tuple[str, ...]:
        """Return why records of the same code don't count."""
        return tuple(
            f"{count} run{'' if count == 1 else 's'} of this code not: {why}"
            for why, count in self._why.most_common(_SHOWN)
        )

    def _of_its_own(self, record: Record) -> list[str]:
        """Return what of the files that a run was seen to read, besides those that are asked for, is not as it was."""
        if len(digests_of(record)) <= len(self._inputs):
            return []
        known = {one.digest for one in self._inputs}
        files = {uri: digest for uri, digest in self._store.input_files(record).items() if digest not in known}
        return [f"{Path(uri).name} is not as it was" for uri, digest in files.items() if _digest_now(uri) != digest]


def _digest_now(uri: str) -> str | None:
    place = local_path(uri)
    if place is None:
        return None
    files = sorted(one for one in place.rglob("*") if one.is_file()) if place.is_dir() else [place]
    try:
        digests = file_digests(files, None)
    except CaptureError:
        return None
    if place.is_file():
        return digests[0].digest[:32]
    return joined({str(one.path.relative_to(place)): one.digest for one in digests})
