from ml_experiment_nb.cli.tables import fitting

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


def test_parameters_and_one_metric_stay_whatever_the_room():
    assert fitting(COLUMNS, 1) == ["run_id", "name", "params.C", "metrics.loss"]
