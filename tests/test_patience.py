import pytest

from ml_experiment_nb import patience
from ml_experiment_nb.errors import StoreError, StoreLostError
from ml_experiment_nb.patience import Patience


@pytest.fixture
def clock(monkeypatch):
    """A clock that only this test moves."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    made = Clock()
    monkeypatch.setattr(patience, "time", made)
    return made


def gone():
    raise StoreError("nobody answers")


def test_what_can_be_written_is(clock):
    found = Patience()
    assert found.is_due
    assert found.attempt(lambda: 3) == 3
    assert found.is_due


def test_a_store_that_has_gone_is_tried_again_after_a_while(clock):
    found = Patience()
    assert found.attempt(gone) is None
    assert not found.is_due
    clock.sleep(patience.AGAIN)
    assert found.is_due
    assert found.attempt(lambda: 3) == 3
    assert found.is_due


def test_patience_ends(clock):
    found = Patience()
    found.attempt(gone)
    clock.sleep(59)
    assert found.attempt(gone) is None
    clock.sleep(1)
    with pytest.raises(StoreError, match=r"nobody answers; it was tried for 60 s.*ml-experiment ls"):
        found.attempt(gone)


def test_a_store_that_is_gone_for_good_is_not_waited_for(clock):
    def lost():
        raise StoreLostError("deleted")

    with pytest.raises(StoreLostError, match=r"^deleted$"):
        Patience().insist(lost)


def test_patience_comes_back_with_the_store(clock):
    found = Patience()
    found.attempt(gone)
    clock.sleep(59)
    found.attempt(lambda: 1)
    clock.sleep(59)
    assert found.attempt(gone) is None


def test_insisting_waits(clock):
    answers = iter([gone, gone, lambda: 7])
    assert Patience().insist(lambda: next(answers)()) == 7
    assert clock.now == 102


def test_the_environment_says_how_long(clock, monkeypatch):
    monkeypatch.setenv(patience.VARIABLE, "0")
    with pytest.raises(StoreError, match="tried for 0 s"):
        Patience().attempt(gone)
    monkeypatch.setenv(patience.VARIABLE, "soon")
    assert patience.seconds() == patience.SECONDS
