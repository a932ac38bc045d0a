import IPython.display
import pytest


class Handle:
    """An output that is shown: what it has been updated with."""

    def __init__(self):
        self.bundles = []

    def update(self, bundle, raw):
        self.bundles.append(bundle)


@pytest.fixture
def handle(monkeypatch):
    """An output as a cell shows it, without a kernel."""
    found = Handle()
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: found)
    return found


@pytest.fixture
def plan(project):
    """A group of trials, which nobody runs."""
    from ml_experiment_nb.planning import make_plan
    from ml_experiment_nb.specs import spec_from_mapping

    (project / "train.py").write_text("")
    keys = {"name": "svm", "run": "train.py", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 2}
    return make_plan(spec_from_mapping(keys))
