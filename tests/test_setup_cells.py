import pytest
from made_notebooks import node as notebook
from made_notebooks import tagged
from nbformat.v4 import new_markdown_cell

from ml_experiment_nb.setup_cells import setup_prefix


@pytest.mark.parametrize(
    ("nb", "prefix"),
    [
        (notebook("import a", new_markdown_cell("C"), "x = a.b()", tagged("C = 1"), "f(C)"), 3),
        (notebook("import a", "x = a.b(C)", "y = 1", tagged("C = 1")), 1),
        (notebook("def f(): return C", tagged("C = 1")), 0),
        (notebook("import a", "x = = 1", tagged("C = 1")), 1),
        (notebook(tagged("C = 1"), "x"), 0),
        (notebook("x = 1"), 0),
        (notebook("x", tagged("C <- 1"), metadata={"language_info": {"name": "R"}}), 0),
    ],
)
def test_setup_prefix(nb, prefix):
    assert setup_prefix(nb) == prefix


@pytest.mark.parametrize(
    "cell",
    [
        "from ml_experiment_nb import report\nreport(loss=1)", "import mlflow", "from mlflow.tracking import x",
        "import os\nos.environ['A'] = '1'", "import subprocess", "get_ipython().system('ls')", "!ls", "%cd data",
        "display(x, display_id='a')", "secret('TOKEN')", "from os import putenv as p",
        tagged("1 / 0", "raises-exception"),
    ],
)  # fmt: skip
def test_what_speaks_to_its_run_or_its_process_is_run_by_each_trial(cell):
    assert setup_prefix(notebook("import a", cell, "y = 1", tagged("C = 1"))) == 1


def test_lines_that_set_up_the_shell_are_had_again():
    assert setup_prefix(notebook("%matplotlib inline\nimport a", "y = 1", tagged("C = 1"))) == 2
