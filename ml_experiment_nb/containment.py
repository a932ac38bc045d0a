"""The container that a plan's tasks run in: what is known of it when it is ready, before any of them starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CONTAINED: Final = "mlexp.container"
"""The tag of a run whose processes were in a container: its image's id. MLflow's tags name one made of a run, too."""


@dataclass(frozen=True)
class Container:
    """What each process of a task is started in: a container of its own.

    Attributes:
        image: The image's id.
        name: What it is called: as the spec has it, or as it was called when it was built.
        digest: Its name in a registry by its content, ``python@sha256:…``; empty for one that was never there.
        engine: The engine's address.
        python: The interpreter's path in it.
        site: The folder in it where the interpreter is told of what this package lends to it; None where the image has
            this package itself.
        cpus: CPUs that a container may use; None without a limit.
        gpus: How many GPUs it sees.
        folders: Files and folders of this machine that it sees besides the project: data.
    """

    image: str
    name: str
    digest: str
    engine: str
    python: str
    site: str | None
    cpus: float | None = None
    gpus: float = 0.0
    folders: tuple[str, ...] = ()

    @property
    def tags(self) -> Mapping[str, str]:
        """What its runs are tagged with: MLflow's own names for an image, and its digest."""
        tags = {"mlflow.docker.image.uri": self.name, "mlflow.docker.image.id": self.image, CONTAINED: self.image}
        return tags | ({"mlexp.docker.digest": self.digest} if self.digest else {})
