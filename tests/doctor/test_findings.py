from ml_experiment_nb.doctor import Finding, Level
from ml_experiment_nb.doctor.findings import without_secrets


def test_a_password_in_an_error_is_masked(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://u:ab%21cd@h/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "kkkkk")
    given = Finding("store", Level.PROBLEM, "refused ab!cd and ab%21cd", "with kkkkk")
    assert without_secrets(given) == Finding("store", Level.PROBLEM, "refused *** and ***", "with ***")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://mlflow:mlflow@h/db")
    assert without_secrets(Finding("python", Level.OK, "mlflow 3")).text == "mlflow 3"
