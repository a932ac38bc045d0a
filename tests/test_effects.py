import types

import pytest

from ml_experiment_nb.effects import Executed, names_by_star, read_effects


def effects(source, whole=False, failed=False):
    return read_effects(Executed(3, source, failed), whole)


def test_what_is_bound_in_any_case_and_what_perhaps():
    found = effects(
        "import os.path as p, sys\nif sys.argv:\n    a = 1\nwith open(p.curdir) as f:\n    b = f\nc: int\nd += 1"
    )
    assert found.writes >= {"p", "sys", "a", "b", "d"}
    assert found.certain == {"p", "sys", "b", "d"}
    assert found.place == "In [3]"


def test_what_a_function_reads_is_read_late():
    found = effects("def f():\n    return late\n\nx = f() + soon")
    assert found.reads == {"late", "soon"}
    assert found.late == {"late"}


def test_what_is_stored_called_and_given():
    found = effects("model.fit(X)\nrows[0].name = y\nz = clean(data, like=other)\nframe.head()\nlen(frame)")
    assert found.stores == {"rows"}
    assert found.effects == {"model", "X"}
    assert found.given["clean"] == {"data", "other"}
    assert "frame" not in found.effects | found.calls
    assert found.concerns() >= {"model", "X", "rows", "z", "data", "other"}


@pytest.mark.parametrize(
    ("call", "changes"),
    [
        ("frame.head()", False), ("frame.plot.scatter('a', 'b')", False), ("frame.drop('a')", True),
        ("frame.reshape(2, out=x)", True), ("frame.fillna(0, inplace=True)", True), ("y = frame.pop()", True),
        ("y = frame.sum()", False), ("print(frame)", False), ("display(frame)", False),
    ],
)  # fmt: skip
def test_a_method_that_only_looks_changes_nothing(call, changes):
    assert effects(call).may_change("frame", {"frame": [1], "x": [2]}) is changes


def test_what_a_name_stands_for_says_whether_it_may_be_changed():
    def own(rows):
        """It is the user's own function: it may change what it is given."""

    own.__module__ = "__main__"
    found = effects("y = own(rows)\nz = sorted(rows)\nnumber.bit_length()\nos.chdir('x')\nrows.later = 1")
    namespace = {"own": own, "rows": [1], "number": 1, "os": types.ModuleType("os"), "nothing": None}
    assert found.may_change("rows", namespace)
    assert not found.may_change("number", namespace)  # no number changes
    assert found.may_change("os", namespace)
    assert not found.may_change("nothing", namespace)
    library = effects("z = sorted(rows)")
    assert not library.may_change("rows", {"rows": [1], "sorted": sorted})
    assert effects("y = own(rows)").may_change("rows", namespace)


def test_a_cell_of_ours_in_full_and_as_the_notebook_has_it():
    cell = "%%experiment x --data {folder} --into kept\nC = 1\nmodel = fit(C, X)"
    assert effects(cell).reads == frozenset()  # it reads nothing that was made for it alone
    assert effects(cell).writes >= {"kept", "C", "model"}
    whole = effects(cell, whole=True)
    assert whole.reads >= {"fit", "X", "folder"}
    assert whole.certain >= {"kept", "C", "model"}
    assert whole.is_ours


@pytest.mark.parametrize("whole", [False, True])
def test_a_group_leaves_its_records_alone_and_a_plan_nothing(whole):
    group = effects("%%group x --into found\nC = choice([1, 2])\nmodel = fit(C)", whole)
    assert (group.writes, group.certain) == ({"found"}, {"found"})
    assert effects("%%group x --plan --into found\nC = choice([1, 2])", whole).writes == frozenset()


def test_a_cell_of_ours_that_failed_or_is_no_python_leaves_what_its_line_binds():
    assert effects("%%experiment x --into kept\nmodel = 1", failed=True).writes == {"kept"}
    assert effects("%%experiment x --into kept\nmodel = = 1").writes == {"kept"}
    assert effects("model = = 1").writes == frozenset()  # it can't have run


def test_captured_output_and_files_that_are_run_bind_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load.py").write_text("X = 1\n")
    (tmp_path / "more.ipynb").write_text('{"cells": [{"cell_type": "code", "source": ["Y = ", "2"]}]}')
    (tmp_path / "odd.ipynb").write_text("no JSON")
    assert effects("%%capture said\nprint(1)").certain >= {"said"}
    assert effects("%run -i load.py").writes >= {"X"}
    assert effects("%run more.ipynb\n%run odd.ipynb\n%run absent.py").writes >= {"Y"}


def test_a_star_binds_what_its_module_gives():
    assert {"match", "compile"} <= names_by_star(effects("from re import *"))
    assert names_by_star(effects("from re import match")) == frozenset()
    assert names_by_star(effects("from not_loaded_at_all import *")) == frozenset()
