import sys
import types
from contextlib import contextmanager

import pytest

from ml_experiment_nb import observing
from ml_experiment_nb.events import Note
from ml_experiment_nb.observing import VARIABLE, ObservingOptions, observed
from ml_experiment_nb.specs import spec_from_mapping


class Sink:
    """Keeps the notes that it is sent."""

    def __init__(self):
        self.notes = []

    def send(self, event):
        assert isinstance(event, Note)
        self.notes.append(event.text)


@pytest.fixture
def observers(monkeypatch):
    """Have observers that say when they begin and end; one may fail at either."""
    said = []

    def make(**fails):
        for name, where in fails.items():
            module = types.ModuleType(f"ml_experiment_nb.observing.{name}")

            @contextmanager
            def watch(sink, asked, name=name, where=where):
                if where == "begin":
                    raise RuntimeError("at the beginning")
                said.append(f"{name} begins")
                try:
                    yield
                finally:
                    said.append(f"{name} ends")
                if where == "end":
                    raise RuntimeError("at the end")

            module.observing = watch
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(observing, "OBSERVERS", tuple(fails))
        return said

    return make


def test_an_observer_that_fails_is_a_note_and_the_code_and_the_others_go_on(observers):
    said, sink = observers(first=None, second="begin", third="end"), Sink()
    with observed(sink, ObservingOptions()):
        said.append("the code")
    assert said == ["first begins", "third begins", "the code", "third ends", "first ends"]
    assert sink.notes == [
        "second could not be observed: RuntimeError: at the beginning",
        "third could not be observed: RuntimeError: at the end",
    ]


def test_what_the_code_raises_passes_and_no_observer_sees_it(observers):
    said, sink = observers(first="end"), Sink()
    with pytest.raises(KeyError, match="the code's"), observed(sink, ObservingOptions()):
        raise KeyError("the code's")
    assert said == ["first begins", "first ends"]
    assert sink.notes == ["first could not be observed: RuntimeError: at the end"]


def test_what_a_spec_says_travels_in_the_environment(monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    keys = {
        "run": "a.py",
        "kind": "group",
        "param_space": {"C": "uniform(0, 1)"},
        "seed": 2**32 + 5,
        "autolog": ["keras"],
    }
    made = ObservingOptions.of(spec_from_mapping(keys | {"deterministic": True, "system_metrics": False}))
    assert (made.seed, made.deterministic, made.trial, made.system_metrics) == (2**32 + 5, True, True, False)
    assert made.autolog == {"libraries": ("keras",), "models": False, "plots": False}
    env = made.as_env()
    assert env["PYTHONHASHSEED"] == "5"
    again = ObservingOptions.of_env(env)
    assert again.as_env() == env
    assert list(again.autolog["libraries"]) == ["keras"]


@pytest.mark.parametrize(("set_to", "told"), [("random", True), ("7", False)])
def test_hashes_that_the_user_has_seeded_are_left_alone(monkeypatch, set_to, told):
    monkeypatch.setenv("PYTHONHASHSEED", set_to)
    assert ("PYTHONHASHSEED" in ObservingOptions(seed=1).as_env()) is told
    assert "PYTHONHASHSEED" not in ObservingOptions().as_env()


def test_where_nothing_is_said_it_is_what_a_plain_spec_asks_for(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert ObservingOptions.here() == ObservingOptions()
