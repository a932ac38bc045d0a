"""What a library's training says to its run, heard by a sink."""

import threading
from types import SimpleNamespace

import pytest

from ml_experiment_nb import reports
from ml_experiment_nb.events import Answer, Metrics, Note, Params, Tags
from ml_experiment_nb.observing.thisrun import RUN_ID, ThisRun


class Heard:
    """Keeps what it is sent; a pruner's verdict is `verdict`."""

    def __init__(self, verdict=False):
        self.events, self.verdict = [], verdict

    def send(self, event):
        self.events.append(event)

    def ask(self, event):
        self.events.append(event)
        return Answer(self.verdict)


@pytest.fixture
def heard(monkeypatch):
    monkeypatch.delenv(reports.PRUNING, raising=False)
    return Heard()


def points(heard):
    return [(event.step, dict(event.values)) for event in heard.events if isinstance(event, Metrics)]


def test_a_second_fit_s_curve_goes_on_where_the_first_one_ends(heard):
    run = ThisRun("a", "0", heard)
    with run.fit("first"):
        assert run.busy
        for step in range(3):
            run.metrics({"loss": step}, step)
    with run.fit("second"):
        run.metrics({"loss": 0.5, "acc": 1}, 0)
        run.metrics({"loss": 0.25}, 1)
    with run.fit("second"):  # it goes on
        run.metrics({"loss": 0.125}, 2)
    assert not run.busy
    assert points(heard) == [
        (0, {"loss": 0}), (1, {"loss": 1}), (2, {"loss": 2}), (3, {"loss": 0.5}), (0, {"acc": 1}), (4, {"loss": 0.25}),
        (5, {"loss": 0.125}),
    ]  # fmt: skip
    assert all(event.autologged for event in heard.events)


def test_what_is_no_number_or_is_reported_by_the_code_is_left_out(heard, monkeypatch):
    monkeypatch.setattr(reports, "is_reported", lambda name: name == "mine")
    ThisRun("a", "0", heard).metrics({"loss": 1.0, "mine": 2.0, "text": "x", "nothing": None}, 0)
    assert points(heard) == [(0, {"loss": 1.0})]


def test_parameters_and_tags_are_texts_and_nothing_is_not_sent(heard):
    run = ThisRun("a", "0", heard)
    run.params({})
    run.tags({})
    run.params({"C": 0.5, 1: None})
    run.tags({"estimator": int})
    assert heard.events == [Params({"C": "0.5", "1": "None"}, autologged=True), Tags({"estimator": "<class 'int'>"})]


def test_a_note_is_told_once_and_of_many_the_first_few(heard):
    run = ThisRun("a", "0", heard)
    for text in ("a", "a", "b", "c", "d", "e", "f"):
        run.note(text)
    assert [event.text for event in heard.events if isinstance(event, Note)] == ["a", "b", "c", "d", "e"]


def test_a_trial_that_is_pruned_ends_in_the_thread_of_its_code_alone(monkeypatch):
    monkeypatch.setenv(reports.PRUNING, "1")
    heard = Heard(verdict=True)
    run = ThisRun("a", "0", heard)
    beside = threading.Thread(target=run.metrics, args=({"loss": 1.0}, 4))  # as a library's own thread reports
    beside.start()
    beside.join()
    assert (run.pruned, heard.events[0].ask) == (4, True)
    with pytest.raises(reports.Pruned, match="pruned at step 4"):
        run.metrics({"nothing": None}, 5)


def test_what_is_imported_while_mlflow_is_at_work_is_looked_after_once_it_is_done(heard):
    looked = []
    run = ThisRun("a", "0", heard, settle=lambda: looked.append(run.working))
    with run.at_work():
        with run.at_work():
            assert run.working
        assert looked == []
    assert looked == [False]


def test_whose_run_it_is(monkeypatch):
    monkeypatch.delenv(RUN_ID, raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    assert ThisRun.of(Heard()) is None  # a job is not tracked
    assert ThisRun.of(SimpleNamespace(run_id=None)) is None
    here = ThisRun.of(SimpleNamespace(run_id="r", experiment_id="3", artifacts="x"))
    assert (here.run_id, here.experiment_id, here.artifacts) == ("r", "3", "x")
    monkeypatch.setenv(RUN_ID, "of the task")
    assert ThisRun.of(Heard()).run_id == "of the task"
    assert ThisRun.of(SimpleNamespace(run_id=None)) is None  # a cell's own run comes before its notebook's
