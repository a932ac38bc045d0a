import click
import pytest

from ml_experiment_nb.command_requests.papermill import Papermill
from ml_experiment_nb.command_requests.search import search_options, with_search
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.spaces import parse
from ml_experiment_nb.specs import spec_from_mapping

GROUP = {"kind": "group", "run": "a.py", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 2, "metric": "acc"}
TABLE = {"kind": "group", "run": "a.py", "each": [{"C": 1}, {"C": 2}]}
PLAIN = {"run": "a.py", "params": {"C": 1, "kernel": "rbf"}}


def searched(spec, *words, raw=(), **params):
    """Return a spec as the options and parameters make it."""
    command = click.command(cls=Papermill)(search_options(lambda **_: None))
    with command.make_context("run", list(words)) as context:
        return with_search(spec_from_mapping(spec), {**context.params, "parameters_raw": raw}, params)


def test_a_distribution_makes_a_group_of_an_experiment():
    found = searched(PLAIN, "--trials", "3", "--maximize", "acc", C="uniform(0, 1)", kernel="linear")
    assert (found.kind, found.num_trials, found.params) == ("group", 3, {"kernel": "rbf"})
    assert found.param_space == {"C": parse("uniform(0, 1)")}
    assert [(one.name, one.direction) for one in found.metrics] == [("acc", "maximize")]


def test_a_raw_text_is_no_distribution():
    spec = searched(PLAIN, raw=[("C", "uniform(0, 1)")], C="uniform(0, 1)")
    assert spec == spec_from_mapping(PLAIN)


def test_a_seed_alone_leaves_it_what_it_is():
    assert (searched(PLAIN, "--seed", "3").kind, searched(PLAIN, "--seed", "3").seed) == ("experiment", 3)
    assert searched(GROUP) == spec_from_mapping(GROUP)


def test_options_take_the_place_of_a_group_s_keys_and_the_rest_stays():
    found = searched(GROUP, "--trials", "7", "--max-failures", "2", "--minimize", "loss")
    assert (found.num_trials, found.max_failures, found.metrics[0].name) == (7, 2, "loss")
    assert found.param_space == spec_from_mapping(GROUP).param_space


def test_code_that_draws_by_itself_makes_a_group_without_a_space():
    found = searched(PLAIN, "--define-by-run", "--trials", "3", "--minimize", "loss")
    assert (found.kind, found.param_space, found.params) == ("group", {}, PLAIN["params"])


@pytest.mark.parametrize(
    ("spec", "words", "params", "problem"),
    [
        (TABLE, ["--sampler", "tpe"], {}, "--sampler is for a search, and a table has its points already"),
        (TABLE, ["--enqueue", "C=1"], {}, "--enqueue is for a search"),
        (PLAIN | {"kind": "job"}, ["--trials", "3"], {}, "--trials is for a group, and this is kind: job"),
        (PLAIN | {"kind": "job"}, [], {"C": "range(3)"}, r"range\(3\): a search is for a group, and this is kind: job"),
        (PLAIN, ["--trials", "3"], {}, "--trials is for a group, and this is kind: experiment; say what to search"),
        (PLAIN, ["--sampler", "tep"], {"C": "range(3)"}, "did you mean 'TPE'"),
    ],
)
def test_options_that_have_no_place_are_refused(spec, words, params, problem):
    with pytest.raises(SpecError, match=problem):
        searched(spec, *words, **params)
