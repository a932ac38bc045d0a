import sys
import threading

import pytest
from performed_tasks import metrics

from ml_experiment_nb.events import Note
from ml_experiment_nb.observing import observers
from ml_experiment_nb.plans import Step, Task, travels_in_payload
from ml_experiment_nb.targets import Function, Script
from ml_experiment_nb.work.payload import write_payload
from ml_experiment_nb.work.process import Running
from ml_experiment_nb.work.setups import Warm, work_setup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")


def test_an_unsafe_server_is_not_forked_and_the_record_says_why(tmp_path):
    class Starts:
        """Unpickling it starts a thread, as importing some libraries does."""

        def __reduce__(self):
            return (start, ())

    def start():
        threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()

    payload = str(write_payload({"function": lambda: {"a": 1}, "thread": Starts()}, tmp_path))
    step = Step(Function(function=travels_in_payload), {})
    task = Task("0", "t", (step,), {}, str(tmp_path), payload=payload, folder=str(tmp_path / "run"), warm=True)
    warm = Warm(task)
    try:
        events = [event for batch in Running(task, warm).batches() for event in batch]
    finally:
        warm.close()
    assert metrics(events) == [{"a": 1}]
    assert [e.text for e in events if isinstance(e, Note)] == [
        "it was run in a fresh process, not in a fork: a thread is running (poller)"
    ]


def test_the_setup_imports_what_is_installed_and_reads_what_is_the_users(tmp_path):
    (tmp_path / "own.py").write_text("import colorsys\nraise RuntimeError('never imported')\n")
    (tmp_path / "main.py").write_text(
        "import json, own\nfrom email import message\nimport not_there_at_all\ndef f():\n    import wave\n"
    )
    step = Step(Script(path=str(tmp_path / "main.py")), {})
    setup = work_setup(Task("0", "t", (step,), {}, str(tmp_path)))
    assert setup.modules == ("ml_experiment_nb.work.child", *observers(), "json", "colorsys", "email")
