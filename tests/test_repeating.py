import threading

from ml_experiment_nb.repeating import repeating


def test_it_is_done_again_until_the_block_ends():
    done, third = [], threading.Event()

    def act():
        done.append(threading.current_thread().name)
        if len(done) == 3:
            third.set()
        return True

    with repeating(act, lambda: 0.001, name="the worker", patience=60):
        assert third.wait(60)
    count = len(done)
    assert set(done) == {"the worker"}
    assert len(done) == count  # it has ended with the block
    assert "the worker" not in [one.name for one in threading.enumerate()]


def test_it_ends_by_itself_when_there_is_nothing_more_to_do():
    done = []

    def act():
        done.append(1)
        return len(done) < 2

    with repeating(act, lambda: -1.0, name="the worker that ends", patience=60):  # it may be late
        while threads := [one for one in threading.enumerate() if one.name == "the worker that ends"]:
            threads[0].join(60)
    assert done == [1, 1]


def test_a_block_that_ends_before_the_first_time_waits_for_nothing():
    done = []
    with repeating(lambda: bool(done.append(1)), lambda: 3600.0, name="never", patience=60):
        pass
    assert done == []
