"""What a driver hears of its code comes without the secrets that are known."""

import pytest

from ml_experiment_nb import events, hearing, masking, patterns, secrecy
from ml_experiment_nb.hearing import heard
from ml_experiment_nb.masking import Veil
from ml_experiment_nb.records import Failure, Outcome, Status


@pytest.fixture
def known(monkeypatch):
    """The secrets that are known in a test."""
    known = {}
    for module in (secrecy, masking, patterns, hearing):
        monkeypatch.setattr(module, "secrets_seen", known)
    monkeypatch.setattr(patterns, "_made", None)
    return known


@pytest.fixture
def hear(tmp_path):
    veil = Veil()
    printed = veil.stream("its output")
    return lambda event: heard(event, veil, printed, tmp_path)


FAILED = Outcome(Status.FAILED, Failure("ValueError", "hunter-22 is wrong", "… hunter-22"))


@pytest.mark.parametrize(
    ("event", "masked"),
    [
        (events.Log("at hunter-22\n"), events.Log("at <secret PASSWORD>\n")),
        (events.Note("hunter-22"), events.Note("<secret PASSWORD>")),
        (events.Metrics({"hunter-22": 1.0}, 3, 9.0), events.Metrics({"<secret PASSWORD>": 1.0}, 3, 9.0)),
        (events.Tags({"hunter-22": "hunter-22"}), events.Tags({"<secret PASSWORD>": "<secret PASSWORD>"})),
        (events.Reads([{"name": "hunter-22"}]), events.Reads([{"name": "<secret PASSWORD>"}])),
        (events.Cell(1, 2, "x = 'hunter-22'"), events.Cell(1, 2, "x = '<secret PASSWORD>'")),
        (
            events.Ask("attr", {"name": "a", "value": ["hunter-22"]}),
            events.Ask("attr", {"name": "a", "value": ["<secret PASSWORD>"]}),
        ),
        (
            events.Done(FAILED),
            events.Done(
                Outcome(Status.FAILED, Failure("ValueError", "<secret PASSWORD> is wrong", "… <secret PASSWORD>"))
            ),
        ),
    ],
)
def test_each_event_comes_without_secrets(known, hear, event, masked):
    assert hear(event) is event  # nothing is known yet: nothing is looked for
    known["hunter-22"] = "PASSWORD"
    assert hear(event) == masked


@pytest.mark.parametrize(
    "event", [events.Params({"C": "hunter-22"}), events.Ask("suggest", {"choices": ["hunter-22"]})]
)
def test_what_the_code_goes_on_with_is_handed_on_as_it_is(known, hear, event):
    known["hunter-22"] = "PASSWORD"
    assert hear(event) is event


def test_a_secret_that_the_code_asks_for_is_masked_from_then_on_and_its_name_left_for_who_closes_the_run(
    known, hear, tmp_path
):
    assert hear(events.Log("hunter-22\n")) == events.Log("hunter-22\n")
    hear(events.Secrets({"PASSWORD": "hunter-22"}))
    assert known == {"hunter-22": "PASSWORD"}
    assert hear(events.Log("hunter-22\n")) == events.Log("<secret PASSWORD>\n")
    left = [path.read_text() for path in tmp_path.iterdir()]
    assert "PASSWORD" in "".join(left)
    assert "hunter-22" not in "".join(left)
