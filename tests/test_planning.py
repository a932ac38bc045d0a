"""A spec becomes a plan: parameters, slots and outputs."""

import os
import re
from pathlib import Path

import pytest
from planned_scripts import folder, group, rows, spec

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.planning import make_plan, with_params
from ml_experiment_nb.specs import spec_from_mapping

__all__ = ["folder", "rows", "spec"]  # fixtures


def test_making_a_plan_writes_nothing(spec, folder):
    before = sorted(folder.rglob("*"))
    make_plan(group(spec, executor="ray"))
    make_plan(spec(run="book.ipynb", params={"C": 2}))
    assert sorted(folder.rglob("*")) == before


def test_with_params(spec):
    asked = spec(params={"C": 1, "kernel": "rbf"})
    assert with_params(asked, {}) is asked
    assert with_params(asked, {"C": 2}).params == {"C": 2, "kernel": "rbf"}
    assert asked.params["C"] == 1


def test_with_params_of_a_group(spec):
    asked = group(spec, params={"kernel": "rbf"}, param_space={"C": "uniform(0, 1)", "gamma": "uniform(0, 1)"})
    found = with_params(asked, {"C": 0.5, "kernel": "choice(['rbf', 'linear'])", "gamma": "loguniform(0.1, 1)"})
    assert found.params == {"C": 0.5}
    assert {name: str(value) for name, value in found.param_space.items()} == {
        "gamma": "loguniform(0.1, 1)",
        "kernel": "choice(['rbf', 'linear'])",
    }
    with pytest.raises(SpecError, match="nothing left to search"):
        with_params(asked, {"C": 1, "gamma": 1})


def test_a_table_is_not_searched(spec):
    asked = spec(each=[{"C": 1}])
    with pytest.raises(SpecError, match=r"gamma: uniform\(0, 1\) is a distribution, and a table's rows are not"):
        with_params(asked, {"gamma": "uniform(0, 1)"})
    assert with_params(asked, {"gamma": 2}).params == {"gamma": 2}


CPUS = os.cpu_count()


@pytest.mark.parametrize(
    ("keys", "address", "slots", "executor"),
    [
        ({}, None, min(CPUS, 10), "ray" if CPUS > 1 else "inline"),
        ({"slots": 1}, None, 1, "inline"),
        ({"slots": 3}, None, 3, "ray"),
        ({"slots": 3, "executor": "inline"}, None, 3, "inline"),
        ({"slots": 1, "executor": "ray"}, None, 1, "ray"),
        ({"ray_config": {"num_cpus": 4}}, None, 4, "ray"),
        ({"ray_config": {"num_cpus": 1}}, None, 1, "ray"),
        ({"ray_config": {"num_cpus": 4}, "resources_per_worker": {"cpu": 2.0}}, None, 2, "ray"),
        ({"ray_config": {"num_cpus": 4}, "resources_per_worker": {"cpu": 0.5}}, None, 8, "ray"),
        ({"ray_config": {"num_cpus": 4}, "resources_per_worker": {"cpu": 8.0}}, None, 1, "ray"),
        ({"ray_config": {"num_cpus": 4}, "num_trials": 3}, None, 3, "ray"),
        ({"ray_config": {"num_cpus": 4}, "slots": 2}, None, 2, "ray"),
        ({"num_trials": 1}, None, 1, "inline"),
        ({"ray_config": {"address": "host:6379"}}, None, None, "ray"),
        ({"ray_config": {"address": "host:6379"}, "slots": 5}, None, 5, "ray"),
        ({"executor": "ray"}, "host:6379", None, "ray"),
        ({"slots": 1}, "host:6379", 1, "ray"),
        ({"slots": 1, "executor": "inline"}, "host:6379", 1, "inline"),
    ],
)
def test_slots_and_executor(spec, monkeypatch, keys, address, slots, executor):
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    plan = make_plan(group(spec, **keys))
    assert (plan.slots, plan.executor) == (slots, executor)


def test_a_worker_may_need_no_cpu(spec):
    plan = make_plan(group(spec, ray_config={"num_cpus": 2}, resources_per_worker={"cpu": 0, "gpu": 1}))
    assert plan.slots >= 1


def test_an_experiment_has_one_inline_slot(spec):
    plan = make_plan(spec(params={"C": 1}, slots=4, ray_config={"num_cpus": 4}))
    assert (plan.slots, plan.executor, plan.nested, plan.tracked) == (1, "inline", False, True)
    job = make_plan(spec(kind="job", params={"C": 1}))
    assert (job.tracked, job.nested, job.kind) == (False, False, "job")


def test_the_output_of_a_single_run(folder, rows):
    def output(path, **keys):
        spec = spec_from_mapping({"run": str(folder / "book.ipynb"), "params": {"C": 2}, **keys})
        return make_plan(spec, output=path).tasks()[0].output

    assert output(f"{folder}/out-{{C}}-{{{{x}}}}.ipynb") == f"{folder}/out-2-{{x}}.ipynb"
    assert output("out.ipynb") == str(Path("out.ipynb").absolute())
    assert output("s3://bucket/{C}.ipynb") == "s3://bucket/2.ipynb"
    for path, keys, says in (
        ("out-{D}.ipynb", {}, "the run gives no parameter 'D'"),
        ("nowhere/out.ipynb", {}, "nowhere/out.ipynb: its folder does not exist"),
        ("out.ipynb", {"param_space": {"kernel": "choice([1, 2])"}}, "a group keeps each executed notebook"),
        ("out.ipynb", {"run": [str(folder / "book.ipynb")] * 2}, "OUTPUT is for a single notebook"),
    ):
        with pytest.raises(SpecError, match=says):
            output(path, **keys)


def test_each_row_has_an_output_of_its_own(rows, folder):
    plan = rows("C\n1\n0.5\n", run="book.ipynb", output=f"{folder}/{{row}}-{{C:.2f}}-{{{{x}}}}.ipynb")
    outputs = [plan.trial(number, row).output for number, row in enumerate(plan.table.rows)]
    assert outputs == [f"{folder}/0-1.00-{{x}}.ipynb", f"{folder}/1-0.50-{{x}}.ipynb"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("out.ipynb", r"rows 0 and 1 would both be written to .*out\.ipynb: name what tells them apart"),
        ("{gamma}.ipynb", "row 1 gives no parameter 'gamma'"),
        ("{gama}.ipynb", r"row 0 gives no parameter 'gama'; did you mean 'gamma'\?"),
        ("{rwo}.ipynb", r"row 0 gives no parameter 'rwo'; did you mean 'row'\?"),
        ("{C}/book.ipynb", "there is no folder .* for row 0: make it first"),
        ("{}.ipynb", "can't be filled in"),
        ("{row.ipynb", "can't be filled in"),
        ("{C:y}.ipynb", "can't be filled in"),
    ],
)
def test_an_output_that_does_not_fit(rows, folder, pattern, says):
    (folder / "book.ipynb").write_text((folder / "book.ipynb").read_text().replace("kernel =", "gamma ="))
    with pytest.raises(SpecError, match=says):
        rows(run="book.ipynb", output=f"{folder}/{pattern}")


def test_a_choice_that_a_sampler_of_numbers_draws_at_random_is_noted(spec):
    space = {"C": "loguniform(0.01, 100)", "kernel": "choice(['rbf', 'poly'])", "n": "[randint(1, 3), choice([1, 2])]"}
    plan = make_plan(group(spec, param_space=space, sampler="cma-es", allow_unknown_params=True))
    assert plan.notes == ("CmaEs searches numbers alone; drawn at random in each trial: kernel, n",)
    assert make_plan(group(spec, sampler="cma-es")).notes == ()
    assert make_plan(group(spec, param_space=space, sampler="tpe", allow_unknown_params=True)).notes == ()


def test_what_is_no_spec_or_plan_is_told_with_what_gives_one(project):
    from ml_experiment_nb import needed, run, write_spec

    for verb, said in [
        (make_plan, "make_plan takes a spec, such as read_spec(file) gives, not one of type str"),
        (run, "run takes a plan, such as make_plan(spec) gives, not one of type str"),
        (needed, "needed takes a plan, such as make_plan(spec) gives, not one of type str"),
        (lambda text: write_spec(text, "a.yaml"), "write_spec takes a spec, and then its file's path"),
    ]:
        with pytest.raises(SpecError, match=re.escape(said)):
            verb("svm.yaml")
