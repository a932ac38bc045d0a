"""A trial in the eyes of the code that it is: outside of a run, in an experiment, and over the wire."""

import threading
import time

import pytest

from ml_experiment_nb import Trial, job, loop, wire
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.events import Answer, Ask, Metrics, Note, Params, Tags
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.trials import DRAWN, Fixed, Suggestion, answered
from ml_experiment_nb.wire import Inbox


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Answer what this process asks as the test says, over a real inbox; the questions are kept."""
    inbox, asked, answers, ended = Inbox(), [], {}, threading.Event()
    monkeypatch.setenv(wire.SOCKET, inbox.path)
    monkeypatch.setenv(wire.ARTIFACTS, str(tmp_path))
    answers["trial"] = Answer({"number": 3, "params": {"kernel": "rbf"}, "metric": "acc"})

    def listen():
        while not ended.is_set():
            for event in inbox.read():
                asked.append(event)
                if isinstance(event, Ask):
                    inbox.answer(answers.get(event.what, Answer(error="unexpected")))
                elif event.ask:
                    inbox.answer(answers["verdict"])
            time.sleep(0.005)

    listener = threading.Thread(target=listen)
    listener.start()
    yield asked, answers
    ended.set()
    listener.join()
    inbox.close()


def test_outside_of_a_run_there_is_no_trial(monkeypatch):
    monkeypatch.delenv(wire.SOCKET, raising=False)
    with pytest.raises(SpecError, match="is for code that a group runs, or an experiment; this is no run"):
        Trial.get_current()


def test_what_is_asked_and_what_comes_back(told):
    asked, answers = told
    trial = Trial.get_current()
    assert (trial.number, trial.params, trial.user_attrs) == (3, {"kernel": "rbf"}, {})
    answers["suggest"] = Answer(0.5)
    assert trial.suggest_float("lr", 1e-3, 1, log=True) == 0.5
    answers["suggest"] = Answer(4)
    found = trial.suggest_int("units", 2, 8, step=2)
    assert (found, type(found)) == (4, int)
    answers["suggest"] = Answer("b")
    assert trial.suggest_categorical("kind", ["a", "b"]) == "b"
    assert trial.params == {"kernel": "rbf", "lr": 0.5, "units": 4, "kind": "b"}
    answers["attr"] = Answer()
    trial.set_user_attr("shape", (1, 2))
    assert trial.user_attrs == {"shape": (1, 2)}
    assert [event.given for event in asked] == [
        {},
        {"name": "lr", "kind": "float", "low": 1e-3, "high": 1, "step": None, "log": True, "choices": []},
        {"name": "units", "kind": "int", "low": 2, "high": 8, "step": 2, "log": False, "choices": []},
        {"name": "kind", "kind": "categorical", "low": 0, "high": 0, "step": None, "log": False, "choices": ["a", "b"]},
        {"name": "shape", "value": [1, 2]},
    ]


def test_report_and_should_prune(told):
    asked, answers = told
    trial = Trial.get_current()
    assert trial.should_prune() is False
    for verdict in (False, True):
        answers["verdict"] = Answer(verdict)
        trial.report(0.5, step=2)
        assert trial.should_prune() is verdict
    events = [event for event in asked if isinstance(event, Metrics)]
    assert [(event.values, event.step, event.ask) for event in events] == [({"acc": 0.5}, 2, True)] * 2
    with pytest.raises(SpecError, match="acc: a metric is a number, this is a str"):
        trial.report("high", 0)


def test_a_group_without_one_metric_has_nothing_to_report(told):
    told[1]["trial"] = Answer({"number": 0, "params": {}, "metric": None})
    with pytest.raises(SpecError, match="is for a group with one metric"):
        Trial.get_current().report(0.5, 0)


def test_any_object_may_be_a_choice(told):
    asked, answers = told
    options = [None, (1, 2), {"a": [1]}, len]
    answers["suggest"] = Answer("(1, 2)")
    assert Trial.get_current().suggest_categorical("x", options) is options[1]
    assert asked[-1].given["choices"] == ["None", "(1, 2)", "{'a': [1]}", "len"]
    answers["suggest"] = Answer(True)
    assert Trial.get_current().suggest_categorical("x", [True, False]) is True
    assert asked[-1].given["choices"] == [True, False]
    answers["suggest"] = Answer("True")
    assert Trial.get_current().suggest_categorical("x", [1, True]) is True


@pytest.mark.parametrize(
    ("suggest", "says"),
    [
        (lambda trial: trial.suggest_categorical("x", [object(), 1]), "give each choice a name"),
        (lambda trial: trial.suggest_categorical("x", [[1], [1]]), "give each choice a name"),
        (lambda trial: trial.suggest_float("x", "low", 1), "x: 'low' is no number"),
        (lambda trial: trial.suggest_float("x", 0, float("nan")), "x: nan is no number"),
        (lambda trial: trial.suggest_int("x", 0.5, 1), "x: bounds and step have to be whole numbers"),
        (lambda trial: trial.suggest_int("x", 0, 1), "unexpected"),
    ],
)
def test_what_can_not_be_suggested(told, suggest, says):
    with pytest.raises(SpecError) as caught:
        suggest(Trial.get_current())
    assert says in str(caught.value)


# --- in a run that is no trial of a search ---


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (Suggestion("a", "float", 0, 1), 0.5),
        (Suggestion("n", "int", 0, 9), 4),
        (Suggestion("n", "float", 0, 9), 4),
        (Suggestion("k", "categorical", choices=("x", "y")), "y"),
        (Suggestion("t", "categorical", choices=("None", "(1, 2)")), "(1, 2)"),
    ],
)
def test_a_fixed_suggestion(wanted, value):
    assert Fixed({"a": 0.5, "n": 4, "k": "y", "t": (1, 2)}).suggest(wanted) == value


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Suggestion("b", "float", 0, 1), "b: is drawn in a group only: give it here, as in -p b=…"),
        (Suggestion("a", "float", 1, 2), "a: 0.5 is no float from 1 to 2"),
        (Suggestion("a", "int", 0, 2), "a: 0.5 is no int from 0 to 2"),
        (Suggestion("k", "float", 0, 2), "k: 'y' is no float"),
        (Suggestion("o", "int", 0, 2), "o: True is no int"),
        (Suggestion("k", "categorical", choices=("x",)), "k: 'y' is none of ['x']"),
    ],
)
def test_a_fixed_suggestion_that_does_not_fit(wanted, says):
    with pytest.raises(SpecError) as caught:
        Fixed({"a": 0.5, "k": "y", "o": True}).suggest(wanted)
    assert says in str(caught.value)


def test_a_question_that_nobody_knows_is_answered_all_the_same():
    assert answered(Ask("weather"), Fixed({}), None).error == "there is no question 'weather'"


def test_a_called_job_is_a_fixed_trial(stored):
    @job
    def train(C, depth=3):
        trial = Trial.get_current()
        trial.report(0.5, 0)
        assert not trial.should_prune()
        trial.set_user_attr("who", "me")
        return {"C": trial.suggest_float("C", 0, 1), "depth": trial.suggest_int("depth", 1, 9), "n": trial.number}

    assert train(C=0.25) == {"C": 0.25, "depth": 3, "n": 0}
    with pytest.raises(SpecError, match="2 is no float from 0 to 1"):
        train(C=2)


@pytest.mark.slow
def test_an_experiment_of_a_script_and_a_row_of_a_table(stored, script):
    text = """
        from ml_experiment_nb import Trial, report
        trial = Trial.get_current()
        trial.report(0.5, 3)
        trial.set_user_attr("who", "me")
        report(C=trial.suggest_float("C", 0, 10), number=trial.number)
    """
    path = script(text, "train.py").path
    (record,) = loop.run(make_plan(spec_from_mapping({"run": path, "params": {"C": 2.5}})))
    assert (record.status, record.metrics) == (Status.FINISHED, {"value": 0.5, "C": 2.5, "number": 0.0})
    assert record.tags["mlexp.attr.who"] == "me"
    rows = {"run": path, "each": [{"C": 1.5}, {"C": 20}], "slots": 1}
    first, second, _ = loop.run(make_plan(spec_from_mapping(rows)))
    assert first.metrics == {"value": 0.5, "C": 1.5, "number": 0.0}
    assert (second.status, second.failure.message) == (Status.FAILED, "C: 20 is no float from 0 to 10")


def test_what_is_recorded_of_an_answer():
    class Run:
        params = {"C": object()}

        def __init__(self):
            self.events = []

        def add(self, event):
            self.events.append(event)

    run = Run()
    assert answered(Ask("trial"), Fixed({}, 4), run).value["number"] == 4
    given = {"name": "a", "kind": "float", "low": 0, "high": 1, "step": None, "log": False, "choices": []}
    assert answered(Ask("suggest", given), Fixed({"a": 0.5}), run) == Answer(0.5)
    assert run.events == [Tags({DRAWN: "a"}), Params({"a": 0.5})]
    assert answered(Ask("suggest", given), Fixed({}), run).error.startswith("a: is drawn in a group only")
    assert not any(isinstance(event, Note) for event in run.events)
