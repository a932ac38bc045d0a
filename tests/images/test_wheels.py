"""Wheels come from the user's index or from a source here, are checked, and are kept."""

import hashlib
import sys

import pytest
from made_wheels import BACKEND, make_wheel

from ml_experiment_nb.capture.packages import Package, wheel_digest
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.interpreter import interpreter
from ml_experiment_nb.images.pip import Index
from ml_experiment_nb.images.wheels import _index_of, _note_indexes, gather, requirements_of


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of this test's own, of one package; the user's settings for another one are not asked."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "UV_INDEX", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    simple = tmp_path / "simple"
    wheel = make_wheel(simple / "tinypack", "tinypack", "1.0")
    (simple / "tinypack/index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return Index(simple.as_uri())


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return interpreter(sys.executable, tmp_path_factory.mktemp("cwd"))


@pytest.mark.slow
def test_a_package_is_fetched_once_and_checked_against_what_is_installed(index, python, tmp_path):
    said = []
    good = Package("tinypack", "1.0", digest=wheel_digest(tmp_path / "simple/tinypack/tinypack-1.0-py3-none-any.whl"))
    first = gather(Environment("env", python, (good,)), index=index, tell=said.append)
    [wheel] = first.wheels
    assert wheel.sha256 == hashlib.sha256(wheel.path.read_bytes()).hexdigest()
    assert requirements_of([wheel]) == f"tinypack==1.0 --hash=sha256:{wheel.sha256}\n"
    assert first.notes == ()
    assert said[0] == "fetching 1 of 1 packages"
    nowhere = Index((tmp_path / "nowhere").as_uri())
    other = Package("tinypack", "1.0", digest="0" * 32)
    again = gather(Environment("env", python, (other,)), index=nowhere, tell=said.append)
    assert again.wheels[0].path == wheel.path
    assert "its files here are not those of the index's wheel" in again.notes[0]


@pytest.mark.slow
def test_a_package_that_is_gone_is_one_sentence_and_nothing_is_left(index, python, tmp_path):
    with pytest.raises(ImageError) as error:
        gather(Environment("env", python, (Package("tinypack", "2.0"),)), index=index)
    assert str(error.value).startswith("tinypack==2.0 is not to be had from file://")
    assert "--without tinypack" in str(error.value)
    assert [one for one in (tmp_path / "cache").rglob("*") if one.is_file()] == []


@pytest.mark.slow
def test_what_is_asked_for_besides_is_fetched_once(index, python, tmp_path):
    said = []
    environment = Environment("env", python, ())
    first = gather(environment, ["tinypack>=1"], index=index, tell=said.append).wheels
    assert [(one.package.name, one.package.version) for one in first] == [("tinypack", "1.0")]
    nowhere = Index((tmp_path / "nowhere").as_uri())
    assert gather(environment, ["tinypack>=1"], index=nowhere, tell=said.append).wheels == first
    assert said == ["fetching tinypack>=1"]
    first[0].path.unlink()
    assert gather(environment, ["tinypack>=1"], index=index, tell=said.append).wheels == first
    assert said == ["fetching tinypack>=1"] * 2


def test_a_local_package_whose_folder_is_gone_is_said(index, python, tmp_path):
    gone = Package("mine", "1", (tmp_path / "absent").as_uri(), editable=True)
    with pytest.raises(ImageError, match="which isn't there any more: install it again, or leave it out with"):
        gather(Environment("env", python, (gone,)), index=index)


@pytest.mark.slow
def test_a_local_package_is_built_from_a_copy_of_its_source(index, python, tmp_path):
    source = tmp_path / "mine"
    source.mkdir()
    (source / "backend.py").write_text(BACKEND)
    (source / "mine.py").write_text("x = 1\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "mine"\nversion = "1.0"\n'
    )
    (source / "server.key").write_text("")
    before = sorted(source.iterdir())
    package = Package("mine", "1.0", source.as_uri(), editable=True)
    said = []
    first = gather(Environment("env", python, (package,)), index=index, tell=said.append)
    assert first.wheels[0].is_local
    assert first.notes == ("left out of mine: server.key (it holds secrets by its name)",)
    assert sorted(source.iterdir()) == before  # a build writes into the folder that it is done in
    gather(Environment("env", python, (package,)), index=index, tell=said.append)
    assert said == [f"building mine 1.0 from {source}"]  # once
    (source / "mine.py").write_text("x = 22\n")
    changed = gather(Environment("env", python, (package,)), index=index)
    assert changed.wheels[0].sha256 != first.wheels[0].sha256


def test_a_wheel_is_of_the_index_of_its_source(tmp_path):
    wheel = make_wheel(tmp_path, "my_pack", "1.0")
    _note_indexes(
        tmp_path, [wheel], {"My-Pack-1.0.tar.gz": "https://host/simple", "x-1-py3-none-any.whl": "https://x/"}
    )
    assert _index_of(wheel) == "https://host/simple"
    assert _index_of(make_wheel(tmp_path, "other", "1.0")) == ""
