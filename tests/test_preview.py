from dataclasses import replace

import pytest

from ml_experiment_nb.known import Known
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.preview import preview
from ml_experiment_nb.records import Record, Status, now
from ml_experiment_nb.specs import spec_from_mapping


@pytest.fixture
def plan(project):
    (project / "train.py").write_text("C = 1.0\ndata = open('/home/me/data.csv').read()\n")
    return make_plan(spec_from_mapping({"name": "SVM", "run": str(project / "train.py")}))


def test_a_plan_is_shown_with_its_forecast_and_what_is_wrong_with_its_code(plan):
    told, forecast, findings = preview(plan)
    assert told == str(plan)
    assert forecast
    assert "'/home/me/data.csv' is a path of this machine alone" in findings


def test_of_what_is_known_whole_there_is_nothing_to_tell_ahead(plan):
    record = Record(None, "SVM", "SVM", "experiment", Status.FINISHED, {}, {}, now(), 1.0)
    known = replace(plan, known=Known(whole=(record,)))
    assert list(preview(known)) == [str(known)]
