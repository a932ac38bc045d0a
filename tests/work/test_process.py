import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from performed_tasks import FINISHED, metrics, perform

from ml_experiment_nb.events import Answer, Done, Log, Params
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.targets import Command
from ml_experiment_nb.work.process import Running

KILLED = Outcome(Status.KILLED, Failure("Test", "enough"))


class Watched:
    """A task that runs while the test looks at it."""

    def __init__(self, task):
        self.running = Running(task)
        self.printed = ""
        self.outcome = None
        self._batches = self.running.batches()

    def until(self, text):
        """Go on until the task has printed a whole line that begins so, and return the rest of the line."""
        while True:
            for line in self.printed.splitlines(keepends=True):
                if line.startswith(text) and line.endswith("\n"):
                    return line.removeprefix(text).strip()
            self._take(next(self._batches))

    def end(self):
        for batch in self._batches:
            self._take(batch)
        return self.outcome

    def _take(self, batch):
        for event in batch:
            self.printed += event.text if isinstance(event, Log) else ""
            self.outcome = event.outcome if isinstance(event, Done) else self.outcome


# ------------------------------------------------------------------------------------------------ scripts


def test_a_script_runs_as_main_with_its_parameters_as_arguments(make_task, script):
    target = script(
        """
        import os, sys
        print(__name__, os.path.basename(__file__), sys.argv[1:], sys.modules["__main__"].__file__ == __file__)
        print(sorted(set(globals()) - {"os", "sys"}))
        """
    )
    events, printed, outcome = perform(make_task(target, params={"C": 0.5, "kernel": "rbf", "layers": [1, 2]}))
    first, names = printed.splitlines()
    assert first == "__main__ script.py ['--C', '0.5', '--kernel', 'rbf', '--layers', '[1, 2]'] True"
    assert "reports" not in names
    assert outcome == FINISHED
    assert events == []


def test_the_papers_job_takes_its_parameters_and_reports_its_metrics(make_task, script):
    target = script(
        """
        from ml_experiment import job

        @job
        def main(C, kernel="rbf"):
            return {"accuracy": C}

        if __name__ == "__main__":
            main()
        """
    )
    events, printed, outcome = perform(make_task(target, params={"C": 0.5}))
    assert (printed, outcome) == ("", FINISHED)
    assert events[0] == Params({"C": 0.5, "kernel": "rbf"})
    assert metrics(events) == [{"accuracy": 0.5}]


def test_report_in_a_script_its_threads_and_its_processes(make_task, script):
    target = script(
        """
        import subprocess, sys, threading, os, multiprocessing
        from ml_experiment_nb import report

        def say(name):
            report({name: 1})

        if __name__ == "__main__":
            report(here=1)
            thread = threading.Thread(target=say, args=("thread",)); thread.start(); thread.join()
            for method in ("fork", "spawn"):
                one = multiprocessing.get_context(method).Process(target=say, args=(method,)); one.start(); one.join()
            subprocess.run([sys.executable, "-c", "from ml_experiment_nb import report; report(other=1)"], check=True)
        """
    )
    events, printed, outcome = perform(make_task(target))
    assert (printed, outcome) == ("", FINISHED)
    assert sorted(name for values in metrics(events) for name in values) == ["fork", "here", "other", "spawn", "thread"]


def test_modules_beside_the_script_and_in_the_working_directory_are_found(make_task, script, project):
    (project / "sub").mkdir()
    (project / "sub" / "beside.py").write_text("x = 1")
    (project / "above.py").write_text("y = 2")
    (project / "further").mkdir()
    (project / "further" / "elsewhere.py").write_text("z = 3")
    target = script("import beside, above, elsewhere\nprint(beside.x, above.y, elsewhere.z)", "sub/script.py")
    _, printed, outcome = perform(make_task(target, path=(str(project / "further"),)))
    assert (printed, outcome) == ("1 2 3\n", FINISHED)


@pytest.mark.parametrize("name", ["queue.py", "selectors.py", "reports.py", "types.py", "socket.py"])
def test_a_file_of_the_users_named_like_ours_or_pythons_does_no_harm(make_task, script, project, name):
    (project / name).write_text("raise SystemExit('the wrong one')")
    (project / "sub").mkdir()
    _, printed, outcome = perform(make_task(script("print('fine')", "sub/script.py")))
    assert (printed, outcome) == ("fine\n", FINISHED)


def test_the_working_directory_and_the_environment(make_task, script, project, monkeypatch):
    monkeypatch.setenv("FROM_THE_DRIVER", "1")
    target = script("import os; print(os.getcwd(), os.environ['FROM_THE_DRIVER'], os.environ['FROM_THE_TASK'])")
    _, printed, _ = perform(make_task(target, env={"FROM_THE_TASK": "2"}))
    assert printed == f"{project} 1 2\n"


def test_what_a_task_changes_stays_its_own(make_task, script, project):
    before = (os.getcwd(), dict(os.environ), list(sys.path), os.umask(0o022))
    os.umask(before[-1])
    target = script("import os, sys; os.chdir('/'); os.environ['LEAK'] = '1'; os.umask(0); sys.path.insert(0, '/leak')")
    assert perform(make_task(target, target))[2] == FINISHED
    after = (os.getcwd(), dict(os.environ), list(sys.path), os.umask(0o022))
    os.umask(after[-1])
    assert after == before
    assert perform(make_task(script("import os; print('LEAK' in os.environ)")))[1] == "False\n"


def test_steps_run_in_order_in_processes_of_their_own(make_task, script):
    first = script("import os; print('first', os.getpid())", "first.py")
    second = script("import os; print('second', os.getpid())", "second.py")
    _, printed, outcome = perform(make_task(first, second))
    (one, pid), (two, other) = (line.split() for line in printed.splitlines())
    assert (one, two, outcome) == ("first", "second", FINISHED)
    assert pid != other


def test_a_failing_step_is_the_last(make_task, script):
    steps = [script("print(1)", "a.py"), script("print(2); 1 / 0", "b.py"), script("print(3)", "c.py")]
    _, printed, outcome = perform(make_task(*steps))
    assert printed.splitlines()[:2] == ["1", "2"]
    assert "3" not in printed.splitlines()
    assert outcome.failure.type == "ZeroDivisionError"


# ------------------------------------------------------------------------------------------------ output


def test_what_is_printed_arrives_in_order_whatever_printed_it(make_task, script):
    target = script(
        """
        import os, subprocess, sys
        print("out")
        print("err", file=sys.stderr)
        os.write(1, b"descriptor\\n")
        subprocess.run(["/bin/sh", "-c", "echo subprocess; echo its error >&2"])
        print("no newline", end="")
        """
    )
    assert perform(make_task(target))[1] == "out\nerr\ndescriptor\nsubprocess\nits error\nno newline"


def test_bytes_that_are_no_text_are_replaced(make_task, script):
    target = script(
        """
        import os
        os.write(1, b"caf\\xe9 ")
        for byte in "☃".encode():
            os.write(1, bytes([byte]))
        os.write(1, b" \\xe2\\x98")
        """
    )
    assert perform(make_task(target))[1] == "caf� ☃ �"


def test_five_megabytes_arrive_whole(make_task, script):
    target = script("import sys\nfor k in range(50_000): sys.stdout.write('x' * 99 + '\\n')")
    _, printed, outcome = perform(make_task(target))
    assert outcome == FINISHED
    assert printed == ("x" * 99 + "\n") * 50_000


def test_a_task_that_never_stops_printing_is_still_stopped_at_its_limit(make_task):
    running = Running(make_task(Command(command="yes"), timeout=0.5))
    outcome = [event for batch in running.batches() for event in batch if isinstance(event, Done)]
    assert outcome[0].outcome.failure.type == "TaskTimeoutError"


def test_output_comes_while_the_task_runs(make_task, script):
    watched = Watched(make_task(script("print('ready')\nimport time; time.sleep(600)")))
    watched.until("ready")
    assert watched.outcome is None
    watched.running.kill(KILLED)
    assert watched.end() == KILLED


@pytest.mark.parametrize("pruning", [False, True])
@pytest.mark.parametrize(
    "close",
    [
        "sys.stdout.close(); sys.stderr.close()",
        "os.close(1); os.close(2)",
        "sys.stdout = sys.stderr = None",
    ],
)
def test_a_task_may_close_its_output(make_task, script, close, pruning):
    target = script(f"import os, sys\nprint('before', flush=True)\n{close}\nimport time; time.sleep(0.2)")
    _, printed, outcome = perform(make_task(target, pruning=pruning))
    assert (printed, outcome) == ("before\n", FINISHED)


def test_a_task_that_closed_its_output_may_still_fail(make_task, script):
    _, _, outcome = perform(make_task(script("import sys; sys.stdout.close(); sys.stderr.close(); 1 / 0")))
    assert outcome.failure.type == "ZeroDivisionError"


def test_standard_input_is_empty(make_task, script):
    assert perform(make_task(script("import sys; print(repr(sys.stdin.read()))")))[1] == "''\n"


# ------------------------------------------------------------------------------------------------ endings


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("import sys; sys.exit(0)", FINISHED),
        ("import sys; sys.exit()", FINISHED),
        ("import sys; sys.exit(3)", Outcome(Status.FAILED, Failure("SystemExit", "3"))),
        ("import sys; sys.exit('no data')", Outcome(Status.FAILED, Failure("SystemExit", "no data"))),
        ("raise KeyboardInterrupt", Outcome(Status.KILLED, Failure("KeyboardInterrupt", "interrupted"))),
        (
            "import os; os._exit(7)",
            Outcome(
                Status.FAILED, Failure("TaskDiedError", "the process ended with exit code 7 before its work was done")
            ),
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            Outcome(Status.FAILED, Failure("TaskDiedError", "the process was ended by SIGSEGV")),
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            Outcome(Status.FAILED, Failure("TaskDiedError", "the process was ended by SIGKILL; out of memory?")),
        ),
        ("from ml_experiment_nb.reports import Pruned; raise Pruned", Outcome(Status.PRUNED)),
        ("import optuna; raise optuna.TrialPruned", Outcome(Status.PRUNED)),
    ],
)
def test_how_a_script_ends(make_task, script, source, outcome):
    assert perform(make_task(script(source)))[2] == outcome


def test_the_message_of_sys_exit_is_printed_as_python_does(make_task, script):
    assert perform(make_task(script("import sys; sys.exit('no data')")))[1] == "no data\n"


def test_the_traceback_begins_in_the_users_code(make_task, script):
    target = script(
        """
        def train():
            raise ValueError("too large")

        train()
        """
    )
    _, printed, outcome = perform(make_task(target))
    failure = outcome.failure
    assert (failure.type, failure.message) == ("ValueError", "too large")
    assert failure.traceback.splitlines()[1] == f'  File "{target.path}", line 5, in <module>'
    assert failure.traceback.count("  File ") == 2
    assert printed.strip() == failure.traceback.strip()


def test_an_exception_that_has_no_message_of_its_own(make_task, script):
    target = script(
        """
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("nor this")

        raise Odd
        """
    )
    failure = perform(make_task(target))[2].failure
    assert failure.type == "Odd"
    assert "nor this" in failure.message


def test_a_process_forked_by_the_task_does_not_speak_for_it(make_task, script):
    target = script(
        """
        import os, sys
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        os.waitpid(pid, 0)
        os._exit(9)
        """
    )
    assert "exit code 9" in perform(make_task(target))[2].failure.message


def test_a_crash_at_the_very_end_takes_nothing_back(make_task, script):
    target = script("import atexit, os, signal; atexit.register(lambda: os.kill(os.getpid(), signal.SIGSEGV))")
    assert perform(make_task(target))[2] == FINISHED


@pytest.mark.slow
def test_a_task_ends_at_its_limit(make_task, script, has_ended):
    watched = Watched(
        make_task(script("import os; print('pid', os.getpid())\nimport time; time.sleep(600)"), timeout=5)
    )
    pid = int(watched.until("pid "))
    assert watched.end() == Outcome(Status.FAILED, Failure("TaskTimeoutError", "stopped at its limit of 5.00 s"))
    assert has_ended(pid, timeout=0)


def test_the_limit_is_that_of_all_steps_together(make_task, script):
    step = script("import time; time.sleep(0.7)")
    assert perform(make_task(*[step] * 10, timeout=1.2))[2].failure.type == "TaskTimeoutError"


@pytest.mark.slow
def test_a_task_that_ignores_being_stopped_is_ended_all_the_same(make_task, script, has_ended):
    target = script(
        """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("pid", os.getpid())
        while True:
            time.sleep(600)
        """
    )
    watched = Watched(make_task(target))
    pid = int(watched.until("pid "))
    watched.running.kill(KILLED)
    assert watched.end() == KILLED
    assert has_ended(pid, timeout=0)


def test_a_task_may_write_what_it_has_when_it_is_stopped(make_task, script):
    target = script(
        """
        import signal, sys, time
        from ml_experiment_nb import report
        def stop(*_):
            report(saved=1)
            sys.exit("stopped")
        signal.signal(signal.SIGTERM, stop)
        print("ready")
        time.sleep(600)
        """
    )
    watched = Watched(make_task(target))
    watched.until("ready")
    watched.running.kill(KILLED)
    assert watched.end() == KILLED
    assert "stopped" in watched.printed


def test_killing_from_another_thread(make_task, script):
    watched = Watched(make_task(script("print('ready')\nimport time; time.sleep(600)")))
    watched.until("ready")
    thread = threading.Thread(target=watched.running.kill, args=(KILLED,))
    thread.start()
    assert watched.end() == KILLED
    thread.join()


def test_killing_before_the_start_starts_nothing(make_task, script, project):
    running = Running(make_task(script("open('started', 'w')")))
    running.kill(KILLED)
    assert list(running.batches()) == [[Done(KILLED)]]
    assert not (project / "started").exists()


def test_killing_after_the_end_changes_nothing(make_task, script):
    running = Running(make_task(script("")))
    assert list(running.batches()) == [[Done(FINISHED)]]
    running.kill(KILLED)
    running.answer(Answer(True))


def test_the_first_reason_for_stopping_stands(make_task, script):
    watched = Watched(make_task(script("print('ready')\nimport time; time.sleep(600)")))
    watched.until("ready")
    watched.running.kill(KILLED)
    watched.running.kill(Outcome(Status.FAILED))
    assert watched.end() == KILLED


def test_an_abandoned_stream_ends_the_task(make_task, script, has_ended):
    watched = Watched(make_task(script("import os; print('pid', os.getpid())\nimport time; time.sleep(600)")))
    pid = int(watched.until("pid "))
    watched._batches.close()
    assert has_ended(pid, timeout=0)


# ------------------------------------------------------------------------------------------------ leftovers

ENDINGS = {
    "in peace": "",
    "in pain": "1 / 0",
    "at once": "os._exit(7)",
    "by a signal": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_that_a_task_started_is_left(make_task, script, daemons, has_ended, ending):
    target = script(
        f"""
        import os, subprocess
        from daemons import leave_a_daemon
        print("daemon", leave_a_daemon())
        print("child", subprocess.Popen(["sleep", "600"]).pid)
        print("session", subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
        print("silent", subprocess.Popen(["sleep", "600"], env={{}}, stdout=subprocess.DEVNULL).pid, flush=True)
        {ENDINGS[ending]}
        """
    )
    _, printed, _ = perform(make_task(target))
    pids = [int(line.split()[1]) for line in printed.splitlines()[:4]]
    assert len(pids) == 4
    assert [has_ended(pid, timeout=0) for pid in pids] == [True] * 4


def test_a_shells_background_process_is_ended_and_nobody_waits_for_it(make_task, has_ended):
    _, printed, outcome = perform(make_task(Command(command="sleep 600 & echo $!")))
    assert outcome == FINISHED
    assert has_ended(int(printed), timeout=0)


OWNER = """
import sys
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.targets import Script
from ml_experiment_nb.work.process import Running
path, cwd, folder = sys.argv[1:]
for batch in Running(Task("0", "t", (Step(Script(path=path), {}),), {}, cwd, folder=folder)).batches():
    print("".join(getattr(event, "text", "") for event in batch), end="", flush=True)
"""


def test_a_task_ends_with_its_owner_even_when_that_is_killed(make_task, script, project, daemons, has_ended):
    target = script(
        """
        import os, signal, subprocess, time
        from daemons import leave_a_daemon
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), leave_a_daemon(), subprocess.Popen(["sleep", "600"]).pid, flush=True)
        time.sleep(600)
        """
    )
    words = [sys.executable, "-c", OWNER, target.path, str(project), str(project / "folder")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.kill()
    assert [has_ended(pid) for pid in pids] == [True] * 3


def test_what_is_left_of_a_task_is_its_folder(make_task, script, project):
    _, printed, _ = perform(make_task(script("import os; print(os.environ['ML_EXPERIMENT_SOCKET'])")))
    assert not Path(printed.strip()).parent.exists()
    assert sorted(one.name for one in project.iterdir()) == [".tasks", "script.py"]


def test_a_task_that_can_not_be_started_says_so(make_task, script, project):
    task = make_task(script(""))
    with pytest.raises(OSError, match="gone"):
        list(Running(type(task)(**{**vars(task), "cwd": str(project / "gone")})).batches())


def test_the_child_is_not_for_hands():
    words = [sys.executable, "-m", "ml_experiment_nb.work.child", "x"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ML_EXPERIMENT")}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not by hand" in done.stderr


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_task(make_task, script):
    source = "import os; print('group', os.getpgid(0) == os.getpid())"
    assert perform(make_task(script(source)))[1] == "group True\n"
