import json
import subprocess
import sys

import pytest
from made_notebooks import write_notebook

from ml_experiment_nb import image_plans, imaging, verifying
from ml_experiment_nb.errors import ImageError, SpecError
from ml_experiment_nb.listing import listed
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.spec_files import read_spec
from ml_experiment_nb.tracking import Store


def test_what_is_no_machine_to_make_images_on_is_said_in_the_plan(project, monkeypatch):
    write_notebook(project / "train.ipynb")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ImageError, match="make it on Linux"):
        image_plans.plan_image("train.ipynb")


@pytest.mark.slow
def test_without_what_reads_libraries_it_is_said_what_to_install(project, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "elftools.common.exceptions", None)
    write_notebook(project / "train.ipynb")
    with pytest.raises(ImageError, match=r"pip install 'ml-experiment-nb\[docker\]'"):
        image_plans.plan_image("train.ipynb")


@pytest.mark.kernel
def test_a_runs_code_packages_and_parameters_are_what_an_image_is_made_of(stored, monkeypatch, tmp_path):
    write_notebook(stored / "train.ipynb", "from ml_experiment_nb import report\nreport({'double': 2 * C})")
    run = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "train.ipynb", "-p", "C", "7"]
    subprocess.run(run, check=True, timeout=300, capture_output=True)
    [record] = listed(stored, wanted(limit=5))
    (stored / "train.ipynb").write_text("{}")  # what it is now is no matter
    plan = image_plans.plan_image(record.run_id[:12], "svm:1", base="base:1")
    [content] = plan.frozen.program.contents.values()
    assert "C = 7" in content.decode()
    assert plan.image.labels["mlexp.run"] == record.run_id
    assert "ml-experiment-nb" in {one.name for one in plan.frozen.kernel.packages}
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")  # no engine is asked before
    with pytest.raises(SpecError, match="the run has no metric 'doubel'"):
        imaging.build(plan, tolerances=["doubel=1%"])


@pytest.mark.slow
def test_a_runs_seed_and_limits_are_in_its_image(stored):
    """What its code doesn't say of how it was done is a spec's, which the image runs."""
    (stored / "draw.py").write_text(
        "import random\nfrom ml_experiment_nb import report\nx = 1\nreport({'drawn': x * random.random()})\n"
    )
    (stored / "draw.yaml").write_text(
        "name: Draw\nrun: [draw.py]\nseed: 7\nautolog: false\nmemory: 1GB\nresources_per_worker: {cpu: 2}\n"
    )
    run = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "draw.yaml", "-p", "x", "2"]
    subprocess.run(run, check=True, timeout=300, capture_output=True)
    [record] = listed(stored, wanted(limit=5))
    plan = image_plans.plan_image(record.run_id[:12], "draw:1", base="base:1")
    program = plan.frozen.program
    assert program.file == "draw.yaml"
    assert plan.dockerfile.rstrip().endswith('"ml_experiment_nb.images.entry", "draw.yaml"]')
    for place, content in program.contents.items():
        (stored / "again" / place).parent.mkdir(parents=True, exist_ok=True)
        (stored / "again" / place).write_bytes(content)
    spec = read_spec(stored / "again/draw.yaml")
    assert (spec.seed, spec.memory, spec.autolog.libraries) == (7, 10**9, ())
    assert not any(one.startswith(("seed", "autolog")) for one in program.notes)
    limits = verifying.limits_of(Store(stored), record, is_for_gpus=False)
    assert limits == verifying.Limits(memory=10**9 + 2**30, cpus=2.0)
    run = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "--json", "again/draw.yaml"]
    done = subprocess.run(run, check=True, timeout=300, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1])["metrics"] == record.metrics
