"""The process of something that was started and goes on by itself: the command, which leaves word of how it stands."""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment_nb import cli, submissions
from ml_experiment_nb.submissions import Progress

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan
    from ml_experiment_nb.updates import Update

EVERY = 1.0  # seconds between two words of how far it is
_CRASHED = 1


class SubmissionWatch:
    """Leaves word, in a submission's folder, of what happens.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.failure: str | None = None
        self._folder = folder
        self._due = 0.0

    def follow(self, plan: Plan, updates: Iterator[Update]) -> Iterator[Update]:
        """Hand on what happens in a plan, leaving word of its run, how far it is, and why it fails."""
        from ml_experiment_nb.events import Cell
        from ml_experiment_nb.records import Record
        from ml_experiment_nb.updates import Happened, Started

        begun, done, total = False, 0, _total(plan)
        try:
            for update in updates:
                match update:
                    case Started(run_id=str(run_id)) if not begun:
                        submissions.say_run(self._folder, run_id)
                        begun = True
                    case Happened(event=Cell(index, count, title)) if plan.kind != "group":
                        self._say(Progress(index, count, f"cell {index} of {count}: {title}"), last=index == count)
                    case Record(kind="trial"):
                        done += 1
                        text = f"{done} trials" if total is None else f"{done} of {total} trials"
                        self._say(Progress(done, total, text), last=done == total)
                    case Record():
                        self.failure = str(update.failure) if update.failure else None
                yield update
        finally:
            if isinstance(updates, Generator):
                updates.close()

    def step(self, text: str) -> None:
        """Leave word of what is being done."""
        self._say(_counted(text), last=False)

    def made(self, result: dict[str, Any], failure: str | None = None) -> None:
        """Leave word of what was made, and why it isn't as it should be."""
        submissions.say_result(self._folder, result)
        self.failure = failure

    def _say(self, progress: Progress, *, last: bool) -> None:
        if last or time.monotonic() > self._due:
            submissions.say_progress(self._folder, progress)
            self._due = time.monotonic() + EVERY


def main() -> None:
    """Run the command whose folder is named, and leave word of its end."""
    folder = Path(sys.argv[1])
    told = SubmissionWatch(folder)
    code = _CRASHED
    try:
        sys.argv = ["ml-experiment", *submissions.read_asked(folder).words]
        cli.main(told)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else _CRASHED
    except Exception as error:
        traceback.print_exc()  # while its log is still read
        told.failure = f"{type(error).__name__}: {error}"[:2000]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        submissions.say_end(folder, code, _why(folder, told) if code else None)
    sys.exit(code)


def _counted(text: str) -> Progress:
    """Return a step as how far that is: so many of so many, where it says so."""
    found = re.search(r"\b(\d+) of (\d+)\b|\b(\d+)/(\d+)\]", text)
    if found is None:
        return Progress(0, None, text)
    done, total = (int(one) for one in found.groups() if one is not None)
    return Progress(done, total, text)


def _total(plan: Plan) -> int | None:
    """Return how many trials there will be; None where that can't be known."""
    if plan.table is not None:
        return len(plan.table.rows)
    return plan.group.num_trials if plan.kind == "group" and plan.again is None else None


def _why(folder: Path, told: SubmissionWatch) -> str:
    """Return why the command failed: what its record says, or the last line that it has printed."""
    if told.failure is not None:
        return told.failure
    lines = (folder / submissions.LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith(("error: ", "Error: ", "interrupted: "))]
    return (said or [line for line in lines if line[:1].strip()] or ["it ended without a word"])[-1][:2000]


if __name__ == "__main__":
    main()
