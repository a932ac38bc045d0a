import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_records import experiment_record
from ruamel.yaml import YAML

from ml_experiment_nb import cli, loop
from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.cell_requests import parse_cell
from ml_experiment_nb.command_requests import read_command
from ml_experiment_nb.command_requests.forms import _options, form_of
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forms import RecordedSpec, as_file, asked_by
from ml_experiment_nb.identity import spec_hash
from ml_experiment_nb.magics import ExperimentMagics
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Record
from ml_experiment_nb.spec_files import read_spec, spec_text
from ml_experiment_nb.specs import Experiment, Group, spec_from_mapping, to_mapping
from ml_experiment_nb.targets import Notebook
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.typed_forms import IN_CELL, NOT_IN_MAGIC, as_cell, as_words

DOCS = (Path(__file__).parents[1] / "docs/specs.md").read_text()
EXAMPLES = re.findall(r"^\| `.*\| `([^`]+)` \|$", DOCS, re.M)
"""An example of each key: a new key has one too, since it has to be documented."""

TRAIN = """\
from ml_experiment_nb import job

@job
def main(C, kernel="rbf", shape=(1, 2), **more):
    return {"accuracy": C, "size": len(shape)}

if __name__ == "__main__":
    main()
"""
CELL = "C = loguniform(0.1, 10)\nkernel = 'rbf'\nshape = (1, 2)\nmath = 3\n{'a': C * math}"
PARAMS = [
    {"C": 0.5}, {"C": -1}, {"C": 1e-300, "kernel": "linear"}, {"kernel": "a b 'c' \"d\" $HOME `x` {y} \\ \n é"},
    {"kernel": "5"}, {"kernel": "true"}, {"kernel": ""}, {"kernel": " x "}, {"kernel": "-x"}, {"kernel": "a=b"},
    {"shape": [1, [2.5, "x"], None, True]}, {"shape": {"a": 1}}, {"kernel": None}, {"C": float("inf")},
    {"kernel": "uniform(0, 1)"}, {"kernel": "[1, 2"},
]  # fmt: skip


def yaml(text):
    return YAML(typ="safe", pure=True).load(text)


def whole(**keys):
    """Return a spec with these keys and what else it needs."""
    group = keys.get("kind") == "group" or keys.keys() & (Group.model_fields.keys() - Experiment.model_fields.keys())
    space = {"param_space": {"lr": "uniform(0, 1)"}} if group and not keys.keys() & {"each", "param_space"} else {}
    if "each" in keys:
        keys = {name: value for name, value in keys.items() if name != "metric"}
    return spec_from_mapping({"name": "the name", "run": "train.py", **space, **keys})


@pytest.fixture
def folder(project):
    (project / "train.py").write_text(TRAIN)
    (project / "prepare.py").write_text("print('prepared')")
    (project / "rows.csv").write_text("C\n1\n2\n")
    cells = [{"cell_type": "code", "source": s, "metadata": {"tags": t}} for s, t in [("C = 1", ["parameters"])]]
    (project / "train.ipynb").write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
    )
    return project


# --- spec and file ---


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_key_goes_through_a_file(example, suffix):
    spec = whole(**yaml(example))
    form = as_file(RecordedSpec(spec), suffix)
    assert form.losses == ()
    assert spec_from_mapping(yaml(form.text)) == spec


def test_there_is_an_example_of_every_key():
    shown = {key for example in EXAMPLES for key in yaml(example)}
    assert set(Group.model_fields) - {"run"} <= shown | {"sampler", "samples"}


@pytest.mark.parametrize("params", PARAMS)
def test_parameters_go_through_a_file(params):
    spec = whole(params=params)
    assert spec_from_mapping(yaml(as_file(RecordedSpec(spec)).text)) == spec


def test_what_a_file_can_not_hold_is_said():
    form = as_file(RecordedSpec(whole(params={"C": (1, 2)}, kind="experiment")))
    assert form.losses == ("params.C is (1, 2), which a file holds as [1, 2]",)


# --- spec and command ---


def by_words(spec):
    """Return the spec that the words of one ask for; None where there are no words for it."""
    words = as_words(spec, _options())
    if words is None:
        return None
    assert shlex.split(shlex.join(words)) == words
    plan = read_command(words[2:])
    return plan.spec.model_copy(update={"root_path": plan.cwd})


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("run", ["train.py", "train.ipynb"])
def test_parameters_go_through_a_command(folder, params, run):
    keys = {"run": str(folder / run), "root_path": str(folder), "params": params, "allow_unknown_params": True}
    spec = spec_from_mapping({"kind": "experiment", "name": "a name", **keys})
    spec = spec.model_copy(update={"params": {"C": 1, **params}})
    found = by_words(spec)
    if params.get("kernel") != "uniform(0, 1)":
        assert found == spec
    else:
        assert found is None


OPTIONS = ["kind: job", "each: rows.csv", "{each: rows.csv, slots: 2}", "memory: 1GB", "allow_unknown_params: true"]


@pytest.mark.parametrize("example", [*EXAMPLES, *OPTIONS])
def test_a_key_goes_through_a_command_or_there_is_none(folder, example):
    keys = {key: value for key, value in yaml(example).items() if key not in ("name", "root_path", "run")}
    if isinstance(keys.get("each"), str):
        keys["each"] = str(folder / "rows.csv")
    spec = whole(**keys, run=str(folder / "train.py")).model_copy(update={"root_path": str(folder)})
    if not isinstance(spec, Group):
        spec = spec.model_copy(update={"params": {"C": 1}})
    read = by_words(spec)
    assert read is None or to_mapping(read) == to_mapping(spec)
    assert read is not None or example not in OPTIONS


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "python3"}, {"execution_timeout": 5, "start_timeout": 9}, {"report_mode": True},
        {"request_save_on_cell_execute": False}, {"autosave_cell_every": 0, "log_output": True, "log_level": "INFO"},
        {"from_cell": 1, "until_cell": "parameters"}, {"stdout_file": "/tmp/a b", "stderr_file": "/tmp/c"},
        {"language": "python", "engine": "nbclient"},
    ],
)  # fmt: skip
def test_a_notebook_s_options_go_through_a_command(folder, options):
    run = {"notebook": str(folder / "train.ipynb"), **options}
    spec = spec_from_mapping({"name": "train", "run": run, "root_path": str(folder), "kind": "experiment"})
    assert by_words(spec) == spec


def test_every_option_of_a_notebook_has_a_place():
    assert set(Notebook.model_fields) - {"path"} <= _options().keys()


# --- spec and cell ---


def parsed(text):
    """Return what a cell with its magic asks for."""
    above, _, text = text.rpartition("\n\n%%") if text.startswith("rows = ") else ("", "", text.removeprefix("%%"))
    line, _, cell = text.partition("\n")
    kind, *words = shlex.split(line)
    rows = eval(above.removeprefix("rows = ")) if above else None
    options = getattr(ExperimentMagics, kind).parser.parse_args(words)
    return parse_cell(options, cell, kind=kind, rows=rows).spec


LINES = [
    "", "-p C=0.5 -p kernel='range(9)'", "-p kernel=linear", "-p kernel='a b'", "-p shape=[1]", "-p shape='{1: 2}'",
    "-p kernel=\"'5'\"", "-p kernel='$x'", "-p C='[uniform(0, 1), choice([1, 2])]'", "--trials 3 --seed 4",
    "--sampler nsga-ii --pruner sha", "--minimize a --slots 3", "--maximize 'the metric' --tag a=b --tag 'c=d e'",
    "--timeout-per-trial 2.5 --memory 1GB --storage sqlite:///x.db --executor inline",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", ["SVM", "'a name'", '"it\'s"'])
def test_a_group_s_cell_comes_back(line, name):
    cell = CELL if "-p C" not in line else CELL.replace("math = 3", "math = range(3)")
    spec = parsed(f"%%group {name} {line}\n{cell}")
    form = as_cell(RecordedSpec(spec))
    again = parsed(form.text)
    assert form.losses == ()
    assert spec_hash(again) == spec_hash(spec)
    assert as_cell(RecordedSpec(again)).text == form.text
    if not {"{", "$"} & set(line):
        assert again == spec


@pytest.mark.parametrize("line", ["", "-p kernel=linear --tag a=b", "-p shape='(3, 4)' -p kernel=None"])
def test_an_experiment_s_cell_comes_back(line):
    spec = parsed(f"%%experiment SVM -p C=0.5 {line}\n{CELL}")
    assert parsed(as_cell(RecordedSpec(spec)).text) == spec


def test_a_cell_with_rows_comes_back():
    rows = "[{'C': 1, 'kernel': 'x'},\n {'C': 2.5, 'shape': (1,)}]"
    spec = parsed(f"rows = {rows}\n\n%%group SVM --each rows --slots 2\n{CELL}")
    assert parsed(as_cell(RecordedSpec(spec)).text) == spec


@pytest.mark.parametrize(
    ("line", "lead"),
    [
        ("--sampler 'tpe(n_startup_trials=3)' --pruner 'threshold(upper=1.5)' --maximize a", "C = uniform(0, 1)"),
        (
            "--maximize a --minimize b --enqueue C=1 --enqueue \"C=0.5 k='a b'\"",
            "C = uniform(0, 1)\nk = choice(['a b'])",
        ),
        ("--timeout 5 --max-failures 2 --stop-when 'a > 1 or b < 2'", "C = uniform(0, 1)"),
        ("--define-by-run --trials 3", "C = 1"),
    ],
)
def test_a_search_s_cell_comes_back(line, lead):
    spec = parsed(f"%%group SVM {line}\n{lead}\nC")
    assert parsed(as_cell(RecordedSpec(spec)).text) == spec


def test_a_trial_that_has_drawn_by_itself_comes_back_with_what_it_drew():
    group = spec_from_mapping({"run": "a.py", "kind": "group", "param_space": {}, "params": {"n": 1}})
    found = asked_by(experiment_record(kind="trial", params={"n": 1, "kind": "svm", "C": 0.5}), spec_text(group))
    assert found.spec.kind == "experiment"
    assert found.spec.params == {"n": 1, "kind": "svm", "C": 0.5}


def test_every_key_has_a_place_in_a_cell():
    """Give the magic an option for a new key, or say in `NOT_IN_MAGIC` that it has none."""
    options = {word for action in ExperimentMagics.group.parser._actions for word in action.option_strings}
    named = {"num_trials": "--trials"} | {
        key: f"--{key.replace('_', '-')}" for key in Group.model_fields if key != "num_trials"
    }
    without = {key for key, word in named.items() if word not in options}
    assert without - IN_CELL == NOT_IN_MAGIC


def test_what_a_magic_has_no_option_for():
    spec = parsed(f"%%group SVM\n{CELL}").model_copy(update={"description": "x", "root_path": "/"})
    assert as_cell(RecordedSpec(spec)).losses == ("description: %%group has no option for it",)
    with pytest.raises(SpecError, match="no cell was run"):
        as_cell(RecordedSpec(whole()))
    with pytest.raises(SpecError, match="IPython would fill in"):
        as_cell(RecordedSpec(spec.model_copy(update={"name": "{x}"})))


# --- from records ---


def test_what_the_record_can_not_tell():
    with pytest.raises(SpecError, match="no spec is kept with the run 'n'"):
        asked_by(experiment_record(), None)
    text = "name: f\nrun: [{function: '__main__:f'}]\n"
    with pytest.raises(SpecError, match="f was defined where it was called"):
        asked_by(experiment_record(), text)
    text = spec_text(parsed("%%group x\nC = choice([1, '1'])\nC"))
    with pytest.raises(SpecError, match="C: the record has it as '1', which doesn't tell its options apart"):
        asked_by(experiment_record(kind="trial", params={"C": "1"}), text)


@pytest.mark.parametrize(
    "value", ["choice([None, (1, 2), 'x', 0.1])", "range(9)", "loguniform(1e-9, 1)", "uniform(0, 1)"]
)
def test_a_trial_s_values_are_what_they_were(value):
    space = {"C": value, "D": f"[{value}, choice(['a', 'b'])]"}
    group = spec_from_mapping({"run": "a.py", "param_space": space, "params": {"shape": [1]}})
    from ml_experiment_nb.forecast import first_points

    for point in first_points(group):
        params = {name: str(drawn) for name, drawn in {**group.params, **point}.items()}
        asked = asked_by(experiment_record(kind="trial", params=params), spec_text(group))
        assert asked.spec.params == {"shape": [1], **point}
        assert asked.losses == ()


@pytest.fixture
def runs_of(stored, folder):
    """Run a spec's plan, and return its records as the store has them, the group's own last."""

    def run(spec, **options):
        done = list(loop.run(make_plan(spec, **options)))
        store = Store(stored)
        return [(store.record(one.run_id), store.text(one, SPEC)) for one in done]

    return run


@pytest.mark.slow
def test_runs_of_a_script_come_back(runs_of, folder):
    keys = {"run": "train.py", "executor": "inline", "slots": 1, "seed": 1, "num_trials": 2, "metric": "accuracy"}
    group = spec_from_mapping({**keys, "param_space": {"C": "uniform(0, 1)"}, "params": {"shape": (3, 4, 5)}})
    *trials, parent = runs_of(group)
    for kept, text in trials:
        line = form_of(kept, text, "command")
        assert line.losses == ()
        plan = read_command(shlex.split(line.text)[2:])
        [(again, _)] = runs_of(plan.spec, cwd=plan.cwd)
        assert (again.params, again.metrics) == (kept.params, kept.metrics)
        assert again.tags["mlexp.spec_hash"] == kept.tags["mlexp.spec_hash"]
        assert form_of(kept, text, "cell").text == f"%%bash\n{line.text}"
        assert form_of(kept, text, "yaml").losses == ("params.shape is (3, 4, 5), which a file holds as [3, 4, 5]",)
    kept, text = parent
    line = form_of(kept, text, "command").text
    assert line == f"ml-experiment show {kept.run_id} --as yaml > train.yaml && ml-experiment run train.yaml"
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/train.yaml").write_text(form_of(kept, text, "yaml").text)
    again = read_spec(folder / "elsewhere/train.yaml")
    assert make_plan(again).cwd == str(folder)
    assert spec_hash(again.model_copy(update={"params": group.params})) == kept.tags["mlexp.spec_hash"]


@pytest.mark.slow
def test_rows_and_steps_come_back(runs_of, folder):
    *rows, parent = runs_of(
        spec_from_mapping({"run": "train.py", "each": "rows.csv", "executor": "inline", "slots": 1})
    )
    assert [asked_by(*row).spec.params for row in rows] == [{"C": 1}, {"C": 2}]
    assert form_of(*parent, "command").text == (
        f"ml-experiment run {folder}/train.py --each {folder}/rows.csv --executor inline --slots 1 --cwd {folder}"
    )
    first, second, parent = runs_of(
        spec_from_mapping({"run": ["prepare.py", "train.py"], "params": {"C": 1}, "name": "both"})
    )
    assert form_of(*first, "command").text == f"ml-experiment run {folder}/prepare.py --cwd {folder} --name both -p C=1"
    assert shlex.split(form_of(*second, "command").text)[2] == str(folder / "train.py")
    assert form_of(*parent, "command").text.endswith("ml-experiment run both.yaml")


def test_code_that_has_changed_is_said(runs_of, folder):
    [(kept, text)] = runs_of(spec_from_mapping({"run": "train.py", "params": {"C": 1}}))
    (folder / "train.py").write_text(TRAIN + "\nx = 1\n")
    assert form_of(kept, text, "yaml").losses == (
        "the code is another than in that run, whose own is kept in its record/source",
    )
    (folder / "train.py").unlink()
    [said] = form_of(kept, text, "yaml").losses
    assert said.startswith("the code can't be read any more: ")


def test_runs_of_a_cell_come_back(runs_of):
    alone = parsed(
        "%%group SVM --seed 1 --trials 2 --slots 1 --maximize a\nC = uniform(0, 1)\nn = (2, 3)\n{'a': C * n[0]}"
    )
    *trials, parent = runs_of(alone)
    assert parsed(form_of(*parent, "cell").text) == alone
    again = spec_from_mapping(yaml(form_of(*parent, "yaml").text))
    assert spec_hash(again) == parent[0].tags["mlexp.spec_hash"]
    for kept, text in trials:
        cell = form_of(kept, text, "cell")
        assert cell.losses == ()
        assert cell.text.startswith("%%experiment SVM --seed 1\nC = 0.")
        assert spec_hash(parsed(cell.text)) == kept.tags["mlexp.spec_hash"]
    needs = parsed("%%experiment SVM\nC = 1\n{'a': C + outside}")
    with pytest.raises(SpecError, match="the cell reads outside from its notebook, which a file hasn't"):
        form_of(experiment_record(), spec_text(needs), "yaml")
    with pytest.raises(SpecError, match="the cell reads outside"):
        form_of(experiment_record(), spec_text(needs), "command")
    assert form_of(experiment_record(), spec_text(needs), "cell").text == "%%experiment SVM\nC = 1\n{'a': C + outside}"


CALLED = """\
class Data:
    pass

class Sly:
    def __repr__(self):
        raise ValueError("no")

def train(C, kernel="rbf", **more):
    return {"accuracy": C}
"""


@pytest.mark.slow
def test_a_called_job_comes_back(stored, monkeypatch):
    (stored / "called.py").write_text(CALLED)
    monkeypatch.syspath_prepend(str(stored))
    import called

    from ml_experiment_nb import job

    store = Store(stored)
    train = job(called.train)
    train(C=0.5)
    [kept] = store.records()
    assert kept.tags["mlexp.cwd"] == str(stored)
    form = form_of(kept, store.text(kept, SPEC), "yaml")
    assert form.losses == ()
    again = spec_from_mapping(yaml(form.text))
    assert again.params == {"C": 0.5, "kernel": "rbf"}
    *_, record = loop.run(make_plan(again))
    assert (record.metrics, record.tags["mlexp.spec_hash"]) == ({"accuracy": 0.5}, kept.tags["mlexp.spec_hash"])

    train(C=1, data=called.Data(), sly=called.Sly(), long=list(range(10**5)), **{"no-name": 1})
    odd = store.records()[0]
    began = store.text(odd, SPEC)
    assert len(began) < 10_000
    with pytest.raises(SpecError, match="no-name"):
        form_of(odd, began, "yaml")
    train(C=1, data=called.Data())
    train(C=1, data=called.Data())
    one, other = store.records()[:2]
    assert one.tags["mlexp.spec_hash"] == other.tags["mlexp.spec_hash"]
    assert form_of(one, store.text(one, SPEC), "yaml").losses == (
        "a parameter or a row was of a kind that the record has as text only",
    )


@pytest.mark.slow
def test_the_command(runs_of, folder):
    [(kept, _)] = runs_of(spec_from_mapping({"run": "train.py", "params": {"C": 1, "kernel": "it's"}}))
    shown = {
        form: CliRunner().invoke(cli.commands, ["show", kept.run_id[:8], "--as", form])
        for form in ("yaml", "json", "command")
    }
    assert spec_from_mapping(yaml(shown["yaml"].stdout)) == spec_from_mapping(json.loads(shown["json"].stdout))
    ran = subprocess.run(
        f"{shown['command'].stdout.strip()} --json -q", shell=True, capture_output=True, text=True, check=True
    )
    again = Record.from_json(ran.stdout)
    assert again.tags["mlexp.spec_hash"] == kept.tags["mlexp.spec_hash"]
    assert again.params["kernel"] == "it's"
