"""What scikit-learn trains is recorded, wherever the code runs, and in one run alone."""

import json
import subprocess
import sys
import textwrap

import mlflow
import nbformat
import pytest

from ml_experiment_nb import loop
from ml_experiment_nb.events import Metrics, Note, Params
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.projects import home
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.work.faraway import SCHEME
from ml_experiment_nb.work.process import Running

DATA = """
import numpy as np
X = np.random.default_rng(0).normal(size=(60, 3))
y = (X[:, 0] > 0).astype(int)
"""
FIT = f"""
from sklearn.linear_model import LogisticRegression
{DATA}
model = LogisticRegression(C=0.5, max_iter=50).fit(X, y)
"""
CURVE = ["training_accuracy_score", "training_f1_score", "training_score"]


def client(project):
    return mlflow.MlflowClient(f"sqlite:///{home(project)}/mlflow.db")


def all_runs(project):
    mlflow_client = client(project)
    return mlflow_client.search_runs([one.experiment_id for one in mlflow_client.search_experiments()])


def perform(**asked):
    return list(loop.run(make_plan(spec_from_mapping(asked))))


def by_hand(project, source):
    """Run a script as a user does by hand, and return the last line that it prints, as JSON."""
    (project / "by_hand.py").write_text(textwrap.dedent(source))
    done = subprocess.run([sys.executable, "by_hand.py"], capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_script_has_its_estimators_parameters_scores_and_model_in_its_one_run(stored, script, monkeypatch):
    [record] = perform(run=script(FIT).path, name="a script")
    assert record.ok
    assert record.notes == ()
    assert record.params == {}
    assert record.autologged["max_iter"] == "50"
    assert [name for name in CURVE if record.metrics.get(name, 0) <= 0.8] == []
    [run] = all_runs(stored)
    assert run.data.params["C"] == "0.5"
    assert run.data.metrics["training_score"] == record.metrics["training_score"]
    assert run.data.tags["estimator_name"] == "LogisticRegression"
    assert run.info.status == "FINISHED"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home(stored)}/mlflow.db")
    model = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    assert model.get_params()["C"] == 0.5
    assert Store(stored).record(run.info.run_id).autologged == record.autologged


@pytest.mark.slow
def test_classes_are_told_apart_in_pairs_as_scikit_learn_does(stored, script):
    source = """
from sklearn.datasets import load_iris
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier
from ml_experiment_nb import report
X, y = load_iris(return_X_y=True)
model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y)
report(expected=roc_auc_score(y, model.predict_proba(X), average="weighted", multi_class="ovo"))
"""
    [record] = perform(run=script(source).path, name="three")
    assert record.metrics["training_roc_auc"] == pytest.approx(record.metrics["expected"], abs=1e-12)
    assert record.metrics["expected"] < 1
    assert record.notes == ()


@pytest.mark.slow
def test_nothing_is_recorded_where_that_is_asked_for(stored, script):
    [off] = perform(run=script(FIT).path, autolog=False)
    [others] = perform(run=script(FIT).path, autolog=["xgboost"])
    for record in (off, others):
        assert record.ok
        assert (record.autologged, record.metrics) == ({}, {})
    assert Store(stored).artifacts(off) == [one for one in Store(stored).artifacts(off) if one.startswith("record/")]


@pytest.mark.slow
def test_trials_are_recorded_without_their_models_and_what_was_drawn_stays_apart(stored, script):
    source = f"""
        import argparse
        from ml_experiment_nb import report
        from sklearn.svm import SVC
        {textwrap.indent(DATA, " " * 8).strip()}
        words = argparse.ArgumentParser()
        words.add_argument("--C", type=float)
        C = words.parse_args().C
        report(accuracy=SVC(C=C).fit(X, y).score(X, y))
    """
    asked = {
        "run": script(source).path, "param_space": {"C": "choice([0.5, 2.0])"}, "sampler": "grid",
        "executor": "inline", "slots": 1, "metric": {"name": "accuracy", "direction": "maximize"},
    }  # fmt: skip
    *trials, parent = perform(**asked)
    assert parent.ok
    assert [trial.notes for trial in trials] == [(), ()]
    assert sorted(trial.params["C"] for trial in trials) == [0.5, 2.0]
    for trial in trials:
        assert list(trial.params) == ["C"]
        assert trial.autologged["kernel"] == "rbf"
        assert trial.metrics["training_score"] > 0.5
        assert "model/MLmodel" not in Store(stored).artifacts(trial)
    assert len(all_runs(stored)) == 3
    *trials, _ = perform(**asked, autolog={"log_models": True}, name="with models")
    assert all("model/MLmodel" in Store(stored).artifacts(trial) for trial in trials)


@pytest.mark.slow
def test_a_called_job_is_recorded_and_what_the_notebook_has_set_up_is_as_it_was(stored):
    found = by_hand(
        stored,
        f"""
        import json, os
        import mlflow
        from sklearn.linear_model import LogisticRegression
        from ml_experiment_nb import job
        from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS as settings
        {textwrap.indent(DATA, " " * 8).strip()}
        mlflow.set_tracking_uri("sqlite:///elsewhere.db")
        mlflow.set_experiment("of my own")
        mine = mlflow.start_run()

        @job
        def train(C=1.0):
            with mlflow.start_run():
                mlflow.log_metric("by_hand", 1.0)
            return {{"score": LogisticRegression(C=C).fit(X, y).score(X, y)}}

        train(0.25)
        train(0.75)
        again = LogisticRegression().fit(X, y).score(X, y)  # outside of a run
        open_run = mlflow.active_run().info.run_id == mine.info.run_id
        mlflow.log_metric("mine", 1)
        mlflow.end_run()
        there = mlflow.MlflowClient().search_runs([mine.info.experiment_id])
        print(json.dumps([
            open_run, mlflow.get_tracking_uri(), [one.data.metrics for one in there],
                [one.data.params for one in there],
            sorted(name for name in os.environ if name.startswith("MLFLOW_RUN")), settings["sklearn"],
        ]))
        """,
    )
    assert found == [True, "sqlite:///elsewhere.db", [{"mine": 1.0}], [{}], [], {}]
    elsewhere = mlflow.MlflowClient(f"sqlite:///{stored}/elsewhere.db")  # MLflow says so to the environment, too
    ours = elsewhere.search_runs([elsewhere.get_experiment_by_name("train").experiment_id])
    assert sorted(run.data.params["C"] for run in ours) == ["0.25", "0.75"]
    for run in ours:
        assert run.info.status == "FINISHED"
        assert {"by_hand", "score", "training_score"} <= run.data.metrics.keys()


@pytest.mark.slow
def test_what_was_made_or_imported_between_tracked_code_is_recorded_and_leaves_the_notebook_its_last_run(stored):
    found = by_hand(
        stored,
        f"""
        import json
        import mlflow
        from sklearn.linear_model import LogisticRegression
        from ml_experiment_nb import job
        {textwrap.indent(DATA, " " * 8).strip()}
        mlflow.set_tracking_uri("sqlite:///elsewhere.db")
        mlflow.set_experiment("of my own")
        with mlflow.start_run() as mine:
            pass
        model = LogisticRegression(C=0.25)  # before anything is tracked

        @job
        def train(name="model"):
            globals()[name].fit(X, y)

        train()
        from sklearn.naive_bayes import GaussianNB
        later = GaussianNB(var_smoothing=0.5)
        train("later")
        print(json.dumps(mlflow.last_active_run().info.run_id == mine.info.run_id))
        """,
    )
    client = mlflow.MlflowClient(f"sqlite:///{stored}/elsewhere.db")
    ours = client.search_runs([client.get_experiment_by_name("train").experiment_id])
    recorded = {run.data.params["name"]: run.data.params for run in ours}
    assert recorded["model"].get("C") == "0.25"
    assert recorded["later"].get("var_smoothing") == "0.5"
    assert all("training_score" in run.data.metrics for run in ours)
    assert found is True


@pytest.mark.slow
def test_a_users_own_autologging_is_left_as_it_is_and_meets_the_run(stored):
    found = by_hand(
        stored,
        f"""
        import json
        import mlflow
        from sklearn.linear_model import LogisticRegression
        from ml_experiment_nb import job
        from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS as settings
        {textwrap.indent(DATA, " " * 8).strip()}
        mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True)
        before = dict(settings["sklearn"])

        @job
        def train(C=1.0):
            LogisticRegression(C=C).fit(X, y)

        train(0.25)
        same = settings["sklearn"] == before
        mlflow.sklearn.autolog(disable=True)
        train(0.5)
        print(json.dumps([same, settings["sklearn"]["disable"]]))
        """,
    )
    assert found == [True, True]
    off, own = all_runs(stored)
    assert "training_score" in own.data.metrics
    assert "training_score" not in off.data.metrics


@pytest.mark.slow
def test_of_several_fits_the_curves_go_on_and_the_first_ones_parameters_stand(stored, script):
    source = FIT + "LogisticRegression(C=5.0, max_iter=70).fit(X, y)\n"
    [record] = perform(run=script(source).path)
    assert record.ok
    assert record.autologged["C"] == "0.5"
    assert record.notes == ("fits differ in their libraries' parameters: those of the first one are recorded",)
    history = client(stored).get_metric_history(record.run_id, "training_score")
    assert [one.step for one in history] == [0, 1]


@pytest.mark.slow
def test_a_search_within_a_run_makes_no_runs_of_its_own(stored, script):
    source = f"""
        from sklearn.model_selection import GridSearchCV
        from sklearn.linear_model import LogisticRegression
        {textwrap.indent(DATA, " " * 8).strip()}
        GridSearchCV(LogisticRegression(), {{"C": [0.1, 1.0]}}, cv=2).fit(X, y)
    """
    [record] = perform(run=script(source).path)
    assert record.ok
    assert {"best_C", "cv"} <= record.autologged.keys()
    assert "best_cv_score" in record.metrics
    assert len(all_runs(stored)) == 1


@pytest.mark.slow
def test_what_can_not_be_recorded_is_a_note_and_the_fit_goes_on(stored, script):
    source = f"""
        import mlflow.sklearn
        def broken(*args, **options):
            raise RuntimeError("it is broken")
        mlflow.sklearn.save_model = broken
        {textwrap.indent(FIT, " " * 8).strip()}
        assert model.predict(X).shape == (60,)
        print("the end")
    """
    [record] = perform(run=script(source).path)
    assert record.ok
    assert "the end" in Store(stored).log_text(record)
    assert any("it is broken" in note for note in record.notes)
    assert record.autologged["C"] == "0.5"


@pytest.mark.slow
def test_a_node_that_can_not_reach_the_store_is_recorded_too(make_task, script):
    env = {
        "MLFLOW_TRACKING_URI": f"{SCHEME}:sqlite:////nowhere/mlflow.db",
        "MLFLOW_RUN_ID": "0" * 32,
        "ML_EXPERIMENT_RUN": "0" * 32,
        "MLFLOW_EXPERIMENT_ID": "7",
    }
    task = make_task(script(FIT), env=env)
    events = [event for batch in Running(task).batches() for event in batch]
    assert [event for event in events if isinstance(event, Note)] == []
    params = {name: value for event in events if isinstance(event, Params) for name, value in event.values.items()}
    metrics = {name: value for event in events if isinstance(event, Metrics) for name, value in event.values.items()}
    assert params["C"] == "0.5"
    assert metrics.keys() >= set(CURVE)


@pytest.mark.kernel
def test_a_fit_in_a_set_up_cell_opens_no_run_and_each_trial_has_its_own(stored):
    nb = nbformat.v4.new_notebook()
    parameters = nbformat.v4.new_code_cell("C = 1.0", metadata={"tags": ["parameters"]})
    last = "model = LogisticRegression(C=C).fit(X, y)\n{'score': model.score(X, y)}"
    nb.cells = [
        nbformat.v4.new_code_cell(FIT + "first = LogisticRegression(C=9.0).fit(X, y)"),
        parameters,
        nbformat.v4.new_code_cell(last),
    ]
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nb, stored / "train.ipynb")
    *trials, parent = perform(
        run="train.ipynb", param_space={"C": "choice([0.1, 0.2])"}, sampler="grid", slots=1, executor="inline",
        metric={"name": "score", "direction": "maximize"},
    )  # fmt: skip
    assert parent.ok
    assert [trial.notes for trial in trials] == [(), ()]
    for trial in trials:
        history = client(stored).get_metric_history(trial.run_id, "training_score")
        assert [one.step for one in history] == [0]
    assert len(all_runs(stored)) == 3


@pytest.mark.kernel
def test_a_notebook_and_the_runs_of_its_cells_have_each_what_was_fitted_in_their_own_code(stored):
    """The first estimator of all is made in a cell's run, and a library is imported in one that fails."""
    nb = nbformat.v4.new_notebook()
    nb.cells = [
        nbformat.v4.new_code_cell(
            "%load_ext ml_experiment_nb\nfrom sklearn.linear_model import LogisticRegression" + DATA
        ),
        nbformat.v4.new_code_cell('%%experiment "inner"\nC = 0.5\nLogisticRegression(C=C).fit(X, y)\n{"done": 1}'),
        nbformat.v4.new_code_cell(
            'try:\n    get_ipython().run_cell_magic("experiment", "\'fails\'", '
            '"from sklearn.naive_bayes import GaussianNB\\n1 / 0")\nexcept ZeroDivisionError:\n    pass'
        ),
        nbformat.v4.new_code_cell("GaussianNB(var_smoothing=0.25).fit(X, y)\n{'done': 1}"),
    ]
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nb, stored / "train.ipynb")
    [record] = perform(run="train.ipynb")
    assert record.ok, record.failure
    names = {run.info.run_name: run.data for run in all_runs(stored)}
    assert (names["inner"].params["C"], names["inner"].params["max_iter"]) == ("0.5", "100")
    assert names["inner"].metrics.keys() >= set(CURVE)
    assert record.autologged == {"var_smoothing": "0.25", "priors": "None"}


@pytest.mark.slow
def test_a_cross_validation_is_no_training_of_the_run_and_nothing_of_a_cell_is_lost(stored):
    by_hand(
        stored,
        f"""
        from sklearn.model_selection import cross_val_predict, cross_val_score
        from sklearn.svm import SVC
        from ml_experiment_nb import job
        {textwrap.indent(DATA, " " * 8).strip()}

        @job
        def train(C=0.5):
            SVC(C=C).fit(X, y)
            cross_val_predict(SVC(C=9.0), X, y)
            return {{"score": cross_val_score(SVC(C=7.0), X, y).mean()}}

        train()
        train(0.25)
        print("null")
        """,
    )
    for run in all_runs(stored):
        assert {"kernel", "gamma", "coef0"} <= run.data.params.keys()
        assert not any("_X_test" in name for name in run.data.metrics)
        assert len(client(stored).get_metric_history(run.info.run_id, "training_score")) == 1
        assert "mlexp.notes" not in run.data.tags
