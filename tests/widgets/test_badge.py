"""What a cell's badge says of its last run."""

from made_records import record

from ml_experiment_nb.records import Status
from ml_experiment_nb.widgets.badge import badge_of, badge_of_group

RUN = record().run_id


def test_a_run_says_the_metric_that_is_optimised_or_its_first_one():
    of_both = record(metrics={"system/cpu": 3.0, "loss": 0.25, "acc": 0.5})
    assert badge_of(of_both) == {"run": RUN, "status": "finished", "metric": "loss 0.25"}
    assert badge_of(of_both, {"acc": True, "other": False})["metric"] == "acc 0.5"
    assert badge_of(record(metrics={}, status=Status.FAILED)) == {"run": RUN, "status": "failed", "metric": None}
    assert badge_of(record(metrics={"a": float("nan")}))["metric"] == "a nan"


def test_a_run_that_is_not_tracked_says_nothing():
    assert badge_of(record(run_id=None)) == {}


def test_a_group_says_its_best_trial_s_metric_if_it_has_one_goal():
    best = record(metrics={"acc": 0.5})
    assert badge_of_group("g", "running", None, ["acc"]) == {"run": "g", "status": "running", "metric": None}
    assert badge_of_group("g", "finished", best, ["acc"])["metric"] == "best acc 0.5"
    assert badge_of_group("g", "finished", best, ["acc", "loss"])["metric"] is None
