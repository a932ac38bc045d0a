"""The JSON schema of spec files: what is right is taken, in each of its forms, and what is wrong in form is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from ml_experiment_nb import cli, completion, spaces
from ml_experiment_nb.errors import ExperimentError
from ml_experiment_nb.schema import DESCRIPTIONS, spec_schema
from ml_experiment_nb.specs import Group, spec_from_mapping

ROOT = Path(__file__).parents[1]
EXAMPLES = [path for path in (ROOT / "examples").rglob("*") if path.suffix in (".yaml", ".json")]
SPECS = (ROOT / "docs" / "specs.md").read_text()
SPACE = {"lr": "uniform(0, 1)"}


def checker():
    made = jsonschema.Draft7Validator(spec_schema())
    made.check_schema(made.schema)
    return made


CHECKER = checker()


def said(text):
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_taken(path):
    assert len(EXAMPLES) > 5
    CHECKER.validate(said(path.read_text()))


@pytest.mark.parametrize("row", re.findall(r"^\| `.*\| `([^`]+)` \|$", SPECS, re.M))
def test_the_examples_of_the_keys_in_the_docs_are_taken(row):
    example = said(row)
    space = {} if "each" in example else {"param_space": SPACE}
    CHECKER.validate({"kind": "group", "run": "train.py", **space, **example})


@pytest.mark.parametrize("block", [one for one in re.findall(r"```yaml\n(.*?)```", SPECS, re.S) if "\nrun:" in one])
def test_the_whole_specs_in_the_docs_are_taken(block):
    CHECKER.validate(said(block))


FORMS = [
    {"run": ["a.py", "b.IPYNB", {"command": "make"}, {"notebook": "c.ipynb", "from_cell": 2}]},
    {"run": "https://host/a.ipynb?raw=1", "kind": "experiment"},
    {"run": "a.py", "tags": {"n": 3}, "timeout": None, "memory": "1.5 GiB", "data": ["a.csv", "*.txt"]},
    {"run": "a.py", "distributed": "torch", "notify": "desktop", "autolog": False},
    {"run": "a.py", "param_space": {"C": ["range(5)", "uniform(0, 1)"], "D": "[range(5), uniform(0, 1)]"}},
    {"run": "a.py", "param_space": {"C": "mlx.choice(['a', \"b\"])"}, "metric": {"loss": "MIN", "f1": "maximise"}},
    {"run": "a.py", "param_space": SPACE, "metric": ["a", {"name": "b", "direction": "max"}], "samples": "TPE"},
    {"run": "a.py", "each": [{"C": 1}, {}], "param_space": {}},
    {"run": "a.py", "kind": "group", "param_space": {}, "enqueue": {"C": 1}},
]


@pytest.mark.parametrize("spec", FORMS, ids=str)
def test_each_form_is_taken_as_the_models_take_it(spec):
    spec_from_mapping(spec)
    CHECKER.validate(spec)


WRONG = {
    "nothing to run": {"name": "x"},
    "an empty list": {"run": []},
    "no script": {"run": "train.txt"},
    "an unknown key": {"run": "a.py", "parms": {}},
    "an unknown kind": {"run": "a.py", "kind": "search"},
    "no distribution": {"run": "a.py", "param_space": {"C": "logunifrom(1, 2)"}},
    "an open distribution": {"run": "a.py", "param_space": {"C": "loguniform(1, 2"}},
    "a fixed value": {"run": "a.py", "param_space": {"C": 3}},
    "no name": {"run": "a.py", "params": {"2C": 1}},
    "a text for a number": {"run": "a.py", "timeout": "60"},
    "no trial": {"run": "a.py", "param_space": SPACE, "num_trials": 0},
    "no space": {"run": "a.py", "kind": "group"},
    "a key of a group": {"run": "a.py", "num_trials": 3},
    "an experiment with a space": {"run": "a.py", "kind": "experiment", "param_space": SPACE},
    "both names": {"run": "a.py", "param_space": SPACE, "sampler": "TPE", "samples": "TPE"},
    "a table and a search": {"run": "a.py", "each": "t.csv", "num_trials": 3},
    "no direction": {"run": "a.py", "param_space": SPACE, "metric": {"name": "loss", "direction": "down"}},
    "a metric's wrong key": {"run": "a.py", "param_space": SPACE, "metric": {"name": "loss", "way": "min"}},
    "an unknown executor": {"run": "a.py", "executor": "dask"},
    "a notebook's wrong key": {"run": {"notebook": "a.ipynb", "kernal": "x"}},
    "a wrong framework": {"run": "a.py", "distributed": "jax"},
    "a docker key": {"run": "a.py", "docker_config": {"img": "x"}},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_as_the_models_refuse_it(name):
    with pytest.raises(ExperimentError):
        spec_from_mapping(WRONG[name])
    assert not CHECKER.is_valid(WRONG[name])


def test_each_key_has_a_description_and_none_is_forgotten():
    assert set(DESCRIPTIONS) == {*Group.model_fields, "kind", "samples"}
    properties = spec_schema()["properties"]
    assert all(properties[name]["description"] == text for name, text in DESCRIPTIONS.items())


def test_the_command_prints_it():
    done = CliRunner().invoke(cli.commands, ["schema"])
    assert json.loads(done.output) == spec_schema()


def test_its_file_that_is_installed_is_what_the_command_prints():
    path = Path(CliRunner().invoke(cli.commands, ["schema", "--path"]).output.strip())
    assert path.read_text() == CliRunner().invoke(cli.commands, ["schema"]).output, "write it anew by the command"


def test_completion_offers_the_distributions_that_there_are():
    assert completion.DISTRIBUTIONS == spaces.NAMES
