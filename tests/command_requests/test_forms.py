import json
import shlex
import subprocess

import pytest
from click.testing import CliRunner
from made_records import experiment_record
from made_specs import TRAIN, folder, parsed, yaml

from ml_experiment_nb import cli, loop
from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.command_requests import read_command
from ml_experiment_nb.command_requests.forms import form_of
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forms import asked_by
from ml_experiment_nb.identity import spec_hash
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Record
from ml_experiment_nb.spec_files import read_spec, spec_text
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

__all__ = ["folder"]  # a fixture


@pytest.fixture
def runs_of(stored, folder):
    """Run a spec's plan, and return its records as the store has them, the group's own last."""

    def run(spec, **options):
        done = list(loop.run(make_plan(spec, **options)))
        store = Store(stored)
        return [(store.record(one.run_id), store.text(one, SPEC)) for one in done]

    return run


@pytest.mark.slow
def test_runs_of_a_script_come_back(runs_of, folder):
    keys = {"run": "train.py", "executor": "inline", "slots": 1, "seed": 1, "num_trials": 2, "metric": "accuracy"}
    group = spec_from_mapping({**keys, "param_space": {"C": "uniform(0, 1)"}, "params": {"shape": (3, 4, 5)}})
    *trials, parent = runs_of(group)
    for kept, text in trials:
        line = form_of(kept, text, "command")
        assert line.losses == ()
        plan = read_command(shlex.split(line.text)[2:])
        [(again, _)] = runs_of(plan.spec, cwd=plan.cwd)
        assert (again.params, again.metrics) == (kept.params, kept.metrics)
        assert again.tags["mlexp.spec_hash"] == kept.tags["mlexp.spec_hash"]
        assert form_of(kept, text, "cell").text == f"%%bash\n{line.text}"
        assert form_of(kept, text, "yaml").losses == ("params.shape is (3, 4, 5), which a file holds as [3, 4, 5]",)
    kept, text = parent
    line = form_of(kept, text, "command").text
    assert line == f"ml-experiment show {kept.run_id} --as yaml > train.yaml && ml-experiment run train.yaml"
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/train.yaml").write_text(form_of(kept, text, "yaml").text)
    again = read_spec(folder / "elsewhere/train.yaml")
    assert make_plan(again).cwd == str(folder)
    assert spec_hash(again.model_copy(update={"params": group.params})) == kept.tags["mlexp.spec_hash"]


@pytest.mark.slow
def test_rows_and_steps_come_back(runs_of, folder):
    *rows, parent = runs_of(
        spec_from_mapping({"run": "train.py", "each": "rows.csv", "executor": "inline", "slots": 1})
    )
    assert [asked_by(*row).spec.params for row in rows] == [{"C": 1}, {"C": 2}]
    assert form_of(*parent, "command").text == (
        f"ml-experiment run {folder}/train.py --each {folder}/rows.csv --executor inline --slots 1 --cwd {folder}"
    )
    first, second, parent = runs_of(
        spec_from_mapping({"run": ["prepare.py", "train.py"], "params": {"C": 1}, "name": "both"})
    )
    assert form_of(*first, "command").text == f"ml-experiment run {folder}/prepare.py --cwd {folder} --name both -p C=1"
    assert shlex.split(form_of(*second, "command").text)[2] == str(folder / "train.py")
    assert form_of(*parent, "command").text.endswith("ml-experiment run both.yaml")


def test_code_that_has_changed_is_said(runs_of, folder):
    [(kept, text)] = runs_of(spec_from_mapping({"run": "train.py", "params": {"C": 1}}))
    (folder / "train.py").write_text(TRAIN + "\nx = 1\n")
    assert form_of(kept, text, "yaml").losses == (
        "the code is another than in that run, whose own is kept in its record/source",
    )
    (folder / "train.py").unlink()
    [said] = form_of(kept, text, "yaml").losses
    assert said.startswith("the code can't be read any more: ")


def test_runs_of_a_cell_come_back(runs_of):
    alone = parsed(
        "%%group SVM --seed 1 --trials 2 --slots 1 --maximize a\nC = uniform(0, 1)\nn = (2, 3)\n{'a': C * n[0]}"
    )
    *trials, parent = runs_of(alone)
    assert parsed(form_of(*parent, "cell").text) == alone
    again = spec_from_mapping(yaml(form_of(*parent, "yaml").text))
    assert spec_hash(again) == parent[0].tags["mlexp.spec_hash"]
    for kept, text in trials:
        cell = form_of(kept, text, "cell")
        assert cell.losses == ()
        assert cell.text.startswith("%%experiment SVM --seed 1\nC = 0.")
        assert spec_hash(parsed(cell.text)) == kept.tags["mlexp.spec_hash"]
    needs = parsed("%%experiment SVM\nC = 1\n{'a': C + outside}")
    with pytest.raises(SpecError, match="the cell reads outside from its notebook, which a file hasn't"):
        form_of(experiment_record(), spec_text(needs), "yaml")
    with pytest.raises(SpecError, match="the cell reads outside"):
        form_of(experiment_record(), spec_text(needs), "command")
    assert form_of(experiment_record(), spec_text(needs), "cell").text == "%%experiment SVM\nC = 1\n{'a': C + outside}"


CALLED = """\
class Data:
    pass

class Sly:
    def __repr__(self):
        raise ValueError("no")

def train(C, kernel="rbf", **more):
    return {"accuracy": C}
"""


@pytest.mark.slow
def test_a_called_job_comes_back(stored, monkeypatch):
    (stored / "called.py").write_text(CALLED)
    monkeypatch.syspath_prepend(str(stored))
    import called

    from ml_experiment_nb import job

    store = Store(stored)
    train = job(called.train)
    train(C=0.5)
    [kept] = store.records()
    assert kept.tags["mlexp.cwd"] == str(stored)
    form = form_of(kept, store.text(kept, SPEC), "yaml")
    assert form.losses == ()
    again = spec_from_mapping(yaml(form.text))
    assert again.params == {"C": 0.5, "kernel": "rbf"}
    *_, record = loop.run(make_plan(again))
    assert (record.metrics, record.tags["mlexp.spec_hash"]) == ({"accuracy": 0.5}, kept.tags["mlexp.spec_hash"])

    train(C=1, data=called.Data(), sly=called.Sly(), long=list(range(10**5)), **{"no-name": 1})
    odd = store.records()[0]
    began = store.text(odd, SPEC)
    assert len(began) < 10_000
    with pytest.raises(SpecError, match="no-name"):
        form_of(odd, began, "yaml")
    train(C=1, data=called.Data())
    train(C=1, data=called.Data())
    one, other = store.records()[:2]
    assert one.tags["mlexp.spec_hash"] == other.tags["mlexp.spec_hash"]
    assert form_of(one, store.text(one, SPEC), "yaml").losses == (
        "a parameter or a row was of a kind that the record has as text only",
    )


@pytest.mark.slow
def test_the_command(runs_of, folder):
    [(kept, _)] = runs_of(spec_from_mapping({"run": "train.py", "params": {"C": 1, "kernel": "it's"}}))
    shown = {
        form: CliRunner().invoke(cli.commands, ["show", kept.run_id[:8], "--as", form])
        for form in ("yaml", "json", "command")
    }
    assert spec_from_mapping(yaml(shown["yaml"].stdout)) == spec_from_mapping(json.loads(shown["json"].stdout))
    ran = subprocess.run(
        f"{shown['command'].stdout.strip()} --json -q", shell=True, capture_output=True, text=True, check=True
    )
    again = Record.from_json(ran.stdout)
    assert again.tags["mlexp.spec_hash"] == kept.tags["mlexp.spec_hash"]
    assert again.params["kernel"] == "it's"
