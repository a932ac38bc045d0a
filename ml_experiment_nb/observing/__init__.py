"""What is observed of user code while it runs, in the process that runs it: a cell, a function, a script, a kernel.

Each observer is a context manager in a module of its own, entered before the code's first line and left after its last.
None of them may break the code: what fails in one is a note in the run.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from ml_experiment_nb import events, reports
from ml_experiment_nb.specs import Group, Job

VARIABLE = "ML_EXPERIMENT_OBSERVE"
OBSERVERS: tuple[str, ...] = ("masks", "seeding", "fluent", "autologging", "displays")
"""The modules below this one that have an ``observing(sink, asked)``, in the order in which they are entered."""


@dataclass(frozen=True)
class ObservingOptions:
    """What a spec says of observing. It travels as JSON in a task's environment.

    Attributes:
        seed: What every random generator begins with.
        deterministic: Whether libraries are told to compute the same way each time.
        autolog: What is recorded of libraries: see `autologging.AutologOptions`.
        trial: Whether the run is one of many, of which less is kept.
        system_metrics: Whether what it uses is sampled.
    """

    seed: int | None = None
    deterministic: bool = False
    autolog: Mapping[str, Any] = field(default_factory=dict)
    trial: bool = False
    system_metrics: bool = True

    @classmethod
    def of(cls, spec: Job) -> ObservingOptions:
        """Return what a spec says."""
        autolog = spec.autolog
        return cls(
            seed=spec.seed,
            deterministic=spec.deterministic,
            autolog={
                "libraries": autolog.libraries,
                "models": autolog.models(isinstance(spec, Group)),
                "plots": autolog.log_plots,
            },
            trial=isinstance(spec, Group),
            system_metrics=spec.system_metrics,
        )

    def as_env(self) -> dict[str, str]:
        """Return what a task's environment is given; with a seed, Python's own for hashes, unless there is one."""
        env = {VARIABLE: json.dumps(asdict(self))}
        if self.seed is not None and os.environ.get("PYTHONHASHSEED", "random") == "random":
            env["PYTHONHASHSEED"] = str(self.seed % 2**32)
        return env

    @classmethod
    def here(cls) -> ObservingOptions:
        """Read what this process was given; what a spec that says nothing asks for, where that is nothing."""
        return cls.of_env(os.environ)

    @classmethod
    def of_env(cls, env: Mapping[str, str]) -> ObservingOptions:
        """Read what stands in an environment."""
        return cls(**json.loads(env.get(VARIABLE, "{}")))


def observers() -> list[str]:
    """Return the names of the observers' modules, which a fork had better find imported."""
    return [f"{__name__}.{name}" for name in OBSERVERS]


@contextmanager
def observed(sink: reports.Sink, asked: ObservingOptions | None = None) -> Iterator[None]:
    """Observe the code of the block, which belongs to the run of `sink`.

    Args:
        sink: Where what is seen goes.
        asked: What the run's spec says; by default what this process was given.
    """
    asked = asked or ObservingOptions.here()
    with ExitStack() as stack:
        for name in OBSERVERS:
            module = importlib.import_module(f"{__name__}.{name}")
            stack.enter_context(_harmless(name, sink, module.observing(sink, asked)))
        yield


@contextmanager
def _harmless(name: str, sink: reports.Sink, observer: AbstractContextManager[None]) -> Iterator[None]:
    """Enter and leave an observer; what it raises itself is noted. The code's own exceptions pass, unseen by it."""
    try:
        observer.__enter__()
    except Exception as error:  # whatever it is, the code isn't to notice
        sink.send(events.Note(f"{name} could not be observed: {type(error).__name__}: {error}"))
        yield
        return
    try:
        yield
    finally:
        try:
            observer.__exit__(None, None, None)
        except Exception as error:  # whatever it is, the code isn't to notice
            sink.send(events.Note(f"{name} could not be observed: {type(error).__name__}: {error}"))
