"""Paths as users write them: of a spec, perhaps on another machine, and as papermill has it with ``{C}`` to fill in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from uuid import uuid4

from ml_experiment_nb.errors import SpecError, nearest

PATH_PARAMS = INPUT, OUTPUT = "PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"
"""Parameters that papermill sets in any notebook, named by its parameters cell or not."""

SPECS = (".yaml", ".yml", ".json")
"""What the names of specs' files end in."""


def is_elsewhere(path: str) -> bool:
    """Whether a path is standard input or output, or one of papermill's places: ``s3://…``, ``https://…``."""
    return path == "-" or "://" in path


def is_spec(path: str | PurePath) -> bool:
    """Whether a file is a spec, by its name."""
    return PurePath(path).suffix.lower() in SPECS


def filled_in(path: str, params: Mapping[str, Any], *, giver: str = "the run") -> str:
    """Return a path with its ``{C}`` filled in, as papermill does it: by `str.format`, with its own ``pm`` besides.

    Args:
        path: The path; ``{{`` and ``}}`` stand for braces.
        params: What may be named.
        giver: Whose parameters they are, for an error.

    Raises:
        SpecError: It names a parameter that isn't given, or can't be filled in.
    """
    if not {"{", "}"} & set(path):
        return path
    now = {"current_datetime_local": datetime.now(), "current_datetime_utc": datetime.now(UTC)}
    try:
        return path.format(**{"pm": {"run_uuid": str(uuid4()), **now}, **params})
    except KeyError as error:
        name = str(error.args[0])
        raise SpecError(f"{giver} gives no parameter {name!r}{nearest(name, params)}{_BRACES}", file=path) from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise SpecError(f"can't be filled in: {error}{_BRACES}", file=path) from None


def literal(path: str) -> str:
    """Return a path in which nothing is found to be filled in."""
    return path.replace("{", "{{").replace("}", "}}")


def row_output(pattern: str, number: int, params: Mapping[str, Any]) -> str:
    """Return where a row's executed notebook is written: `pattern` with the row's number and parameters filled in."""
    place = filled_in(pattern, {"row": number, **params}, giver=f"row {number}")
    return place if is_elsewhere(place) else os.path.normpath(place)


_BRACES = "; {{ and }} stand for braces"
