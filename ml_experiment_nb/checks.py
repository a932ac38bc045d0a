"""What can be known of a spec before anything runs: whether its targets can be read, and take their parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_experiment_nb import cells, optuna_spaces, scripts, secrecy
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.distribution import Distributed, read_distributed
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.paths import PATH_PARAMS
from ml_experiment_nb.rows import Table
from ml_experiment_nb.specs import Group, Job
from ml_experiment_nb.targets import OWN_ENGINE, Cell, Command, Function, Notebook, Script, Target

_LONGEST_NAME = 500  # MLflow's limit for an experiment, which has the name of what ran first


def accepts(target: Target) -> frozenset[str] | None:
    """Return the parameters that a target knows; None when it takes any, or can't be asked."""
    match target:
        case Script():
            script = scripts.read_script(Path(target.path))
            jobs = script.jobs
            if not jobs and script.options.all:
                return frozenset(script.options.by_name)
            if not jobs or any(job.accepts_any for job in jobs):
                return None
            return frozenset(name for job in jobs for name in job.params)
        case Notebook():
            notebooks = _notebooks()
            nb = notebooks.read_notebook(target.file)
            known = notebooks.notebook_params(nb)
            tagged = notebooks.parameters_cell(nb) is not None
            return None if known is None and tagged else frozenset(known or ())
        case Cell():
            cell = cells.read_cell(target.source)
            return frozenset((*cell.params, *cell.space))
        case Function():
            signature = scripts.signature_of(target.function)
            return None if signature.accepts_any else frozenset(signature.params)
        case _:
            return None


def check_notebook(target: Notebook, spec: Job) -> None:
    """Check how a notebook is asked to be executed.

    Raises:
        SpecError: Its kernel, its engine or one of its cells can't be had, or an option is for a single notebook.
    """
    if target.is_elsewhere and not target.file.is_file():
        raise SpecError("is fetched by the command `ml-experiment run` alone: give a file", file=target.path)
    if isinstance(spec, Group):
        for key in ("stdout_file", "stderr_file"):
            if getattr(target, key) is not None:
                raise SpecError("is for a single notebook: each trial's log is kept with its run", key=key)
    notebooks = _notebooks()
    if target.kernel is not None:
        notebooks.check_kernel(target.kernel, where=target.name)
    if target.engine != OWN_ENGINE:
        notebooks.check_engine(target.engine, where=target.name)
    if target.part:
        nb = notebooks.read_notebook(target.file)
        notebooks.left_out(nb, target.from_cell, target.until_cell, where=target.name)


def check_given(spec: Job, rows: Iterable[Mapping[str, Any]] = ()) -> None:
    """Check what options may have set past a spec's own checks, and that a store can take its texts.

    Raises:
        SpecError: The name is empty or too long, a time limit is no number, or a text holds bytes that are no UTF-8.
    """
    for key in ("timeout", "timeout_per_trial"):
        if (limit := getattr(spec, key, None)) is not None and not math.isfinite(limit):
            raise SpecError(f"{limit} is no number of seconds; leave it out for no limit", key=key)
    if not 0 < len(spec.name) <= _LONGEST_NAME:
        raise SpecError(f"has {len(spec.name)} characters: it takes 1 to {_LONGEST_NAME}", key="name")
    texts = {"name": spec.name, **{f"params.{name}": value for name, value in spec.params.items()}}
    texts |= {f"each[{k}].{name}": value for k, row in enumerate(rows) for name, value in row.items()}
    for key, text in texts.items():
        if isinstance(text, str) and any("\ud800" <= one <= "\udfff" for one in text):
            raise SpecError(f"is no text: {text[:40]!r} holds bytes that are no UTF-8, or half a character", key=key)


def check_secrets(targets: tuple[Target, ...], spec: Job, table: Table | None) -> list[str]:
    """Check that the secrets that a spec names can be had, and return what is to be noted of those and others.

    Raises:
        SpecError: The variable of one is not set, or its value is too short to be masked.
    """
    secrecy.check(spec.params)
    rows = table.rows if table is not None else ()
    for k, row in enumerate(rows):
        try:
            secrecy.check(row, key="")
        except SpecError as error:
            assert table is not None
            raise table.located(error, k) from None
    asked = [*secrecy.names_in([spec.params, *rows]), *names_in_targets(targets)]
    secrecy.learn_those_set(names_in_targets(targets))
    given = {name: value for row in reversed(rows) for name, value in row.items()}
    note = secrecy.literal_credentials({**given, **spec.params})
    return [*([] if note is None else [note]), *secrecy.notes_of_short(asked)]


def names_in_targets(targets: tuple[Target, ...]) -> list[str]:
    """Return the secrets that targets are seen to ask for themselves, by ``secret("NAME")`` in their source."""
    return [name for text in sources(targets).values() for name in secrecy.names_in_code(text.replace('\\"', '"'))]


def workers_of(targets: tuple[Target, ...], spec: Job, values: Mapping[str, Any]) -> Distributed | None:
    """Return what is asked of distributed training: by the spec, else by a ``@job`` among targets and captured values.

    Raises:
        SpecError: What is to be run can't be distributed, or what a ``@job`` asks can't be read.
    """
    if spec.distributed is not None:
        for target in targets:
            _check_can_be_distributed(target)
        return spec.distributed
    found = [getattr(value, "distributed", None) for value in values.values()]
    found += [one for target in targets for one in _asked_by_jobs(target)]
    asked = [one for one in found if isinstance(one, Distributed)]
    return max(asked, key=lambda one: one.num_workers * one.cpus_per_worker, default=None)


def _check_can_be_distributed(target: Target) -> None:
    problem = {Command: "a command", Notebook: "a notebook", Cell: "a cell"}.get(type(target))
    if problem is not None:
        raise SpecError(
            f"{problem} can't be run on workers: distribute a function, with @job(distributed=…), and call it there",
            key="distributed",
        )
    if isinstance(target, Script) and not scripts.read_script(Path(target.path)).jobs:
        raise SpecError(f"{target.path} has no @job function, which is what the workers run", key="distributed")


def _asked_by_jobs(target: Target) -> Iterator[Distributed | None]:
    if isinstance(target, Function):
        yield getattr(target.function, "distributed", None)
    elif isinstance(target, Script):
        for job in scripts.read_script(Path(target.path)).jobs:
            if job.distributed is cells.DYNAMIC:
                problem = f"what {job.name}() asks must be written out, or be given by the spec"
                raise SpecError(problem, file=target.path, line=job.line, key="distributed")
            try:
                yield read_distributed(job.distributed)
            except SpecError as error:
                raise SpecError(error.problem, target.path, job.line, error.key) from None


def check_params(targets: tuple[Target, ...], given: Mapping[str, Any], allow_unknown: bool) -> None:
    """Check that a run's targets take the parameters that are given, and are given those that they need.

    Raises:
        ParameterError: One is unknown, is missing or is of another type than its annotation says.
    """
    _check_known(targets, given, allow_unknown)
    for target in targets:
        if (job := _only_job(target)) is not None:
            _check_required(target, job, given)


def _check_known(targets: tuple[Target, ...], names: Iterable[str], allow_unknown: bool) -> None:
    given = [name for name in names if name not in PATH_PARAMS]
    known = [accepts(target) for target in targets]
    named = [one for one in known if one is not None]
    anything = len(named) < len(known) or allow_unknown
    everything = frozenset().union(*named)
    unknown = [name for name in given if name not in everything]
    if unknown and not anything:
        for target in targets:
            if isinstance(target, Notebook):
                where = target.name
                notebooks = _notebooks()
                notebooks.check_notebook_params(notebooks.read_notebook(target.file), given, where=where)
        where = ", ".join("the cell" if isinstance(target, Cell) else target.name for target in targets)
        raise cells.unknown_parameter(where, unknown[0], sorted(everything))


def uncalled_jobs(targets: tuple[Target, ...]) -> Iterator[str]:
    """Yield what is to be noted of scripts that define jobs and call none of them."""
    for target in targets:
        if isinstance(target, Script):
            script = scripts.read_script(Path(target.path))
            if script.jobs and not script.uses_them:
                name = script.jobs[-1].name
                yield f"{target.name} defines the job {name} and doesn't call it: end the file with {name}()"


def unread_params(targets: tuple[Target, ...], names: Iterable[str]) -> Iterator[str]:
    """Yield what is to be noted of parameters that a script gives values itself, and is not seen to read."""
    given = list(names)
    for target in targets:
        if not isinstance(target, Script):
            continue
        script = scripts.read_script(Path(target.path))
        own = [name for name in given if name in script.constants]
        if own and script.reads_no_words:
            yield (
                f"{target.name} itself says what {' and '.join(own)} is, and isn't seen to read what it is given: have "
                "it as a parameter of a @job function, or of argparse"
            )


def check_rows(targets: tuple[Target, ...], group: Group, table: Table) -> None:
    """Check every row of a table.

    Raises:
        ParameterError: As `check_params`; says which row, and where it stands.
    """
    names = table.names
    for name in names:
        if name in group.params:
            problem = "is fixed for all rows (params, -p), and the table gives it too: keep one"
            raise table.located(ParameterError(problem, key=name))
    try:
        _check_known(targets, [*group.params, *names], group.allow_unknown_params)
    except SpecError as error:
        raise (table.located(error) if error.key in names else error) from None
    jobs = [(target, job) for target in targets if (job := _only_job(target)) is not None]
    writes = any(isinstance(target, Cell) for target in targets)
    for number, row in enumerate(table.rows):
        try:
            for target, job in jobs:
                _check_required(target, job, {**group.params, **row})
            for name, value in row.items() if writes else ():
                cells.value_text(name, value)
        except SpecError as error:
            raise table.located(error, number) from None


def check_search(group: Group) -> None:
    """Check how a group is searched: its space, the points that it begins with, its sampler and its pruner.

    Optuna is imported only where there is something to ask it: the defaults are known to be right.

    Raises:
        SpecError: The sampler or the pruner can't do what is asked, or the space hasn't got a point.
    """
    sampler = group.sampler
    if sampler.name == "Grid" and not group.param_space:
        raise SpecError("Grid needs to know the space: give param_space, or take BruteForce", key="sampler")
    _check_enqueue(group)
    several = len(group.metrics) > 1
    if sampler.options or sampler.name != "TPE" or group.pruner is not None or several:
        with held_back():
            from ml_experiment_nb.rehearsal import rehearse

        rehearse(group)


def _check_enqueue(group: Group) -> None:
    if group.enqueue and group.sampler.is_exhaustive:
        raise SpecError(f"{group.sampler.name} tries every point anyway: leave it out", key="enqueue")
    if group.num_trials is not None and len(group.enqueue) > group.num_trials:
        raise SpecError(f"has {len(group.enqueue)} points, and num_trials is {group.num_trials}", key="enqueue")
    for k, point in enumerate(group.enqueue):
        for name in point:
            if name in group.params:
                raise SpecError("is fixed for all trials (params, -p): leave it out", key=f"enqueue[{k}].{name}")
        try:
            optuna_spaces.flat_point(group.param_space, point)
        except SpecError as error:
            raise SpecError(error.problem, key=f"enqueue[{k}].{error.key}") from None


def _only_job(target: Target) -> scripts.JobSignature | None:
    if isinstance(target, Script):
        jobs = scripts.read_script(Path(target.path)).jobs
    elif isinstance(target, Function):
        jobs = (scripts.signature_of(target.function),)
    else:
        return None
    return jobs[0] if len(jobs) == 1 else None


def _check_required(target: Target, job: scripts.JobSignature, given: Mapping[str, Any]) -> None:
    missing = [name for name, info in job.params.items() if info.required and name not in given]
    if missing:
        raise ParameterError(
            f"{target.name}: {job.name}() needs it; give it in params, or with -p {missing[0]}=…",
            key=missing[0],
        )
    for name, info in job.params.items():
        _check_types(name, info, given)


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def _check_types(name: str, info: scripts.ParamInfo, given: Mapping[str, Any]) -> None:
    """Check a value against a plain annotation; None stands for a parameter that is drawn for each trial."""
    wanted, value = _TYPES.get(info.annotation or ""), given.get(name)
    if wanted is None or value is None or (isinstance(value, secrecy.Secret) and str in wanted):
        return
    if not isinstance(value, wanted) or (isinstance(value, bool) and info.annotation != "bool"):
        raise ParameterError(f"{value!r} is a {type(value).__name__}; it is annotated as {info.annotation}", key=name)


def _notebooks() -> ModuleType:
    """Return the module that reads notebooks: nbformat takes a second to import, and tasks import this module."""
    from ml_experiment_nb import notebooks

    return notebooks
