"""JupyterLab's extension as it is packaged: built where it has to be, and installed without Node."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import ml_experiment_nb

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "labextension"
SHARED = "share/jupyter/labextensions/ml-experiment-nb"


def package():
    return json.loads((SOURCE / "package.json").read_text())


def test_it_has_the_package_s_version_and_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (package()["name"], package()["version"]) == (project["name"], project["version"])
    assert ml_experiment_nb.__version__ == project["version"]


def test_it_is_locked_without_a_registry_s_host():
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    assert all("resolved" not in one for one in lock["packages"].values())
    assert lock["packages"][""]["dependencies"] == package()["dependencies"]


def test_jupyterlab_s_tools_are_told_where_it_is():
    (told,) = ml_experiment_nb._jupyter_labextension_paths()
    assert ROOT / "ml_experiment_nb" / told["src"] == (SOURCE / package()["jupyterlab"]["outputDir"]).resolve()
    assert told["dest"] == package()["name"]


def test_the_settings_and_the_menus_are_of_commands_that_there_are():
    schemas = {path.stem: json.loads(path.read_text()) for path in (SOURCE / "schema").glob("*.json")}
    assert {"outputs", "panel", "running"} <= schemas.keys()
    items = []
    for name, schema in schemas.items():
        assert schema["jupyter.lab.internationalization"] == {"domain": "ml_experiment_nb"}, name  # of its translations
        menus = schema["jupyter.lab.menus"]
        items += [*(item for one in menus["main"] for item in one["items"]), *menus.get("context", [])]
        items += schema.get("jupyter.lab.shortcuts", [])
    named = {one["command"] for one in items if "command" in one}
    source = "\n".join(path.read_text() for path in (SOURCE / "src").rglob("*.ts*"))
    words = set(re.findall(r"[`'](?:\$\{OWN\}|ml-experiment-nb:)?([a-z-]+)[`']", source))
    words |= {f"copy-as-{one}" for one in ("yaml", "cell", "command")} | {"run-as-experiment", "run-as-group"}
    assert {name.removeprefix("ml-experiment-nb:") for name in named} <= words
    for name, one in schemas["panel"]["properties"].items():
        assert "default" in one, name
        assert one["title"], name
        assert one["description"].endswith((".", "1")), name


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is in this checkout, as a checkout, with what was built of it if anything was."""
    folder = tmp_path_factory.mktemp("checkout") / "here"
    skip = shutil.ignore_patterns(".git", ".venv", "node_modules", "build", "dist", ".*_cache", "__pycache__", "tests")
    shutil.copytree(ROOT, folder, ignore=skip)
    (folder / ".git").mkdir()
    return folder


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """An sdist, and a wheel made of that."""
    if not (checkout / "ml_experiment_nb/labextension/package.json").exists() and not shutil.which("npm"):
        pytest.skip("the extension isn't built, and there is no Node to build it")
    folder = tmp_path_factory.mktemp("built")
    uv("build", "--quiet", "--sdist", "--out-dir", str(folder), str(checkout))
    (sdist,) = folder.glob("*.tar.gz")
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder), str(sdist), path=without_node(folder))
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def uv(*words, path=None, **settings):
    program = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    env = os.environ | {"PATH": path or os.environ["PATH"]} | settings
    done = subprocess.run([program, *words], env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def without_node(folder):
    """Return a PATH that has what a build needs, and no Node."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("sh", "env", "git", "uname"):
        if (program := shutil.which(name)) and not (programs / name).exists():
            (programs / name).symlink_to(program)
    return str(programs)


@pytest.mark.slow
def test_an_sdist_and_a_wheel_hold_what_was_built(built):
    sdist, wheel = built
    with tarfile.open(sdist) as file:
        names = {name.split("/", 1)[1] for name in file.getnames()}
    assert {"hatch_build.py", "labextension/src/index.ts", "labextension/package-lock.json"} <= names
    assert {"ml_experiment_nb/labextension/package.json", "ml_experiment_nb/labextension/static/style.js"} <= names
    assert not [name for name in names if "node_modules" in name or name.startswith("labextension/lib")]
    with zipfile.ZipFile(wheel) as file:
        data = [name.split(".data/data/")[1] for name in file.namelist() if ".data/data/" in name]
        assert not [name for name in file.namelist() if name.startswith("ml_experiment_nb/labextension")]
    config = "etc/jupyter/jupyter_server_config.d/ml_experiment_nb.json"
    names = ("package.json", "install.json", "static/style.js", "schemas/ml-experiment-nb/panel.json")
    shared = {f"{SHARED}/{name}" for name in names}
    assert {config, *shared} <= set(data)


@pytest.mark.slow
def test_a_wheel_is_installed_without_node_and_jupyterlab_has_the_extension(built, tmp_path):
    path = without_node(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    uv("venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"), path=path)
    uv("pip", "install", "--quiet", "--python", str(python), "--no-deps", str(built[1]), path=path)
    uv("pip", "install", "--quiet", "--python", str(python), "jupyterlab>=4.2", path=path)
    words = [str(python), "-m", "jupyter", "labextension", "list"]
    said = subprocess.run(words, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120)
    (line,) = [one for one in (said.stdout + said.stderr).splitlines() if "ml-experiment-nb v" in one]
    assert "enabled" in line and "OK" in line and "(python, ml-experiment-nb)" in line  # noqa: PT018
    words = [str(python), "-m", "jupyter", "server", "extension", "list"]
    said = subprocess.run(words, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120)
    plain = re.sub(r"\x1b\[\d*m", "", said.stdout + said.stderr)
    lines = {" ".join(one.split()) for one in plain.splitlines() if "ml_experiment_nb" in one}
    assert {"ml_experiment_nb enabled", f"ml_experiment_nb {ml_experiment_nb.__version__} OK"} <= lines


@pytest.mark.slow
def test_a_checkout_that_cannot_be_built_says_what_is_missing_and_an_editable_install_goes_without(checkout, tmp_path):
    clean = tmp_path / "clean"
    shutil.copytree(checkout, clean, ignore=shutil.ignore_patterns("labextension"))
    shutil.copytree(SOURCE, clean / "labextension", ignore=shutil.ignore_patterns("node_modules", "lib"))
    python = tmp_path / "venv" / "bin" / "python"
    uv("venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"))
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nexit 7\n")
    npm.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    install = ("pip", "install", "--no-deps", "--no-cache", "--python", str(python))
    with pytest.raises(AssertionError) as raised:
        uv(*install, str(clean), path=path)
    said = " ".join(str(raised.value).split())
    assert "`npm ci --ignore-scripts --no-audit --no-fund` ended with 7" in said
    assert "Node 20 or newer" in said
    assert "ML_EXPERIMENT_NB_SKIP_LABEXTENSION=1" in said
    uv(*install, "--editable", str(clean), path=path)
    uv(*install, str(clean), path=path, ML_EXPERIMENT_NB_SKIP_LABEXTENSION="1")
    assert not (tmp_path / "venv" / SHARED).exists()
