import json
import math
import pickle
import subprocess
import sys

import pandas as pd
import pytest

from ml_experiment_nb.errors import SpaceError, SpecError
from ml_experiment_nb.goals import Metric
from ml_experiment_nb.spaces import Choice, LogUniform, Range, Uniform
from ml_experiment_nb.specs import (
    Data,
    DockerConfig,
    Experiment,
    Group,
    Job,
    Pruner,
    RayConfig,
    Resources,
    Sampler,
    spec_from_mapping,
    to_mapping,
)
from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script


def train(C, kernel="rbf"):
    return {"accuracy": C}


PAPER = {
    "name": "SVM",
    "kind": "group",
    "num_trials": 12,
    "samples": "TPE",
    "param_space": {"C": "loguniform(0.01, 1000)", "gamma": "choice(['scale', 'auto'])"},
    "metric": {"name": "val_accuracy", "direction": "maximize"},
    "ray_config": {"num_cpus": 4},
    "run": ["modelling/train_svm.py"],
}
GROUP = {"run": "a.py", "param_space": {"C": "range(3)"}}


def test_the_paper_s_group():
    assert spec_from_mapping(PAPER) == Group(
        name="SVM",
        num_trials=12,
        sampler=Sampler(name="TPE"),
        param_space={"C": LogUniform(0.01, 1000), "gamma": Choice(("scale", "auto"))},
        metric=Metric(name="val_accuracy", direction="maximize"),
        ray_config=RayConfig(num_cpus=4),
        run=(Script(path="modelling/train_svm.py"),),
    )


def test_every_key_of_a_group():
    spec = spec_from_mapping(
        {
            "run": ["a.py", "b.ipynb", {"command": "make data"}],
            "params": {
                "rate": 1e-5,
                "degree": -3,
                "limit": math.inf,
                "layers": [64, {"units": 8}],
                "off": None,
            },
            "param_space": {"C": ["range(5)", "uniform(0, 1)"]},
            "description": "A search.",
            "tags": {"team": "vision"},
            "root_path": "..",
            "data": {"folder": "data/", "files": ["*.txt"]},
            "docker_config": {"dockerfile": "Dockerfile", "context": ".", "args": {"PYTHON": "3.11"}},
            "ray_config": {"address": "auto", "num_cpus": 4, "num_gpus": 0, "namespace": "mine"},
            "resources_per_worker": {"cpu": 0.25, "gpu": 0.5},
            "executor": "ray",
            "slots": 2,
            "timeout": 60,
            "allow_unknown_params": True,
            "metric": {"name": "loss", "direction": "MIN"},
            "num_trials": 3,
            "sampler": {"name": "tpe", "seed": 1},
            "pruner": "hyperband",
            "timeout_per_trial": 1.5,
            "retries": 1,
            "enqueue": [{"C": [1, 0.5]}],
            "max_failures": 4,
            "stop_when": "loss < 0.1",
            "seed": 1,
            "storage": "sqlite:///study.db",
        }
    )
    assert spec == Group(
        name="a",
        run=(Script(path="a.py"), Notebook(path="b.ipynb"), Command(command="make data")),
        params={"rate": 1e-5, "degree": -3, "limit": math.inf, "layers": [64, {"units": 8}], "off": None},
        param_space={"C": (Range(0, 5), Uniform(0, 1))},
        description="A search.",
        tags={"team": "vision"},
        root_path="..",
        data=Data(folder="data/", files=("*.txt",)),
        docker_config=DockerConfig(dockerfile="Dockerfile", context=".", args={"PYTHON": "3.11"}),
        ray_config=RayConfig(address="auto", num_cpus=4, num_gpus=0, namespace="mine"),
        resources_per_worker=Resources(cpu=0.25, gpu=0.5),
        executor="ray",
        slots=2,
        timeout=60.0,
        allow_unknown_params=True,
        metric=Metric(name="loss"),
        num_trials=3,
        sampler=Sampler(name="TPE", options={"seed": 1}),
        pruner=Pruner(name="Hyperband"),
        timeout_per_trial=1.5,
        retries=1,
        enqueue=({"C": [1, 0.5]},),
        max_failures=4,
        stop_when="loss < 0.1",
        seed=1,
        storage="sqlite:///study.db",
    )
    assert spec.ray_config.model_extra == {"namespace": "mine"}
    mapping = to_mapping(spec)
    assert json.loads(json.dumps(mapping)) == mapping
    assert spec_from_mapping(mapping) == spec


@pytest.mark.parametrize(
    ("data", "model", "kind"),
    [
        ({"run": "a.py"}, Experiment, "experiment"),
        ({"run": "a.py", "kind": "job"}, Job, "job"),
        (GROUP, Group, "group"),
    ],
)
def test_the_kind_picks_the_class(data, model, kind):
    spec = spec_from_mapping(data)
    assert (type(spec), spec.kind) == (model, kind)


@pytest.mark.parametrize(
    ("run", "targets", "name"),
    [
        ("modelling/train.py", (Script(path="modelling/train.py"),), "train"),
        (["a.ipynb", "b.py"], (Notebook(path="a.ipynb"), Script(path="b.py")), "a"),
        ({"command": "bin/fit --fast"}, (Command(command="bin/fit --fast"),), "fit"),
        ([{"source": "C = 1", "parameters": ["C"]}], (Cell(source="C = 1", parameters=("C",)),), "cell"),
        ({"function": "json:JSONEncoder.encode"}, (Function(function=json.JSONEncoder.encode),), "encode"),
        (Function(function=train), (Function(function=train),), "train"),
    ],
)
def test_what_is_run_names_the_spec(run, targets, name):
    spec = spec_from_mapping({"run": run})
    assert (spec.run, spec.name) == (targets, name)


@pytest.mark.parametrize(
    ("keys", "num_trials"),
    [
        ({}, 10),
        ({"num_trials": None}, 10),
        ({"num_trials": 3}, 3),
        ({"sampler": "grid"}, None),
        ({"sampler": "grid", "num_trials": 3}, 3),
    ],
)
def test_only_a_grid_may_go_without_a_number_of_trials(keys, num_trials):
    assert spec_from_mapping({**GROUP, **keys}).num_trials == num_trials


@pytest.mark.parametrize(
    ("data", "key", "problem"),
    [
        ({"run": "a.py", "parms": {}}, "parms", "is no key; did you mean 'params'?"),
        ({"run": "a.py", "param_spce": {}}, "param_spce", "is no key; did you mean 'param_space'?"),
        ({"rum": "a.py"}, "rum", "did you mean 'run'?"),
        ({"run": "a.py", "zzz": 1}, "zzz", "is no key: the keys are name, run,"),
        ({"run": "a.py", "num_trials": 3}, "num_trials", "is a key of a group; add kind: group"),
        ({"run": "a.py", "kind": "job", "samples": "TPE"}, "samples", "is a key of a group; add kind: group"),
        ({**GROUP, "kind": "experiment"}, "param_space", "is a key of a group; add kind: group"),
        ({**GROUP, "sample": "TPE"}, "sample", "did you mean 'samples'?"),
        ({"run": "a.py", "kind": "grop"}, "kind", "'grop' is no kind of spec; did you mean 'group'?"),
        ({"run": "a.py", "kind": ["job"]}, "kind", "['job'] is no kind of spec"),
        ({}, "run", "is required"),
        ({"run": "a.py", "kind": "group"}, "param_space", "is required"),
        ({"run": []}, "run", "is empty: name a script"),
        ({"run": "train.sh"}, "run", "'train.sh' is neither a script (.py) nor a notebook (.ipynb)"),
        ({"run": ["a.py", 3]}, "run[1]", "can't run 3: name a script"),
        ({"run": ["a.py", {"command": ""}]}, "run[1].command", "at least 1 character"),
        ({"run": {"command": "ls", "shell": True}}, "run.shell", "is no key: the keys are command"),
        (
            {"run": {"function": "json:dump5"}},
            "run.function",
            "'json:dump5' can't be imported as module:qualname",
        ),
        ({"run": {"function": "no.such:f"}}, "run.function", "No module named 'no'"),
        ({"run": {"function": "json"}}, "run.function", "can't be imported as module:qualname"),
        ({"run": {"function": ":f"}}, "run.function", "can't be imported as module:qualname"),
        ({"run": {"function": "math:pi"}}, "run.function", "must be callable"),
        ({"run": {"notebook": "b.ipynb", "kernle": "x"}}, "run.kernle", "is no key; did you mean 'kernel'?"),
        ({"run": {"notebook": "b.txt"}}, "run.notebook", "'b.txt' is no notebook (.ipynb)"),
        ({"run": {"notebook": "b.ipynb", "from_cell": 0}}, "run.from_cell", "0 names no cell: give its number"),
        ({"run": {"notebook": "b.ipynb", "from_cell": True}}, "run.from_cell", "True names no cell"),
        ({"run": {"notebook": "b.ipynb", "from_cell": 1, "engine": "nbclient"}}, "run", "need the engine"),
        ({"run": {"notebook": "b.ipynb", "execution_timeout": 1.5}}, "run.execution_timeout", "a valid integer"),
        ({"run": {"notebook": "b.ipynb", "report_mode": "yes"}}, "run.report_mode", "must be a valid boolean"),
        ({"run": {"notebook": "b.ipynb", "log_level": "LOUD"}}, "run.log_level", "must be 'NOTSET', 'DEBUG'"),
        ({"run": "a.py", "name": 3}, "name", "must be text (in quotes), not 3"),
        ({"run": "a.py", "name": ""}, "name", "at least 1 character"),
        ({"run": "a.py", "params": [1]}, "params", "must be a mapping, not [1]"),
        ({"run": "a.py", "params": {"a-b": 1}}, "params.a-b", "must be a Python name"),
        ({"run": "a.py", "params": {"lambda": 1}}, "params.lambda", "must be a Python name"),
        ({"run": "a.py", "tags": {"a": True}}, "tags.a", "must be text (in quotes), not True"),
        ({"run": "a.py", "timeout": "60"}, "timeout", "must be a valid number, not '60'"),
        ({"run": "a.py", "timeout": True}, "timeout", "must be a valid number, not True"),
        ({"run": "a.py", "timeout": 0}, "timeout", "must be greater than 0, not 0"),
        ({"run": "a.py", "timeout": math.nan}, "timeout", "not nan"),
        ({"run": "a.py", "slots": 1.5}, "slots", "must be a valid integer, not 1.5"),
        ({"run": "a.py", "executor": "rya"}, "executor", "must be 'auto', 'inline' or 'ray', not 'rya'"),
        ({"run": "a.py", "data": {"flder": "x"}}, "data.flder", "did you mean 'folder'?"),
        (
            {"run": "a.py", "resources_per_worker": {"gpu": -1}},
            "resources_per_worker.gpu",
            "greater than or equal",
        ),
        ({"run": "a.py", "ray_config": {"num_cpus": "4"}}, "ray_config.num_cpus", "must be a valid integer"),
        ({"run": "a.py", "docker_config": {}}, "docker_config", "give either image or dockerfile"),
        (
            {"run": "a.py", "docker_config": {"image": "a", "dockerfile": "b"}},
            "docker_config",
            "give either image or dockerfile",
        ),
        (
            {"run": "a.py", "docker_config": {"image": "a", "context": "."}},
            "docker_config",
            "context and args build a dockerfile",
        ),
        ({**GROUP, "param_space": []}, "param_space", "must map names to distributions"),
        ({**GROUP, "param_space": {"1a": "range(3)"}}, "param_space.1a", "must be a Python name"),
        ({**GROUP, "params": {"C": 1}}, "param_space.C", "C is in params and in param_space: keep one"),
        ({**GROUP, "sampler": "TPE", "samples": "TPE"}, "samples", "is the same key as sampler"),
        ({**GROUP, "sampler": "TPEE"}, "sampler", "no sampler is called 'TPEE'; did you mean 'TPE'?"),
        ({**GROUP, "samples": "xyz"}, "samples", "it is one of TPE, CmaEs, Grid"),
        ({**GROUP, "sampler": {"seed": 1}}, "sampler", "has no name: it is one of TPE"),
        ({**GROUP, "pruner": "hyperbnd"}, "pruner", "did you mean 'Hyperband'?"),
        ({**GROUP, "pruner": 3}, "pruner", "must be a name, or a mapping with a name, not 3"),
        ({**GROUP, "metric": {"nam": "x"}}, "metric.nam", "is no key; did you mean 'name'?"),
        ({**GROUP, "metric": {"direction": "max"}}, "metric.name", "is required"),
        (
            {**GROUP, "metric": {"name": "x", "direction": "up"}},
            "metric.direction",
            "'minimize' or 'maximize'",
        ),
        ({**GROUP, "num_trials": 0}, "num_trials", "must be greater than 0, not 0"),
        ({**GROUP, "num_trials": True}, "num_trials", "must be a valid integer, not True"),
        ({**GROUP, "seed": -1}, "seed", "greater than or equal to 0"),
        ("a.py", None, "a spec is a mapping of keys"),
    ],
)
def test_a_wrong_spec_names_its_key_and_what_to_do(data, key, problem):
    with pytest.raises(SpecError) as raised:
        spec_from_mapping(data)
    assert raised.value.key == key
    assert problem in raised.value.problem
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_wrong_distribution_names_its_parameter():
    with pytest.raises(SpaceError, match="did you mean 'loguniform'") as raised:
        spec_from_mapping({**GROUP, "param_space": {"C": "logunifrom(1, 2)"}})
    assert raised.value.key == "param_space.C"


def test_the_json_form_leaves_defaults_out():
    assert to_mapping(spec_from_mapping({"run": "a.py"})) == {
        "kind": "experiment",
        "name": "a",
        "run": ["a.py"],
    }
    assert to_mapping(spec_from_mapping(PAPER)) == {
        **{key: value for key, value in PAPER.items() if key != "samples"},  # TPE is the default
        "param_space": {"C": "loguniform(0.01, 1000)", "gamma": "choice(['scale', 'auto'])"},
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "data",
    [
        {"run": "a.py", "kind": "job", "params": {"layers": (1, 2)}},
        {
            "run": [
                {"command": "ls"},
                "b.ipynb",
                {"function": "json:dumps"},
                {"source": "x", "parameters": ["x"]},
            ]
        },
        {**GROUP, "sampler": {"name": "grid", "seed": 1}, "pruner": {"name": "sha", "min_resource": 2}},
        {**GROUP, "param_space": {"layers": ["range(3)", "choice([[64], None])"]}, "metric": "loss"},
        {
            "run": [
                {"notebook": "b.ipynb", "kernel": "ir", "from_cell": 2, "until_cell": "last", "report_mode": True},
                {"notebook": "s3://bucket/b.ipynb", "autosave_cell_every": 0},
            ]
        },
        {
            "run": "a.py",
            "docker_config": {"image": "team/svm:1"},
            "ray_config": {"runtime_env": {"pip": ["x"]}},
        },
    ],
)
def test_the_json_form_reads_back(data):
    mapping = to_mapping(spec_from_mapping(data))
    assert json.loads(json.dumps(mapping)) == mapping
    again = spec_from_mapping(mapping)
    assert (type(again), to_mapping(again)) == (type(spec_from_mapping(data)), mapping)


def test_what_json_can_t_hold_is_written_as_text():
    params = {"nan": math.nan, "call": train, "thing": {1, 2}, "by_number": {1: 2}}
    written = to_mapping(Experiment(run="a.py", params=params))["params"]
    assert math.isnan(written.pop("nan"))
    assert written == {"call": f"{__name__}:train", "thing": "{1, 2}", "by_number": {"1": 2}}
    assert to_mapping(Job(run=Function(function=train)))["run"] == [{"function": f"{__name__}:train"}]


def test_a_spec_is_frozen():
    spec = spec_from_mapping(PAPER)
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"


def test_importing_specs_loads_nothing_heavy():
    code = (
        "import sys, ml_experiment_nb.specs, ml_experiment_nb.spec_files;"
        "print({'mlflow', 'optuna', 'ray', 'pandas', 'numpy', 'plotly', 'sklearn'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# --- a table ---


def test_a_table_makes_a_group():
    spec = spec_from_mapping({"run": "a.py", "each": "params.csv"})
    assert (spec.kind, spec.each, spec.num_trials, spec.param_space) == ("group", "params.csv", None, {})
    assert to_mapping(spec) == {"kind": "group", "name": "a", "run": ["a.py"], "each": "params.csv"}
    inline = spec_from_mapping({"run": "a.py", "each": [{"C": 1}, {}]})
    assert inline.each == ({"C": 1}, {})
    assert spec_from_mapping(to_mapping(inline)) == inline


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"each": []}, "each: has no row"),
        ({"each": [1]}, r"each\[0\]: must be a mapping of parameters, such as \{C: 0.5\}, not 1"),
        ({"each": [{"C": 1}, {"a b": 1}]}, r"each\[1\].a b: 'a b' can't be a parameter"),
        ({"each": {"C": 1}}, "each: must be a table's path"),
        ({"each": "p.csv", "param_space": {"C": "uniform(0, 1)"}}, "param_space: is for a search, and `each` names"),
        ({"each": "p.csv", "samples": "TPE"}, "samples: is for a search, and `each` names the points already"),
        ({"each": "p.csv", "num_trials": 3}, "num_trials: is for a search"),
        ({"each": "p.csv", "kind": "experiment"}, "each: is a key of a group; add kind: group"),
        ({"kind": "group"}, "param_space: is required: what to search; or each"),
    ],
)
def test_a_table_that_makes_no_sense(keys, says):
    with pytest.raises(SpecError, match=says):
        spec_from_mapping({"run": "a.py", **keys})


def test_a_data_frame_has_columns_of_different_names():
    frame = pd.DataFrame([[1, 2]], columns=["C", "C"])
    with pytest.raises(SpecError, match="two columns are called 'C': keep one"):
        spec_from_mapping({"run": "a.py", "each": frame})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Experiment(nme="x"), "nme: is no key; did you mean 'name'?"),
        (lambda: Experiment(), "run: is required"),
        (lambda: Experiment(name=3, run=["a.py"]), "name: must be text (in quotes), not 3"),
        (
            lambda: Group(run=["a.py"], param_space={"C": "uniform(0, 1)"}, num_trials="x"),
            "num_trials: must be a valid integer, not 'x'",
        ),
    ],
)
def test_a_spec_that_is_made_in_code_is_told_what_is_wrong_as_one_of_a_file(make, said):
    with pytest.raises(SpecError) as raised:
        make()
    assert str(raised.value) == said
