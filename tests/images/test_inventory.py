"""What goes into an image, in rows: where packages come from, and what they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.images import inventory
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.freeze import Frozen
from ml_experiment_nb.images.interpreter import Interpreter
from ml_experiment_nb.images.inventory import Row, kind_of, package_rows
from ml_experiment_nb.images.program import Kernel, Program


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("", "index"),
        ("file:///home/ada/mine", "local"),
        ("git+https://host/tool@0123", "vcs"),
        ("hg+ssh://host/tool@0123", "vcs"),
        ("https://host/a+b.whl#sha256=00", "url"),
    ],
)
def test_a_package_is_of_an_index_a_folder_a_vcs_or_an_address(source, kind):
    assert kind_of(Package("a", "1", source)) == kind


def installed(site: Path, name, version, record):
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if record is not None:
        (folder / "RECORD").write_text(record)


def frozen(site, packages, debian=()):
    python = Interpreter("python", "3.11.7", "/", "linux-x86_64", (str(site),), (str(site),))
    program = Program("a", Path("/"), Path("/"), "a.ipynb", {}, (), (), Kernel("python"))
    return Frozen(program, (Environment("env", python, tuple(packages)),), debian=debian)


def test_a_package_takes_what_its_record_says_and_an_editable_one_what_its_source_has(tmp_path):
    installed(
        tmp_path / "site", "plain", "1.0", 'plain/__init__.py,sha256=x,100\n"plain/a,b.so",sha256=y,2000\nz.pyc,,\n'
    )
    installed(tmp_path / "site", "other", "2.0", "other.py,sha256=x,7\n")
    installed(tmp_path / "site", "bare", "1.0", None)
    installed(tmp_path / "site", "mine", "0.3", "mine.pth,sha256=x,5\n")
    (tmp_path / "mine/__pycache__").mkdir(parents=True)
    (tmp_path / "mine/a.py").write_text("1234")
    (tmp_path / "mine/__pycache__/a.pyc").write_text("12345678")
    (tmp_path / "mine/.env").write_text("12345678")
    packages = [
        Package("plain", "1.0"),
        Package("other", "1.9"),  # a run had another one than is installed now
        Package("bare", "1.0"),
        Package("gone", "1.0"),
        Package("mine", "0.3", (tmp_path / "mine").as_uri(), editable=True),
    ]
    assert package_rows(frozen(tmp_path / "site", packages)) == [
        Row("plain", "1.0", "index", "", 2100, "env"),
        Row("other", "1.9", "index", "", None, "env"),
        Row("bare", "1.0", "index", "", None, "env"),
        Row("gone", "1.0", "index", "", None, "env"),
        Row("mine", "0.3", "local", str(tmp_path / "mine"), 4, "env"),
    ]


def test_a_debian_package_takes_what_dpkg_says_where_it_is_there(tmp_path, monkeypatch):
    dpkg = tmp_path / "dpkg-query"
    dpkg.write_text("#!/bin/sh\necho 'libgomp1 294'\necho 'odd'\necho 'dpkg-query: no packages found' >&2\nexit 1\n")
    dpkg.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    of = (("graphviz", ""), ("libgomp1", "12.2.0-14"))
    rows = [Row("graphviz", "", "debian"), Row("libgomp1", "12.2.0-14", "debian", "", 294 * 1024)]
    assert package_rows(frozen(tmp_path, [], of)) == rows
    monkeypatch.setenv("PATH", "/nowhere")
    assert [one.size for one in package_rows(frozen(tmp_path, [], of))] == [None, None]
    assert inventory._debian_sizes([]) == {}
