"""What is looked for where secrets are masked: the forms that a value gets on its way into a text or a file."""

from __future__ import annotations

import base64
import builtins
import html
import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

from ml_experiment_nb.secrecy import SHORT, SHORTEST, expression, secrets_seen

_LINE: Final = 8  # characters of a line, and of a part of an encoded value, that tell it from others


def mark(name: str) -> str:
    """Return what stands where a secret was."""
    return f"<secret {name}>"


def patterns() -> Patterns:
    """Return the patterns of all secrets that are known by now."""
    global _made
    if _made is None or _made[0] != len(secrets_seen):
        _made = len(secrets_seen), Patterns(dict(secrets_seen))
    return _made[1]


_made: tuple[int, Patterns] | None = None


class Patterns:
    """What is looked for.

    Args:
        values: The names of values.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        forms = [(form, name) for value, name in values.items() for form in _forms(value)]
        self.names = dict(sorted(forms, key=lambda one: -len(one[0])))
        self._expression = re.compile("|".join(map(expression, self.names)))
        self._alone = {form: re.compile(expression(form)) for form in self.names if len(form) < SHORT}
        # No text has a form that hasn't a shorter one within it, but for those that stand by themselves. Each is looked
        # for by itself: a hundred times as quick as all of them in one expression.
        rest = sorted((form for form in self.names if len(form) >= SHORT), key=len)
        self._least = [one for k, one in enumerate(rest) if not any(other in one for other in rest[:k])]
        self._longest = max(map(len, self.names), default=1) + 2
        self._beginnings = {form[:length] for form in self.names for length in range(1, len(form))}
        self._beginnings |= {form + more for form in self._alone for more in ("", ".")}  # what follows decides

    def sub(
        self,
        text: str,
        found: Callable[[str], None],
        mark: Callable[[str], str] = mark,
        *,
        start: int = 0,
        end: int | None = None,
    ) -> str:
        """Return a text with the values marked.

        Args:
            text: The text.
            found: Is called with the name of each value that was found.
            mark: Makes of a name what stands in its value's place.
            start: Where what is returned begins: what stands before it tells whether a short value stands alone.
            end: Where it ends, without which it is the text's end.
        """
        end = len(text) if end is None else end
        if not self._may_stand_in(text):
            return text[start:end]
        pieces, at = [], start
        for match in self._expression.finditer(text, start):
            if match.start() >= end:
                break
            name = self.names[match[0]]
            found(name)
            pieces += [text[at : match.start()], mark(name)]
            at = match.end()
        return "".join([*pieces, text[at:end]])

    def _may_stand_in(self, text: str) -> bool:
        if any(form in text for form in self._least):
            return True
        return any(form in text and _find(text, form, alone) >= 0 for form, alone in self._alone.items())

    def beginning(self, text: str, start: int = 0) -> int:
        """Return where, at the end of a text, a form may have begun; the text's length where none has.

        Args:
            text: The text.
            start: Where the part begins that is looked at.
        """
        for at in range(max(start, len(text) - self._longest + 1), len(text)):
            if text[at:] in self._beginnings:
                break
        else:
            return len(text)
        if self._may_stand_in(text):
            for match in self._expression.finditer(text, start):
                if match.start() < at < match.end():
                    return match.end()
        return at

    @cached_property
    def bytes(self) -> dict[bytes, str]:
        """The forms as they stand in files."""
        found = {form.encode("utf-8", "surrogateescape"): name for form, name in self.names.items()}
        wide = {value.encode("utf-16-le", "surrogatepass"): name for value, name in self._values.items()}
        return dict(sorted({**found, **wide}.items(), key=lambda one: -len(one[0])))

    @cached_property
    def _needed_bytes(self) -> list[builtins.bytes]:
        needed = {one.encode("utf-8", "surrogateescape") for one in (*self._alone, *self._least)}
        return [form for form in self.bytes if form in needed or b"\0" in form]

    @cached_property
    def _alone_bytes(self) -> dict[builtins.bytes, re.Pattern[builtins.bytes]]:
        coded = {form: form.encode("utf-8", "surrogateescape") for form in self._alone}
        made = {form: expression(form, in_bytes=True).encode("utf-8", "surrogateescape") for form in self._alone}
        return {coded[form]: re.compile(made[form]) for form in self._alone}

    def find(self, content: Content, form: builtins.bytes, at: int = 0) -> int:
        """Return where one of `bytes` stands in a content, at a place or behind it; -1 where it doesn't."""
        return _find(content, form, self._alone_bytes.get(form), at)

    def names_in(self, pieces: Iterable[builtins.bytes], found: set[str]) -> None:
        """Add the names of those that stand in what comes in pieces."""
        before = b""
        for piece in pieces:
            content = before + piece
            if self.in_bytes(content):
                found |= {name for form, name in self.bytes.items() if self.find(content, form) >= 0}
            before = content[-self._longest_bytes :]

    def in_bytes(self, content: Content) -> bool:
        """Return whether any form stands in a content."""
        return any(self.find(content, form) >= 0 for form in self._needed_bytes)

    @cached_property
    def _longest_bytes(self) -> int:
        return max(map(len, self.bytes), default=1)

    def stand_in(self, path: Path) -> bool:
        """Return whether a file that isn't empty holds any form."""
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return self.in_bytes(view)


Content = bytes | bytearray | mmap.mmap


def _find(content: Any, form: Any, alone: re.Pattern[Any] | None, at: int = 0) -> int:
    """Return where a form stands in a text or in bytes, as an expression of it alone may demand."""
    at = content.find(form, at)
    while at >= 0 and alone is not None and not alone.match(content, at):
        at = content.find(form, at + 1)
    return int(at)


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
