"""The nodes that a group has slots on: looked for every few seconds, given an actor each, and dropped when lost."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors.capacity import Need, totals
from ml_experiment_nb.executors.copies import Beacon
from ml_experiment_nb.executors.node import Hello, Node, Payload
from ml_experiment_nb.executors.packing import belongings, pack, runtime_env_of
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import find_root, home
from ml_experiment_nb.records import duration

LOOK_EVERY = 2.0  # seconds between two looks at which nodes there are
START_TIMEOUT = 60.0  # seconds that the first slots may take to come up
ENV_TIMEOUT = 600.0  # seconds more, where an environment is made for them first
LOST_TIMEOUT = 600.0  # seconds that new ones may take where none are left
TRIES = 3  # times that a node may fail to bring up its slots
CHUNK = 64 << 20  # bytes of one object in Ray's store


@dataclass(eq=False)
class Place:
    """The slots of one actor.

    Attributes:
        node: The node's id.
        slots: How many they are.
        actor: The actor that has them.
        pending: What it was asked last while it comes up; None once it is up.
        hello: What it has said of itself.
        busy: The keys of the tasks that it performs.
    """

    node: str
    slots: int
    actor: Any
    pending: Any
    hello: Hello | None = None
    busy: set[str] = field(default_factory=set)

    @property
    def free(self) -> int:
        """How many slots have nothing to do."""
        return self.slots - len(self.busy) if self.pending is None else 0


class Fleet:
    """The places of a group.

    Args:
        plan: The group's plan.
        alone: Whether nobody else has work on this Ray, so that all that its nodes have is free.
        runtime_env: What the actors have to be given of the spec's.

    Raises:
        ExecutorError: No node could ever hold a slot.
    """

    def __init__(self, plan: Plan, *, alone: bool, runtime_env: dict[str, Any]) -> None:
        self.need = Need.of(plan.spec.resources_per_worker, None if alone else plan.spec.memory)
        self.need.check(totals(ray.nodes()))
        self.places: list[Place] = []
        self.problems: list[str] = []
        config = plan.spec.ray_config
        named = alone or plan.spec.slots is not None or (config is not None and config.num_cpus is not None)
        self._wanted = (plan.slots if named else None) or plan.total
        self._alone = alone
        self._runtime_env = runtime_env
        self._failed: Counter[str] = Counter()
        self._looked = -LOOK_EVERY
        self._without_since: float | None = None
        self._patience = START_TIMEOUT + (ENV_TIMEOUT if runtime_env_of(plan) else 0)
        self._belongings = belongings(plan, find_root())
        self._beacon = Beacon(home(find_root()), (Path(plan.cwd), *self._belongings.trees))
        self._archive: list[Any] | None = None
        self._payload: Payload | None = None

    @property
    def slots(self) -> int:
        """How many slots are up."""
        return sum(place.slots for place in self.places if place.pending is None)

    def look(self) -> None:
        """See which nodes there are, if the last time is a while ago: new ones get an actor, lost ones are dropped.

        Raises:
            ExecutorError: There are no slots, and have been none for too long.
        """
        self._check_patience()
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        for place in [one for one in self.places if one.node not in nodes and not one.busy]:
            self.lose(place)  # one that is busy is lost when its tasks say so
        free = self._free(nodes)
        for node in nodes:
            room = self.need.room(free.get(node, {}), otherwise=1)
            if self._wanted is not None:
                room = min(room, self._wanted - sum(place.slots for place in self.places))
            if room >= 1 and self._failed[node] < TRIES and not self._is_coming(node):
                self._start(node, room)

    def waiting(self) -> list[Any]:
        """Return what to wait for beside the tasks: the answers of places that come up."""
        return [place.pending for place in self.places if place.pending is not None]

    def welcome(self, answer: Any) -> None:
        """Take the answer of a place that comes up: the files, if it doesn't see them, or tasks from now on.

        Raises:
            ExecutorError: The project is too large to be sent.
        """
        place = next(one for one in self.places if one.pending is answer)
        try:
            found = ray.get(answer)
        except RayError as error:
            self._failed[place.node] += 1
            self.problems.append(f"a node could not be used: {_reason(error)}")
            self.lose(place)
            return
        if place.hello is None:
            place.hello = found
            if not found.sees_project:
                what = self._belongings.working_dir
                place.pending = place.actor.receive.remote(self._packed(), None if what is None else str(what))
                return
        place.pending = None
        self._without_since, self._patience = None, LOST_TIMEOUT

    def choose(self) -> Place:
        """Return the place with the most free slots; of two, one that sees the files."""
        return max(self.places, key=lambda one: (one.free, one.hello is not None and one.hello.sees_project))

    def payload(self, place: Place, path: str | None) -> Payload | None:
        """Return the values that travel as a place can take them; None where it sees the file."""
        if path is None or place.hello is None or place.hello.sees_temporary:
            return None
        if self._payload is None:
            self._payload = Payload(path, list(_put(Path(path))))
        return self._payload

    def lose(self, place: Place) -> None:
        """Drop a place; another is looked for at once."""
        if place in self.places:
            self.places.remove(place)
            self._looked = -LOOK_EVERY
        with suppress(RayError):  # it may be there still, and only be out of reach
            ray.kill(place.actor)

    def close(self, patience: float) -> None:
        """End all places."""
        self._beacon.end()
        far = [one.actor.leave.remote() for one in self.places if one.hello is not None and not _sees_all(one.hello)]
        if far:
            ray.wait(far, num_returns=len(far), timeout=patience)
        for place in self.places:
            with suppress(RayError):
                ray.kill(place.actor)
        self.places = []

    def _free(self, nodes: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        """Return what each node has free. Of a Ray of our own that is what our places leave: Ray lags behind."""
        if not self._alone:
            available: dict[str, dict[str, float]] = available_resources_per_node()
            return available
        free = {node: dict(has) for node, has in nodes.items()}
        for place in self.places:
            asked = self.need.request(place.slots)
            for name, amount in (("CPU", asked["num_cpus"]), ("GPU", asked["num_gpus"])):
                if place.node in free:
                    free[place.node][name] = free[place.node].get(name, 0) - amount
        return free

    def _is_coming(self, node: str) -> bool:
        return any(place.node == node and place.pending is not None for place in self.places)

    def _start(self, node: str, slots: int) -> None:
        actor: Any = (
            ray.remote(Node)
            .options(
                **self.need.request(slots),
                max_concurrency=2 * slots + 2,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                **({"runtime_env": self._runtime_env} if self._runtime_env else {}),
            )
            .remote(self.need, slots)
        )
        self.places.append(Place(node, slots, actor, actor.hello.remote(self._beacon)))

    def _packed(self) -> list[Any]:
        """Return the archive of the driver's files in Ray's store; it is made once."""
        if self._archive is None:
            with tempfile.NamedTemporaryFile(prefix="mlexp-archive-") as file:
                try:
                    pack(self._belongings, file.file)
                except OSError as error:
                    raise ExecutorError(f"the project can't be sent to nodes that don't see it: {error}") from error
                file.flush()
                self._archive = list(_put(Path(file.name)))
        return self._archive

    def _check_patience(self) -> None:
        """Give up where no slot has been there for a while."""
        if self.slots:
            return
        now = time.monotonic()
        self._without_since = self._without_since or now
        refused = all(self._failed[node["NodeID"]] >= TRIES for node in ray.nodes() if node["Alive"])
        if now - self._without_since < self._patience and not (refused and self.problems):
            return
        self.need.check(totals(ray.nodes()))
        why = self.problems[-1] if self.problems else "all that Ray has is taken by others"
        raise ExecutorError(f"Ray did not bring up a slot of {self.need} within {duration(self._patience)}: {why}")


def _sees_all(hello: Hello) -> bool:
    return hello.sees_project and hello.sees_temporary


def _put(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield ray.put(chunk)


def _reason(error: RayError) -> str:
    """Return the line of Ray's many that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RayActorError) and any("No module named 'ml_experiment_nb" in line for line in lines):
        return "ml-experiment-nb is not installed there: it has to be, in the version that is here"
    return lines[-1] if lines else type(error).__name__
