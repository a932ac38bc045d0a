import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_wheels import make_wheel

from ml_experiment_nb.capture.packages import Package, as_requirements, from_requirements, packages, wheel_digest


def install(
    site: Path,
    folder: str,
    *,
    metadata: str | None = "",
    url: dict | str | None = None,
    installer: str = "pip",
):
    info = site / folder
    info.mkdir(parents=True)
    (info / "INSTALLER").write_text(f"{installer}\n")
    if metadata is not None:
        (info / "METADATA").write_text(metadata)
    if url is not None:
        (info / "direct_url.json").write_text(url if isinstance(url, str) else json.dumps(url))


def alone(monkeypatch, *folders: Path):
    monkeypatch.setattr(sys, "path", [str(folder) for folder in folders])


def test_this_interpreters_packages_are_those_that_importlib_sees():
    expected = {}
    for found in importlib.metadata.distributions():
        if found.name:
            expected.setdefault(found.name.lower().replace("_", "-").replace(".", "-"), found.version)
    notes = []
    assert {found.name: found.version for found in packages(notes=notes)} == expected
    assert notes == []


def test_it_is_quick():
    start = time.perf_counter()
    packages()
    packages()
    assert time.perf_counter() - start < 1  # about 20 ms for 220 packages; a busy machine is forgiven


@pytest.mark.parametrize(
    ("folder", "url", "expected"),
    [
        ("Scikit_Learn-1.5.0.dist-info", None, Package("scikit-learn", "1.5.0")),
        ("torch-2.13.0+cpu.dist-info", None, Package("torch", "2.13.0+cpu")),
        (
            "x-1.dist-info",
            {
                "url": "https://u:p@host/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
                "subdirectory": "py",
            },
            Package("x", "1", "git+https://host/x.git@abc#subdirectory=py"),
        ),
        (
            "x-1.dist-info",
            {"url": "ssh://git@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            Package("x", "1", "git+ssh://git@host/x.git@abc"),
        ),
        (
            "x-1.dist-info",
            {"url": "https://host/x-1.whl", "archive_info": {"hashes": {"sha256": "00"}}},
            Package("x", "1", "https://host/x-1.whl#sha256=00"),
        ),
        (
            "x-1.dist-info",
            {"url": "https://host/x-1.whl", "archive_info": {"hash": "sha256=00"}},
            Package("x", "1", "https://host/x-1.whl#sha256=00"),
        ),
        (
            "x-1.dist-info",
            {"url": "https://host/x-1.whl", "archive_info": {}},
            Package("x", "1", "https://host/x-1.whl"),
        ),
        (
            "x-1.dist-info",
            {"url": "file:///src/x", "dir_info": {"editable": True}},
            Package("x", "1", "file:///src/x", editable=True),
        ),
        ("x-1.dist-info", {"url": "file:///src/x", "dir_info": {}}, Package("x", "1", "file:///src/x")),
    ],
)
def test_one_package(tmp_path, monkeypatch, folder, url, expected):
    install(tmp_path, folder, url=url)
    alone(monkeypatch, tmp_path)
    assert packages() == (expected,)


def test_what_conda_built_elsewhere_is_not_local(tmp_path, monkeypatch):
    install(tmp_path, "x-1.dist-info", url={"url": "file:///home/conda/x", "dir_info": {}}, installer="conda")
    alone(monkeypatch, tmp_path)
    assert packages() == (Package("x", "1"),)


def test_the_first_on_the_path_wins(tmp_path, monkeypatch):
    install(tmp_path / "a", "my.pkg-2.dist-info")
    install(tmp_path / "b", "My_Pkg-1.dist-info")
    alone(monkeypatch, tmp_path / "missing", tmp_path / "a", tmp_path / "b")
    assert packages() == (Package("my-pkg", "2"),)


def test_a_folder_name_without_a_plain_version_is_looked_into(tmp_path, monkeypatch):
    install(tmp_path, "odd-1_0.dist-info", metadata="Metadata-Version: 2.1\nName: Odd\nVersion: 1-0\n\nName: no\n")
    alone(monkeypatch, tmp_path)
    assert packages() == (Package("odd", "1-0"),)


def test_setuptools_own_records(tmp_path, monkeypatch):
    (tmp_path / "old-1.0-py3.11.egg-info").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1.0\n")
    source = tmp_path / "dev.egg-info"
    source.mkdir()
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: dev\nVersion: 0.1\n")
    (source / "SOURCES.txt").touch()
    alone(monkeypatch, tmp_path)
    dev = Package("dev", "0.1", tmp_path.resolve().as_uri(), editable=True)
    assert packages() == (dev, Package("old", "1.0"))


def test_remains_are_left_out_and_damage_is_noted(tmp_path, monkeypatch):
    install(tmp_path, "gone-1.dist-info", metadata=None)
    install(tmp_path, "~ip-1.dist-info")
    install(tmp_path, "broken-1.dist-info", url="{not json")
    install(tmp_path, "nameless.dist-info", metadata="Metadata-Version: 2.1\n")
    install(tmp_path, "good-1.dist-info")
    alone(monkeypatch, tmp_path)
    for _ in range(2):  # the second answer is remembered, and so are its notes
        notes = []
        assert packages(notes=notes) == (Package("good", "1"),)
        assert len(notes) == 2
        assert "broken-1.dist-info" in notes[0]
        assert "nameless.dist-info" in notes[1]


def test_an_installation_meanwhile_is_seen(tmp_path, monkeypatch):
    install(tmp_path, "a-1.dist-info")
    alone(monkeypatch, tmp_path)
    assert packages() is packages()
    install(tmp_path, "b-1.dist-info")
    os.utime(tmp_path, ns=(1, time.time_ns() + 1))  # a coarse clock may not have moved
    assert packages() == (Package("a", "1"), Package("b", "1"))


def test_requirements_text():
    found = (
        Package("a", "1.0"),
        Package("b", "2", "git+https://host/b.git@abc"),
        Package("c", "3", "file:///src/c", editable=True),
        Package("d", "4", "file:///src/d.whl"),
    )
    assert as_requirements(found) == (
        "a==1.0\nb @ git+https://host/b.git@abc\n"
        "# c==3 (local, editable: file:///src/c)\n# d==4 (local: file:///src/d.whl)\n"
    )
    assert as_requirements(()) == ""


RECORD = """\
../../../bin/x,sha256={bin},12
x/__init__.py,sha256={code},3
"x/odd, name.py",sha256=cc,3
x/__pycache__/__init__.cpython-311.pyc,,
x-1.dist-info/INSTALLER,sha256={installer},4
x-1.dist-info/METADATA,sha256=dd,70
x-1.dist-info/RECORD,,
"""


def digest_of(monkeypatch, site, record, **options):
    install(site, "x-1.dist-info", **options)
    (site / "x-1.dist-info/RECORD").write_text(record)
    alone(monkeypatch, site)
    [found] = packages()
    return found.digest


def test_a_digest_is_of_what_was_in_the_wheel(tmp_path, monkeypatch):
    by_pip = RECORD.format(bin="aa", code="bb", installer="pip")
    by_uv = "".join(sorted(RECORD.format(bin="other", code="bb", installer="uv").splitlines(keepends=True)))
    by_uv = by_uv.replace("x/__pycache__/__init__.cpython-311.pyc,,\n", "")
    changed = RECORD.format(bin="aa", code="b2", installer="pip")
    digests = [digest_of(monkeypatch, tmp_path / str(k), one) for k, one in enumerate((by_pip, by_uv, changed))]
    assert digests[0] == digests[1] != digests[2]
    assert all(len(one) == 32 for one in digests)


def test_an_editable_package_and_an_empty_record_have_no_digest(tmp_path, monkeypatch):
    url = {"url": "file:///src/x", "dir_info": {"editable": True}}
    assert digest_of(monkeypatch, tmp_path / "a", "__editable__.pth,sha256=aa,3\n", url=url) == ""
    assert digest_of(monkeypatch, tmp_path / "b", "") == ""
    assert digest_of(monkeypatch, tmp_path / "c", "x.py,,\n") == ""


def test_a_package_installed_anew_has_a_new_digest(tmp_path, monkeypatch):
    first = digest_of(monkeypatch, tmp_path, "x.py,sha256=aa,3\n")
    info = tmp_path / "x-1.dist-info"
    (info / "RECORD").write_text("x.py,sha256=bb,3\n")
    for folder in (info, tmp_path):  # an installer makes both anew
        os.utime(folder, ns=(1, time.time_ns() + 1))
    [found] = packages()
    assert found.digest not in ("", first)


def test_digests_stand_behind_the_requirements():
    found = (Package("a", "1.0", digest="ab" * 16), Package("b", "2", "file:///src/b", digest="cd" * 16))
    assert as_requirements(found) == (
        f"a==1.0  # files sha256:{'ab' * 16}\n# b==2 (local: file:///src/b)  # files sha256:{'cd' * 16}\n"
    )


def test_most_packages_here_have_a_digest():
    digests = {one.name: one.digest for one in packages()}
    assert len(digests["numpy"]) == 32
    assert len({one for one in digests.values() if one}) > 50


def test_pip_reads_the_requirements():
    parse = pytest.importorskip("packaging.requirements").Requirement
    lines = as_requirements(packages()).splitlines()
    names = [parse(line.partition(" #")[0]).name for line in lines if not line.startswith("#")]  # as pip does
    assert "pytest" in names


def test_recorded_requirements_are_read_back():
    from ml_experiment_nb.capture.packages import as_requirements

    packages = (
        Package("a", "1.0", digest="0" * 32),
        Package("b", "2", "file:///src/b", editable=True),
        Package("c", "3", "file:///c.whl"),
        Package("d", "", "git+https://host/d@abc"),
    )
    assert from_requirements(as_requirements(packages) + "# a comment\n\n") == packages


def test_a_wheels_digest_is_that_of_what_it_installs(tmp_path):
    wheel = make_wheel(tmp_path, "tinypack", "1.0")
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "site")], check=True, capture_output=True
    )
    from ml_experiment_nb.capture.packages import packages_on

    [package] = packages_on([str(tmp_path / "site")])
    assert package.digest == wheel_digest(wheel) != ""
    (tmp_path / "no.whl").write_text("")
    with pytest.raises(OSError, match="is no wheel"):
        wheel_digest(tmp_path / "no.whl")
