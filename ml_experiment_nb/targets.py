"""The targets that a spec runs: a script, a notebook, a command, a function or a cell."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.fields import Count, Flag, Frozen, name_of, translated
from ml_experiment_nb.paths import is_elsewhere

OWN_ENGINE = "ml-experiment"
"""This package's engine, by the name under which papermill knows it."""


class Script(Frozen):
    """A Python script."""

    path: str = Field(pattern=r"(?i)\.py$")

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return PurePath(self.path).stem

    @model_serializer
    def _json(self) -> str:
        return self.path


class Notebook(Frozen):
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
        return is_elsewhere(self.path)

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
        if not is_elsewhere(path) and PurePath(path).suffix.lower() != ".ipynb":
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


class Command(Frozen):
    """A shell command."""

    command: str = Field(min_length=1)

    @property
    def name(self) -> str:
        """The command's first word, without its folder."""
        return PurePath(self.command.split()[0]).name if self.command.strip() else "command"


class Function(Frozen):
    """A Python function; its JSON form is ``{function: "module:qualname"}``, imported when it is read."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """The function's own name."""
        return name_of(self.function).rpartition(":")[2].rpartition(".")[2]

    @field_validator("function", mode="before")
    @classmethod
    def _import(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        module, qualname = _parted(value)
        try:
            return operator.attrgetter(qualname)(importlib.import_module(module))
        except (Exception, SystemExit) as error:  # the module runs, and may do as it likes
            said = str(error) or type(error).__name__
            raise ValueError(f"{value!r} can't be imported as module:qualname ({said})") from error

    @model_serializer
    def _json(self) -> dict[str, str]:
        return {"function": name_of(self.function)}


def unimported(name: str) -> Callable[..., Any]:
    """Return what stands for a function that is not to be imported: it takes any parameters, and can't be called.

    Args:
        name: The function, as ``module:qualname``.

    Raises:
        ValueError: It has another form.
    """

    def stand_in(**params: Any) -> None:
        raise NotImplementedError(f"{name} was not imported")

    stand_in.__module__, stand_in.__qualname__ = _parted(name)
    stand_in.__name__ = stand_in.__qualname__.rpartition(".")[2]
    return stand_in


def _parted(name: str) -> tuple[str, str]:
    module, _, qualname = name.partition(":")
    if not module or not qualname:
        raise ValueError(f"{name!r} can't be imported as module:qualname")
    return module, qualname


class Cell(Frozen):
    """A notebook cell: its source, and which of its names are parameters."""

    source: str
    parameters: tuple[str, ...] = ()
    _above: int = PrivateAttr(default=0)

    @property
    def name(self) -> str:
        """A cell has no name of its own."""
        return "cell"

    @property
    def above(self) -> int:
        """How many lines stand above the source in its notebook's cell, such as its magic's; files have none."""
        return self._above

    def below(self, lines: int) -> Cell:
        """Return this cell with so many lines above its source, which are counted where a line is named."""
        found = self.model_copy()
        found._above = lines
        return found


Target: TypeAlias = Script | Notebook | Command | Function | Cell


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


def read_targets(value: object) -> tuple[Target, ...]:
    """Return the targets that a spec's ``run`` names: one, or a list of them.

    Raises:
        SpecError: One of them can't be run.
    """
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
                    raise translated(error, target, prefix=key) from None
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


def with_absolute_paths(target: Target, root: Path) -> Target:
    """Return a target whose files, where they are this machine's, don't depend on the working directory."""
    names: tuple[str, ...] = ()
    if isinstance(target, Notebook):
        names = ("stdout_file", "stderr_file") if target.is_elsewhere else ("path", "stdout_file", "stderr_file")
    elif isinstance(target, Script):
        names = ("path",)
    given = {name: getattr(target, name) for name in names}
    changes = {name: str((root / path).absolute()) for name, path in given.items() if path}
    return target.model_copy(update=changes) if changes else target
