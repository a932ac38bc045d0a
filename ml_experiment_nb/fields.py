"""The fields of specs: texts, amounts and names as users write them, and what is said of one that is wrong."""

from __future__ import annotations

import keyword
import numbers
import re
from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.quantities import repr_of


class Frozen(BaseModel):
    """Data of a spec: it can't be changed, and a key that it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def unknown_key(cls, name: str, *more: str) -> str:
        """Say that `name` is none of the keys, which are the fields and `more`, and which is near it."""
        known = [*(field.alias or name for name, field in cls.model_fields.items()), *more]
        return f"is no key{nearest(name, known) or ': the keys are ' + ', '.join(known)}"


Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Bytes = Annotated[int, Field(gt=0, strict=True), BeforeValidator(lambda value: read_bytes(value))]
Flag = Annotated[bool, Field(strict=True)]


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


def check_identifier(name: object, key: str) -> None:
    """Check that a parameter's name is one.

    Raises:
        SpecError: It is no Python name.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise SpecError(f"{name!r} can't be a parameter: it must be a Python name", key=f"{key}.{name}")


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it; what JSON has no form for becomes its ``repr``."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return name_of(value) if callable(value) and hasattr(value, "__qualname__") else repr_of(value)


def name_of(call: Any) -> str:
    """Return a function's name as ``module:qualname``."""
    name = getattr(call, "__qualname__", type(call).__qualname__)
    return f"{getattr(call, '__module__', None) or 'builtins'}:{name}"


def translated(error: ValidationError, model: type[Frozen], prefix: str = "") -> SpecError:
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
        text = _model_at(model, location[:-1]).unknown_key(str(location[-1]))
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


def _model_at(model: type[Frozen], location: tuple[int | str, ...]) -> type[Frozen]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, Frozen):
                model = candidate
    return model
