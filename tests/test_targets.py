import json
import pickle
from pathlib import PurePath

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.specs import (
    spec_from_mapping,
    to_mapping,
)
from ml_experiment_nb.targets import Function, Notebook, with_options


@pytest.mark.parametrize(("code", "said"), [("raise SystemExit", "SystemExit"), ("len(3)", "has no len()")])
def test_a_module_that_fails_is_told_as_what_cannot_be_imported(tmp_path, monkeypatch, code, said):
    (tmp_path / "fails_at_import.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match="can't be imported as module:qualname") as error:
        spec_from_mapping({"run": {"function": "fails_at_import:f"}})
    assert said in str(error.value)


def test_a_function_s_name_is_imported():
    assert Function(function="json:dumps") == Function(function=json.dumps)
    assert str(Function(function=f"{PurePath.__module__}:PurePath.joinpath").name) == "joinpath"


def test_a_notebook_s_options():
    [plain] = spec_from_mapping({"run": {"notebook": "b.ipynb"}}).run
    assert plain == Notebook(path="b.ipynb")
    assert to_mapping(spec_from_mapping({"run": plain}))["run"] == ["b.ipynb"]
    part = with_options(plain, {"from_cell": 2, "until_cell": "last", "kernel": "ir"})
    assert (part.path, part.kernel, part.part) == ("b.ipynb", "ir", "from cell 2 until cell last")
    with pytest.raises(SpecError, match="greater than 0"):
        with_options(part, {"execution_timeout": 0})


def test_a_notebook_that_lies_elsewhere_is_read_as_its_copy():
    [remote] = spec_from_mapping({"run": "https://host/b.ipynb?key=1"}).run
    assert remote.is_elsewhere
    copied = remote.fetched("/tmp/copy.ipynb")
    assert (copied.path, str(copied.file), copied.name) == (remote.path, "/tmp/copy.ipynb", "copy")
    assert str(with_options(pickle.loads(pickle.dumps(copied)), {"kernel": "ir"}).file) == "/tmp/copy.ipynb"
    assert to_mapping(spec_from_mapping({"run": copied}))["run"] == [remote.path]
