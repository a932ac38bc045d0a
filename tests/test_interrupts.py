import os
import signal
import time

import pytest

from ml_experiment_nb.interrupts import held_back, let_come_again


@pytest.fixture(autouse=True)
def python_handles_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_when_the_block_has_ended():
    done = []

    def work():
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_an_error_passes_and_all_is_as_before():
    with pytest.raises(ImportError), held_back():
        raise ImportError("no such module")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_library_whose_import_is_interrupted_is_imported_to_its_end(tmp_path, monkeypatch):
    (tmp_path / "slow_library.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nversion = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt), held_back():
        import slow_library
    assert slow_library.version == 1


def test_an_interrupt_comes_again_where_it_can_be_acted_on():
    let_come_again()
    with pytest.raises(KeyboardInterrupt):
        time.sleep(60)
