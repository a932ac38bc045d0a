import os
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner

from ml_experiment_nb import cli, loop
from ml_experiment_nb.again import Again
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forecast import estimate, first_points, forecast, how_many
from ml_experiment_nb.identity import code_of, identity_tags
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Record, Status, now
from ml_experiment_nb.search import Search
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

TRAIN = "from ml_experiment_nb import job\n@job\ndef main(C=1, k='x'):\n    return {'a': C}\nmain()\n"
SPACE = {"C": "uniform(0, 1)", "k": "choice(['x', 'y', 'z'])"}


@pytest.fixture
def group(project):
    (project / "train.py").write_text(TRAIN)

    def make(**keys):
        return spec_from_mapping(
            {"kind": "group", "run": "train.py", "param_space": SPACE, "slots": 2, "executor": "inline", **keys}
        )

    return make


@pytest.fixture
def past(stored, group):
    """Put runs into the store that took so many seconds each."""
    store = Store(stored)

    def put(*seconds, spec=None, kind="trial", parent=None, number=None, status="FINISHED", tags=None, start=None):
        spec = spec or group()
        tags = tags or identity_tags(spec, code_of(spec.run, stored))
        made = []
        for k, each in enumerate(seconds):
            started = int(((start or now()) - timedelta(days=1)).timestamp() * 1000)
            common = {"mlexp.kind": kind, "mlflow.source.name": "train.py", **tags}
            if number is not None:
                common["mlexp.trial"] = str(number + k)
            if parent is not None:
                common["mlflow.parentRunId"] = parent
            run = store.client.create_run(store.experiment_id(spec.name), started, common, f"past {k}")
            store.client.set_terminated(run.info.run_id, status, started + int(each * 1000))
            made.append(run.info.run_id)
        return made

    return put


# --- the first points ---


@pytest.mark.parametrize(
    "keys", [{"seed": 3}, {"seed": 3, "sampler": "random"}, {"sampler": "grid"}, {"sampler": "qmc", "seed": 1}]
)
def test_the_first_points_are_those_that_are_drawn(group, project, keys):
    spec = group(**keys, **({"param_space": {"k": "range(9)"}} if keys.get("sampler") == "grid" else {}))
    search = Search(spec, project, "real")
    drawn = [dict(search.ask().params) for _ in range(5)]
    assert first_points(spec) == drawn


def test_no_more_points_than_there_are(group):
    assert len(first_points(group(num_trials=2))) == 2
    assert len(first_points(group(sampler="grid", param_space={"k": "choice(['x', 'y', 'z'])"}))) == 3
    assert len(first_points(group(sampler={"name": "TPE", "n_startup_trials": 2}))) == 2


def test_a_sampler_that_can_not_draw(group):
    with pytest.raises(SpecError, match=r"sampler\.colour: TPESampler has no such option"):
        forecast(make_plan(group(sampler={"name": "TPE", "colour": 1})))


def test_what_is_shown_of_the_points(group):
    lines = forecast(make_plan(group(seed=3, num_trials=2))).splitlines()
    assert lines[0] == "  estimate   none: there are no past runs"
    assert [line[:13] for line in lines[1:]] == ["  first      ", " " * 13]
    assert lines[1].startswith("  first      C=0.")
    lines = forecast(make_plan(group(num_trials=2))).splitlines()
    assert lines[1].startswith("  such as    C=0.")
    assert lines[-1] == "             (examples: without a seed, others are drawn when it runs)"
    each = spec_from_mapping({"run": "train.py", "each": [{"C": 1}]})
    assert forecast(make_plan(each)).splitlines() == lines[:1]
    assert forecast(make_plan(spec_from_mapping({"run": "train.py", "kind": "job"}))) == ""


# --- how long it takes ---


def test_an_estimate(group, past):
    past(2.0, 3.0, 4.0, 60.0)
    found = estimate(make_plan(group(num_trials=9)))
    assert (found.each, found.spread, found.past, found.startup, found.same_code) == (3.5, (2.0, 60.0), 4, None, True)
    assert found.total == 5 * 3.5
    text = forecast(make_plan(group(num_trials=9, seed=1))).splitlines()[0]
    each = "9 trials, 3.50 s each (4 past runs, 2.00 s to 1 min 00 s)"
    assert text == f"  estimate   about 20 s: {each}, without what it takes to start"
    alone = spec_from_mapping({"run": "train.py", "params": {"C": 3}})
    assert forecast(make_plan(alone)) == "  estimate   about 4 s: 3.50 s each (4 past runs, 2.00 s to 1 min 00 s)"
    rows = spec_from_mapping({"run": "train.py", "each": [{"C": 1}] * 3, "slots": 1})
    assert forecast(make_plan(rows)).startswith("  estimate   about 10 s: 3 rows, 3.50 s each")


def test_what_a_group_takes_to_start(group, past):
    begun = now()
    [parent] = past(30.0, kind="group", start=begun)
    past(6.0, parent=parent, number=0, start=begun + timedelta(seconds=2))
    past(1.0, 1.0, parent=parent, number=1, start=begun + timedelta(seconds=8))
    found = estimate(make_plan(group(num_trials=4)))
    assert (found.each, round(found.startup, 2), round(found.total, 2)) == (1.0, 7.0, 9.0)
    assert ", 7.00 s to start" in forecast(make_plan(group(num_trials=4)))


def test_only_runs_that_finished_of_the_same_name_count(group, past, project):
    past(1.0, status="FAILED")
    past(1.0, spec=group(name="other"))
    past(9.0, kind="group")
    assert estimate(make_plan(group())) is None
    past(5.0)
    assert estimate(make_plan(group())).each == 5.0
    (project / "train.py").write_text(TRAIN + "print('changed')\n")
    found = estimate(make_plan(group()))
    assert (found.each, found.same_code) == (5.0, False)
    assert "(1 past run of the same file, whose code was another)" in forecast(make_plan(group()))
    past(7.0)
    assert (estimate(make_plan(group())).each, estimate(make_plan(group())).past) == (7.0, 1)


def test_how_many_runs_there_are(group):
    assert how_many(make_plan(group(num_trials=7))) == 7
    grid = {"sampler": "grid", "param_space": {"k": "choice(['x', 'y'])", "C": "range(3)"}}
    assert how_many(make_plan(group(**grid))) == 6
    assert how_many(make_plan(group(**grid, num_trials=4))) == 4


def test_a_group_that_goes_on_has_what_is_left_to_do(group):
    def going_on(*kept, missing, redo=(), **keys):
        records = tuple(Record(None, "t", "g", "trial", Status.FINISHED, {}, {}, now(), 1.0, None, k) for k in kept)
        return replace(make_plan(group(**keys)), again=Again("run", records, missing, redo))

    plan = going_on(0, 1, 2, missing=4, redo=(3,), num_trials=7)
    assert how_many(plan) == 4
    assert "first" not in forecast(plan)
    grid = {"sampler": "grid", "param_space": {"k": "choice(['x', 'y'])", "C": "range(3)"}}
    assert how_many(going_on(0, 1, missing=None, redo=(2,), **grid)) == 4
    assert how_many(going_on(0, 1, 2, missing=None, redo=(2,), **grid)) == 4
    assert how_many(going_on(0, 1, missing=2, num_trials=4, **grid)) == 2
    rows = spec_from_mapping({"run": "train.py", "each": [{"C": 1}] * 3, "slots": 1})
    assert how_many(replace(make_plan(rows), again=going_on(0, missing=None).again)) == 2


@pytest.mark.slow
def test_real_runs_are_what_is_looked_at(stored, group):
    done = list(loop.run(make_plan(group(num_trials=3, seed=1))))
    found = estimate(make_plan(group(num_trials=3)))
    assert found.past == 3
    assert found.each == pytest.approx(sorted(one.seconds for one in done[:-1])[1], abs=0.01)
    assert found.startup >= 0


@pytest.mark.parametrize("named", [None, "sqlite:///{}/there.db"])
def test_a_plan_makes_no_store(group, project, monkeypatch, named):
    if named:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", named.format(project))
    before = sorted(os.listdir(project))
    assert forecast(make_plan(group())).startswith("  estimate   none: there are no past runs")
    assert sorted(os.listdir(project)) == before


def test_a_store_that_can_not_be_reached_is_said(group, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    assert forecast(make_plan(group())).startswith("  estimate   none: ")
    assert time.monotonic() - began < 60


def test_the_command_shows_it(stored, group, past, project):
    past(2.0)
    (project / "svm.yaml").write_text(
        "kind: group\nname: train\nrun: train.py\nseed: 1\nparam_space: {C: 'uniform(0, 1)'}\n"
    )
    shown = CliRunner().invoke(cli.commands, ["run", "svm.yaml", "--plan"])
    assert "  estimate   about " in shown.stdout
    assert "  first      C=0." in shown.stdout
