from types import SimpleNamespace

import pytest

from ml_experiment_nb.errors import StillRunningError
from ml_experiment_nb.widgets import control


@pytest.fixture
def kernel(monkeypatch):
    """A kernel, by the handlers of its control channel and what it sends."""
    sent = []
    session = SimpleNamespace(send=lambda *args, **options: sent.append((args, options)))
    found = SimpleNamespace(control_handlers={}, session=session, sent=sent)
    monkeypatch.setattr(control, "current_shell", lambda: SimpleNamespace(kernel=found))
    monkeypatch.setattr(control, "_views", {})
    return found


def test_a_page_s_wish_is_done_and_answered_on_its_channel(kernel):
    control.listen("view", lambda asked: f"stopped {asked['run']}")
    message = {"content": {"view": "view", "run": "r"}}
    kernel.control_handlers[control.REQUEST]("stream", "ident", message)
    [(args, options)] = kernel.sent
    assert args == ("stream", control.REPLY, {"status": "ok", "message": "stopped r"}, message)
    assert options == {"ident": "ident"}


@pytest.mark.parametrize("error", [StillRunningError("it is another's"), OSError("it is another's")])
def test_what_goes_wrong_is_told_to_the_page(kernel, error):
    def fail(asked):
        raise error

    control.listen("view", fail)
    assert control.answer({"view": "view"}) == {"status": "error", "message": "it is another's"}


@pytest.mark.parametrize("asked", [{}, {"view": None}, {"view": "other"}, None, "view", []])
def test_a_view_that_is_gone_is_said_whatever_is_asked(kernel, asked):
    control.listen("view", lambda asked: "done")
    assert control.answer(asked) == {"status": "error", "message": "nothing of this view runs any more"}


def test_a_view_that_is_forgotten_is_gone_and_may_be_forgotten_again(kernel):
    control.listen("view", lambda asked: "done")
    control.forget("view")
    control.forget("view")
    assert control.answer({"view": "view"})["status"] == "error"


def test_without_a_kernel_a_view_is_asked_by_its_widget_alone(monkeypatch):
    monkeypatch.setattr(control, "current_shell", lambda: None)
    monkeypatch.setattr(control, "_views", {})
    control.listen("view", lambda asked: "done")
    assert control.answer({"view": "view"}) == {"status": "ok", "message": "done"}
