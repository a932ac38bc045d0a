"""``%%experiment`` and ``%%group``: parse the line and the cell, call one verb, show.

Loading this module costs next to nothing: what a magic needs is imported when it is first used.
"""

from __future__ import annotations

import sys
import traceback
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from ml_experiment_nb import completion, proofs, session, writing
from ml_experiment_nb.errors import ExperimentError, TaskError
from ml_experiment_nb.interrupts import held_back, let_come_again
from ml_experiment_nb.line_magics import LookingMagics
from ml_experiment_nb.usage import errors_in_one_line, in_one_line, parsed
from ml_experiment_nb.words import AUTOLOG, HELP, NEEDED, NO_AUTOLOG, NOTIFY

if TYPE_CHECKING:
    from ml_experiment_nb.cell_requests import CellRequest
    from ml_experiment_nb.effects import Executed
    from ml_experiment_nb.plans import Plan
    from ml_experiment_nb.recording import OpenRun
    from ml_experiment_nb.records import Record, Records
    from ml_experiment_nb.widgets.run import Shown

_STOPPED = (
    "the group was stopped and its runs are closed; run the cell again to go on with it, or with --fresh to start anew"
)
_BEFORE = "interrupted before the cell's code began"
_AFTER = "interrupted after the cell's code had run, as its run was being recorded"


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
            verb(parsed(magic, line, self.experiment, self.group), cell)

    def _experiment(self, options: Namespace, cell: str) -> None:
        from ml_experiment_nb.cell_requests import captured, parse_cell
        from ml_experiment_nb.planning import make_plan

        asked = parse_cell(options, cell, kind="experiment", known=self._namespace, above=self._above(cell))
        if asked.save is not None:
            self._save(asked, asked.save)
            return
        values = captured(asked.cell, self._namespace)
        if asked.plan or options.needed:
            plan = make_plan(asked.spec, values=values if options.needed else {})
            if options.needed:
                with held_back():
                    from ml_experiment_nb.needs import needed
                plan = needed(plan)
            if asked.plan:
                self._preview(plan, asked.cell.source)
                return
            if plan.known is not None and plan.known.whole:
                self._take_known(plan.known.whole[-1], asked)
                return
        self._run(asked, values, options)

    def _run(self, asked: CellRequest, values: Mapping[str, Any], options: Namespace) -> None:
        """Run an experiment's cell here."""
        with held_back():
            from ml_experiment_nb import inplace
        from ml_experiment_nb.callbacks import watching
        from ml_experiment_nb.cells import with_values
        from ml_experiment_nb.earlier import CELL
        from ml_experiment_nb.events import Params, Tags
        from ml_experiment_nb.failures import user_frames
        from ml_experiment_nb.reports import send_result
        from ml_experiment_nb.widgets.bundle import cell_id
        from ml_experiment_nb.widgets.run import show_run
        from ml_experiment_nb.work.shell import calling_secrets, render_in_notebook, run_source, show_value

        source = with_values(asked.cell, asked.spec.params)
        live, has_run = None, False
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
                    value = run_source(self.shell, source, above=self._above(asked.cell.source))
                    has_run = True
                    send_result(value, live)
                    show_value(self.shell, value, source)
                if options.prove:
                    live.add(Tags({proofs.PROOF: proofs.RUNNING}))
        except BaseException as error:
            if live is not None and live.record is not None:
                self._bind(asked.into, live.record)
                show_run(live.record, live.artifacts, live.files, later=later)
            if self._is_of_the_cell(error) or not isinstance(error, ExperimentError | KeyboardInterrupt):
                render_in_notebook(error, user_frames(error.__traceback__))
            elif isinstance(error, KeyboardInterrupt):
                raise in_one_line(KeyboardInterrupt(_AFTER if has_run else _BEFORE)) from None
            raise
        self._bind(asked.into, live.record)
        if live.record is not None:
            shown = show_run(live.record, live.artifacts, live.files, later=later)
            if options.prove:
                self._prove(live.record, shown)

    def _look_through(self, live: OpenRun, source: str) -> None:
        """Have a run say what is wrong with its cell; that alone never keeps it from running."""
        from ml_experiment_nb.events import Note, Tags
        from ml_experiment_nb.preflight import TAG, told_of_cell

        try:
            found = told_of_cell(f"%%experiment\n{source}", self._namespace)
        except Exception as error:  # what looks for faults may not keep the cell from running
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

    def _take_known(self, record: Record, asked: CellRequest) -> None:
        """Show the record of an earlier run in place of running a cell."""
        from ml_experiment_nb.widgets.run import show_card

        self._bind(asked.into, record)
        show_card(record)
        unset = sorted(name for name in asked.cell.writes if not name.startswith("_") and name not in self._namespace)
        if unset:
            print(f"note: the cell was not run, so it did not set {', '.join(unset)}", file=sys.stderr)

    def _group(self, options: Namespace, cell: str) -> None:
        with held_back():
            from ml_experiment_nb import earlier, loop
        from ml_experiment_nb.callbacks import watched
        from ml_experiment_nb.cell_requests import captured, given_rows, parse_cell
        from ml_experiment_nb.groups import continued
        from ml_experiment_nb.planning import make_plan
        from ml_experiment_nb.progress import is_live, show_progress

        rows = given_rows(options.each, self._namespace) if options.each is not None else None
        asked = parse_cell(options, cell, kind="group", rows=rows, known=self._namespace, above=self._above(cell))
        if asked.save is not None:
            self._save(asked, asked.save)
            return
        values = captured(asked.cell, self._namespace)
        plan = make_plan(asked.spec, values=values, path=tuple(p for p in sys.path if p))
        if options.needed:
            with held_back():
                from ml_experiment_nb.needs import needed
            plan = needed(plan)
        if asked.plan:
            self._preview(plan, asked.cell.source, fresh=options.fresh)
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

    def _preview(self, plan: Plan, source: str, *, fresh: bool = False) -> None:
        from ml_experiment_nb.preview import preview

        above = [one.source for one in self._history(source)]
        for part in preview(plan, fresh=fresh, known=self._namespace, above=above):
            print(part)

    def _save(self, asked: CellRequest, file: str) -> None:
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

    def _above(self, cell: str) -> int:
        """Return how many lines stand above the code of the cell that runs, its magic's own among them."""
        assert self.shell is not None
        history: Any = self.shell.history_manager
        raw, own = history.input_hist_raw[-1].rstrip(), cell.rstrip()
        return raw.removesuffix(own).count("\n") if own and raw.endswith(f"\n{own}") else 1

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


def _let_write() -> None:
    """Let the run of the cell above be written before this one begins, unless that takes long."""
    try:
        writing.wait(writing.CELL)
    except KeyboardInterrupt:  # IPython would show our frames, and run the cell all the same
        let_come_again()
    for problem in writing.problems():
        print(f"note: {problem}", file=sys.stderr)
    if (provers := sys.modules.get("ml_experiment_nb.provers")) is not None:
        for line in provers.untold():
            print(line, file=sys.stderr)


def _unfinished(plan: Plan, done: list[Record]) -> Records:
    """Return what a stopped group has so far; its own record did not come."""
    from ml_experiment_nb.records import Records

    return Records(done, None, *plan.goal)


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, and what completes them."""
    shell.register_magics(ExperimentMagics, LookingMagics)
    completion.install(shell)
