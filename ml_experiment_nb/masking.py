"""Masking: what this process knows of secrets, taken out of all that is written of a run.

A value is looked for as it is and in the forms that text gets on its way: escaped as by ``repr``, JSON, YAML, HTML
and a shell, percent-encoded, in base64 and in hexadecimal digits; one of several lines line by line. What a program
makes of it otherwise is not found. Where no secret is known, nothing is looked for.
"""

from __future__ import annotations

import base64
import builtins
import html
import json
import mmap
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from ml_experiment_nb.records import Outcome
from ml_experiment_nb.secrecy import SHORTEST, known

_LINE = 8  # characters of a line, and of a part of an encoded value, that tell it from others
_MARKUP = (".html", ".htm", ".svg", ".xml", ".xhtml")
_LARGEST = 4 << 30  # bytes of a file that is looked through
_IN_MEMORY = 256 << 20  # bytes of a text file, and of a member of an archive, that is read at once
_PLACES = 8  # places that a note names


def mark(name: str) -> str:
    """Return what stands where a secret was."""
    return f"<secret {name}>"


def masked(text: str) -> str:
    """Return a text with the secrets that this process knows masked."""
    return _patterns().sub(text, lambda name: None) if known and text else text


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
        return _patterns().sub(text, lambda name: self._note(name, where)) if known and text else text

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
        if failure is None or not known:
            return outcome
        texts = {one: self.text(getattr(failure, one), "the error") for one in ("type", "message", "traceback")}
        return replace(outcome, failure=replace(failure, **texts))

    def stream(self, where: str) -> Stream:
        """Return what masks a text that comes in pieces."""
        return Stream(lambda name: self._note(name, where))

    def folder(self, folder: Path) -> None:
        """Mask what stands in a folder's files, and in their names.

        A file that is no text keeps its length: each byte of a secret becomes a ``*``. A link is left alone.

        Raises:
            OSError: A file can't be read or written.
        """
        if not known:
            return
        for parent, folders, files in os.walk(folder, topdown=False):
            for path in (Path(parent, name) for name in files):
                if not path.is_symlink() and path.is_file():
                    self._file(path, masked(str(path.relative_to(folder))))
            for name in (*files, *folders):
                plain = _patterns().sub(name, lambda one: self._note(one, "a file's name"), "secret-{}".format)
                if plain != name:
                    Path(parent, name).rename(Path(parent, plain))

    def notes(self) -> list[str]:
        """Return what the record should say: which secrets were masked, and where."""
        notes = []
        for name, places in self.found.items():
            shown = ", ".join(list(places)[:_PLACES]) + (", …" if len(places) > _PLACES else "")
            notes.append(f"the secret {name} was found and masked in {shown}")
        return notes + self._remarks

    def _note(self, name: str, where: str) -> None:
        self.found.setdefault(name, {})[where] = None

    def _file(self, path: Path, where: str) -> None:
        size = path.stat().st_size
        if size > _LARGEST:
            self._remarks.append(f"{where} was not looked through for secrets: it is larger than 4 GiB")
            return
        if size and zipfile.is_zipfile(path) and self._archive(path, where):
            return
        if size == 0 or not _patterns().stand_in(path):
            return
        if size <= _IN_MEMORY:
            content = path.read_bytes()
            with suppress(UnicodeDecodeError):
                _write(path, self._text_of(content, path.suffix, where))
                return
            content = self._stars(content, where)
            _write(path, content)
        else:
            self._stars_in(path, where)
        self._remarks.append(f"{where} is no text: each byte of a secret in it is a * now, and it may not be readable")

    def _text_of(self, content: bytes, suffix: str, where: str) -> bytes:
        mark_up = (lambda name: html.escape(mark(name))) if suffix.lower() in _MARKUP else mark
        return _patterns().sub(content.decode("utf-8"), lambda name: self._note(name, where), mark_up).encode()

    def _stars(self, content: bytes, where: str) -> bytes:
        for form, name in _patterns().bytes.items():
            if form in content:
                self._note(name, where)
                content = content.replace(form, b"*" * len(form))
        return content

    def _stars_in(self, path: Path, where: str) -> None:
        partial = path.with_name(f".{path.name}.masked")
        shutil.copyfile(path, partial)
        with partial.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            for form, name in _patterns().bytes.items():
                at = view.find(form)
                while at >= 0:
                    self._note(name, where)
                    view[at : at + len(form)] = b"*" * len(form)
                    at = view.find(form, at + len(form))
        _replace(partial, path)

    def _archive(self, path: Path, where: str) -> bool:
        """Mask the members of a zip archive (``.npz``, ``.pt``, ``.xlsx``); return False where it can't be read so."""
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
                if any(info.file_size > _IN_MEMORY or info.flag_bits & 1 for info in infos):
                    return False
                changed = {info.filename: new for info in infos if (new := self._member(archive, info, where))}
                if not changed:
                    return not _patterns().stand_in(path)
                partial = path.with_name(f".{path.name}.masked")
                with zipfile.ZipFile(partial, "w") as masked_archive:
                    for info in infos:
                        masked_archive.writestr(info, changed.get(info.filename) or archive.read(info))
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError):
            return False
        _replace(partial, path)
        return True

    def _member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes | None:
        content = archive.read(info)
        if not any(form in content for form in _patterns().bytes):
            return None
        try:
            return self._text_of(content, Path(info.filename).suffix, where)
        except UnicodeDecodeError:
            return self._stars(content, where)


class Stream:
    """Masks a text that comes in pieces, cut anywhere. It holds back what may be a secret's beginning.

    Args:
        found: Is called with the name of each secret that was found.
    """

    def __init__(self, found: Callable[[str], None]) -> None:
        self._found = found
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece, and return what can be shown."""
        if not known:
            return text
        text, self._held = self._held + text, ""
        cut = _patterns().beginning(text)
        self._held = text[cut:]
        return _patterns().sub(text[:cut], self._found)

    def flush(self) -> str:
        """Return what was held back."""
        text, self._held = self._held, ""
        return _patterns().sub(text, self._found) if known else text


# --- the forms of a value ---


class _Patterns:
    """What is looked for."""

    def __init__(self, values: dict[str, str]) -> None:
        forms = [(form, name) for value, name in values.items() for form in _forms(value)]
        self.names = dict(sorted(forms, key=lambda one: -len(one[0])))
        self._expression = re.compile("|".join(map(re.escape, self.names)))
        # No text has a form that hasn't a shorter one within it. Each is looked for by itself: a hundred times as quick
        # as all of them in one expression.
        shortest = sorted(self.names, key=len)
        self._needed = [one for k, one in enumerate(shortest) if not any(other in one for other in shortest[:k])]
        self._longest = max(map(len, self.names), default=1)
        self._beginnings = {form[:length] for form in self.names for length in range(1, len(form))}

    def sub(self, text: str, found: Callable[[str], None], mark: Callable[[str], str] = mark) -> str:
        def marked(match: re.Match[str]) -> str:
            name = self.names[match[0]]
            found(name)
            return mark(name)

        return self._expression.sub(marked, text) if self._may_stand_in(text) else text

    def _may_stand_in(self, text: str) -> bool:
        return any(form in text for form in self._needed)

    def beginning(self, text: str) -> int:
        """Return where, at the end of a text, a form may have begun; the text's length where none has."""
        start = max(0, len(text) - self._longest + 1)
        for at in range(start, len(text)):
            if text[at:] in self._beginnings:
                break
        else:
            return len(text)
        if self._may_stand_in(text):
            for match in self._expression.finditer(text):
                if match.start() < at < match.end():
                    return match.end()
        return at

    @cached_property
    def bytes(self) -> dict[bytes, str]:
        """The forms as they stand in files."""
        found = {form.encode("utf-8", "surrogateescape"): name for form, name in self.names.items()}
        wide = {value.encode("utf-16-le", "surrogatepass"): name for value, name in known.items()}
        return dict(sorted({**found, **wide}.items(), key=lambda one: -len(one[0])))

    @cached_property
    def _needed_bytes(self) -> list[builtins.bytes]:
        needed = {one.encode("utf-8", "surrogateescape") for one in self._needed}
        return [form for form in self.bytes if form in needed or b"\0" in form]

    def stand_in(self, path: Path) -> bool:
        """Return whether a file that isn't empty holds any form."""
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return any(view.find(form) >= 0 for form in self._needed_bytes)


_made: tuple[int, _Patterns] = (0, _Patterns({}))


def _patterns() -> _Patterns:
    """Return the patterns of all secrets that are known by now."""
    global _made
    if _made[0] != len(known):
        _made = len(known), _Patterns(dict(known))
    return _made[1]


def _forms(value: str) -> set[str]:
    pieces = {value, value.strip()}
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        pieces |= {line for line in lines if len(line) >= _LINE and not line.startswith("-----")}
    found = set(pieces)
    for _ in range(2):  # a repr in JSON, HTML in JSON
        found |= {escaped for form in found for escaped in _escapes(form)}
    for piece in pieces:
        found |= set(_encodings(piece.encode("utf-8", "surrogateescape")))
    return {form for form in found if len(form) >= SHORTEST}


def _escapes(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    yield text.replace("\\", "\\\\").replace("'", "\\'")
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield text.replace("'", "''")
    yield text.replace("'", "'\"'\"'")
    for encode in (quote, partial(quote, safe=""), quote_plus):
        with suppress(UnicodeEncodeError):
            coded = encode(text)
            yield coded
            yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), coded)


def _encodings(data: bytes) -> Iterator[str]:
    yield data.hex()
    yield data.hex().upper()
    for altchars in (b"+/", b"-_"):
        whole = base64.b64encode(data, altchars).decode()
        yield from (whole, whole.rstrip("="))
        for width in (64, 76):
            yield from (line for line in _chunks(whole, width) if len(whole) > width and len(line) >= 2 * _LINE)
        for before in range(3):  # within something longer, such as user:password
            coded = base64.b64encode(b"\0" * before + data, altchars).decode()
            inner = coded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
            if len(inner) >= _LINE:
                yield inner


def _chunks(text: str, width: int) -> Iterable[str]:
    return (text[at : at + width] for at in range(0, len(text), width))


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.masked")
    partial.write_bytes(content)
    _replace(partial, path)


def _replace(partial: Path, path: Path) -> None:
    """Put a file in the place of another one, which may have other names, and keeps its content there."""
    shutil.copymode(path, partial)
    os.replace(partial, path)
