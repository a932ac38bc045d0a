"""The widgets' scripts and styles, put together for the browser from their files: nothing is fetched or built."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("static")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?function|const|class)", re.MULTILINE)


@cache
def esm(entry: str) -> str:
    """Return a module with all that it imports, in one text: the modules' top-level names must differ.

    Args:
        entry: The module's name, which exports the widget as its default.
    """
    found: dict[str, str] = {}
    _gather(entry, found)
    return "\n".join(found.values())


@cache
def css(*names: str) -> str:
    """Return style sheets as one, the theme's first."""
    return "\n".join((FOLDER / f"{name}.css").read_text() for name in ("theme", *names))


def _gather(name: str, found: dict[str, str]) -> None:
    source = (FOLDER / f"{name}.js").read_text()
    for other in _IMPORT.findall(source):
        if other not in found:
            _gather(other, found)
    found[name] = _EXPORT.sub("", _IMPORT.sub("", source))
