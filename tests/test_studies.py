from pathlib import Path

import optuna
import pytest
from made_studies import FINISHED, ask_all, study_of

from ml_experiment_nb import studies
from ml_experiment_nb.errors import StoreError


def test_the_study_stands_in_the_project_and_plain_optuna_goes_on_with_it(search, project):
    found = search("my-study", num_trials=3)
    ask_all(found)
    assert found.storage == str(project / ".ml-experiment/studies/my-study.log")
    study = study_of(found)
    study.optimize(lambda trial: trial.suggest_float("C", 0.01, 1000, log=True), n_trials=2)
    assert len(study_of(found).trials) == 5


@pytest.mark.parametrize("url", ["sqlite:///studies.db", "own.log"])
def test_another_storage(search, project, url):
    found = search(storage=url, num_trials=2)
    ask_all(found)
    assert (project / url.removeprefix("sqlite:///")).exists()
    assert not (project / ".ml-experiment").exists()
    if url.startswith("sqlite"):
        assert len(optuna.load_study(study_name="study", storage=url).trials) == 2


def test_two_studies_in_one_storage(search):
    ask_all(search("one", storage="sqlite:///studies.db", num_trials=2))
    ask_all(search("two", storage="sqlite:///studies.db", num_trials=3))
    names = optuna.get_all_study_names("sqlite:///studies.db")
    assert sorted(names) == ["one", "two"]
    with pytest.raises(StoreError, match="one"):
        search("one", storage="sqlite:///studies.db")


def test_a_study_that_was_deleted_is_told_in_a_line(search):
    made = search()
    draw = made.ask()
    Path(made.storage).unlink()
    with pytest.raises(StoreError, match=r"^the group's study .*\.log can't be used: No such file or directory$"):
        made.tell(draw.number, FINISHED, {"loss": 1.0})


def test_a_full_disk_leaves_no_half_line_in_a_study(search, monkeypatch):
    made = search()
    draw, there = made.ask(), Path(made.storage).read_bytes()
    real = open

    class Cramped:
        """A file that takes ten bytes more."""

        def __init__(self, file):
            self._file, self.tell, self.truncate = file, file.tell, file.truncate

        def write(self, data):
            return self._file.write(data[:10])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

    monkeypatch.setattr(studies, "open", lambda *a, **k: Cramped(real(*a, **k)), raising=False)
    with pytest.raises(StoreError, match="No space left on device"):
        made.tell(draw.number, FINISHED, {"loss": 1.0})
    assert Path(made.storage).read_bytes() == there
