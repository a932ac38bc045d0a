"""Values that travel to tasks: pickled once, mapped by each reader copy-on-write.

The file holds a pickle and, behind it, the large buffers (NumPy arrays, data frames) that pickle protocol 5 hands
out of band. A reader maps the file privately: arrays point into the mapping, so a gigabyte costs no copy, and
writing to one changes neither the file nor what another reader sees.

Classes and functions of the notebook go along by value. Plain pickle, which `multiprocessing` and many libraries use,
knows them by name: so those that the values were made with are named too, for the reader's ``__main__``.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import pickle
import struct
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, ClassVar

import cloudpickle

from ml_experiment_nb.errors import CaptureError
from ml_experiment_nb.secrecy import Secret, recognised, secrets_seen

DEFINED = "__main__"
"""What the values were made with of the notebook's classes and functions: a dict of them, beside the values."""

_ALIGN = 64
_HEAD = struct.Struct("<QQQ")  # length of the pickle, number of buffers, length of the secrets' names


def write_payload(values: Mapping[str, Any], folder: Path) -> Path:
    """Pickle named values into one file in `folder`, named by its content.

    Raises:
        CaptureError: A value can't be pickled; it names the value, its type, its size and the reason.
    """
    buffers: list[pickle.PickleBuffer] = []
    secrets: set[str] = set()
    try:
        data = _pickled(dict(values), buffers.append, secrets, defined=True)
    except Exception as error:
        raise _explain(values, error) from error
    raws = [buffer.raw() for buffer in buffers]
    names = json.dumps(sorted(secrets)).encode() if secrets else b""
    digest = hashlib.blake2b(data, digest_size=12)
    for raw in raws:
        digest.update(raw)
    path = folder / f"payload-{digest.hexdigest()}"
    partial = path.with_suffix(f".{os.getpid()}")
    with partial.open("wb") as file:
        file.write(_HEAD.pack(len(data), len(raws), len(names)))
        file.write(b"".join(struct.pack("<Q", raw.nbytes) for raw in raws) + names)
        pieces: list[bytes | memoryview] = [data, *raws]
        for piece in pieces:
            file.write(b"\0" * (-file.tell() % _ALIGN))
            file.write(piece)
    partial.rename(path)
    return path


def read_payload(path: Path) -> dict[str, Any]:
    """Return the values of a payload, their buffers mapped copy-on-write, and what there is of `DEFINED`."""
    with path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    length, count, names = _HEAD.unpack_from(view)
    sizes = struct.unpack_from(f"<{count}Q", view, _HEAD.size)
    pieces, at = [], _HEAD.size + 8 * count + names
    for size in (length, *sizes):
        at += -at % _ALIGN
        pieces.append(view[at : at + size])
        at += size
    values: dict[str, Any]
    if names:
        with io.BytesIO(pieces[0]) as file:
            values = _Unpickler(file, buffers=pieces[1:]).load()
    else:
        values = pickle.loads(pieces[0], buffers=pieces[1:])
    if not values.get(DEFINED, True):
        del values[DEFINED]
    return values


def names_in_payload(path: str | None) -> set[str]:
    """Return the names of the secrets that the values of a payload, if there is one, take when they are read."""
    if path is None:
        return set()
    with open(path, "rb") as file:
        _, count, length = _HEAD.unpack(file.read(_HEAD.size))
        file.seek(8 * count, io.SEEK_CUR)
        return set(json.loads(file.read(length))) if length else set()


def pickled(value: Any) -> bytes:
    """Return one value's pickle, its buffers within it."""
    return _pickled(value, None)


def _pickled(
    value: Any,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None,
    secrets: set[str] | None = None,
    *,
    defined: bool = False,
) -> bytes:
    with io.BytesIO() as file:
        kind = _Pickler if secrets is None or not secrets_seen else partial(_SecretPickler, secrets)
        pickler = kind(file, protocol=5, buffer_callback=buffer_callback)
        # the last entry is known in full when it is written: all that it names was written before it
        pickler.dump({**value, DEFINED: pickler.defined} if defined else value)
        return file.getvalue()


def _code_with_its_file(code: CodeType) -> tuple[Any, ...]:
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if one == "<dynamic-code>" else one for one in arguments)


class _Pickler(cloudpickle.Pickler):
    """Keeps the names of code's files, which cloudpickle drops since 3.1.3: a trial's traceback shows lines of them."""

    dispatch_table: ClassVar[Mapping[type, Any]] = ChainMap(
        {CodeType: _code_with_its_file}, cloudpickle.Pickler.dispatch_table
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.defined: dict[str, Any] = {}
        self._main = vars(sys.modules[DEFINED])

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and getattr(value, "__module__", None) == DEFINED:
            name = value.__qualname__
            if self._main.get(name) is value:
                self.defined[name] = value
        return super().reducer_override(value)


class _SecretPickler(_Pickler):
    """Writes, in place of the values of secrets that are known here, their names."""

    def __init__(self, secrets: set[str], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._secrets = secrets

    def persistent_id(self, value: Any) -> Any:
        kind = type(value)
        if kind is not str and kind is not bytes:
            return None
        found = recognised(value if kind is str else _as_text(value))
        if not isinstance(found, Secret):
            return None
        self._secrets.update(found.names)
        return kind.__name__, found.text


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, found: Any) -> Any:
        kind, text = found
        value = Secret(text).value
        return value if kind == "str" else value.encode()


def _as_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _explain(values: Mapping[str, Any], error: Exception) -> CaptureError:
    faults = []
    for name, value in values.items():
        try:
            _pickled(value, lambda buffer: None)
        except Exception as reason:
            size = getattr(value, "nbytes", None) or sys.getsizeof(value)
            faults.append(f"{name!r} ({type(value).__name__}, {size:,} bytes): {reason}")
    named = "; ".join(faults) or str(error)
    return CaptureError(
        f"can't be sent to a trial: {named}. Make it inside the cell or function, "
        "or keep what the trials need of it in a value of its own"
    )
