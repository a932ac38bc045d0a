"""The result of an earlier run becomes that of one that is asked again."""

import pytest
from made_records import record

from ml_experiment_nb.known import TAKEN_FROM
from ml_experiment_nb.observing.seeding import UNSEEDED
from ml_experiment_nb.openings import untracked
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.taking import take


@pytest.fixture
def taken(project):
    """Take a record for a run of a group that optimises ``acc%``, and return what that ends as."""

    def make(found, params):
        (project / "train.py").write_text("print()")
        keys = {"run": "train.py", "param_space": {"C": "uniform(0, 1)"}, "metric": "acc%"}
        live = untracked("n", "trial", params)
        take(live, found, make_plan(spec_from_mapping(keys)))
        return live.close(Outcome(Status.FINISHED))

    return make


def test_metrics_and_defaults_are_those_of_the_earlier_one(taken):
    found = record(params={"C": 0.25, "kernel": "rbf"}, metrics={"acc_": 0.5, "loss": 1.0})
    made = taken(found, {"C": 0.5})
    assert made.params == {"C": 0.5, "kernel": "rbf"}  # what was given is its own
    assert made.metrics == {"acc%": 0.5, "loss": 1.0}  # the group knows its metric by its own name
    assert made.tags[TAKEN_FROM] == found.run_id
    assert any(found.run_id[:8] in note for note in made.notes)


def test_that_it_had_no_seed_is_said_of_this_one_too(taken):
    assert taken(record(tags={UNSEEDED: "numpy"}), {}).tags[UNSEEDED] == "numpy"
    assert UNSEEDED not in taken(record(), {}).tags
