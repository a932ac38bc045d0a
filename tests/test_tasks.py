import csv
import io
from types import SimpleNamespace

import pytest

from ml_experiment_nb.events import Note
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Failure, Outcome, Record, Status, now
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tasks import tasks_of

FINISHED, FAILED = Outcome(Status.FINISHED), Outcome(Status.FAILED, Failure("ValueError", "no"))


@pytest.fixture
def tasks(project):
    """Return where the tasks of a plan come from."""

    def make(**keys):
        asked = {"name": "svm", "run": {"command": "true"}, "allow_unknown_params": True, **keys}
        return tasks_of(make_plan(spec_from_mapping(asked)), project)

    return make


def record(number, status=Status.FINISHED, params=None, failure=None, **metrics):
    fields = {"run_id": f"{number:032x}", "name": f"svm #{number}", "experiment": "svm", "kind": "trial"}
    more = {"params": params or {}, "metrics": metrics, "started": now(), "seconds": 1.0, "number": number}
    return Record(**fields, **more, status=status, failure=failure)


def all_of(found):
    return list(iter(found.next, None))


def test_steps_are_run_in_order_and_none_after_one_that_fails(tasks):
    found = tasks(run=[{"command": "true"}, {"command": "false"}, {"command": "ls"}], kind="experiment")
    assert found.next().key == "0"
    found.tell("0", FINISHED, {})
    assert found.next().key == "1"
    assert found.tell("1", FAILED, {}) is FAILED
    assert found.next() is None
    done = [record(0, a=1.0, b=1.0), record(1, Status.FAILED, failure=FAILED.failure, b=2.0)]
    assert found.outcome(done) == FAILED
    assert found.summary(done) == ({"a": 1.0, "b": 2.0}, {})


def test_a_row_that_fails_stops_no_other_and_the_first_of_them_is_told(tasks, tmp_path):
    found = tasks(each=[{"C": 1}, {"C": 2}, {"C": 3}], metric="acc")
    assert [(one.name, one.params) for one in all_of(found)] == [
        ("svm #0", {"C": 1}), ("svm #1", {"C": 2}), ("svm #2", {"C": 3}),
    ]  # fmt: skip
    assert found.tags() == {"mlexp.rows": "3"}
    killed = record(1, Status.KILLED, {"C": 2})
    done = [record(2, Status.FAILED, {"C": 3}, FAILED.failure), killed, record(0, params={"C": 1}, acc=0.5)]
    outcome = found.outcome(done)
    assert outcome.status is Status.FAILED
    assert outcome.failure.message == "2 of 3 rows did not finish; the first: row 1: killed"
    assert found.outcome([record(0)]).status is Status.FINISHED


def test_the_table_of_results_stands_in_the_artifacts_and_a_metric_that_never_came_is_noted(tasks, tmp_path):
    found = tasks(each=[{"C": 1}, {"C": 2}], metric="acc")
    notes = []
    parent = SimpleNamespace(add=notes.append, artifacts=tmp_path)
    found.keep(parent, [record(0, params={"C": 1}, ac=0.5), record(1, params={"C": 2})])
    assert notes == [Note("no row reported 'acc'; did you mean 'ac'?")]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert [(one["C"], one["ac"]) for one in rows] == [("1", "0.5"), ("2", "")]


def test_a_table_that_can_not_be_written_is_a_note(tasks, tmp_path):
    notes = []
    tasks(each=[{"C": 1}]).keep(SimpleNamespace(add=notes.append, artifacts=tmp_path / "absent"), [record(0)])
    [note] = notes
    assert note.text.startswith("results.csv could not be written: FileNotFoundError")


def test_of_a_table_the_best_row_is_told_with_its_parameters(tasks):
    found = tasks(each=[{"C": 1}, {"C": 2}], metric={"name": "acc", "direction": "maximize"})
    done = [record(0, params={"C": 1}, acc=0.5), record(1, params={"C": 2}, acc=0.75), record(2, Status.FAILED)]
    metrics, tags = found.summary(done)
    assert metrics == {"acc": 0.75}
    assert (tags["mlexp.best.C"], tags["mlexp.best_run"]) == ("2", done[1].run_id)
    assert (tags["mlexp.trials.finished"], tags["mlexp.trials.failed"]) == ("2", "1")


def test_without_a_metric_there_is_no_best_and_of_several_there_is_a_front(tasks):
    done = [record(0, a=1.0, b=1.0), record(1, a=2.0, b=0.0), record(2, a=0.0, b=0.0)]
    metrics, tags = tasks(each=[{"C": 1}] * 3).summary(done)
    assert metrics == {}
    assert "mlexp.best_run" not in tags
    several = [{"name": "a", "direction": "maximize"}, {"name": "b", "direction": "maximize"}]
    metrics, tags = tasks(each=[{"C": 1}] * 3, metric=several).summary(done)
    assert (metrics, tags["mlexp.front"]) == ({}, "0,1")


def test_a_search_in_which_no_trial_finished_has_failed(tasks):
    found = tasks(param_space={"C": "choice([1, 2])"}, sampler="grid", metric="acc")
    first = found.next()
    assert first.params["C"] in (1, 2)
    assert found.tell(first.key, FINISHED, {"acc": 0.5}) is FINISHED
    second = found.next()
    outcome = found.tell(second.key, FINISHED, {"ac": 0.5})
    assert (outcome.status, outcome.failure.type) == (Status.FAILED, "MetricError")
    assert "did you mean 'ac'" in outcome.failure.message
    assert found.next() is None
    found.close()
    assert found.outcome([record(0, Status.FAILED, failure=FAILED.failure), record(1)]).status is Status.FINISHED
    failed = found.outcome([record(0, Status.FAILED, failure=FAILED.failure)])
    assert failed.failure.message == "no trial finished; the first: ValueError: no"
    assert found.outcome([]).failure.message == "no trial finished; the first: no trial was run"
