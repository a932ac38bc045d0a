"""What a group optimises, in each of the forms that it is asked in."""

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.goals import Metric, metric_json, read_metric

LOSS, F1 = Metric(name="loss"), Metric(name="f1", direction="maximize")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (None, None),
        (F1, F1),
        ("loss", LOSS),
        ({"name": "f1", "direction": "MAX"}, F1),
        ({"name": "f1", "direction": "Maximise"}, F1),
        (["loss"], LOSS),
        (["loss", {"name": "f1", "direction": "maximize"}], (LOSS, F1)),
        ({"loss": "min", "f1": "max"}, (LOSS, F1)),
        ({"loss": "minimise"}, LOSS),
    ],
)
def test_forms_of_a_metric(asked, meant):
    found = read_metric(asked)
    assert found == meant
    assert read_metric(metric_json(found)) == meant


@pytest.mark.parametrize(
    ("asked", "key", "says"),
    [
        (["loss", "loss"], "metric", "'loss' stands there twice: keep one"),
        ([], "metric", "is empty: name one"),
        ("", "metric", "name"),
        ({"name": "loss", "direction": "up"}, "metric.direction", "minimize"),
        ({"name": "loss", "way": "min"}, "metric.way", "direction"),
        (["loss", {"direction": "max"}], r"metric\[1\].name", "required"),
        ({"loss": "up"}, "metric", "loss"),
        (3, "metric", ""),
    ],
)
def test_what_is_no_metric_is_named_by_its_key(asked, key, says):
    with pytest.raises(SpecError, match=f"^{key}.*{says}"):
        read_metric(asked)


def test_a_direction_that_is_the_default_is_not_written():
    assert metric_json(LOSS) == {"name": "loss"}
    assert metric_json((LOSS, F1)) == [{"name": "loss"}, {"name": "f1", "direction": "maximize"}]
