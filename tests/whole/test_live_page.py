"""MLflow's page, open on a store while four slots write into it: nothing is locked, and nothing is lost."""

import json
import os
import sys
import threading
from urllib.request import Request, urlopen

import pytest
import services
from mlflow import MlflowClient

from ml_experiment_nb import loop
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

pytestmark = pytest.mark.slow
STEPS = 10
TRAIN = f"""
import mlflow
from ml_experiment_nb import job, report

@job
def main(C):
    for step in range({STEPS}):
        report(ours=C + step, step=step)
        mlflow.log_metric("theirs", C + step, step=step)
    return {{"acc": C / 10}}

main()
"""


class Looker(threading.Thread):
    """Somebody who looks at the page all the time: its lists of runs, and each run's curves."""

    def __init__(self, page):
        super().__init__(daemon=True)
        self.page, self.looks, self.failures, self.ended = page, 0, [], threading.Event()

    def ask(self, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        asked = Request(f"{self.page}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
        with urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def run(self):
        while not self.ended.is_set():
            try:
                experiments = self.ask("experiments/search", {"max_results": 100}).get("experiments", [])
                ids = [one["experiment_id"] for one in experiments]
                for run in self.ask("runs/search", {"experiment_ids": ids}).get("runs", []):
                    self.ask(f"metrics/get-history?run_id={run['info']['run_id']}&metric_key=ours")
                self.looks += 1
            except Exception as error:
                self.failures.append(error)


@pytest.mark.parametrize("named", [False, True], ids=["our own", "a user's"])
def test_four_slots_write_while_the_page_is_looked_at(stored, monkeypatch, script, named):
    if named:
        (stored / ".ml-experiment/mlflow.db").rename(stored / "theirs.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{stored}/theirs.db")
    uri = Store(stored).uri
    port = services.free_port()
    words = [sys.executable, "-m", "ml_experiment_nb.cli", "ui", "--port", str(port)]
    log = stored / "page.log"
    with services.running(words, log, ready=lambda: services.answers(port), env={**os.environ}):
        lookers = [Looker(f"http://127.0.0.1:{port}") for _ in range(2)]
        for one in lookers:
            one.start()
        spec = {
            "kind": "group", "name": "g", "run": script(TRAIN).path, "sampler": "Grid", "slots": 4,
            "executor": "inline", "param_space": {"C": "range(0, 16)"},
            "metric": {"name": "acc", "direction": "maximize"},
        }  # fmt: skip
        records = list(loop.run(make_plan(spec_from_mapping(spec))))
        for one in lookers:
            one.ended.set()
            one.join(60)
    assert sum(one.looks for one in lookers) >= 2
    assert [failure for one in lookers for failure in one.failures] == []
    assert {one.status for one in records} == {Status.FINISHED}
    assert [note for one in records for note in one.notes] == []
    assert "locked" not in log.read_text()
    client = MlflowClient(uri)
    for one in records[:-1]:
        expected = [(float(one.params["C"]) + step, step) for step in range(STEPS)]
        for key in ("ours", "theirs"):
            assert sorted((m.value, m.step) for m in client.get_metric_history(one.run_id, key)) == expected
        assert client.get_run(one.run_id).data.metrics["acc"] == int(one.params["C"]) / 10
    assert len(records) == 17
