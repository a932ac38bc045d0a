import json
import warnings

import nbformat
import pytest
from made_notebooks import node as notebook
from made_notebooks import tagged
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from papermill.utils import find_first_tagged_cell_index

from ml_experiment_nb.cells import DYNAMIC
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.notebooks import (
    check_notebook_params,
    code_cells,
    effective_params,
    kernel_name,
    language,
    left_out,
    notebook_params,
    parameters_cell,
    read_notebook,
    tags,
    title,
)


@pytest.fixture
def saved(tmp_path):
    def write(content):
        path = tmp_path / "train.ipynb"
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_read_notebook_gives_back_what_was_written(saved):
    nb = notebook(new_markdown_cell("# A"), "import a\na.b()", tagged("C = 1"))
    assert read_notebook(saved(nbformat.writes(nb))) == nb


def test_read_notebook_fills_in_what_is_missing_quietly(saved, caplog):
    cells = [
        {"cell_type": "code", "source": ["x = 1\n", "x"]},
        {"cell_type": "markdown", "source": "hi", "metadata": {}, "id": "cell-0"},
        {"cell_type": "markdown", "source": "hi", "metadata": {}, "id": "cell-0"},
    ]
    path = saved({"nbformat": 4, "nbformat_minor": 2, "cells": cells})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nb = read_notebook(path)
        nbformat.validate(nb)
    assert [cell.id for cell in nb.cells] == ["cell-0-1", "cell-0", "cell-2"]
    assert (nb.cells[0].source, nb.cells[0].outputs, nb.nbformat_minor) == ("x = 1\nx", [], 5)
    assert nb == read_notebook(path)
    assert not caplog.records


def test_read_notebook_upgrades_version_3(saved, caplog):
    old = nbformat.v3.new_notebook(worksheets=[nbformat.v3.new_worksheet(cells=[nbformat.v3.new_code_cell("C = 1")])])
    nb = read_notebook(saved(nbformat.v3.writes_json(old)))
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    assert [(cell.source, cell.id) for cell in nb.cells] == [("C = 1", "cell-0")]
    nbformat.validate(nb)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{\n'nbformat': 4}", ":2: isn't a notebook: not JSON"),
        ("", "it is empty"),
        (b'{"a": "\xff"}', "not UTF-8 (at byte 7)"),
        ([1], "without `nbformat` and `cells`"),
        ({"cells": []}, "without `nbformat` and `cells`"),
        ({"nbformat": 4}, "without `nbformat` and `cells`"),
        ({"nbformat": 99, "nbformat_minor": 0, "cells": []}, "is of nbformat 99, which isn't known here"),
        ({"nbformat": 4, "nbformat_minor": 5, "worksheets": []}, "can be read: KeyError('cells')"),
        ({"nbformat": 4, "nbformat_minor": 5, "cells": 3}, "can be read"),
        ({"nbformat": 4, "nbformat_minor": 5, "cells": ["x"]}, "can be read"),
        ({"nbformat": 4, "nbformat_minor": 5, "cells": [{"cell_type": "code"}]}, "cell 1: it has no source"),
        (
            {"nbformat": 4, "nbformat_minor": 5, "cells": [{"cell_type": "x", "source": ""}]},
            "cell 1: it has no",
        ),
    ],
)
def test_what_is_no_notebook(saved, content, problem):
    path = saved(content)
    with pytest.raises(SpecError) as caught:
        read_notebook(path)
    assert problem in str(caught.value)
    assert caught.value.file == str(path)


def test_a_notebook_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"none\.ipynb: there is no such notebook"):
        read_notebook(tmp_path / "none.ipynb")
    with pytest.raises(SpecError, match="can't be read: Is a directory"):
        read_notebook(tmp_path)


@pytest.mark.parametrize(
    ("nb", "index"),
    [
        (notebook("x = 1"), None),
        (notebook(), None),
        (notebook("x", tagged("C = 1")), 1),
        (notebook(tagged("C = 1"), tagged("D = 1")), 0),
        (notebook(tagged("x", "other"), tagged("C = 1", "a", "parameters")), 1),
        (notebook(tagged("C = 2", "injected-parameters")), None),
    ],
)
def test_parameters_cell_agrees_with_papermill(nb, index):
    assert parameters_cell(nb) == index
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])  # as papermill does when it loads a notebook
    theirs = find_first_tagged_cell_index(nb, "parameters")
    assert theirs == (-1 if index is None else index)


def test_notebook_params():
    source = "import os\nC = 0.5\nname: str = 'a'\nroot = os.getcwd()\nb = 1\na, c = 1, 2\nif C:\n  d = 1\n%time e"
    assert notebook_params(notebook("x = 1", tagged(source))) == {
        "C": 0.5,
        "name": "a",
        "root": DYNAMIC,
        "b": 1,
    }


def test_notebook_params_when_there_is_nothing_to_say():
    assert notebook_params(notebook("x = 1")) is None
    assert notebook_params(notebook(tagged("C <- 1"), metadata={"language_info": {"name": "R"}})) is None
    assert notebook_params(notebook(tagged("# none"))) == {}


def test_notebook_params_of_a_wrong_cell():
    with pytest.raises(SpecError, match="cell 2: invalid syntax: C = = 1") as caught:
        notebook_params(notebook("x", tagged("\nC = = 1")))
    assert caught.value.line == 2
    markdown = new_markdown_cell("C = 1", metadata={"tags": ["parameters"]})
    with pytest.raises(SpecError, match="cell 1: it is tagged `parameters`, but is markdown, not code"):
        notebook_params(notebook(markdown))


def test_check_notebook_params_takes_what_fits():
    check_notebook_params(notebook("x = 1"), [], where="a.ipynb")
    check_notebook_params(notebook(tagged("C = 1\nD = f()")), ["D", "C"], where="a.ipynb")
    r = notebook(tagged("C <- 1"), metadata={"language_info": {"name": "R"}})
    check_notebook_params(r, ["anything"], where="a.ipynb")


def test_check_notebook_params_says_how_to_tag_a_cell():
    with pytest.raises(SpecError, match="C, D can't be set") as caught:
        check_notebook_params(notebook("x = 1"), {"C": 1, "D": 2}, where="a.ipynb")
    assert "property inspector" in caught.value.problem
    assert "Cell Tags" in caught.value.problem
    assert caught.value.file == "a.ipynb"


def test_check_notebook_params_names_the_nearest_and_the_cell():
    with pytest.raises(ParameterError) as caught:
        check_notebook_params(notebook("x", tagged("C = 1\nkernel = 2")), ["kernal"], where="a.ipynb")
    assert str(caught.value) == (
        "a.ipynb: kernal: the parameters cell (cell 2) has no such parameter; did you mean 'kernel'?"
    )


def test_cells_tags_kernel_and_language():
    nb = notebook(new_markdown_cell("a"), "x", new_raw_cell("r"), tagged("y"))
    assert [(index, cell.source, tags(cell)) for index, cell in code_cells(nb)] == [
        (1, "x", []),
        (3, "y", ["parameters"]),
    ]
    assert (kernel_name(nb), language(nb)) == ("py311", "python")
    assert (kernel_name(notebook(metadata={})), language(notebook(metadata={}))) == (None, "python")
    assert language(notebook(metadata={"language_info": {"name": "R"}})) == "r"


def test_what_papermill_injected_is_no_default(saved):
    path = saved(nbformat.writes(notebook("x", tagged("C = 1"))))
    nb = parameterize_notebook(load_notebook_node(str(path)), {"C": 2})
    assert [tags(cell) for cell in nb.cells] == [[], ["parameters"], ["injected-parameters"]]
    assert notebook_params(nb) == {"C": 1}


PARTS = [
    (None, None, ""),
    (3, None, "b"),
    (None, 3, "d e"),
    (3, 3, "b d e"),
    ("late", None, "b c"),
    (None, "late", ""),
    ("d", "d", "b c e"),
    ("parameters", 2, "c d e"),
]


@pytest.mark.parametrize(("first", "last", "out"), PARTS)
def test_what_is_left_out(first, last, out):
    nb = notebook(tagged("C = 1"), new_markdown_cell("b"), "c", tagged("d", "late"), tagged("e", "late"))
    for cell, name in zip(nb.cells, "abcde", strict=True):
        cell.id = name
    assert left_out(nb, first, last) == frozenset(out.split())


def test_nothing_is_left_out_of_a_notebook_without_cells():
    assert left_out(notebook(), None, None) == frozenset()


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [
        ("lat", None, "x: from_cell: there is no cell 'lat'; did you mean 'late'?; it has cells 1 to 2; tags: late"),
        (None, 3, "x: until_cell: there is no cell 3; it has cells 1 to 2"),
        (2, 1, "x: until_cell: cell 1 stands above cell 2: no cell is left to run"),
    ],
)
def test_a_part_that_there_is_not(first, last, problem):
    nb = notebook("a", tagged("b", "late"))
    with pytest.raises(SpecError) as caught:
        left_out(nb, first, last, where="x")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("# %% set up\n\nimport os\nos", "import os"),
        ("# only a comment", "# only a comment"),
        ("", ""),
        ("# papermill_description=Training\nfit()", "Training"),
        ("x" * 200, "x" * 80),
    ],
)
def test_what_a_cell_is_called(source, name):
    assert title(new_code_cell(source)) == name


def test_the_values_that_a_notebook_is_run_with(notebook_of):
    nb = notebook_of(parameters="C = 1\nkernel: str = 'rbf'\nrate = 2 * C\nC = 2", injected="C = 5\nextra = [1]")
    assert effective_params(nb, {"C": 0.5}) == {"C": 0.5, "kernel": "rbf"}
    assert effective_params(nb, {}) == {"C": 5, "kernel": "rbf", "extra": [1]}
    assert effective_params(notebook_of(), {"C": 0.5}) == {"C": 0.5}
    nb.metadata["language_info"] = {"name": "R"}
    assert effective_params(nb, {}) == {}


@pytest.fixture
def notebook_of():
    def make(**cells):
        nb = nbformat.v4.new_notebook()
        for name, source in cells.items():
            cell = nbformat.v4.new_code_cell(source)
            cell.metadata["tags"] = [{"injected": "injected-parameters"}.get(name, name)]
            nb.cells.append(cell)
        return nb

    return make
