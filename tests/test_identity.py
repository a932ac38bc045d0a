import math

import nbformat
import pytest

from ml_experiment_nb.identity import UNASKED, as_experiment, code_of, spec_hash
from ml_experiment_nb.specs import Group, spec_from_mapping
from ml_experiment_nb.targets import Cell

CELL = "C = loguniform(0.1, 10)  # strength\nn = 3\nimport math\n\n{'a': math.sqrt(C) * n}\n"
GROUP = {"kind": "group", "name": "SVM", "num_trials": 5, "seed": 1, "metric": "a"}


def of_cell(source=CELL, **keys):
    from ml_experiment_nb.cells import read_cell

    cell = read_cell(source)
    asked = {"param_space": cell.space, "params": cell.params, **GROUP, **keys}
    return spec_from_mapping({**asked, "run": [Cell(source=source)]})


def test_a_cell_s_layout_does_not_count():
    same = "'''not this'''; n = 3\nC = loguniform(0.1, 10)\n# more\nimport   math\n{'a':\n  math.sqrt(C)*n}"
    assert spec_hash(of_cell()) == spec_hash(of_cell(same.replace("'''not this'''; ", "")))
    assert spec_hash(of_cell()) != spec_hash(of_cell(same))


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "other"}, {"num_trials": 6}, {"seed": 2}, {"metric": {"name": "a", "direction": "maximize"}},
        {"metric": "b"}, {"params": {"n": 4}}, {"params": {"n": 3.0}}, {"sampler": "random"}, {"pruner": "median"},
        {"param_space": {"C": "loguniform(0.1, 11)"}},
    ],
)  # fmt: skip
def test_what_counts(keys):
    assert spec_hash(of_cell(**keys)) != spec_hash(of_cell())


def test_what_does_not_count():
    same = {
        "slots": 2, "executor": "inline", "ray_config": {"num_cpus": 2}, "resources_per_worker": {"cpu": 2},
        "storage": "sqlite:///x.db", "timeout": 5.0, "timeout_per_trial": 5.0, "max_failures": 3, "retries": 1,
        "memory": "1GB", "description": "d", "tags": {"a": "b"}, "allow_unknown_params": True, "data": {"folder": "."},
        "root_path": "/tmp", "docker_config": {"image": "x"}, "notify": "desktop", "system_metrics": False,
        "autolog": False,
    }  # fmt: skip
    assert same.keys() == UNASKED
    assert set(Group.model_fields) > UNASKED
    for key, value in same.items():
        assert spec_hash(of_cell(**{key: value})) == spec_hash(of_cell()), key


def test_a_default_counts_as_a_parameter(project):
    (project / "a.py").write_text("from ml_experiment_nb import job\n@job\ndef main(C=1, k='x'):\n    pass\nmain()\n")
    (project / "b.py").write_text("from ml_experiment_nb import job\n@job\ndef main(C=1, k='x'): pass  # b\nmain()\n")
    hashes = {
        spec_hash(spec_from_mapping({"run": run, "name": "n", "params": params}))
        for run, params in [("a.py", {}), ("b.py", {}), ("a.py", {"C": 1}), ("b.py", {"k": "x", "C": 1})]
    }
    assert len(hashes) == 1
    assert spec_hash(spec_from_mapping({"run": "a.py", "name": "n", "params": {"C": 2}})) not in hashes


def test_a_notebook_s_code_and_not_its_text(project):
    def write(name, *sources, **metadata):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        cells[1].metadata["tags"] = ["parameters"]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), project / name)
        return spec_hash(spec_from_mapping({"run": name, "name": "n"}))

    one = write("one.ipynb", "import math", "C = 1", "{'a': C}")
    assert write("two.ipynb", "import math  # yes", "C = 1  # the C", "{'a':C}") == one
    assert write("two.ipynb", "import os", "C = 1", "{'a': C}") != one
    assert write("two.ipynb", "import math", "C = 2", "{'a': C}") != one
    given = spec_from_mapping({"run": "two.ipynb", "name": "n", "params": {"C": 1}})
    assert spec_hash(given) == one
    assert write("two.ipynb", "import math", "C = 1", "{'a': C}", ml_experiment={"above": "of other cells"}) == one


def test_a_table_counts_by_its_rows(project):
    (project / "rows.csv").write_text("C,n\n1,\n2,4\n")
    (project / "a.py").write_text("from ml_experiment_nb import job\n@job\ndef main(C, n=3):\n    pass\nmain()\n")
    by_file = spec_from_mapping({"run": "a.py", "name": "n", "each": "rows.csv"})
    assert spec_hash(by_file) == spec_hash(by_file.model_copy(update={"each": ({"C": 1}, {"C": 2, "n": 4})}))
    assert spec_hash(by_file) == spec_hash(by_file.model_copy(update={"each": ({"C": 1, "n": 3}, {"C": 2, "n": 4})}))
    assert spec_hash(by_file) != spec_hash(by_file.model_copy(update={"each": ({"C": 1, "n": 2}, {"C": 2, "n": 4})}))


def test_values_of_any_kind():
    values = [1, 1.0, True, "1", None, math.nan, math.inf, (1,), [1], {"a": 1}, {1, 2}, {2, 3}, object]
    hashes = {spec_hash(spec_from_mapping({"run": {"command": "x"}, "params": {"x": value}})) for value in values}
    assert len(hashes) == len(values)
    assert all(len(digits) == 12 for digits in hashes)


def test_a_trial_alone_is_an_experiment():
    group = of_cell(tags={"a": "b"}, slots=2, timeout=9.0, timeout_per_trial=3.0)
    trial = as_experiment(group, {"C": 0.5})
    assert (trial.kind, trial.name, trial.params) == ("experiment", "SVM", {"n": 3, "C": 0.5})
    assert (trial.tags, trial.slots, trial.timeout) == ({"a": "b"}, None, 3.0)
    assert code_of(trial.run, None).digest == code_of(group.run, None).digest
