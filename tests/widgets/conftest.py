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


@pytest.fixture
def clock():
    """A clock that stands still."""
    from made_trials import Clock

    return Clock()


@pytest.fixture
def make(project, clock):
    """The view of a group, as a spec with these keys asks for it."""
    from ml_experiment_nb.planning import make_plan
    from ml_experiment_nb.specs import spec_from_mapping
    from ml_experiment_nb.widgets.live import LiveGroup

    (project / "train.py").write_text("")
    space = {"C": "loguniform(0.01, 100)", "kernel": "choice(['rbf', None, 2])"}

    def made(metric="acc", **keys):
        spec = {"name": "svm: x", "run": "train.py", "param_space": space, "num_trials": 4, "slots": 2, **keys}
        spec |= {"metric": {"name": metric, "direction": "maximize"}} if isinstance(metric, str) else {"metric": metric}
        spec = {key: value for key, value in spec.items() if value is not None}
        return LiveGroup(make_plan(spec_from_mapping(spec)), clock, clock.now)

    return made
