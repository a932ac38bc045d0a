"""What a program needs is found in the interpreter of its kernel."""

import sys

import pytest
from frozen_programs import frozen

from ml_experiment_nb.images.freeze import facts


@pytest.mark.slow
def test_what_is_left_out_is_not_fetched_again_as_it_is_declared(book):
    path = book("1")
    (path.parent / "requirements.txt").write_text("Pexpect>=4\nnumpy<1\npolars\nyarl<0; sys_platform == 'win32'\n")
    found = frozen(path, without=("pexpect",))
    assert found.declared.requirements == ("numpy<1", "polars", "yarl<0; sys_platform == 'win32'")
    assert "Pexpect>=4 is declared, and is left out as was asked" in found.notes
    [note] = [one for one in found.notes if one.startswith("numpy<1")]
    assert note.endswith(", which the image gets")
    assert not any(one.startswith(("polars", "yarl")) for one in found.notes)


@pytest.mark.slow
def test_what_can_not_be_frozen_is_listed(book):
    path = book(
        "!git log",
        "%conda install numba",
        "api_key = 'abcd1234'",
        "__import__(name)",
        "%pip install -i https://me:tok@host/simple x",
    )
    (path.parent / "environment.yml").write_text("dependencies: [python=2.7, numpy=1.1, libspatial, pip: [humanize]]")
    text = "\n".join(frozen(path).notes)
    for said in (
        "the code calls git in a shell",
        "the code installs by conda while it runs (numba)",
        "api_key looks like a credential",
        "a password stands in the code in the address https://host/simple",
        "by names that only running it tells",
        "environment.yml asks conda for libspatial, which no Python package of the kernel is: conda's channels are not",
        "environment.yml asks conda for numpy==1.1.*, and the kernel has 2.",
        "environment.yml asks for Python 2.7",
    ):
        assert said in text


@pytest.mark.slow
def test_the_facts_say_what_goes_in(book):
    path = book("open('a.csv')")
    (path.parent / "a.csv").write_text("1")
    rows = dict(facts(frozen(path, lab=False)))
    assert rows["data"] == "a.csv (1 B)"
    assert rows["lab"] == "JupyterLab is not in it"
    assert rows["python"].startswith(sys.version.split()[0])


@pytest.mark.slow
def test_what_is_spared_of_packages_is_listed(book):
    path = book("import numpy")
    found = frozen(path, lab=False)
    spare = {one.place: one for one in found.spare[0]}
    assert "numpy/linalg/tests" in spare
    assert "numpy/testing" not in spare
    [row] = [text for name, text in facts(found) if name == "without" and text.startswith("tests")]
    assert "numpy" in row or "more" in row
    assert frozen(path, lab=False, whole=True).spare == ((),)
    kept = frozen(book("import numpy.linalg.tests.test_linalg"), lab=False)
    assert "numpy/linalg/tests" not in {one.place for one in kept.spare[0]}


@pytest.mark.slow
def test_what_is_declared_and_imported_but_not_installed_is_fetched(book):
    path = book("import humanize, absent_module")
    (path.parent / "environment.yml").write_text(
        "dependencies: [pip: [humanize==4.9, yarl<0; sys_platform == 'win32']]"
    )
    found = frozen(path)
    assert dict(facts(found))["  fetched"] == "humanize==4.9"
    assert [one for one in found.notes if "which its kernel hasn't" in one] == [
        "the code imports absent_module, which its kernel hasn't: it isn't in the image either"
    ]
