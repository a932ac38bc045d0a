import importlib
import json
import os
import pickle
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ml_experiment_nb import events
from ml_experiment_nb.observing import ObservingOptions, observed
from ml_experiment_nb.observing.seeding import SEEDS, UNSEEDED


class Kept:
    """Keeps what it is sent."""

    artifacts = Path("artifacts")

    def __init__(self):
        self.tags, self.others = {}, []

    def send(self, event):
        if isinstance(event, events.Tags):
            self.tags |= event.values
        else:
            self.others.append(event)

    @property
    def seeds(self):
        return json.loads(self.tags.get(SEEDS, "{}"))

    @property
    def unseeded(self):
        return self.tags.get(UNSEEDED, "")


@pytest.fixture
def sink(monkeypatch):
    """Where events of the code go; what it leaves of random numbers is taken back."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    before = random.getstate(), np.random.get_state()
    kept = Kept()
    yield kept
    random.setstate(before[0])
    np.random.set_state(before[1])
    assert kept.others == []


def test_says_what_was_seeded_and_with_what(sink):
    with observed(sink):
        random.seed("abc")
        np.random.seed(42)
        np.random.seed(seed=43)
        np.random.default_rng(np.int64(7))
    assert sink.seeds == {"random": "abc", "numpy": [42, 43], "numpy.default_rng": 7}
    assert sink.unseeded == ""


def test_code_that_draws_nothing_is_said_nothing_of(sink):
    with observed(sink):
        sum(range(10))
    assert sink.tags == {}


def test_says_which_generators_were_drawn_from_without_a_seed(sink):
    with observed(sink):
        random.random()
        np.random.seed(1)
        np.random.rand()
        np.random.default_rng()
    assert sink.unseeded == "numpy.default_rng, random"


@pytest.mark.parametrize(("draws", "told"), [(False, ""), (True, "random")])
def test_what_an_import_draws_is_not_the_code_s(sink, monkeypatch, draws, told):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    with observed(sink):
        if draws:
            random.random()
        before = random.getstate()
        importlib.import_module("rich.style")
        assert random.getstate() != before  # scikit-learn imports it, too
    assert sink.unseeded == told


@pytest.mark.parametrize("given", [(), (None,)])
def test_entropy_is_no_seed(sink, given):
    with observed(sink):
        np.random.seed(*given)
        random.seed(*given)
    assert sink.tags == {}  # nothing was drawn
    with observed(sink):
        np.random.seed(1)
        np.random.seed(*given)
        np.random.rand()
        random.seed(*given)
        random.random()
        random.seed(2)
    assert sink.seeds == {"numpy": 1, "random": 2}
    assert sink.unseeded == "numpy"
    sink.tags.clear()
    with observed(sink):
        np.random.rand()
        np.random.seed(*given)
    assert (sink.seeds, sink.unseeded) == ({}, "numpy")


def test_what_takes_entropy_before_a_fork_draws_anew_in_each():
    source = """
        import os, random
        import numpy as np
        from ml_experiment_nb.work import seeds
        seeds.watch(["numpy"])
        np.random.seed(1)
        random.seed(1)
        np.random.seed()
        random.seed()
        seeds.hold()
        for _ in range(2):
            if not (child := os.fork()):
                seeds.renew()
                print(np.random.rand(), random.random(), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
    """
    asked = [sys.executable, "-c", textwrap.dedent(source)]
    drawn = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert len(set(drawn)) == 4


def test_a_state_that_is_set_is_a_seed(sink):
    state = np.random.get_state()
    with observed(sink):
        np.random.set_state(state)
        np.random.rand(1000)
    assert (sink.seeds, sink.unseeded) == ({"numpy": "a state"}, "")


def test_leaves_the_functions_as_they_were(sink):
    before = random.seed, np.random.seed, np.random.default_rng
    with observed(sink):
        assert np.random.seed is not before[1]
        assert pickle.loads(pickle.dumps(np.random.default_rng)) is before[2]

        class Holder:
            make = np.random.default_rng

        assert Holder().make(3).random() == before[2](3).random()  # it binds to nothing, as the original does
    assert (random.seed, np.random.seed, np.random.default_rng) == before


def test_what_the_user_has_put_in_place_stays(sink, monkeypatch):
    monkeypatch.setattr(np.random, "seed", np.random.seed)
    with observed(sink):
        np.random.seed = mine = lambda seed: None
    assert np.random.seed is mine


def draw():
    drawn = random.random(), np.random.rand(), np.random.default_rng().random(), np.random.default_rng().random()
    assert drawn[2] != drawn[3]
    return drawn


def test_a_seed_seeds_all(sink):
    with observed(sink, ObservingOptions(seed=1)):
        first = draw()
    with observed(sink, ObservingOptions(seed=1)):
        again = draw()
    with observed(sink, ObservingOptions(seed=2)):
        other = draw()
    assert first == again
    assert not set(first) & set(other)
    assert {"random": 2, "numpy": 2}.items() <= sink.seeds.items()  # torch's too, where a test has imported it
    assert sink.unseeded == ""
    with observed(sink):
        pass  # the seed was that run's
    assert draw()[2] not in other


def test_a_seed_that_numpy_does_not_take_seeds_too(sink):
    with observed(sink, ObservingOptions(seed=2**40)):
        draw()
    assert sink.seeds["numpy"] == 2**40


def test_what_is_imported_later_is_seeded_then(script, make_task, sink):
    from ml_experiment_nb.events import Metrics, Tags
    from ml_experiment_nb.work.process import Running

    target = script(
        """
        import sys
        assert "numpy" not in sys.modules, "nobody but the user imports it"
        import numpy.random
        from numpy.random import default_rng, rand
        from ml_experiment_nb import report
        report(a=rand(), b=default_rng().random(), c=hash("text") % 1000)
        """
    )
    found = []
    for k in range(2):
        task = make_task(target, key=str(k))
        env = {**os.environ, **ObservingOptions(seed=5).as_env()}
        with_env = type(task)(**{**vars(task), "env": env})
        events = [event for batch in Running(with_env).batches() for event in batch]
        found.append([event.values for event in events if isinstance(event, Metrics)])
        tags = {name: value for event in events if isinstance(event, Tags) for name, value in event.values.items()}
        assert json.loads(tags[SEEDS]) == {"random": 5, "numpy": 5, "PYTHONHASHSEED": 5}
        assert UNSEEDED not in tags
    assert found[0] == found[1] != []


def test_says_what_cells_before_have_seeded(sink, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    for cell in ("import numpy as np\nnp.random.seed(3)", "the last one"):
        shell.history_manager.store_inputs(shell.execution_count, cell)
        shell.execution_count += 1
    with observed(sink):
        np.random.rand(1000)
    assert (sink.seeds, sink.unseeded) == ({"numpy": "np.random.seed(3) in In [1]"}, "")


@pytest.mark.parametrize("text", ["np.random.seed()", "np.random.seed( None )", "np.random.seed(seed=None)"])
def test_a_cell_before_that_took_entropy_has_seeded_nothing(sink, monkeypatch, text):
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    for cell in (text, "the last one"):
        shell.history_manager.store_inputs(shell.execution_count, cell)
        shell.execution_count += 1
    with observed(sink):
        np.random.rand(1000)
    assert (sink.seeds, sink.unseeded) == ({}, "numpy")


@pytest.mark.frameworks
def test_torch_is_seeded_and_told_of(sink):
    torch = pytest.importorskip("torch")
    with observed(sink, ObservingOptions(seed=4, deterministic=True)):
        first = torch.rand(1).item()
        assert torch.are_deterministic_algorithms_enabled()
    with observed(sink, ObservingOptions(seed=4)):
        assert torch.rand(1).item() == first
    with observed(sink):
        torch.manual_seed(9)
    assert sink.seeds == {"torch": 9}
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    sink.tags.clear()
    with observed(sink):
        torch.rand(1)
    assert sink.unseeded == "torch"


@pytest.mark.kernel
@pytest.mark.slow
def test_a_warm_notebook_draws_what_a_cold_one_does(stored):
    import nbformat

    from ml_experiment_nb import make_plan, run
    from ml_experiment_nb.specs import spec_from_mapping

    cell = nbformat.v4.new_code_cell
    book = nbformat.v4.new_notebook(
        cells=[
            cell("import random\nimport numpy as np\na = [random.random(), np.random.rand()]"),
            cell("C = 1", metadata={"tags": ["parameters"]}),
            cell("a += [random.random(), np.random.rand(), np.random.default_rng().random(), hash('text') % 1000]"),
            cell("{f'a{k}': value for k, value in enumerate(a)} | {'C': C}"),
        ]
    )
    nbformat.write(book, stored / "book.ipynb")
    keys = {"run": "book.ipynb", "each": [{"C": 1}, {"C": 2}], "seed": 3, "slots": 1, "executor": "inline"}
    spec = spec_from_mapping(keys)
    found = [list(run(make_plan(spec, cold=cold)))[:-1] for cold in (False, True)]
    for records in found:
        assert [record.status for record in records] == ["finished", "finished"]
        assert [json.loads(record.tags[SEEDS]) for record in records] == [
            {"random": 3, "numpy": 3, "PYTHONHASHSEED": 3},
        ] * 2
        assert all(UNSEEDED not in record.tags for record in records)
    drawn = [{n: v for n, v in record.metrics.items() if n != "C"} for records in found for record in records]
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]
    assert len(drawn[0]) == 6
