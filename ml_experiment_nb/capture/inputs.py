"""The data that a run reads, as its record says it: with a digest of all of its content."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment_nb.capture.digests import CACHE, FileDigest, file_digests, joined, known_digests, value_digest
from ml_experiment_nb.datasets import Data, Listed, listed
from ml_experiment_nb.errors import CaptureError, SpecError, nearest
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import size

_COLUMNS = 1000  # of a data frame that its schema names
_MLFLOW_TYPES = {"bool": "boolean", "int32": "integer", "int64": "long", "float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Input:
    """A data set that a run reads.

    Attributes:
        name: What it is called: a file's name, a pattern, a variable or a parameter.
        digest: 32 hexadecimal digits, of all of its content.
        kind: MLflow's type of where it comes from: ``local`` or ``code``.
        source: Where that is.
        about: Its size, as people read it.
        schema: Its columns or its shape, in MLflow's form.
        profile: Its numbers of rows, files, bytes.
        files: The digests of its files, by their names.
    """

    name: str
    digest: str
    kind: str
    source: Mapping[str, Any]
    about: str
    schema: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None
    files: Mapping[str, FileDigest] | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.about}) {self.digest}"


def inputs_of(data: Data | None, root: Path, values: Mapping[str, Any], project: Path) -> list[Input]:
    """Return what `data` names, each with its digest; files that are as they were aren't read again.

    Args:
        data: What is asked.
        root: What its paths are relative to.
        values: The parameters and variables that it may name.
        project: The project's root, which keeps the digests of files.

    Raises:
        SpecError: A file, or a value, isn't there.
        CaptureError: One can't be read.
    """
    if data is None:
        return []
    cache = home(project) / CACHE
    found = [_of_files(one, file_digests(one.files, cache)) for one in listed(data, root)]
    for name in data.values:
        value = _value(name, values)
        if isinstance(value, str | os.PathLike):
            [one] = listed(Data(files=(os.fspath(value),)), root)
            found.append(_of_files(Listed(name, one.place, one.files), file_digests(one.files, cache)))
        else:
            found.append(_of_value(name, value))
    return found


def values_here(data: Data | None) -> dict[str, Any]:
    """Return the variables that `data` names, of this notebook or of the script that this process runs."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    known = vars(sys.modules["__main__"]) if shell is None else shell.user_ns
    return {name: known[name] for name in (data.values if data is not None else ()) if name in known}


def described(data: Data | None, root: Path, values: Mapping[str, Any], project: Path) -> list[str]:
    """Return a line for each thing that `data` names; nothing is read, so a digest is there where it is known.

    Raises:
        SpecError: A file isn't there.
    """
    if data is None:
        return []
    lines = []
    for one in listed(data, root):
        known = known_digests(one.files, project / ".ml-experiment" / CACHE)
        if known is not None:
            lines.append(str(_of_files(one, known)))
        else:
            lines.append(f"{one.name} ({_amount(len(one.files), sum(path.stat().st_size for path in one.files))})")
    return lines + [f"{name} ({_about(values[name])})" if name in values else name for name in data.values]


def as_text(inputs: Sequence[Input]) -> str:
    """Return the files of inputs as ``sha256sum`` prints them, which ``sha256sum -c`` reads."""
    return "".join(f"{one.digest}  {one.path}\n" for found in inputs for _, one in sorted((found.files or {}).items()))


def _value(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise SpecError(f"{name}: there is no such parameter or variable{nearest(name, values)}", key="data.values")
    return values[name]


def _of_files(found: Listed, digests: Sequence[FileDigest]) -> Input:
    base = found.place if found.place.is_dir() else found.place.parent
    named = {os.path.relpath(one.path, base): one for one in digests}
    total = sum(one.size for one in digests)
    return Input(
        name=found.name,
        # Of one file it is that of its content, however it is called.
        digest=digests[0].digest[:32] if found.place.is_file() else joined({n: one.digest for n, one in named.items()}),
        kind="local",
        source={"uri": found.place.as_uri()},
        about=_amount(len(digests), total),
        profile={"num_files": len(digests), "num_bytes": total},
        files=named,
    )


def _of_value(name: str, value: Any) -> Input:
    try:
        digest = value_digest(value)
    except CaptureError as error:
        raise CaptureError(f"data {name}: {error}") from None
    schema, profile = _schema(value)
    # MLflow's own source of what code has made.
    return Input(name, digest, "code", {"tags": {"mlflow.source.type": "LOCAL"}}, _about(value), schema, profile)


def _amount(count: int, total: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}, {size(total)}"


def _about(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        text = " x ".join(map(str, shape)) or "scalar"
        return f"{type(value).__name__} {text}"
    try:
        return f"{type(value).__name__} of {len(value)}"
    except TypeError:
        return type(value).__name__


def _schema(value: Any) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return what a value looks like, in MLflow's forms: columns of a data frame, the shape of an array."""
    if hasattr(value, "dtypes") and hasattr(value, "columns") and hasattr(value, "iloc"):
        columns = list(zip(value.columns, value.dtypes, strict=True))[:_COLUMNS]
        schema = [
            {"type": _MLFLOW_TYPES.get(str(kind), "datetime" if "datetime" in str(kind) else "string"), "name": str(n),
             "required": True}
            for n, kind in columns
        ]  # fmt: skip
        rows = len(value)
        return {"mlflow_colspec": schema}, {"num_rows": rows, "num_elements": rows * len(value.columns)}
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and kind is not None and hasattr(value, "nbytes"):
        spec = {"type": "tensor", "tensor-spec": {"dtype": str(kind), "shape": [-1, *map(int, shape[1:])]}}
        profile = {"features_shape": list(map(int, shape)), "features_nbytes": int(value.nbytes)}
        return {"mlflow_tensorspec": {"features": [spec], "targets": None}}, profile
    return None, None


def as_json(value: Mapping[str, Any] | None) -> str | None:
    """Return what MLflow has as text."""
    return None if value is None else json.dumps(value)
