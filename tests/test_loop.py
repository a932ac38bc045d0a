import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from plain_mlflow import all_runs, statuses, text_of

from ml_experiment_nb import loop
from ml_experiment_nb.errors import CaptureError, ExecutorError, SpecError, StoreError
from ml_experiment_nb.events import Done, Log
from ml_experiment_nb.executors.inline import InlineExecutor
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.reports import report
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function
from ml_experiment_nb.updates import Happened, Started

TRAIN = """
from ml_experiment import job

@job
def main(C, kernel="rbf"):
    print("training", C)
    return {"acc": 1 - abs(C - 3) / 10}

if __name__ == "__main__":
    main()
"""
GROUP = {
    "kind": "group",
    "name": "SVM",
    "param_space": {"C": "range(1, 5)"},
    "metric": {"name": "acc", "direction": "maximize"},
    "sampler": "Grid",
    "executor": "inline",
    "slots": 2,
}


@pytest.fixture
def plan(stored):
    def make(run, values=None, **keys):
        return make_plan(spec_from_mapping({"run": run, **keys}), values=values)

    return make


@pytest.fixture
def function_plan(plan):
    """Plan a group of calls of a function."""

    def make(function, **keys):
        return plan([Function(function=function)], {"function": function}, **{**GROUP, **keys})

    return make


def study_of(run):
    storage = optuna.storages.journal.JournalFileBackend(run.data.tags["mlexp.storage"])
    return optuna.load_study(study_name=run.data.tags["mlexp.study"], storage=optuna.storages.JournalStorage(storage))


# ------------------------------------------------------------------------------------------------ groups


@pytest.mark.slow
def test_a_group_in_the_eyes_of_plain_mlflow(plan, script, client, stored):
    made = plan(script(TRAIN, "train.py").path, **GROUP, params={"kernel": "linear"}, tags={"team": "a"})
    records = loop.collect(made, loop.run(made))
    assert len(records) == 4
    assert records.best.params["C"] == 3
    parent, *trials = all_runs(client)
    assert client.get_experiment(parent.info.experiment_id).name == "SVM"
    assert parent.info.run_id == records.parent.run_id
    assert (parent.info.run_name, parent.info.status) == ("SVM", "FINISHED")
    assert parent.data.metrics == {"acc": 1.0}
    assert parent.data.params == {"C": "range(1, 5)", "kernel": "linear"}
    assert parent.data.tags["mlexp.kind"] == "group"
    assert parent.data.tags["team"] == "a"
    assert parent.data.tags["mlexp.best.C"] == "3"
    assert parent.data.tags["mlexp.trials.finished"] == "4"
    assert sorted(run.data.params["C"] for run in trials) == ["1", "2", "3", "4"]
    for run in trials:
        number = run.data.tags["mlexp.trial"]
        assert run.info.run_name == f"SVM #{number}"
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["mlexp.kind"] == "trial"
        assert run.data.params["kernel"] == "linear"
        C = int(run.data.params["C"])
        assert run.data.metrics == {"acc": pytest.approx(1 - abs(C - 3) / 10)}
        assert study_of(parent).trials[int(number)].params == {"C": C}
        assert text_of(client, run, "record/log.txt") == f"training {C}\n"
    assert parent.data.tags["mlexp.best_run"] == records.best.run_id
    assert [trial.state for trial in study_of(parent).trials] == [TrialState.COMPLETE] * 4
    assert not list((stored / ".ml-experiment" / "runs").iterdir())


@pytest.mark.slow
def test_what_happens_is_told_as_it_happens(plan, script):
    updates = list(loop.follow(plan(script(TRAIN).path, **{**GROUP, "slots": 1})))
    assert isinstance(updates[0], Started)
    assert updates[0].parent
    assert [type(update).__name__ for update in updates if not isinstance(update, Happened)] == [
        "Started",
        *["Started", "Record"] * 4,
        "Record",
    ]
    assert updates[-1].kind == "group"
    printed = [
        update.event.text for update in updates if isinstance(update, Happened) and isinstance(update.event, Log)
    ]
    assert len(printed) == 4


@pytest.mark.slow
def test_a_failing_trial_does_not_end_the_group(function_plan, client):
    def train(C):
        if C == 2:
            raise ValueError("not two")
        if C == 3:
            os._exit(9)
        return {"acc": C}

    made = function_plan(train)
    records = loop.collect(made, loop.run(made))
    by_C = {record.params["C"]: record for record in records}
    assert by_C[2].failure == Failure("ValueError", "not two", by_C[2].failure.traceback)
    assert by_C[3].failure.type == "TaskDiedError"
    assert (by_C[1].status, by_C[4].status) == (Status.FINISHED, Status.FINISHED)
    parent, *trials = all_runs(client)
    assert parent.info.status == "FINISHED"
    assert sorted(run.info.status for run in trials) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    failed = next(run for run in trials if run.data.params["C"] == "2")
    assert failed.data.tags["mlexp.error"] == "ValueError: not two"
    assert "raise ValueError" in text_of(client, failed, "record/error.txt")
    assert parent.data.tags["mlexp.trials.failed"] == "2"


def test_when_all_trials_fail_the_group_fails(function_plan, client):
    def train(C):
        raise ValueError("never")

    *_, parent = loop.run(function_plan(train))
    assert parent.status is Status.FAILED
    assert parent.failure.message == "no trial finished; the first: ValueError: never"
    assert {status for _, status in statuses(client)} == {"FAILED"}


def test_a_metric_that_never_comes_fails_the_trial_and_names_the_nearest(function_plan, client):
    *trials, parent = loop.run(function_plan(lambda C: {"ac": C}, num_trials=2))
    assert [trial.failure.type for trial in trials] == ["MetricError"] * 2
    assert "did you mean 'ac'" in trials[0].failure.message
    assert parent.status is Status.FAILED
    assert {status for _, status in statuses(client)} == {"FAILED"}


@pytest.mark.slow
def test_a_pruned_generator(function_plan, client):
    def train(C):
        for _ in range(10):
            yield {"acc": C / 10}

    made = function_plan(
        train,
        param_space={"C": "range(1, 9)"},
        slots=1,
        pruner={"name": "median", "n_startup_trials": 1, "n_warmup_steps": 2},
        seed=0,
    )
    records = loop.collect(made, loop.run(made))
    pruned = [record for record in records if record.status is Status.PRUNED]
    assert pruned
    assert records.best.params["C"] == 8
    parent, *trials = all_runs(client)
    study = study_of(parent)
    for run in trials:
        trial = study.trials[int(run.data.tags["mlexp.trial"])]
        is_pruned = run.data.tags["mlexp.status"] == "pruned"
        assert run.info.status == ("KILLED" if is_pruned else "FINISHED")
        assert trial.state == (TrialState.PRUNED if is_pruned else TrialState.COMPLETE)
        history = [one.step for one in client.get_metric_history(run.info.run_id, "acc")]
        assert history == list(range(len(trial.intermediate_values)))
        assert (len(history) < 10) == is_pruned
    assert parent.data.tags["mlexp.trials.pruned"] == str(len(pruned))


def test_a_step_before_the_first_is_no_end_of_the_group(function_plan):
    def train(C):
        report(acc=C, step=-5)
        return {"acc": C}

    *_, parent = loop.run(function_plan(train, pruner="median", num_trials=1))
    assert parent.ok


@pytest.mark.slow
def test_what_trials_do_to_captured_values_stays_theirs(plan):
    values = {"X": np.arange(5.0), "held": [1, 2]}
    source = "C = 1\nX[:] = C\nheld.append(C)\n{'acc': X.sum() + len(held)}"
    made = plan([{"source": source}], values, **GROUP)
    records = loop.collect(made, loop.run(made))
    assert {record.params["C"]: record.metrics["acc"] for record in records} == {C: 5 * C + 3 for C in range(1, 5)}
    assert values["X"].tolist() == [0, 1, 2, 3, 4]
    assert values["held"] == [1, 2]


def test_several_scripts_in_a_group_join_their_metrics(plan, script, client):
    first = script("from ml_experiment_nb import report\nreport(loss=0.5)", "a.py")
    keys = {**GROUP, "param_space": {"C": "range(2, 4)"}}
    made = plan([first.path, script(TRAIN, "b.py").path], **keys)
    records = loop.collect(made, loop.run(made))
    assert [record.metrics for record in records if record.params["C"] == 3] == [{"loss": 0.5, "acc": 1.0}]
    assert len(all_runs(client)) == 3


# ------------------------------------------------------------------------------------------------ experiments


def test_an_experiment_of_one_script_is_one_run(plan, script, client):
    (record,) = loop.run(plan(script(TRAIN, "train.py").path, name="one", params={"C": 2}))
    (run,) = all_runs(client)
    assert record.metrics == run.data.metrics == {"acc": 0.9}
    assert (run.info.run_name, run.info.status, run.data.params) == ("one", "FINISHED", {"C": "2", "kernel": "rbf"})
    assert "mlflow.parentRunId" not in run.data.tags
    paths = [one.path for one in client.list_artifacts(run.info.run_id, "record")]
    assert {"record/log.txt", "record/spec.yaml", "record/source", "record/requirements.txt"} <= set(paths)


def test_several_scripts_are_children_of_one_run(plan, script, client):
    targets = [script(f"from ml_experiment_nb import report\nreport(m{k}={k})", f"s{k}.py").path for k in (1, 2)]
    *children, parent = loop.run(plan(targets, name="steps"))
    assert [child.name for child in children] == ["steps s1", "steps s2"]
    assert parent.metrics == {"m1": 1.0, "m2": 2.0}
    assert statuses(client) == [("steps", "FINISHED"), ("steps s1", "FINISHED"), ("steps s2", "FINISHED")]
    first, *others = all_runs(client)
    assert {run.data.tags["mlflow.parentRunId"] for run in others} == {first.info.run_id}


def test_the_first_script_that_fails_is_the_last(plan, script, client, stored):
    targets = [script("1 / 0", "a.py").path, script("open('ran', 'w')", "b.py").path]
    *children, parent = loop.run(plan(targets, name="steps"))
    assert len(children) == 1
    assert parent.failure.type == "ZeroDivisionError"
    assert statuses(client) == [("steps", "FAILED"), ("steps a", "FAILED")]
    assert not (stored / "ran").exists()


def test_a_job_writes_nothing(project, script):
    made = make_plan(spec_from_mapping({"kind": "job", "run": script(TRAIN).path, "params": {"C": 3}}))
    (record,) = loop.run(made)
    assert record.ok
    assert record.run_id is None
    assert record.metrics == {"acc": 1.0}
    assert not (project / ".ml-experiment").exists()


@pytest.mark.slow
def test_a_job_of_several_scripts(project, script):
    targets = [script("print(1)", "a.py").path, script("1 / 0", "b.py").path, script("print(3)", "c.py").path]
    records = list(loop.run(make_plan(spec_from_mapping({"kind": "job", "run": targets}))))
    assert [record.status for record in records] == [Status.FINISHED, Status.FAILED]


# ------------------------------------------------------------------------------------------------ stopped early

SLEEPY = """
import os, subprocess, time
print("pids", os.getpid(), subprocess.Popen(["sleep", "600"]).pid, flush=True)
time.sleep(600)
"""


def pids_of(updates, tasks):
    """Follow a plan until its tasks have said their processes."""
    found = {}
    for update in updates:
        if isinstance(update, Happened) and isinstance(update.event, Log):
            found[update.key] = found.get(update.key, "") + update.event.text
        if len(found) == tasks and all(text.endswith("\n") for text in found.values()):
            return [int(word) for text in found.values() for word in text.split()[1:]]
    raise AssertionError("it ended")


@pytest.mark.slow
def test_a_group_that_is_given_up_closes_everything(plan, script, client, has_ended, stored):
    updates = loop.follow(plan(script(SLEEPY).path, **GROUP, allow_unknown_params=True))
    pids = pids_of(updates, tasks=2)
    assert {status for _, status in statuses(client)} == {"RUNNING"}
    updates.close()
    assert [has_ended(pid, timeout=0) for pid in pids] == [True] * 4
    assert statuses(client) == [("SVM", "KILLED"), ("SVM #0", "KILLED"), ("SVM #1", "KILLED")]
    parent = all_runs(client)[0]
    assert [trial.state for trial in study_of(parent).trials] == [TrialState.FAIL] * 2
    assert parent.data.tags["mlexp.trials.killed"] == "2"
    left = [path.relative_to(stored) for path in (stored / ".ml-experiment/runs").rglob("*") if path.is_file()]
    assert [str(path) for path in left] == [f".ml-experiment/runs/{parent.info.run_id}/group.json"]


@pytest.mark.slow
def test_an_error_of_the_caller_does_the_same(plan, script, client, has_ended):
    updates = loop.follow(plan(script(SLEEPY).path, **GROUP, allow_unknown_params=True))
    pids = pids_of(updates, tasks=2)
    with pytest.raises(KeyboardInterrupt):
        updates.throw(KeyboardInterrupt)
    assert [has_ended(pid, timeout=0) for pid in pids] == [True] * 4
    assert {status for _, status in statuses(client)} == {"KILLED"}


@pytest.mark.slow
def test_whoever_takes_the_last_record_and_leaves_changes_nothing(plan, script, client):
    updates = loop.run(plan(script(TRAIN).path, **GROUP))
    for record in updates:
        if record.kind == "group":
            break
    updates.close()
    assert {status for _, status in statuses(client)} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "number"), [("script", signal.SIGINT), ("group", signal.SIGINT), ("group", signal.SIGTERM)]
)
def test_interrupting_the_command(stored, script, client, has_ended, asked, number):
    target = script(SLEEPY, "sleepy.py").path
    if asked == "group":
        target = str(stored / "group.yaml")
        text = """
            kind: group
            name: g
            run: sleepy.py
            allow_unknown_params: true
            param_space: {C: "range(0, 9)"}
            slots: 2
            executor: inline
        """
        (stored / "group.yaml").write_text(textwrap.dedent(text))
    words = [sys.executable, "-m", "ml_experiment_nb.cli", "run", target]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        try:
            pids = wait_for_pids(command, stored, tasks=2 if asked == "group" else 1)
            command.send_signal(number)
            _, errors = command.communicate(timeout=60)
        finally:
            command.kill()
    assert command.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert [has_ended(pid, timeout=0) for pid in pids] == [True] * len(pids)
    found = statuses(client)
    assert len(found) == (3 if asked == "group" else 1)
    assert {status for _, status in found} == {"KILLED"}


def wait_for_pids(command, stored, tasks):
    """Wait until the tasks' logs, which are written as they run, hold their processes."""
    until = time.monotonic() + 60
    while command.poll() is None and time.monotonic() < until:
        logs = [path.read_text() for path in (stored / ".ml-experiment" / "runs").rglob("log.txt")]
        found = [text.split()[1:] for text in logs if text.endswith("\n")]
        if len(found) == tasks:
            return [int(word) for words in found for word in words]
        time.sleep(0.05)
    raise AssertionError("the tasks never began")


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_a_wrong_option_of_the_sampler_leaves_no_run_open(plan, script, client):
    with pytest.raises(SpecError, match="n_startup_trials"):
        plan(script(TRAIN).path, **{**GROUP, "sampler": {"name": "TPE", "n_startup_trial": 1}})
    assert statuses(client) == []


def test_slots_that_can_not_be_had_leave_no_run_open(plan, script, client, monkeypatch):
    def refuse(plan, note):
        raise ExecutorError("no Ray answers")

    monkeypatch.setattr(loop, "open_executor", refuse)
    with pytest.raises(ExecutorError):
        list(loop.run(plan(script(TRAIN).path, **GROUP)))
    (run,) = all_runs(client)
    assert run.info.status == "FAILED"
    assert run.data.tags["mlexp.error"] == "ExecutorError: no Ray answers"
    assert study_of(run).trials == []


def test_a_value_that_can_not_be_sent_opens_no_run(plan, client):
    source = "C = 1\n{'acc': 1 if lock else 0}"
    with pytest.raises(CaptureError, match="'lock' "):
        list(loop.run(plan([{"source": source}], {"lock": threading.Lock()}, **GROUP)))
    assert all_runs(client) == []


def test_a_store_that_can_not_be_reached_starts_nothing(plan, script, stored, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="no tracking server answers"):
        list(loop.run(plan(script("open('ran', 'w')").path)))
    assert not (stored / "ran").exists()


# ------------------------------------------------------------------------------------------------ tables


EACH = {"param_space": None, "sampler": None, "name": "rows"}


@pytest.fixture
def fails_at_two():
    def function(C, note=""):
        if C == 2:
            raise ValueError("that was two")
        return {"acc": C / 10}

    return function


@pytest.mark.slow
def test_a_table_in_the_eyes_of_plain_mlflow(function_plan, fails_at_two, client, stored):
    (stored / "params.csv").write_text("C,note\n1,\n2,\n3,last\n")
    made = function_plan(fails_at_two, **{**EACH, "each": str(stored / "params.csv")})
    records = loop.collect(made, loop.run(made))
    assert [(one.number, one.name, one.params["C"], one.ok) for one in records] == [
        (0, "rows #0", 1, True),
        (1, "rows #1", 2, False),
        (2, "rows #2", 3, True),
    ]
    assert (records.best.number, records.parent.status) == (2, Status.FAILED)
    assert records.parent.failure.message == "1 of 3 rows did not finish; the first: row 1: ValueError: that was two"
    parent = all_runs(client)[0]
    tags = parent.data.tags
    assert (parent.info.status, parent.data.metrics, parent.data.params) == ("FAILED", {"acc": 0.3}, {})
    assert (tags["mlexp.rows"], tags["mlexp.trials.finished"], tags["mlexp.trials.failed"]) == ("3", "2", "1")
    assert (tags["mlexp.each"], tags["mlexp.best.C"]) == (str(stored / "params.csv"), "3")
    assert "mlexp.study" not in tags
    assert text_of(client, parent, "record/each.csv") == "C,note\n1,\n2,\n3,last\n"
    lines = text_of(client, parent, "results.csv").splitlines()
    assert lines[0] == "row,C,note,acc,status,seconds,error,run_id"
    assert [line.split(",")[:5] for line in lines[1:]] == [
        ["0", "1", "", "0.1", "finished"],
        ["1", "2", "", "", "failed"],
        ["2", "3", "last", "0.3", "finished"],
    ]
    row = next(run for run in all_runs(client) if run.data.tags.get("mlexp.trial") == "2")
    assert "each:\n- C: 3\n  note: last\n" in text_of(client, row, "record/spec.yaml")


@pytest.mark.slow
def test_rows_are_taken_one_by_one(function_plan, client):
    made = function_plan(lambda C: {"acc": C}, **EACH, each=[{"C": k} for k in range(10_000)])
    updates = loop.follow(made)
    running, most = set(), 0
    for update in updates:
        if isinstance(update, Started) and not update.parent:
            running.add(update.key)
        elif not isinstance(update, Started | Happened):
            running.discard(str(update.number))
        most = max(most, len(running))
        if getattr(update, "number", None) == 5:
            break
    updates.close()
    assert most == 2
    assert len(all_runs(client)) <= 12
    assert {run.info.status for run in all_runs(client)} == {"FINISHED", "KILLED"}
    assert len(text_of(client, all_runs(client)[0], "results.csv").splitlines()) == len(all_runs(client))


def test_a_table_needs_no_study(function_plan, fails_at_two, stored):
    made = function_plan(fails_at_two, **EACH, each=[{"C": 1}])
    assert all(record.ok for record in loop.run(made))
    assert not (stored / ".ml-experiment/studies").exists()


def test_a_metric_that_no_row_reports_is_noted(function_plan, fails_at_two):
    made = function_plan(fails_at_two, **{**EACH, "metric": "ac"}, each=[{"C": 1}])
    records = loop.collect(made, loop.run(made))
    assert records.best is None
    assert "no row reported 'ac'; did you mean 'acc'?" in records.parent.notes


@pytest.mark.ray
def test_a_table_on_ray(function_plan, fails_at_two):
    made = function_plan(fails_at_two, **{**EACH, "executor": "auto"}, each=[{"C": 1}, {"C": 2}, {"C": 3}])
    assert made.executor == "ray"
    try:
        records = loop.collect(made, loop.run(made))
    finally:
        from ml_experiment_nb.executors.ray import shutdown

        shutdown()
    assert [(one.params["C"], one.ok) for one in records] == [(1, True), (2, False), (3, True)]


# ------------------------------------------------------------------------------------------------ slots that are lost


@pytest.fixture
def losing(monkeypatch):
    """Have the slot of the first task that ends be lost at that moment, and `after` be called with the executor."""

    def lose(after=lambda executor: None):
        lost = []

        class Losing(InlineExecutor):
            def poll(self, timeout):
                arrived = super().poll(timeout)
                for k, (key, event) in enumerate(arrived):
                    if isinstance(event, Done) and not lost:
                        lost.append(key)
                        failure = Failure("SlotLostError", "its slot was lost")
                        arrived[k] = key, Done(Outcome(Status.FAILED, failure))
                        after(self)
                return arrived

        monkeypatch.setattr(loop, "open_executor", lambda plan, note: Losing(1))
        return lost

    return lose


@pytest.fixture
def acc():
    def train(C):  # in here, it travels whole
        return {"acc": C}

    return train


def no_slots(executor):
    executor.slots = 0


def test_a_lost_trial_is_there_once(function_plan, acc, losing, client):
    losing()
    made = function_plan(acc)
    records = loop.collect(made, loop.run(made))
    assert sorted(record.params["C"] for record in records if record.ok) == [1, 2, 3, 4]
    assert len(records) == 4
    assert all(run.info.status != "RUNNING" for run in all_runs(client))


def test_without_slots_a_group_ends_when_nothing_is_left(function_plan, acc, losing):
    losing(no_slots)
    made = function_plan(acc, sampler="Random", num_trials=1, retries=0)
    records = loop.collect(made, loop.run(made))
    assert [str(record.failure) for record in records] == ["SlotLostError: its slot was lost"]


def test_a_condition_that_a_lost_trial_has_met_is_not_met(function_plan, acc, losing):
    losing()
    made = function_plan(acc, stop_when="acc >= 1", sampler="Random", num_trials=2, seed=1)
    records = loop.collect(made, loop.run(made))
    assert [record.status for record in records] == [Status.FINISHED]  # the same point, once more: then it is met
    assert records.parent.ok
    assert "stop_when is met by" in records.parent.notes[-1]


@pytest.mark.slow
def test_a_trial_that_waits_to_be_tried_again_counts_when_its_group_is_stopped(function_plan, acc, losing, client):
    losing(no_slots)
    made = function_plan(acc, timeout=3.0)
    records = loop.collect(made, loop.run(made))
    assert [(record.status, record.failure.type) for record in records] == [(Status.KILLED, "SlotLostError")]
    assert records.parent.status is Status.FAILED
    parent = all_runs(client)[0]
    assert parent.data.tags["mlexp.trials.killed"] == "1"
    storage = optuna.storages.journal.JournalFileBackend(parent.data.tags["mlexp.storage"])
    study = optuna.load_study(
        study_name=parent.data.tags["mlexp.study"], storage=optuna.storages.JournalStorage(storage)
    )
    assert all(trial.state.is_finished() for trial in study.trials)
