import json

import pytest

from ml_experiment_nb.comparison.texts import cell_hunks, code_of, output_hunks, outputs_of, text_hunks


def notebook(*cells, outputs=()):
    made = [{"cell_type": "code", "source": source, "outputs": []} for source in cells]
    for cell, shown in zip(made, outputs, strict=False):
        cell["outputs"] = shown
    return json.dumps({"cells": made})


def test_what_is_the_same_has_no_hunk():
    assert text_hunks("a.py", "x = 1\n", "x = 1\n") == []
    assert cell_hunks("nb.ipynb", ["a", "b"], ["a", "b"]) == []


def test_a_changed_line_with_what_is_around_it():
    before = "\n".join(f"line {k}" for k in range(20))
    [hunk] = text_hunks("a.py", before, before.replace("line 9", "line nine"))
    assert hunk.name == "a.py"
    assert hunk.lines == (" line 7", " line 8", "-line 9", "+line nine", " line 10", " line 11")


def test_changes_that_are_far_apart_have_a_gap_between_them():
    before = [f"line {k}" for k in range(40)]
    after = ["first", *before[1:-1], "last"]
    [hunk] = text_hunks("a.py", "\n".join(before), "\n".join(after))
    assert hunk.lines.count(" …") == 1
    assert {"-line 0", "+first", "-line 39", "+last"} <= set(hunk.lines)


@pytest.mark.parametrize(("a", "b", "word", "mark"), [(None, "x", "added", "+x"), ("x", None, "removed", "-x")])
def test_a_file_that_is_only_in_one(a, b, word, mark):
    [hunk] = text_hunks("a.py", a, b)
    assert (hunk.name, hunk.lines) == (f"a.py ({word})", (mark,))


def test_the_ends_of_lines():
    [hunk] = text_hunks("a.py", "x = 1\n", "x = 1\r\n")
    assert "ends of their lines" in hunk.lines[0]


def test_cells_are_matched_with_their_other_version():
    before = ["import numpy as np", "C = 0.5", "model = SVC(C=C)\nmodel.fit(X, y)", "model.score(X, y)"]
    after = ["import numpy as np", "import torch", "C = 0.7", "model = SVC(C=C)\nmodel.fit(X_train, y)", "plot(model)"]
    hunks = {hunk.name: hunk.lines for hunk in cell_hunks("nb", before, after)}
    assert hunks == {
        "nb, cell 2 (added)": ("+import torch",),
        "nb, cell 3 (it was cell 2)": ("-C = 0.5", "+C = 0.7"),
        "nb, cell 4 (it was cell 3)": (" model = SVC(C=C)", "-model.fit(X, y)", "+model.fit(X_train, y)"),
        "nb, cell 4 (removed)": ("-model.score(X, y)",),
        "nb, cell 5 (added)": ("+plot(model)",),
    }


def test_every_line_of_both_versions_is_accounted_for():
    before, after = [f"a{k} = {k}" for k in range(0, 30, 2)], [f"a{k} = {k}" for k in range(0, 30, 3)]
    lines = [line for hunk in cell_hunks("nb", before, after) for line in hunk.lines]
    gone = {line[1:] for line in lines if line.startswith("-")}
    new = {line[1:] for line in lines if line.startswith("+")}
    assert gone == set(before) - set(after)
    assert new == set(after) - set(before)


def test_many_cells_that_were_all_replaced_take_no_time_to_match():
    before, after = [f"before {k} " * 50 for k in range(600)], [f"after {k} " * 50 for k in range(600)]
    assert len(cell_hunks("nb", before, after)) == 1200


def test_notebooks_are_compared_by_their_cells_and_not_as_json():
    [hunk] = text_hunks("nb.ipynb", notebook("a = 1", ["b = 2\n", "c = 3"]), notebook("a = 1", "b = 2\nc = 4"))
    assert (hunk.name, hunk.lines) == ("nb.ipynb, cell 2", (" b = 2", "-c = 3", "+c = 4"))


def test_a_notebook_that_only_one_run_has_is_told_by_its_cells():
    hunks = text_hunks("nb.ipynb", None, notebook("a = 1", "b = 2"))
    assert {one.name: one.lines for one in hunks} == {
        "nb.ipynb, cell 1 (added)": ("+a = 1",), "nb.ipynb, cell 2 (added)": ("+b = 2",),
    }  # fmt: skip
    assert [one.name for one in text_hunks("nb.ipynb", notebook("a"), None)] == ["nb.ipynb, cell 1 (removed)"]


def test_the_cells_that_papermill_adds_are_not_counted():
    def executed(shown):
        cells = json.loads(notebook("banner", "C = 1", "C = 2", "fit(C)", outputs=[[], [], [], [shown]]))["cells"]
        cells[0]["metadata"] = {"tags": ["papermill-error-cell-tag"]}
        cells[2]["metadata"] = {"tags": ["injected-parameters"]}
        return json.dumps({"cells": cells})

    [hunk] = output_hunks("nb.ipynb", executed(STREAM), executed(ERROR))
    assert hunk.name == "nb.ipynb, cell 2"


def test_a_notebook_that_can_not_be_read_is_compared_as_text():
    assert code_of("{") is None
    [hunk] = text_hunks("nb.ipynb", "{", notebook("a"))
    assert hunk.lines[0] == "-{"


STREAM = {"output_type": "stream", "name": "stdout", "text": ["epoch 1\n", "epoch 2\n"]}
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}


def picture(data):
    return {"output_type": "display_data", "data": {"text/plain": "<Figure>", "image/png": data}, "metadata": {}}


def test_what_cells_have_shown():
    assert outputs_of(notebook("a", "b", outputs=[[STREAM], [ERROR]])) == ["epoch 1\nepoch 2", "ValueError: no"]
    one, same, other = (outputs_of(notebook("a", outputs=[[picture(data)]])) for data in ("AAAA", "AAAA", "BBBB"))
    assert one == same != other


def test_outputs_are_compared_where_the_source_is():
    before = notebook("a", "b", outputs=[[STREAM], [picture("A")]])
    after = notebook("new", "a", "b", outputs=[[], [STREAM], [picture("B")]])
    [hunk] = output_hunks("nb.ipynb", before, after)
    assert hunk.name == "nb.ipynb, cell 3"
    assert [line[:1] for line in hunk.lines] == [" ", "-", "+"]
