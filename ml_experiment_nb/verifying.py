"""A run repeated in the image that was made of it, and the verdict: whether its metrics are the same there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ml_experiment_nb import secrecy
from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.errors import EngineError, SpecError
from ml_experiment_nb.forms import asked_by
from ml_experiment_nb.image_plans import VERDICT
from ml_experiment_nb.images.containers import Launch, run
from ml_experiment_nb.images.engine import Engine, Image
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.stores import translated
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.verdicts import Tolerance, Verdict, could_not_run, judged, metric_differences
from ml_experiment_nb.work.container import labels_of, listening, sweep

URI_TAG: Final = "mlflow.docker.image.uri"
ID_TAG: Final = "mlflow.docker.image.id"
"""MLflow's own tags for the image of a run."""

_GPUS: Final = "mlexp.system.gpus"
_AROUND: Final = 1 << 30  # bytes that what runs the code may take beside it


@dataclass(frozen=True)
class Limits:
    """What a run's container may use.

    Attributes:
        memory: Bytes; None for all there is.
        cpus: CPUs; None for all.
        gpus: How many GPUs it sees; -1 for all.
    """

    memory: int | None = None
    cpus: float | None = None
    gpus: int = 0


def limits_of(store: Store, record: Record, *, is_for_gpus: bool) -> Limits:
    """Return what a run was given, by the spec that its record keeps: its code sees as much of the machine again.

    Args:
        store: The store.
        record: The run.
        is_for_gpus: Whether its packages are built for GPUs: it sees those that its machine had.

    Raises:
        StoreError: The store is away.
    """
    gpus = -1 if is_for_gpus and record.tags.get(_GPUS) else 0
    try:
        spec = asked_by(record, store.text(record, SPEC)).spec
    except SpecError:  # of a job that a script has called: it was given none
        return Limits(gpus=gpus)
    is_limited = "resources_per_worker" in spec.model_fields_set
    resources = spec.resources_per_worker
    return Limits(
        memory=spec.memory + _AROUND if spec.memory else None,
        cpus=resources.cpu if is_limited else None,
        gpus=math.ceil(resources.gpu) or gpus,
    )


def verify(
    engine: Engine, image: Image, record: Record, names: tuple[str, ...], tolerances: Mapping[str, Tolerance],
    tell: Callable[[str], None], *, limits: Limits | None = None,
) -> Verdict:  # fmt: skip
    """Run an image, and return whether its run has the metrics that the recorded one had.

    What it records stays in the container, which is gone afterwards. It has the secrets that are set here.

    Args:
        engine: The engine.
        image: The image.
        record: The run that it was made of.
        names: The names of its secrets.
        tolerances: How far metrics may be from what they were.
        tell: Is told what is being done.
        limits: What it may use.

    Raises:
        EngineError: The engine can't run it.
    """
    limits = limits or Limits()
    tell(f"running {record.name} in the image, to compare its metrics")
    sweep(engine)
    with listening() as path:
        env, labels = secrecy.environment(names), labels_of(path)
        launch = Launch(
            image=image.id, arguments=("-q", "--json"), env=env, labels=labels,
            memory=limits.memory, cpus=limits.cpus, gpus=limits.gpus,
        )  # fmt: skip
        try:
            ended = run(engine, launch)
        except EngineError as error:
            if not limits.gpus:
                raise
            return could_not_run(str(error))
    found = _record_in(ended.output)
    if found is None or found.status is not Status.FINISHED:
        return could_not_run(_why(found, ended.output))
    before = {name: float(value) for name, value in record.metrics.items()}
    after = {name: float(value) for name, value in found.metrics.items()}
    return judged(metric_differences(before, after, tolerances), {"metric": len(before)})


def note(store: Store, record: Record, image: Image, name: str, verdict: Verdict) -> None:
    """Say in a run's record which image it is in, and what came of it there.

    Raises:
        StoreError: The store is away.
    """
    tags = {URI_TAG: name, ID_TAG: image.id, VERDICT: verdict.sentence}
    with translated(store.uri):
        for key, value in tags.items():
            store.client.set_tag(str(record.run_id), key, value)


def _record_in(output: str) -> Record | None:
    """Return the record that a container has printed, among all that its code has."""
    for line in reversed(output.splitlines()):
        with suppress(ValueError, KeyError, TypeError):
            return Record.from_json(line)
    return None


def _why(found: Record | None, output: str) -> str:
    if found is not None and found.failure is not None:
        return f"in the image it raised {found.failure.type}: {found.failure.message}"
    last = [line for line in output.splitlines() if line.strip() and not line.startswith("{")]
    return f"in the image: {last[-1]}" if last else "in the image it ended without a word"
