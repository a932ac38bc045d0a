"""What is asked: jobs, experiments and groups, and the targets that they run.

Every door makes one of these from what the user typed, with `spec_from_mapping`. They are frozen data::

    Job                 run the targets, track nothing
    └── Experiment      one tracked run
        └── Group       many tracked runs: a search over a space of parameters, or a run for each row of a table
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.conditions import parse_condition
from ml_experiment_nb.datasets import Data
from ml_experiment_nb.distribution import Distributed
from ml_experiment_nb.errors import SpaceError, SpecError, nearest
from ml_experiment_nb.fields import (
    Amount,
    Bytes,
    Count,
    Flag,
    Frozen,
    Seconds,
    Text,
    check_identifier,
    plain,
    translated,
)
from ml_experiment_nb.goals import Metric, metric_json, read_metric
from ml_experiment_nb.libraries import Autolog
from ml_experiment_nb.notify import Notify
from ml_experiment_nb.rows import Row, read_rows
from ml_experiment_nb.secrecy import recognised
from ml_experiment_nb.spaces import Value, parse_value
from ml_experiment_nb.targets import Target, read_targets

Kind: TypeAlias = Literal["job", "experiment", "group"]


def spec_from_mapping(data: Mapping[str, Any]) -> Job | Experiment | Group:
    """Make the spec that `data` asks for; its ``kind`` says which, else whether it has a ``param_space`` or ``each``.

    Args:
        data: The keys of a spec, as in a file. ``run`` may also hold targets, ``param_space`` distributions.

    Raises:
        SpecError: The first thing that is wrong, with its dotted key.
    """
    model = _model(data)
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise translated(error, model) from None
    except SpecError as error:
        if error.key == "sampler" and "samples" in data:
            raise SpecError(error.problem, key="samples") from None
        raise


def to_mapping(spec: Job) -> dict[str, Any]:
    """Give `spec` in its JSON form, defaults left out; `spec_from_mapping` reads it back.

    A parameter that JSON can't hold (an array, an object) is written as its ``repr``.
    """
    is_open = isinstance(spec, Group) and spec.each is None and not spec.param_space
    space: dict[str, Any] = {"param_space": {}} if is_open else {}  # its absence would be a mistake
    return {"kind": spec.kind, **space, **plain(spec.model_dump(exclude_defaults=True))}


# --- parts ---


class DockerConfig(Frozen):
    """The image to run in: one that exists, or a Dockerfile to build with `context` and build `args`."""

    image: str | None = None
    dockerfile: str | None = None
    context: str | None = None
    args: dict[str, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.image is None) == (self.dockerfile is None):
            raise ValueError("give either image or dockerfile")
        if self.image is not None and (self.context is not None or self.args):
            raise ValueError("context and args build a dockerfile: leave them out, or give it in place of image")
        return self


class RayConfig(Frozen):
    """How to reach or start Ray; further keys go to ``ray.init`` as they are."""

    model_config = ConfigDict(extra="allow")

    address: str | None = None
    num_cpus: Count | None = None
    num_gpus: Annotated[int, Field(ge=0, strict=True)] | None = None


class Resources(Frozen):
    """What one slot takes, in (fractions of) CPUs and GPUs."""

    cpu: Amount = 1.0
    gpu: Amount = 0.0


# --- specs ---


class Job(Frozen):
    """Something to run, untracked."""

    kind: ClassVar[Kind] = "job"

    if not TYPE_CHECKING:  # for which pydantic's own says which keys there are

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise translated(error, type(self)) from None

        __init__.__pydantic_base_init__ = True  # what is read from a mapping doesn't come by here

    name: str = Field(default="", min_length=1)  # left out, it is the first target's
    run: Annotated[
        tuple[Target, ...],
        PlainValidator(lambda value: read_targets(value)),
        PlainSerializer(lambda targets: [target.model_dump(exclude_defaults=True) for target in targets]),
    ]
    params: dict[str, Any] = Field(default_factory=dict)
    description: str = ""
    tags: dict[str, Text] = Field(default_factory=dict)
    root_path: str | None = None
    data: Data | None = None
    docker_config: DockerConfig | None = None
    ray_config: RayConfig | None = None
    resources_per_worker: Resources = Resources()
    distributed: Distributed | None = None
    autolog: Autolog = Autolog()
    executor: Literal["auto", "inline", "ray"] = "auto"
    slots: Count | None = None
    timeout: Seconds | None = None
    memory: Bytes | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] | None = None
    deterministic: Flag = False
    notify: Notify | None = None
    system_metrics: Flag = True
    allow_unknown_params: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        data = dict(value)
        if data.get("kind") == cls.kind:
            del data["kind"]
        if "run" in data:
            data["run"] = read_targets(data["run"])
            data = {"name": data["run"][0].name} | data
        return data

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        for name in params:
            check_identifier(name, key="params")
        return {name: recognised(value) for name, value in params.items()}

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.distributed is not None and self.resources_per_worker != Resources():
            problem = "is what a slot takes; each worker of a distributed run takes distributed.cpus_per_worker"
            raise SpecError(problem, key="resources_per_worker")
        return self

    @classmethod
    def unknown_key(cls, name: str, *more: str) -> str:
        """Say that `name` is none of a spec's keys; one of a group's says what is missing."""
        if name in {*Group.model_fields, "samples"} and not issubclass(cls, Group):
            return "is a key of a group; add kind: group"
        return super().unknown_key(name, "kind", *more)


class Experiment(Job):
    """A run that is tracked."""

    kind: ClassVar[Kind] = "experiment"


class Group(Experiment):
    """A search over `param_space`, or a run for each row of `each`; each is a tracked run, a child of the group's.

    `each` is the path of a table, or the rows themselves. `num_trials` is None only where there is a table, or the
    sampler ends by itself. An empty `param_space` leaves it to the code what is drawn. `timeout` is the whole group's.
    """

    kind: ClassVar[Kind] = "group"

    param_space: Annotated[
        dict[str, Value],
        PlainValidator(lambda value: _space(value)),
        PlainSerializer(lambda space: _space_texts(space)),
        Field(default_factory=dict),
    ]
    each: Annotated[str | tuple[Row, ...] | None, PlainValidator(lambda value: _each(value))] = None
    metric: Annotated[
        Metric | tuple[Metric, ...] | None,
        PlainValidator(lambda value: read_metric(value)),
        PlainSerializer(lambda metric: metric_json(metric)),
    ] = None
    num_trials: Count | None = None
    sampler: Sampler = Sampler(name="TPE")
    pruner: Pruner | None = None
    enqueue: Annotated[tuple[Row, ...], PlainValidator(lambda value: _points(value))] = ()
    timeout_per_trial: Seconds | None = None
    retries: Annotated[int, Field(ge=0, strict=True)] = 3
    max_failures: Count | None = None
    stop_when: str | None = None
    storage: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete_group(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        data = dict(value)
        if "samples" in data and "sampler" in data:
            raise SpecError("is the same key as sampler: give one of them", key="samples")
        if "samples" in data:
            data["sampler"] = data.pop("samples")
        if data.get("each") is not None:
            for key in _OF_A_SEARCH:
                if data.get(key) is not None and data[key] not in ({}, ()):
                    raise SpecError("is for a search, and `each` names the points already: keep one", key=key)
                data.pop(key, None)
        return data

    @classmethod
    def unknown_key(cls, name: str, *more: str) -> str:
        """Say that `name` is none of a group's keys, ``samples`` among them."""
        return super().unknown_key(name, "samples", *more)

    @field_validator("stop_when")
    @classmethod
    def _check_stop_when(cls, text: str | None) -> str | None:
        if text is not None:
            parse_condition(text)
        return text

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the group optimises; more than one where there are several objectives."""
        return self.metric if isinstance(self.metric, tuple) else () if self.metric is None else (self.metric,)

    @property
    def sampler_seed(self) -> int | None:
        """The sampler's seed, wherever it was given."""
        return self.sampler.options.get("seed", self.seed)

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if "param_space" not in self.model_fields_set and self.each is None:
            raise SpecError(
                "is required: what to search; or each, a table with a run for each row; or param_space: {} where the "
                "code itself draws (Trial.get_current)",
                key="param_space",
            )
        given = self.sampler.options.get("seed")
        if self.seed is not None and given is not None and given != self.seed:
            raise SpecError(f"is {self.seed}, and the sampler's own option says {given}: keep one", key="seed")
        for name in self.param_space:
            if name in self.params:
                raise SpecError(f"{name} is in params and in param_space: keep one", key=f"param_space.{name}")
        if self.num_trials is None and self.each is None and not self.sampler.is_exhaustive:
            object.__setattr__(self, "num_trials", 10)
        return self


def given_fields(spec: Job) -> dict[str, Any]:
    """Return the fields that a spec was given, of which another may be made."""
    return {name: getattr(spec, name) for name in spec.model_fields_set | {"name", "run"}}


# --- reading values ---


def _space(value: object) -> dict[str, Value]:
    if not isinstance(value, Mapping):
        raise SpecError("must map names to distributions, such as C: loguniform(0.01, 1000)", key="param_space")
    space = {}
    for name, text in value.items():
        check_identifier(name, key="param_space")
        try:
            space[name] = parse_value(text)
        except SpaceError as error:
            raise SpaceError(error.problem, key=f"param_space.{name}") from None
    return space


def _points(value: Any) -> tuple[Row, ...]:
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise SpecError(f"must be a list of points, such as [{{C: 0.5}}], not {value!r}", key="enqueue")
    for k, point in enumerate(value):
        if not isinstance(point, Mapping) or not point or not all(isinstance(name, str) for name in point):
            raise SpecError(f"must be a mapping of parameters, such as {{C: 0.5}}, not {point!r}", key=f"enqueue[{k}]")
    return tuple(dict(point) for point in value)


def _each(value: Any) -> str | tuple[Row, ...] | None:
    """Return a table's path, or its rows."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, PurePath) else read_rows(value)


def _space_texts(space: Mapping[str, Value]) -> dict[str, str | list[str]]:
    return {
        name: [str(position) for position in value] if isinstance(value, tuple) else str(value)
        for name, value in space.items()
    }


_OF_A_SEARCH = ("param_space", "num_trials", "sampler", "pruner", "enqueue", "storage")
_MODELS: dict[str, type[Job]] = {"job": Job, "experiment": Experiment, "group": Group}


def _model(data: Mapping[str, Any]) -> type[Job]:
    if not isinstance(data, Mapping):
        raise SpecError(f"a spec is a mapping of keys, such as name and run, not {data!r}")
    kind = data.get("kind", "group" if any(map(_makes_a_group, data)) else "experiment")
    if not isinstance(kind, str) or kind not in _MODELS:
        hint = nearest(str(kind), _MODELS) or ": it is job, experiment or group"
        raise SpecError(f"{kind!r} is no kind of spec{hint}", key="kind")
    return _MODELS[kind]


def _makes_a_group(key: object) -> bool:
    """Return whether a key, which may be misspelt, is one that only a group has to say what it runs."""
    found = get_close_matches(str(key), [*Group.model_fields], n=1, cutoff=0.8)
    return found in (["param_space"], ["each"])
