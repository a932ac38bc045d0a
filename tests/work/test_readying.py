import sys

import pytest

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images.engine import Image
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function
from ml_experiment_nb.work.container import imported_from
from ml_experiment_nb.work.readying import _VERSION, _check, _cpus

HERE = list(sys.version_info[:2])
GOOD = {"python": HERE, "site": "/s", "own": False, "missing": [], "version": _VERSION}


def train(x=1):
    return {"y": x}


@pytest.fixture
def plan(project):
    (project / "train.py").touch()

    def make(**keys):
        return make_plan(spec_from_mapping({"run": "train.py", "docker_config": {"image": "a:1"}, **keys}))

    return make


@pytest.mark.parametrize(
    ("changes", "kind", "why"),
    [
        ({"unreached": "refused"}, EngineError, "it run in a virtual machine"),
        ({"python": [3, 9]}, ImageError, "has Python 3.9 and no ml-experiment-nb, and what is lent to it is for"),
        ({"python": [2, 7], "error": "SyntaxError: x"}, ImageError, "has Python 2.7 and no ml-experiment-nb"),
        (
            {"own": True, "version": "0.0.1"},
            ImageError,
            f"has ml-experiment-nb 0.0.1, and this is {_VERSION}: build it",
        ),
        ({"error": "ImportError: no libc"}, ImageError, r"can't perform tasks \(ImportError: no libc\): `pip install"),
        ({"site": None}, ImageError, "without site-packages"),
        ({"missing": ["IPython"]}, ImageError, "has no IPython, which a cell needs"),
        ({"missing": ["nbclient", "papermill"]}, ImageError, "has no nbclient, papermill, which a notebook needs"),
    ],
)
def test_what_an_image_lacks_is_one_sentence(plan, changes, kind, why):
    made = plan()
    _check(GOOD, Image("sha256:1", "a:1"), ".".join(map(str, HERE)), made)
    found = {**GOOD, **changes}
    with pytest.raises(kind, match=why) as caught:
        _check(found, Image("sha256:1", "a:1"), ".".join(map(str, found["python"])), made)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_python_that_has_this_package_runs_scripts_and_no_functions(plan):
    found = {**GOOD, "python": [3, 99], "own": True}
    _check(found, Image("sha256:1", "a:1"), "3.99", plan())
    function = plan(run=[Function(function=train)], kind="experiment")
    with pytest.raises(ImageError, match=r"has Python 3\.99, and a function travels between equal versions only"):
        _check(found, Image("sha256:1", "a:1"), "3.99", function)


def test_a_lone_run_has_all_cpus_and_a_trial_its_slot_s(plan):
    group = {"kind": "group", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 2, "allow_unknown_params": True}
    assert _cpus(plan()) is None
    assert _cpus(plan(resources_per_worker={"cpu": 2})) == 2
    assert _cpus(plan(**group)) == 1
    assert _cpus(plan(**group, resources_per_worker={"cpu": 0})) is None


def test_a_notebook_s_import_path_brings_no_installed_packages_along(make_task, project):
    own = project / "lib"
    own.mkdir()
    task = make_task(path=(str(own), *filter(None, sys.path), str(project / "none")))
    assert str(own) in imported_from(task)
    left = [one for one in imported_from(task) if "site-packages" in one or one.endswith((".zip", "lib-dynload"))]
    assert left == []
