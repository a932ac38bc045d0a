import re
import subprocess
import sys
import traceback

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_client.manager import start_new_kernel

from ml_experiment_nb import diff, job, runs
from ml_experiment_nb.errors import ExperimentError, RunNotFoundError, SpecError, StoreError
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracebacks import kept_frames, lines_of, shortened, show_short

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_INSIDES = re.compile(r"ml_experiment_nb[/\\]\w+\.py|site-packages|pydantic|sqlalchemy")


# --- which frames are kept ---


def names(trace):
    return [frame.name for frame in traceback.extract_tb(trace)]


def raised(call):
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_users_frames_are_kept_and_ours_are_not():
    def cell():
        return runs(limit=0)

    error = raised(cell)
    assert len(names(error.__traceback__)) > 3
    assert names(kept_frames(error.__traceback__)) == ["raised", "cell"]


def test_a_library_is_kept_that_the_user_calls_and_none_that_we_call():
    def cell():
        return re.sub("a", lambda _: diff(0, 0), "a")

    assert names(kept_frames(raised(cell).__traceback__)) == ["raised", "cell", "sub", "<lambda>"]

    def another():
        return spec_from_mapping({"kind": "experiment", "name": "x", "run": ["a.py"], "params": 3})

    error = raised(another)
    assert isinstance(error, SpecError)
    assert names(kept_frames(error.__traceback__)) == ["raised", "another"]


def test_code_that_we_call_for_the_user_is_kept():
    @shortened
    def verb():
        def insides():
            return runs(limit=0)

        return insides()

    # what stands in this file is the user's
    assert names(kept_frames(raised(verb).__traceback__)) == ["raised", "verb", "insides"]


def test_without_frames_of_the_user_there_are_none():
    assert kept_frames(None) is None
    trace = raised(lambda: runs(limit=0)).__traceback__
    while "ml_experiment_nb" not in trace.tb_frame.f_code.co_filename or "test" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    assert kept_frames(trace) is None


# --- what a notebook shows ---


@pytest.fixture
def shell(stored):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(history_length=0)
    shell.history_manager.enabled = False
    shell.run_cell("from ml_experiment_nb import *")
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


@pytest.fixture
def shown(shell):
    """Run a cell and return what it has printed of its error."""

    def run(source):
        with capture_output() as out:
            shell.run_cell(source)
        return _COLOURS.sub("", out.stdout)

    return run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("runs(where='metrics.a >>> 3')", "SpecError: the filter 'metrics.a >>> 3' can't be read at '>'"),
        ("runs('nope')", "RunNotFoundError: no experiment is called 'nope'"),
        ("best_run()", "SpecError: say which metric is best"),
        ("compare('zzz')", "RunNotFoundError: no run 'zzz'"),
        ("diff('aaa', 'bbb')", "RunNotFoundError: no run 'aaa'"),
        ("replay('zzz')", "RunNotFoundError: no run 'zzz'"),
        ("export_image('nope.ipynb')", "SpecError: nope.ipynb: there is no such notebook"),
        ("read_spec('nope.yaml')", "SpecError: nope.yaml"),
        ("Group(name='a', run=['a.py'], sampler='tpee')", "SpecError: sampler"),
        ("uniform(3, 1)", "SpaceError: "),
        ("job(lambda *rest: {})", "SpecError: "),
    ],
)
def test_an_error_of_ours_shows_the_users_line_and_the_message(shown, line, message):
    text = shown(f"x = 1\n{line}\ny = 2")
    assert re.search(rf"-+> 2 {re.escape(line)}\n", text), text
    assert f"\n{message}" in text
    assert not _INSIDES.search(text.replace("site-packages/IPython", "")), text
    assert len(text.splitlines()) <= 9, text


TRAIN = """
@job
def train(C, kernel="rbf"):
    if C > 5:
        raise ValueError("too large")
    if C == 3:
        report(loss="high")
    return {"score": C}
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train(1, kernl='a')", "TypeError: train() got an unexpected keyword argument 'kernl'; did you mean 'kernel"),
        ("train()", "TypeError: train() missing a required argument: 'C'"),
        ("train.group({'D': 'uniform(0, 1)'}, metric='score')", "ParameterError: D: train has no such parameter"),
        ("train.group({'C': 'unifrm(0, 1)'}, metric='score')", "SpaceError: param_space.C: 'unifrm'"),
        ("train.group({'C': uniform(0, 1)}, metric='score', trials=3)", "SpecError: trials"),
    ],
)
def test_a_job_that_is_called_wrongly_shows_the_call(shown, line, message):
    shown(TRAIN)
    text = shown(line)
    assert f"> 1 {line}\n" in text
    assert message in text
    assert not _INSIDES.search(text), text


def test_an_error_of_the_users_code_keeps_the_users_frames(shown):
    shown(TRAIN)
    text = shown("train(7)")
    assert "> 1 train(7)" in text
    assert 'raise ValueError("too large")' in text
    assert "ValueError: too large" in text
    assert not _INSIDES.search(text), text
    text = shown("train(3)")
    assert "> 1 train(3)" in text
    assert 'report(loss="high")' in text
    assert "MetricError: report(loss=…)" in text
    assert not _INSIDES.search(text), text


def test_libraries_that_the_users_code_calls_are_kept(shown):
    shown("import json\n@job\ndef load(text):\n    return json.loads(text)")
    text = shown("load('{')")
    assert "in load(text)" in text
    assert "json/decoder.py" in text
    assert not _INSIDES.search(text), text


def test_more_is_shown_where_it_is_asked_for(shown, shell):
    assert "listing.py" not in shown("best_run()")
    assert "listing.py" in shown("%tb")
    assert "listing.py" in shown("%tb Plain")
    assert "listing.py" not in shown("best_run()")
    assert "listing.py" in shown("%xmode Verbose\nbest_run()")
    assert shown("%xmode Minimal\nbest_run()").rstrip().splitlines()[-1].startswith("SpecError: say which metric")
    assert "listing.py" in "".join(traceback.format_tb(sys.last_value.__traceback__))  # which %debug takes


def test_what_led_to_an_error_is_told_where_it_is_the_users(shown):
    text = shown("try:\n    {}['a']\nexcept KeyError:\n    best_run()")
    assert "KeyError: 'a'" in text
    assert "During handling of the above exception" in text
    assert text.rstrip().splitlines()[-1].startswith("SpecError: say which")


def test_what_led_to_an_error_is_left_out_where_it_is_ours(shell, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://127.0.0.1:1/none")
    error = raised(runs)
    assert isinstance(error, StoreError)
    cause = error.__cause__
    assert isinstance(cause, OSError)
    text = _COLOURS.sub("", "\n".join(lines_of(error)))
    assert "ConnectionRefusedError" not in text
    assert text.rstrip().splitlines()[-1].startswith("StoreError: no tracking server answers at")
    assert error.__cause__ is cause  # which %tb has
    assert error.__suppress_context__


def test_an_error_without_frames_is_a_line(shell):
    assert lines_of(RunNotFoundError("no run 'a'")) == ["RunNotFoundError: no run 'a'"]


def test_what_shows_itself_in_its_own_way_is_left_so():
    class Own(Exception):
        def _render_traceback_(self):
            return ["mine"]

    assert show_short(Own())._render_traceback_() == ["mine"]


def test_a_failure_of_our_own_is_shown_whole():
    """What is not raised on purpose is a fault, and whoever reports it needs all of it."""
    error = raised(lambda: diff(object(), object()))
    assert isinstance(error, ExperimentError) or not hasattr(error, "_render_traceback_")


def test_outside_of_ipython_nothing_is_different(project):
    code = "from ml_experiment_nb import runs; runs(limit=0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "listing.py" in done.stderr
    assert done.stderr.splitlines()[-1] == "ml_experiment_nb.errors.SpecError: limit is 0: it is 1 or more, and whole"


def test_the_type_of_a_job_is_known_as_before():
    @job
    def train(C: float) -> dict[str, float]:
        return {"score": C}

    assert str(train) == "<job train(C: float) -> dict[str, float]>"
    assert train.group.__doc__.startswith("Search a space")


# --- in a kernel ---


@pytest.mark.kernel
@pytest.mark.slow
def test_a_kernel_says_so_to_its_front_ends(stored):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(stored))
    try:

        def error_of(source):
            reply = client.execute_interactive(source, timeout=120, output_hook=lambda message: None)["content"]
            return reply["ename"], _COLOURS.sub("", "\n".join(reply["traceback"]))

        client.execute_interactive("%load_ext ml_experiment_nb\nfrom ml_experiment_nb import *", timeout=120)
        name, text = error_of("rows = runs(limit=0)")
        assert name == "SpecError"
        assert "> 1 rows = runs(limit=0)" in text
        assert not _INSIDES.search(text), text
        client.execute_interactive(TRAIN, timeout=120)
        name, text = error_of("train(7)")
        assert name == "ValueError"
        assert 'raise ValueError("too large")' in text
        assert not _INSIDES.search(text), text
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
