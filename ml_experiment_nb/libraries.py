"""The libraries whose training is recorded without a word of the user's, and what a spec says of it: ``autolog``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import ValidationError, model_validator

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.fields import Flag, Frozen, translated

Library = Literal["fastai", "keras", "lightgbm", "lightning", "sklearn", "torch", "xgboost"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
_ALSO: dict[str, Library] = {
    "pytorch": "torch",
    "pytorch-lightning": "lightning",
    "pytorch_lightning": "lightning",
    "scikit-learn": "sklearn",
    "tensorflow": "keras",  # what trains in it is Keras
    "tf": "keras",
}


class Autolog(Frozen):
    """Which libraries are recorded, and how.

    Attributes:
        libraries: Their names; None for all of them.
        log_models: Whether the trained model is kept. None: in an experiment it is, in a group's trials it isn't.
        log_plots: Whether the plots are drawn that MLflow makes of a fit, such as a confusion matrix.
    """

    libraries: tuple[Library, ...] | None = None
    log_models: Flag | None = None
    log_plots: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return {"libraries": ()} if value is False else {}
        if isinstance(value, str | list | tuple):
            value = {"libraries": value}
        if isinstance(value, Mapping) and value.get("libraries") is not None:
            return {**value, "libraries": _names(value["libraries"])}
        if not isinstance(value, Mapping | Autolog):
            raise ValueError(f"must be true, false, names of libraries or a mapping, not {value!r}")
        return value

    def models(self, is_group: bool) -> bool:
        """Whether a trained model is kept."""
        return not is_group if self.log_models is None else self.log_models


def read_autolog(value: Any) -> Autolog:
    """Return what a value such as ``False``, ``["xgboost"]`` or ``{"log_models": False}`` asks.

    Raises:
        SpecError: It is something else, or names a library that isn't known.
    """
    try:
        return Autolog.model_validate(value)
    except ValidationError as error:
        raise translated(error, Autolog, prefix="autolog") from None


def _names(value: Any) -> tuple[Library, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise SpecError(f"must be a list of names, not {value!r}", key="autolog.libraries")
    known: dict[str, Library] = {name: name for name in LIBRARIES} | _ALSO
    for name in given:
        if not isinstance(name, str) or name.lower() not in known:
            hint = nearest(str(name), known) or ": they are " + ", ".join(LIBRARIES)
            raise SpecError(f"{name!r} is no library that is recorded{hint}", key="autolog")
    return tuple(dict.fromkeys(known[name.lower()] for name in given))
