"""What a run uses."""

import os
import time

import pytest

from ml_experiment_nb import inplace, loop
from ml_experiment_nb.capture import usage
from ml_experiment_nb.capture.usage import Usage
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

MINE = {"system/run_cpu_utilization_percentage", "system/run_memory_usage_megabytes"}
MACHINE = {"system/system_memory_usage_percentage", "system/disk_usage_percentage", "system/disk_available_megabytes"}
LONG = "import time\nheld = bytearray(100_000_000)\nbegan = time.time()\nwhile time.time() - began < 1.5: pass\n"


@pytest.fixture
def soon(monkeypatch):
    """Sample runs that take a second."""
    for name, seconds in (("PRIMED", 0.1), ("FIRST", 0.3), ("EVERY", 0.1)):
        monkeypatch.setattr(usage, name, seconds)


def test_the_first_look_only_says_where_to_count_from():
    found = Usage()
    assert 0.5 < found.due_in <= usage.PRIMED
    assert found.look([os.getpid()]) == {}
    assert found.due_in > 1
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    second = found.look([os.getpid()])
    assert second.keys() >= MINE | MACHINE
    assert 0 < second["system/run_cpu_utilization_percentage"] < 100 * (os.cpu_count() or 1) + 50
    assert second["system/run_memory_usage_megabytes"] > 10
    assert found.due_in > usage.EVERY - 1


def test_what_processes_had_used_before_the_run_is_not_counted():
    found = Usage()
    found._started += 10  # as if this process were older than the run
    found.look([os.getpid()])
    assert found._base[os.getpid()] > 0


def test_processes_that_have_ended_and_no_process_at_all():
    found = Usage()
    found.look([])
    assert found.look([2**22 + 1])["system/run_cpu_utilization_percentage"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["experiment", "group"])
def test_a_long_task_is_sampled_and_its_record_keeps_that_apart(stored, script, soon, kind):
    target = script(LONG)
    search = {"param_space": {"C": "choice([1])"}, "num_trials": 1, "executor": "inline", "allow_unknown_params": True}
    spec = spec_from_mapping({"kind": kind, "name": "long", "run": [target], **(search if kind == "group" else {})})
    record = next(one for one in [*loop.run(make_plan(spec))] if one.kind != "group")
    store = Store(stored)
    found = store.client.get_run(record.run_id).data.metrics
    assert found.keys() >= MINE | MACHINE
    history = store.client.get_metric_history(record.run_id, "system/run_memory_usage_megabytes")
    assert max(one.value for one in history) > 90
    assert record.metrics == store.record(record.run_id).metrics == {}
    assert [one.step for one in history] == list(range(len(history)))


@pytest.mark.slow
def test_a_short_task_and_one_that_asks_for_none_are_not(stored, script, soon, monkeypatch):
    monkeypatch.setattr(usage, "FIRST", 60.0)
    long = {"name": "a", "kind": "experiment", "run": [script(LONG, "long.py")]}
    records = [*loop.run(make_plan(spec_from_mapping(long)))]
    monkeypatch.setattr(usage, "FIRST", 0.1)
    records += loop.run(make_plan(spec_from_mapping({**long, "system_metrics": False})))
    store = Store(stored)
    assert [store.client.get_run(record.run_id).data.metrics for record in records] == [{}, {}]


def test_code_of_the_driver_is_sampled_while_it_runs(stored, soon):
    from ml_experiment_nb.targets import Cell

    spec = spec_from_mapping({"kind": "experiment", "name": "here", "run": [Cell(source="1")]})
    store = Store(stored)
    with inplace.here(spec, {}) as live:
        until = time.monotonic() + 20
        while time.monotonic() < until and not store.client.get_metric_history(
            live.run_id, "system/run_memory_usage_megabytes"
        ):
            time.sleep(0.1)  # it is written while the code runs
        assert time.monotonic() < until
    assert live.record.metrics == {}
    assert store.client.get_run(live.run_id).data.metrics.keys() >= MINE


def test_a_driver_that_asks_for_none(stored, soon):
    from ml_experiment_nb.targets import Cell

    spec = spec_from_mapping({"kind": "experiment", "name": "here", "run": [Cell(source="1")], "system_metrics": False})
    with inplace.here(spec, {}) as live:
        time.sleep(0.8)
    assert Store(stored).client.get_run(live.run_id).data.metrics == {}
