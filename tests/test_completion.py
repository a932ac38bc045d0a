"""Completion of the magics' lines and cells, in a real shell, as a front end asks for it."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from ml_experiment_nb import magics

CELL = """%%group "SVM" {}
C = loguniform(0.01, 1000)
gamma = "scale"

model = fit(C, gamma)
{{"val_accuracy": model.score(), "loss": 1.0}}, {{"model": model}}
"""


@pytest.fixture(scope="module")
def shell():
    shell = InteractiveShell()
    magics.load_ipython_extension(shell)
    shell.user_ns["rows"] = [{"C": 1}]
    yield shell
    shell.history_manager.end_session()


def completed(shell, text):
    """Return the completions at ``|``, as the texts that the word there becomes."""
    cursor = text.index("|")
    text = text.replace("|", "")
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, cursor))
    return [text[: one.start].split("\n")[-1].split(" ")[-1] + one.text for one in found]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--sam|", ["--sampler"]),
        ("--sampler t|", ["tpe"]),
        ("--sampler nsga|", ["nsga-ii", "nsga-iii"]),
        ("--sampler=cm|", ["--sampler=cma-es"]),
        ("--pruner h|", ["hyperband"]),
        ("--executor |", ["auto", "inline", "ray"]),
        ("--each ro|", ["rows"]),
        ("--maximize |", ["val_accuracy", "loss"]),
        ("--minimize val|", ["val_accuracy"]),
        ("-p |", ["C=", "gamma="]),
        ("--autolog skl|", ["sklearn"]),
        ("--trials 3 --tri|", []),
        ("--tag a=b --ta|", ["--tag"]),
    ],
)
def test_the_line_of_a_group_is_completed(shell, typed, expected):
    assert completed(shell, CELL.format(typed)) == expected


def test_an_experiment_has_its_own_options(shell):
    assert completed(shell, "%%experiment --s|") == ["--seed", "--save"]
    assert completed(shell, "%compare --max|") == ["--maximize"]
    assert "--trials" in completed(shell, "%%group --|")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%%group\nC = log|", ["loguniform("]),
        ("%%group\nC = loguniform(1, 2)\ngamma: str = ch|", ["choice("]),
        ("%%group\nimport numpy as np\nn = ra|", ["randint(", "range("]),
    ],
)
def test_a_leading_assignment_of_a_group_is_completed_with_distributions(shell, text, expected):
    assert completed(shell, text) == expected


@pytest.mark.parametrize("text", ["%%group\nprint(1)\nC = logu|", "%%experiment\nC = logu|", "C = logu|"])
def test_elsewhere_no_distribution_is_offered(shell, text):
    assert "loguniform(" not in completed(shell, text)


@pytest.mark.parametrize("typed", ["--sampler 'x |", "--param |", "-|", "'SVM |", "--each nothing_like_it|"])
def test_odd_lines_are_no_trouble(shell, typed):
    completed(shell, CELL.format(typed))
    completed(shell, "%%group " + typed + "\nnot python (")
    completed(shell, "%%group " + typed + "\nC = loguniform(5, 1)\nC")


def test_distributions_and_options_are_explained(shell):
    said = shell.object_inspect_mime("loguniform")["text/plain"]
    assert said.startswith("loguniform(low: 'float', high: 'float')")
    assert "uniform in their logarithm" in said
    assert "Optuna" in shell.object_inspect_mime("storage")["text/plain"]
    with pytest.raises(KeyError):
        shell.object_inspect_mime("nothing_of_ours")


def test_a_variable_goes_before_an_option_of_its_name(shell):
    shell.user_ns["storage"] = 12345
    try:
        assert "12345" in shell.object_inspect_mime("storage")["text/plain"]
    finally:
        del shell.user_ns["storage"]


def test_loading_the_extension_again_changes_nothing(shell):
    before = len(shell.Completer.custom_matchers)
    magics.load_ipython_extension(shell)
    assert len(shell.Completer.custom_matchers) == before
    assert completed(shell, "%%group --sam|") == ["--sampler"]
