"""Tables as HTML, Markdown and text, for notebooks that may be read without a kernel, a script or a style sheet.

What stands in a saved notebook is stripped by whoever shows it: GitHub leaves neither styles nor SVG, JupyterLab no
script of a notebook that it doesn't trust. So meaning is in the elements, the words and the ``align`` attributes, which
all of them keep; styles only set it better.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

LEFT = 'style="text-align:left"'
RIGHT = 'align="right"'
CAPTION = 'style="text-align:left;caption-side:top;padding:0 0 4px"'
TABLE = 'cellpadding="4" style="margin:4px 0;border-collapse:collapse"'
"""A table stands at the left: JupyterLab's own style sheet would centre it."""
PICTURES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".svg": "image/svg+xml",
    ".webp": "image/webp",
}  # fmt: skip
"""The MIME types of the pictures that every browser shows, by the suffixes of their files."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")


class Html(str):
    """A cell's text that is HTML already."""

    __slots__ = ()


def picture_type(file: str) -> str | None:
    """Return the MIME type of a picture, by its file's name; None where it is none that every browser shows."""
    return PICTURES.get(PurePosixPath(file).suffix.lower())


@dataclass(frozen=True)
class Column:
    """A column's title, and whether numbers stand in it."""

    name: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of texts, each headed by its first one.

    Attributes:
        caption: What the table is of; may be empty.
        columns: Its columns.
        rows: The rows, those left out not among them.
        left_out: How many rows are left out …
        after: … and behind which one: so many rows stand before the gap.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0
    after: int = 0

    @property
    def gap(self) -> str:
        """The words that stand for the rows left out."""
        return f"… {self.left_out:,} more …" if self.left_out else ""


def folded(count: int, most: int, tail: int) -> tuple[range, range]:
    """Return which of so many rows are shown: the first and the last ones, `most` in all, or every one if few are more.

    Args:
        count: How many there are.
        most: How many are shown.
        tail: How many of those are the last ones.
    """
    if count <= most + 5:
        return range(count), range(0)
    return range(most - tail), range(count - tail, count)


def as_html(table: Table) -> str:
    """Return a table as HTML."""
    caption = f"<caption {CAPTION}>{escaped(table.caption)}</caption>" if table.caption else ""
    head = "".join(f'<th scope="col" {_side(one)}>{escaped(one.name)}</th>' for one in table.columns)
    lines = [_html_row(table.columns, row) for row in table.rows]
    if table.left_out:
        lines.insert(table.after, f'<tr><td colspan="{len(table.columns)}" {LEFT}>{table.gap}</td></tr>')
    return f"<table {TABLE}>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _html_row(columns: Sequence[Column], cells: Sequence[str]) -> str:
    first, *rest = map(escaped, cells)
    others = "".join(
        f"<td {_side(column)}>{cell}</td>" if cell else "<td></td>"
        for column, cell in zip(columns[1:], rest, strict=True)
    )
    return f'<tr><th scope="row" {LEFT}>{first}</th>{others}</tr>'


def _side(column: Column) -> str:
    return RIGHT if column.numeric else LEFT


def as_markdown(table: Table) -> str:
    """Return a table as GitHub and Jupyter read it in Markdown."""
    lines = [[in_markdown(text) for text in row] for row in table.rows]
    if table.left_out:
        lines.insert(table.after, [table.gap, *[""] * (len(table.columns) - 1)])
    rules = ["---:" if one.numeric else ":---" for one in table.columns]
    head = [[in_markdown(one.name) for one in table.columns], rules]
    body = "\n".join(f"| {' | '.join(line)} |" for line in (*head, *lines))
    return f"{in_markdown(table.caption)}\n\n{body}" if table.caption else body


def as_text(table: Table) -> str:
    """Return a table as lines of text, its columns aligned."""
    lines = [tuple(one.name for one in table.columns), *table.rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(table.columns))]
    made = [
        "  ".join(
            text.rjust(width) if column.numeric else text.ljust(width)
            for column, text, width in zip(table.columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    if table.left_out:
        made.insert(table.after + 1, table.gap)
    return "\n".join([table.caption, *made] if table.caption else made)


def escaped(text: str) -> str:
    """Return a text as HTML, and what is HTML already as it is."""
    return text if isinstance(text, Html) else html.escape(text)


def in_markdown(text: str) -> str:
    """Return a text in Markdown that means nothing but itself, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def facts_html(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return names and what there is to say of them, as a table of two columns."""
    rows = "".join(
        f'<tr><th scope="row" {LEFT}>{escaped(name)}</th><td {LEFT}>{escaped(text)}</td></tr>' for name, text in facts
    )
    return f"<table {TABLE}><caption {CAPTION}>{escaped(title)}</caption><tbody>{rows}</tbody></table>"


def facts_markdown(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return names and what there is to say of them, as a list."""
    lines = [f"- {in_markdown(name)}: {in_markdown(text)}" for name, text in facts]
    return "\n".join([f"**{in_markdown(title)}**", "", *lines])
