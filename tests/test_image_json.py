"""What is planned of an image, and what was made, as JSON: in the form that pages are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_notebooks import write_notebook

from ml_experiment_nb import image_json, image_plans, imaging
from ml_experiment_nb.cli import commands
from ml_experiment_nb.cli.submitted import SubmissionWatch
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.imaging import Exported
from ml_experiment_nb.submissions import Progress
from ml_experiment_nb.verdicts import Verdict, VerdictAnswer

WIRE = {one["name"]: one["answer"] for one in json.loads(Path(__file__).with_name("wire.json").read_text())["answers"]}


@pytest.mark.slow
def test_a_plan_is_printed_as_pages_are_told_it(project, monkeypatch, tmp_path, image_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(image_cache))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    (project / "a.csv").write_text("12345")
    write_notebook(project / "train.ipynb", "import helper\nopen('a.csv'), open('/etc/hostname')\n!git log")
    (project / "helper.py").write_text("ONE = 1\n")
    words = ["image", "train.ipynb", "--plan", "--json", "--base", "base:1", "--only-imports"]
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 0, done.output
    found, example = json.loads(done.stdout), WIRE["plan image"]
    assert found.keys() == example.keys()
    for name in ("packages", "modules", "data", "engine"):
        first = [one[name][0] if isinstance(one[name], list) else one[name] for one in (found, example)]
        assert first[0].keys() == first[1].keys()
    assert (found["name"], found["base"], found["run"], found["lab"]) == ("train:latest", "base:1", None, False)
    assert found["modules"] == [{"path": "helper.py", "size": 8}]
    outside, inside = found["data"]
    assert inside == {"path": "a.csv", "size": 5, "why_out": None}
    assert (outside["path"], "mount it" in outside["why_out"]) == ("/etc/hostname", True)
    ours = next(one for one in found["packages"] if one["name"] == "ml-experiment-nb")
    assert (ours["kind"], ours["size"] > 100_000) == ("local", True)
    assert all(one["size"] for one in found["packages"] if one["kind"] == "index")
    assert found["engine"]["problem"].startswith("no Docker engine answers at unix://")
    assert found["uses_network"] is False
    assert "--context-only" not in found["engine"]["problem"]
    assert "jupyterlab" in found["dropped"]
    assert any("calls git in a shell" in note for note in found["notes"])


def test_an_image_that_was_made_is_told_as_pages_are(tmp_path):
    verdict = Verdict(VerdictAnswer.IDENTICAL, compared={"metric": 2})
    layers = ((119000000, "base"), (283000000, "RUN uv pip install"))
    made = Exported(
        "team/svm:1", "sha256:0f3c9a7be1d25f60", 402000000, layers, (), ("API_TOKEN",), "sha256:77aa10b2", verdict
    )
    assert image_json.made(made) == WIRE["image"]["made"]
    assert image_json.made(Exported("a:1", "sha256:0", 1, ()))["verdict"] is None
    assert "docker run --rm -e API_TOKEN team/svm:1 -p NAME VALUE" in str(made)


def test_a_base_whose_name_is_none_is_refused_before_anything_is_looked_at(project):
    write_notebook(project / "train.ipynb", "1")
    with pytest.raises(SpecError, match="'no name' is no name of an image"):
        image_plans.plan_image("train.ipynb", base="no name")


def test_what_builds_a_folder_can_be_pasted_into_a_shell():
    assert imaging.build_command("svm:1", "/home/ada/my project") == "docker build -t svm:1 '/home/ada/my project'"


@pytest.mark.parametrize(
    ("text", "progress"),
    [
        ("fetched 12 of 55 packages", Progress(12, 55, "fetched 12 of 55 packages")),
        ("[stage-0 3/9] RUN x", Progress(3, 9, "[stage-0 3/9] RUN x")),
        ("writing the build context", Progress(0, None, "writing the build context")),
    ],
)
def test_of_a_build_that_nobody_waits_for_it_is_told_how_far_it_is(tmp_path, text, progress):
    told = SubmissionWatch(tmp_path)
    told.step(text)
    found = json.loads((tmp_path / "progress.json").read_text())
    assert Progress(**found) == progress
    told.made({"name": "svm:1"}, "the run repeated in it: differs")
    assert json.loads((tmp_path / "result.json").read_text()) == {"name": "svm:1"}
    assert told.failure == "the run repeated in it: differs"
