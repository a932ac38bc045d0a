from types import SimpleNamespace

import pytest

from ml_experiment_nb.images import libraries
from ml_experiment_nb.images.libraries import debian_packages, needed

LDCONFIG = """2 libs found in cache `/etc/ld.so.cache'
\tlibgomp.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libgomp.so.1
\tlibgomp.so.1 (libc6) => /lib/i386-linux-gnu/libgomp.so.1
\tlibz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1
\tlibown.so.1 (libc6,x86-64) => /opt/libown.so.1
"""
SEARCH = """libgomp1:amd64: /usr/lib/x86_64-linux-gnu/libgomp.so.1
zlib1g:amd64, zlib1g:i386: /lib/x86_64-linux-gnu/libz.so.1
diversion by dash from: /bin/sh
"""


@pytest.fixture
def debian(monkeypatch):
    """A Debian machine, by what its commands say."""
    said = {"ldconfig": LDCONFIG, "--search": SEARCH, "--show": "libgomp1 12.2.0-14\n"}
    asked = []

    def run(command, **options):
        asked.append(command)
        if (text := said.get(command[0], said.get(command[1]))) is None:
            raise FileNotFoundError(command[0])
        return SimpleNamespace(stdout=text)

    monkeypatch.setattr(libraries.subprocess, "run", run)
    said["asked"] = asked
    return said


def test_the_packages_that_have_libraries_but_those_of_every_base(debian):
    found = debian_packages({"libgomp.so.1": "/site/sklearn/x.so", "libz.so.1": "/site/x.so"})
    assert found == ({"libgomp1": "12.2.0-14"}, [])


def test_a_library_that_no_package_has_is_noted_unless_it_is_the_driver_s_or_the_c_library_s(debian):
    names = ("libown.so.1", "libgone.so.2", "libcuda.so.1", "libnvidia-ml.so.1", "libc.so.6", "ld-linux-x86-64.so.2")
    packages, notes = debian_packages(dict.fromkeys(names, "/site/torch/x.so"))
    assert packages == {}
    assert [one.split()[0] for one in notes] == ["libown.so.1", "libgone.so.2"]
    assert notes[0] == "libown.so.1 is needed by x.so, and no Debian package here has it: name one in apt.txt"


def test_a_package_without_a_version_here_is_told_all_the_same(debian):
    debian["--show"] = ""
    assert debian_packages({"libgomp.so.1": "x"})[0] == {"libgomp1": ""}


def test_a_machine_that_is_no_debian_notes_each(debian):
    del debian["--search"], debian["--show"]
    packages, notes = debian_packages({"libgomp.so.1": "x"})
    assert (packages, len(notes)) == ({}, 1)


def test_nothing_is_asked_where_nothing_is_needed(debian):
    assert debian_packages({}) == ({}, [])
    assert [one[0] for one in debian["asked"]] == ["ldconfig"]


def test_what_is_asked_for_and_none_of_the_files_is(tmp_path, monkeypatch):
    asks = {"a.so": ["libb.so.1", "libgomp.so.1"], "libb.so.1": ["libgomp.so.1", "libc.so.6"], "c.txt": ["libx.so"]}
    for name in asks:
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(libraries, "_asked_by", lambda path: asks[path.name])
    found = needed([tmp_path, tmp_path])
    assert found == {"libc.so.6": str(tmp_path / "libb.so.1"), "libgomp.so.1": str(tmp_path / "a.so")}


def test_a_file_that_is_no_library_asks_for_nothing(tmp_path):
    pytest.importorskip("elftools")
    (tmp_path / "odd.so").write_text("INPUT(-lgomp)")
    (tmp_path / "empty.so").touch()
    (tmp_path / "cut.so").write_bytes(b"\x7fELF\x02\x01\x01")
    assert needed([tmp_path, tmp_path / "absent"]) == {}
