import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ml_experiment_nb.capture.console import Collapser, Tee, collapse

CASES = [
    ("", ""),
    ("hello\n", "hello\n"),
    ("no end", "no end"),
    ("a\n\nb", "a\n\nb"),
    ("  kept  \n", "  kept  \n"),
    ("0%\r50%\r100%\ndone\n", "100%\ndone\n"),
    ("\r0%\r50%\r100%", "100%"),
    ("50%\r", "50%"),
    ("windows\r\nlines\r\n", "windows\nlines\n"),
    ("10%\r\r\r\n", "10%\n"),
    ("a long state\rshort  \n", "short\n"),
    ("\r 50%\r      \rdone\n", "done\n"),
    ("\r 50%\r      \r", ""),
    ("\r", ""),
    ("\x1b[2K\r\x1b[32m5/10\x1b[0m\n", "\x1b[32m5/10\x1b[0m\n"),
    ("ünï\r█▌\n", "█▌\n"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_collapse(text, expected):
    assert collapse(text) == expected


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_pieces_give_what_the_whole_gives(text, expected):
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            pieces = Collapser()
            given = [pieces.feed(part) for part in (text[:first], text[first:second], text[second:])]
            assert "".join(given) + pieces.flush() == expected


def test_feed_gives_complete_lines_only_and_flush_begins_anew():
    pieces = Collapser()
    assert pieces.feed("a\nb") == "a\n"
    assert pieces.feed("c\r") == ""
    assert pieces.feed("\nd") == "bc\n"
    assert pieces.flush() == "d"
    assert pieces.flush() == ""


def test_hours_of_progress_take_no_memory():
    pieces = Collapser()
    for step in range(10_000):
        pieces.feed(f"\rstep {step}")
    assert sum(map(len, pieces._line)) < 100
    assert pieces.flush() == "step 9999"


def test_a_real_progress_bar_is_one_line(tmp_path):
    tqdm = pytest.importorskip("tqdm").tqdm
    with Tee(tmp_path / "log"):
        for _ in tqdm(range(50), mininterval=0):
            pass
        print("done")
    bar, done = (tmp_path / "log").read_text().splitlines()
    assert bar.startswith("100%")
    assert done == "done"


def test_both_streams_are_shown_and_kept(tmp_path, capsys):
    log = tmp_path / "new" / "folder" / "log"
    shown = sys.stdout, sys.stderr
    with Tee(log) as tee:
        print("out")
        print("to err", file=sys.stderr)
        sys.stdout.writelines(["a\n", "b\n"])
        assert log.read_text() == "out\nto err\na\nb\n"  # while it runs
        print("no end", end="")
    assert (sys.stdout, sys.stderr) == shown
    assert log.read_text() == "out\nto err\na\nb\nno end\n"
    assert capsys.readouterr() == ("out\na\nb\nno end", "to err\n")
    assert tee.notes == []


def test_unfinished_lines_of_the_two_streams_do_not_mix(tmp_path):
    with Tee(tmp_path / "log"):
        sys.stderr.write("50%")
        print("whole")
        sys.stdout.write("half")
    assert (tmp_path / "log").read_text() == "whole\nhalf\n50%\n"


def test_it_appends_and_an_exception_passes(tmp_path):
    (tmp_path / "log").write_text("before\n")

    def fail() -> None:
        with Tee(tmp_path / "log"):
            print("now")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "log").read_text() == "before\nnow\n"
    print("later")
    assert (tmp_path / "log").read_text() == "before\nnow\n"


def test_nested(tmp_path):
    with Tee(tmp_path / "outer"):
        print("1")
        with Tee(tmp_path / "inner"):
            print("2")
        print("3")
    assert (tmp_path / "outer").read_text() == "1\n2\n3\n"
    assert (tmp_path / "inner").read_text() == "2\n"


def test_the_outer_one_may_end_first(tmp_path, capsys):
    shown = sys.stdout
    outer, inner = Tee(tmp_path / "outer"), Tee(tmp_path / "inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    print("still kept")
    inner.__exit__(None, None, None)
    print("shown only")
    sys.stdout = shown
    assert (tmp_path / "outer").read_text() == ""
    assert (tmp_path / "inner").read_text() == "still kept\n"
    assert capsys.readouterr().out == "still kept\nshown only\n"


def test_streams_that_user_code_puts_in_place_stay(tmp_path, capsys):
    shown = sys.stdout
    with Tee(tmp_path / "log"):
        with contextlib.redirect_stdout(io.StringIO()):
            print("redirected")
        print("kept")
        kept_by_user = sys.stdout
        sys.stdout = own = io.StringIO()
        print("elsewhere")
    assert sys.stdout is own
    sys.stdout = kept_by_user  # as a library that restores late
    print("shown only")
    sys.stdout = shown
    assert (tmp_path / "log").read_text() == "kept\n"
    assert capsys.readouterr().out == "kept\nshown only\n"


def test_a_handler_made_inside_goes_on_after(tmp_path, capsys):
    with Tee(tmp_path / "log"):
        handler = logging.StreamHandler()
        handler.emit(logging.makeLogRecord({"msg": "inside"}))
    handler.emit(logging.makeLogRecord({"msg": "after"}))
    assert (tmp_path / "log").read_text() == "inside\n"
    assert capsys.readouterr().err == "inside\nafter\n"


def test_threads_do_not_tear_lines(tmp_path):
    def speak(word: str) -> None:
        for _ in range(200):
            sys.stdout.write(f"{word}\n")

    with Tee(tmp_path / "log"):
        threads = [threading.Thread(target=speak, args=(letter * 50,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(letter * 50 for letter in "abcd" for _ in range(200))


def test_a_stream_keeps_its_other_sides(tmp_path):
    with Tee(tmp_path / "log"):
        assert sys.stdout.encoding
        assert sys.stdout.isatty() is False
        assert not hasattr(sys.stdout, "no_such_thing")
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")
        sys.stdout.flush()
        print("\ud800", file=io.StringIO())
    assert (tmp_path / "log").read_text() == ""


def test_text_that_is_not_unicode_is_kept_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with Tee(tmp_path / "log"):
        print("\ud800 é")
    assert (tmp_path / "log").read_text() == "\\ud800 é\n"


def test_a_file_that_cannot_be_opened_is_noted(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    notes = []
    with Tee(tmp_path / "file" / "log", notes=notes):
        print("shown")
    assert capsys.readouterr().out == "shown\n"
    assert len(notes) == 1
    assert str(tmp_path / "file" / "log") in notes[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk to write to")
def test_a_full_disk_is_noted_once(capsys):
    with Tee(Path("/dev/full")) as tee:
        print("one")
        print("two")
    assert capsys.readouterr().out == "one\ntwo\n"
    assert len(tee.notes) == 1
    assert "No space left" in tee.notes[0]


def test_no_streams_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with Tee(tmp_path / "log"):
        print("nowhere")
        assert sys.stdout is None
    assert sys.stdout is None


def test_a_forked_child_writes_though_a_thread_held_the_lock(tmp_path):
    script = f"""
import os, sys, threading
from pathlib import Path
from ml_experiment_nb.capture.console import Tee

with Tee(Path({str(tmp_path / "log")!r})) as tee:
    held, done = threading.Event(), threading.Event()
    def hold():
        with tee._lock:
            held.set()
            done.wait()
    threading.Thread(target=hold).start()
    held.wait()
    child = os.fork()
    if child == 0:
        print("from the child")
        os._exit(0)
    os.waitpid(child, 0)
    done.set()
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30, env=env, stdout=subprocess.DEVNULL)
    assert (tmp_path / "log").read_text() == "from the child\n"
