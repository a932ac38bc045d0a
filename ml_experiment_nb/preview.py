"""What is shown of a plan in place of running it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ml_experiment_nb import unfinished
from ml_experiment_nb.forecast import forecast
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.preflight import check_plan


def preview(
    plan: Plan, *, fresh: bool = False, known: Collection[str] = (), above: Sequence[str] = ()
) -> Iterator[str]:
    """Yield what a plan would do, how long it may take, and what is wrong with the code that it runs.

    Args:
        plan: What was asked. A group that was left before it had finished would go on.
        fresh: It would start anew.
        known: The names that a cell's notebook has.
        above: The texts of the cells that were executed before.
    """
    if not fresh and unfinished.was_left(plan):
        with held_back():
            from ml_experiment_nb.groups import continued  # it brings MLflow, which takes seconds

        plan = continued(plan, look=True)
    yield str(plan)
    if plan.known is not None and plan.known.whole:
        return
    yield forecast(plan)
    if found := check_plan(plan, known=known, above=above):
        yield str(found)
