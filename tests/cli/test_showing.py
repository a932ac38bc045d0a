import json

import pytest
from made_records import experiment_record

from ml_experiment_nb.cli.showing import _print_notebook, exit_code
from ml_experiment_nb.records import Failure, Status


@pytest.mark.parametrize(
    ("status", "failure", "code"),
    [
        (Status.FINISHED, None, 0),
        (Status.FAILED, Failure("ValueError", "no"), 1),
        (Status.FAILED, Failure("SpecError", "no"), 2),
        (Status.FAILED, Failure("TaskDiedError", "no"), 4),
        (Status.FAILED, Failure("TaskTimeoutError", "no"), 5),
        (Status.FAILED, Failure("TaskMemoryError", "no"), 6),
        (Status.KILLED, Failure("KeyboardInterrupt", "no"), 130),
        (Status.KILLED, None, 1),
        (Status.PRUNED, None, 1),
    ],
)
def test_an_exit_code_says_how_a_run_ended(status, failure, code):
    assert exit_code(experiment_record(status=status, failure=failure)) == code


def test_an_executed_notebook_that_is_piped_names_standard_output_as_its_place(tmp_path, capsys):
    path = tmp_path / "out.ipynb"
    notebook = {"cells": [], "metadata": {"papermill": {"output_path": str(path)}, "title": "größe"}}
    path.write_text(json.dumps(notebook))
    _print_notebook(path)
    out = capsys.readouterr().out
    assert json.loads(out)["metadata"]["papermill"] == {"output_path": "-"}
    assert "größe" in out
    path.write_text(json.dumps({"cells": [], "metadata": {}}))
    _print_notebook(path)
    assert json.loads(capsys.readouterr().out) == {"cells": [], "metadata": {}}


def test_one_that_was_never_begun_prints_nothing(tmp_path, capsys):
    _print_notebook(tmp_path / "absent.ipynb")
    assert capsys.readouterr().out == ""
