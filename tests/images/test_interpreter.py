import platform
import sys
from pathlib import Path

import pytest

from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.interpreter import Interpreter, interpreter


@pytest.fixture
def odd(tmp_path):
    """Make an interpreter that does something else."""

    def make(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_what_an_interpreter_says_of_itself(tmp_path):
    found = interpreter(sys.executable, tmp_path)
    assert (found.version, found.implementation) == (platform.python_version(), sys.implementation.name)
    assert Path(found.prefix) == Path(sys.prefix)
    assert str(tmp_path) not in found.path
    assert set(found.site) <= set(found.path)
    assert found.minor == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_what_its_wheels_have_in_common():
    found = Interpreter("python", "3.11.7", "/usr", "linux-x86_64", (), ())
    assert (found.minor, found.tag) == ("3.11", "cp311-linux_x86_64")


def test_where_modules_are_without_importing_them(tmp_path):
    (tmp_path / "own.py").write_text("raise RuntimeError('never imported')\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("raise RuntimeError('never imported')\n")
    python = interpreter(sys.executable, tmp_path)
    found = python.origins(["own", "package", "json", "sys", "pytest", "not_there"], [tmp_path], tmp_path)
    assert found["own"] == str(tmp_path / "own.py")
    assert found["package"] == str(tmp_path / "package")
    assert (found["json"], found["sys"], found["not_there"]) == ("stdlib", "stdlib", None)
    assert found["pytest"].endswith("pytest")
    assert python.origins([], [tmp_path], tmp_path) == {}


def test_what_a_sitecustomize_prints_is_no_answer(tmp_path, odd):
    path = odd(f'echo hello\nexec {sys.executable} "$@"')
    assert interpreter(path, tmp_path).version == platform.python_version()


def test_its_environment_is_the_kernel_s(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/beside.py").touch()
    python = interpreter(sys.executable, tmp_path, {"PYTHONPATH": str(tmp_path / "there")})
    assert python.origins(["beside"], [], tmp_path) == {"beside": str(tmp_path / "there/beside.py")}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'error: no such thing' >&2; exit 1", "error: no such thing"),
        ("exit 1", "it says nothing"),
        ("echo no answer", "substring not found"),
        ("echo '{'", "Expecting property name"),
    ],
)
def test_one_that_does_not_answer_is_named(tmp_path, odd, script, said):
    with pytest.raises(ImageError, match=rf"interpreter .*python can't be asked what it has: {said}"):
        interpreter(odd(script), tmp_path)


def test_one_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"/absent/python can't be asked what it has: .*No such file"):
        interpreter("/absent/python", tmp_path)
