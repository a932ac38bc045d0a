from made_records import experiment_record

from ml_experiment_nb.replays import results


def test_of_metrics_beyond_count_the_last_values_are_compared(monkeypatch):
    def none(*_):
        return []

    monkeypatch.setattr(results, "_HISTORIES", 1)
    monkeypatch.setattr(results, "curve", none)
    assert results._curves(None, experiment_record(metrics={"a": 1.0, "b": 2.0}), ["a", "b", "c"]) == {
        "a": [],
        "b": [(0, 2.0)],
    }
