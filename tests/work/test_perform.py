import sys

import pytest
from performed_tasks import FINISHED, metrics, perform

from ml_experiment_nb.events import Answer, Done, Log, Metrics, Note, Params
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.targets import Cell, Command, Function
from ml_experiment_nb.work.payload import write_payload
from ml_experiment_nb.work.process import Running


def function(tmp_path, found):
    """Return a function as a target, and the payload that it travels in."""
    return Function(function=print), str(write_payload({"function": found}, tmp_path))


def test_a_command_gets_its_parameters_quoted_and_as_json(make_task):
    command = """echo {C} {name}; printenv ML_EXPERIMENT_PARAMS; echo "$HOME" > /dev/null"""
    events, printed, outcome = perform(make_task(Command(command=command), params={"C": 0.5, "name": "a b; echo c"}))
    assert outcome == FINISHED
    assert printed == '0.5 a b; echo c\n{"C": 0.5, "name": "a b; echo c"}\n'
    assert events == [Params({"C": 0.5, "name": "a b; echo c"})]


def test_a_command_that_fails(make_task):
    _, printed, outcome = perform(make_task(Command(command="echo before; exit 3")))
    assert outcome.failure.type == "TaskDiedError"
    assert "exit code 3" in outcome.failure.message
    assert printed.splitlines()[0] == "before"
    assert "perform.py" not in printed


def test_a_functions_result_is_recorded_and_its_artifacts_kept(make_task, project):
    def train(C, kernel="rbf"):
        print("training", kernel)
        return {"acc": C, "note": "text"}, {"weights": b"abc"}

    target, payload = function(project, train)
    events, printed, outcome = perform(make_task(target, params={"C": 0.5}, payload=payload))
    assert (printed, outcome) == ("training rbf\n", FINISHED)
    assert metrics(events) == [{"acc": 0.5}]
    assert [event.text for event in events if isinstance(event, Note)]
    assert (project / ".tasks/0/artifacts/weights.bin").read_bytes() == b"abc"


def test_a_function_that_fails_shows_its_own_frames_only(make_task, project):
    def train():
        return 1 / 0

    target, payload = function(project, train)
    _, _, outcome = perform(make_task(target, payload=payload))
    assert outcome.failure.type == "ZeroDivisionError"
    assert outcome.failure.traceback.splitlines()[1].startswith(f'  File "{__file__}"')


def test_metrics_that_are_none_fail_the_task_in_few_words(make_task, project):
    def train():
        yield "loss"

    target, payload = function(project, train)
    _, printed, outcome = perform(make_task(target, payload=payload))
    assert outcome.failure.type == "MetricError"
    assert "perform.py" not in printed


def test_a_pruned_generator_is_closed(make_task, project):
    def train():
        try:
            for k in range(100):
                yield {"loss": k}
        finally:
            print("closed at", k, flush=True)

    target, payload = function(project, train)
    running = Running(make_task(target, payload=payload, pruning=True))
    printed, steps, outcome = "", [], None
    for batch in running.batches():
        for event in batch:
            if isinstance(event, Metrics):
                steps.append(event.step)
                running.answer(Answer(event.step == 3))
            printed += event.text if isinstance(event, Log) else ""
            outcome = event.outcome if isinstance(event, Done) else outcome
    assert (steps, outcome, printed) == ([0, 1, 2, 3], Outcome(Status.PRUNED), "closed at 3\n")


def test_a_cell_reads_its_values_and_its_last_expression_is_recorded(make_task, project):
    import numpy as np

    payload = str(write_payload({"X": np.arange(4.0), "factor": 2}, project))
    source = "X *= factor\nprint(X.sum())\n!echo shell\n{'total': X.sum()}"
    events, printed, outcome = perform(make_task(Cell(source=source), payload=payload))
    assert (printed.split(), outcome) == (["12.0", "shell"], FINISHED)
    assert metrics(events) == [{"total": 12.0}]


@pytest.mark.slow
def test_a_cell_sees_no_names_but_its_own(make_task):
    for name in ("reports", "socket", "perform", "Path"):
        assert perform(make_task(Cell(source=name)))[2].failure.type == "NameError"


def test_classes_defined_in_a_cell_can_be_pickled(make_task):
    source = "import pickle\nclass A:\n    x = 1\n{'x': pickle.loads(pickle.dumps(A())).x}"
    assert metrics(perform(make_task(Cell(source=source)))[0]) == [{"x": 1.0}]


@pytest.mark.parametrize("form", ["cell", "function"])
def test_what_a_value_was_made_with_in_the_notebook_can_be_pickled(make_task, project, monkeypatch, form):
    main: dict = {"__name__": "__main__"}
    source = "import pickle\nclass A:\n    x = 1\ndef copy(value):\n    return pickle.loads(pickle.dumps(value))\n"
    exec(source + "made = A()\ndef train():\n    return {'x': copy(made).x + copy(copy)(made).x}", main)
    for name in ("A", "copy", "train"):  # as in a kernel, whose __main__ is the notebook
        monkeypatch.setattr(sys.modules["__main__"], name, main[name], raising=False)
    if form == "cell":
        payload = write_payload({"made": main["made"], "copy": main["copy"]}, project)
        task = make_task(Cell(source="{'x': copy(made).x + copy(copy)(made).x}"), payload=str(payload))
    else:
        task = make_task(Function(function=print), payload=str(write_payload({"function": main["train"]}, project)))
    events, _, outcome = perform(task)
    assert (metrics(events), outcome) == ([{"x": 2.0}], FINISHED)


def test_a_cell_that_fails_shows_its_own_frames_only(make_task):
    _, _, outcome = perform(make_task(Cell(source="def f():\n    1 / 0\nf()")))
    lines = outcome.failure.traceback.splitlines()
    assert "line 3" in lines[1]
    assert "1 / 0" in outcome.failure.traceback


def test_a_cell_counts_the_lines_above_it(make_task):
    _, _, outcome = perform(make_task(Cell(source="def f():\n    1 / 0\nf()").below(2)))
    found = [line for line in outcome.failure.traceback.splitlines() if line.startswith("  File")]
    assert ["line 5" in found[0], "line 4, in f" in found[1]] == [True, True]


def test_a_cell_writes_nothing_into_the_users_history(make_task, project):
    home = project / "home"
    home.mkdir()
    assert perform(make_task(Cell(source="{'a': 1}"), env={"HOME": str(home), "IPYTHONDIR": ""}))[2] == FINISHED
    assert not list(home.rglob("history.sqlite"))
