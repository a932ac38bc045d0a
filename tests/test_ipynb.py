import json

import pytest

from ml_experiment_nb.ipynb import code_cells, joined, language

CODE = {"cell_type": "code", "id": "a", "source": ["x = 1\n", "y"]}


def test_the_code_cells_are_found_among_the_others():
    text = json.dumps({"cells": [{"cell_type": "markdown", "source": "# x"}, CODE], "nbformat": 4})
    assert code_cells(text) == [CODE]
    assert joined(CODE["source"]) == joined("x = 1\ny") == "x = 1\ny"


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", '{"cells": 3}', '{"cells": [1]}', '{"worksheets": []}'])
def test_what_is_no_notebook_is_said(text):
    with pytest.raises(ValueError):
        code_cells(text)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"language_info": {"name": "R"}, "kernelspec": {"language": "python"}}, "r"),
        ({"kernelspec": {"language": "Julia"}}, "julia"),
        ({"language_info": None, "kernelspec": None}, "python"),
        ({}, "python"),
    ],
)
def test_the_language_is_the_kernel_s_own_word(metadata, name):
    assert language(metadata) == name
