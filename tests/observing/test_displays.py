"""What tracked code shows, wherever it runs, is kept with its run, and is shown as before."""

import textwrap

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import loop
from ml_experiment_nb.cells import read_cell
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.tracking import Store

pytest.importorskip("matplotlib")
LOAD = "%load_ext ml_experiment_nb\nimport matplotlib.pyplot as plt\nfrom IPython.display import HTML, display"


@pytest.fixture
def figures(stored):
    """Return the names of a run's figures."""

    def named(record):
        found = Store(stored).artifacts(record)
        return [path.removeprefix("figures/") for path in found if path.startswith("figures/")]

    return named


def run(**spec):
    return [*loop.run(make_plan(spec_from_mapping({"name": "shown", "executor": "inline", **spec})))]


def execute(*sources):
    """Execute cells in a kernel; return the notebook."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
    notebook = new_notebook(cells=[new_code_cell(textwrap.dedent(source)) for source in sources], metadata=metadata)
    NotebookClient(notebook, allow_errors=True).execute()
    return notebook


def kinds(cell):
    """Return the richest form of each thing that a cell shows, apart from the record that a run shows in the end."""
    shown = [one.data for one in cell.outputs if one.output_type == "display_data"]
    return [sorted(data)[0] for data in shown if "mlexp" not in data.get("text/html", "")]


@pytest.mark.kernel
def test_a_cell_of_a_notebook_shows_as_before_and_its_run_keeps_it(stored, figures):
    notebook = execute(
        LOAD,
        """\
        %%experiment first
        C = 1
        plt.plot([1, 2]); plt.show()
        handle = display(HTML("one"), display_id=True)
        handle.update(HTML("two"))
        plt.plot([2, 1])
        HTML("last")
        """,
        """\
        %%experiment second
        C = 1
        print("before")
        plt.plot([1, 2])
        1 / 0
        """,
        "plt.plot([3, 4])\nplt.show()",
        """\
        %%experiment third
        C = 1
        {"a": C}
        """,
    )
    assert [list(one.data) for one in notebook.cells[1].outputs][:4] == [
        ["text/plain", "image/png"],
        ["text/plain", "text/html"],
        ["text/plain", "text/html"],
        ["text/plain", "image/png"],
    ]
    printed, figure, card, error = notebook.cells[2].outputs
    assert (printed.output_type, [*figure.data], error.output_type) == ("stream", ["text/plain", "image/png"], "error")
    assert "second" in card.data["text/plain"]
    assert [list(one.data) for one in notebook.cells[3].outputs] == [["text/plain", "image/png"]]
    third, second, first = Store(stored).records()
    assert figures(first) == ["1.png", "1.svg", "2.html", "3.html", "4.png", "4.svg"]
    assert "two" in Store(stored).text(first, "figures/2.html")
    assert figures(second) == ["1.png", "1.svg"]
    assert figures(third) == []
    log = Store(stored).log_text(second)
    assert log.startswith("before\nTraceback")
    assert "ZeroDivisionError: division by zero" in log


@pytest.mark.slow
def test_a_group_s_cell_needs_no_window(stored, figures, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":77")  # where no server listens
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as a kernel has it
    source = textwrap.dedent("""\
        C = choice([1])
        import matplotlib.pyplot as plt
        import pandas
        from IPython.display import display
        plt.plot([1, C])
        plt.show()
        assert not plt.get_fignums()
        display(pandas.DataFrame({"a": [C]}))
        %matplotlib inline
        plt.plot([2, C])
        plt.gcf()
        plt.title("left open")
        """)
    cell = Cell(source=source, parameters=("C",))
    trial, parent = run(kind="group", run=[cell], param_space=read_cell(source).space, num_trials=1, slots=1)
    assert trial.ok, trial.failure
    assert trial.notes == ()
    assert figures(trial) == ["1.png", "1.svg", "2.csv", "3.png", "3.svg"]
    assert "left open" in Store(stored).text(trial, "figures/3.svg")
    assert figures(parent) == []


@pytest.mark.slow
def test_a_script_s_figures_are_kept_whether_shown_or_left_open(stored, script, figures, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":77")
    target = script("""
        import matplotlib.pyplot as plt
        plt.plot([1, 2])
        plt.show()
        plt.show()
        plt.title("another look")
        plt.show()
        plt.figure()
        plt.plot([3, 1])
        print(plt.get_backend(), plt.get_fignums())
        raise SystemExit(0)
    """)
    (record,) = run(kind="experiment", run=[target])
    assert record.ok
    assert figures(record) == ["1.png", "1.svg", "2.png", "2.svg", "3.png", "3.svg"]
    assert Store(stored).log_text(record) == "agg [1, 2]\n"


@pytest.mark.slow
def test_a_script_s_own_choices_are_left_alone(stored, script, figures):
    target = script("""
        import matplotlib
        matplotlib.use("svg")
        import matplotlib.pyplot as plt
        plt.plot([1, 2])
        plt.savefig("mine.svg")
        plt.close()
        print(plt.get_backend())
    """)
    (record,) = run(kind="experiment", run=[target])
    assert record.ok
    assert figures(record) == []
    assert Store(stored).log_text(record) == "svg\n"


@pytest.mark.slow
def test_a_script_s_plotly_figures_open_no_browser(stored, script, figures):
    pytest.importorskip("plotly")
    target = script("""
        import plotly.graph_objects as go
        go.Figure(go.Scatter(y=[1, 2])).show()
    """)
    (record,) = run(kind="experiment", run=[target])
    assert record.ok
    assert figures(record) == ["1.html", "1.json"]


@pytest.mark.slow
def test_a_figure_that_can_t_be_drawn_is_a_note_and_no_failure(stored, script, figures):
    target = script("""
        import matplotlib.pyplot as plt
        plt.title("$\\\\frac{$")
        plt.show()
        print("went on")
    """)
    (record,) = run(kind="experiment", run=[target])
    assert record.ok
    assert Store(stored).log_text(record).endswith("went on\n")
    assert "something that was shown is not in figures/" in record.notes[0]
    assert figures(record) == []


@pytest.mark.kernel
def test_a_headless_notebook_keeps_its_figures_and_a_page(stored, figures):
    cells = [
        new_code_cell("import matplotlib.pyplot as plt\nimport pandas"),
        new_code_cell("C = 1", metadata={"tags": ["parameters"]}),
        new_code_cell("plt.plot([1, C])"),
        new_code_cell("pandas.DataFrame({'a': [C]})"),
        new_code_cell("print('so far')\n1 / 0"),
    ]
    nbformat.write(new_notebook(cells=cells), stored / "work.ipynb")
    (record,) = run(kind="experiment", run="work.ipynb")
    assert record.failure.type == "ZeroDivisionError"
    assert figures(record) == ["1.png", "1.svg", "2.csv"]
    page = Store(stored).text(record, "work.html")
    assert "ZeroDivisionError" in page
    assert page.count("data:image/png;base64") == 1
    log = Store(stored).log_text(record)
    assert log.startswith("so far\n")
    assert "ZeroDivisionError: division by zero" in log
