import json
import shutil
import subprocess

import mlflow.data
import numpy as np
import pandas as pd
import pytest

from ml_experiment_nb import job, make_plan, run
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.specs import spec_from_mapping, to_mapping
from ml_experiment_nb.tracking import Store


@pytest.fixture
def folder(stored):
    (stored / "data/deep").mkdir(parents=True)
    (stored / "data/a.csv").write_text("x\n1\n")
    (stored / "data/b.csv").write_text("x\n2\n")
    (stored / "data/deep/c.txt").write_text("c")
    (stored / "train.py").write_text("print(open('data/a.csv').read())")
    return stored


def inputs(folder, record):
    """Return a run's inputs as MLflow has them, by name."""
    found = Store(folder).client.get_run(record.run_id).inputs.dataset_inputs
    return {one.dataset.name: one.dataset for one in found}


# --- asked ---


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("dta", r"data\.folder: there is no folder .*dta; did you mean 'data'\?"),
        (["data/c.csv"], r"data\.files\[0\]: no file in .* matches 'data/c.csv'"),
        (["data/a.csv", "*.parquet"], r"data\.files\[1\]: no file in .* matches '\*\.parquet'"),
    ],
)
def test_what_is_not_there_is_said_before_anything_runs(folder, asked, says):
    with pytest.raises(SpecError, match=says):
        make_plan(spec_from_mapping({"run": "train.py", "data": asked}))


def test_a_spec_holds_them(folder):
    spec = spec_from_mapping({"run": "train.py", "data": ["data/a.csv"]})
    assert to_mapping(spec)["data"] == {"files": ["data/a.csv"]}
    assert spec_from_mapping(to_mapping(spec)) == spec


# --- recorded ---


@pytest.mark.slow
def test_a_run_says_which_files_it_read(folder):
    spec = spec_from_mapping({"run": "train.py", "executor": "inline", "data": ["data/a.csv", "data/*.csv"]})
    assert "data       data/a.csv (1 file, 4 B)\n" in f"{make_plan(spec)}\n"
    [first] = run(make_plan(spec))
    one, several = inputs(folder, first).values()
    assert [one.name, several.name] == ["data/a.csv", "data/*.csv"]
    assert mlflow.data.get_source(Store(folder).client.get_run(first.run_id).inputs.dataset_inputs[0]).load() == str(
        folder / "data/a.csv"
    )
    assert json.loads(several.profile) == {"num_files": 2, "num_bytes": 8}
    text = Store(folder).text(first, "record/data.sha256")
    assert subprocess.run(["sha256sum", "-c"], input=text.encode(), capture_output=True).returncode == 0
    assert f"data/a.csv (1 file, 4 B) {one.digest}; data/*.csv (2 files, 8 B)" in first.tags["mlexp.data"]
    [again] = run(make_plan(spec))
    assert [each.digest for each in inputs(folder, again).values()] == [one.digest, several.digest]
    (folder / "data/b.csv").write_text("x\n3\n")
    [changed] = run(make_plan(spec))
    assert inputs(folder, changed)["data/a.csv"].digest == one.digest
    assert inputs(folder, changed)["data/*.csv"].digest != several.digest


@pytest.mark.slow
def test_every_trial_has_the_groups_data(folder):
    (folder / "train.py").write_text(
        "from ml_experiment_nb import job\n"
        "@job\ndef main(C):\n    return {'a': C}\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    spec = spec_from_mapping(
        {"run": "train.py", "executor": "inline", "slots": 1, "num_trials": 2, "param_space": {"C": "uniform(0, 1)"},
         "data": "data"}
    )  # fmt: skip
    records = list(run(make_plan(spec)))
    assert len({inputs(folder, record)["data"].digest for record in records}) == 1
    assert len(records) == 3
    assert Store(folder).text(records[0], "record/data.sha256") is None  # the group has it
    assert Store(folder).text(records[-1], "record/data.sha256").count("\n") == 3


def test_a_called_job_says_which_values_it_was_given(folder):
    @job(data=["frame", "X", "data/a.csv"])
    def train(frame, X, C=1):
        return {"rows": len(frame)}

    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    train(frame, np.zeros((3, 2)))
    frame.loc[1, "a"] = 3.0
    train(frame, np.zeros((3, 2)))
    second, first = (inputs(folder, record) for record in Store(folder).records(experiment="train"))
    assert set(first) == {"frame", "X", "data/a.csv"}
    assert first["frame"].digest != second["frame"].digest
    assert first["X"].digest == second["X"].digest
    assert json.loads(first["frame"].schema)["mlflow_colspec"][0] == {"type": "double", "name": "a", "required": True}
    assert json.loads(first["X"].schema)["mlflow_tensorspec"]["features"][0]["tensor-spec"]["shape"] == [-1, 2]
    assert json.loads(first["frame"].profile) == {"num_rows": 2, "num_elements": 4}


def test_a_jobs_path_is_read_as_the_file(folder):
    @job(data="path")
    def train(path):
        return {"size": len(path)}

    train("data/a.csv")
    [record] = Store(folder).records()
    assert inputs(folder, record)["path"].source == json.dumps({"uri": (folder / "data/a.csv").as_uri()})


def test_a_scripts_own_data_is_recorded_where_its_spec_names_none(folder):
    (folder / "train.py").write_text(
        "from ml_experiment_nb import job\n"
        "@job(data='data/a.csv', seed=3)\n"
        "def main(C=1):\n    import random\n    return {'a': random.random()}\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    [record] = run(make_plan(spec_from_mapping({"run": "train.py", "executor": "inline"})))
    assert list(inputs(folder, record)) == ["data/a.csv"]
    assert json.loads(record.tags["mlexp.seeds"])["random"] == 3
    [other] = run(make_plan(spec_from_mapping({"run": "train.py", "executor": "inline", "seed": 4})))
    assert json.loads(other.tags["mlexp.seeds"])["random"] == 4
    assert other.metrics != record.metrics


def test_a_name_that_nothing_has_opens_no_run(folder):
    @job(data={"values": ["frme"]})
    def train(frame):
        return {"rows": 1}

    with pytest.raises(SpecError, match=r"data\.values: frme: there is no such parameter or variable.*'frame'"):
        train([1])
    assert Store(folder).records() == []


def test_a_folder_that_vanishes_is_said(folder):
    plan = make_plan(spec_from_mapping({"run": "train.py", "executor": "inline", "data": "data"}))
    shutil.rmtree(folder / "data")
    with pytest.raises(SpecError, match="there is no folder"):
        list(run(plan))
    assert Store(folder).records() == []
