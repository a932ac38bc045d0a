"""What a store has of a run, read as a record; and which runs are wanted, whatever the store."""

import json
import math
from dataclasses import replace

import pytest
from made_records import STARTED, record

from ml_experiment_nb.errors import RunNotFoundError, SpecError
from ml_experiment_nb.listing import as_frame
from ml_experiment_nb.readings import (
    AUTOLOGGED,
    OWN_METRICS,
    PARENT,
    RETRIED,
    TEXTS,
    Kept,
    RunQuery,
    chosen,
    id_of,
    named,
    read_order,
    record_of,
    wanted,
)
from ml_experiment_nb.records import Failure, Status

KEPT = Kept("r" * 32, "x", "e", "FINISHED", 1000, 3500, None, {}, {}, {})


@pytest.mark.parametrize("tag", [json.dumps(["größe", 'a "b"']), '["größe", "a \\"b'])  # the second one was cut
def test_names_of_parameters_are_read_as_json_wrote_them(tag):
    kept = replace(KEPT, params={"größe": "1", "k": "2"}, tags={TEXTS: tag})
    assert record_of(kept).params == {"größe": "1", "k": 2}


@pytest.mark.parametrize(
    ("mlflows", "ours", "status"),
    [
        ("KILLED", "pruned", Status.PRUNED),
        ("KILLED", None, Status.KILLED),
        ("SCHEDULED", None, Status.RUNNING),
        ("FINISHED", "a word of a later version", Status.FINISHED),
    ],
)
def test_a_status_is_our_word_for_it_and_else_mlflows(mlflows, ours, status):
    tags = {} if ours is None else {"mlexp.status": ours}
    assert record_of(replace(KEPT, status=mlflows, tags=tags)).status is status


def test_a_run_that_goes_on_has_lasted_until_now_though_it_has_ended_before():
    assert record_of(KEPT).seconds == 2.5
    assert record_of(replace(KEPT, tags={"mlexp.status": "running"})).seconds > 10**6
    assert record_of(replace(KEPT, end=500)).seconds == 0.0  # of two clocks


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("ValueError: no: really", Failure("ValueError", "no: really")),
        ("Odd", Failure("Odd", "")),
        (None, None),
    ],
)
def test_a_failure_is_its_type_and_its_message(error, failure):
    tags = {"mlexp.error": error} if error else {}
    assert record_of(replace(KEPT, status="FAILED", tags=tags)).failure == failure


def test_what_the_code_itself_has_told_comes_first_and_what_the_machine_used_is_left_out():
    metrics = {"b": 1.0, "own": 2.0, "system/cpu": 3.0}
    tags = {OWN_METRICS: '["own", "gone"]', AUTOLOGGED: '["verbose"]'}
    found = record_of(replace(KEPT, params={"C": "1", "verbose": "0"}, metrics=metrics, tags=tags))
    assert list(found.metrics.items()) == [("own", 2.0), ("b", 1.0)]
    assert (found.params, found.autologged) == ({"C": 1}, {"verbose": "0"})


@pytest.mark.parametrize(
    ("text", "name", "descending"),
    [
        ("metrics.loss", "loss", False),
        (" metrics.loss DESC ", "loss", True),
        ("params.a asc", "a", False),
        ("desc", "desc", False),
    ],
)
def test_an_order_is_a_name_and_which_way(text, name, descending):
    found, way = read_order(text)
    assert (found.key, way) == (name, descending)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"order_by": " "}, "order_by is empty"),
        ({"status": "done"}, "there is no status 'done': it is one of"),
        ({"limit": 0}, "limit is 0: it is 1 or more"),
    ],
)
def test_what_can_not_be_wanted(asked, says):
    with pytest.raises(SpecError, match=says):
        wanted(**asked)


def test_numbers_come_before_texts_and_what_has_no_value_last_both_ways():
    values = {"a": "rbf", "b": 10, "c": None, "d": 9, "e": math.nan}
    found = [record(run_id=one, params={} if value is None else {"C": value}) for one, value in values.items()]
    assert [one.run_id for one in wanted(order_by="params.C").select(found)] == ["d", "b", "a", "c", "e"]
    assert [one.run_id for one in wanted(order_by="params.C DESC", limit=3).select(found)] == ["a", "b", "d"]


def test_of_a_trial_that_was_tried_again_it_is_the_last_try_that_is_wanted():
    tries = [record(run_id="1", parent_id="g", tags={RETRIED: "2"}), record(run_id="2", parent_id="g", tags={})]
    assert [one.run_id for one in RunQuery(group="g").select(tries)] == ["2"]
    assert len(RunQuery().select(tries)) == 2
    assert RunQuery(group="other").select(tries) == []


def test_the_newest_come_first():
    times = [STARTED.replace(second=second) for second in (5, 9, 7)]
    found = [record(run_id=str(k), started=one, tags={"team": "a" if k else "b"}) for k, one in enumerate(times)]
    assert [one.run_id for one in RunQuery().select(found)] == ["1", "2", "0"]
    assert [one.run_id for one in RunQuery(tagged=(("team", "b"),)).select(found)] == ["0"]


def test_the_keys_that_are_asked_of_a_store():
    found = wanted(condition="params.C > 1 and metrics.acc < 1 and status = finished", order_by="metrics.acc")
    assert replace(found, tagged=((PARENT, "x"),)).keys == ("acc", "C", PARENT)


def test_a_beginning_that_stands_for_several_is_refused_with_some_of_them():
    assert chosen("ab", ["abc"], "uri") == "abc"
    with pytest.raises(RunNotFoundError, match=r"more than one run begins with 'a': a1, a2, a3, …$"):
        chosen("a", ["a1", "a2", "a3", "a4"], "uri")
    with pytest.raises(RunNotFoundError, match="no run 'b' in uri; `ml-experiment ls` lists them"):
        chosen("b", [], "uri")


def test_an_experiment_that_is_misspelt_is_named_with_what_may_be_meant():
    names = {1: "svm", 2: "search"}
    assert named(names, None, "uri") == names
    assert named(names, "svm", "uri") == {1: "svm"}
    with pytest.raises(RunNotFoundError, match="no experiment is called 'serch' in uri; did you mean 'search'"):
        named(names, "serch", "uri")


def test_a_run_is_given_by_its_id_its_record_or_a_row_of_a_table():
    table = as_frame([record(), record(run_id="b" * 32)])
    assert id_of("0123") == "0123"
    assert id_of(record()) == "0123456789abcdef0123456789abcdef"
    assert id_of(table.iloc[1]) == "b" * 32


@pytest.mark.parametrize("what", [3, None, {"acc": 0.5}, as_frame([record()])])
def test_what_is_no_run_is_told_with_what_is(what):
    with pytest.raises(SpecError, match=rf"of type {type(what).__name__}: runs\(\) lists the ids, best_run\(\) gives"):
        id_of(what)


def test_a_record_that_was_not_kept_is_no_run_of_the_store():
    with pytest.raises(RunNotFoundError, match="is a job: it was not recorded"):
        id_of(record(run_id=None))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"experiment": 3}, "experiment is a text, not 3"),
        ({"condition": ["a"]}, "where is a text, not ['a']"),
        ({"order_by": 1.5}, "order_by is a text, not 1.5"),
        ({"kind": "run"}, "there is no kind 'run': it is one of experiment, group, trial"),
        ({"limit": "5"}, "limit is '5': it is 1 or more, and whole"),
        ({"limit": 2.5}, "limit is 2.5: it is 1 or more, and whole"),
    ],
)
def test_what_is_not_of_its_type_is_told(asked, said):
    with pytest.raises(SpecError) as raised:
        wanted(**asked)
    assert str(raised.value) == said
