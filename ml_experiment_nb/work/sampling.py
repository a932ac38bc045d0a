"""Samples of what a run uses: taken by the slot that looks after a task, or by a thread of the driver."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from ml_experiment_nb import events, reports
from ml_experiment_nb.capture.usage import Usage
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.repeating import repeating
from ml_experiment_nb.work.memory import Tree, descendants, used


class Sampler:
    """Samples one task from its slot, which asks as often as it looks after the task anyway.

    Args:
        env: The task's environment, which says what its spec asks.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._usage = Usage()
        self._count = 0
        self._is_over = False

    @property
    def is_due(self) -> bool:
        """Whether it is time for a sample."""
        return not self._is_over and self._usage.due_in <= 0

    def sample(self, trees: Sequence[Tree]) -> list[events.Event]:
        """Return a sample of the task's processes, if there is one, as what the task's slot sends."""
        try:
            if not self._count and not ObservingOptions.of_env(self._env).system_metrics:
                self._is_over = True
                return []
            found = self._usage.look([pid for tree in trees for pid in tree.pids], lambda: used([*trees]))
        except Exception as error:
            self._is_over = True
            return [events.Note(f"what the run uses is not sampled: {type(error).__name__}: {error}")]
        if not found:
            return []
        self._count += 1
        return [events.Metrics(found, self._count - 1)]


@contextmanager
def sampled(sink: reports.Sink, asked: ObservingOptions) -> Iterator[None]:
    """Sample this process and what it starts, while the block runs, from a thread of its own."""
    if not asked.system_metrics:
        yield
        return
    usage, step = Usage(), count()

    def look() -> bool:
        try:
            if found := usage.look(descendants(os.getpid())):
                sink.send(events.Metrics(found, next(step)))
        except Exception as error:
            with suppress(Exception):
                sink.send(events.Note(f"what the run uses is not sampled: {type(error).__name__}: {error}"))
            return False
        return True

    with repeating(look, lambda: usage.due_in, name="system metrics", patience=1.0):
        yield
