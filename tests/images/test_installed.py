import os
from pathlib import Path

import pytest

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.images import installed
from ml_experiment_nb.images.installed import Known, closure, having, known
from ml_experiment_nb.images.interpreter import Interpreter


@pytest.fixture
def python(tmp_path, monkeypatch):
    """An interpreter with a folder of packages, and what installs one there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    site = tmp_path / "site-packages"
    site.mkdir()
    installed.known.cache_clear()
    yield Interpreter("/usr/bin/python", "3.11.7", "/usr", "linux-x86_64", (str(site),), (str(site),))
    installed.known.cache_clear()


@pytest.fixture
def install(python):
    def make(name, *files, requires=(), top_level="", record=True):
        info = Path(python.path[0], f"{name}-1.dist-info")
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *(f"Requires-Dist: {one}" for one in requires)]
        (info / "METADATA").write_text("\n".join(lines))
        if record:
            rows = [*files, f"{info.name}/METADATA", "../../bin/tool", f"{name}.pth"]
            (info / "RECORD").write_text("\n".join(f"{one},sha256=x,1" for one in rows))
        if top_level:
            (info / "top_level.txt").write_text(top_level)
        return Package(name.lower(), "1")

    return make


def test_what_a_package_is_known_by(python, install):
    install("A", "a_module/__init__.py", "a_module/b,c.py", "single.py", "fast.cpython-311-x86_64.so", "data.txt",
            requires=["b>=1"])  # fmt: skip
    assert known(python.path) == {
        "a": Known(
            ("b>=1",),
            ("a_module", "data.txt", "fast.cpython-311-x86_64.so", "single.py"),
            frozenset({"a_module", "single", "fast"}),
        )
    }


def test_a_package_of_an_old_installer_is_known_by_what_it_says(python, install):
    install("old", top_level="old_one\nold_two\n", record=False)
    assert having(python, ["old_two", "elsewhere"]) == {"old"}
    assert having(python, ["elsewhere"]) == set()


def test_what_is_installed_later_is_seen(python, install, tmp_path):
    install("a", "a.py")
    assert known(python.path).keys() == {"a"}
    install("b", "b.py")
    os.utime(python.path[0], ns=(1, 1))  # however coarse the clock of the file system is
    installed.known.cache_clear()
    assert known(python.path).keys() == {"a", "b"}


def test_what_some_packages_need(python, install):
    everything = [
        install("app", requires=["Core[fast]>=1", "gone", "old; python_version < '3'", "not a requirement!"]),
        install("core", requires=["base", "quick; extra == 'fast'", "slow; extra == 'slow'"]),
        install("base", requires=["app"]),  # in a circle
        install("quick"),
        install("slow"),
        install("old"),
    ]
    assert [one.name for one in closure(python, everything, ["app"])] == ["app", "core", "base", "quick"]
    assert [one.name for one in closure(python, everything, ["core"])] == ["app", "core", "base", "quick"]
    assert [one.name for one in closure(python, everything, ["quick", "unknown"])] == ["quick"]


def test_a_requirement_may_be_passed_over_for_who_has_it(python, install):
    everything = [install("a", requires=["ray"]), install("b", requires=["ray"]), install("ray")]
    unneeded = [("a", "ray")]
    assert [one.name for one in closure(python, everything, ["a"], unneeded)] == ["a"]
    assert [one.name for one in closure(python, everything, ["a", "b"], unneeded)] == ["a", "b", "ray"]
