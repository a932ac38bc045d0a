"""Tables: one of parameters, a run for each of its rows, and the one of results that comes of it.

A table of parameters is a CSV file, a JSON list of objects, or JSON lines (an object on each line). The table of
results has the same rows, with what came of each.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.fields import check_identifier
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.records import Record, as_json
from ml_experiment_nb.secrecy import recognised

SUFFIXES = (".csv", ".jsonl", ".json")
RESULTS = (".csv", ".jsonl")
_MINE = ("row", "trial", "status", "seconds", "error", "run_id", "taken_from")
"""Columns of a table of results that are ours."""
Error = TypeVar("Error", bound=SpecError)

Row: TypeAlias = Mapping[str, Any]
"""The parameters of one run of a group with a table: a name that is left out keeps its default."""


@dataclass(frozen=True)
class Table:
    """Rows of parameters, and where they stand.

    Attributes:
        rows: The parameters of each run; what a row leaves out keeps its default.
        lines: The line that each row begins at; empty for rows that don't come from a file of lines.
        header: The line of a CSV file's header.
        file: The file that they were read from, if any.
        text: What that file holds.
    """

    rows: Sequence[Row]
    lines: Sequence[int] = ()
    header: int | None = None
    file: str | None = None
    text: str = ""

    @property
    def names(self) -> list[str]:
        """The parameters that any of the rows gives, in order."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def located(self, error: Error, number: int | None = None) -> Error:
        """Return an error about a parameter with its place: in the row of that number, else where it first stands."""
        if number is None and self.header is not None:
            return type(error)(error.problem, file=self.file, line=self.header, key=error.key)
        if number is None:
            number = next(k for k, row in enumerate(self.rows) if error.key in row)
        if self.lines:
            return type(error)(error.problem, file=self.file, line=self.lines[number], key=error.key)
        place = f"{'' if self.file else 'each'}[{number}].{error.key or ''}".removesuffix(".")
        return type(error)(error.problem, file=self.file, key=place)


def read_table(path: str | Path) -> Table:
    """Read a table of parameters.

    In CSV the header names the parameters. A cell is read as the literal that it looks like (``0.5``, ``true``,
    ``[1, 2]``), else as text; text that looks like something else is written as ``'5'``. An empty cell leaves the
    parameter at its default. In JSON, a key that is left out does.

    Raises:
        SpecError: It can't be read, it has no row, or a row is no row of parameters; names the file and the line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    reader = {".csv": _csv_table, ".jsonl": _json_lines}.get(suffix, _json_rows)
    with _in_file(str(path)):
        text = _text(path)
        return replace(_some(reader(text)), file=str(path), text=text)


def read_lines(text: str, name: str) -> tuple[Row, ...]:
    """Read rows from JSON lines that are not in a file, such as standard input; errors call it by `name`.

    Raises:
        SpecError: A line is no row of parameters, or there is none.
    """
    with _in_file(name):
        return tuple(_some(_json_lines(text.removeprefix("\ufeff"))).rows)


# --- reading ---


def _text(path: Path) -> str:
    if path.is_dir():
        raise SpecError("is a folder: name the table in it")
    if not path.exists():
        raise SpecError(f"there is no such file{nearest(path.name, [one.name for one in path.parent.glob('*')])}")
    if path.suffix.lower() not in SUFFIXES:
        raise SpecError(f"a table of parameters ends in {', '.join(SUFFIXES)}, not {path.suffix!r}")
    try:
        return path.read_bytes().decode("utf-8-sig")  # as bytes, so that csv sees the line ends as they are
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError(f"is not UTF-8 text: byte {error.start} can't be read; save it as UTF-8", line=line) from None
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}") from error


@contextmanager
def _in_file(file: str) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        raise type(error)(error.problem, file=file, line=error.line, key=error.key) from None


def _some(table: Table) -> Table:
    if not table.rows:
        raise SpecError("has no row: there is nothing to run")
    return table


def _csv_table(text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    names: list[str] = []
    rows, lines, header = [], [], None
    end = 0
    try:
        for cells in reader:
            line, end = end + 1, reader.line_num  # a quoted cell may have several lines: its row's first one counts
            if cells and header is None:
                names, header = _header([cell.strip() for cell in cells], line), line
            elif cells:
                rows.append(_csv_row(names, cells, line))
                lines.append(line)
    except csv.Error as error:
        raise SpecError(f"is not CSV: {error}", line=end + 1) from None
    return Table(rows, lines, header)


def _header(names: list[str], line: int) -> list[str]:
    for k, name in enumerate(names):
        where = f"column {k + 1}"
        if not name:
            hint = ": pandas writes its index so; leave it out with index=False" if k == 0 else ""
            raise SpecError(f"the header gives it no name{hint}", line=line, key=where)
        if name in names[:k]:
            raise SpecError(
                f"{name!r} is column {names.index(name) + 1} already: keep one", line=line, key=f"column {k + 1}"
            )
        if len(names) == 1 and (";" in name or "\t" in name):
            raise SpecError("the columns are to be separated by commas", line=line)
        _check_name(name, line, where)
    return names


def _csv_row(names: list[str], cells: list[str], line: int) -> Row:
    if len(cells) != len(names):
        much = "many" if len(cells) > len(names) else "few"
        hint = "; a cell with a comma in it is written in quotes" if much == "many" else ""
        raise SpecError(f"too {much} cells: {len(cells)}, and the header names {len(names)}{hint}", line=line)
    return {name: read_value(cell.strip()) for name, cell in zip(names, cells, strict=True) if cell.strip()}


def _json_lines(text: str) -> Table:
    rows, lines = [], []
    for line, one in enumerate(text.split("\n"), start=1):
        if one.strip():
            try:
                rows.append(_object(_parsed(one)))
            except json.JSONDecodeError as error:
                raise SpecError(f"is not JSON: {error.msg} (column {error.colno})", line=line) from None
            except SpecError as error:
                raise SpecError(error.problem, line=line, key=error.key) from None
            lines.append(line)
    return Table(rows, lines)


def _json_rows(text: str) -> Table:
    try:
        found = _parsed(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise SpecError(f"is not JSON: {error.msg} (column {error.colno})", line=error.lineno) from None
    if not isinstance(found, list):
        raise SpecError('is no list of objects, such as [{"C": 0.5}, {"C": 1}]')
    for k, one in enumerate(found):
        try:
            _object(one)
        except SpecError as error:
            raise SpecError(error.problem, key=f"[{k}].{error.key or ''}".removesuffix(".")) from None
    return Table(found)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise SpecError("is nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SpecError("stands there twice: keep one", key=name)
        found[name] = value
    return found


def _object(value: Any) -> Row:
    if not isinstance(value, dict):
        raise SpecError(f'is no object such as {{"C": 0.5}}, but {json.dumps(value)[:40]}')
    for name in value:
        _check_name(name, None, name)
    return value


def _check_name(name: str, line: int | None, where: str) -> None:
    try:
        check_identifier(name, key=where)
    except SpecError as error:
        raise SpecError(error.problem, line=line, key=where) from None


# --- results ---


def results(records: Iterable[Record], first: Sequence[str] = (), *, number: str = "row") -> list[dict[str, Any]]:
    """Return the table of results: a row for each record, by number, with the same columns in each.

    They are the record's number, its parameters, its metrics, and how it ended; None is what it hasn't. A metric
    that is called like a parameter, or either like another column, gets ``metrics.`` or ``params.`` before its name.

    Args:
        records: What came of the rows.
        first: The parameters that come first.
        number: What the first column is called.
    """
    done = sorted(records, key=lambda record: record.number or 0)
    params = list(dict.fromkeys((*first, *(name for record in done for name in record.params))))
    metrics = list(dict.fromkeys(name for record in done for name in record.metrics))
    origins = {one.run_id: origin for one in done if (origin := one.tags.get("mlexp.taken_from"))}
    as_param = {name: f"params.{name}" if name in _MINE else name for name in params}
    as_metric = {name: f"metrics.{name}" if name in _MINE or name in params else name for name in metrics}
    return [
        {number: record.number}
        | {column: record.params.get(name) for name, column in as_param.items()}
        | {column: record.metrics.get(name) for name, column in as_metric.items()}
        | {
            "status": record.status.value,
            "seconds": round(record.seconds, 3),
            "error": str(record.failure) if record.failure else None,
            "run_id": record.run_id,
        }
        | ({"taken_from": origins.get(record.run_id)} if origins else {})
        for record in done
    ]


def results_text(rows: Sequence[Mapping[str, Any]], suffix: str = ".csv") -> str:
    """Return a table of results as CSV, or as JSON lines; what a row hasn't is an empty cell, or null."""
    if suffix == ".jsonl":
        return "".join(json.dumps(as_json(row), ensure_ascii=False) + "\n" for row in rows)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def read_rows(value: Any) -> tuple[Row, ...]:
    """Return the rows of a list of mappings, or of a data frame; what is missing in one is left out.

    Raises:
        SpecError: It is something else, it is empty, or a row has a key that is no parameter's name.
    """
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        value = _frame_rows(value)
    if not isinstance(value, list | tuple):
        raise SpecError("must be a table's path (.csv, .jsonl, .json), or a list of mappings of parameters", key="each")
    if not value:
        raise SpecError("has no row: there is nothing to run", key="each")
    for k, row in enumerate(value):
        if not isinstance(row, Mapping):
            raise SpecError(f"must be a mapping of parameters, such as {{C: 0.5}}, not {row!r}", key=f"each[{k}]")
        for name in row:
            check_identifier(name, key=f"each[{k}]")
    return tuple(recognised(dict(row)) for row in value)


def _frame_rows(frame: Any) -> list[dict[Any, Any]]:
    """Return a data frame's rows, without the values that are missing in them."""
    if not frame.columns.is_unique:
        twice = next(name for k, name in enumerate(frame.columns) if name in list(frame.columns[:k]))
        raise SpecError(f"two columns are called {twice!r}: keep one", key="each")
    given = frame.notna().to_dict("records")
    rows = frame.to_dict("records")
    return [{name: row[name] for name in row if has[name]} for row, has in zip(rows, given, strict=True)]
