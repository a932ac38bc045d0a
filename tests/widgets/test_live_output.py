"""The live view as a front end meets it: a kernel whose client names the cell, as JupyterLab does."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from ml_experiment_nb.projects import find_root
from ml_experiment_nb.records import Record, Status, now
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Started
from ml_experiment_nb.widgets import control, live_html, live_output
from ml_experiment_nb.widgets.bundle import MIME, VIEW
from ml_experiment_nb.widgets.live_output import LiveOutput

WAITING = (
    "%%group stop --trials 4 --executor inline --slots 2 --minimize a --into found\n"
    "x = uniform(0, 1)\nimport threading\nopen('started', 'w').close()\nthreading.Event().wait()\n{'a': x}"
)


@pytest.fixture
def kernel(stored):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(stored))
    client.execute_interactive("%load_ext ml_experiment_nb", timeout=120)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def output(plan, project, handle, monkeypatch):
    monkeypatch.setattr(live_output, "EVERY", 0.01)
    found = LiveOutput(plan, project)
    yield found
    found.close()


def trial(number, **params):
    return Record(f"run{number}", "svm", "g", "trial", Status.FINISHED, params, {}, now(), 1.0, number=number)


def test_a_view_that_fails_says_so_once_in_its_place_and_the_group_goes_on(output, handle, monkeypatch, capsys):
    output.take(Started("", "svm", "parent0123", parent=True))
    monkeypatch.setattr(output.group, "_ended_one", lambda record: 1 / 0)
    output.take(trial(0, C=0.5))
    output.take(trial(1, C=0.5))
    output.close()
    told = [one["text/plain"] for one in handle.bundles]
    assert told[-1] == (
        "svm: its live view failed and shows no more (ZeroDivisionError: division by zero); the group goes on: "
        "`%attach parent01` shows how it stands"
    )
    assert told.count(told[-1]) == 1
    assert capsys.readouterr().err == ""


def test_what_was_said_of_a_failure_is_not_written_over_by_what_was_being_drawn(output, handle, monkeypatch):
    is_drawn, may_go_on = threading.Event(), threading.Event()
    drawn = output._bundle

    def slow_bundle():
        is_drawn.set()
        may_go_on.wait(60)
        return drawn()

    monkeypatch.setattr(output, "_bundle", slow_bundle)
    output.take(Started("", "svm", "parent0123", parent=True))
    assert is_drawn.wait(60)
    monkeypatch.setattr(output.group, "_ended_one", lambda record: 1 / 0)
    output.take(trial(0, C=0.5))
    may_go_on.set()
    output.close()
    assert "its live view failed" in handle.bundles[-1]["text/plain"]


def test_a_view_whose_thread_or_output_fails_is_given_up(output, handle, monkeypatch, capsys):
    monkeypatch.setattr(output.group, "delta", lambda: 1 / 0)
    monkeypatch.setattr(handle, "update", lambda *_, **__: 1 / 0)
    output._thread.join(10)
    assert not output._thread.is_alive()
    output.take(trial(0, C=0.5))
    output.close()
    assert capsys.readouterr().err.count("note: svm: its live view failed") == 1


def run(client, code, cell="c1"):
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
    message = client.session.msg("execute_request", content, metadata={"cellId": cell})
    client.shell_channel.send(message)


def until(client, wanted, seconds=90):
    """Return the first message that is wanted, and all that came before."""
    ends, seen = time.monotonic() + seconds, []
    while time.monotonic() < ends:
        message = client.get_iopub_msg(timeout=seconds)
        seen.append(message)
        if wanted(message):
            return message, seen
    raise AssertionError([one["msg_type"] for one in seen])


def asked(client, **content):
    """Return what the kernel answers on its control channel, now."""
    client.control_channel.send(client.session.msg(control.REQUEST, content))
    while (answer := client.get_control_msg(timeout=20))["msg_type"] != control.REPLY:
        pass
    return answer["content"]


def running(message):
    delta = message["content"].get("data", {}).get("content", {}).get("delta", {})
    return message["msg_type"] == "comm_msg" and len(delta.get("running", ())) == 2


def test_a_group_goes_on_while_its_view_is_drawn(output, monkeypatch):
    output.take(trial(0, C=0.5))
    taken = threading.Thread(target=output.take, args=[trial(1, C=0.25)], daemon=True)

    def drawn(*_):
        taken.start()
        taken.join(20)
        return str(taken.is_alive())

    with monkeypatch.context() as patched:
        patched.setattr(live_html, "group_html", drawn)
        assert "<div>False</div>" in output._html()


@pytest.mark.slow
def test_a_finished_view_keeps_what_it_shows_and_no_records(plan, project, handle):
    output = LiveOutput(plan, project)
    output.take(trial(0, C=0.5))
    output.close()
    widget, records = output._widget, weakref.ref(output.group)
    del output
    gc.collect()
    assert records() is None
    assert widget.whole().parts["ids"] == ["run0"]


def test_a_cell_that_is_run_again_closes_the_views_that_it_showed_before(plan, project, handle, monkeypatch):
    outputs = []
    for cell, execution in [("c1", "1"), ("c1", "1"), ("c2", "2"), ("c1", "3")]:
        monkeypatch.setattr(live_output, "cell_id", lambda cell=cell: cell)
        monkeypatch.setattr(live_output, "execution_id", lambda execution=execution: execution)
        outputs.append(LiveOutput(plan, project))
    assert [one.is_gone for one in outputs] == [True, True, False, False]
    outputs[0]._thread.join(10)
    assert not outputs[0]._thread.is_alive()
    for one in outputs:
        one.close()
    assert len(handle.bundles) == 2  # nothing more is told of those that nobody sees


@pytest.mark.kernel
def test_a_trial_and_then_the_group_are_stopped_on_the_control_channel_while_the_cell_runs(kernel, project):
    os.mkfifo(project / "started")
    run(kernel, WAITING)
    shown, _ = until(kernel, lambda one: one["msg_type"] == "display_data")
    data = shown["content"]["data"]
    assert {MIME, VIEW, "text/html", "text/plain"} == {*data}
    view = data[MIME]["view"]
    message, _ = until(kernel, running)
    first, second = message["content"]["data"]["content"]["delta"]["running"]
    assert (first["params"][:2], second["key"]) == ("x=", "1")
    assert "<b>stop</b>" in asked(kernel, view=view, verb="html")["message"]
    assert asked(kernel, view="other", verb="stop", run=first["run"])["status"] == "error"
    for run_id in ("../../x", "", None):
        assert asked(kernel, view=view, verb="stop", run=run_id) == {"status": "error", "message": "it has ended"}
    assert asked(kernel, view=view, verb="stop", run=first["run"]) == {
        "status": "ok", "message": "it is being stopped"
    }  # fmt: skip
    (project / "started").read_text()
    until(kernel, lambda one: running(one) and "#2" in str(one["content"]))
    store = Store(find_root())
    assert store.record(first["run"]).failure.message.startswith("stopped by")
    [group] = [one for one in store.records() if one.kind == "group"]
    assert asked(kernel, view=view, verb="stop", run=group.run_id)["status"] == "ok"
    last, _ = until(kernel, lambda one: one["msg_type"] == "update_display_data" and "killed after" in str(one))
    assert last["content"]["data"][VIEW] == data[VIEW]
    assert kernel.get_shell_msg(timeout=60)["content"]["ename"] == "TaskError"
    assert {one.status for one in store.records()} == {Status.KILLED}
    assert asked(kernel, view=view, verb="stop", run=group.run_id)["status"] == "error"


@pytest.mark.kernel
def test_a_job_in_a_notebook_has_the_view_too_and_attach_shows_it_again_and_returns_at_once(kernel):
    run(
        kernel,
        "from ml_experiment_nb import job\n@job\ndef train(C):\n    return {'a': C}\n"
        "found = train.group({'C': 'uniform(0, 1)'}, metric='a', num_trials=2, executor='inline', slots=1)",
    )
    _, seen = until(kernel, lambda one: one["msg_type"] == "update_display_data" and "finished after" in str(one))
    assert any(VIEW in one["content"].get("data", {}) for one in seen if one["msg_type"] == "display_data")
    run(kernel, "%attach", "c2")
    shown, _ = until(kernel, lambda one: one["msg_type"] == "update_display_data" and "finished after" in str(one))
    assert "train #1" in shown["content"]["data"]["text/html"]
    run(kernel, "%attach found.nothing", "c3")
    error, _ = until(kernel, lambda one: one["msg_type"] == "error")
    assert error["content"]["ename"] == "RunNotFoundError"


@pytest.mark.kernel
def test_where_nobody_looks_there_is_no_widget_and_attach_says_how_it_stands(stored):
    cells = [
        "%load_ext ml_experiment_nb",
        "%%group g --trials 2 --executor inline --slots 1\nx = uniform(0, 1)\n{'a': x}",
    ]
    found = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in [*cells, "%attach"]])
    NotebookClient(found, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(stored)}}).execute()
    assert VIEW not in str(found)
    assert "widgets" not in found.metadata
    [output] = found.cells[2].outputs
    assert "2/2, finished after" in output.data["text/plain"]
    assert "g #1" in output.data["text/html"]
