import dataclasses
import os
import threading
import urllib.parse
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from ml_experiment_nb import (
    drivers,
    groups,
    loop,
    orphans,
    patience,
    provenance,
    recording,
    sweeps,
    task_runs,
)
from ml_experiment_nb.errors import ResumeError, RunNotFoundError, StillRunningError, StoreError
from ml_experiment_nb.events import Log
from ml_experiment_nb.parents import Parent
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Happened, Started

HANG = """
import os, time

def hang(C):
    if os.path.exists("hang"):
        if len(os.listdir("done")) >= 2:
            print("hanging", flush=True)
            while os.path.exists("hang"):
                time.sleep(0.02)
        open(f"done/{C}", "w").close()
"""
TRAIN = """
import os
from ml_experiment_nb import job
from hanging import hang

@job
def main(C, kernel="rbf"):
    hang(C)
    if C in (1, 3) and os.path.exists("fail"):
        raise ValueError("odd")
    return {"acc": C / 10, "loss": -C}

main()
"""
GROUP = {
    "kind": "group",
    "name": "g",
    "run": "train.py",
    "param_space": {"C": "range(0, 6)"},
    "metric": {"name": "acc", "direction": "maximize"},
    "sampler": "Grid",
    "executor": "inline",
    "slots": 2,
}


@pytest.fixture
def project_folder(stored):
    (stored / "train.py").write_text(TRAIN)
    (stored / "hanging.py").write_text(HANG)
    (stored / "done").mkdir()
    return stored


@pytest.fixture
def plan(project_folder):
    def make(values=None, **keys):
        return make_plan(spec_from_mapping({**GROUP, **keys}), values=values)

    return make


@pytest.fixture
def store(project_folder):
    return Store(project_folder)


@pytest.fixture
def interrupted(project_folder):
    """Run a plan until two or three trials have ended and two hang, and stop it as Ctrl-C does; return its run's id."""

    def run(made):
        for one in (project_folder / "done").iterdir():
            one.unlink()
        (project_folder / "hang").touch()
        updates = loop.follow(made)
        hanging, run_id = set(), next(updates).run_id
        for update in updates:
            if isinstance(update, Happened) and isinstance(update.event, Log) and "hanging" in update.event.text:
                hanging.add(update.key)
            if len(hanging) == 2:
                break
        with pytest.raises(KeyboardInterrupt):
            updates.throw(KeyboardInterrupt)
        (project_folder / "hang").unlink()
        return run_id

    return run


def study_of(record):
    storage = optuna.storages.journal.JournalFileBackend(record.tags["mlexp.storage"])
    return optuna.load_study(study_name=record.tags["mlexp.study"], storage=optuna.storages.JournalStorage(storage))


def finished(store, run_id):
    """Return the values of C of a group's finished trials, sorted."""
    return sorted(int(float(one.params["C"])) for one in store.children(run_id) if one.ok)


def all_ended(store):
    return all(record.status.ended for record in store.records(limit=1000))


# ------------------------------------------------------------------------------------------------ going on


@pytest.mark.slow
def test_the_same_group_goes_on(plan, interrupted, store, project_folder):
    run_id = interrupted(plan())
    assert store.record(run_id).status is Status.KILLED
    there = len(finished(store, run_id))
    lost = sorted(str(one.number) for one in store.children(run_id) if not one.ok)
    made = groups.continued(plan())
    assert made.again.run_id == run_id
    records = loop.collect(made, loop.run(made))
    assert records.parent.run_id == run_id
    assert store.record(run_id).status is Status.FINISHED
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]  # none lost, none doubled
    assert sorted(one.params["C"] for one in records) == [0, 1, 2, 3, 4, 5]  # those of before are among them
    assert records.best.params["C"] == 5
    assert made.total is None
    [note] = made.notes
    assert note.startswith(f"goes on with the group {run_id[:8]}: {there} trials are done, 2 to be tried again")
    assert note in store.record(run_id).notes
    assert all_ended(store)
    assert list((project_folder / ".ml-experiment/runs").iterdir()) == []
    repeats = [one.tags["mlexp.repeats"] for one in store.children(run_id) if "mlexp.repeats" in one.tags]
    assert sorted(repeats) == lost
    assert (len(lost), there >= 2) == (2, True)
    assert {one.state for one in study_of(store.record(run_id)).trials} == {TrialState.COMPLETE, TrialState.FAIL}
    assert groups.continued(plan()).again is None  # a finished group is never gone on with


@pytest.mark.slow
def test_a_group_goes_on_by_its_id(plan, interrupted, store):
    run_id = interrupted(plan())
    made = groups.resumed(run_id[:8])
    loop.collect(made, loop.run(made))
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ResumeError, match=rf"nothing is missing of {run_id[:8]}"):
        groups.resumed(run_id)


@pytest.mark.slow
def test_a_group_that_is_stopped_twice(plan, interrupted, store):
    run_id = interrupted(plan())
    assert interrupted(groups.continued(plan())) == run_id
    made = groups.continued(plan())
    loop.collect(made, loop.run(made))
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]
    numbers = [one.number for one in store.children(run_id)]
    assert len(numbers) == len({*numbers})
    assert all_ended(store)


@pytest.mark.slow
def test_a_point_that_was_drawn_and_whose_run_was_never_opened_is_not_lost(plan, store, monkeypatch):
    opened = []

    def gone(*arguments, **options):
        if len(opened) == 3:
            raise StoreError("it has gone")
        opened.append(options["number"])
        return provenance.open_for(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(task_runs, "open_for", gone)
        patch.setenv(patience.VARIABLE, "0")
        with pytest.raises(StoreError, match="it has gone; it was tried for 0 s"):
            list(loop.run(plan()))
    [run_id] = [one.run_id for one in store.records() if one.kind == "group"]
    assert store.record(run_id).status is Status.KILLED
    assert all_ended(store)
    made = groups.continued(plan())
    loop.collect(made, loop.run(made))
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_store_that_goes_for_a_moment_costs_nothing(plan, store, monkeypatch):
    away = iter([False, False, True, True, False, True])

    def moody(*arguments, **options):
        if next(away, False):
            raise StoreError("it has gone")
        return provenance.open_for(*arguments, **options)

    monkeypatch.setattr(task_runs, "open_for", moody)
    monkeypatch.setattr(patience, "AGAIN", 0.05)
    made = plan()
    records = loop.collect(made, loop.run(made))
    assert sorted(one.params["C"] for one in records) == [0, 1, 2, 3, 4, 5]
    assert finished(store, records.parent.run_id) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_runs_that_can_not_be_closed_for_a_moment_are_closed_later(plan, store, monkeypatch):
    away = iter([False, True, True, True, False])
    write = recording.OpenRun._write

    def moody(self, *arguments):
        if next(away, False):
            raise StoreError("it has gone")
        return write(self, *arguments)

    monkeypatch.setattr(recording.OpenRun, "_write", moody)
    monkeypatch.setattr(patience, "AGAIN", 0.05)
    made = plan()
    records = loop.collect(made, loop.run(made))
    assert sorted(one.params["C"] for one in records) == [0, 1, 2, 3, 4, 5]
    assert all(one.ok for one in records)
    assert finished(store, records.parent.run_id) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_the_number_of_trials_counts_what_is_there(plan, interrupted, store):
    keys = {"param_space": {"C": "uniform(0, 6)"}, "sampler": "Random", "num_trials": 7, "seed": 1}
    run_id = interrupted(plan(**keys))
    made = groups.resumed(run_id)
    assert made.total == 7
    loop.collect(made, loop.run(made))
    done = [one for one in store.children(run_id) if one.ok]
    assert len(done) == 7
    assert len({one.params["C"] for one in done}) == 7  # a seed draws no point twice


@pytest.mark.slow
def test_other_numbers_of_trials_and_slots_are_no_edit(plan, interrupted, store):
    space = {"param_space": {"C": "uniform(2, 6)"}, "sampler": "Random"}
    run_id = interrupted(plan(**space, num_trials=4))
    made = groups.continued(plan(**space, num_trials=5, slots=1, timeout_per_trial=60))
    assert made.again.run_id == run_id
    loop.collect(made, loop.run(made))
    assert len([one for one in store.children(run_id) if one.ok]) == 5


@pytest.mark.slow
def test_more_trials_of_a_group_that_has_finished(plan, store):
    made = plan(param_space={"C": "uniform(0, 1)"}, sampler="Random", num_trials=2)
    run_id = loop.collect(made, loop.run(made)).parent.run_id
    again = groups.resumed(run_id, trials=3)
    records = loop.collect(again, loop.run(again))
    assert (len(records), records.parent.run_id) == (5, run_id)
    assert len([one for one in store.children(run_id) if one.ok]) == 5
    assert "num_trials: 5" in store.text(store.record(run_id), "record/spec.yaml")
    more = groups.resumed(run_id, trials=1)
    assert len(loop.collect(more, loop.run(more))) == 6


@pytest.mark.slow
def test_more_trials_of_a_group_that_was_stopped_and_whose_failed_trials_were_made_up_for(
    plan, interrupted, store, project_folder
):
    (project_folder / "fail").touch()
    run_id = interrupted(plan(sampler="Random", num_trials=6, enqueue=[{"C": 1}, {"C": 2}]))
    (project_folder / "fail").unlink()
    made = groups.resumed(run_id)
    loop.collect(made, loop.run(made))
    assert len(finished(store, run_id)) == 6
    assert any(one.status is Status.FAILED for one in store.children(run_id))
    more = groups.resumed(run_id, trials=2)
    assert more.again.missing == 2
    loop.collect(more, loop.run(more))
    assert len(finished(store, run_id)) == 8


@pytest.mark.slow
def test_a_grid_takes_no_more_trials(plan, interrupted):
    with pytest.raises(ResumeError, match="has its points already"):
        groups.resumed(interrupted(plan()), trials=2)


@pytest.mark.slow
def test_failed_points_are_tried_again(plan, store, project_folder):
    (project_folder / "fail").touch()
    made = plan()
    parent = loop.collect(made, loop.run(made)).parent
    assert store.text(parent, "record/failures.txt").startswith("2 trials failed at train.py, line 10, in main")
    with pytest.raises(ResumeError, match="--failed tries the 2 that failed again"):
        groups.resumed(parent.run_id)
    (project_folder / "fail").unlink()
    again = groups.resumed(parent.run_id, failed=True)
    records = loop.collect(again, loop.run(again))
    assert finished(store, parent.run_id) == [0, 1, 2, 3, 4, 5]
    repeats = {one.tags["mlexp.repeats"]: one.params["C"] for one in records if "mlexp.repeats" in one.tags}
    failed = {str(one.number): one.params["C"] for one in records if one.status is Status.FAILED}
    assert repeats == failed
    with pytest.raises(ResumeError, match="nothing is missing"):
        groups.resumed(parent.run_id, failed=True)


@pytest.mark.slow
def test_the_rows_of_a_table_without_a_finished_run(plan, interrupted, store):
    keys = {"param_space": None, "sampler": None, "each": [{"C": C} for C in range(6)]}
    run_id = interrupted(plan(**keys))
    made = groups.resumed(run_id)
    records = loop.collect(made, loop.run(made))
    assert [one.number for one in records] == [0, 1, 2, 3, 4, 5]
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]
    lines = store.text(records.parent, "results.csv").splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [[str(k), str(k), "rbf"] for k in range(6)]
    with pytest.raises(ResumeError, match="every row has finished"):
        groups.resumed(run_id)


@pytest.mark.slow
def test_files_that_changed_are_noted_and_run_as_they_are(plan, interrupted, store, project_folder):
    run_id = interrupted(plan())
    (project_folder / "train.py").write_text(TRAIN.replace("C / 10", "C / 100"))
    made = groups.resumed(run_id)
    assert "train.py changed since: what comes now is of other code" in made.notes[1]
    records = loop.collect(made, loop.run(made))
    assert len(finished(store, run_id)) == 6
    values = {one.params["C"]: one.metrics["acc"] for one in records}
    assert {C / value for C, value in values.items() if C} == {10, 100}


@pytest.mark.slow
def test_other_code_starts_anew_and_says_so_once(plan, interrupted, project_folder):
    run_id = interrupted(plan())
    (project_folder / "train.py").write_text(TRAIN + "\n# only a word\n")
    assert groups.continued(plan()).again.run_id == run_id
    (project_folder / "train.py").write_text(TRAIN.replace("C / 10", "C / 100"))
    made = groups.continued(plan())
    assert made.again is None
    assert made.notes[0].startswith(f"the group {run_id[:8]} of this name did not finish, and ran other code")
    assert groups.continued(plan()).notes == ()


@pytest.mark.slow
def test_fresh_starts_anew_and_the_old_one_does_not_come_back(plan, interrupted, store):
    old = interrupted(plan())
    made = groups.continued(plan(), fresh=True)
    assert (made.again, made.notes) == (None, ())
    records = loop.collect(made, loop.run(made))
    assert records.parent.run_id != old
    assert groups.continued(plan()).again is None
    made = groups.resumed(old)  # by its id, it still does
    loop.collect(made, loop.run(made))
    assert finished(store, old) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", [{"name": "other"}, {"run": "other.py"}])
def test_another_name_or_target_is_another_group(plan, interrupted, change, project_folder):
    (project_folder / "other.py").write_text(TRAIN)
    interrupted(plan())
    made = groups.continued(plan(**change))
    assert (made.again, made.taken, made.notes) == (None, None, ())


def test_a_group_within_another_run_is_another_one(plan, interrupted, monkeypatch):
    interrupted(plan())
    monkeypatch.setenv("ML_EXPERIMENT_RUN", "f" * 32)
    assert groups.continued(plan()).again is None


# ------------------------------------------------------------------------------------------------ values that travel


CELL = """C = range(0, 6)
from hanging import hang
hang(C)
{"acc": C / len(held)}"""


@pytest.fixture
def cell(plan):
    def make(source=CELL, held=(1,) * 10, **keys):
        return plan({"held": list(held)}, run=[Cell(source=source, parameters=("C",))], **keys)

    return make


@pytest.mark.slow
def test_a_cell_s_values_stay_until_its_group_has_finished(cell, interrupted, store, project_folder):
    run_id = interrupted(cell())
    folder = project_folder / ".ml-experiment/runs" / run_id
    assert len(list(folder.glob("payload-*"))) == 1
    made = groups.resumed(run_id)
    assert made.values == {}
    records = loop.collect(made, loop.run(made))
    assert sorted(one.metrics["acc"] for one in records) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert not folder.exists()


@pytest.mark.slow
def test_a_cell_goes_on_with_the_values_of_today(cell, interrupted, project_folder):
    run_id = interrupted(cell())
    made = groups.continued(cell(held=[1] * 100))
    assert made.again.run_id == run_id
    records = loop.collect(made, loop.run(made))
    values = {one.params["C"]: one.metrics["acc"] for one in records}
    assert {C / value for C, value in values.items() if C} == {10, 100}
    assert not (project_folder / ".ml-experiment/runs" / run_id).exists()


def test_values_that_are_gone_are_said(cell, interrupted, project_folder):
    run_id = interrupted(cell())
    for file in (project_folder / ".ml-experiment/runs" / run_id).glob("payload-*"):
        file.unlink()
    with pytest.raises(ResumeError, match=r"the values that .* need are gone .*run its cell again"):
        groups.resumed(run_id)


def test_a_cell_that_has_finished_has_no_values_any_more(cell):
    made = cell()
    run_id = loop.collect(made, loop.run(made)).parent.run_id
    with pytest.raises(ResumeError, match="they are removed when it has finished"):
        groups.resumed(run_id)


@pytest.mark.slow
def test_a_function_with_values_that_json_has_no_form_for(interrupted, store, stored):
    from ml_experiment_nb import job

    class Scale:
        by = 10

    @job(name="f")
    def train(C, scale):
        from hanging import hang

        hang(C)
        return {"acc": C / scale.by}

    spec = {**GROUP, "name": "f", "params": {"scale": Scale()}}
    from ml_experiment_nb.targets import Function

    function = train.function
    made = make_plan(spec_from_mapping({**spec, "run": [Function(function=function)]}), values={"function": function})
    run_id = interrupted(made)
    again = groups.resumed(run_id)
    records = loop.collect(again, loop.run(again))
    assert sorted(one.metrics["acc"] for one in records) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


# ------------------------------------------------------------------------------------------------ an edited space


@pytest.mark.slow
def test_trials_that_fit_an_edited_space_count(plan, interrupted, store):
    old = interrupted(plan(sampler="Random", num_trials=9, param_space={"C": "choice([0, 1, 2])"}, seed=0))
    there = [int(one.params["C"]) for one in store.children(old) if one.ok]
    made = groups.continued(plan(sampler="Random", num_trials=6, param_space={"C": "choice([1, 2, 7])"}, seed=0))
    assert made.again is None
    assert made.taken.run_id == old
    fitting = [C for C in there if C != 0]
    assert [one.params["C"] for one in made.taken.trials] == fitting
    assert f"the space was edited: {len(fitting)} trials of {old[:8]}" in made.notes[0]
    records = loop.collect(made, loop.run(made))
    new = records.parent.run_id
    assert len(records) == 6
    assert len([one for one in store.children(new) if one.ok]) == 6 - len(fitting)
    parent = store.record(new)
    assert parent.tags["mlexp.imported_from"] == old
    assert parent.tags["mlexp.imported"] == str(len(fitting))
    assert len(store.text(parent, "record/imported.txt").splitlines()) == len(fitting)
    left = store.text(parent, "record/not_imported.txt")
    assert left.count("C=0 is not in choice([1, 2, 7])") == there.count(0)
    assert left.count(": killed") == 2
    study = study_of(parent)
    attrs = [one.user_attrs.get("mlexp.imported_from") for one in study.trials]
    assert len([one for one in attrs if one]) == len(fitting)
    assert store.record(old).tags["mlexp.continued_by"] == new
    assert store.record(old).status is Status.KILLED
    assert all_ended(store)


@pytest.mark.slow
def test_a_grid_runs_what_the_imported_trials_leave(plan, interrupted, store):
    interrupted(plan(params={"kernel": "lin"}))
    made = groups.continued(plan(param_space={"C": "range(1, 8)"}, params={"kernel": "lin"}))
    there = [one.params["C"] for one in made.taken.trials]
    records = loop.collect(made, loop.run(made))
    assert sorted(one.params["C"] for one in records) == [1, 2, 3, 4, 5, 6, 7]
    assert finished(store, records.parent.run_id) == sorted({*range(1, 8)} - {*there})


@pytest.mark.slow
def test_imported_trials_still_count_when_the_new_group_is_stopped_too(plan, interrupted, store):
    interrupted(plan())
    made = groups.continued(plan(param_space={"C": "range(1, 8)"}))
    there = [one.params["C"] for one in made.taken.trials]
    run_id = interrupted(made)
    again = groups.continued(plan(param_space={"C": "range(1, 8)"}))
    assert again.again.run_id == run_id
    records = loop.collect(again, loop.run(again))
    assert sorted(int(one.params["C"]) for one in records) == [1, 2, 3, 4, 5, 6, 7]
    assert finished(store, run_id) == sorted({*range(1, 8)} - {*there})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 5])
def test_a_random_search_or_another_seed_that_goes_on_as_a_grid_misses_no_point(plan, interrupted, store, seed):
    space = {"C": "range(0, 6)", "kernel": "choice(['rbf', 'lin'])"}
    before = {"sampler": "Random", "num_trials": 20} if seed else {}
    run_id = interrupted(plan(param_space=space, seed=3, **before))
    made = groups.continued(plan(param_space=space, seed=seed, sampler="Grid"))
    assert made.again.run_id == run_id
    loop.collect(made, loop.run(made))
    found = {(one.params["C"], one.params["kernel"]) for one in store.children(run_id) if one.ok}
    assert len(found) == 12
    assert seed or len(finished(store, run_id)) == 12  # drawn at random, one may come twice


DRAWING = """
from hanging import hang
from ml_experiment_nb import Trial, job, report

@job
def main(C):
    hang(C)
    trial = Trial.get_current()
    x = trial.suggest_float("x", 0, 1)
    depth = trial.suggest_int("depth", 1, 3) if C < 3 else 0
    return {"acc": x + depth}

main()
"""


@pytest.mark.slow
def test_trials_whose_code_has_drawn_by_itself_are_taken_over_with_what_it_drew(
    plan, interrupted, store, project_folder
):
    (project_folder / "train.py").write_text(DRAWING)
    asked = {"sampler": "Random", "num_trials": 9, "seed": 0}
    old = interrupted(plan(**asked, param_space={"C": "choice([1, 2, 5])"}))
    there = [one for one in store.children(old) if one.ok]
    made = groups.continued(plan(**{**asked, "num_trials": len(there) + 2}, param_space={"C": "choice([1, 2, 5, 9])"}))
    assert len(made.taken.trials) == len(there)
    records = loop.collect(made, loop.run(made))
    assert len(records) == len(there) + 2
    taken = [one for one in study_of(records.parent).trials if "mlexp.imported_from" in one.user_attrs]
    assert sorted(one.params["x"] + one.params.get("depth", 0) for one in taken) == pytest.approx(
        sorted(one.metrics["acc"] for one in there)
    )
    assert all("x" in one.distributions for one in taken)
    assert sum("x" in one.params for one in records) == len(records)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"params": {"kernel": "lin"}}, "it has no kernel, which is lin now"),
        ({"metric": {"name": "loss", "direction": "minimize"}}, "its metric was another"),
    ],
)
def test_other_fixed_parameters_or_another_metric_take_nothing_over(plan, interrupted, keys, reason):
    interrupted(plan())
    made = groups.continued(plan(**keys))
    assert made.taken.trials == ()
    assert reason in made.taken.left[0]


@pytest.mark.slow
def test_edited_rows_start_anew(plan, interrupted):
    keys = {"param_space": None, "sampler": None}
    interrupted(plan(**keys, each=[{"C": C} for C in range(6)]))
    made = groups.continued(plan(**keys, each=[{"C": C} for C in range(7)]))
    assert (made.again, made.taken) == (None, None)
    assert "the rows were edited" in made.notes[0]


# ------------------------------------------------------------------------------------------------ what can't go on


@pytest.mark.slow
@pytest.mark.parametrize("tail", [b'{"op_code": 4, "wor', b"\0\0\0\0", b"{]\n"])
def test_a_journal_whose_end_was_lost_goes_on(plan, interrupted, store, tail):
    run_id = interrupted(plan())
    journal = Path(store.record(run_id).tags["mlexp.storage"])
    before = journal.read_bytes()
    journal.write_bytes(before + tail)
    made = groups.resumed(run_id)
    loop.collect(made, loop.run(made))
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]
    assert journal.read_bytes().startswith(before + b"{")
    assert journal.with_name(f"{journal.name}.cut").read_bytes() == tail


@pytest.mark.slow
def test_a_study_that_is_gone_is_said_and_the_same_group_starts_anew(plan, interrupted, store):
    run_id = interrupted(plan())
    Path(store.record(run_id).tags["mlexp.storage"]).unlink()
    with pytest.raises(ResumeError, match=r"the study of .* is gone .*: run it anew, with --fresh"):
        groups.resumed(run_id)
    made = groups.continued(plan())
    assert (made.again, "is gone" in made.notes[0]) == (None, True)
    assert loop.collect(made, loop.run(made)).parent.run_id != run_id


@pytest.mark.slow
def test_what_a_group_has_left_and_was_spoiled_is_said(cell, interrupted, store, project_folder):
    run_id = interrupted(cell())
    folder = project_folder / ".ml-experiment/runs" / run_id
    (folder / "spec.pkl").write_bytes(b"spoiled")
    with pytest.raises(ResumeError, match=r"spec.pkl can't be read .*: run it anew"):
        groups.resumed(run_id)
    kept = Path(urllib.parse.urlparse(store.record(run_id).artifact_uri).path) / "record/plan.json"
    kept.write_text("{")
    with pytest.raises(ResumeError, match=r"record/plan.json of .* can't be read"):
        groups.resumed(run_id)
    (folder / "group.json").write_text('{"asked": 1')
    made = groups.continued(cell())
    assert (made.again, made.taken) == (None, None)


@pytest.mark.slow
def test_what_can_not_be_resumed_is_said(plan, interrupted, store):
    made = make_plan(spec_from_mapping({"name": "one", "run": "train.py", "params": {"C": 1}}))
    [single] = loop.run(made)
    with pytest.raises(ResumeError, match="is a single experiment, which starts anew: run it again"):
        groups.resumed(single.run_id)
    run_id = interrupted(plan())
    trial = store.children(run_id)[0]
    with pytest.raises(ResumeError, match=f"is a trial; resume its group: `ml-experiment resume {run_id[:8]}`"):
        groups.resumed(trial.run_id)
    with pytest.raises(RunNotFoundError):
        groups.resumed("0" * 32)
    os.unlink(store.record(run_id).tags["mlexp.storage"])
    with pytest.raises(ResumeError, match=r"the study of .* is gone"):
        list(loop.run(groups.resumed(run_id)))
    assert store.record(run_id).status is Status.KILLED
    assert drivers.read_driver(drivers.folders(store.root / ".ml-experiment") / run_id) is None


def test_a_live_group_is_not_run_twice(plan, store, project_folder):
    updates = loop.follow(plan())
    run_id = next(updates).run_id
    with pytest.raises(StillRunningError, match=rf"is being run already, by process {os.getpid()} .*--fresh"):
        groups.continued(plan())
    with pytest.raises(StillRunningError, match="is being run by process"):
        groups.resumed(run_id)
    assert groups.continued(plan(), fresh=True).again is None
    assert groups.continued(plan(param_space={"C": "range(0, 3)"})).again is None  # another question
    updates.close()


# ------------------------------------------------------------------------------------------------ stop


@pytest.fixture
def driven(project_folder):
    """Drive a plan in a thread of this process until its first trials run."""
    threads = []

    def start(made):
        (project_folder / "hang").touch()
        for name in ("a", "b"):
            (project_folder / "done" / name).touch()
        found, begun = [], threading.Event()

        def drive():
            for update in loop.follow(made):
                found.append(update)
                if isinstance(update, Happened) and isinstance(update.event, Log):
                    begun.set()

        thread = threading.Thread(target=drive)
        threads.append(thread)
        thread.start()
        assert begun.wait(60)
        return found, thread

    yield start
    (project_folder / "hang").unlink(missing_ok=True)
    for thread in threads:
        thread.join(60)


@pytest.mark.slow
def test_a_group_is_stopped_and_goes_on(plan, driven, store, project_folder):
    found, thread = driven(plan())
    run_id = found[0].run_id
    record = groups.stop(run_id[:8], store=store)
    thread.join(60)
    assert record.status is Status.KILLED
    assert record.failure.message.startswith("stopped by ")
    assert found[-1].kind == "group"  # the driver's iteration ends by itself
    assert found[-1].status is Status.KILLED
    killed = [one for one in store.children(run_id) if one.status is Status.KILLED]
    assert killed
    assert all(one.failure.message.startswith("stopped by ") for one in killed)
    (project_folder / "hang").unlink()
    made = groups.continued(plan())
    loop.collect(made, loop.run(made))
    assert finished(store, run_id) == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_one_trial_is_stopped_and_the_others_go_on(plan, driven, store, project_folder):
    found, thread = driven(plan(param_space={"C": "range(2, 5)"}))
    trial = next(one for one in found if isinstance(one, Started) and not one.parent)
    record = groups.stop(trial.run_id, store=store)
    assert (record.status, record.failure.type) == (Status.KILLED, "Stopped")
    (project_folder / "hang").unlink()
    thread.join(60)
    parent = found[-1]
    assert parent.status is Status.FINISHED
    assert len(finished(store, parent.run_id)) == 2


def test_a_single_run_is_stopped(driven, store, project_folder):
    found, thread = driven(make_plan(spec_from_mapping({"name": "one", "run": "train.py", "params": {"C": 3}})))
    record = groups.stop(found[0].run_id, store=store)
    thread.join(60)
    assert (record.status, found[-1].status) == (Status.KILLED, Status.KILLED)


@pytest.mark.slow
def test_what_has_ended_stays_as_it_is(plan, store):
    made = plan()
    parent = loop.collect(made, loop.run(made)).parent
    assert groups.stop(parent.run_id, store=store).status is Status.FINISHED


def test_a_driver_elsewhere_that_does_not_answer_is_named(store, project_folder, monkeypatch):
    from ml_experiment_nb.drivers import Driver, Hold

    client = MlflowClient(store.uri)
    run = client.create_run(store.experiment_id("e"), tags={"mlexp.kind": "experiment"})
    folder = drivers.folders(project_folder / ".ml-experiment") / run.info.run_id
    folder.mkdir(parents=True)
    monkeypatch.setattr(orphans, "is_shared", lambda path: True)
    Hold(folder, Driver("elsewhere", 12, "another boot", "t", store.uri)).drop()
    assert sweeps.sweep(store) == []  # what can't be seen from here is left alone
    with pytest.raises(StillRunningError, match=r"its driver is process 12 on elsewhere.*--gone"):
        groups.stop(run.info.run_id, store=store, timeout=0.5)
    assert groups.stop(run.info.run_id, store=store, gone=True).status is Status.KILLED


def test_a_run_that_nobody_drives_from_here(store):
    client = MlflowClient(store.uri)
    run = client.create_run(store.experiment_id("e"), tags={"mlexp.driver": "elsewhere/12/ab"})
    with pytest.raises(StillRunningError, match="its driver is elsewhere/12/ab"):
        groups.stop(run.info.run_id, store=store)


@pytest.mark.slow
def test_the_plan_of_a_record_can_be_shown(plan, store, project_folder):
    made = plan()
    parent = loop.collect(made, loop.run(made)).parent
    shown = groups.recorded_plan(store, parent)
    assert (shown.spec, shown.kind, shown.goal) == (made.spec, "group", (("acc",), (True,)))
    assert shown.cwd == str(project_folder)


# ------------------------------------------------------------------------------------------------ what was in between


@pytest.mark.slow
def test_a_table_that_was_edited_is_not_gone_on_with(interrupted, store, project_folder):
    table = project_folder / "rows.csv"
    table.write_text("C\n0\n1\n2\n3\n")
    asked = {key: GROUP[key] for key in ("name", "run", "executor", "slots")}
    run_id = interrupted(make_plan(spec_from_mapping({**asked, "each": "rows.csv"})))
    table.write_text("C\n5\n6\n")
    with pytest.raises(ResumeError, match=r"rows.csv was edited since .* \(record/each.csv\)"):
        groups.resumed(run_id)
    table.write_text(store.text(store.record(run_id), "record/each.csv"))
    made = groups.resumed(run_id)
    assert [record.params["C"] for record in loop.collect(made, loop.run(made))] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("again", [groups.continued, None])
def test_a_driver_that_dies_when_all_is_done_leaves_a_group_that_can_be_closed(plan, store, monkeypatch, again):
    made = plan()
    with monkeypatch.context() as patch:
        patch.setattr(Parent, "close", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(loop.run(made))
    sweeps.sweep(store)
    group = next(record for record in store.records() if record.kind == "group")
    assert (group.status, finished(store, group.run_id)) == (Status.KILLED, [0, 1, 2, 3, 4, 5])
    made = again(plan()) if again else groups.resumed(group.run_id)
    records = loop.collect(made, loop.run(made))
    assert records.best.params["C"] == 5
    found = store.record(group.run_id)
    assert (found.status, found.metrics, found.tags["mlexp.trials.finished"]) == (Status.FINISHED, {"acc": 0.5}, "6")
    assert len(store.children(group.run_id)) == 6


@pytest.mark.slow
def test_what_a_limit_has_cut_off_is_tried_again(plan, store, project_folder):
    (project_folder / "hang").touch()
    made = plan(timeout=6.0, num_trials=4)
    records = loop.collect(made, loop.run(made))
    (project_folder / "hang").unlink()
    cut = [record for record in records if record.status is Status.KILLED]
    assert {record.failure.type for record in cut} == {"LimitReached"}
    run_id = records.parent.run_id
    made = groups.resumed(run_id)
    loop.collect(made, loop.run(made))
    assert len(finished(store, run_id)) == len(set(finished(store, run_id))) == 4
    assert {record.params["C"] for record in cut} <= {int(c) for c in finished(store, run_id)}
    assert not any(note.startswith("no more was begun") for note in store.record(run_id).notes)
    assert len(groups.trials_of(store, store.record(run_id))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"timeout": 4.0}, {"stop_when": "acc>=0"}])
def test_a_cell_whose_group_a_limit_has_cut_short_keeps_its_values(cell, store, project_folder, limit):
    (project_folder / "hang").touch()
    made = cell(num_trials=5, **limit)
    records = loop.collect(made, loop.run(made))
    (project_folder / "hang").unlink()
    run_id, folder = records.parent.run_id, project_folder / ".ml-experiment/runs" / records.parent.run_id
    assert len(list(folder.glob("payload-*"))) == 1
    again = groups.resumed(run_id)
    again = dataclasses.replace(again, spec=again.spec.model_copy(update=dict.fromkeys(limit)))
    list(loop.run(again))
    assert len(finished(store, run_id)) == len(set(finished(store, run_id))) == 5
    assert not folder.exists()


OPEN = """
from hanging import hang
from ml_experiment_nb import Trial, report
hang(0)
report(acc=Trial.get_current().suggest_float("C", 0, 1))
"""


@pytest.mark.slow
def test_a_point_that_was_asked_for_is_not_lost_before_it_was_drawn(plan, interrupted, store, project_folder):
    (project_folder / "train.py").write_text(OPEN)
    asked = {"param_space": {}, "sampler": "Random", "num_trials": 4, "enqueue": [{"C": 0.25}, {"C": 0.5}]}
    (project_folder / "done" / "x").touch()
    made = plan(**asked)
    (project_folder / "hanging.py").write_text(HANG.replace(">= 2", ">= 0"))
    run_id = interrupted(made)
    made = groups.continued(plan(**{**asked, "enqueue": [{"C": 0.25}, {"C": 0.5}, {"C": 0.75}]}))
    records = loop.collect(made, loop.run(made))
    assert records.parent.run_id == run_id
    drawn = [float(record.params["C"]) for record in records if record.ok]
    assert len(drawn) == 4
    assert {0.25, 0.5, 0.75} <= set(drawn)  # the last was added since
