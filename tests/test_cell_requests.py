import shlex

import pytest

from ml_experiment_nb.cell_requests import captured, parse_cell
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.magics import ExperimentMagics


@pytest.fixture
def asked():
    """Parse a magic's line and cell, without IPython."""

    def parse(line, cell, kind="experiment"):
        parser = getattr(ExperimentMagics, kind).parser
        return parse_cell(parser.parse_args(shlex.split(line)), cell, kind=kind)

    return parse


def test_a_group_s_trials_may_run_in_containers(asked):
    found = asked("--image team/svm:1 --minimize a", "C = uniform(0, 1)\n{'a': C}", kind="group")
    assert found.spec.docker_config.image == "team/svm:1"


def test_an_experiment(asked):
    cell = "C = 0.5\nkernel = 'rbf'\n{'a': C}"
    found = asked('"SVM with RBF" -p C=2 --into result --tag team=vision --tag version=1.10', cell)
    assert found.spec.name == "SVM with RBF"
    assert found.spec.kind == "experiment"
    assert found.spec.params == {"C": 2, "kernel": "rbf"}
    assert found.spec.tags == {"team": "vision", "version": "1.10"}
    assert found.spec.run[0].source == cell
    assert found.spec.run[0].parameters == ("C", "kernel")
    assert (found.into, found.plan) == ("result", False)


def test_a_group(asked):
    cell = "C = loguniform(0.01, 100)\nn = 3\nkernel = choice(['rbf', 'linear'])\n{'a': C}"
    line = (
        "SVM --trials 12 --sampler cma-es --pruner median --maximize a --cpus 4 --seed 7 --timeout-per-trial 60 "
        "--storage sqlite:///x.db --retries 1 --executor inline --plan -p kernel=linear -p n='randint(1, 5)'"
    )
    spec = asked(line, cell, "group").spec
    assert (spec.name, spec.kind, spec.num_trials, spec.sampler.name, spec.pruner.name) == (
        "SVM", "group", 12, "CmaEs", "Median"
    )  # fmt: skip
    assert (spec.metric.name, spec.metric.direction) == ("a", "maximize")
    assert (spec.slots, spec.seed, spec.timeout_per_trial, spec.executor) == (4, 7, 60.0, "inline")
    assert (spec.storage, spec.retries) == ("sqlite:///x.db", 1)
    assert spec.params == {"kernel": "linear"}
    assert {n: str(v) for n, v in spec.param_space.items()} == {"C": "loguniform(0.01, 100)", "n": "randint(1, 5)"}


def test_a_distribution_that_is_misspelt_is_named(asked):
    with pytest.raises(SpecError, match=r"unifrm is no distribution; did you mean 'uniform'\?") as refused:
        asked("", "a = uniform(0, 1)\nC = unifrm(0, 1)\n{'a': C}", "group")
    assert (refused.value.line, refused.value.key) == (2, "C")
    with pytest.raises(SpecError, match="unifrm is no distribution"):
        asked("", "C = unifrm(0, 1)\n{'a': C}", "group")
    own = "a = uniform(0, 1)\ndef unifrm(x):\n    return x\nC = unifrm(a)\nlen_ = len('x')\n{'a': C}"
    assert list(asked("", own, "group").spec.param_space) == ["a"]


def test_what_else_a_group_may_be_asked(asked):
    line = (
        "SVM --sampler 'tpe(n_startup_trials=2, multivariate=True)' --maximize a --maximize b --minimize c "
        "--enqueue 'C=1 kernel=rbf' --enqueue C=2 --timeout 60 --max-failures 3 --stop-when 'a > 0.9 and c < 3'"
    )
    spec = asked(line, "C = loguniform(0.01, 100)\nkernel = choice(['rbf', 'linear'])\n{'a': C}", "group").spec
    assert spec.sampler.options == {"n_startup_trials": 2, "multivariate": True}
    assert [(one.name, one.direction) for one in spec.metric] == [
        ("a", "maximize"), ("b", "maximize"), ("c", "minimize")
    ]  # fmt: skip
    assert spec.enqueue == ({"C": 1, "kernel": "rbf"}, {"C": 2})
    assert (spec.timeout, spec.max_failures, spec.stop_when) == (60.0, 3, "a > 0.9 and c < 3")
    assert asked("--define-by-run", "C = 1\nf()", "group").spec.param_space == {}


def test_the_notebooks_name_is_the_experiments(asked, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert asked("", "C = 1").spec.name == "cell"
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/my svm.ipynb")
    assert asked("", "C = 1").spec.name == "my svm"


@pytest.mark.parametrize(
    ("kind", "line", "cell", "says"),
    [
        ("experiment", "-p D=1", "C = 1", "D: the cell has no such parameter; it takes C"),
        ("experiment", "-p kernal=1", "kernel = 1", "did you mean 'kernel'"),
        ("experiment", "-p C", "C = 1", "'C' is not NAME=VALUE"),
        ("experiment", "--into a-b", "C = 1", "--into a-b: not a variable's name"),
        ("experiment", "--tag x", "C = 1", "--tag x: write it as NAME=VALUE"),
        ("experiment", "", "C = uniform(0, 1)", "C is a distribution: search it with %%group, or fix it with -p C="),
        ("experiment", "", "C = (", "."),
        ("group", "", "C = 1", "the cell has no distribution to search"),
        ("group", "--maximize a --minimize a", "C = uniform(0, 1)", "metric: 'a' stands there twice: keep one"),
        ("group", "--trials 3", "C = 1", "has no distribution to search.*--define-by-run"),
        ("group", "--trials 0", "C = uniform(0, 1)", "num_trials: "),
        ("group", "--sampler tpee", "C = uniform(0, 1)", "sampler: no sampler is called 'tpee'"),
        ("group", "--pruner x", "C = uniform(0, 1)", "pruner: no pruner is called 'x'"),
        ("group", "-p C=1", "C = uniform(0, 1)", "C: with that fixed there is nothing left to search"),
        ("group", "", "C = loguniform(0, 1)", "C"),
    ],
)
def test_what_makes_no_sense(asked, kind, line, cell, says):
    with pytest.raises(SpecError, match=says):
        asked(line, cell, kind)


def test_a_distribution_that_is_fixed_makes_an_experiment(asked):
    assert asked("-p C=0.5", "C = uniform(0, 1)").spec.params == {"C": 0.5}


def test_captured_is_what_the_cell_reads():
    from ml_experiment_nb.cells import read_cell

    cell = read_cell("C = uniform(0, 1)\nprint(open, X, y.shape, In, __name__, missing)\nlocal = 1\nlocal")
    namespace = {"X": 1, "y": 2, "Z": 3, "open": 4, "In": 5, "__name__": "6", "C": 7, "local": 8, "print": 9}
    assert captured(cell, namespace) == {"X": 1, "y": 2, "print": 9}
