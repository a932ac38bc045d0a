"""How a record is compared with what is asked, and what is said of it."""

from dataclasses import replace

import pytest
from made_records import record

from ml_experiment_nb.capture.basis import ENVIRONMENT, MODULES, VALUES
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.containment import Container
from ml_experiment_nb.known import (
    DATA,
    REPLAY_OF,
    TAKEN_FROM,
    Known,
    compared,
    counts,
    differences,
    facts,
    taken,
    taken_of_group,
)
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.trials import DRAWN

NOW = {MODULES: "1 file aaa", ENVIRONMENT: "Python 3.11.4; numpy==2.0", VALUES: "none"}
TRAIN = Input("train.csv", "a" * 32, "local", {"uri": "file:///train.csv"}, "1 file, 3 kB")


def container():
    return Container("sha256:abc", "team/x:1", "", "unix:///engine", "/usr/bin/python3", None)


def had(**changes):
    tags = {**NOW, DATA: str(TRAIN), **changes}
    return record(tags={name: text for name, text in tags.items() if text is not None})


def test_all_the_same():
    assert differences(had(), NOW, [TRAIN]) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({MODULES: "1 file bbb"}, "the files that its code imports were others"),
        ({ENVIRONMENT: "Python 3.11.4; numpy==1.9"}, "it had numpy==1.9, and now it is numpy==2.0"),
        ({ENVIRONMENT: "Python 3.11.4; numpy==2.0; torch==2.1"}, "it had torch==2.1"),
        ({ENVIRONMENT: "Python 3.11.4"}, "it had no numpy==2.0"),
        ({VALUES: "c0ffee"}, "what its code read of the notebook was something else"),
        ({VALUES: None}, "it doesn't say what its code read of the notebook"),
        ({MODULES: None}, "it doesn't say what its code imported"),
        ({DATA: None}, "train.csv was another, or not recorded"),
        ({DATA: f"train.csv (1 file, 3 kB) {'b' * 32}"}, "train.csv was another, or not recorded"),
    ],
)
def test_what_sets_a_record_apart(changes, told):
    assert differences(had(**changes), NOW, [TRAIN]) == [told]


def test_data_counts_by_its_content_and_not_by_its_name():
    moved = f"data/train.csv (1 file, 3 kB) {TRAIN.digest}; other.csv (1 file, 1 kB) {'b' * 32}"
    assert differences(had(**{DATA: moved}), NOW, [TRAIN]) == []


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.FINISHED])
def test_only_what_finished_counts(status):
    assert counts(record())
    assert not counts(record(status=status))


def test_what_was_taken_or_drawn_by_the_code_or_lacks_the_metric_does_not_count():
    assert not counts(record(tags={TAKEN_FROM: "1234"}))
    assert not counts(record(tags={DRAWN: "x"}))
    assert not counts(record(tags={REPLAY_OF: "1234"}))
    assert not counts(record(tags=container().tags))
    assert counts(record(tags={"mlflow.docker.image.id": "sha256:an-image-that-was-made-of-it"}))
    assert counts(record(metrics={"acc": 1.0}), ["acc"])
    assert not counts(record(metrics={"loss": 1.0}), ["acc"])


def test_a_taken_record_says_so_once_wherever_it_is_read():
    found = taken(taken(record(run_id="0123456789", notes=("another",))))
    assert found.notes[0].startswith("taken from 01234567 (20")
    assert found.notes[1:] == ("another",)
    assert found.tags[TAKEN_FROM] == "0123456789"
    assert "taken from 01234567" in str(found)
    assert Record.from_json(found.to_json()) == found


def test_a_group_says_how_many_are_taken():
    ran = record(name="g #9")
    some = [record(name=f"g #{k}", tags={TAKEN_FROM: f"{k}" * 32}) for k in range(5)]
    [note] = taken_of_group([*some, ran])
    assert note.startswith("5 of 6 runs were not run, and are taken from earlier ones: g #0 from 00000000, ")
    assert note.endswith(", and 2 more")
    assert taken_of_group([ran]) == []


def test_what_was_compared():
    assert (
        compared(NOW, [TRAIN])
        == "code with 1 file that it imports, parameters, data (train.csv), Python 3.11.4, numpy==2.0"
    )
    told = compared({**NOW, MODULES: "none", VALUES: "c0ffee"}, [])
    assert told == "code, parameters, what it reads of the notebook, Python 3.11.4, numpy==2.0"


def test_what_a_plan_shows_of_it():
    assert facts(Known(compared="all")) == [("known", "nothing of it yet"), ("compared", "all")]
    one = record(run_id="0123456789", name="g #1")
    rows = facts(Known({"x": one}, "all", ("2 runs of this code not: why",)))
    assert [text.partition(" (")[0] for _, text in rows] == [
        "1 run: what is asked again is taken from there", "g #1, 01234567", "2 runs of this code not: why", "all"
    ]  # fmt: skip
    whole = facts(Known({"x": one}, "all", whole=(replace(one, run_id="9876543210"),)))
    assert whole[0][1].startswith("all of it: taken from 98765432")
