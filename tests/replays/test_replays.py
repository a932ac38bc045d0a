"""Runs done again for real: what has changed since is said, and the verdict is kept."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from ml_experiment_nb import cli, loop
from ml_experiment_nb.errors import ReplayError, SpecError
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.replays import chosen, replay
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import opened_store
from ml_experiment_nb.verdicts import VerdictAnswer

pytestmark = pytest.mark.slow

TRAIN = """\
import random
from helper import scale
from ml_experiment_nb import job, report

@job
def train(C, seed=3):
    if seed is not None:
        random.seed(seed)
    rows = [float(line) for line in open("data/x.csv")]
    report({"loss": C}, step=0)
    report({"loss": C / 2}, step=1)
    print("mean", sum(rows) / len(rows))
    open("out.txt", "w").write("written by the run")
    return {"accuracy": scale(sum(rows)) + random.random()}, {"rows": rows}

train()
"""


def git(folder, *words):
    named = ["-c", "user.email=me@example.org", "-c", "user.name=me"]
    subprocess.run(["git", "-C", folder, *named, *words], check=True, capture_output=True)


@pytest.fixture
def folder(stored):
    """A project in git whose work tree is dirty."""
    (stored / "train.py").write_text(TRAIN)
    (stored / "helper.py").write_bytes(b"def scale(x):\r\n    return x\r\n")  # as on Windows
    (stored / "data").mkdir()
    (stored / "data" / "x.csv").write_text("1\n2\n3\n")
    (stored / ".gitignore").write_text("data/\n.ml-experiment/\n")
    git(stored, "init", "-q")
    git(stored, "add", "-A")
    git(stored, "commit", "-qm", "one")
    (stored / "helper.py").write_bytes(b"def scale(x):\r\n    return x * 20  # not committed\r\n")
    return stored


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command in this process; return its exit code and what it wrote."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ml-experiment", *words])
        before, code = signal.getsignal(signal.SIGTERM), 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        finally:
            signal.signal(signal.SIGTERM, before)
        return (code, *capsys.readouterr())

    return run


def run(**keys):
    keys = {"run": "train.py", "params": {"C": 2.0}, "system_metrics": False, **keys}
    return list(loop.run(make_plan(spec_from_mapping(keys))))[-1]


def test_a_dirty_tree_comes_back_and_the_user_s_files_are_left_alone(folder):
    record = run()
    (folder / "helper.py").write_text("def scale(x):\n    return x * 7\n")
    (folder / "train.py").unlink()
    (folder / "out.txt").write_text("the user's own")
    found = replay(record.run_id, env="here")
    assert found.verdict.sentence == "identical: 2 metrics, 1 file and 1 output are the same"
    assert (folder / "out.txt").read_text() == "the user's own"
    assert (folder / "helper.py").read_text().endswith("x * 7\n")
    assert not (folder / "train.py").exists()
    assert list((folder / ".ml-experiment" / "replays").iterdir()) == []


def test_the_verdict_is_kept_with_the_replay_and_with_the_original(folder):
    record = run()
    found = replay(record, env="here")
    store = opened_store()
    own, original = found.record, store.record(record.run_id)
    assert own.run_id != record.run_id
    assert own.name == "train (replay)"
    assert own.tags["mlexp.replay.of"] == record.run_id
    assert own.tags["mlexp.replay.verdict"] == "identical"
    assert original.tags["mlexp.replayed.by"] == own.run_id
    assert original.tags["mlexp.replayed"].startswith("identical: ")
    kept = json.loads(store.text(own, "record/replay.json"))
    assert (kept["answer"], kept["of"]) == ("identical", record.run_id)
    assert [one.run_id for one in chosen(store, own.run_id)] == [record.run_id]  # a replay's replay is the original's


def test_data_that_has_changed_is_said_first(folder):
    record = run(data={"files": ["data/x.csv"]})
    (folder / "data" / "x.csv").write_text("1\n2\n30\n")
    said = []
    found = replay(record.run_id, env="here", say=said.append)
    assert said[0].startswith("before it runs: data data/x.csv ")
    assert found.verdict.causes[0].kind == "data"
    assert found.verdict.sentence.startswith("differs: data data/x.csv is another, metric accuracy 12")
    assert {one.kind for one in found.verdict.differences} == {"metric", "file", "output"}


def test_data_that_is_gone_could_not_run_and_that_is_recorded(folder, command):
    record = run(data={"files": ["data/x.csv"]})
    (folder / "data" / "x.csv").unlink()
    code, out, _ = command("replay", record.run_id[:8], "--env", "here", "--json")
    told = json.loads(out)
    assert (code, told["answer"]) == (7, "could not run")
    assert f"no file in {folder} matches 'data/x.csv'" in told["reason"]
    own = opened_store().record(told["run_id"])
    assert own.status is Status.FAILED
    assert own.tags["mlexp.replay.of"] == record.run_id


def test_the_command_says_the_verdict_by_its_exit_code_and_what_differs_before_it_runs(folder, command):
    record = run(data={"files": ["data/x.csv"]})
    code, out, err = command("replay", record.run_id, "--env", "here")
    assert (code, out.splitlines()[1]) == (0, "identical: 2 metrics, 1 file and 1 output are the same")
    assert "mean 2.0" in err
    (folder / "data" / "x.csv").write_text("1\n2\n30\n")
    code, out, err = command("replay", record.run_id, "--env", "here", "--quiet", "--tolerance", "accuracy=1")
    assert code == 1
    assert err.startswith("note: before it runs: data data/x.csv ")
    assert "allowed: 1" in out
    _, out, _ = command("show", record.run_id)
    assert "replayed as" in out


def test_a_run_without_a_seed_differs_and_says_why_and_tolerance_helps(folder):
    record = run(params={"C": 2.0, "seed": None})
    found = replay(record.run_id, env="here", ignore=["outputs"])
    assert [(one.kind, one.name) for one in found.verdict.causes] == [("seed", "random")]
    assert found.verdict.first.name == "accuracy"
    near = replay(record.run_id, env="here", tolerance="accuracy=1")
    assert near.verdict.answer is VerdictAnswer.WITHIN
    with pytest.raises(SpecError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        replay(record.run_id, tolerance="acuracy=1")


def test_a_spec_s_seed_makes_all_generators_draw_the_same_again(stored):
    (stored / "draw.py").write_text("import random\nfrom ml_experiment_nb import report\nreport(x=random.random())\n")
    record = run(run="draw.py", params={}, seed=5)
    assert replay(record.run_id, env="here").verdict.answer is VerdictAnswer.IDENTICAL


def test_a_package_that_was_upgraded_since_is_listed(stored, monkeypatch):
    site = stored / "site"

    def install(version):
        for old in site.glob("*"):
            for file in [*old.glob("*")] if old.is_dir() else [old]:
                file.unlink()
        info = site / f"tiny_of_tests-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: tiny-of-tests\nVersion: {version}\n")
        (site / "tiny_of_tests.py").write_text(f"VALUE = {version}\n")

    install("1.0")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    (stored / "use.py").write_text(
        "from tiny_of_tests import VALUE\nfrom ml_experiment_nb import report\nreport(v=VALUE)\n"
    )
    record = run(run="use.py", params={})
    install("2.0")
    os.utime(site, (1, 1))
    found = replay(record.run_id, env="here")
    assert "package tiny-of-tests 1.0 → 2.0" in map(str, found.verdict.causes)
    assert found.verdict.sentence == "differs: metric v 1 → 2 (+1 or +100.00%)"


def test_a_recorded_environment_that_cannot_be_made_is_said_and_nothing_is_taken_in_its_place(stored, monkeypatch):
    (stored / "one.py").write_text("print(1)\n")
    record = run(run="one.py", params={})
    store = opened_store()
    path = stored / ".ml-experiment" / "artifacts" / "one" / record.run_id / "artifacts" / "record" / "requirements.txt"
    path.write_text("no-such-package-of-tests==9.9\n")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    found = replay(record.run_id, store=store)
    assert found.verdict.answer is VerdictAnswer.COULD_NOT_RUN
    assert "no-such-package-of-tests" in found.verdict.reason
    assert "--env here runs it in this environment" in found.verdict.reason


def test_a_limit_of_time_stops_it_and_its_run_is_closed(stored):
    (stored / "slow.py").write_text("import os, time\ntime.sleep(600 if os.path.exists('slow') else 0)\n")
    record = run(run="slow.py", params={})
    (stored / "slow").touch()
    found = replay(record.run_id, env="here", timeout=3)
    assert found.verdict.answer is VerdictAnswer.COULD_NOT_RUN
    assert "TaskTimeoutError: stopped at its limit of 3" in found.verdict.reason
    assert found.record.status is Status.FAILED


def test_an_interrupt_leaves_a_closed_run_and_no_copy(stored):
    (stored / "slow.py").write_text(
        "import os, time\nprint('begun', flush=True)\ntime.sleep(600 if os.path.exists('slow') else 0)\n"
    )
    record = run(run="slow.py", params={})
    (stored / "slow").touch()
    command = [sys.executable, "-m", "ml_experiment_nb.cli", "replay", record.run_id, "--env", "here"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while "begun" not in process.stderr.readline():
            assert time.monotonic() < until
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    [own] = [one for one in opened_store(anew=True).records() if one.tags.get("mlexp.replay.of") == record.run_id]
    assert own.status is Status.KILLED
    assert own.tags["mlexp.replay.sentence"] == "could not run: it was interrupted"
    assert list((stored / ".ml-experiment" / "replays").iterdir()) == []


def test_a_group_stands_for_its_best_trial_and_each_can_be_done_again(folder):
    group = run(
        kind="group", param_space={"seed": "choice([1, 2])"}, num_trials=2, sampler="grid", slots=1, executor="inline",
        metric={"name": "accuracy", "direction": "maximize"},
    )  # fmt: skip
    store = opened_store()
    trials = store.children(group.run_id)
    best = max(trials, key=lambda one: one.metrics["accuracy"])
    assert [one.run_id for one in chosen(store, group.run_id)] == [best.run_id]
    assert len(chosen(store, group.run_id, every=True)) == 2
    found = replay(group.run_id, env="here")
    assert found.original.run_id == best.run_id
    assert found.verdict.answer is VerdictAnswer.IDENTICAL


def test_a_function_of_a_module_is_done_again_as_it_was_then(folder):
    (folder / "mod.py").write_text("from ml_experiment_nb import job\n@job\ndef double(a):\n    return {'b': a * 2}\n")
    git(folder, "add", "mod.py")
    code = "from mod import double\ndouble(4)\n"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder)
    (folder / "mod.py").write_text("def double(a): raise ValueError('another')\n")
    [record] = [one for one in opened_store(anew=True).records() if one.name == "double"]
    assert replay(record.run_id, env="here").verdict.sentence == "identical: 1 metric is the same"


def test_a_script_that_was_run_by_hand_is_run_so_again(folder):
    script = "from ml_experiment_nb import job\n@job\ndef fit(a: int):\n    return {'b': a * 2}\nfit()\nfit(5)\n"
    (folder / "hand.py").write_text(script)
    subprocess.run([sys.executable, "hand.py", "--a", "7"], check=True, capture_output=True, cwd=folder)
    (folder / "hand.py").unlink()
    calls = {one.metrics["b"]: one for one in opened_store(anew=True).records() if one.name == "fit"}
    found = replay(calls[14.0].run_id, env="here")
    assert found.verdict.sentence == "identical: 1 metric is the same"
    assert opened_store().record(found.record.tags["mlexp.replay.run"]).metrics == {"b": 14.0}
    assert calls.keys() == {14.0, 10.0}


def test_what_is_no_run_or_a_job_is_refused(stored):
    from dataclasses import replace

    (stored / "one.py").write_text("print(1)\n")
    record = run(run="one.py", params={})
    with pytest.raises(ReplayError, match="it was not recorded"):
        replay(replace(record, run_id=None))


@pytest.mark.kernel
def test_a_notebook_that_was_deleted_and_cells_of_a_session_are_done_again(stored):
    def notebook(path, *sources, parameters=None):
        cells = [nbformat.v4.new_code_cell(text) for text in sources]
        if parameters is not None:
            cells[parameters].metadata["tags"] = ["parameters"]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), stored / path)

    (stored / "sub").mkdir()
    (stored / "sub" / "base.txt").write_text("10")
    notebook("book.ipynb", "C = 1", "print('C is', C)", parameters=0)
    notebook(
        "session.ipynb",
        "%load_ext ml_experiment_nb",
        "%cd sub",
        "base = int(open('base.txt').read())",
        "%%experiment inline\nC = 0.5\n{'a': base + C}",
        "%%group search --trials 2 --sampler random --maximize a --slots 1 --executor inline\n"
        "C = uniform(0, 1)\n{'a': base + C}",
    )
    book = run(run="book.ipynb", params={"C": 3})
    run(run="session.ipynb", params={})
    for path in ("book.ipynb", "session.ipynb"):
        (stored / path).unlink()
    store = opened_store(anew=True)
    found = replay(book.run_id, env="here", store=store)
    assert found.verdict.sentence == "identical: 1 output is the same"
    records = {one.name: one for one in store.records()}
    for name in ("inline", "search"):
        found = replay(records[name].run_id, env="here", store=store)
        assert found.verdict.sentence == "identical: 1 metric is the same"
        assert found.record.tags["mlexp.replay.run"] != records[name].run_id
