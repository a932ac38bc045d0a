import pytest
from made_records import experiment_record

from ml_experiment_nb.records import Failure, Status
from ml_experiment_nb.verifying import _record_in, _why

RECORD = experiment_record(metrics={"acc": 0.5})


@pytest.mark.parametrize("around", ["{before}", '{"a": 1}', "null", "[1]", "5", '"text"', "{"])
def test_a_run_s_record_is_found_among_all_that_its_code_has_printed(around):
    found = _record_in(f"{around}\n{RECORD.to_json()}\n{around}\n")
    assert found is not None
    assert (found.run_id, found.metrics) == (RECORD.run_id, {"acc": 0.5})
    assert _record_in(f"{around}\n") is None


@pytest.mark.parametrize(
    ("failure", "output", "why"),
    [
        (Failure("ValueError", "no"), "printed\n", "in the image it raised ValueError: no"),
        (None, "Traceback\nImportError: no module x\n\n{}\n", "in the image: ImportError: no module x"),
        (None, " \n", "in the image it ended without a word"),
    ],
)
def test_why_a_run_in_an_image_came_to_nothing(failure, output, why):
    found = experiment_record(status=Status.FAILED, failure=failure) if failure else None
    assert _why(found, output) == why
