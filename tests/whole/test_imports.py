"""What importing costs: nothing heavy is loaded before it is used."""

import json
import subprocess
import sys

import pytest

import ml_experiment_nb

HEAVY = {"mlflow", "ray", "optuna", "plotly", "pandas", "sklearn", "pydantic"}
LOAD = "shell.run_line_magic('load_ext', 'ml_experiment_nb')"
SHELL = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance()"
DOORS = {
    "import": "import ml_experiment_nb",
    "%load_ext": f"{SHELL}; {LOAD}; assert shell.find_cell_magic('group')",
    "job": "from ml_experiment_nb import job; job(lambda x: x)",
    "help": (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['ml-experiment', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('ml_experiment_nb.cli.__main__', run_name='__main__')"
    ),
    "run --help": (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['ml-experiment', 'run', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('ml_experiment_nb.cli.__main__', run_name='__main__')"
    ),
}


def python(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("door", DOORS)
def test_nothing_heavy_is_loaded(door):
    code = f"{DOORS[door]}\nimport sys, json; print(); print(json.dumps([*sys.modules]))"
    loaded = {name.partition(".")[0] for name in json.loads(python(code).splitlines()[-1])}
    assert "ml_experiment_nb" in loaded
    assert loaded & HEAVY == set()


def test_an_image_of_a_notebook_is_planned_without_mlflow():
    """A changed cell is an image again in seconds; what a run is made an image of is loaded for a run alone."""
    assert python("import ml_experiment_nb.imaging, sys; print({'mlflow', 'ray'} & {*sys.modules})") == "set()\n"


def test_load_ext_is_quick():
    code = f"""
import time
{SHELL}
began = time.perf_counter()
{LOAD}
print(time.perf_counter() - began)
"""
    assert min(float(python(code)) for _ in range(3)) < 0.5


def test_every_public_name_resolves():
    for name in ml_experiment_nb.__all__:
        assert getattr(ml_experiment_nb, name).__name__ == name
    assert set(ml_experiment_nb.__all__) <= set(dir(ml_experiment_nb))
    assert ml_experiment_nb.__all__ == sorted(ml_experiment_nb.__all__)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'jobb'"):
        ml_experiment_nb.jobb  # noqa: B018
    with pytest.raises(ImportError):
        from ml_experiment_nb import nothing  # noqa: F401


def test_star_import():
    namespace = {}
    exec("from ml_experiment_nb import *", namespace)
    assert set(ml_experiment_nb.__all__) <= set(namespace)
