"""Each library trains a tiny model of its own, and a plain MLflow client reads its curve back."""

import gc
import textwrap
import threading
import weakref
from importlib.metadata import packages_distributions, version

import mlflow
import numpy as np
import pytest

from ml_experiment_nb import loop
from ml_experiment_nb.events import Metrics, Note
from ml_experiment_nb.observing.thisrun import ThisRun
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.projects import home
from ml_experiment_nb.reports import Pruned
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

pytestmark = pytest.mark.frameworks

DATA = """
import numpy as np
X = np.random.default_rng(0).normal(size=(80, 4)).astype("float32")
y = (X[:, 0] > 0).astype("float32")
"""
TENSORS = f"""{DATA}
import torch
data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y)[:, None])
loader = torch.utils.data.DataLoader(data, batch_size=20)
loss_of = torch.nn.BCEWithLogitsLoss()
"""
SOURCES = {
    "xgboost": f"""{DATA}
import xgboost
data = xgboost.DMatrix(X, y)
xgboost.train({{"eta": 0.3, "objective": "binary:logistic"}}, data, 5, evals=[(data, "train")], verbose_eval=False)
""",
    "xgboost.sklearn": f"""{DATA}
from xgboost import XGBClassifier
XGBClassifier(n_estimators=5, learning_rate=0.3).fit(X, y, eval_set=[(X, y)], verbose=False)
""",
    "lightgbm": f"""{DATA}
import lightgbm
data = lightgbm.Dataset(X, y)
lightgbm.train({{"objective": "binary", "verbose": -1}}, data, 5, valid_sets=[data])
""",
    "lightgbm.sklearn": f"""{DATA}
import sys
from lightgbm import LGBMClassifier
LGBMClassifier(n_estimators=5, learning_rate=0.3, verbose=-1).fit(X, y, eval_set=[(X, y)])
assert not {{"matplotlib", "skops", "torch"}} & sys.modules.keys()
""",
    "keras": f"""{DATA}
import keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(X, y, epochs=3, validation_split=0.2, verbose=0)
""",
    "tensorflow": f"""{DATA}
import tensorflow as tf
model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(1, "sigmoid")])
model.compile(tf.keras.optimizers.SGD(0.1), "binary_crossentropy")
model.fit(tf.data.Dataset.from_tensor_slices((X, y)).batch(20), epochs=3, verbose=0)
""",
    "lightning": f"""{TENSORS}
import lightning
class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        inputs, targets = batch
        loss = loss_of(self.layer(inputs), targets)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)
lightning.Trainer(
    max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
).fit(Net(), loader)
""",
    "torch": f"""{TENSORS}
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, inputs):
        return self.layer(inputs)
def train():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for epoch in range(3):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_of(net(inputs), targets).backward()
            optimizer.step()
        with torch.no_grad():
            for inputs, _ in torch.utils.data.DataLoader(data, batch_size=40):
                net(inputs)
train()
""",
    "torch without a loader": f"""{TENSORS}
net = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
for step in range(3):
    optimizer.zero_grad()
    loss_of(net(data.tensors[0]), data.tensors[1]).backward()
    optimizer.step()
""",
    "fastai": f"""{TENSORS}
from fastai.callback.all import *
from fastai.data.core import DataLoaders
from fastai.learner import Learner
learner = Learner(DataLoaders(loader, loader), torch.nn.Linear(4, 1), loss_func=loss_of)
with learner.no_bar():
    learner.fit_one_cycle(2, 0.1)
    learner.fit(1)
""",
}
CURVES = {
    "xgboost": ("train-logloss", 5, {"eta": "0.3", "num_boost_round": "5"}),
    "xgboost.sklearn": ("validation_0-logloss", 5, {"learning_rate": "0.3"}),
    "lightgbm": ("training-binary_logloss", 5, {"objective": "binary", "num_boost_round": "5"}),
    "lightgbm.sklearn": ("training-binary_logloss", 5, {"learning_rate": "0.3"}),
    "keras": ("val_loss", 3, {"epochs": "3", "optimizer_name": "adam"}),
    "tensorflow": ("loss", 3, {"epochs": "3"}),
    "lightning": ("train_loss", 3, {"epochs": "3", "optimizer_name": "SGD", "lr": "0.5"}),
    "torch": ("train_loss", 3, {"optimizer_name": "SGD", "lr": "0.5", "batch_size": "20"}),
    "torch without a loader": ("train_loss", 3, {"optimizer_name": "Adam", "lr": "0.1"}),
    "fastai": ("valid_loss", 3, {"epochs": "2", "opt_func": "Adam"}),
}
BACKENDS = {"keras": ("tensorflow", "torch")}
FLAVORS = {
    "xgboost.sklearn": "xgboost",
    "lightgbm.sklearn": "lightgbm",
    "tensorflow": "keras",
    "lightning": "pytorch",
    "fastai": "pytorch",
}
FLAVORS |= {"torch": "pytorch", "torch without a loader": "pytorch"}
REQUIRED = {"xgboost": "xgboost", "xgboost.sklearn": "scikit-learn", "tensorflow": "tensorflow"}
REQUIRED |= {"lightgbm": "lightgbm", "lightgbm.sklearn": "scikit-learn"}
"""What a model needs beside MLflow; by default PyTorch, or Keras' backend."""
LOADED = ("xgboost", "xgboost.sklearn", "lightgbm", "lightgbm.sklearn", "torch", "torch without a loader")
"""Those whose model is loaded here, too: the others take many seconds to import."""
CASES = [(name, backend) for name in SOURCES for backend in BACKENDS.get(name, ("",))]


@pytest.mark.parametrize(("library", "backend"), CASES)
def test_a_librarys_curve_parameters_and_model_are_in_the_run(library, backend, stored, script, monkeypatch):
    if backend:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    metric, points, params = CURVES[library]
    target = script(SOURCES[library], name=f"{library.partition(' ')[0].partition('.')[0]}_here.py")
    [record] = list(loop.run(make_plan(spec_from_mapping({"run": target.path, "name": library}))))
    assert record.ok, record.failure
    client = mlflow.MlflowClient(f"sqlite:///{home(stored)}/mlflow.db")
    [run] = client.search_runs([one.experiment_id for one in client.search_experiments()])
    history = client.get_metric_history(run.info.run_id, metric)
    assert [one.step for one in history] == list(range(points))
    assert history[-1].value < history[0].value
    assert record.metrics[metric] == history[-1].value
    assert params.items() <= run.data.params.items()
    wanted = ["exported", "fits differ"] if library == "fastai" else []
    assert [note for note in record.notes if not any(one in note for one in wanted)] == []
    kept = {one.path for one in client.list_artifacts(run.info.run_id, "model")}
    assert {"model/MLmodel", "model/requirements.txt"} <= kept
    folder = client.download_artifacts(run.info.run_id, "model", str(stored))
    flavor = FLAVORS.get(library, library)
    assert flavor in mlflow.models.get_model_info(folder).flavors
    if flavor == "pytorch":  # nothing is said of how the model was saved, which nobody has asked
        text = Store(stored).log_text(record)
        assert ("WARNING mlflow" in text, "local version label" in text) == (False, False)
    if library in LOADED:
        assert getattr(mlflow, flavor).load_model(folder) is not None
    required = dict(one.split("==") for one in (stored / "model/requirements.txt").read_text().splitlines())
    wanted = REQUIRED.get(library) or backend or "torch"
    [found] = [one for one in (wanted, f"{wanted}-cpu") if one in required]
    [installed] = {*packages_distributions()["sklearn" if wanted == "scikit-learn" else wanted]}
    assert required[found].partition("+")[0] == version(installed).partition("+")[0]
    if library == "lightgbm.sklearn":
        data = np.zeros((2, 4), "float32")
        assert len(mlflow.pyfunc.load_model(folder).predict(data)) == 2


def test_lightgbms_plots_are_drawn_where_they_are_asked_for(stored, script):
    source = SOURCES["lightgbm.sklearn"].replace("assert not ", "")
    target = script(source, name="lightgbm_here.py")
    for asked in (False, {"libraries": ["lightgbm"], "log_plots": True, "log_models": False}):
        more = {} if asked is False else {"autolog": asked}
        [record] = list(loop.run(make_plan(spec_from_mapping({"run": target.path, "name": "plots", **more}))))
        kept = Store(stored).artifacts(record)
        assert "feature_importance_gain.json" in kept
        assert ("feature_importance_gain.png" in kept, "model/MLmodel" in kept) == (bool(asked), not asked)
        assert record.notes == ()
        assert "plot" not in Store(stored).log_text(record)


class Kept:
    """Keeps what it is sent, and fails where it is told to."""

    def __init__(self, artifacts, failing=()):
        self.artifacts, self.failing, self.events = artifacts, failing, []

    def send(self, event):
        if isinstance(event, self.failing):
            raise OSError("nobody listens")
        self.events.append(event)

    @property
    def notes(self):
        return [event.text for event in self.events if isinstance(event, Note)]


def losses(sink):
    return [event.values for event in sink.events if isinstance(event, Metrics)]


@pytest.fixture
def fold():
    """Train a network of its own for an epoch, and return a weak reference to its optimizer."""
    import torch

    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.randn(8, 1))

    def train():
        net = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for inputs, targets in torch.utils.data.DataLoader(data, batch_size=4):
            torch.nn.functional.mse_loss(net(inputs), targets).backward()
            optimizer.step()
        return weakref.ref(optimizer)

    return train


def test_optimizers_and_their_networks_go_when_the_code_lets_them_go_and_no_loss_is_lost(fold, tmp_path):
    from ml_experiment_nb.observing import torch_loops

    sink = Kept(tmp_path)
    with torch_loops.recording(ThisRun("a" * 32, "0", sink), models=False):
        left = [fold() for _ in range(4)]
        gc.collect()
        assert [one() for one in left] == [None] * 4
    assert [list(values) for values in losses(sink)] == [[f"train_loss{n}"] for n in ("", "_2", "_3", "_4")]


def test_what_fails_as_a_loader_begins_is_a_note_and_a_pruner_is_heard_there(fold, tmp_path):
    from ml_experiment_nb.observing import torch_loops

    sink = Kept(tmp_path, failing=Metrics)
    with torch_loops.recording(ThisRun("a" * 32, "0", sink), models=False):
        fold()
        fold()
        fold()
        assert sink.notes == ["autologging: torch: OSError: nobody listens"]
    run = ThisRun("b" * 32, "0", Kept(tmp_path))
    with torch_loops.recording(run, models=False):
        fold()
        run.pruned = 0
        with pytest.raises(Pruned):
            fold()


def test_a_learner_goes_on_as_it_was_whether_it_could_be_exported_or_not(tmp_path, monkeypatch):
    import fastai.callback.all  # noqa: F401  # it gives a learner its no_bar
    import torch
    from fastai.data.core import DataLoaders, Datasets
    from fastai.learner import Learner, load_learner

    from ml_experiment_nb.observing import fastai as ours

    monkeypatch.chdir(tmp_path)

    class Loss(torch.nn.MSELoss):
        lock = None

    data = Datasets(range(8), [[lambda _: torch.randn(2)], [lambda _: torch.randn(1)]])
    loaders = DataLoaders.from_dsets(data, data, bs=4, device="cpu")
    learner = Learner(loaders, torch.nn.Linear(2, 1), loss_func=Loss())
    sink = Kept(tmp_path / "artifacts")
    (sink.artifacts / "record").mkdir(parents=True)
    (sink.artifacts / "learner.pkl").write_text("mine")
    run = ThisRun("a" * 32, "0", sink)
    with ours.recording(run, models=True), learner.no_bar(), learner.no_logging():
        learner.fit(1)
        optimizer = learner.opt
        assert sink.notes == ["the artifact learner.pkl is the code's own: what was trained is kept as learner-1.pkl"]
        assert (sink.artifacts / "learner.pkl").read_text() == "mine"
        assert len(load_learner(sink.artifacts / "learner-1.pkl").dls.train_ds) == 0
        learner.loss_func.lock = threading.Lock()
        learner.fit(1)
        assert "could not be exported" in sink.notes[-1]
        assert learner.dls is loaders
        assert learner.opt is optimizer
        learner.fit(1)
    assert list((sink.artifacts / "record").iterdir()) == []


def test_where_mlflow_can_not_be_led_to_the_run_none_of_its_libraries_writes_elsewhere(stored, script):
    source = f"""
        import textwrap
        from mlflow.utils.autologging_utils import BatchMetricsLogger
        del BatchMetricsLogger._timed_log_batch  # as an MLflow to come may have it
        {textwrap.indent(DATA, " " * 8).strip()}
        from sklearn.linear_model import LogisticRegression
        LogisticRegression().fit(X, y)
        import xgboost
        xgboost.train({{"objective": "binary:logistic"}}, xgboost.DMatrix(X, y), 2)
        from sklearn.svm import SVC
        SVC().fit(X, y)
    """
    [record] = list(loop.run(make_plan(spec_from_mapping({"run": script(source).path}))))
    assert record.ok, record.failure
    [note] = record.notes
    assert note.startswith("nothing is autologged by MLflow: AttributeError")
    assert (record.autologged, record.metrics) == ({}, {})


def test_a_pruner_gives_a_trial_up_by_what_a_library_logs(stored, script):
    source = f"""
        import argparse
        {textwrap.indent(DATA, " " * 8).strip()}
        import xgboost
        words = argparse.ArgumentParser()
        words.add_argument("--rate", type=float)
        data = xgboost.DMatrix(X, y)
        params = {{"eta": words.parse_args().rate, "objective": "binary:logistic"}}
        xgboost.train(params, data, 30, evals=[(data, "train")], verbose_eval=False)
        print("to the end")
    """
    asked = {
        "run": script(source).path, "param_space": {"rate": "choice([0.5, 0.0001])"}, "sampler": "grid",
        "slots": 1, "executor": "inline", "metric": "train-logloss",
        "pruner": "threshold(upper=0.6, n_warmup_steps=5)",
    }  # fmt: skip
    *trials, parent = list(loop.run(make_plan(spec_from_mapping(asked))))
    assert {trial.params["rate"]: str(trial.status) for trial in trials} == {0.5: "finished", 0.0001: "pruned"}
    assert parent.ok
