"""The documentation names all there is: each command, option, key and public name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import ml_experiment_nb
from ml_experiment_nb import cli, magics
from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.spec_files import read_spec
from ml_experiment_nb.specs import Group, spec_from_mapping
from ml_experiment_nb.targets import Notebook

ROOT = Path(__file__).parents[2]
DOCS = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
SPECS = DOCS["specs.md"]


def section(heading):
    """Return the text of commands.md from a heading that begins so to the next one."""
    found = re.search(rf"^## `{re.escape(heading)}\b.*?(?=^## |\Z)", DOCS["commands.md"], re.M | re.S)
    assert found, f"commands.md has no section for {heading}"
    return found[0]


def leaves(group, prefix=""):
    """Return the commands below a group, by their whole name."""
    found = {}
    for name, command in group.commands.items():
        inner = isinstance(command, click.Group)
        found |= leaves(command, f"{prefix}{name} ") if inner else {prefix + name: command}
    return found


COMMANDS = leaves(cli.commands)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_documented(name):
    text = section(f"ml-experiment {name}")
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option)]
    missing = [word for option in options for word in option.opts if not re.search(rf"`{word}\b", text)]
    assert not missing


@pytest.mark.parametrize("name", ["experiment", "group"])
def test_every_magic_and_option_is_documented(name):
    text = section(f"%%{name}")
    options = vars(magics.ExperimentMagics)[name].parser._actions
    missing = [word for option in options for word in option.option_strings if not re.search(rf"`{word}\b", text)]
    assert not missing


def test_the_documented_options_exist():
    known = {word for c in COMMANDS.values() for p in c.params for word in (*p.opts, *p.secondary_opts)}
    for name in ("experiment", "group"):
        known |= {
            w for a in vars(magics.ExperimentMagics)[name].parser._actions for w in a.option_strings
        }  # fmt: skip
    named = {word for text in DOCS.values() for word in re.findall(r"`(--[a-z][a-z0-9_-]*)", text)}
    of_users = {"--max-depth", "--verbose"}  # of a script that is shown
    assert named <= known | of_users | {"--version", "--help"}


@pytest.mark.parametrize("name", sorted(ml_experiment_nb.__all__))
def test_every_public_name_is_documented(name):
    assert f"`{name}`" in DOCS["python.md"]


@pytest.mark.parametrize("key", [*sorted(Group.model_fields), "kind", "samples"])
def test_every_key_of_a_spec_is_documented(key):
    assert re.search(rf"^\| .*`{key}`.* \|", SPECS, re.M)


@pytest.mark.parametrize("key", sorted(field.alias or name for name, field in Notebook.model_fields.items()))
def test_every_key_of_a_notebook_is_documented(key):
    assert re.search(rf"^\| .*`{key}`.* \|", SPECS, re.M)


def test_the_examples_of_the_keys_are_read():
    rows = re.findall(r"^\| `.*\| `([^`]+)` \|$", SPECS, re.M)
    assert len(rows) > 20
    for row in rows:
        example = _yaml(row)
        space = {} if "each" in example else {"param_space": {"lr": "uniform(0, 1)"}}
        whole = {"kind": "group", "run": "train.py", **space, **example}
        spec_from_mapping(whole)


@pytest.mark.parametrize("name", [*Sampler.NAMES, *Pruner.NAMES])
def test_every_sampler_and_pruner_is_documented(name):
    assert f"`{name}`" in SPECS


def test_every_module_stands_in_the_architecture():
    package = ROOT / "ml_experiment_nb"
    text = DOCS["architecture.md"]
    modules = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    assert not [one for one in modules if f"`{one}`" not in text and f"`{one.rpartition('/')[2]}`" not in text]


def test_the_whole_spec_in_the_docs_is_the_paper_s_group():
    block = re.search(r"```yaml\n(.*?)```", SPECS, re.S)[1]
    shown = spec_from_mapping(_yaml(block))
    assert shown == read_spec(ROOT / "examples/paper/svm_group.yaml").model_copy(update={"root_path": None})


def test_yaml_and_json_examples_ask_for_the_same():
    for name in ("svm", "svm_group"):
        paper = ROOT / "examples/paper"
        assert read_spec(paper / f"{name}.yaml") == read_spec(paper / f"{name}.json")
        json.loads((paper / f"{name}.json").read_text())


def _yaml(text):
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def anchors(text):
    """Return the names by which a page's headings are linked to."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda one: one.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.slow
def test_the_site_is_built(tmp_path):
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "loguniform" in (tmp_path / "reference/names.html").read_text()
    assert "--stop-when" in (tmp_path / "reference/magics.html").read_text()
    assert "timeout_per_trial" in (tmp_path / "reference/keys.html").read_text()
    assert "--help-notebook" in (tmp_path / "reference/command.html").read_text()
    found = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', (tmp_path / "index.html").read_text())
    assert not found  # nothing is fetched from elsewhere
