"""Every example runs as it stands, and records what it should."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent
NOTEBOOKS = sorted(path.name for path in (EXAMPLES / "notebooks").glob("*.ipynb"))


@pytest.fixture
def examples(project):
    """A copy of the examples in a project of its own."""
    shutil.copytree(EXAMPLES, project / "examples", ignore=shutil.ignore_patterns("prepared", ".ipynb_checkpoints"))
    return project / "examples"


def run(target, *words, timeout=280):
    """Run an example by the command and return its records."""
    command = [BIN / "ml-experiment", "run", target, "--json", "--quiet", *words]
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=timeout)
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def client(project):
    """A plain MLflow client on the project's store."""
    from mlflow import MlflowClient

    return lambda: MlflowClient(f"sqlite:///{project}/.ml-experiment/mlflow.db")


# ------------------------------------------------------------------------------------------------- the paper's


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svm.yaml", "svm.json"])
def test_the_paper_s_experiment(examples, client, name):
    (record,) = run(examples / "paper" / name)
    assert record["status"] == "finished"
    assert record["params"] == {"C": 0.5, "kernel": "rbf", "gamma": "scale"}
    assert record["metrics"]["val_accuracy"] == pytest.approx(0.982, abs=0.01)
    kept = client().get_run(record["run_id"])
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "SVM")
    assert {"C": "0.5", "kernel": "rbf", "gamma": "scale"}.items() <= kept.data.params.items()
    assert kept.data.params["class_weight"] == "None"  # the model's own, which autologging has told
    paths = {file.path for file in client().list_artifacts(record["run_id"], "record/source")}
    assert paths == {"record/source/train_svm.py"}


@pytest.mark.slow
def test_the_same_as_a_job_records_nothing(examples, project):
    (record,) = run(examples / "paper/svm_job.yaml")
    assert (record["status"], record["kind"], record["run_id"]) == ("finished", "job", None)
    assert record["metrics"]["val_accuracy"] > 0.9
    assert not (project / ".ml-experiment/mlflow.db").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_the_paper_s_group(examples, client):
    *found, group = run(examples / "paper/svm_group.yaml")  # test_docs holds that the JSON asks for the same
    assert len(found) == 12
    assert {record["status"] for record in found} == {"finished"}
    assert {record["parent_id"] for record in found} == {group["run_id"]}
    assert sorted(record["number"] for record in found) == list(range(12))
    for record in found:
        assert 0.01 <= record["params"]["C"] <= 1000
        assert record["params"]["gamma"] in ("scale", "auto")
    best = max(record["metrics"]["val_accuracy"] for record in found)
    assert group["metrics"] == {"val_accuracy": best}
    assert client().get_run(group["run_id"]).data.tags["mlexp.trials.finished"] == "12"


@pytest.mark.slow
def test_two_scripts_in_order(examples):
    prepare, train, whole = run(examples / "paper/pipeline.yaml")
    assert prepare["params"] == {"n_components": 20}
    assert train["params"] == {"n_components": 20, "C": 0.5}
    assert {prepare["parent_id"], train["parent_id"]} == {whole["run_id"]}
    assert whole["metrics"] == prepare["metrics"] | train["metrics"]
    assert whole["metrics"].keys() >= {"explained_variance", "val_accuracy"}


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_over_two_scripts(examples):
    *found, group = run(examples / "paper/pipeline_group.yaml")
    assert [record["status"] for record in found] == ["finished"] * 4
    for record in found:
        assert record["metrics"].keys() >= {"explained_variance", "val_accuracy"}
        assert record["params"].keys() == {"n_components", "C"}
    assert group["status"] == "finished"


# --------------------------------------------------------------------------------------------------- notebooks


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_bare(name):
    notebook = nbformat.read(EXAMPLES / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert sum("parameters" in cell.metadata.get("tags", ()) for cell in notebook.cells) == 1
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.kernel
@pytest.mark.slow
def test_the_first_notebook(examples, client, project):
    (record,) = run(examples / "notebooks/01_first_experiment.ipynb", project / "out.ipynb", "-p", "C", "5")
    assert record["status"] == "finished"
    assert record["params"] == {"C": 5}
    assert "out.ipynb" in {file.path for file in client().list_artifacts(record["run_id"])}

    children = children_of(client(), record)
    assert sorted(child.info.run_name for child in children) == ["digits SGD", "digits SVM", "digits SVM", "train"]
    assert sorted(child.data.params["C"] for child in children if "C" in child.data.params) == ["0.5", "5", "5"]
    curve = next(child for child in children if child.info.run_name == "digits SGD")
    history = client().get_metric_history(curve.info.run_id, "val_accuracy")
    assert [point.step for point in history] == list(range(8))
    names = {file.path for file in client().list_artifacts(curve.info.run_id)}
    assert {"confusion.npy", "model.pkl"} <= names

    text = outputs(project / "out.ipynb")
    assert "digits SVM  ✓ finished" in text  # what %%experiment shows
    assert "{'val_accuracy': 0.9" in text  # what the called job gave back
    assert text.count("digits SVM") >= 4  # `ml-experiment ls` lists the two as well


@pytest.mark.kernel
@pytest.mark.ray
@pytest.mark.slow
def test_the_second_notebook(examples, client, project):
    (record,) = run(examples / "notebooks/02_first_group.ipynb", project / "out.ipynb", "-p", "trials", "3")
    assert record["status"] == "finished"
    groups = {child.info.run_name: child for child in children_of(client(), record)}
    assert groups.keys() == {"digits SVM search", "digits SVM grid", "train"}
    trials = {name: children_of(client(), group) for name, group in groups.items()}
    assert {name: len(found) for name, found in trials.items()} == {
        "digits SVM search": 3,
        "digits SVM grid": 2,
        "train": 2,
    }
    assert {trial.info.status for found in trials.values() for trial in found} == {"FINISHED"}
    assert {trial.data.params["kernel"] for trial in trials["digits SVM search"]} == {"rbf"}
    text = outputs(project / "out.ipynb")
    assert "([], [1.0, 1.0])" in text  # what a trial appends stays in the trial
    assert "uniform(1, 100)" in text  # the plan


@pytest.mark.kernel
@pytest.mark.ray
@pytest.mark.slow
def test_comparing(examples, project):
    (record,) = run(examples / "notebooks/03_compare_and_diff.ipynb", project / "out.ipynb", "-p", "trials", "3")
    assert record["metrics"]["runs_compared"] == 3
    assert not [note for note in record["notes"] if "random" in note]
    assert "random" not in record["tags"].get("mlexp.unseeded", "").split(", ")
    text = outputs(project / "out.ipynb")
    assert "3 runs" in text
    assert "('gamma', '" in text  # what differs of two


@pytest.mark.kernel
@pytest.mark.ray
@pytest.mark.slow
def test_a_notebook_that_is_pruned(examples, client):
    *found, group = run(examples / "notebooks/05_pruning.yaml", "--trials", "8")
    statuses = [record["status"] for record in found]
    assert statuses.count("pruned") > 0
    assert set(statuses) == {"finished", "pruned"}
    for record in found:
        steps = len(client().get_metric_history(record["run_id"], "val_accuracy"))
        assert (steps < 12) == (record["status"] == "pruned") or record["metrics"].get("epochs_done") is None
    assert group["metrics"]["val_accuracy"] > 0.9


@pytest.mark.kernel
@pytest.mark.slow
def test_headless(examples, project):
    folder = examples / "notebooks"  # where JupyterLab would run it
    (record,) = run(folder / "06_headless.ipynb", project / "out.ipynb", "--cwd", folder)
    assert (record["status"], record["metrics"]["rows"]) == ("finished", 3)
    text = outputs(project / "out.ipynb")
    assert "did you mean 'C'?" in text
    assert "exit code 2" in text
    assert "# Parameters" in text  # the injected cell
    assert len(list((folder / "build").glob("svm_*.ipynb"))) == 4


@pytest.mark.frameworks
@pytest.mark.kernel
@pytest.mark.slow
def test_libraries_that_record_themselves(examples, client):
    pytest.importorskip("xgboost")
    pytest.importorskip("torch")
    (record,) = run(examples / "notebooks/04_frameworks.ipynb", "-p", "rounds", "4", "-p", "epochs", "2")
    children = {child.info.run_name: child.info.run_id for child in children_of(client(), record)}
    assert len(client().get_metric_history(children["digits XGBoost"], "val-mlogloss")) == 4
    assert len(client().get_metric_history(children["digits torch"], "val_accuracy")) == 3  # and the last once more
    assert min(record["metrics"]["xgboost"], record["metrics"]["torch"]) > 0.8


@pytest.mark.frameworks
@pytest.mark.kernel
@pytest.mark.slow
def test_one_model_on_two_workers(examples):
    pytest.importorskip("torch")
    (record,) = run(examples / "notebooks/07_distributed_training.ipynb", "-p", "epochs", "2")
    assert (record["status"], record["metrics"]["workers"]) == ("finished", 2)
    assert record["metrics"]["accuracy"] > 0.8


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_image_without_an_engine_is_planned_and_its_folder_written(examples, project, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project}/absent.sock")
    monkeypatch.setenv("ML_EXPERIMENT_NB_SKIP_LABEXTENSION", "1")
    folder = examples / "notebooks"
    (record,) = run(folder / "08_image.ipynb", project / "out.ipynb", "--cwd", folder, timeout=560)
    assert record["status"] == "finished"
    assert record["metrics"]["built"] == 0
    assert record["metrics"]["wheels"] > 20
    assert "FROM " in (folder / "build/wine-image/Dockerfile").read_text()
    text = outputs(project / "out.ipynb")
    assert "image     wine:1" in text  # the plan
    assert "The image was not built, for no engine answers here." in text


@pytest.mark.docker
@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_image_is_built_and_gives_the_run_s_own_metrics(examples, project, docker, monkeypatch):
    import engine

    monkeypatch.setenv("ML_EXPERIMENT_NB_SKIP_LABEXTENSION", "1")
    folder = examples / "notebooks"
    words = ("-p", "base", engine.BASE, "--cwd", folder)
    (record,) = run(folder / "08_image.ipynb", project / "out.ipynb", *words, timeout=1100)
    assert record["metrics"]["built"] == 1
    text = outputs(project / "out.ipynb")
    assert "proof    the run repeated in it: identical: " in text
    assert "measurements=10" in text  # with the C that the container was given


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_doing_a_run_again(examples, project):
    folder = examples / "notebooks"
    (record,) = run(folder / "09_replay.ipynb", project / "out.ipynb", "--cwd", folder, timeout=560)
    assert record["metrics"]["identical"] == 1
    assert record["notes"] == []
    text = outputs(project / "out.ipynb")
    assert "differs: metric error 44.64 → 44.88" in text
    assert "identical: 1 metric and 1 output are the same" in text
    assert "1 of 3 runs were not run" in text
    assert "nothing of it yet" in text
    assert "unseeded   differs: in a new kernel its cells give something else" in text
    assert "seeded     clean: " in text


@pytest.mark.kernel
@pytest.mark.slow
def test_a_plain_notebook(examples, project):
    (record,) = run(examples / "notebooks/train_svm.ipynb", "-p", "C", "2")
    assert record["params"] == {"C": 2, "kernel": "rbf"}
    assert record["metrics"]["val_accuracy"] > 0.9


@pytest.mark.kernel
@pytest.mark.ray
@pytest.mark.slow
def test_a_search_of_notebooks(examples, client):
    *found, group = run(examples / "notebooks/train_svm.yaml", "--trials", "2")
    assert [record["status"] for record in found] == ["finished"] * 2
    assert {record["params"]["kernel"] for record in found} == {"rbf"}
    assert group["metrics"]["val_accuracy"] == max(record["metrics"]["val_accuracy"] for record in found)
    for record in found:
        paths = {file.path: file for file in client().list_artifacts(record["run_id"])}
        assert "train_svm.ipynb" in paths


def children_of(client, parent):
    run_id = parent["run_id"] if isinstance(parent, dict) else parent.info.run_id
    everywhere = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(everywhere, f"tags.`mlflow.parentRunId` = '{run_id}'"))


def outputs(path):
    """Return all that an executed notebook shows, as text."""
    notebook = nbformat.read(path, as_version=4)
    found = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in found)
