"""``%diff``, ``%compare``, ``%attach`` and ``%replay``: looking at runs from a notebook, and doing one again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from ml_experiment_nb.records import Record, Records
from ml_experiment_nb.usage import errors_in_one_line, parsed

if TYPE_CHECKING:
    from ml_experiment_nb.comparison.differences import Diff
    from ml_experiment_nb.comparison.view import Comparison
    from ml_experiment_nb.replays import Replay


@magics_class
class LookingMagics(Magics):
    """The line magics of ml-experiment-nb."""

    @magic_arguments()
    @argument("a", help="A run: its id or the beginning of it, or a variable that holds its record.")
    @argument("b", help="The other one.")
    @line_magic
    def diff(self, line: str) -> Diff:
        """Say why two runs differ: parameters, metrics, source, packages, git, data, outputs."""
        from ml_experiment_nb import comparison

        with errors_in_one_line():
            options = parsed(self.diff, line)
            return comparison.diff(self._one(options.a), self._one(options.b))

    @magic_arguments()
    @argument("runs", nargs="*", help="Runs, or a group for its trials: ids or variables. By default the newest.")
    @argument("-e", "--experiment", metavar="NAME", help="All runs of this experiment.")
    @argument("--maximize", action="append", metavar="METRIC", help="Compare by this metric; more is better.")
    @argument("--minimize", action="append", metavar="METRIC", help="Compare by this metric; less is better.")
    @argument("--limit", type=int, default=1000, help="At most so many, the newest, where no runs are named (1000).")
    @line_magic
    def compare(self, line: str) -> Comparison:
        """Lay runs side by side, the best first. The value has methods that draw, such as ``_.curves("loss")``."""
        from ml_experiment_nb.comparison.view import compare

        with errors_in_one_line():
            options = parsed(self.compare, line)
            wanted = dict.fromkeys(options.maximize or (), True) | dict.fromkeys(options.minimize or (), False)
            return compare(
                *map(self._value, options.runs),
                experiment=options.experiment,
                metric=list(wanted) or None,
                maximize=list(wanted.values()) or None,
                limit=options.limit,
            )

    @magic_arguments()
    @argument("group", nargs="?", help="A group: its id, or a variable. By default the one that runs, else the newest.")
    @line_magic
    def attach(self, line: str) -> None:
        """Show a group's live view again, from any notebook of the project; the cell ends at once."""
        from IPython.display import display

        from ml_experiment_nb.attached import updates
        from ml_experiment_nb.groups import recorded_plan
        from ml_experiment_nb.loop import collect
        from ml_experiment_nb.progress import is_live, show_progress
        from ml_experiment_nb.projects import find_root
        from ml_experiment_nb.tracking import Store
        from ml_experiment_nb.widgets import attachment

        with errors_in_one_line():
            options = parsed(self.attach, line)
            store = Store(find_root())
            found = self._one(options.group) if options.group is not None else None
            record = attachment.group_of(store, found.run_id if isinstance(found, Record) else found)
            plan = recorded_plan(store, record)
            if is_live(plan):
                attachment.attach(store, record, plan)
            elif hasattr(self.shell, "kernel"):
                display(attachment.as_it_stands(store, record, plan), raw=True)
            else:
                display(collect(plan, list(show_progress(plan, updates(store, record)))))

    @magic_arguments()
    @argument("run", help="A run: its id or the beginning of it, or a variable. A group stands for its best trial.")
    @argument("--env", choices=["recorded", "here"], default="recorded", help="The recorded environment, or this one.")
    @argument("--in-image", metavar="IMAGE", help="Run it in a container of this image, not in an environment.")
    @argument("--tolerance", action="append", metavar="METRIC=VALUE", help="How far a metric may be from what it was.")
    @argument(
        "--ignore", action="append", metavar="NAME", help="A metric, a file, outputs, or a pattern: not compared."
    )
    @argument("--timeout", type=float, metavar="SECONDS", help="Stop it after that.")
    @argument("--cold", action="store_true", help="Make the recorded environment anew.")
    @line_magic
    def replay(self, line: str) -> Replay:
        """Run it again from its record, in a process of its own, and say whether it is the same."""
        from ml_experiment_nb.replays import replay

        with errors_in_one_line():
            options = parsed(self.replay, line)
            return replay(
                self._one(options.run), env=options.env, image=options.in_image, tolerance=options.tolerance or (),
                ignore=options.ignore or (), timeout=options.timeout, cold=options.cold,
                say=lambda text: print(f"note: {text}", file=sys.stderr),
            )  # fmt: skip

    def _value(self, word: str) -> str | Record | Records:
        """Return what a word stands for: a variable that holds a record, or records; else it is an id."""
        assert self.shell is not None
        found: Any = self.shell.user_ns.get(word)
        return found if isinstance(found, Record | Records) else word

    def _one(self, word: str) -> str | Record:
        found = self._value(word)
        if isinstance(found, Records):
            if found.parent is None:
                raise UsageError(f"{word} holds {len(found)} records: pick one, such as {word}[0]")
            return found.parent
        return found
