import csv
import io
import json
from datetime import UTC, datetime

import pytest

from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.records import Failure, Record, Status
from ml_experiment_nb.rows import Table, read_lines, read_table, results, results_text


@pytest.fixture
def write(tmp_path):
    def write(text, name="params.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_csv(write):
    path = write(
        "C, kernel ,deep,note\n0.5,rbf,true,\n\n1e-5,'5',False,\"a, b\nc\"\n007,  2,None,[1, 2]\n".replace(
            "[1, 2]", '"[1, 2]"'
        )
    )
    table = read_table(path)
    assert list(table.rows) == [
        {"C": 0.5, "kernel": "rbf", "deep": True},
        {"C": 1e-5, "kernel": "5", "deep": False, "note": "a, b\nc"},
        {"C": "007", "kernel": 2, "deep": None, "note": [1, 2]},
    ]
    assert (table.header, list(table.lines)) == (1, [2, 4, 6])
    assert table.names == ["C", "kernel", "deep", "note"]
    assert (table.file, table.text.encode()) == (str(path), path.read_bytes())


def test_csv_of_a_spreadsheet(write):
    assert list(read_table(write("\ufeffC,D\r\n1,2\r\n3,\r\n")).rows) == [{"C": 1, "D": 2}, {"C": 3}]


def test_json_lines(write):
    text = '\ufeff{"C": 0.5, "kernel": null}\r\n\n{"C": "5"}'
    table = read_table(write(text, "params.jsonl"))
    assert list(table.rows) == [{"C": 0.5, "kernel": None}, {"C": "5"}]
    assert list(table.lines) == [1, 3]
    assert list(read_lines(text, "standard input")) == list(table.rows)


def test_a_json_list(write):
    assert list(read_table(write('[{"C": 1},\n {}]', "params.json")).rows) == [{"C": 1}, {}]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.csv", "", "p.csv: has no row: there is nothing to run"),
        ("p.csv", "C,D\n", "p.csv: has no row: there is nothing to run"),
        ("p.jsonl", "\n\n", "p.jsonl: has no row: there is nothing to run"),
        ("p.json", "[]", "p.json: has no row: there is nothing to run"),
        ("p.json", " ", "p.json: has no row: there is nothing to run"),
        ("p.csv", "C,D,C\n1,2,3\n", "p.csv:1: column 3: 'C' is column 1 already: keep one"),
        ("p.csv", "\nC,,D\n1,2,3\n", "p.csv:2: column 2: the header gives it no name"),
        ("p.csv", ",C\n0,1\n", "p.csv:1: column 1: the header gives it no name: pandas writes its index so"),
        ("p.csv", "a b\n1\n", "p.csv:1: column 1: 'a b' can't be a parameter"),
        ("p.csv", "C;D\n1;2\n", "p.csv:1: the columns are to be separated by commas"),
        ("p.csv", "C,D\n1,2\n1,2,3\n", "p.csv:3: too many cells: 3, and the header names 2; a cell with a comma"),
        ("p.csv", "C,D\n1\n", "p.csv:2: too few cells: 1, and the header names 2"),
        ("p.csv", 'C,D\n1,2\n1,"2\n3,4\n', "p.csv:3: is not CSV: unexpected end of data"),
        ("p.csv", b"C\n1\n\xe9\n", "p.csv:3: is not UTF-8 text: byte 4 can't be read; save it as UTF-8"),
        ("p.jsonl", '{"C": 1}\n[1]\n', 'p.jsonl:2: is no object such as {"C": 0.5}, but [1]'),
        ("p.jsonl", '{"C": 1}\n{"C": 1\n', "p.jsonl:2: is not JSON: Expecting ',' delimiter"),
        ("p.jsonl", '{"C": 1, "C": 2}\n', "p.jsonl:1: C: stands there twice: keep one"),
        ("p.jsonl", '{"a-b": 1}\n', "p.jsonl:1: a-b: 'a-b' can't be a parameter"),
        ("p.json", '{"C": 1}', "p.json: is no list of objects"),
        ("p.json", '[{"C": 1},\n{"C" 1}]', "p.json:2: is not JSON: Expecting ':' delimiter"),
        ("p.json", '[{"C": 1}, 5]', 'p.json: [1]: is no object such as {"C": 0.5}, but 5'),
        ("p.json", '[{"C": 1}, {"a b": 5}]', "p.json: [1].a b: 'a b' can't be a parameter"),
        ("p.txt", "C\n1\n", "p.txt: a table of parameters ends in .csv, .jsonl, .json, not '.txt'"),
    ],
)
def test_what_is_wrong_with_a_table(write, monkeypatch, tmp_path, name, text, says):
    write(text, name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as raised:
        read_table(name)
    assert str(raised.value).startswith(says)


def test_a_table_that_is_not_there(write):
    path = write("C\n1\n")
    with pytest.raises(SpecError, match=r"param\.csv: there is no such file; did you mean 'params\.csv'\?"):
        read_table(path.with_name("param.csv"))
    with pytest.raises(SpecError, match="is a folder"):
        read_table(path.parent)


@pytest.mark.parametrize(
    ("table", "number", "says"),
    [
        (Table(({"D": 1}, {"C": 1}), (2, 3), 1, "p.csv"), None, "p.csv:1: C: no"),
        (Table(({"D": 1}, {"C": 1}), (2, 3), 1, "p.csv"), 1, "p.csv:3: C: no"),
        (Table(({"D": 1}, {"C": 1}), (1, 5), None, "p.jsonl"), None, "p.jsonl:5: C: no"),
        (Table(({"D": 1}, {"C": 1}), file="p.json"), None, "p.json: [1].C: no"),
        (Table(({"D": 1}, {"C": 1})), None, "each[1].C: no"),
        (Table(({"D": 1}, {"C": 1})), 0, "each[0].C: no"),
    ],
)
def test_an_error_is_located(table, number, says):
    located = table.located(ParameterError("no", key="C"), number)
    assert str(located) == says
    assert type(located) is ParameterError


# --- results ---


def record(number, params, metrics, failure=None):
    status = Status.FAILED if failure else Status.FINISHED
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Record(f"id{number}", "x", "x", "trial", status, params, metrics, moment, 1.5, failure, number=number)


def test_results_stand_in_the_order_of_the_rows():
    failed = record(1, {"C": True}, {}, Failure("ValueError", "so, no"))
    rows = results([record(2, {"C": 3, "kernel": "rbf"}, {"acc": 0.5}), failed], ["kernel", "C"])
    last = {"status": "finished", "seconds": 1.5, "error": None, "run_id": "id2"}
    assert rows == [
        {"row": 1, "kernel": None, "C": True, "acc": None}
        | {"status": "failed", "seconds": 1.5, "error": "ValueError: so, no", "run_id": "id1"},
        {"row": 2, "kernel": "rbf", "C": 3, "acc": 0.5} | last,
    ]
    text = results_text(rows)
    assert text.splitlines()[:2] == [
        "row,kernel,C,acc,status,seconds,error,run_id",
        '1,,True,,failed,1.5,"ValueError: so, no",id1',
    ]
    assert [json.loads(line) for line in results_text(rows, ".jsonl").splitlines()] == rows


def test_columns_of_one_name_are_told_apart():
    [row] = results([record(0, {"C": 1, "row": 2, "error": 3}, {"C": 4, "status": 5.0})])
    assert list(row.items())[:5] == [
        ("row", 0), ("C", 1), ("params.row", 2), ("params.error", 3), ("metrics.C", 4)
    ]  # fmt: skip
    assert (row["metrics.status"], row["status"], row["error"]) == (5.0, "finished", None)


def test_a_results_file_can_be_read_by_csv():
    rows = results([record(0, {"text": 'a "b"\nc,d'}, {"loss": float("nan")})])
    [read] = csv.DictReader(io.StringIO(results_text(rows), newline=""))
    assert (read["text"], read["loss"]) == ('a "b"\nc,d', "nan")
    assert json.loads(results_text(rows, ".jsonl"))["loss"] == "NaN"
