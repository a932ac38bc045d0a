"""What a group comes to when its driver, its store or its disk fails: every trial accounted for, and no run open."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from driven_groups import POINTS, check_whole, command, ended, finish, folder, group_of, records, wait_for, write_group
from services import answers

from ml_experiment_nb.records import Status
from ml_experiment_nb.tracking import Store

__all__ = ["command", "folder"]  # fixtures

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_driver_that_is_killed_again_and_again(folder, command, executor):
    write_group(folder, executor=executor)
    driver = command("run", "g.yaml", "-q")
    (folder / "hang5").touch()
    parent = wait_for(lambda: ended(folder, 2), driver)
    driver.kill()
    driver.wait()
    code, out, err = finish(command("ls"))
    assert (code, "running" in out) == (0, False), out
    assert "had died" in err
    resumed = command("resume", parent.run_id[:8], "-q")
    wait_for(lambda: ended(folder, 4), resumed)
    resumed.kill()
    resumed.wait()
    (folder / "hang5").unlink()
    code, out, err = finish(command("resume", parent.run_id[:8]))
    assert code == 0, err
    assert "note: goes on with the group" in err
    check_whole(folder, parent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_asked_to_end_and_the_same_command_again(folder, command, number):
    driver = command("run", "g.yaml", "-q")
    parent = wait_for(lambda: ended(folder, 3), driver)
    driver.send_signal(number)
    assert finish(driver)[0] == 130
    assert all(one.status.ended for one in records(folder))
    code, _, err = finish(command("run", "g.yaml"))
    assert code == 0, err
    assert f"note: goes on with the group {parent.run_id[:8]}" in err
    check_whole(folder, parent)


def test_trials_that_never_return_run_into_their_limit(folder, command):
    (folder / "stubborn").touch()
    write_group(folder, timeout_per_trial=0.5, num_trials=2)
    code, _, err = finish(command("run", "g.yaml"))
    assert code == 1
    assert "TaskTimeoutError: stopped at its limit of 0.50 s" in err
    parent, *_ = [one for one in records(folder) if one.kind == "group"]
    assert {one.status for one in records(folder)} == {Status.FAILED}
    (folder / "stubborn").unlink()
    write_group(folder)
    code, _, err = finish(command("resume", parent.run_id[:8], "--failed"))
    assert len([one for one in Store(folder).children(parent.run_id) if one.ok]) == 2 or "limit" in err


def test_trials_that_never_return_are_stopped(folder, command):
    (folder / "stubborn").touch()
    driver = command("run", "g.yaml")
    parent = wait_for(lambda: group_of(folder), driver)
    wait_for(lambda: len([*(folder / ".ml-experiment/runs").rglob("log.txt")]) >= 2, driver)
    code, out, err = finish(command("stop", parent.run_id[:8]))
    assert code == 0, err
    assert "has ended: killed, KeyboardInterrupt: stopped by" in out
    assert f"ml-experiment resume {parent.run_id[:8]}" in out
    assert finish(driver)[0] == 130
    assert {one.status for one in records(folder)} == {Status.KILLED}
    (folder / "stubborn").unlink()
    code, _, err = finish(command("resume", parent.run_id[:8]))
    assert code == 0, err
    check_whole(folder, parent)


def test_a_group_is_attached_to(folder, command):
    (folder / "hang3").touch()
    driver = command("run", "g.yaml", "-q")
    parent = wait_for(lambda: ended(folder, 2), driver)
    looking = command("attach", parent.run_id[:8])
    trial = wait_for(lambda: next((r for r in records(folder) if r.status == "running" and r.kind == "trial"), None))
    following = command("logs", "-f", trial.run_id)
    leaving = command("attach", parent.run_id[:8])
    time.sleep(8)
    leaving.send_signal(signal.SIGINT)
    leaving.communicate(timeout=60)
    assert driver.poll() is None  # the run goes on
    (folder / "hang3").unlink()
    code, out, _ = finish(looking)
    assert code == 0
    result = finish(driver)
    assert {line.split()[0] for line in out.splitlines()} == {line.split()[0] for line in result[1].splitlines()}
    assert "g  ✓ finished" in out
    assert "best     g #" in out
    assert finish(following)[1] == f"at {Store(folder).record(trial.run_id).params['C']}\n"
    check_whole(folder, parent)


# ------------------------------------------------------------------------------------------------ the store


@contextmanager
def serving(folder, port):
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/served"]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("a") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True)
    try:
        wait_for(lambda: answers(port), server, timeout=180)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_store_that_goes_and_comes_back(folder, command, port, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("ML_EXPERIMENT_STORE_PATIENCE", "300")
    with serving(folder, port):
        driver = command("run", "g.yaml", "-q")
        parent = wait_for(lambda: ended(folder, 2), driver)
    time.sleep(20)
    assert driver.poll() is None  # it waits
    with serving(folder, port):
        code, out, err = finish(driver, timeout=300)
        assert code == 0, err
        assert "View run" not in out  # MLflow's own client prints addresses, which may hold a password
        check_whole(folder, parent)
        assert "the store was away for " in " ".join(group_of(folder).notes)


def test_a_store_that_does_not_come_back(folder, command, port, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("ML_EXPERIMENT_STORE_PATIENCE", "3")
    with serving(folder, port):
        driver = command("run", "g.yaml", "-q")
        parent = wait_for(lambda: ended(folder, 2), driver)
    code, _, err = finish(driver, timeout=300)
    assert code == 3
    assert "it was tried for 3 s. What was recorded stays in .ml-experiment/runs" in err
    assert "Traceback" not in err
    with serving(folder, port):
        code, out, err = finish(command("ls"))
        assert (code, "running" in out) == (0, False), out
        found = Store(folder).children(parent.run_id)
        assert all("record/log.txt" in Store(folder).artifacts(one) for one in found)
        code, _, err = finish(command("run", "g.yaml", "-q"))
        assert code == 0, err
        check_whole(folder, parent)


class Lossy:
    """Stands between a driver and its server, and loses the server's answers to some requests.

    Args:
        port: The server's.
        path: What the requests' path contains.
        which: Which of them, counted from 1.
    """

    def __init__(self, port, path, which):
        self.server, self.path, self.which = ("127.0.0.1", port), path.encode(), which
        self.seen = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):
            while True:
                threading.Thread(target=self.forward, args=self.listening.accept()[:1], daemon=True).start()

    def forward(self, client):
        with suppress(OSError), client, socket.create_connection(self.server) as server:
            is_lost = False
            while ready := select.select([client, server], [], [])[0]:
                if client in ready:
                    asked = client.recv(65536)
                    if self.path in asked:
                        self.seen += 1
                        is_lost = self.seen in self.which
                    server.sendall(asked)
                    if not asked:
                        return
                if server in ready:
                    answer = server.recv(65536)
                    if is_lost or not answer:
                        return
                    client.sendall(answer)


def test_a_store_that_opens_runs_and_does_not_say_so(folder, command, port, monkeypatch):
    with serving(folder, port):
        between = Lossy(port, "runs/create", {3, 6, 7})  # the first is the group's own
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{between.port}")
        code, _, err = finish(command("run", "g.yaml", "-q"))
        assert code == 0, err
        assert between.seen == len(POINTS) + 1  # none is asked for twice
        parent = group_of(folder)
        assert len(Store(folder).children(parent.run_id)) == len(POINTS)
        check_whole(folder, parent)
        between.listening.close()


# ------------------------------------------------------------------------------------------------ the disk


@pytest.fixture
def small_disk(folder):
    """A disk of a megabyte where the store keeps artifacts."""
    place = folder / ".ml-experiment/artifacts"
    place.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_of_artifacts(folder, command, small_disk):
    (folder / "size").write_text("400000")
    write_group(folder, slots=1)
    code, _, err = finish(command("run", "g.yaml"))
    assert code == 0, err
    store = Store(folder)
    parent = group_of(folder)
    children = store.children(parent.run_id)
    assert sorted(int(one.params["C"]) for one in children if one.ok) == POINTS
    assert all(one.status.ended for one in records(folder))
    kept = [one for one in children if any("files could not be sent to the store" in note for note in one.notes)]
    assert len(kept) >= 5
    for one in kept:
        assert (folder / ".ml-experiment/runs" / one.run_id / "artifacts/model.bin").stat().st_size == 400_000
