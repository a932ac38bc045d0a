"""Directives whose text comes from the code: the magics, the keys of a spec, the public names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import ml_experiment_nb
from ml_experiment_nb.line_magics import LookingMagics
from ml_experiment_nb.magics import ExperimentMagics
from ml_experiment_nb.schema import spec_schema


class Magics(SphinxDirective):
    """Each magic with its options, as `?` shows them."""

    def run(self) -> list[nodes.Node]:
        """Return what stands in its place."""
        return self.parse_text_to_nodes("\n".join(_magics()), allow_section_headings=True)


class Keys(SphinxDirective):
    """Each key of a spec with what its schema says."""

    def run(self) -> list[nodes.Node]:
        """Return what stands in its place."""
        return self.parse_text_to_nodes("\n".join(_keys(spec_schema())))


class Names(SphinxDirective):
    """Each public name with its signature and docstring."""

    def run(self) -> list[nodes.Node]:
        """Return what stands in its place."""
        return self.parse_text_to_nodes("\n".join(_names()))


def _magics() -> Iterator[str]:
    for name, function in (*vars(ExperimentMagics).items(), *vars(LookingMagics).items()):
        if (parser := getattr(function, "parser", None)) is None:
            continue
        yield f"## `{'%%' if name in ExperimentMagics.magics['cell'] else '%'}{name}`"
        yield f"\n{_cell(parser.description)}\n"
        yield "| Option | What it does |\n| --- | --- |"
        for action in parser._actions:
            words = ", ".join(action.option_strings) or action.dest
            value = (
                "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
            )
            yield f"| `{words}{value}` | {_cell(action.help)} |"
        yield ""


def _keys(schema: dict[str, Any]) -> Iterator[str]:
    yield "| Key | Value | What it is |\n| --- | --- | --- |"
    for name, about in schema["properties"].items():
        yield f"| `{name}` | {_cell(_kind(about))} | {_cell(about.get('description'))} |"


def _kind(about: dict[str, Any]) -> str:
    if "enum" in about:
        return ", ".join(f"`{one}`" for one in about["enum"])
    return " or ".join(dict.fromkeys(one for one in _types(about) if one != "null"))


def _types(about: dict[str, Any]) -> Iterator[str]:
    if isinstance(about.get("type"), str):
        yield about["type"]
    elif "$ref" in about:
        yield "object"
    for one in about.get("anyOf", ()):
        yield from _types(one)


def _names() -> Iterator[str]:
    for name in sorted(ml_experiment_nb.__all__, key=str.lower):
        found = getattr(ml_experiment_nb, name)
        directive = "autoclass" if inspect.isclass(found) else "autofunction"
        yield f"```{{eval-rst}}\n.. {directive}:: ml_experiment_nb.{name}\n```\n"


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("%%", "%").split()).replace("|", "\\|")


def _without_emphasis(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Have a pattern such as ``val_*`` in an option's help mean itself."""
    lines[:] = [re.sub(r"(?<=\w)_(?!\w)|\*", r"\\\g<0>", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Give Sphinx the directives."""
    for name, directive in {"magics": Magics, "spec-keys": Keys, "public-names": Names}.items():
        app.add_directive(name, directive)
    app.connect("sphinx-click-process-options", _without_emphasis)
    return {"parallel_read_safe": True}
