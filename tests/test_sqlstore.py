"""Listing by SQL and by MLflow's client: both are asked of the same store and have to say the same."""

import gc
from dataclasses import replace
from itertools import product

import pytest
from filled_store import ORDERS, WHICH, both, filled, many

from ml_experiment_nb import sqlstore
from ml_experiment_nb.errors import RunNotFoundError
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.stores import default_uri
from ml_experiment_nb.tracking import Store

__all__ = ["filled", "many"]  # fixtures


@pytest.mark.parametrize(("which", "order_by"), list(product(WHICH, ORDERS)))
def test_sql_and_client_say_the_same(many, which, order_by):
    found = [both(many, **which, order_by=order_by, limit=limit, tags=limit == 4) for limit in (None, 1, 4)]
    assert found[0]
    assert [one.run_id for one in found[1]] == [one.run_id for one in found[0][:1]]
    assert [one.run_id for one in found[2]] == [one.run_id for one in found[0][:4]]


def test_more_are_asked_for_than_a_database_can_count(many):
    everything = sqlstore.list_records(default_uri(many), wanted())
    assert sqlstore.list_records(default_uri(many), wanted(limit=10**20)) == everything


def test_all_of_thousands_are_read_alike(many, monkeypatch):
    asked = wanted(experiment="search", tags=True)
    expected = [one.to_json() for one in sqlstore.list_records(default_uri(many), asked)]
    monkeypatch.setattr(sqlstore, "_FEW", 2)  # as if there were more runs than are asked for by their ids
    assert [one.to_json() for one in sqlstore.list_records(default_uri(many), asked)] == expected
    both(many)
    [group] = both(many, kind="group")
    assert len(both(many, group=group.run_id, tags=True)) == 4


def test_runs_by_their_tags(many):
    for tagged in ((("team", "vision"),), (("team", "theirs"),), (("team", "vision"), ("mlexp.kind", "experiment"))):
        one = replace(wanted(limit=2, order_by="name"), tagged=tagged)
        found = [sqlstore.list_records(default_uri(many), one), Store(many).listed_by_client(one)]
        assert [[record.name for record in each] for each in found] == [[record.name for record in found[0]]] * 2
        assert found[0]
    assert sqlstore.list_records(default_uri(many), replace(one, tagged=(("team", "nobody's"),))) == []


def test_a_store_that_is_a_database_is_listed_by_sql_alone(many, monkeypatch):
    store = Store(many)
    monkeypatch.setattr(store.client, "search_runs", lambda *_, **__: pytest.fail("MLflow's client is slow"))
    [group] = [one for one in store.records() if one.kind == "group"]
    assert [one.name for one in store.children(group.run_id)] == ["trial 0", "trial 1", "trial 2", "trial 3"]
    assert [one.name for one in store.records(status="finished", tags={"team": "vision"}, limit=1)] == ["svm 2"]


def test_garbage_is_looked_for_again_after_a_listing(many):
    assert gc.isenabled()
    sqlstore.list_records(default_uri(many), wanted())
    with pytest.raises(RunNotFoundError):
        sqlstore.list_records(default_uri(many), wanted(experiment="svn"))
    assert gc.isenabled()
