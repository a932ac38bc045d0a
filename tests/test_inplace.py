"""A run around code of this process."""

import signal

import pytest
from plain_mlflow import all_runs, text_of

from ml_experiment_nb import inplace
from ml_experiment_nb.reports import report
from ml_experiment_nb.specs import spec_from_mapping


@pytest.fixture
def spec(stored):
    return spec_from_mapping({"name": "cell", "run": [{"source": "1 + 1"}]})


@pytest.mark.slow
def test_code_of_this_process_is_recorded_and_still_shown(spec, client, capsys):
    with inplace.here(spec, {"C": 0.5}) as live:
        print("hello")
        report(loss=1)
        report(loss=0.5)
    (run,) = all_runs(client)
    assert live.record.run_id == run.info.run_id
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"C": "0.5"}, {"loss": 0.5})
    assert text_of(client, run, "record/log.txt") == "hello\n"
    assert capsys.readouterr().out == "hello\n"


def fail_with(error, spec):
    with inplace.here(spec, {}):
        raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(3), "FAILED"),
    ],
    ids=repr,
)
def test_an_error_closes_the_run_and_goes_on(spec, client, error, status):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(type(error)):
        fail_with(error, spec)
    (run,) = all_runs(client)
    assert run.info.status == status
    assert signal.getsignal(signal.SIGINT) is before
