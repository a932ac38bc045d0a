from datetime import datetime

from ml_experiment_nb.cli.tables import fitting, print_table
from ml_experiment_nb.records import Record, Status

COLUMNS = {
    "run_id": 8,
    "name": 10,
    "params.C": 4,
    "metrics.training_score": 14,
    "metrics.loss": 6,
    "metrics.accuracy": 8,
}


def test_all_columns_stay_where_there_is_room():
    assert fitting(COLUMNS, 60) == list(COLUMNS)


def test_metrics_that_a_library_has_told_go_first_and_then_the_last_ones():
    assert fitting(COLUMNS, 59) == ["run_id", "name", "params.C", "metrics.loss", "metrics.accuracy"]
    assert fitting(COLUMNS, 40) == ["run_id", "name", "params.C", "metrics.loss"]


def test_parameters_go_where_the_metrics_were_not_enough():
    columns = {"run_id": 8, "params.C": 20, "params.depth": 20, "params.gamma": 20, "metrics.loss": 6}
    assert fitting(columns, 60) == ["run_id", "params.C", "params.depth", "metrics.loss"]


def test_one_parameter_and_one_metric_stay_whatever_the_room():
    assert fitting(COLUMNS | {"params.D": 4}, 1) == ["run_id", "name", "params.C", "metrics.loss"]


def test_a_list_says_when_each_run_began(capsys):
    year = datetime.now().astimezone().year
    new, old = (record(started=datetime(one, 3, 4, 15, 6).astimezone()) for one in (year, year - 2))
    print_table([new, old], dated=True)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["run_id", "started", "name"]
    assert "  03-04 15:06  " in first
    assert f"  {year - 2}-03-04 " in second
    print_table([new])
    assert "started" not in capsys.readouterr().out


def record(**fields):
    known = {"run_id": "a" * 32, "name": "SVM", "experiment": "SVM", "kind": "experiment", "status": Status.FINISHED}
    return Record(**known, params={}, metrics={}, seconds=1.0, **fields)
