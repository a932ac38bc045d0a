"""Running only what has no successful record yet."""

import json

import nbformat
import optuna
import pytest
from click.testing import CliRunner
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from ml_experiment_nb import loop
from ml_experiment_nb.cli import commands
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.known import TAKEN_FROM
from ml_experiment_nb.needs import needed
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

TRAIN = """
from pathlib import Path
from helpers import scale
from ml_experiment_nb import job

@job
def main(C=1, kernel="rbf"):
    with Path("ran.txt").open("a") as file:
        file.write(f"{C}\\n")
    if C == 13:
        raise ValueError("unlucky")
    return {"acc": scale(C)}

if __name__ == "__main__":
    main()
"""
GROUP = {
    "kind": "group",
    "name": "g",
    "metric": {"name": "acc", "direction": "maximize"},
    "executor": "inline",
    "slots": 1,
    "run": "train.py",
}


@pytest.fixture
def code(stored, script):
    script(TRAIN, "train.py")
    script("def scale(x):\n    return x / 10\n", "helpers.py")
    return stored


@pytest.fixture
def ask(code):
    def plan(**keys):
        return needed(make_plan(spec_from_mapping({"kind": "experiment", "name": "e", "run": "train.py", **keys})))

    return plan


@pytest.fixture
def do(ask):
    def run(**keys):
        plan = ask(**keys)
        return loop.collect(plan, loop.run(plan))

    return run


@pytest.fixture
def ran(code):
    """What the code was run with since it was asked for the last time."""

    def take():
        file = code / "ran.txt"
        found = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return found

    return take


def origins(records):
    return {one.number: one.tags.get(TAKEN_FROM) for one in records}


@pytest.mark.slow
def test_an_experiment_is_run_once(do, ran, code):
    [first] = do(params={"C": 2})
    assert ran() == ["2"]
    [again] = do(name="another name", params={"C": 2, "kernel": "rbf"}, tags={"why": "not"}, timeout=60)
    assert ran() == []
    assert (again.run_id, again.metrics) == (first.run_id, {"acc": 0.2})
    assert again.notes[0].startswith(f"taken from {first.run_id[:8]} (20")
    assert [one.run_id for one in Store(code).records()] == [first.run_id]


@pytest.mark.slow
def test_what_differs_is_run(do, ask, ran, script, code):
    (code / "train.csv").write_text("1,2\n")
    asked = {"params": {"C": 2}, "data": "train.csv"}
    do(**asked)
    ran()
    assert ask(**asked).known.whole
    for other in ({"params": {"C": 3}}, {"params": {"C": 2, "kernel": "linear"}}, {"seed": 1}):
        assert not ask(**{**asked, **other}).known.whole
    assert not ask(**{**asked, "data": ["train.csv", "helpers.py"]}).known.whole
    (code / "train.csv").write_text("1,3\n")
    changed = ask(**asked).known
    assert (changed.whole, changed.apart) == ((), ("1 run of this code not: train.csv was another, or not recorded",))
    (code / "train.csv").write_text("1,2\n")
    assert ask(**asked).known.whole
    script("def scale(x):\n    return x / 100\n", "helpers.py")
    assert ask(**asked).known.apart == ("1 run of this code not: the files that its code imports were others",)
    script("def scale(x):\n    return x / 10\n", "helpers.py")
    script(TRAIN + "# a comment\n", "train.py")
    assert ask(**asked).known.whole
    script(TRAIN.replace("unlucky", "bad luck"), "train.py")
    assert not ask(**asked).known.whole
    (code / "train.csv").unlink()
    with pytest.raises(SpecError, match=r"train\.csv"):
        ask(**asked)


@pytest.mark.slow
def test_what_failed_is_run_again(do, ran):
    assert [one.status for one in do(params={"C": 13})] == [Status.FAILED]
    assert [one.status for one in do(params={"C": 13})] == [Status.FAILED]
    assert ran() == ["13", "13"]


def test_of_a_plan_in_an_image_nothing_is_taken_and_that_is_said(ask):
    plan = ask(docker_config={"image": "team/x:1"})
    assert plan.known.whole == () == tuple(plan.known.records)
    assert "what is in an image can't be compared" in plan.notes[-1]


@pytest.mark.slow
def test_a_job_is_not_recorded(ask):
    with pytest.raises(SpecError, match="a job is not"):
        ask(kind="job")


@pytest.mark.slow
def test_rows_and_points_that_are_known_are_taken(do, ran, code):
    [single] = do(params={"C": 2})
    rows = do(**GROUP, each=[{"C": 1}, {"C": 2}, {"C": 13}])
    assert ran() == ["2", "1", "13"]
    assert origins(rows) == {0: None, 1: single.run_id, 2: None}
    assert rows[1].metrics == {"acc": 0.2}
    assert rows[1].notes[0].startswith(f"taken from {single.run_id[:8]} (20")
    assert rows.parent.notes[0].startswith("1 of 3 runs were not run, and are taken from earlier ones: g #1 from")
    header, _, second, _ = Store(code).text(rows.parent, "results.csv").splitlines()
    assert (header.split(",")[-1], second.split(",")[-1]) == ("taken_from", single.run_id)

    grid = do(**GROUP, sampler="Grid", param_space={"C": "choice([1, 2, 3])"})
    assert sorted(ran()) == ["3"]
    taken = {one.params["C"]: one.tags.get(TAKEN_FROM) for one in grid}
    assert taken == {1: rows[0].run_id, 2: single.run_id, 3: None}
    assert grid.best.params["C"] == 3

    again = do(**{**GROUP, "name": "g2"}, sampler="Grid", param_space={"C": "choice([1, 2, 3])"})
    assert (again.parent.run_id, len(again), ran()) == (grid.parent.run_id, 3, [])
    assert again.parent.notes[0].startswith("taken from")


@pytest.mark.slow
def test_steps_and_data_that_their_code_names(do, ask, script, ran, code):
    (code / "train.csv").write_text("1,2\n")
    script(TRAIN.replace("@job", '@job(data="train.csv")').replace("C == 13", "C == 0"), "train.py")
    script("from ml_experiment_nb import job\n\n@job\ndef main(D=1):\n    return {'b': D}\n\nmain()\n", "other.py")
    [single] = do(params={"C": 2})
    asked = {"run": ["train.py", "other.py"], "params": {"C": 2, "D": 3}}
    steps = do(**asked)
    assert ran() == ["2"]
    assert [one.tags.get(TAKEN_FROM) for one in steps] == [single.run_id, None]
    again = do(**asked)
    assert [one.run_id for one in again] == [one.run_id for one in steps]
    assert again.parent.run_id == steps.parent.run_id
    assert len(Store(code).records()) == 4
    (code / "train.csv").write_text("1,3\n")  # nobody but the code of a step names it
    known = ask(**asked).known
    assert (known.whole, len(known.records)) == ((), 1)
    assert known.apart == ("1 run of this code not: train.csv is not as it was",)
    (code / "train.csv").unlink()
    assert not ask(params={"C": 2}).known.whole


@pytest.mark.slow
def test_a_search_is_told_of_what_is_known(do, ran, code):
    do(params={"C": 5})
    ran()
    found = do(**GROUP, num_trials=3, sampler="TPE", param_space={"C": "choice([5])"})
    assert ran() == []
    assert [one.metrics for one in found] == [{"acc": 0.5}] * 3
    study = optuna.load_study(
        study_name=found.parent.tags["mlexp.study"],
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(found.parent.tags["mlexp.storage"])
        ),
    )
    assert [(one.state.name, one.values) for one in study.trials] == [("COMPLETE", [0.5])] * 3


@pytest.mark.slow
def test_a_group_with_failures_is_not_taken_as_a_whole(do, ran):
    asked = {**GROUP, "sampler": "Grid", "param_space": {"C": "choice([1, 13])"}}
    do(**asked)
    assert sorted(ran()) == ["1", "13"]
    again = do(**asked)
    assert ran() == ["13"]
    assert sorted(map(str, (one.status for one in again))) == ["failed", "finished"]


@pytest.mark.slow
def test_what_the_code_draws_itself_is_not_known_before(do, script, ran):
    draws = TRAIN.replace("import job", "import Trial, job").replace(
        "    if C", '    k = Trial.get_current().suggest_int("k", 1, 1)\n    if C'
    )
    script(draws, "train.py")
    asked = {**GROUP, "param_space": {"C": "choice([1])"}, "num_trials": 1}
    do(**asked)
    do(**{**asked, "num_trials": 2})
    assert ran() == ["1", "1", "1"]


@pytest.mark.slow
def test_the_command(code, ran):
    run = CliRunner()
    words = ["run", "train.py", "--kind", "experiment", "-p", "C=4", "--needed"]
    assert "nothing of it yet" in run.invoke(commands, [*words, "--plan"]).output
    assert run.invoke(commands, words).exit_code == 0
    shown = run.invoke(commands, [*words, "--plan"]).output
    assert "all of it: taken from" in shown
    assert "compared" in shown
    assert "estimate" not in shown
    assert "note: taken from" in run.invoke(commands, words).output
    told = json.loads(run.invoke(commands, [*words, "--json"]).stdout)
    assert told["tags"][TAKEN_FROM] == told["run_id"]
    assert ran() == ["4"]
    refused = run.invoke(commands, ["run", "train.py", "--kind", "job", "--needed"])
    assert refused.exit_code != 0


@pytest.mark.kernel
@pytest.mark.slow
def test_the_executed_notebook_is_written_as_it_was(code):
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_code_cell("C = 1", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell("C")]
    nbformat.write(nb, code / "n.ipynb")
    run = CliRunner()
    for name in ("first.ipynb", "second.ipynb"):
        assert run.invoke(commands, ["run", "n.ipynb", name, "-p", "C", "2", "--needed"]).exit_code == 0
    assert (code / "first.ipynb").read_text() == (code / "second.ipynb").read_text()
    assert len(Store(code).records()) == 1


@pytest.mark.slow
def test_a_cell_and_what_it_reads_of_its_notebook(code):
    shell = InteractiveShell()
    magic = "%%experiment e --needed --into found\nC = 3\nmade = times(C)\n{'acc': made}"

    def run(text):
        with capture_output() as shown:
            result = shell.run_cell(text)
        assert result.success, shown
        return shown

    run("%load_ext ml_experiment_nb")
    run("k = 2\ndef times(x):\n    return k * x")
    run(magic)
    first = shell.user_ns["found"]
    assert first.metrics == {"acc": 6.0}
    run("del made")
    shown = run(magic)
    assert shell.user_ns["found"].run_id == first.run_id
    assert "taken from" in str(shown)
    assert shown.stderr == "note: the cell was not run, so it did not set made\n"
    run("k = 3")
    run(magic)
    assert shell.user_ns["found"].metrics == {"acc": 9.0}
    group = (
        "%%group e --needed --slots 1 --sampler grid --maximize acc --into all\nC = choice([3, 4])\n{'acc': times(C)}"
    )
    run(group)
    run(group)
    assert len(Store(code).records(limit=None)) == 5
    assert shell.user_ns["all"].best.metrics == {"acc": 12.0}
