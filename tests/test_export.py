import json
import shlex

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from ml_experiment_nb import loop
from ml_experiment_nb.cell_requests import parse_cell
from ml_experiment_nb.cells import read_cell
from ml_experiment_nb.effects import Executed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.export import make_pair, middle, split_cell, write_pair
from ml_experiment_nb.identity import spec_hash
from ml_experiment_nb.magics import ExperimentMagics
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.spaces import contains, parse, parse_value
from ml_experiment_nb.spec_files import read_spec

CELL = """\
C = loguniform(0.1, 10)  # strength
shape = (3, 4)
'''What it is.'''
import math
n: int = 3

y = math.sqrt(C) * n + offset + shape[1]  # and so on
{"a": y}"""
HISTORY = [Executed(1, "unused = 1"), Executed(2, "offset = 5")]


@pytest.fixture
def pair():
    def make(line="--maximize a --seed 3", cell=CELL, file="svm.yaml", kind="group", rows=None, name="SVM"):
        options = getattr(ExperimentMagics, kind).parser.parse_args(shlex.split(f"{name} {line}"))
        asked = parse_cell(options, cell, kind=kind, rows=rows)
        return make_pair(asked.spec, asked.cell, HISTORY, {"offset": 5, "unused": 1}, file)

    return make


def sources(path):
    return [(cell.source, cell.metadata.get("tags", [])) for cell in nbformat.read(path, 4).cells]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("range(10)", 4), ("range(3, 4)", 3), ("randint(1, 3)", 2), ("uniform(0, 1)", 0.5),
        ("loguniform(0.01, 100)", 1.0),
        ("loguniform(1, 1.01)", 1.0), ("uniform(0, 1, step=0.3)", 0.3), ("uniform(0, 1, step=1e-6)", 0.0),
        ("choice(['b', 'a'])", "b"), ("choice([[1, 2], None])", [1, 2]),
    ],
)  # fmt: skip
def test_the_middle_of_a_distribution(text, value):
    assert middle(parse(text)) == value
    assert contains(parse(text), middle(parse(text)))
    assert middle(parse_value(["range(3)", text])) == [1, value]


@pytest.mark.parametrize(
    ("source", "parameters", "rest"),
    [
        ("C = 1\nC", "C = 1", "C"),
        ("# a\nC = 1 # b\n\n# c\nC", "C = 1 # b", "# a\n\n# c\nC"),
        ("import x; C = 1; y()", "C = 1", "import x; pass; y()"),
        ("A = 1; B = 2\nA + B", "A = 1\nB = 2", "A + B"),
        ("'''Text.'''\nC = [\n  1,  # one\n  2,\n]\npass\nD = 1\nC", "C = [1, 2]\nD = 1", "'''Text.'''\n\n\n\npass\nC"),
        ("from t import T\nC: T = 1\nD: int = 2\nC", "C = 1\nD: int = 2", "from t import T\nC"),
        ("%%time\nC = 1\n!echo {C}\n%time x = C", "C = 1", "%%time\n!echo {C}\n%time x = C"),
        ("C = 1\nC = 2\n_d = 3\nC", "C = 2", "_d = 3\nC"),
        ("C = 1\ne = 'ä'; D = 'ö'\nC", "C = 1\ne = 'ä'\nD = 'ö'", "C"),
        ("    C = 1\n    C", "C = 1", "C"),
        ("C + 1", "", "C + 1"),
    ],
)  # fmt: skip
def test_a_cell_is_split(source, parameters, rest):
    assert split_cell(read_cell(source), read_cell(source).params) == (parameters, rest)


def test_a_name_that_is_imported_and_a_parameter():
    with pytest.raises(SpecError, match="math is imported and is a parameter: rename one"):
        split_cell(read_cell("math = 1\nimport math\nmath"), {})


def test_a_group_s_pair(pair, project):
    made = pair()
    write_pair(made)
    assert sources("svm.ipynb") == [
        ("offset = 5", []),
        ("C = 1.0  # strength\nshape = (3, 4)\nn: int = 3", ["parameters"]),
        ("'''What it is.'''\nimport math\n\ny = math.sqrt(C) * n + offset + shape[1]  # and so on\n{\"a\": y}", []),
    ]
    spec = read_spec("svm.yaml")
    assert (spec.name, spec.kind, spec.params, spec.seed) == ("SVM", "group", {"n": 3}, 3)
    assert str(spec.param_space["C"]) == "loguniform(0.1, 10)"
    make_plan(spec)
    assert "svm.yaml and svm.ipynb (1 cell of this notebook above the parameters); nothing was run" in str(made)
    text = (project / "svm.ipynb").read_text()
    write_pair(pair())
    assert (project / "svm.ipynb").read_text() == text


@pytest.mark.parametrize(
    ("kind", "line", "cell", "rows"),
    [
        ("group", "", CELL, None),
        ("group", "-p shape=5 -p n='range(9)'", CELL, None),
        ("group", "-p C=2 -p n='[range(9), uniform(0, 1)]' --trials 3", CELL, None),
        ("experiment", "-p C=2.5 --tag a=b", CELL, None),
        ("experiment", "", "C = 1\nkind = None\nx = {'a': [1, 2.5, True]}\nbig = {1, 2}\n{'a': C}", None),
        ("group", "--each rows", CELL, [{"C": 1}, {"C": 2.0, "n": 4}]),
        ("group", "--each rows --slots 1", "n = 1\nm = 'x'\n{'a': n}", [{"n": 2}, {}]),
        ("group", "--sampler grid", "%%time\nC = choice([(1, 2), None])\nfiles = !echo one\n{'a': len(files)}", None),
    ],
)
@pytest.mark.parametrize("file", ["svm.yaml", "svm.json", "below/svm.yaml"])
def test_the_pair_asks_for_what_the_cell_asks(pair, project, kind, line, cell, rows, file):
    (project / "below").mkdir()
    made = pair(line, cell, file, kind, rows)
    asked = parse_cell(
        getattr(ExperimentMagics, kind).parser.parse_args(["SVM", *shlex.split(line)]), cell, kind=kind, rows=rows
    ).spec
    write_pair(made)
    saved = read_spec(file)
    assert spec_hash(saved) == spec_hash(asked)
    plan = make_plan(saved)
    assert plan.cwd == str(project)


def test_a_pair_that_was_changed_counts_as_a_whole(pair, project):
    write_pair(pair())
    hashes = [spec_hash(read_spec("svm.yaml"))]
    for index, cell in enumerate(json.loads((project / "svm.ipynb").read_text())["cells"]):
        book = nbformat.read("svm.ipynb", 4)
        book.cells[index].source = cell["source"].replace("5", "6").replace("n: int = 3", "n: int = 4") + "\nx = 7"
        nbformat.write(book, project / "other.ipynb")
        spec = read_spec("svm.yaml")
        target = spec.run[0].model_copy(update={"path": "other.ipynb"})
        hashes.append(spec_hash(spec.model_copy(update={"run": (target,), "params": {}})))
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("other", ["name: x\nrun: x.py\n", "", "\x00"])
def test_nothing_else_is_overwritten(pair, project, other):
    (project / "svm.yaml").write_text(other)
    with pytest.raises(SpecError, match=r"^svm.yaml: is something else than the saved 'SVM', and is left as it is"):
        write_pair(pair())
    assert [path.name for path in project.iterdir()] == ["svm.yaml"]
    assert (project / "svm.yaml").read_text() == other


def test_a_pair_is_replaced_only_as_it_was_written(pair, project):
    write_pair(pair())
    write_pair(pair("--minimize a"))
    assert read_spec("svm.yaml").metric.direction == "minimize"
    with pytest.raises(SpecError, match="is something else than the saved 'other'"):
        write_pair(pair(name="other"))
    text = (project / "svm.yaml").read_text()
    (project / "svm.yaml").write_text(text + "# mine\n")
    with pytest.raises(SpecError, match="was changed since it was saved, and is left as it is"):
        write_pair(pair())
    (project / "svm.yaml").write_text(text)
    book = nbformat.read("svm.ipynb", 4)
    book.cells[0].outputs = [nbformat.v4.new_output("stream", text="mine")]
    nbformat.write(book, project / "svm.ipynb")
    with pytest.raises(SpecError, match="was changed since"):
        write_pair(pair())
    (project / "svm.ipynb").unlink()
    with pytest.raises(SpecError, match="is something else"):
        write_pair(pair())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"file": "svm.txt"}, "--save svm.txt: a spec's file ends in .yaml, .yml, .json"),
        ({"file": "nowhere/svm.yaml"}, "nowhere/svm.yaml: --save: its folder does not exist"),
        ({"cell": "C = uniform(0, 1)\n{'a': _}"}, "the cell reads _, which a new notebook hasn't"),
        ({"line": "--each rows", "rows": [{"n": (1, 2)}, {"C": 1}], "cell": "n = 1\nC = 1\nn"}, r"each\[0\].n: a spec"),
        ({"line": "--save x.yaml --plan"}, "--save writes and --plan shows: give one of them"),
    ],
)
def test_a_broken_pair_is_not_written(pair, project, options, says):
    with pytest.raises(SpecError, match=says):
        write_pair(pair(**options))
    assert list(project.iterdir()) == []


GROUP = """\
%%group SVM --sampler grid --maximize a --slots 1{}
C = choice([0.5, 1.0, 2.0])
shape = (3, 4)

{{"a": f(C) + shape[1] + values["a"] + float(noise[0])}}"""


@pytest.mark.kernel
@pytest.mark.slow
def test_a_saved_cell_runs_as_the_cell_does(stored):
    from ml_experiment_nb.tracking import Store

    cells = [
        "%load_ext ml_experiment_nb", "import numpy as np", "np.random.seed(4)", "unneeded = np.zeros(3)",
        "noise = np.random.rand(2)", "def f(x):\n    return x * K", "K = 1", "K = 3", "values = {'a': 1}",
        "values['a'] = 2", "1 / 0", GROUP.format(" --save svm.yaml"), GROUP.format(""),
    ]  # fmt: skip
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(stored))
    try:
        NotebookClient(book, km=manager, kc=client, allow_errors=True).execute(reset_kc=False)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "nothing was run" in book.cells[11].outputs[0].text
    above = [source for source, _ in sources("svm.ipynb")][:-2]
    assert above == [cells[k] for k in (1, 2, 4, 5, 7, 8, 9)]

    *trials, parent = loop.run(make_plan(read_spec("svm.yaml")))
    [of_cell] = [one for one in Store(stored).records() if one.kind == "group" and one.run_id != parent.run_id]
    its_trials = Store(stored).records(parent_id=of_cell.run_id)[::-1]
    assert of_cell.tags["mlexp.spec_hash"] == parent.tags["mlexp.spec_hash"] == spec_hash(read_spec("svm.yaml"))
    assert [one.tags["mlexp.spec_hash"] for one in its_trials] == [one.tags["mlexp.spec_hash"] for one in trials]
    assert [one.params["C"] for one in its_trials] == [one.params["C"] for one in trials]
    assert [one.metrics for one in its_trials] == [one.metrics for one in trials]
    assert len({one.metrics["a"] for one in trials}) == 3
