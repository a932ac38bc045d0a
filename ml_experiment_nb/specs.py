"""What is asked: jobs, experiments and groups, and the targets that they run.

Every door makes one of these from what the user typed, with `spec_from_mapping`. They are frozen data::

    Job                 run the targets, track nothing
    └── Experiment      one tracked run
        └── Group       many tracked runs: a search over a space of parameters, or a run for each row of a table
"""

from __future__ import annotations

import hashlib
import importlib
import json
import keyword
import numbers
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from ml_experiment_nb.errors import SpaceError, SpecError, nearest
from ml_experiment_nb.spaces import Value, parse_value

Kind: TypeAlias = Literal["job", "experiment", "group"]
Row: TypeAlias = Mapping[str, Any]
"""The parameters of one run of a group with a table: a name that is left out keeps its default."""


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
        raise _translated(error, model) from None
    except SpecError as error:
        if error.key == "sampler" and "samples" in data:
            raise SpecError(error.problem, key="samples") from None
        raise


def with_options(target: Notebook, options: Mapping[str, Any]) -> Notebook:
    """Return a notebook that is executed otherwise; the options are `Notebook`'s fields.

    Raises:
        SpecError: An option is wrong.
    """
    now = target.model_dump()
    fields = now if isinstance(now, dict) else {"notebook": now}
    found = _target({**fields, **options}, "run")
    assert isinstance(found, Notebook)
    return found if target._fetched is None else found.fetched(target._fetched)


def to_mapping(spec: Job) -> dict[str, Any]:
    """Give `spec` in its JSON form, defaults left out; `spec_from_mapping` reads it back.

    A parameter that JSON can't hold (an array, an object) is written as its ``repr``.
    """
    return {"kind": spec.kind, **_plain(spec.model_dump(exclude_defaults=True))}


def spec_hash(spec: Job) -> str:
    """Give twelve hexadecimal digits that are the same for equal specs."""
    text = json.dumps(to_mapping(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- values ---

Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Bytes = Annotated[int, Field(gt=0, strict=True), BeforeValidator(lambda value: read_bytes(value))]
Flag = Annotated[bool, Field(strict=True)]

OWN_ENGINE = "ml-experiment"
"""This package's engine, by the name under which papermill knows it."""


# --- targets ---


class Script(_Frozen):
    """A Python script."""

    path: str = Field(pattern=r"(?i)\.py$")

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return PurePath(self.path).stem

    @model_serializer
    def _json(self) -> str:
        return self.path


class Notebook(_Frozen):
    """A Jupyter notebook, and how it is executed; the options are papermill's, with its names and meaning.

    Attributes:
        path: A file, or what papermill's handlers reach: ``s3://…``, ``https://…``; ``-`` is standard input.
        kernel: The kernel's name, in place of the one that the notebook asks for.
        language: The language, in place of the notebook's.
        engine: One of papermill's engines, in place of this package's own.
        start_timeout: Seconds that the kernel may take to start.
        execution_timeout: Seconds that each cell may take.
        report_mode: Whether the code is hidden in the executed notebook.
        request_save_on_cell_execute: Whether OUTPUT is written after each cell, and not in the end alone.
        autosave_cell_every: Seconds between two writes while a cell runs; 0 for none.
        log_output: Whether outputs go to papermill's log, all of them as text, and not just what is printed.
        log_level: From which level on papermill's log is shown.
        stdout_file: Where else to write what the cells print.
        stderr_file: Where else to write what they print on standard error.
        from_cell: The first cell to run: its number among all cells counted from 1, its tag or its id.
        until_cell: The last cell to run, likewise.
    """

    model_config = ConfigDict(populate_by_name=True)

    path: str = Field(alias="notebook")
    kernel: str | None = Field(default=None, min_length=1)
    language: str | None = Field(default=None, min_length=1)
    engine: str = Field(default=OWN_ENGINE, min_length=1)
    start_timeout: Count = 60
    execution_timeout: Count | None = None
    report_mode: Flag = False
    request_save_on_cell_execute: Flag = True
    autosave_cell_every: Annotated[int, Field(ge=0, strict=True)] = 30
    log_output: Flag = False
    log_level: Literal["NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None
    stdout_file: str | None = Field(default=None, min_length=1)
    stderr_file: str | None = Field(default=None, min_length=1)
    from_cell: int | str | None = None
    until_cell: int | str | None = None
    _fetched: str | None = PrivateAttr(default=None)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file.stem

    @property
    def file(self) -> Path:
        """The file to read: the notebook's own, or the copy of one that doesn't lie here."""
        return Path(self._fetched or self.path)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it has to be fetched."""
        return self.path == "-" or "://" in self.path

    @property
    def part(self) -> str:
        """Which cells are run, in words; empty when all of them are."""
        ends = (("from", self.from_cell), ("until", self.until_cell))
        return " ".join(f"{word} cell {cell}" for word, cell in ends if cell is not None)

    def fetched(self, copy: str) -> Notebook:
        """Return this notebook with the local copy that is read in place of what lies elsewhere."""
        found = self.model_copy()
        found._fetched = copy
        return found

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if path != "-" and "://" not in path and PurePath(path).suffix.lower() != ".ipynb":
            raise ValueError(f"{path!r} is no notebook (.ipynb)")
        return path

    @field_validator("from_cell", "until_cell", mode="before")
    @classmethod
    def _check_cell(cls, cell: Any) -> Any:
        if cell is None or (type(cell) is int and cell > 0) or (isinstance(cell, str) and cell):
            return cell
        raise ValueError(f"{cell!r} names no cell: give its number counted from 1, its tag or its id")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.part and self.engine != OWN_ENGINE:
            raise ValueError(f"from_cell and until_cell need the engine {OWN_ENGINE!r}, not {self.engine!r}")
        return self

    @model_serializer
    def _json(self) -> str | dict[str, Any]:
        fields = type(self).model_fields.items()
        options = {name: value for name, field in fields if (value := getattr(self, name)) != field.default}
        path = options.pop("path")
        return {"notebook": path, **options} if options else path


class Command(_Frozen):
    """A shell command."""

    command: str = Field(min_length=1)

    @property
    def name(self) -> str:
        """The command's first word, without its folder."""
        return PurePath(self.command.split()[0]).name if self.command.strip() else "command"


class Function(_Frozen):
    """A Python function; its JSON form is ``{function: "module:qualname"}``, imported when it is read."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """The function's own name."""
        return _name_of(self.function).rpartition(":")[2].rpartition(".")[2]

    @field_validator("function", mode="before")
    @classmethod
    def _import(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        module, _, qualname = value.partition(":")
        try:
            return operator.attrgetter(qualname)(importlib.import_module(module))
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{value!r} can't be imported as module:qualname ({error})") from error

    @model_serializer
    def _json(self) -> dict[str, str]:
        return {"function": _name_of(self.function)}


class Cell(_Frozen):
    """A notebook cell: its source, and which of its names are parameters."""

    source: str
    parameters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A cell has no name of its own."""
        return "cell"


Target: TypeAlias = Script | Notebook | Command | Function | Cell


# --- parts ---


class Data(_Frozen):
    """Files that the run reads: `files` are patterns, relative to `folder`."""

    folder: str = "."
    files: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"folder": value}
        if isinstance(value, Mapping) and isinstance(value.get("files"), str):
            return {**value, "files": [value["files"]]}
        return value


class DockerConfig(_Frozen):
    """The image to run in: one that exists, or a Dockerfile to build with `context` and build `args`."""

    image: str | None = None
    dockerfile: str | None = None
    context: str | None = None
    args: dict[str, Text] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.image is None) == (self.dockerfile is None):
            raise ValueError("give either image or dockerfile")
        if self.image is not None and (self.context is not None or self.args):
            raise ValueError("context and args build a dockerfile: leave them out, or give it in place of image")
        return self


class RayConfig(_Frozen):
    """How to reach or start Ray; further keys go to ``ray.init`` as they are."""

    model_config = ConfigDict(extra="allow")

    address: str | None = None
    num_cpus: Count | None = None
    num_gpus: Annotated[int, Field(ge=0, strict=True)] | None = None


class Resources(_Frozen):
    """What one slot takes, in (fractions of) CPUs and GPUs."""

    cpu: Amount = 1.0
    gpu: Amount = 0.0


class Metric(_Frozen):
    """What a group optimises."""

    name: str = Field(min_length=1)
    direction: Literal["minimize", "maximize"] = "minimize"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("direction", mode="before")
    @classmethod
    def _read_direction(cls, value: Any) -> Any:
        short = {"min": "minimize", "minimise": "minimize", "max": "maximize", "maximise": "maximize"}
        return short.get(value.lower(), value.lower()) if isinstance(value, str) else value


class _Algorithm(_Frozen):
    """One of Optuna's algorithms, by its class name without the suffix, and its options (unchecked)."""

    KEY: ClassVar[str]
    NAMES: ClassVar[tuple[str, ...]]
    ALIASES: ClassVar[dict[str, str]]

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise SpecError(f"must be a name, or a mapping with a name, not {value!r}", key=cls.KEY)
        options = {key: option for key, option in value.items() if key != "name"}
        if set(options) == {"options"} and isinstance(options["options"], Mapping):
            options = dict(options["options"])
        return {"name": cls._canonical(value.get("name")), "options": options}

    @classmethod
    def _canonical(cls, name: object) -> str:
        if not isinstance(name, str):
            raise SpecError(f"has no name: it is one of {', '.join(cls.NAMES)}", key=cls.KEY)
        known = {cls._squeezed(canonical): canonical for canonical in cls.NAMES} | cls.ALIASES
        found = known.get(cls._squeezed(name).removesuffix(cls.KEY))
        if found is None:
            hint = nearest(name, cls.NAMES) or f": it is one of {', '.join(cls.NAMES)}"
            raise SpecError(f"no {cls.KEY} is called {name!r}{hint}", key=cls.KEY)
        return found

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name

    @staticmethod
    def _squeezed(name: str) -> str:
        return name.lower().translate({ord(character): None for character in "-_ "})

    @model_serializer
    def _json(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.options} if self.options else self.name


class Sampler(_Algorithm):
    """How the next trial's parameters are chosen."""

    KEY = "sampler"
    NAMES = ("TPE", "CmaEs", "Grid", "Random", "GP", "QMC", "NSGAII", "NSGAIII", "BruteForce")
    ALIASES: ClassVar[dict[str, str]] = {
        "cma": "CmaEs",
        "gridsearch": "Grid",
        "randomsearch": "Random",
        "nsga2": "NSGAII",
        "nsga3": "NSGAIII",
    }

    @property
    def is_exhaustive(self) -> bool:
        """Whether it ends by itself, when it has tried every combination."""
        return self.name in {"Grid", "BruteForce"}


class Pruner(_Algorithm):
    """Which trials are stopped early."""

    KEY = "pruner"
    NAMES = (
        "Median", "Percentile", "Hyperband", "SuccessiveHalving", "Patient", "Threshold", "Wilcoxon", "Nop"
    )  # fmt: skip
    ALIASES: ClassVar[dict[str, str]] = {"sha": "SuccessiveHalving", "none": "Nop"}


# --- specs ---


class Job(_Frozen):
    """Something to run, untracked."""

    kind: ClassVar[Kind] = "job"

    name: str = Field(default="", min_length=1)  # left out, it is the first target's
    run: Annotated[
        tuple[Target, ...],
        PlainValidator(lambda value: _targets(value)),
        PlainSerializer(lambda targets: [target.model_dump(exclude_defaults=True) for target in targets]),
    ]
    params: dict[str, Any] = {}
    description: str = ""
    tags: dict[str, Text] = {}
    root_path: str | None = None
    data: Data | None = None
    docker_config: DockerConfig | None = None
    ray_config: RayConfig | None = None
    resources_per_worker: Resources = Resources()
    executor: Literal["auto", "inline", "ray"] = "auto"
    slots: Count | None = None
    timeout: Seconds | None = None
    memory: Bytes | None = None
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
            data["run"] = _targets(data["run"])
            data = {"name": data["run"][0].name} | data
        return data

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        for name in params:
            check_identifier(name, key="params")
        return params


class Experiment(Job):
    """A run that is tracked."""

    kind: ClassVar[Kind] = "experiment"


class Group(Experiment):
    """A search over `param_space`, or a run for each row of `each`; each is a tracked run, a child of the group's.

    `each` is the path of a table, or the rows themselves. `num_trials` is None only where there is a table, or the
    sampler ends by itself.
    """

    kind: ClassVar[Kind] = "group"

    param_space: Annotated[
        dict[str, Value],
        PlainValidator(lambda value: _space(value)),
        PlainSerializer(lambda space: _space_texts(space)),
    ] = {}
    each: Annotated[str | tuple[Row, ...] | None, PlainValidator(lambda value: _each(value))] = None
    metric: Metric | None = None
    num_trials: Count | None = None
    sampler: Sampler = Sampler(name="TPE")
    pruner: Pruner | None = None
    timeout_per_trial: Seconds | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] | None = None
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
                if data.get(key) is not None and data[key] != {}:
                    raise SpecError("is for a search, and `each` names the points already: keep one", key=key)
                data.pop(key, None)
        return data

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if not self.param_space and self.each is None:
            raise SpecError("is required: what to search; or each, a table with a run for each row", key="param_space")
        for name in self.param_space:
            if name in self.params:
                raise SpecError(f"{name} is in params and in param_space: keep one", key=f"param_space.{name}")
        if self.num_trials is None and self.each is None and not self.sampler.is_exhaustive:
            object.__setattr__(self, "num_trials", 10)
        return self


# --- reading values ---

_UNITS = {"": 1, "b": 1} | {f"{prefix}b": 1000**k for k, prefix in enumerate("kmgt", start=1)}
_UNITS |= {f"{prefix}ib": 1024**k for k, prefix in enumerate("kmgt", start=1)}


def read_bytes(value: object) -> object:
    """Return how many bytes a text such as ``500MB`` or ``1.5 GiB`` means; what is no text stays as it is.

    Raises:
        SpecError: It is no amount of memory.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", value.lower())
    unit = _UNITS.get(found[2]) if found else None
    if found is None or unit is None or float(found[1]) * unit < 1:
        raise SpecError(f"{value!r} is no amount of memory: write it as 500MB, 2GB or 1.5GiB", key="memory")
    return int(float(found[1]) * unit)


def _targets(value: object) -> tuple[Target, ...]:
    if not isinstance(value, list | tuple):
        return (_target(value, "run"),)
    if not value:
        raise SpecError("is empty: name a script (.py), a notebook (.ipynb) or a command", key="run")
    return tuple(_target(item, f"run[{i}]") for i, item in enumerate(value))


_BY_KEY: dict[str, type[Target]] = {"notebook": Notebook, "command": Command, "function": Function, "source": Cell}


def _target(value: object, key: str) -> Target:
    if isinstance(value, Target):
        return value
    if isinstance(value, str | PurePath):
        return _file(str(value), key)
    if isinstance(value, Mapping):
        for name, target in _BY_KEY.items():
            if name in value:
                try:
                    return target.model_validate(dict(value))
                except ValidationError as error:
                    raise _translated(error, target, prefix=key) from None
    raise SpecError(f"can't run {value!r}: name a script (.py), a notebook (.ipynb) or {{command: ...}}", key=key)


def _file(path: str, key: str) -> Script | Notebook:
    match PurePath(path.partition("?")[0] if "://" in path else path).suffix.lower():
        case ".py":
            return Script(path=path)
        case ".ipynb":
            return Notebook(path=path)
    raise SpecError(
        f"{path!r} is neither a script (.py) nor a notebook (.ipynb); to run a command, write {{command: {path!r}}}",
        key=key,
    )


def _space(value: object) -> dict[str, Value]:
    if not isinstance(value, Mapping) or not value:
        raise SpecError("must map names to distributions, such as C: loguniform(0.01, 1000)", key="param_space")
    space = {}
    for name, text in value.items():
        check_identifier(name, key="param_space")
        try:
            space[name] = parse_value(text)
        except SpaceError as error:
            raise SpaceError(error.problem, key=f"param_space.{name}") from None
    return space


def _each(value: Any) -> str | tuple[Row, ...] | None:
    """Return a table's path, or its rows."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, PurePath) else read_rows(value)


def read_rows(value: Any) -> tuple[Row, ...]:
    """Return the rows of a list of mappings, or of a data frame; what is missing in one is left out.

    Raises:
        SpecError: It is something else, it is empty, or a row has a key that is no parameter's name.
    """
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        value = _frame_rows(value)
    if not isinstance(value, list | tuple):
        raise SpecError("must be a table's path (.csv, .jsonl, .json), or a list of mappings of parameters", key="each")
    if not value:
        raise SpecError("has no row: there is nothing to run", key="each")
    for k, row in enumerate(value):
        if not isinstance(row, Mapping):
            raise SpecError(f"must be a mapping of parameters, such as {{C: 0.5}}, not {row!r}", key=f"each[{k}]")
        for name in row:
            check_identifier(name, key=f"each[{k}]")
    return tuple(dict(row) for row in value)


def _frame_rows(frame: Any) -> list[dict[Any, Any]]:
    """Return a data frame's rows, without the values that are missing in them."""
    if not frame.columns.is_unique:
        twice = next(name for k, name in enumerate(frame.columns) if name in list(frame.columns[:k]))
        raise SpecError(f"two columns are called {twice!r}: keep one", key="each")
    given = frame.notna().to_dict("records")
    rows = frame.to_dict("records")
    return [{name: row[name] for name in row if has[name]} for row, has in zip(rows, given, strict=True)]


def _space_texts(space: Mapping[str, Value]) -> dict[str, str | list[str]]:
    return {
        name: [str(position) for position in value] if isinstance(value, tuple) else str(value)
        for name, value in space.items()
    }


def check_identifier(name: object, key: str) -> None:
    """Check that a parameter's name is one.

    Raises:
        SpecError: It is no Python name.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise SpecError(f"{name!r} can't be a parameter: it must be a Python name", key=f"{key}.{name}")


# --- JSON ---


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _name_of(value) if callable(value) and hasattr(value, "__qualname__") else repr(value)


def _name_of(call: Any) -> str:
    name = getattr(call, "__qualname__", type(call).__qualname__)
    return f"{getattr(call, '__module__', None) or 'builtins'}:{name}"


# --- errors ---

_OF_A_SEARCH = ("param_space", "num_trials", "sampler", "pruner", "seed", "storage")
_MODELS: dict[str, type[Job]] = {"job": Job, "experiment": Experiment, "group": Group}


def _model(data: Mapping[str, Any]) -> type[Job]:
    if not isinstance(data, Mapping):
        raise SpecError(f"a spec is a mapping of keys, such as name and run, not {data!r}")
    kind = data.get("kind", "group" if data.keys() & {"param_space", "each"} else "experiment")
    if not isinstance(kind, str) or kind not in _MODELS:
        hint = nearest(str(kind), _MODELS) or ": it is job, experiment or group"
        raise SpecError(f"{kind!r} is no kind of spec{hint}", key="kind")
    return _MODELS[kind]


def _translated(error: ValidationError, model: type[BaseModel], prefix: str = "") -> SpecError:
    """Turn pydantic's first problem into ours."""
    # a misspelt key explains the one that is missing
    problem = min(
        error.errors(include_url=False),
        key=lambda problem: problem["type"] != "extra_forbidden",
    )
    location = problem["loc"]
    key = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    key = key.removeprefix(".").removesuffix(".[key]")
    if problem["type"] == "extra_forbidden":
        text = _unknown(str(location[-1]), _model_at(model, location[:-1]))
    elif problem["type"] == "missing":
        text = "is required"
    elif problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])
    else:
        text = f"{_reworded(problem['msg'])}, not {problem['input']!r}"
    return SpecError(text, key=key)


def _reworded(message: str) -> str:
    words = {
        "Input should be": "must be",
        "a valid string": "text (in quotes)",
        "a valid dictionary": "a mapping",
    }
    for pydantics, ours in words.items():
        message = message.replace(pydantics, ours)
    return message


def _unknown(name: str, model: type[BaseModel]) -> str:
    known = [field.alias or name for name, field in model.model_fields.items()]
    if issubclass(model, Job):
        known.append("kind")
        if not issubclass(model, Group) and name in {*Group.model_fields, "samples"}:
            return "is a key of a group; add kind: group"
    if issubclass(model, Group):
        known.append("samples")
    return f"is no key{nearest(name, known) or ': the keys are ' + ', '.join(known)}"


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return model
