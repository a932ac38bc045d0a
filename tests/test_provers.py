"""What a kernel does about the processes that prove its runs."""

import fcntl
import os
import subprocess
import sys

import pytest

from ml_experiment_nb import provers, writing
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.proofs import PROOF, RUNNING, SENTENCE, ProofAnswer
from ml_experiment_nb.proving import HELD, PLACE, PREFIX, Request
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.tracking import Store


@pytest.fixture
def request_left(stored):
    """Leave the request of a run that is being proven."""
    store = Store(stored)
    live = open_run(
        store, name="e", experiment="e", kind="experiment", params={}, tags={PROOF: RUNNING}, snapshot=snapshot(stored)
    )  # fmt: skip
    record = live.close(Outcome(Status.FINISHED))
    folder = stored / ".ml-experiment" / provers.FOLDER / "one"
    folder.mkdir(parents=True)
    request = Request(str(record.run_id), str(stored), None, str(stored), {}, None, "{}", (), (), None)
    request.leave(folder)
    (folder / HELD).touch()
    return store, request, folder


def proof_of(store, request):
    assert writing.wait(60)
    return store.record(request.run_id).tags


def test_what_a_killed_process_has_left_is_removed_and_its_run_says_so(request_left, tmp_path_factory):
    store, request, folder = request_left
    place = tmp_path_factory.mktemp("tmp") / f"{PREFIX}x"
    (place / "work").mkdir(parents=True)
    (folder / PLACE).write_text(str(place))
    with (folder / HELD).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        provers.clear_left(folder.parent)  # it lives
        assert place.exists()
        assert proof_of(store, request)[PROOF] == RUNNING
    provers.clear_left(folder.parent)
    assert not place.exists()
    assert not folder.exists()
    tags = proof_of(store, request)
    assert (tags[PROOF], tags[SENTENCE]) == (ProofAnswer.STOPPED, "the process that was to prove it was killed")


def test_a_process_that_is_killed_leaves_no_run_that_is_being_proven(request_left):
    store, request, folder = request_left
    told = []
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )  # fmt: skip
    provers._wait(process, told.append, request, folder)
    assert [one.answer for one in told] == [ProofAnswer.STOPPED]
    assert proof_of(store, request)[SENTENCE] == "the process that was to prove it has died: exit code -9"
    assert not folder.exists()
