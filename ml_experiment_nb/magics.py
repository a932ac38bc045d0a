"""``%%experiment`` and ``%%group``: parse the line and the cell, call one verb, show.

Loading this module costs next to nothing: what a magic needs is imported when it is first used.
"""

from __future__ import annotations

import ast
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from ml_experiment_nb import completion, proofs, session, writing
from ml_experiment_nb.errors import ExperimentError, SpecError, TaskError
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.line_magics import LookingMagics
from ml_experiment_nb.usage import errors_in_one_line, in_one_line, parsed
from ml_experiment_nb.words import AUTOLOG, HELP, NEEDED, NO_AUTOLOG, NOTIFY, autolog_keys, search_keys

if TYPE_CHECKING:
    from ml_experiment_nb.cells import CellSource
    from ml_experiment_nb.lineage import Executed
    from ml_experiment_nb.plans import Plan, Spec
    from ml_experiment_nb.recording import OpenRun
    from ml_experiment_nb.records import Record, Records
    from ml_experiment_nb.specs import Row
    from ml_experiment_nb.widgets.run import Shown

_STOPPED = (
    "the group was stopped and its runs are closed; run the cell again to go on with it, or with --fresh to start anew"
)


@dataclass(frozen=True)
class Asked:
    """What a magic's line and cell ask for."""

    spec: Spec
    cell: CellSource
    into: str | None
    plan: bool
    save: str | None


@magics_class
class ExperimentMagics(Magics):
    """The cell magics of ml-experiment-nb."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        session.watch(shell)
        shell.events.register("pre_execute", _let_write)

    @magic_arguments()
    @argument("name", nargs="?", help="The experiment's name; by default the notebook's.")
    @argument("-p", "--param", action="append", metavar="NAME=VALUE", help="Override a parameter; may be repeated.")
    @argument("--seed", type=int, help="Seed every random generator before the cell runs.")
    @argument("--data", action="append", metavar="NAME", help="A variable or files that it reads; may be repeated.")
    @argument("--into", metavar="VARIABLE", help="Bind the run's record to this variable.")
    @argument("--tag", action="append", metavar="NAME=VALUE", help="Tag the run; may be repeated.")
    @argument("--notify", action="append", metavar="WHO", help=NOTIFY)
    @argument("--autolog", metavar="LIBRARIES", help=AUTOLOG)
    @argument("--no-autolog", action="store_true", help=NO_AUTOLOG)
    @argument("--save", metavar="FILE", help="Write a spec (.yaml, .json) and a notebook that run it; run nothing.")
    @argument("--needed", action="store_true", help=NEEDED)
    @argument("--prove", action="store_true", help="Then run the cells it depends on in a new kernel, and compare.")
    @argument("--plan", action="store_true", help="Show what would be done, and do nothing.")
    @cell_magic
    def experiment(self, line: str, cell: str) -> None:
        """Run the cell as a tracked experiment.

        Leading assignments of literals are its parameters; the last expression gives its metrics, as a dict of
        numbers or ``(metrics, artifacts)``; `report`, imported from ml_experiment_nb, records a curve. The cell
        runs here, in the notebook: its variables stay.

            %%experiment "SVM"
            C = 0.5
            model = SVC(C=C).fit(X_train, y_train)
            {"val_accuracy": model.score(X_val, y_val)}
        """
        self._guard(self._experiment, line, cell, self.experiment)

    @magic_arguments()
    @argument("name", nargs="?", help="The group's name; by default the notebook's.")
    @argument("--each", metavar="ROWS", help="Run once for each row of a variable (dicts, a data frame) or a file.")
    @argument("--trials", type=int, help=HELP["trials"])
    @argument("--sampler", help=HELP["sampler"])
    @argument("--pruner", help=HELP["pruner"])
    @argument("--maximize", action="append", metavar="METRIC", help=HELP["maximize"])
    @argument("--minimize", action="append", metavar="METRIC", help=HELP["minimize"])
    @argument("--define-by-run", action="store_true", help=HELP["define_by_run"])
    @argument("--enqueue", action="append", metavar="POINT", help=HELP["enqueue"])
    @argument("--slots", "--cpus", type=int, help="How many trials run at once (the number of CPUs).")
    @argument("--seed", type=int, help=HELP["seed"])
    @argument("--data", action="append", metavar="NAME", help="A variable or files that they read; may be repeated.")
    @argument("--timeout", type=float, metavar="SECONDS", help="Stop the whole group when it takes longer.")
    @argument("--timeout-per-trial", type=float, metavar="SECONDS", help=HELP["timeout_per_trial"])
    @argument("--max-failures", type=int, metavar="N", help=HELP["max_failures"])
    @argument("--stop-when", metavar="CONDITION", help=HELP["stop_when"])
    @argument("--memory", metavar="SIZE", help="Stop a trial that uses more memory, such as 500MB or 2GB.")
    @argument("--retries", type=int, help=HELP["retries"])
    @argument("--storage", help=HELP["storage"])
    @argument("--executor", choices=["auto", "inline", "ray"], help="Where trials run: Ray, or plain processes.")
    @argument("--image", help="Run each trial in a container of this Docker image.")
    @argument("-p", "--param", action="append", metavar="NAME=VALUE", help="Override a parameter or a distribution.")
    @argument("--into", metavar="VARIABLE", help="Bind the records to this variable.")
    @argument("--tag", action="append", metavar="NAME=VALUE", help="Tag the group and its trials; may be repeated.")
    @argument("--notify", action="append", metavar="WHO", help=NOTIFY)
    @argument("--autolog", metavar="LIBRARIES", help=AUTOLOG)
    @argument("--no-autolog", action="store_true", help=NO_AUTOLOG)
    @argument("--save", metavar="FILE", help="Write a spec (.yaml, .json) and a notebook that run it; run nothing.")
    @argument("--fresh", action="store_true", help="Start anew, even if the same group was stopped before its end.")
    @argument("--needed", action="store_true", help=NEEDED)
    @argument("--plan", action="store_true", help="Show what would be done, and do nothing.")
    @cell_magic
    def group(self, line: str, cell: str) -> None:
        """Run the cell once for each point of a parameter space, in parallel, each trial a tracked run.

        Leading assignments of distributions are the space, those of literals stay fixed; the distributions are
        ``uniform``, ``loguniform``, ``randint``, ``range`` and ``choice``. Trials run in processes of their own
        with copies of what the cell reads: they can't change the notebook's variables.

            %%group "SVM" --trials 12 --sampler tpe --maximize val_accuracy
            C = loguniform(0.01, 1000)
            gamma = choice(["scale", "auto"])
            {"val_accuracy": SVC(C=C, gamma=gamma).fit(X_train, y_train).score(X_val, y_val)}

        With ``--each rows`` the points are the rows of a table; the leading assignments are their defaults.
        """
        self._guard(self._group, line, cell, self.group)

    def _guard(self, verb: Any, line: str, cell: str, magic: Any) -> None:
        with errors_in_one_line():
            verb(parsed(magic, line), cell)

    def _experiment(self, options: Namespace, cell: str) -> None:
        with held_back():
            from ml_experiment_nb import inplace
        from ml_experiment_nb.callbacks import watching
        from ml_experiment_nb.cells import with_values
        from ml_experiment_nb.earlier import CELL
        from ml_experiment_nb.failures import user_frames
        from ml_experiment_nb.plans import make_plan
        from ml_experiment_nb.reports import Params, Tags, send_result
        from ml_experiment_nb.widgets.bundle import cell_id
        from ml_experiment_nb.widgets.run import show_run
        from ml_experiment_nb.work.shell import calling_secrets, render_in_notebook, run_source, show_value

        asked = parse_cell(options, cell, kind="experiment", known=self._namespace)
        if asked.save is not None:
            self._save(asked, asked.save)
            return
        values = captured(asked.cell, self._namespace)
        if asked.plan or options.needed:
            plan = make_plan(asked.spec, values=values if options.needed else {})
            plan = _of_needed(plan) if options.needed else plan
            if asked.plan:
                self._show_plan(plan, asked.cell.source)
                return
            if plan.known is not None and plan.known.whole:
                self._take_known(plan.known.whole[-1], asked)
                return
        source = with_values(asked.cell, asked.spec.params)
        live = None
        later = hasattr(self.shell, "kernel")  # elsewhere nobody waits for a reply
        try:
            with (
                watching(asked.spec) as watch,
                inplace.here(asked.spec, asked.spec.params, later=later, values=values, fully=options.needed) as live,
            ):
                watch.open(live)
                live.add(Params(asked.spec.params))
                if (told := cell_id()) is not None:
                    live.add(Tags({CELL: told}))
                self._look_through(live, asked.cell.source)
                with calling_secrets(self._namespace, asked.spec.params):
                    value = run_source(self.shell, source)
                    send_result(value, live)
                    show_value(self.shell, value, source)
                if options.prove:
                    live.add(Tags({proofs.PROOF: proofs.RUNNING}))
        except BaseException as error:
            if live is not None and live.record is not None:
                self._bind(asked.into, live.record)
                show_run(live.record, live.artifacts, live.files, later=later)
            if not isinstance(error, ExperimentError) or self._is_of_the_cell(error):
                render_in_notebook(self.shell, error, user_frames(error.__traceback__))
            raise
        self._bind(asked.into, live.record)
        if live.record is not None:
            shown = show_run(live.record, live.artifacts, live.files, later=later)
            if options.prove:
                self._prove(live.record, shown)

    def _look_through(self, live: OpenRun, source: str) -> None:
        """Have a run say what is wrong with its cell; that alone never keeps it from running."""
        from ml_experiment_nb.preflight import TAG, told_of_cell
        from ml_experiment_nb.reports import Note, Tags

        try:
            found = told_of_cell(f"%%experiment\n{source}", self._namespace)
        except Exception as error:
            live.add(Note(f"the cell was not looked through: {type(error).__name__}: {error}"))
        else:
            if found:
                live.add(Tags({TAG: found}))

    def _prove(self, record: Record, shown: Shown) -> None:
        """Have a run proven by another process; the card shows what that comes to."""
        from ml_experiment_nb import provers

        def told(proof: proofs.Proof) -> None:
            shown.tag(proof.tags())
            if not hasattr(self.shell, "kernel"):
                provers.tell(f"proof of {record.name} {str(record.run_id)[:8]}: {proofs.said(proof.tags())}")

        problem = provers.begin(self.shell, record, told)
        if problem is not None:
            print(f"note: the run is not proven: {problem}", file=sys.stderr)

    def _take_known(self, record: Record, asked: Asked) -> None:
        """Show the record of an earlier run in place of running a cell."""
        from ml_experiment_nb.widgets.run import show_card

        self._bind(asked.into, record)
        show_card(record)
        unset = sorted(name for name in asked.cell.writes if not name.startswith("_") and name not in self._namespace)
        if unset:
            print(f"note: the cell was not run, so it did not set {', '.join(unset)}", file=sys.stderr)

    def _group(self, options: Namespace, cell: str) -> None:
        with held_back():
            from ml_experiment_nb import earlier, loop, unfinished
        from ml_experiment_nb.callbacks import watched
        from ml_experiment_nb.groups import continued
        from ml_experiment_nb.plans import make_plan
        from ml_experiment_nb.progress import is_live, show_progress

        rows = given_rows(options.each, self._namespace) if options.each is not None else None
        asked = parse_cell(options, cell, kind="group", rows=rows, known=self._namespace)
        if asked.save is not None:
            self._save(asked, asked.save)
            return
        values = captured(asked.cell, self._namespace)
        plan = make_plan(asked.spec, values=values, path=tuple(p for p in sys.path if p))
        if options.needed:
            plan = _of_needed(plan)
        if asked.plan:
            left = not options.fresh and unfinished.was_left(plan)
            self._show_plan(continued(plan, look=True) if left else plan, asked.cell.source)
            return
        plan = continued(plan, fresh=options.fresh)
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
        done: list[Record] = []
        try:
            for record in show_progress(plan, watched(plan, loop.follow(plan))):
                done.append(record)
        except KeyboardInterrupt:
            self._bind(asked.into, _unfinished(plan, done))
            raise in_one_line(KeyboardInterrupt(_STOPPED)) from None
        records = loop.collect(plan, done)
        earlier.remember_goals(records.goals)
        self._bind(asked.into, records)
        self._show(records)
        if not is_live(plan):
            self._tell(plan, records)
        if records.parent is not None and not records.parent.ok:
            raise TaskError(records.parent.failure.message if records.parent.failure else "the group failed")

    def _show_plan(self, plan: Plan, source: str) -> None:
        from ml_experiment_nb.forecast import forecast
        from ml_experiment_nb.preflight import check_plan

        print(plan)
        if plan.known is not None and plan.known.whole:
            return
        print(forecast(plan))
        if found := check_plan(plan, known=self._namespace, above=[one.source for one in self._history(source)]):
            print(found)

    def _save(self, asked: Asked, file: str) -> None:
        from ml_experiment_nb.export import make_pair, write_pair

        pair = make_pair(asked.spec, asked.cell, self._history(asked.cell.source), self._namespace, file)
        write_pair(pair)
        print(pair)

    def _history(self, source: str) -> list[Executed]:
        """Return the cells that were executed before the one with this source."""
        cells = session.executed_cells(self.shell)
        return cells[:-1] if cells and cells[-1].source.rstrip().endswith(source.rstrip()) else cells

    def _is_of_the_cell(self, error: BaseException) -> bool:
        """Whether an error was raised by what the cell calls, such as `report`, and not on the way to it."""
        frames = traceback.walk_tb(error.__traceback__)
        return any(frame.f_globals is self._namespace for frame, _ in frames)

    @property
    def _namespace(self) -> dict[str, Any]:
        assert self.shell is not None
        namespace: dict[str, Any] = self.shell.user_ns
        return namespace

    def _bind(self, name: str | None, value: Any) -> None:
        if name is not None:
            self._namespace[name] = value

    def _tell(self, plan: Plan, records: Records) -> None:
        """Print what a group's records don't show."""
        from ml_experiment_nb import triage

        if len(plan.group.metrics) > 1:
            print("front:", ", ".join(record.name for record in records.front) or "no trial finished")
        notes = records.parent.notes if records.parent is not None else ()
        for note in (one for one in notes if one not in plan.notes):  # those were told when it began
            print(f"note: {note}")
        if text := triage.report(records):
            print(text, file=sys.stderr)

    def _show(self, value: Any) -> None:
        from IPython.display import display

        display(value)


def parse_cell(
    options: Namespace, source: str, *, kind: str, rows: Sequence[Row] | None = None, known: Container[str] = ()
) -> Asked:
    """Turn a magic's options and cell into a spec; it needs no IPython and starts nothing.

    Args:
        options: The line's options.
        source: The cell.
        kind: ``experiment`` or ``group``.
        rows: The points of a group that has a run for each; what they leave out is as the cell has it.
        known: The names of the notebook's variables.

    Raises:
        SpecError: The cell is no Python, or an option is wrong.
        ParameterError: ``-p`` names no parameter of the cell.
    """
    from ml_experiment_nb.cells import read_cell
    from ml_experiment_nb.datasets import asked_for
    from ml_experiment_nb.jobs import read_assignments
    from ml_experiment_nb.notify import read_words
    from ml_experiment_nb.plans import make_plan, with_params
    from ml_experiment_nb.specs import spec_from_mapping
    from ml_experiment_nb.targets import Cell

    if options.into is not None and not options.into.isidentifier():
        raise SpecError(f"--into {options.into}: not a variable's name")
    if options.save is not None and options.plan:
        raise SpecError("--save writes and --plan shows: give one of them")
    cell = read_cell(source)
    _refuse_await(source)
    if kind == "group":
        _refuse_misspelt(source, cell, known)
    given = read_assignments(options.param or [])
    unset = [name for name in cell.space if name not in given]
    if kind == "experiment" and unset:
        raise SpecError(f"{unset[0]} is a distribution: search it with %%group, or fix it with -p {unset[0]}=VALUE")
    asked: dict[str, Any] = {
        "kind": kind,
        "name": options.name or _notebook_name(),
        "run": [Cell(source=source, parameters=(*cell.params, *cell.space))],
        "params": cell.params,
        "tags": _tags(options.tag or []),
        **({"seed": options.seed} if options.seed is not None else {}),
        **({"data": asked_for(options.data, known)} if options.data else {}),
        "notify": read_words(options.notify or []),
        **autolog_keys(options.autolog, options.no_autolog),
    }
    if rows is not None:
        asked |= {"params": {n: v for n, v in cell.params.items() if not any(n in row for row in rows)}}
        asked |= {"each": _completed(rows, cell, given)}
    if kind == "group":
        asked |= _group_keys(options, cell)
    spec = with_params(spec_from_mapping(asked), given)
    make_plan(spec)  # checks the parameters
    return Asked(spec, cell, options.into, options.plan, options.save)


def _of_needed(plan: Plan) -> Plan:
    from ml_experiment_nb.needs import needed

    return needed(plan)


def given_rows(name: str, namespace: Mapping[str, Any]) -> Sequence[Row]:
    """Return the rows that ``--each`` names: a variable of the notebook, or a table's file.

    Raises:
        SpecError: There is neither, or it holds no rows.
    """
    from ml_experiment_nb.errors import nearest
    from ml_experiment_nb.rows import SUFFIXES, read_table
    from ml_experiment_nb.specs import read_rows

    if name in namespace:
        return read_rows(namespace[name])
    if name.lower().endswith(SUFFIXES):
        return read_table(name).rows
    hint = nearest(name, [one for one in namespace if not one.startswith("_")])
    raise SpecError(f"--each {name}: there is no such variable, and it is no table's file{hint}")


def _completed(rows: Sequence[Row], cell: CellSource, given: Mapping[str, Any]) -> list[Row]:
    """Return rows that give what any of them gives: a row that leaves a parameter out takes what the cell has."""
    names = {name for row in rows for name in row}
    for name in cell.space:
        if name not in given and not all(name in row for row in rows):
            raise SpecError(f"{name} is a distribution: give it in every row, or fix it with -p {name}=VALUE")
    defaults = {name: value for name, value in cell.params.items() if name in names}
    return [{**defaults, **row} for row in rows]


def _refuse_await(source: str) -> None:
    """Say at once what IPython can't do within a cell magic."""
    from ml_experiment_nb.cells import parse
    from ml_experiment_nb.errors import SpecError

    waiting: list[ast.AST] = [parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            raise SpecError(
                "a tracked cell can't await at its top level: await in a cell above, or in a thread of its own",
                line=node.lineno,
            )
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _refuse_misspelt(source: str, cell: CellSource, known: Container[str]) -> None:
    """Say which distribution is meant by one that there isn't: each trial would fail with its name."""
    from ml_experiment_nb.cells import assignment, parse
    from ml_experiment_nb.errors import SpaceError, nearest
    from ml_experiment_nb.flow import is_everywhere
    from ml_experiment_nb.spaces import NAMES

    for statement in parse(source).body:
        match assignment(statement):
            case (name, ast.Call(func=ast.Name(id=called))) if called in cell.reads - set(NAMES):
                hint = "" if called in known or is_everywhere(called) else nearest(called, NAMES)
                if hint:
                    raise SpaceError(f"{called} is no distribution{hint}", line=statement.lineno, key=name)


def captured(cell: CellSource, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a cell reads from a notebook's namespace."""
    from ml_experiment_nb.flow import HIDDEN

    return {
        name: namespace[name]
        for name in sorted(cell.reads)
        if name in namespace and name not in HIDDEN and not name.startswith("__")
    }


def _group_keys(options: Namespace, cell: CellSource) -> dict[str, Any]:
    if not cell.space and options.each is None and not options.define_by_run:
        raise SpecError(
            "the cell has no distribution to search: begin it with one, such as C = loguniform(0.01, 1000); or give "
            "--define-by-run if it draws by itself, with Trial.get_current()"
        )
    keys = {
        "param_space": cell.space if options.each is None else None,
        "slots": options.slots,
        "timeout": options.timeout,
        "memory": options.memory,
        "executor": options.executor,
        "docker_config": {"image": options.image} if options.image is not None else None,
    }
    return {name: value for name, value in keys.items() if value is not None} | search_keys(vars(options))


def _let_write() -> None:
    """Let the run of the cell above be written before this one begins, unless that takes long."""
    writing.wait(writing.CELL)
    for problem in writing.problems():
        print(f"note: {problem}", file=sys.stderr)
    if (provers := sys.modules.get("ml_experiment_nb.provers")) is not None:
        for line in provers.untold():
            print(line, file=sys.stderr)


def _unfinished(plan: Plan, done: list[Record]) -> Records:
    """Return what a stopped group has so far; its own record did not come."""
    from ml_experiment_nb.records import Records

    return Records(done, None, *plan.goal)


def _tags(words: Sequence[str]) -> dict[str, str]:
    tags = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise SpecError(f"--tag {word}: write it as NAME=VALUE, such as team=vision")
        tags[name] = value
    return tags


def _notebook_name() -> str:
    """Return the notebook's name where somebody tells it, and ``cell`` where nobody does."""
    from ml_experiment_nb.capture.notebook import this_notebook

    return Path(this_notebook() or os.environ.get("JPY_SESSION_NAME") or "cell").stem


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, and what completes them."""
    shell.register_magics(ExperimentMagics, LookingMagics)
    completion.install(shell)
