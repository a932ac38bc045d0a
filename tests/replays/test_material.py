"""What a record keeps of what ran, as a spec that runs again."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_experiment_nb.effects import Executed
from ml_experiment_nb.errors import ReplayError, SpecError
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.replays.material import OF, material_of
from ml_experiment_nb.session import as_notebook
from ml_experiment_nb.targets import Cell, Command, Notebook, Script

SCRIPT_SPEC = "kind: experiment\nname: svm\nrun: [train.py]\nparams: {C: 0.5}\nroot_path: /home/me/project\n"
CELL_SPEC = "kind: experiment\nname: svm\nrun: [{source: '{\"a\": base}', parameters: []}]\n"
JOB_SPEC = "kind: experiment\nname: train\nrun: [{function: '__main__:train'}]\nparams: {a: 3}\n"


def record(**more):
    first = Record("ab" * 16, "svm", "svm", "experiment", Status.FINISHED, {}, {}, datetime.now(UTC), 1.0)
    return Record(**{**vars(first), "tags": {"mlexp.cwd": "/home/me/project"}, **more})


def session(*sources):
    cells = [{"cell_type": "code", "source": text.splitlines(keepends=True), "outputs": []} for text in sources]
    return json.dumps({"cells": cells})


def sources(text):
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"]]


def test_a_script_is_run_with_the_source_that_is_kept():
    found = material_of(record(), SCRIPT_SPEC, {"source/train.py": "print(1)\n"}.get)
    assert found.spec.run == (Script(path="train.py"),)
    assert found.files == {Path("/home/me/project/train.py"): "print(1)\n"}
    assert found.spec.tags[OF] == "ab" * 16
    assert not found.inner


def test_nobody_is_told_and_the_experiment_is_the_same():
    text = SCRIPT_SPEC + "notify: https://chat.example/hook\nslots: 3\n"
    found = material_of(record(experiment="named"), text, {"source/train.py": ""}.get)
    assert (found.spec.notify, found.spec.slots, found.spec.name) == (None, None, "named")


def test_a_source_that_is_not_kept_is_said():
    with pytest.raises(ReplayError, match=r"the source of train\.py is not kept"):
        material_of(record(), SCRIPT_SPEC, {}.get)


@pytest.mark.parametrize(
    ("more", "text", "problem"),
    [
        ({"status": Status.RUNNING}, SCRIPT_SPEC, "has not ended yet"),
        ({}, None, "was not made by this package"),
        ({}, CELL_SPEC, "its cell reads base from its notebook"),
        ({}, JOB_SPEC, "train was defined where it was called"),
        ({}, SCRIPT_SPEC.replace("[train.py]", "[a.py, b.py]"), "several files"),
    ],
)
def test_what_cannot_be_done_again_says_why(more, text, problem):
    with pytest.raises(ReplayError, match=problem):
        material_of(record(**more), text, {}.get)


def test_an_inline_cell_is_run_by_the_slice_of_its_session():
    text = session("base = 1", "%%experiment\n{'a': base}")
    found = material_of(record(), CELL_SPEC, {"slice.ipynb": text}.get)
    [target] = found.spec.run
    assert isinstance(target, Notebook)
    assert list(found.files) == [Path(target.path)]
    assert sources(found.files[Path(target.path)]) == ["base = 1", "%%experiment\n{'a': base}"]
    assert found.inner


def test_a_session_is_run_again_without_what_only_its_first_run_was_to_do():
    text = session("%%time\n%%experiment --prove x\n1", "%%experiment --needed --notify desktop\n{'a': base}")
    [told] = material_of(record(), CELL_SPEC, {"slice.ipynb": text}.get).files.values()
    assert sources(told) == ["%%time\n%%experiment x\n1", "%%experiment\n{'a': base}"]


def test_a_session_that_has_changed_its_folder_begins_where_it_began():
    cells = [Executed(1, "%cd sub"), Executed(2, "%%experiment\n{'a': base}")]
    found = material_of(record(), CELL_SPEC, {"slice.ipynb": as_notebook(cells, {}, "/home/me")}.get)
    assert (found.cwd, found.spec.root_path) == (Path("/home/me"), "/home/me")
    with pytest.raises(SpecError, match="can't be read"):
        material_of(record(), CELL_SPEC, {"slice.ipynb": "[]"}.get)


def test_of_steps_each_is_run_alone_functions_too():
    spec = "kind: experiment\nname: e\nrun: [prepare.py, {function: 'm:f'}, {function: 'm:g'}]\nparams: {a: 3, b: 1}\n"
    step = record(name="e g", params={"b": "1"}, parent_id="c" * 32)
    found = material_of(step, spec, {}.get)
    [text] = found.files.values()
    assert "from m import g as called" in text
    assert found.spec.params == {"b": 1}
    first = material_of(record(name="e prepare", parent_id="c" * 32), spec, {"source/prepare.py": "1"}.get)
    assert first.spec.run == (Script(path="prepare.py"),)
    with pytest.raises(ReplayError, match="several files"):
        material_of(record(), spec, {}.get)


def test_a_cell_that_needs_nothing_is_run_as_it_is():
    found = material_of(record(), CELL_SPEC.replace("base", "3"), {}.get)
    assert isinstance(found.spec.run[0], Cell)
    assert not found.inner


def test_a_trial_of_a_cell_is_run_as_one_experiment_behind_its_session():
    spec = (
        "kind: group\nname: svm\nrun: [{source: \"C = uniform(0, 1)\\n{'a': base * C}\", parameters: [C]}]\n"
        "param_space: {C: 'uniform(0.0, 1.0)'}\nnum_trials: 2\nmetric: {name: a, direction: maximize}\n"
    )
    text = session("base = 1", "%%group svm --trials 2\nC = uniform(0, 1)\n{'a': base * C}")
    trial = record(name="svm #1", kind="trial", number=1, params={"C": "0.25"}, parent_id="c" * 32)
    found = material_of(trial, spec, {"slice.ipynb": text}.get)
    [told] = found.files.values()
    assert sources(told) == ["%load_ext ml_experiment_nb", "base = 1", "%%experiment svm\nC = 0.25\n{'a': base * C}"]
    assert found.inner


def test_a_trial_of_a_job_is_one_call_of_it():
    spec = JOB_SPEC.replace("kind: experiment", "kind: group").replace("params: {a: 3}", "params: {b: 2}")
    spec += "param_space: {a: 'randint(0, 9)'}\nnum_trials: 2\n"
    text = session("%load_ext ml_experiment_nb", "@job\ndef train(a, b): ...\nfound = train.group({})\nprint(found)")
    trial = record(name="train #0", kind="trial", number=0, params={"a": "7", "b": "2"}, parent_id="c" * 32)
    [told] = material_of(trial, spec, {"slice.ipynb": text}.get).files.values()
    assert sources(told)[1] == "@job\ndef train(a, b): ...\ntrain(b=2, a=7)"


def test_a_job_in_a_script_that_was_run_by_hand_is_run_by_that_script():
    tags = {"mlexp.cwd": "/home/me/project", "mlexp.script": '["train.py", "--a", "x y"]'}
    found = material_of(record(tags=tags), JOB_SPEC, {"script/train.py": "..."}.get)
    assert found.spec.run == (Command(command="python train.py --a 'x y'"),)
    assert found.files == {Path("/home/me/project/train.py"): "..."}
    assert found.inner


def test_a_function_of_a_module_is_called_by_a_script_and_not_imported_here():
    spec = JOB_SPEC.replace("__main__:train", "no_such_module.deep:train")
    found = material_of(record(), spec, {}.get)
    [(path, text)] = found.files.items()
    assert path.name == found.spec.run[0].path == "replay_no_such_module_deep_train.py"
    assert "from no_such_module.deep import train" in text
    assert found.spec.params == {"a": 3}


def test_a_function_within_another_cannot_be_imported():
    with pytest.raises(ReplayError, match="can't be imported by its name"):
        material_of(record(), JOB_SPEC.replace("__main__:train", "m:f.<locals>.g"), {}.get)
