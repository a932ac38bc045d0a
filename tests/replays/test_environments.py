"""A run's recorded environment, made again by uv."""

import platform
import subprocess
import zipfile
from pathlib import Path

import pytest

from ml_experiment_nb.capture.packages import Package, as_requirements, packages
from ml_experiment_nb.errors import ReplayError
from ml_experiment_nb.replays import environments
from ml_experiment_nb.replays.environments import (
    EnvironmentSpec,
    Local,
    editable_folders,
    is_here,
    made,
    not_installed,
    wanted_by,
)

PYTHON = platform.python_version()


def wheel(folder, version, name="tiny_of_tests"):
    """Write a package's wheel, without a build."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A folder of wheels that is all that uv knows; nothing that this package itself needs is asked for."""
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setattr(environments, "_missing_of_own", lambda wanted: ())
    return tmp_path / "wheels"


def imported(python, module="tiny_of_tests", what="VERSION"):
    code = f"import {module}; print({module}.{what})"
    return subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_recorded_requirements_are_read_as_they_were_written():
    text = as_requirements(
        [
            Package("numpy", "2.0", digest="a" * 32),
            Package("tool", "1", source="git+https://host/tool@abc"),
            Package("odd", "1", source="https://host/odd (1).whl"),
            Package("mine", "0.1", source="file:///home/me/my%20project", editable=True),
            Package("built", "0.2", source="file:///tmp/built.whl"),
            Package("ml-experiment-nb", "0.1.0"),
        ]
    )
    wanted = wanted_by(text, "3.11.2")
    assert wanted.lines == ("numpy==2.0", "odd @ https://host/odd (1).whl", "tool @ git+https://host/tool@abc")
    assert wanted.local == (
        Local("built", Path("/tmp/built.whl"), False, "0.2"), Local("mine", Path("/home/me/my project"), True, "0.1"),
    )  # fmt: skip
    assert editable_folders(text) == ["/home/me/my project"]
    assert not_installed(text, Path("/home/me")) == ["ml-experiment-nb", "mine"]


def test_an_environment_is_told_by_all_that_is_in_it():
    wanted = EnvironmentSpec("3.11.2", ("numpy==2.0",))
    others = [
        EnvironmentSpec("3.11.3", ("numpy==2.0",)),
        EnvironmentSpec("3.11.2", ("numpy==2.1",)),
        EnvironmentSpec("3.11.2"),
    ]
    mine = [Local("mine", Path("/x.whl"), False, "1", digest) for digest in ("a", "b")]
    others += [EnvironmentSpec("3.11.2", ("numpy==2.0",), (one,)) for one in mine]
    assert len({one.digest for one in (wanted, *others)}) == 6


def test_this_environment_is_known_again():
    here = as_requirements(packages())
    assert is_here(wanted_by(here, PYTHON))
    assert not is_here(wanted_by(here, "3.1.4"))
    assert not is_here(wanted_by(here + "one-more==1.0\n", PYTHON))


@pytest.mark.parametrize(
    ("version", "source", "digest", "expected"),
    [
        ("1.0", "local", "a1", True),
        ("1.0", "local", "", True),  # of a record from before there were digests
        ("2.0", "local", "a1", False),
        ("1.0", "local", "b2", False),
        ("1.0", "local, editable", "", False),
    ],
)
def test_a_local_package_is_here_in_its_version_and_its_build(monkeypatch, version, source, digest, expected):
    here = (*packages(), Package("zz-mine", "1.0", "file:///home/me/mine.whl", digest="a1"))
    monkeypatch.setattr(environments, "packages", lambda: here)
    mine = (
        f"# zz-mine=={version} ({source}: file:///elsewhere/mine.whl){f'  # files sha256:{digest}' if digest else ''}"
    )
    assert is_here(wanted_by(as_requirements(packages()) + mine + "\n", PYTHON)) is expected


@pytest.mark.slow
def test_an_environment_has_what_is_recorded_and_this_package_and_is_kept(project, offline):
    wheel(offline, "1.0")
    wheel(offline, "2.0")
    said = []
    wanted = EnvironmentSpec(PYTHON, ("tiny-of-tests==1.0",))
    python = made(wanted, project, inside=project, say=said.append)
    assert imported(python) == "1.0"
    assert imported(python, "ml_experiment_nb", "__version__") == "0.1.0"
    assert made(wanted, project, inside=project, say=said.append) == python
    assert len(said) == 1
    stamp = python.parent.parent / "pyvenv.cfg"
    before = stamp.stat().st_mtime_ns
    made(wanted, project, inside=project, cold=True)
    assert stamp.stat().st_mtime_ns > before


@pytest.mark.slow
def test_a_package_that_is_gone_is_named_and_nothing_half_made_is_left(project, offline):
    wheel(offline, "2.0")
    wanted = EnvironmentSpec(PYTHON, ("tiny-of-tests==1.0",))
    with pytest.raises(ReplayError, match=r"uv could not install what is recorded: .*tiny-of-tests==1\.0"):
        made(wanted, project, inside=project)
    assert [one.name for one in (project / ".ml-experiment" / "environments").iterdir() if one.is_dir()] == []


@pytest.mark.slow
def test_local_packages_come_from_where_they_were_but_those_of_the_project_don_t(project, offline):
    path = wheel(offline, "3.0")
    inside = Local("mine", project / "mine", True)
    python = made(EnvironmentSpec(PYTHON, (), (Local("tiny-of-tests", path, False), inside)), project, inside=project)
    assert imported(python) == "3.0"
    path.unlink()
    with pytest.raises(ReplayError, match=r"tiny-of-tests was installed from .*, which is not there any more"):
        made(EnvironmentSpec(PYTHON, (), (Local("tiny-of-tests", path, False),)), project, inside=project, cold=True)


def test_without_uv_it_says_what_to_do(project, monkeypatch):
    monkeypatch.setattr(environments.shutil, "which", lambda *words, **options: None)
    with pytest.raises(ReplayError, match=r"needs uv, which is not installed: .* --env here"):
        made(EnvironmentSpec(PYTHON), project, inside=project)
