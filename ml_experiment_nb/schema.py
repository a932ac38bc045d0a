"""The JSON schema of spec files, for editors: made from the models of `specs.py`, with the short forms that they read.

It refuses what is wrong by its form alone; whether a script takes a parameter, `ml-experiment run --plan` says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.distribution import Framework
from ml_experiment_nb.goals import Metric
from ml_experiment_nb.spaces import MODULES, NAMES
from ml_experiment_nb.specs import Experiment, Group
from ml_experiment_nb.targets import Command, Notebook

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that VS Code's YAML extension knows whole

SHIPPED = Path(__file__).with_name("spec.schema.json")
"""The schema as a file of the package, for editors: `ml-experiment schema` writes it anew."""

DESCRIPTIONS = {
    "kind": "What the file asks for: job runs and records nothing, experiment is one tracked run, group many of them.",
    "name": "The run's name; by default the first target's.",
    "run": "What to run: a script (.py), a notebook (.ipynb), a command, or a list of them.",
    "params": "Parameters by name, with fixed values.",
    "description": "A text that is kept with the run.",
    "tags": "Tags of the run.",
    "root_path": "The folder that the code runs in, relative to this file; by default this file's.",
    "data": "The data that the run reads: a file or folder, files and patterns, or folder, files and values.",
    "docker_config": "An image, or a dockerfile with context and args.",
    "ray_config": "address, num_cpus, num_gpus of Ray; other keys go to ray.init.",
    "resources_per_worker": "CPUs and GPUs that one slot takes.",
    "distributed": "Workers that a @job function runs on: a framework, or its form with num_workers.",
    "autolog": "What libraries train is recorded: true, false, their names, or libraries, log_models, log_plots.",
    "executor": "Where tasks run: Ray, or plain processes.",
    "slots": "How many trials run at once.",
    "timeout": "Seconds that a task may take; in a group, the whole group.",
    "memory": "Memory that a task may use: bytes, or a text such as 2GB.",
    "seed": "What every random generator begins with; in a search the sampler too.",
    "deterministic": "Whether torch and TensorFlow have to compute the same way each time.",
    "notify": "Who is told of its end: a webhook's address, desktop, or both.",
    "system_metrics": "Whether what a run uses of the machine is sampled.",
    "allow_unknown_params": "Whether parameters are passed that the target doesn't name.",
    "param_space": "The space to search: distributions by parameter, such as C: loguniform(0.01, 1000).",
    "each": "A table's path (.csv, .jsonl, .json), or rows: a run for each, in place of a search.",
    "metric": "What is optimised: a name, name and direction, or several of them.",
    "num_trials": "How many points to try (10; a grid tries all of its points).",
    "sampler": "How points are chosen: a name, or a mapping with its name and options.",
    "samples": "The same as sampler.",
    "pruner": "Which trials are stopped early: a name, or a mapping with its name and options.",
    "enqueue": "Points to begin with; what one leaves out is drawn.",
    "timeout_per_trial": "Seconds that a trial may take.",
    "retries": "How often a trial is tried again whose slot on Ray was lost.",
    "max_failures": "How many failed trials end the group.",
    "stop_when": "A condition that ends the group, such as val_accuracy >= 0.99.",
    "storage": "An Optuna storage URL; by default a file in the project's .ml-experiment folder.",
}
"""What each key of a spec is for, in a line."""

_TEXT = {"type": ["string", "number"]}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_NULL = {"type": "null"}
_ROW = {"type": "object", "minProperties": 1}
_SEARCH = ("param_space", "num_trials", "sampler", "samples", "pruner", "enqueue", "storage")


def spec_schema() -> dict[str, Any]:
    """Return the schema of a spec file, as JSON Schema's draft 7."""
    made = Group.model_json_schema(ref_template="#/definitions/{model}")
    definitions = {name: _plain(model) for name, model in made.pop("$defs").items()}
    definitions |= {one.__name__: _plain(one.model_json_schema()) for one in (Notebook, Command, Metric)}
    properties = {name: _plain(made["properties"].get(name, {})) for name in DESCRIPTIONS} | _forms()
    definitions["Metric"]["properties"]["direction"] = _DIRECTION
    del properties["name"]["default"]
    for name, text in DESCRIPTIONS.items():
        properties[name] = {"description": text, **{k: v for k, v in properties[name].items() if k != "description"}}
    of_a_group = [name for name in DESCRIPTIONS if name not in Experiment.model_fields and name != "kind"]
    return {
        "$schema": DRAFT,
        "title": "A spec of ml-experiment-nb",
        "description": "A job, an experiment or a group, for `ml-experiment run`.",
        "type": "object",
        "properties": properties,
        "required": ["run"],
        "additionalProperties": False,
        "allOf": _rules(of_a_group),
        "definitions": definitions,
    }


def schema_text() -> str:
    """Return the schema as a file has it."""
    return json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"


def _plain(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of names, and with references of draft 7."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _plain(one) for name, one in schema.items() if name != "title" or isinstance(one, dict)}
    if isinstance(found.get("description"), str):
        found["description"] = found["description"].split("\n\n")[0]
    return found


def _forms() -> dict[str, Any]:
    """Return the keys whose values have more forms than their models."""
    algorithm = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    sampler = _any({"type": "string", "examples": list(Sampler.NAMES)}, algorithm)
    metric = _any(_ref("Metric"), {"type": "string", "minLength": 1})
    directions = {"type": "object", "minProperties": 1, "additionalProperties": _DIRECTION}
    file = {"type": "string", "pattern": r"\.([pP][yY]|[iI][pP][yY][nN][bB])(\?.*)?$"}
    function = {"type": "object", "required": ["function"], "properties": {"function": {"type": "string"}}}
    cell = {"type": "object", "required": ["source"], "properties": {"source": {"type": "string"}}}
    target = _any(file, _ref("Notebook"), _ref("Command"), function, cell)
    drawn = {"type": "string", "pattern": distribution_pattern(), "examples": ["loguniform(0.01, 1000)"]}
    names = {"pattern": r"^[^\W\d]\w*$"}
    space = _any(drawn, {"type": "array", "minItems": 1})
    return {
        "kind": {"enum": ["job", "experiment", "group"]},
        "run": _any(target, {"type": "array", "minItems": 1, "items": target}),
        "params": {"type": "object", "propertyNames": names},
        "tags": {"type": "object", "additionalProperties": _TEXT},
        "data": _any({"type": "string"}, _TEXTS, _data(), _NULL),
        "distributed": _any({"enum": list(get_args(Framework))}, _ref("Distributed"), _NULL),
        "autolog": _any({"type": "boolean"}, {"type": "string"}, _TEXTS, _ref("Autolog"), _NULL),
        "memory": _any({"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^\s*[\d.]"}, _NULL),
        "notify": _any({"type": "string"}, _TEXTS, _ref("Notify"), _NULL),
        "param_space": {"type": "object", "propertyNames": names, "additionalProperties": space},
        "each": _any({"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object"}}, _NULL),
        "metric": _any(metric, directions, {"type": "array", "minItems": 1, "items": metric}, _NULL),
        "sampler": sampler,
        "samples": sampler,
        "pruner": _any({"type": "string", "examples": list(Pruner.NAMES)}, algorithm, _NULL),
        "enqueue": _any(_ROW, {"type": "array", "items": _ROW}),
    }


_DIRECTION = {
    "type": "string",
    "pattern": "^[mM]([iI][nN]|[aA][xX])([iI][mM][iI][zZsS][eE])?$",
    "examples": ["minimize", "maximize"],
}


def distribution_pattern() -> str:
    """Return the pattern of a distribution's text, or of a list of them: that it calls a known one."""
    module = rf"(({'|'.join(sorted(MODULES))})\.)*"
    return rf"^\s*[\[(]?\s*{module}({'|'.join(NAMES)})\s*\([\s\S]*\)[\s\])]*$"


def _data() -> dict[str, Any]:
    several = _any({"type": "string"}, _TEXTS)
    properties = {"folder": {"type": "string"}, "files": several, "values": several}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _rules(of_a_group: list[str]) -> list[dict[str, Any]]:
    """Return what holds between keys: which are a group's, that it has a space or a table, and not both."""
    no_group = {"properties": dict.fromkeys(of_a_group, False)}
    single = {"required": ["kind"], "properties": {"kind": {"enum": ["job", "experiment"]}}}
    told = [{"required": [name]} for name in ("kind", "param_space", "each")]
    group = {"required": ["kind"], "properties": {"kind": {"const": "group"}}}
    table = {"required": ["each"], "properties": {"each": {"type": ["string", "array"]}}}
    return [
        {"if": single, "then": no_group},
        {"if": {"not": {"anyOf": told}}, "then": no_group},
        {"if": group, "then": {"anyOf": told[1:]}},
        {"if": table, "then": {"properties": {name: {"enum": [None, {}, []]} for name in _SEARCH}}},
        {"not": {"required": ["sampler", "samples"]}},
    ]


def _any(*forms: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(forms)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}
