import json
from pathlib import Path

import pytest

from ml_experiment_nb import errors
from ml_experiment_nb.backend import verbs
from ml_experiment_nb.backend.asks import RunsAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import Where
from ml_experiment_nb.backend.verbs import answer

WIRE = json.loads((Path(__file__).parents[1] / "wire.json").read_text())["answers"]


@pytest.fixture
def ask(project):
    def ask(verb, /, route=None, **given):
        return answer(Project(project), verb, Where(project, project, route or {}), given)

    return ask


def refused(ask, *args, **given):
    with pytest.raises(Refused) as raised:
        ask(*args, **given)
    return raised.value.status, raised.value.message


def test_what_can_be_asked_for_is_told_as_pages_expect_it(ask):
    status, found = ask("about")
    [example] = [one["answer"] for one in WIRE if one["name"] == "about"]
    assert status == 200
    assert found.keys() == example.keys()
    assert found["distributions"][0].keys() == example["distributions"][0].keys()


@pytest.mark.parametrize(
    ("verb", "given", "said"),
    [
        ("run", {"limit": 1}, "limit: is no key"),
        ("runs", {"limt": 1}, "limt: is no key; did you mean 'limit'?"),
        ("runs", {"status": "done"}, "status"),
        ("diff", {"a": "a" * 32}, "b: is required"),
        ("check", {"text": ""}, "give text and file, or job"),
    ],
)
def test_a_field_that_is_wrong_is_named(ask, verb, given, said):
    status, message = refused(ask, verb, **given)
    assert (status, said in message) == (400, True), message


def test_what_is_not_there_is_not_found_and_nothing_is_made(ask, project):
    assert refused(ask, "run", {"run": "a" * 32})[0] == 404
    assert refused(ask, "job", {"job": "0" * 12})[0] == 404
    assert ask("jobs") == (200, {"jobs": []})
    assert not (project / ".ml-experiment").exists()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.RunNotFoundError("x"), 404), (errors.StoreError("x"), 503), (errors.StoreLostError("x"), 503),
        (errors.ExecutorError("x"), 503), (errors.SlotLostError("x"), 503), (errors.StillRunningError("x"), 409),
        (errors.ResumeError("x"), 409), (errors.SpecError("x"), 400), (errors.ParameterError("x", key="C"), 400),
        (errors.ReplayError("x"), 400), (errors.ImageError("x"), 400), (errors.TaskError("x"), 400),
    ],
)  # fmt: skip
def test_an_error_of_ours_is_refused_with_a_status(ask, monkeypatch, error, status):
    def fail(*_):
        raise error

    monkeypatch.setitem(verbs._VERBS, "run", verbs._Verb(fail))
    assert refused(ask, "run") == (status, str(error))


def test_another_error_is_no_refusal(ask, monkeypatch):
    monkeypatch.setitem(verbs._VERBS, "runs", verbs._Verb(lambda *_: 1 / 0, RunsAsked))
    with pytest.raises(ZeroDivisionError):
        ask("runs")


def test_every_verb_has_a_route():
    text = (Path(verbs.__file__).parents[1] / "server/routes.py").read_text()
    assert [verb for verb in verbs._VERBS if f'"{verb}"' not in text] == []
