"""A group shown again that this kernel doesn't drive."""

import threading

import pytest

from ml_experiment_nb import attached
from ml_experiment_nb.events import Cell
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Happened
from ml_experiment_nb.widgets import live_output
from ml_experiment_nb.widgets.attachment import as_it_stands, attach
from ml_experiment_nb.widgets.bundle import MIME


@pytest.fixture
def store(stored):
    return Store(stored)


@pytest.fixture
def faraway(store):
    """The record of a group that another machine drives."""
    tags = {"mlexp.driver": "faraway/12/0a1b2c", "mlexp.kind": "group"}
    return store.record(store.client.create_run("0", tags=tags, run_name="svm").info.run_id)


def test_a_group_that_goes_on_elsewhere_is_left_as_it_is_and_says_so(store, faraway, plan, handle):
    where = (
        "this run goes on, and its driver is not in this project&#x27;s folder but on faraway: run %attach again to "
        "see how it stands then"
    )
    attach(store, faraway, plan).join(60)
    last = handle.bundles[-1]
    for html in (last["text/html"], as_it_stands(store, faraway, plan)["text/html"]):
        assert where in html
        assert ">running<" in html
        assert "finished" not in html
    assert last[MIME]["running"] is True


def test_a_view_is_no_longer_followed_when_its_cell_is_run_again(store, faraway, plan, handle, monkeypatch):
    ended = threading.Event()

    def updates(store, record):
        while not ended.wait(0.01):
            yield Happened("0", Cell(1, 2))

    monkeypatch.setattr(attached, "updates", updates)
    monkeypatch.setattr(live_output, "cell_id", lambda: "attached")
    monkeypatch.setattr(live_output, "execution_id", lambda: "1")
    first = attach(store, faraway, plan)
    monkeypatch.setattr(live_output, "execution_id", lambda: "2")
    second = attach(store, faraway, plan)
    first.join(20)
    followed = (first.is_alive(), second.is_alive())
    ended.set()
    second.join(20)
    assert followed == (False, True)


def test_whatever_keeps_a_view_from_knowing_more_is_said_in_it(store, faraway, plan, handle, monkeypatch):
    def refused(store, record):
        raise PermissionError(13, "Permission denied", "runs.lock")
        yield

    monkeypatch.setattr(attached, "updates", refused)
    attach(store, faraway, plan).join(60)
    said = "PermissionError: [Errno 13] Permission denied: &#x27;runs.lock&#x27;: run %attach again when that is mended"
    assert said in handle.bundles[-1]["text/html"]
