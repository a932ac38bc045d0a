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


def test_parameters_go_where_the_metrics_were_not_enough():
    columns = {"run_id": 8, "params.C": 20, "params.depth": 20, "params.gamma": 20, "metrics.loss": 6}
    assert fitting(columns, 60) == ["run_id", "params.C", "params.depth", "metrics.loss"]


def test_one_parameter_and_one_metric_stay_whatever_the_room():
    assert fitting(COLUMNS | {"params.D": 4}, 1) == ["run_id", "name", "params.C", "metrics.loss"]
