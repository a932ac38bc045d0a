import json
import os

import click
import pytest

from ml_experiment_nb.cli.run import run
from ml_experiment_nb.command_requests import GRAMMAR, read_command
from ml_experiment_nb.errors import SpecError


@pytest.fixture(autouse=True)
def folder(project):
    """A project with a script, a table, and specs of an experiment, a group and a job."""
    (project / "train.py").write_text(
        "from ml_experiment_nb import job\n@job\ndef main(C, name='x'):\n    return {'a': C}\n"
    )
    (project / "rows.csv").write_text("C\n1\n2\n")
    (project / "sub").mkdir()
    (project / "svm.yaml").write_text("name: SVM\nrun: train.py\nparams: {C: 1}\nslots: 2\n")
    group = {"kind": "group", "run": "train.py", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 2}
    (project / "group.json").write_text(json.dumps(group))
    (project / "job.yaml").write_text("kind: job\nrun: train.py\nparams: {C: 1}\n")
    return project


def spec(*words):
    return read_command(words).spec


def test_what_is_read_is_what_the_command_takes():
    def taken(command):
        return [(type(one), one.name, one.opts, one.secondary_opts, one.default) for one in command.params]

    assert taken(GRAMMAR) == taken(run)


def test_nothing_is_run_or_left_behind(folder):
    before = sorted(folder.rglob("*"))
    plan = read_command(["train.py", "-p", "C=0.5", "--plan"])
    assert (plan.kind, plan.spec.params, plan.cwd) == ("experiment", {"C": 0.5}, str(folder))
    assert sorted(folder.rglob("*")) == before


def test_options_take_the_place_of_a_spec_s_keys(folder):
    words = ["--name", "other", "--slots", "3", "--timeout", "5", "--memory", "1GB", "--no-autolog"]
    found = spec("svm.yaml", "-p", "C=2", *words)
    assert (found.name, found.slots, found.timeout, found.memory) == ("other", 3, 5.0, 1_000_000_000)
    assert (found.params, found.autolog.libraries) == ({"C": 2}, ())
    assert spec("svm.yaml").slots == 2


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["train.py", "-p", "C=1"], "experiment"),
        (["train.py", "-p", "C=1", "--kind", "job"], "job"),
        (["svm.yaml", "--kind", "job"], "job"),
        (["job.yaml", "--kind", "experiment"], "experiment"),
        (["train.py", "--each", "rows.csv"], "group"),
        (["group.json"], "group"),
    ],
)
def test_the_kind(words, kind):
    assert spec(*words).kind == kind


def test_where_the_code_runs(folder):
    assert read_command(["svm.yaml"]).cwd == str(folder)
    assert read_command(["sub/../train.py", "-p", "C=1", "--cwd", "sub"]).cwd == str(folder / "sub")
    os.chdir("sub")
    assert read_command(["../train.py", "-p", "C=1"]).cwd == str(folder / "sub")
    assert read_command(["../svm.yaml"]).cwd == str(folder)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["train.txt"], "train.txt: is neither a spec"),
        (["absent.py"], "absent.py: there is no such file"),
        (["-", "--each", "-"], "TARGET and --each can't both be standard input"),
        (["group.json", "--kind", "job"], "--kind: a group stays a group"),
        (["job.yaml", "--each", "rows.csv"], "--each records a run for each row, and a job is not recorded"),
        (["train.py", "--kind", "job", "--each", "rows.csv"], "a job is not recorded: make it an experiment"),
        (["svm.yaml", "--results", "r.csv"], "--results is for a group, and this is kind: experiment"),
        (["group.json", "--results", "r.txt"], r"r.txt: a table of results ends in \.csv or \.jsonl"),
        (["group.json", "--results", "absent/r.csv"], "absent/r.csv: its folder does not exist"),
        (["svm.yaml", "--memory", "much"], "memory: 'much' is no amount of memory"),
        (["svm.yaml", "-p", "D=1"], "^D: train has no such parameter; it takes C, name"),
        (["svm.yaml", "--inject-paths"], "--inject-paths is for a single notebook"),
    ],
)
def test_what_is_asked_wrongly(words, problem):
    with pytest.raises(SpecError, match=problem):
        read_command(words)


def test_an_error_that_shows_when_a_spec_meets_its_code_names_the_file_and_the_line(folder):
    (folder / "odd.yaml").write_text("name: SVM\nrun: train.py\nparams:\n  C: 1\n  nmae: x\n")
    with pytest.raises(SpecError, match=r"^odd\.yaml:5: params\.nmae: .*did you mean 'name'"):
        read_command(["odd.yaml"])


def test_a_word_that_is_none_is_told_by_click():
    with pytest.raises(click.UsageError, match="No such option"):
        read_command(["svm.yaml", "--nmae", "x"])
