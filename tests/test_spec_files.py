import json
import math

import pytest

from ml_experiment_nb.errors import SpaceError, SpecError
from ml_experiment_nb.goals import Metric
from ml_experiment_nb.spaces import Choice, LogUniform, Range, Uniform
from ml_experiment_nb.spec_files import read_spec, write_spec
from ml_experiment_nb.specs import Data, Experiment, Group, Pruner, RayConfig, Resources, Sampler, spec_from_mapping
from ml_experiment_nb.targets import Script

PAPER = """\
name: "SVM"
kind: 'group'
num_trials: 12
samples: TPE
param_space:
  C: loguniform(0.01, 1000)
  gamma: choice(['scale', 'auto'])
metric: {name: val_accuracy, direction: maximize}
ray_config: {num_cpus: 4}
run:
  - modelling/train_svm.py
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project's folder with what the specs below name; the current directory is elsewhere."""
    for name in ("modelling/train_svm.py", "train.py", "data/a.txt", "Dockerfile", "elsewhere/here.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path.resolve()


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_the_paper_s_file(folder):
    expected = Group(
        name="SVM",
        num_trials=12,
        sampler=Sampler(name="TPE"),
        param_space={"C": LogUniform(0.01, 1000), "gamma": Choice(("scale", "auto"))},
        metric=Metric(name="val_accuracy", direction="maximize"),
        ray_config=RayConfig(num_cpus=4),
        run=(Script(path="modelling/train_svm.py"),),
        root_path=str(folder),
    )
    assert read_spec(write(folder, "svm.yaml", PAPER)) == expected
    as_json = {
        "name": "SVM",
        "kind": "group",
        "num_trials": 12,
        "samples": "TPE",
        "param_space": {"C": "loguniform(0.01, 1000)", "gamma": "choice(['scale', 'auto'])"},
        "metric": {"name": "val_accuracy", "direction": "maximize"},
        "ray_config": {"num_cpus": 4},
        "run": ["modelling/train_svm.py"],
    }
    assert read_spec(write(folder, "svm.json", json.dumps(as_json, indent="\t"))) == expected


def test_the_other_keys_of_the_paper(folder):
    text = """\
# a comment
run: train.py
params:
  C: 1e-5
  degree: -3
  when: 2020-01-01
  on: yes
  nothing: null
param_space:
  layers: [range(5), uniform(0, 1)]
  quoted: ["uniform(0, 1, step=0.5)", 'range(2)']
sampler: tpe
pruner: hyperband
metric:
  name: val_loss
resources_per_worker: {cpu: 0.25, gpu: 0.5}
timeout_per_trial: 60
data: {folder: data/, files: ["*.txt"]}
docker_config: {dockerfile: Dockerfile, context: ., args: {A: "1"}}
"""
    spec = read_spec(write(folder, "a.yml", text))
    assert spec.params == {"C": 1e-5, "degree": -3, "when": "2020-01-01", "on": "yes", "nothing": None}
    assert isinstance(spec.params["C"], float)
    assert spec.param_space == {
        "layers": (Range(0, 5), Uniform(0, 1)),
        "quoted": (Uniform(0, 1, 0.5), Range(0, 2)),
    }
    assert (spec.sampler, spec.pruner) == (Sampler(name="TPE"), Pruner(name="Hyperband"))
    assert spec.metric == Metric(name="val_loss", direction="minimize")
    assert spec.resources_per_worker == Resources(cpu=0.25, gpu=0.5)
    assert spec.timeout_per_trial == 60.0
    assert spec.data == Data(folder="data/", files=("*.txt",))
    assert spec.docker_config.model_dump() == {
        "image": None, "dockerfile": "Dockerfile", "context": ".", "args": {"A": "1"}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "root", "path"),
    [
        ("a.yaml", "run: train.py", ".", "train.py"),
        ("modelling/a.yaml", "{run: train.py, root_path: ..}", ".", "train.py"),
        ("modelling/a.yaml", "run: train_svm.py", "modelling", "train_svm.py"),
        ("a.yaml", "{run: train_svm.py, root_path: modelling}", "modelling", "train_svm.py"),
        ("a.yaml", "run: here.py", ".", "{folder}/elsewhere/here.py"),
        ("a.yaml", "run: ./../train.py", ".", "{folder}/train.py"),
    ],
)
def test_a_run_is_looked_for_in_the_root_and_then_here(folder, name, text, root, path):
    spec = read_spec(write(folder, name, text))
    assert spec == Experiment(name=spec.name, run=path.format(folder=folder), root_path=str((folder / root).resolve()))


@pytest.mark.parametrize(
    ("text", "line", "key", "problem"),
    [
        ("run: train.py\nparms: {}\n", 2, "parms", "did you mean 'params'?"),
        ("run: train.py\n\nnum_trials: 3\n", 3, "num_trials", "is a key of a group; add kind: group"),
        ("run: train.py\nmetric:\n  nme: x\nkind: group", 3, "metric.nme", "did you mean 'name'?"),
        ("kind: group\nrun: train.py\n", None, "param_space", "is required"),
        ("run: train.py\nparam_space: {C: range(3)}\nsamples: TPEE\n", 3, "samples", "did you mean 'TPE'?"),
        (
            "run: train.py\nmetric: {direction: max}\nparam_space: {C: range(3)}",
            2,
            "metric.name",
            "is required",
        ),
        ("run: train.py\ntimeout: soon\n", 2, "timeout", "must be a valid number, not 'soon'"),
        ("run: train.py\nroot_path: nowhere\n", 2, "root_path", "there is no folder {folder}/nowhere"),
        ("run:\n- train.py\n- trian.py\n", 3, "run", "'trian.py' in {folder} nor in {folder}/elsewhere"),
        ("run:\n- train.sh\n", 2, "run", "'train.sh' is neither a script"),
        ("run: train.py\ndata:\n  folder: dta\n", 3, "data.folder", "there is no folder {folder}/dta"),
        (
            "run: train.py\ndata:\n  folder: data\n  files:\n  - '*.txt'\n  - '*.csv'",
            6,
            "data.files[1]",
            "'*.csv'",
        ),
        (
            "run: train.py\ndocker_config: {dockerfile: X}",
            2,
            "docker_config.dockerfile",
            "no file {folder}/X",
        ),
        (
            "run: train.py\ndocker_config:\n  dockerfile: Dockerfile\n  context: X",
            4,
            "docker_config.context",
            "no folder {folder}/X",
        ),
        ("run: train.py\nname: a\nrun: b.py\n", 3, "run", "stands here and in line 1: keep one"),
        ("run: train.py\nparams:\n  a: &x [*x]\n", 3, "params.a[0]", "refers to itself"),
        ("run: train.py\nparams:\n\tC: 1\n", 3, None, "indent with spaces, not tabs"),
        ("run: [train.py\n", 2, None, "is not YAML"),
        ("run: train.py\n---\nrun: b.py\n", 2, None, "another document"),
        ("run: !file train.py\n", 1, None, "could not determine a constructor for the tag '!file'"),
        ("run: train.py\nparams: {C: !!int x}\n", None, None, "can't be read as YAML"),
        ("- run\n", 1, None, "holds a list, not keys"),
        ("run\n", 1, None, "holds a text, not keys"),
        ("", None, None, "is empty"),
        ("# only a comment\n", None, None, "is empty"),
        ("[" * 1_200, None, None, "can't be read as YAML"),
    ],
)
def test_a_wrong_file_names_itself_the_line_and_the_key(folder, text, line, key, problem):
    path = write(folder, "a.yaml", text)
    with pytest.raises(SpecError) as raised:
        read_spec(path)
    error = raised.value
    assert (error.file, error.line, error.key) == (str(path), line, key)
    assert problem.format(folder=folder) in error.problem


@pytest.mark.parametrize(
    ("text", "line", "key", "problem"),
    [
        ('{"run": "train.py",\n "parms": {}}', 2, "parms", "did you mean 'params'?"),
        ('{"run": "train.py",\n\t"run": "b.py"}', 2, "run", "stands here and in line 1"),
        ('{"run": "train.py",\n}', 2, None, "is not JSON"),
        ("[1]", 1, None, "holds a list, not keys"),
        (" \n", None, None, "is empty"),
        ("[" * 100_000, None, None, "can't be read as JSON"),
    ],
)
def test_a_wrong_json_file(folder, text, line, key, problem):
    with pytest.raises(SpecError) as raised:
        read_spec(write(folder, "a.json", text))
    assert (raised.value.line, raised.value.key) == (line, key)
    assert problem in raised.value.problem


def test_a_wrong_distribution_in_a_file(folder):
    text = PAPER.replace("loguniform", "logunifrom")
    with pytest.raises(SpaceError) as raised:
        read_spec(write(folder, "svm.yaml", text))
    assert str(raised.value) == (
        f"{folder}/svm.yaml:6: param_space.C: 'logunifrom' is not a distribution; did you mean 'loguniform'?"
    )


def test_a_path_that_is_no_readable_file(folder):
    write(folder, "svm.yaml", PAPER)
    (folder / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    write(folder, "notes.txt", PAPER)
    for name, problem in [
        ("svm.yml", "there is no such file; did you mean 'svm.yaml'?"),
        ("none/svm.yaml", "there is no such file"),
        ("modelling", "is a folder"),
        ("latin.yaml", "is not UTF-8 text: byte 9"),
        ("notes.txt", "ends in .yaml, .yml, .json, not '.txt'"),
    ]:
        with pytest.raises(SpecError) as raised:
            read_spec(folder / name)
        assert raised.value.file == str(folder / name)
        assert problem in raised.value.problem


def test_a_byte_order_mark_is_no_part_of_a_spec(folder):
    (folder / "a.yaml").write_text("run: train.py", encoding="utf-8-sig")
    assert read_spec(folder / "a.yaml").name == "train"


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_what_is_written_reads_back(folder, suffix):
    spec = spec_from_mapping(
        {
            "name": "café: 1",
            "run": ["train.py", {"command": "ls"}],
            "params": {
                "a": "1e-5",
                "b": 1e-5,
                "c": [None, True, -3],
                "d": "yes",
                "e": "2020-01-01",
                "f": math.inf,
            },
            "param_space": {"C": "loguniform(1e-5, 1)", "h": ["range(3)", "choice([[1], 'a'])"]},
            "sampler": {"name": "grid", "seed": 1},
            "root_path": str(folder),
        }
    )
    write_spec(spec, folder / f"out{suffix}")
    assert read_spec(folder / f"out{suffix}") == spec
    assert str(folder) not in (folder / f"out{suffix}").read_text()


def test_the_written_yaml_is_as_a_person_writes_it(folder):
    write_spec(read_spec(write(folder, "svm.yaml", PAPER)), folder / "out.yaml")
    assert (folder / "out.yaml").read_text() == (
        "kind: group\n"
        "name: SVM\n"
        "run:\n"
        "- modelling/train_svm.py\n"
        "ray_config:\n"
        "  num_cpus: 4\n"
        "param_space:\n"
        "  C: loguniform(0.01, 1000)\n"
        "  gamma: choice(['scale', 'auto'])\n"
        "metric:\n"
        "  name: val_accuracy\n"
        "  direction: maximize\n"
        "num_trials: 12\n"
    )


@pytest.mark.parametrize(("name", "problem"), [("a.txt", "ends in .yaml"), ("none/a.yaml", "can't be written")])
def test_where_a_spec_can_t_be_written(folder, name, problem):
    with pytest.raises(SpecError, match=problem):
        write_spec(Experiment(run="train.py"), folder / name)
