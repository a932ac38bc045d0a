import math
from dataclasses import replace
from itertools import product

import pytest

from ml_experiment_nb import compare, make_plan, run, runs
from ml_experiment_nb.comparison.view import smooth
from ml_experiment_nb.errors import ExperimentError, MetricError, ParameterError, RunNotFoundError, SpecError
from ml_experiment_nb.groups import recorded_plan
from ml_experiment_nb.listing import as_frame
from ml_experiment_nb.loop import collect
from ml_experiment_nb.records import Records
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import opened_store
from ml_experiment_nb.widgets.attachment import as_it_stands

TRAIN = """
import sys
from ml_experiment_nb import report
C, kernel, fixed = float(sys.argv[2]), sys.argv[4], sys.argv[6]
for step in range(3):
    report(loss=1 / (1 + step) / C, step=step)
report(score=C * 10 + (kernel == "b"), size=C)
"""


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A single run and a group of six trials after it, in a store of their own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "train.py").write_text(TRAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ML_EXPERIMENT_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        alone = {"run": "train.py", "params": {"C": 8.0, "kernel": "a", "fixed": 1}, "allow_unknown_params": True}
        list(run(make_plan(spec_from_mapping(alone))))
        rows = [{"C": C, "kernel": kernel, "fixed": 1} for C, kernel in product((1.0, 2.0, 4.0), "ab")]
        spec = {"name": "g", "run": "train.py", "each": rows, "metric": {"name": "score", "direction": "maximize"}}
        plan = make_plan(spec_from_mapping({**spec, "allow_unknown_params": True, "executor": "inline"}))
        yield collect(plan, run(plan))


def test_a_group_stands_for_its_trials_and_its_goal(group):
    found = compare(group.parent.run_id)
    assert len(found) == 6
    assert found.records.goals == (("score", True),)
    assert str(found).splitlines()[2].split()[:3] == ["g", "#5", "★"]
    assert found.to_pandas()["metrics.score"].max() == 41
    assert found._repr_html_().index("g #5") < found._repr_html_().index("g #0")


@pytest.mark.parametrize("pick", [list, lambda group: [one.run_id for one in group], lambda group: [group[0], *group]])
def test_runs_are_given_in_many_ways(group, pick):
    assert {one.run_id for one in compare(pick(group)).records} == {one.run_id for one in group}
    assert {one.run_id for one in compare(*pick(group)).records} == {one.run_id for one in group}


def test_records_bring_their_group_along(group):
    assert compare(group).records.goals == (("score", True),)
    assert compare(group[:2]).records.goals == (("score", True),)
    assert len(compare(group[:2])) == 2


def test_runs_that_were_compared_bring_along_by_what(group):
    view = compare(list(group), metric="size", maximize=True)
    assert compare(view.records[:2]).records.goals == (("size", True),)
    assert compare(view.records[:2], metric="loss").records.goals == (("loss", False),)
    assert compare(view.records, metric="size", maximize=False).records.goals == (("size", False),)
    assert compare(view.records.like([replace(group[0], metrics={})])).records.goals == ()  # it failed, say


def test_a_metric_that_the_store_writes_otherwise_is_found_by_its_name(stored, script):
    train = script(
        "from ml_experiment_nb import report\nfor step in range(2):\n    report(**{'acc@1': 1.0 + step}, step=step)\n"
    )
    spec = {"name": "g", "run": train.path, "each": [{"C": 1}, {"C": 2}], "allow_unknown_params": True}
    spec |= {"metric": {"name": "acc@1", "direction": "maximize"}, "executor": "inline"}
    plan = make_plan(spec_from_mapping(spec))
    own = collect(plan, run(plan))
    for view in (compare(own), compare(own.parent.run_id), compare(own.parent.run_id, metric="acc@1", maximize=True)):
        assert [more for _, more in view.records.goals] == [True]
        assert view.records.best.ok
        assert view.curves("acc@1").data[0].y == (1.0, 2.0)
        assert view.history(metric="acc@1").data
    store = opened_store()
    parent = store.record(own.parent.run_id)
    assert "best acc_1 2" in as_it_stands(store, parent, recorded_plan(store, parent))["text/plain"]


def test_nothing_given_is_not_all_there_is(group):
    for nothing in ([], compare(group).selected):
        with pytest.raises(RunNotFoundError, match="no runs were given: select some"):
            compare(nothing)


def test_an_experiment_and_the_whole_project(group):
    assert [one.name for one in compare().records] == ["train"]
    assert [one.name for one in compare(limit=1).records] == ["train"]  # though the newest run is a trial
    assert len(compare(experiment="g")) == 7  # nothing else is there: the trials and the group


def test_it_is_said_that_there_are_more_runs(group):
    view = compare(experiment="g", limit=3)
    assert len(view) == 3
    told = "only the newest 3 of the runs: a higher limit shows more"
    shown = [str(view), view._repr_html_(), view._repr_markdown_(), view._repr_mimebundle_()["text/plain"]]
    assert [text.count(told) for text in shown] == [1, 1, 1, 1]
    assert compare(experiment="g", limit=7).note == compare(list(group), limit=1).note == ""
    with pytest.raises(ExperimentError, match="limit is a whole number from 1 on, not 0"):
        compare(limit=0)


def test_what_there_is_not(group):
    with pytest.raises(RunNotFoundError, match="no run 'nothing'"):
        compare("nothing")
    with pytest.raises(RunNotFoundError, match="no experiment is called 'h'"):
        compare(experiment="h")
    with pytest.raises(MetricError, match="none of the runs has a metric 'scor'; did you mean 'score'"):
        compare(group, metric="scor")
    with pytest.raises(MetricError, match="2 values for 1 metrics"):
        compare(group, metric="score", maximize=[True, False])


def test_a_table_of_runs_is_compared(group):
    assert len(compare(as_frame(list(group)))) == len(group)


@pytest.mark.parametrize("given", [3, None, {"acc": 1}])
def test_what_is_no_run_is_not_compared(group, given):
    with pytest.raises(SpecError, match=f"this is of type {type(given).__name__}: "):
        compare(given)


def test_which_way_is_better_is_not_said_by_a_metrics_name(group):
    with pytest.raises(SpecError, match=r"write compare\(metric='acc', maximize=True\)"):
        compare(maximize="acc")


def test_a_groups_records_name_it_for_a_list_of_its_trials(group):
    assert len(runs(group=group)) == len(runs(group=group.parent)) == len(group)


def test_figures_of_parameters(group):
    found = compare(group)
    figure = found.parallel_coordinate(["C", "kernel"])
    assert figure.layout.xaxis.ticktext == ("score", "C", "kernel")
    assert sum(len(line.x) == 3 for line in figure.data) == 6
    assert found.contour("C", "kernel").layout.xaxis.title.text == "C"
    assert [axis.title.text for axis in (found.slice(["C", "kernel"]).layout.xaxis,)] == ["C"]
    history = found.history()
    assert max(history.data[1].y) == 41
    with pytest.raises(ParameterError, match="no run that finished has a parameter 'kern'; did you mean 'kernel'"):
        found.contour("kern", "C")
    with pytest.raises(MetricError, match="none of the runs has a metric 'los'; did you mean 'loss'"):
        found.slice(metric="los")


@pytest.mark.slow
def test_importances(group):
    found = compare(group)
    values = found.importances()
    assert set(values) == {"C", "kernel"}  # what never changes explains nothing
    assert values["C"] > values["kernel"]
    assert sum(values.values()) == pytest.approx(1)
    bars = found.importance()
    assert bars.data[0].y[-1] == "C"
    assert compare(group[0]).importances(metric="score") == {}


def test_a_metric_must_be_named_where_there_is_no_goal(group):
    with pytest.raises(MetricError, match=r"name a metric: metric=… \(loss, score, size\)"):
        compare([group[0].run_id]).history()


def test_a_front(group):
    found = compare(group)
    figure = found.pareto_front(["score", "size"], maximize=[True, False])
    assert sum(len(one.x) for one in figure.data) == 6
    with pytest.raises(MetricError, match="two or three"):
        found.pareto_front()


def test_curves(group):
    found = compare(group)
    lines = found.curves("loss").data
    assert [line.name for line in lines] == [f"g #{k}" for k in (5, 4, 3, 2, 1, 0)]
    assert lines[0].x == (0, 1, 2)
    assert lines[0].y == pytest.approx((0.25, 0.125, 0.25 / 3))
    assert {line.name.split(" · ")[1] for line in found.curves().data} == {"loss"}  # the others have no steps
    assert len(found.curves("loss", runs=2).data) == 2
    assert found.curves("loss", smoothing=0.9).data[0].y[1] > lines[0].y[1]
    with pytest.raises(MetricError, match="from 0 to 1"):
        found.curves("loss", smoothing=60)


def test_smoothing():
    assert smooth([1, 2, 3], 0) == [1, 2, 3]
    assert smooth([5, 5, 5], 0.9) == pytest.approx([5, 5, 5])
    assert smooth([0, 10, 0, 10], 1) == pytest.approx([0, 5, 10 / 3, 5], rel=1e-3)
    gap = smooth([1, math.nan, 1], 0.5)
    assert (gap[0], gap[2]) == (1, 1)
    assert math.isnan(gap[1])


def test_a_job_was_not_recorded(group):
    [job] = run(make_plan(spec_from_mapping({"kind": "job", "run": {"command": "true"}})))
    with pytest.raises(ExperimentError, match="it was not recorded"):
        compare(job)
    assert len(compare(Records([group[0]]))) == 1
