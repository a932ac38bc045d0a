"""What user code hands over as artifacts, turned into files that people and tools can open."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ml_experiment_nb.errors import CaptureError


def save_artifact(value: Any, name: str, folder: Path) -> Path:
    """Write `value` to a file below `folder`, in the format that suits its type, and return the file's path.

    ==============================  =============  ==========================================
    value                           default        a name's own suffix decides among
    ==============================  =============  ==========================================
    an existing file or folder      copied         keeps the file's suffix
    Matplotlib figure or axes       ``.png``       ``.svg .pdf .jpg .jpeg .eps .webp``
    Plotly figure                   ``.html``      ``.json``; the page works offline
    pandas DataFrame or Series      ``.csv``       ``.parquet``
    NumPy array                     ``.npy``
    PIL image                       ``.png``       ``.jpg .jpeg .gif .bmp .tif .tiff .webp``
    dict, list, number, bool        ``.json``      ``.pkl``; also what JSON can't hold
    str                             ``.txt``       any
    bytes                           ``.bin``       any
    anything else                   ``.pkl``       ``.pickle``; by cloudpickle
    ==============================  =============  ==========================================

    A suffix that isn't among these is taken for a part of the name: ``loss.v2`` becomes ``loss.v2.png``.

    Args:
        value: What to save. A `Path` has to exist; a `str` that names no file is text.
        name: Its name, with ``/`` for subfolders. Characters that a file system or a URL may reject become
            ``_``.
        folder: Where it goes; made when missing. A name that is taken there gets ``-1``, ``-2`` ….

    Raises:
        CaptureError: The name leaves the folder, or the value can't be saved. No part of it is left behind.
    """
    target: Path | None = None
    try:
        form, value = _form_of(value, name)
        target = _free(folder / _safe(name, form))
        target.parent.mkdir(parents=True, exist_ok=True)
        form.write(value, target)
    except Exception as error:
        if target is not None:
            _remove(target)
        raise CaptureError(f"artifact {name!r} ({_type_name(value)}) can't be saved: {error}") from error
    return target


def kept_files(folder: Path) -> dict[str, int]:
    """Return what code has kept in a run's folder of artifacts, and the bytes; not what is ours, nor what was shown.

    What can't be read isn't in it: the run has a note of that elsewhere.
    """
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for above, folders, names in os.walk(folder):
            if above == str(folder):
                folders[:] = sorted(set(folders) - {"record", "figures"})
            for name in sorted(names):
                path = os.path.join(above, name)
                found[os.path.relpath(path, folder)] = os.path.getsize(path)
    return found


def as_artifacts(value: Any) -> dict[str, Any]:
    """Return the artifacts that user code handed over, by name.

    Args:
        value: A dict of them; a list or tuple of paths, each named by its file's name, or of figures, frames,
            arrays and images, named ``artifact``, ``artifact-1`` …; or a single value, named ``artifact``.
            Any other list is a single value, and None is no artifact.
    """
    if value is None:
        return {}
    if isinstance(value, dict):
        return {str(name): item for name, item in value.items()}
    if isinstance(value, list | tuple) and all(_is_path(item) or _library_form(item) for item in value):
        return _named(value)
    return {"artifact": value}


@dataclass(frozen=True)
class _Form:
    """A file format: how a value is written, its suffix, and those that a name may ask for instead."""

    write: Callable[[Any, Path], None]
    suffix: str
    others: tuple[str, ...] = ()
    any_suffix: bool = False


def _form_of(value: Any, name: str) -> tuple[_Form, Any]:
    """Return the format for `value`, and the value as that format takes it."""
    if _is_path(value):
        path = Path(value)
        return _Form(_copy, _suffix_of(path)), path
    if form := _library_form(value):
        return form, value
    match value:
        case str():
            return _TEXT, value
        case bytes() | bytearray() | memoryview():
            return _BYTES, value
        case dict() | list() | bool() | int() | float() if not name.endswith((".pkl", ".pickle")):
            with contextlib.suppress(TypeError, ValueError, RecursionError):  # pickle keeps what JSON can't
                return _JSON, json.dumps(value, indent=2, default=_plain_number)
    return _PICKLE, value


def _library_form(value: Any) -> _Form | None:
    """Return the format of a figure, frame, array or image, told by its class's name: nothing is imported."""
    for kind in type(value).__mro__:
        form = _LIBRARY_FORMS.get((kind.__module__.partition(".")[0], kind.__name__))
        if form is not None:
            return form
    return None


def _is_path(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and os.path.exists(value)
    return isinstance(value, os.PathLike)


def _named(values: Iterable[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for value in values:
        path = PurePosixPath(Path(value).resolve().name if _is_path(value) else "artifact")
        name, count = path.name, 0
        while name in named:
            count += 1
            name = f"{path.stem}-{count}{path.suffix}"
        named[name] = value
    return named


def _safe(name: str, form: _Form) -> PurePosixPath:
    """Return `name` as a relative path with the format's suffix."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("an artifact's name is a relative path without '..', such as 'plots/loss.png'")
    path = PurePosixPath(*(re.sub(r"[^\w .+=@()-]", "_", part) for part in path.parts))
    suffix = path.suffix.lower()
    own = path.name.lower().endswith(form.suffix.lower()) or suffix in form.others
    if own or (suffix and form.any_suffix):
        return path
    return path.with_name(path.name + form.suffix)


def _free(path: Path) -> Path:
    """Return `path`, or its first numbered neighbour that isn't taken."""
    suffix = _suffix_of(path)
    stem = path.name.removesuffix(suffix)
    free, count = path, 0
    while os.path.lexists(free):
        count += 1
        free = path.with_name(f"{stem}-{count}{suffix}")
    return free


def _suffix_of(path: Path) -> str:
    """Return the suffix, ``.tar.gz`` and its like whole."""
    if path.is_dir():
        return ""
    return "".join(path.suffixes[-2:]) if path.suffixes[-2:-1] == [".tar"] else path.suffix


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        if target.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{source} holds the folder that artifacts are saved in")
        shutil.copytree(source, target, ignore=_loops, ignore_dangling_symlinks=True)
    elif source.is_file():
        shutil.copy2(source, target)
    else:
        raise ValueError(f"{source} is {'not a plain file' if source.exists() else 'not there'}")


def _loops(folder: str, names: list[str]) -> list[str]:
    """Return the links that lead to a folder they stand in."""
    here = Path(folder).resolve()
    links = (name for name in names if Path(folder, name).is_symlink())
    return [name for name in links if here.is_relative_to(Path(folder, name).resolve())]


def _write_text(value: str, target: Path) -> None:
    target.write_text(value, encoding="utf-8", errors="backslashreplace", newline="")


def _write_bytes(value: bytes | bytearray | memoryview, target: Path) -> None:
    target.write_bytes(value)


def _write_pickle(value: Any, target: Path) -> None:
    import cloudpickle

    with target.open("wb") as file:
        cloudpickle.dump(value, file)


def _write_matplotlib(value: Any, target: Path) -> None:
    value.savefig(target, bbox_inches="tight")


def _write_axes(value: Any, target: Path) -> None:
    _write_matplotlib(value.figure, target)


def _write_plotly(value: Any, target: Path) -> None:
    if target.suffix.lower() == ".json":
        value.write_json(target)
    else:
        value.write_html(target, include_plotlyjs=True)


def _write_frame(value: Any, target: Path) -> None:
    if target.suffix.lower() == ".parquet":
        value.to_parquet(target)
        return
    index = value.index
    unnamed_count = type(index).__name__ == "RangeIndex" and index.name is None
    value.to_csv(target, index=not unnamed_count)


def _write_series(value: Any, target: Path) -> None:
    _write_frame(value.to_frame("value" if value.name is None else value.name), target)


def _write_array(value: Any, target: Path) -> None:
    import numpy  # already there: the value is its

    with target.open("wb") as file:
        numpy.save(file, value)


def _write_image(value: Any, target: Path) -> None:
    value.save(target)


def _plain_number(value: Any) -> Any:
    """Return a NumPy number as Python's own, for `json`."""
    if any((kind.__module__, kind.__name__) == ("numpy", "generic") for kind in type(value).__mro__):
        return value.item()
    raise TypeError(f"{_type_name(value)} is not a JSON value")


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            target.unlink()


_TEXT = _Form(_write_text, ".txt", any_suffix=True)
_BYTES = _Form(_write_bytes, ".bin", any_suffix=True)
_JSON = _Form(_write_text, ".json")
_PICKLE = _Form(_write_pickle, ".pkl", (".pickle",))
_FIGURE = (".svg", ".pdf", ".jpg", ".jpeg", ".eps", ".webp")
_IMAGE = (".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_LIBRARY_FORMS = {
    ("matplotlib", "Figure"): _Form(_write_matplotlib, ".png", _FIGURE),
    ("matplotlib", "Axes"): _Form(_write_axes, ".png", _FIGURE),
    ("plotly", "BaseFigure"): _Form(_write_plotly, ".html", (".json",)),
    ("pandas", "DataFrame"): _Form(_write_frame, ".csv", (".parquet",)),
    ("pandas", "Series"): _Form(_write_series, ".csv", (".parquet",)),
    ("numpy", "ndarray"): _Form(_write_array, ".npy"),
    ("PIL", "Image"): _Form(_write_image, ".png", _IMAGE),
}
