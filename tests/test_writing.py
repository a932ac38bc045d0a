import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from jupyter_client.manager import start_new_kernel

from ml_experiment_nb import writing
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Status
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store


@pytest.fixture(autouse=True)
def clean():
    yield
    writing.wait(10)
    writing.problems()


def test_what_is_handed_over_is_done_in_its_order_by_another_thread():
    done = []
    for k in range(5):
        writing.later(lambda k=k: done.append((k, threading.current_thread().name)), "it")
    assert writing.wait()
    assert done == [(k, "ml-experiment-writer") for k in range(5)]
    assert writing.wait(0)
    assert writing.problems() == []


def test_what_fails_is_told_once_and_the_next_is_done():
    done = []
    writing.later(lambda: 1 / 0, "run 12 is not written yet")
    writing.later(lambda: done.append(1), "it")
    assert writing.wait()
    assert done == [1]
    assert writing.problems() == ["run 12 is not written yet: division by zero"]
    assert writing.problems() == []


def test_who_waits_does_not_wait_for_long():
    go_on = threading.Event()
    writing.later(go_on.wait, "it")
    began = time.monotonic()
    assert not writing.wait(0.05)
    assert time.monotonic() - began < 5
    go_on.set()
    assert writing.wait()


def test_the_thread_does_not_wait_for_itself():
    found = []
    writing.later(lambda: found.append(writing.wait()), "it")
    assert writing.wait(10)
    assert found == [True]


def test_a_forked_process_begins_anew():
    go_on = threading.Event()
    writing.later(go_on.wait, "it")
    if (child := os.fork()) == 0:
        done = []
        writing.later(lambda: done.append(1), "it")
        os._exit(0 if writing.wait(10) and done == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()


def test_the_end_of_a_process_waits():
    code = (
        "import time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from ml_experiment_nb import writing\n"
        "def work():\n"
        "    time.sleep(0.3)\n"
        "    with ThreadPoolExecutor() as pool: print(pool.submit(lambda: 'sent').result())\n"  # as artifacts are
        "writing.later(work, 'it')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("sent\n", "")


# --- in a kernel ---


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel()


def execute(client, source):
    out = []
    reply = client.execute_interactive(source, timeout=60, output_hook=lambda m: out.append(m["content"]))
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(one.get("text", "") for one in out)


def enter(client, project):
    execute(client, f"import os; os.chdir({str(project)!r}); os.environ['ML_EXPERIMENT_ROOT'] = {str(project)!r}")
    execute(client, "%load_ext ml_experiment_nb")


CELL = "%%experiment svm --into record\nC = {C}\n{{'a': C}}"


@pytest.mark.kernel
def test_a_cell_is_written_before_the_next_one_begins(stored, kernel):
    enter(kernel, stored)
    for k in range(3):
        execute(kernel, CELL.format(C=k))
        said = execute(
            kernel,
            "import mlflow, json; run = mlflow.MlflowClient(f'sqlite:///{os.getcwd()}/.ml-experiment/mlflow.db')"
            ".get_run(record.run_id)\n"
            "print(json.dumps([record.status, record.metrics, run.info.status, run.data.metrics, run.data.params]))",
        )
        assert json.loads(said) == ["finished", {"a": k}, "FINISHED", {"a": k}, {"C": str(k)}]
    assert not list((home(stored) / "runs").iterdir())


@pytest.mark.kernel
def test_nothing_is_lost_of_a_kernel_that_is_killed_before_it_has_written(stored):
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        enter(client, stored)
        execute(client, "from ml_experiment_nb import writing; writing.AFTER = 600")
        execute(client, CELL.format(C=7))
        os.kill(manager.provisioner.process.pid, signal.SIGKILL)
        manager.provisioner.process.wait()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    store = Store(stored)
    assert [one.status for one in store.records()] == [Status.RUNNING]
    [record] = sweep(store)
    assert (record.status, record.metrics, record.params) == (Status.FINISHED, {"a": 7.0}, {"C": 7})
    assert "record/source/cell.py" in store.artifacts(record)


@pytest.mark.kernel
def test_a_run_that_can_not_be_written_is_told_of_and_written_later(stored, kernel):
    enter(kernel, stored)
    database, away = home(stored) / "mlflow.db", home(stored) / "away.db"
    execute(kernel, "os.environ['ML_EXPERIMENT_STORE_PATIENCE'] = '0'")
    source = CELL.format(C=1) + "\n"
    moved = source.replace("C = 1", f"C = 1\nos.rename({str(database)!r}, {str(away)!r})")
    execute(kernel, moved)
    said = execute(kernel, "print(record.status)")
    assert "is not written yet" in said
    assert "finished" in said
    away.rename(database)
    execute(kernel, "os.environ.pop('ML_EXPERIMENT_STORE_PATIENCE')")
    [record] = sweep(Store(stored))
    assert (record.status, record.metrics) == (Status.FINISHED, {"a": 1.0})
