"""Which run of a group is meant, told from what a store has of it."""

import pytest
from mlflow.entities import Metric, RunTag

from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.errors import ReplayError
from ml_experiment_nb.records import Records
from ml_experiment_nb.replays.choice import chosen
from ml_experiment_nb.tracking import Store

GROUP = "kind: group\nname: SVM\nrun: train.py\nparam_space: {C: 'uniform(0, 1)'}\n"


@pytest.fixture
def group(stored):
    """Leave a group with two trials in a store, and return the store and the ids."""

    def make(metric, *values):
        store = Store(stored)
        experiment = store.experiment_id("SVM")
        parent = store.client.create_run(experiment, tags={"mlexp.kind": "group"}).info.run_id
        store.client.log_text(parent, f"{GROUP}{metric}\n", SPEC)
        trials = []
        for number, logged in enumerate(values):
            tags = {"mlexp.kind": "trial", "mlflow.parentRunId": parent, "mlexp.trial": str(number)}
            run_id = store.client.create_run(experiment, tags=tags).info.run_id
            metrics = [Metric(name, value, 0, 0) for name, value in logged.items()]
            store.client.log_batch(run_id, metrics=metrics, tags=[RunTag("mlexp.status", "FINISHED")])
            store.client.set_terminated(run_id)
            trials.append(run_id)
        return store, parent, trials

    return make


def test_a_metric_that_mlflow_spells_otherwise_is_the_group_s_goal_all_the_same(group):
    store, parent, trials = group("metric: {name: acc%, direction: max}", {"acc_": 0.5}, {"acc_": 0.75})
    assert [one.run_id for one in chosen(store, parent)] == [trials[1]]


def test_the_least_is_the_best_where_nothing_else_is_said(group):
    store, parent, trials = group("metric: loss", {"loss": 0.5}, {"loss": 0.75})
    assert [one.run_id for one in chosen(store, parent)] == [trials[0]]


def test_of_several_metrics_there_is_no_single_best(group):
    store, parent, _ = group("metric: {loss: min, size: min}", {"loss": 1, "size": 2}, {"loss": 2, "size": 1})
    with pytest.raises(ReplayError, match="has no single best trial"):
        chosen(store, parent)
    assert len(chosen(store, parent, every=True)) == 2


def test_the_records_of_a_group_stand_for_it(group):
    store, parent, trials = group("metric: loss", {"loss": 0.5}, {"loss": 0.75})
    found = [store.record(one) for one in trials]
    assert [one.run_id for one in chosen(store, Records(found, store.record(parent)))] == [trials[0]]
    assert [one.run_id for one in chosen(store, Records(found[1:], None))] == [trials[1]]
    with pytest.raises(ReplayError, match="these 2 runs are no group's"):
        chosen(store, Records(found, None))
