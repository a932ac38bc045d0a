"""What may be asked: the fields of each question, as they come in an address's query or a body of JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.fields import Count, Flag, Frozen, Seconds, check_identifier

LISTED = 1000  # runs in one answer, at most
COMPARED = 200


def _sound(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that can't be shown")
    return text


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is no text: a part of it can't be encoded") from None
    return text


Name = Annotated[str, StringConstraints(max_length=1000, strict=True), AfterValidator(_sound)]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$", strict=True)]
Path = Annotated[str, StringConstraints(min_length=1, max_length=4096, strict=True), AfterValidator(_sound)]
Text = Annotated[str, StringConstraints(max_length=500_000, strict=True), AfterValidator(_encodable)]


class Nothing(Frozen):
    """No fields."""


class RunsAsked(Frozen):
    """Which runs are wanted; see `readings.wanted`."""

    limit: Annotated[int, Field(ge=1, le=LISTED)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    experiment: Name | None = None
    group: RunId | None = None
    status: Literal["running", "finished", "failed", "pruned", "killed"] | None = None
    kind: Literal["experiment", "group", "trial"] | None = None
    where: Name | None = None
    order_by: Name | None = None


class FormAsked(Frozen):
    """In which form a run's spec is wanted."""

    as_: Annotated[
        Literal["yaml", "json", "cell", "command", "notebook", "script"], Field(alias="as")
    ]  # a word of Python's own


class ComparisonAsked(Frozen):
    """Which runs are laid side by side: their ids, with commas between them."""

    runs: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{32}}(,[0-9a-f]{{32}}){{0,{COMPARED - 1}}}$")]


class DiffAsked(Frozen):
    """Which two runs."""

    a: RunId
    b: RunId


class ResumeAsked(Frozen):
    """How a group is gone on with; see `ml-experiment resume`."""

    trials: Count | None = None
    failed: Flag = False


class NotebookAsked(Frozen):
    """A notebook, as JupyterLab names it."""

    notebook: Path


class JobAsked(Frozen):
    """A notebook that is to be run as an experiment or a group."""

    kind: Literal["experiment", "group"]
    notebook: Path
    name: Annotated[Name, Field(min_length=1)] | None = None
    params: Annotated[dict[str, Any], Field(max_length=1000)] = Field(default_factory=dict)
    sampler: Name | None = None
    pruner: Name | None = None
    trials: Annotated[Count, Field(le=1_000_000)] | None = None
    metric: Annotated[Name, Field(min_length=1)] | None = None
    direction: Literal["minimize", "maximize"] = "minimize"
    slots: Annotated[Count, Field(le=1000)] | None = None
    timeout: Seconds | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, value in self.params.items():
            check_identifier(name, key="params")
            _check_texts(value, f"params.{name}")
        return self


class ImageAsked(Frozen):
    """An image of a notebook or a run, or the folder that it would be built from."""

    notebook: Path | None = None
    run: RunId | None = None
    tag: Name | None = None
    base: Name | None = None
    only_imports: Flag = False
    lab: Flag | None = None
    data: Flag = True
    exclude: Annotated[tuple[Path, ...], Field(max_length=1000)] = ()
    verify: Flag = True
    tolerances: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    network: Literal["host", "default", "none"] | None = None
    push: Flag = False
    context: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.notebook is None) == (self.run is None):
            raise ValueError("give notebook, or run")
        if self.context is not None and self.push:
            raise ValueError("a context is written, and not pushed: leave out push")
        if self.tolerances and (self.run is None or not self.verify or self.context is not None):
            raise ValueError("tolerances are for a run that is repeated in its image: leave out tolerances")
        return self


class CheckAsked(Frozen):
    """A spec's text and the file that it is to stand in, or a job, or an image."""

    text: Text | None = None
    file: Path | None = None
    job: JobAsked | None = None
    image: ImageAsked | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if given not in ({"text", "file"}, {"job"}, {"image"}):
            raise ValueError("give text and file, or job, or image")
        return self


def _check_texts(value: Any, key: str) -> None:
    """Check that all texts in a value can be written to a file."""
    match value:
        case str():
            try:
                _encodable(value)
            except ValueError as error:
                raise SpecError(str(error), key=key) from None
        case list():
            for one in value:
                _check_texts(one, key)
        case dict():
            for name, one in value.items():
                _check_texts(name, key)
                _check_texts(one, key)
