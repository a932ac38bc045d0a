"""Masking: what this process knows of secrets, taken out of all that is written of a run.

A value is looked for as it is and in the forms that text gets on its way: see `patterns`. What a program makes of it
otherwise is not found. Where no secret is known, nothing is looked for.
"""

from __future__ import annotations

import html
import io
import itertools
import mmap
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ml_experiment_nb import packed
from ml_experiment_nb.patterns import mark, patterns
from ml_experiment_nb.records import Outcome
from ml_experiment_nb.secrecy import secrets_seen

_MARKUP = (".html", ".htm", ".svg", ".xml", ".xhtml")
_LARGEST = 4 << 30  # bytes of a file that is looked through
_IN_MEMORY = 256 << 20  # bytes of a text file, and of a member of an archive, that is read at once
_CONTEXT = 3  # characters before a short secret that tell whether it stands by itself
_PLACES = 8  # places that a note names


def masked(text: str) -> str:
    """Return a text with the secrets that this process knows masked."""
    return patterns().sub(text, lambda name: None) if secrets_seen and text else text


class Veil:
    """What is written of one run, masked, and where something was found.

    Attributes:
        found: The names of the secrets that were, and where.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, None]] = {}
        self._remarks: list[str] = []

    def text(self, text: str, where: str) -> str:
        """Return a text masked."""
        return patterns().sub(text, lambda name: self._note(name, where)) if secrets_seen and text else text

    def data(self, value: Any, where: str) -> Any:
        """Return JSON data with its texts masked."""
        match value:
            case str():
                return self.text(value, where)
            case dict():
                return {self.data(name, where): self.data(one, where) for name, one in value.items()}
            case list() | tuple():
                return [self.data(one, where) for one in value]
        return value

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return an outcome with its failure's texts masked."""
        failure = outcome.failure
        if failure is None or not secrets_seen:
            return outcome
        texts = {one: self.text(getattr(failure, one), "the error") for one in ("type", "message", "traceback")}
        return replace(outcome, failure=replace(failure, **texts))

    def stream(self, where: str) -> Stream:
        """Return what masks a text that comes in pieces."""
        return Stream(lambda name: self._note(name, where))

    def folder(self, folder: Path, aside: Path | None = None) -> None:
        """Mask what stands in a folder's files, and in their names.

        A file that is no text keeps its length: each byte of a secret becomes a ``*``. One that holds a secret in a
        form that can't be packed again, or that can't be looked through, is taken out of the folder. A link is left
        alone.

        Args:
            folder: Where the files are.
            aside: Where those go that are taken out; without it they are removed.

        Raises:
            OSError: A file can't be taken out, or not be given another name. The folder may hold secrets.
        """
        if not secrets_seen:
            return
        for parent, folders, files in os.walk(folder, topdown=False):
            for path in (Path(parent, name) for name in files):
                if not path.is_symlink() and path.is_file():
                    inner = path.relative_to(folder)
                    self._look_through(path, masked(str(inner)), aside / inner if aside is not None else None)
            for name in (*files, *folders):
                plain = patterns().sub(name, lambda one: self._note(one, "a file's name"), "secret-{}".format)
                if plain != name and os.path.lexists(Path(parent, name)):
                    Path(parent, name).rename(_free(Path(parent, plain)))

    def notes(self) -> list[str]:
        """Return what the record should say: which secrets were masked, and where."""
        notes = []
        for name, places in self.found.items():
            shown = ", ".join(list(places)[:_PLACES]) + (", …" if len(places) > _PLACES else "")
            notes.append(f"the secret {name} was found and masked in {shown}")
        return notes + self._remarks

    def remark(self, remarks: Iterable[str]) -> None:
        """Have the record say something more of secrets."""
        self._remarks += [one for one in remarks if one not in self._remarks]

    def _note(self, name: str, where: str) -> None:
        self.found.setdefault(name, {})[where] = None

    def _look_through(self, path: Path, where: str, aside: Path | None) -> None:
        try:
            self._file(path, where)
        except _Locked as locked:
            self._withhold(path, where, locked.told, aside)
        except Exception as error:  # whatever a broken file makes a reader of it raise
            with suppress(OSError):
                _partial(path).unlink()
            self._withhold(path, where, _unread(error), aside)

    def _file(self, path: Path, where: str) -> None:
        size = path.stat().st_size
        if size > _LARGEST:
            self._remarks.append(f"{where} was not looked through for secrets: it is larger than 4 GiB")
            return
        if size and zipfile.is_zipfile(path) and self._archive(path, where):
            return
        if size and self._is_repacked(path, where):
            return
        if size == 0 or not patterns().stand_in(path):
            return
        if size <= _IN_MEMORY:
            content = path.read_bytes()
            with suppress(UnicodeDecodeError):
                _write(path, self._text_of(content, path.suffix, where))
                return
            _write(path, self._stars(content, where))
        else:
            self._stars_in(path, where)

    def _withhold(self, path: Path, where: str, told: str, to: Path | None) -> None:
        told = f"{where} {told}: it is not kept"
        if to is None:
            path.unlink()
        else:
            to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.rename(to)
            told += f" with the run, and lies in {masked(str(to))}"
        self._remarks.append(told)

    def _is_repacked(self, path: Path, where: str) -> bool:
        """Look into a file that is compressed; return whether it was masked and packed again."""
        with path.open("rb") as file:
            form = packed.form_of(file)
            names = self._names_in(form, file, where) if form is not None else None
        if form is None or not names:
            return False
        if path.stat().st_size > _IN_MEMORY:
            raise _Locked.of(form, names)
        _write(path, self._repacked(form, path.read_bytes(), names, path, where))
        return form.strip is None

    def _names_in(self, form: packed.Form, file: IO[bytes], where: str) -> set[str]:
        names: set[str] = set()
        try:
            patterns().names_in(packed.unpacked(form, file), names)
        except ValueError as error:
            self._remarks.append(f"{where} was not wholly looked through for secrets: {error}")
        except Exception as error:  # whatever a broken file makes a reader of it raise
            raise _Locked(_unread(error)) from None
        return names

    def _repacked(self, form: packed.Form, content: bytes, names: set[str], path: Path, where: str) -> bytes:
        """Return a compressed file's content, masked and packed again.

        Raises:
            _Locked: That can't be done.
        """
        if form.strip is not None:
            self._remarks.append(
                f"the secret {' and '.join(sorted(names))} was found in the metadata of {where}, and is left out of it"
            )
            return form.strip(content, patterns().in_bytes)
        pieces, size = [], 0
        try:
            for piece in packed.unpacked(form, io.BytesIO(content)) if form.repack is not None else ():
                pieces.append(piece)
                if (size := size + len(piece)) > _IN_MEMORY:
                    break
        except ValueError:  # not all of it would be packed again
            raise _Locked.of(form, names) from None
        if form.repack is None or size > _IN_MEMORY:
            raise _Locked.of(form, names)
        plain = b"".join(pieces)
        try:
            return form.repack(self._text_of(plain, Path(path.stem).suffix, where))
        except UnicodeDecodeError:
            return form.repack(self._stars(plain, where))

    def _text_of(self, content: bytes, suffix: str, where: str) -> bytes:
        """Return a text masked.

        Raises:
            UnicodeDecodeError: It is none. What holds a NUL is often made of parts whose lengths are written down, as
                a tar archive is: it has to keep them.
        """
        if b"\0" in content:
            raise UnicodeDecodeError("utf-8", content, 0, 1, "it holds a NUL")
        mark_up = (lambda name: html.escape(mark(name))) if suffix.lower() in _MARKUP else mark
        return patterns().sub(content.decode("utf-8"), lambda name: self._note(name, where), mark_up).encode()

    def _stars(self, content: bytes, where: str) -> bytes:
        view = bytearray(content)
        self._star(view, where)
        return bytes(view)

    def _stars_in(self, path: Path, where: str) -> None:
        partial = _partial(path)
        shutil.copyfile(path, partial)
        with partial.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            self._star(view, where)
        _replace(partial, path)

    def _star(self, view: bytearray | mmap.mmap, where: str) -> None:
        is_found = False
        for form, name in patterns().bytes.items():
            at = patterns().find(view, form)
            while at >= 0:
                is_found = True
                self._note(name, where)
                view[at : at + len(form)] = b"*" * len(form)
                at = patterns().find(view, form, at + len(form))
        if is_found:
            self.remark([f"{where} is no text: each byte of a secret in it is a * now, and it may not be readable"])

    def _archive(self, path: Path, where: str) -> bool:
        """Mask the members of a zip archive (``.npz``, ``.pt``, ``.xlsx``); return False where it can't be read so."""
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
                if any(info.file_size > _IN_MEMORY or info.flag_bits & 1 for info in infos):
                    return False
                changed = {info.filename: new for info in infos if (new := self._member(archive, info, where))}
                if not changed:
                    return not patterns().stand_in(path)
                partial = _partial(path)
                with zipfile.ZipFile(partial, "w") as masked_archive:
                    for info in infos:
                        masked_archive.writestr(info, changed.get(info.filename) or archive.read(info))
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError):
            return False
        _replace(partial, path)
        return True

    def _member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes | None:
        content = archive.read(info)
        form = packed.form_of(io.BytesIO(content))
        if form is not None and (names := self._names_in(form, io.BytesIO(content), where)):
            return self._repacked(form, content, names, Path(info.filename), where)
        if not patterns().in_bytes(content):
            return None
        try:
            return self._text_of(content, Path(info.filename).suffix, where)
        except UnicodeDecodeError:
            return self._stars(content, where)


class _Locked(Exception):
    """A file can't be kept as it is, nor masked.

    Args:
        told: What the record says of it.
    """

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.told = told

    @classmethod
    def of(cls, form: packed.Form, names: set[str]) -> _Locked:
        return cls(f"holds the secret {' and '.join(sorted(names))}, which can't be taken out of {form.name}")


def _unread(error: Exception) -> str:
    return masked(f"could not be looked through for secrets ({type(error).__name__}: {error})")


class Stream:
    """Masks a text that comes in pieces, cut anywhere. It holds back what may be a secret's beginning.

    Args:
        found: Is called with the name of each secret that was found.
    """

    def __init__(self, found: Callable[[str], None]) -> None:
        self._found = found
        self._before = ""  # the end of what was shown, as it came: it tells whether a short secret stands by itself
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece, and return what can be shown."""
        if not secrets_seen:
            return text
        return self._show(text, is_last=False)

    def flush(self) -> str:
        """Return what was held back."""
        return self._show("", is_last=True)

    def _show(self, more: str, *, is_last: bool) -> str:
        start, text = len(self._before), self._before + self._held + more
        cut = len(text) if is_last else patterns().beginning(text, start)
        self._before, self._held = text[max(0, cut - _CONTEXT) : cut], text[cut:]
        return patterns().sub(text, self._found, start=start, end=cut)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.masked")


def _free(path: Path) -> Path:
    """Return a path that nothing has yet: this one, or one with a number."""
    paths = itertools.chain([path], (path.with_name(f"{path.stem}-{k}{path.suffix}") for k in itertools.count(2)))
    return next(one for one in paths if not os.path.lexists(one))


def _write(path: Path, content: bytes) -> None:
    partial = _partial(path)
    partial.write_bytes(content)
    _replace(partial, path)


def _replace(partial: Path, path: Path) -> None:
    """Put a file in the place of another one, which may have other names, and keeps its content there."""
    shutil.copymode(path, partial)
    os.replace(partial, path)
