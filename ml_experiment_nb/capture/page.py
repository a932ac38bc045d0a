"""A notebook as a page that a browser shows without asking anything of the network."""

from __future__ import annotations

import base64
import functools
import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_experiment_nb import ipynb
from ml_experiment_nb.capture.gallery import PLOTLY
from ml_experiment_nb.ipynb import joined

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_EXTERNAL = re.compile(
    r"<script\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:)?//[^>]*>.*?</script\s*>|<link\b[^>]*(?:https?:)?//[^>]*>",
    re.IGNORECASE | re.DOTALL,
)
_ANSI = re.compile(r"\x1b\[([0-9;]*)m")
_OTHER_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_COLOURS = ("#3e424d", "#c0392b", "#1e8449", "#9a7d0a", "#2471a3", "#7d3c98", "#148f77", "#626567")
# What a notebook's own HTML asks for elsewhere, a browser doesn't fetch.
_NOTHING_ELSE = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; font-src data:\">"
)
_STYLE = """
body { margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; background: #fff;
  font: 15px/1.5 system-ui, sans-serif; }
pre, code { font: 13px/1.45 ui-monospace, monospace; }
pre { margin: 0; padding: .6em .8em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: break-word; }
.cell { display: grid; grid-template-columns: 4em minmax(0, 1fr); margin: .5em 0; }
.count { padding: .6em .5em 0 0; color: #888; font: 12px/1.45 ui-monospace, monospace; text-align: right; }
.code { border: 1px solid #ddd; border-radius: 3px; background: #f7f7f7; }
.output, .text { grid-column: 2; min-width: 0; overflow-x: auto; }
.error { background: #fdecea; }
.stderr { background: #fff6e5; }
img { max-width: 100%; }
table { border-collapse: collapse; } td, th { padding: .2em .6em; border-bottom: 1px solid #ddd; text-align: right; }
"""


def page(text: str, title: str) -> str:
    """Return a notebook's page: its text, its code, and what its cells have shown, pictures and figures included.

    It loads nothing: scripts and style sheets from elsewhere are left out, formulas stand there as they were written,
    and of a widget its text is shown.

    Args:
        text: The notebook's JSON.
        title: The page's title.

    Raises:
        ValueError: It is no notebook.
    """
    notebook = json.loads(text)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("it is no notebook of format 4")
    language = ipynb.language(notebook.get("metadata", {}))
    body = "\n".join(_cell(cell, language) for cell in notebook["cells"])
    script = f"<script>{_plotly_script()}</script>" if _FIGURE in body else ""
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8">{_NOTHING_ELSE}<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}{_colours()}</style>{script}</head>\n<body>\n{body}\n</body></html>\n"
    )


def without_page(name: str, error: BaseException) -> str:
    """Return why a notebook is not there as a page, as a sentence for a run's notes; `name` is what it is called."""
    return f"{name} is not there as a page: {type(error).__name__}: {error}"


def _cell(cell: Mapping[str, Any], language: str) -> str:
    source = joined(cell.get("source", ""))
    if cell.get("cell_type") == "markdown":
        return f'<div class="cell"><div class="text">{_markdown(_with_attachments(source, cell))}</div></div>'
    if cell.get("cell_type") != "code":
        return f'<div class="cell"><div class="text"><pre>{html.escape(source)}</pre></div></div>'
    count = cell.get("execution_count")
    parts = [f'<div class="count">[{count if count is not None else " "}]</div>']
    parts += [f'<div class="code"><pre>{_code(source, language)}</pre></div>']
    parts += [f'<div class="output">{shown}</div>' for shown in map(_output, cell.get("outputs", ())) if shown]
    return f'<div class="cell">{"".join(parts)}</div>'


def _output(output: Mapping[str, Any]) -> str:
    match output.get("output_type"):
        case "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            return f'<pre class="{name}">{_coloured(joined(output.get("text", "")))}</pre>'
        case "error":
            trace = "\n".join(output.get("traceback") or ()) or f"{output.get('ename')}: {output.get('evalue')}"
            return f'<pre class="error">{_coloured(trace)}</pre>'
        case _:
            return _bundle(output.get("data", {}))


def _bundle(data: Mapping[str, Any]) -> str:
    """Return what is shown of a display: the richest of its forms that a page can have."""
    if PLOTLY in data and (figure := _figure(data[PLOTLY])):
        return figure
    if "text/html" in data:
        return _EXTERNAL.sub("", joined(data["text/html"]))
    if "text/markdown" in data:
        return _markdown(joined(data["text/markdown"]))
    if "image/svg+xml" in data:
        return _image("image/svg+xml", base64.b64encode(joined(data["image/svg+xml"]).encode()).decode())
    for mime in _IMAGES:
        if mime in data:
            return _image(mime, re.sub(r"\s", "", joined(data[mime])))
    text = data.get("text/latex") or data.get("text/plain")
    return f"<pre>{_coloured(joined(text))}</pre>" if text else ""


_FIGURE = "plotly-graph-div"


def _figure(figure: Mapping[str, Any]) -> str:
    """Return a Plotly figure as a part of a page; nothing without Plotly."""
    try:
        import plotly.io
    except ImportError:
        return ""
    made: str = plotly.io.to_html(dict(figure), include_plotlyjs=False, full_html=False, validate=False)
    return made


def _plotly_script() -> str:
    import plotly.offline

    script: str = plotly.offline.get_plotlyjs()
    return script


def _image(mime: str, data: str) -> str:
    return f'<img src="data:{mime};base64,{html.escape(data)}" alt="">'


def _with_attachments(source: str, cell: Mapping[str, Any]) -> str:
    for name, bundle in cell.get("attachments", {}).items():
        for mime, data in bundle.items():
            source = source.replace(f"attachment:{name}", f"data:{mime};base64,{joined(data)}")
    return source


@functools.lru_cache(maxsize=512)
def _markdown(source: str) -> str:
    made = _EXTERNAL.sub("", _reader().render(source))
    return str(made)


@functools.cache
def _reader() -> Any:
    from markdown_it import MarkdownIt

    reader: Any = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    check = reader.validateLink
    reader.validateLink = lambda url: url.startswith("data:image/") or check(url)  # what is attached to a cell
    return reader


@functools.lru_cache(maxsize=512)
def _code(source: str, language: str) -> str:
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter

    return str(highlight(source, _lexer(language), HtmlFormatter(nowrap=True))).rstrip("\n")


@functools.cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name
    from pygments.lexers.python import PythonLexer
    from pygments.lexers.special import TextLexer
    from pygments.util import ClassNotFound

    if language == "python":
        return PythonLexer(stripnl=False)
    try:
        return get_lexer_by_name(language.lower(), stripnl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False)


@functools.cache
def _colours() -> str:
    from pygments.formatters.html import HtmlFormatter

    return str(HtmlFormatter().get_style_defs(".code"))


def _coloured(text: str) -> str:
    """Return what a terminal would show, its colours kept."""
    return "".join(_spans(text))


def _spans(text: str) -> Iterator[str]:
    style: dict[str, str] = {}
    pieces = _ANSI.split(text)
    for plain, codes in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        shown = html.escape(_OTHER_ANSI.sub("", plain))
        rules = ";".join(f"{name}:{value}" for name, value in style.items())
        yield f'<span style="{rules}">{shown}</span>' if rules and shown else shown
        style = _styled(style, [int(code or 0) for code in codes.split(";") if code or codes == ""])


def _styled(style: dict[str, str], codes: list[int]) -> dict[str, str]:
    for code in codes or [0]:
        if code == 0:
            style = {}
        elif code == 1:
            style = {**style, "font-weight": "bold"}
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = {**style, "color": _COLOURS[code % 10]}
        elif code in (38, 48):  # a colour of many: its numbers are none of these
            break
        elif code == 39:
            style = {name: value for name, value in style.items() if name != "color"}
    return style
