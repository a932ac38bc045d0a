import pytest
from IPython.core.interactiveshell import InteractiveShell

from ml_experiment_nb.comparison.differences import Diff
from ml_experiment_nb.comparison.view import Comparison
from ml_experiment_nb.errors import MetricError, RunNotFoundError, SpecError


@pytest.fixture
def shell(stored):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(history_length=0)
    shell.run_line_magic("load_ext", "ml_experiment_nb")
    for C, name in ((1, "first"), (2, "second")):
        shell.run_cell(f"%%experiment svm --into {name}\nC = {C}\n{{'score': C * 10}}").raise_error()
    yield shell
    InteractiveShell.clear_instance()


def test_diff_takes_variables_and_ids(shell):
    found = shell.run_line_magic("diff", "first second")
    assert isinstance(found, Diff)
    assert [change.name for change in found["parameters"].changes] == ["C"]
    assert "-C = 1" in found["source"].hunks[0].lines
    second = shell.user_ns["second"]
    by_id = shell.run_line_magic("diff", f"first {second.run_id[:8]}")
    assert by_id.to_json() == found.to_json()
    assert shell.user_ns["first"].run_id == found.a.run_id


def test_compare_takes_variables_goals_and_nothing(shell):
    found = shell.run_line_magic("compare", "first second --maximize score")
    assert isinstance(found, Comparison)
    assert [one.params["C"] for one in found.ranked()] == [2, 1]
    assert len(shell.run_line_magic("compare", "")) == 2
    assert len(shell.run_line_magic("compare", "-e svm")) == 2
    assert len(shell.run_line_magic("compare", "--limit 1")) == 1


@pytest.mark.parametrize(
    ("magic", "line", "error", "text"),
    [
        ("diff", "first", SpecError, "the following arguments are required: b"),
        ("diff", "first zzz", RunNotFoundError, "no run 'zzz'"),
        ("diff", "first 'second", SpecError, "can't be read"),
        ("compare", "first --maximize scor", MetricError, "did you mean 'score'"),
        ("replay", "zzz", RunNotFoundError, "no run 'zzz'"),
        ("replay", "first --tolerance scor=1", SpecError, "did you mean 'score'"),
        ("replay", "first --env there", SpecError, "invalid choice"),
    ],
)
def test_mistakes_are_one_line(shell, magic, line, error, text):
    with pytest.raises(error, match=text) as found:
        shell.run_line_magic(magic, line)
    assert len(found.value._render_traceback_()) == 1
