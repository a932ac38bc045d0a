"""A task, performed and looked at."""

from ml_experiment_nb.events import Done, Log, Metrics
from ml_experiment_nb.records import SYSTEM, Outcome, Status
from ml_experiment_nb.work.process import Running

FINISHED = Outcome(Status.FINISHED)


def perform(task):
    """Perform a task; return its events but `Done`, what it printed, and its outcome."""
    events = [event for batch in Running(task).batches() for event in batch]
    dones = [event for event in events if isinstance(event, Done)]
    assert len(dones) == 1
    assert events[-1] is dones[0]
    printed = "".join(event.text for event in events if isinstance(event, Log))
    return [event for event in events[:-1] if not isinstance(event, Log)], printed, dones[0].outcome


def metrics(events):
    found = [event.values for event in events if isinstance(event, Metrics)]
    return [values for values in found if not any(name.startswith(SYSTEM) for name in values)]  # those are sampled
