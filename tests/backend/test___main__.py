"""The process's two pipes: questions in, answers and events out."""

import io
import json
import threading

import pytest

from ml_experiment_nb.backend import __main__ as process
from ml_experiment_nb.backend.__main__ import Backend, Wire
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import Content


class Pipe(io.BytesIO):
    """A pipe whose other end reads what has been written."""

    def answers(self):
        file, found = io.BytesIO(self.getvalue()), []
        while line := file.readline():
            head = json.loads(line)
            found.append((head, json.loads(file.read(head.pop("bytes")))))
        return found


@pytest.fixture
def asked(project, monkeypatch):
    """Ask questions of a backend that answers as it is told, and return the answers, by their questions' numbers."""

    def ask(answer, *verbs):
        pipe = Pipe()
        monkeypatch.setattr(process, "answer", lambda project, verb, where, given: answer(verb, where, given))
        questions = [
            {"id": k, "verb": verb, "root": str(project), "folder": str(project), "route": {}, "given": {}}
            for k, verb in enumerate(verbs)
        ]
        backend = Backend(project, Wire(pipe))
        for question in questions:
            backend._take(question)
        return pipe.answers()

    return ask


def test_an_answer_has_its_question_s_number_and_its_status(asked):
    found = asked(lambda verb, where, given: (201, {"verb": verb}), "start", "start again")
    assert found == [({"id": 0, "status": 201}, {"verb": "start"}), ({"id": 1, "status": 201}, {"verb": "start again"})]


def test_a_file_is_named_and_not_sent(asked, project):
    [(head, body)] = asked(lambda *_: (200, Content(project / "a.txt", is_temporary=True)), "artifact")
    assert (head["file"], head["temporary"], body) == (str(project / "a.txt"), True, {})


def test_what_is_refused_says_why(asked):
    def refuse(*_):
        raise Refused(404, "there is no such run")

    assert asked(refuse, "run") == [({"id": 0, "status": 404}, {"message": "there is no such run"})]


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_else_goes_wrong_is_answered_too(asked, error, capfd):
    def fail(*_):
        raise error

    [(head, body)] = asked(fail, "run")
    assert (head["status"], body["message"].split(":")[0]) == (500, type(error).__name__)
    assert "Traceback" in capfd.readouterr().err


def test_an_answer_that_json_can_not_hold_is_told_as_a_fault(asked):
    [(head, body)] = asked(lambda *_: (200, {"value": float("nan")}), "metrics")
    assert (head["status"], "ValueError" in body["message"]) == (500, True)


def test_an_answer_that_is_too_large_says_what_to_do(asked, monkeypatch):
    monkeypatch.setattr(process, "LARGEST", 10)
    assert asked(lambda *_: (200, {"text": "x" * 20}), "log") == [
        ({"id": 0, "status": 413}, {"message": "that is too much for one answer: ask for less, by limit"})
    ]


def test_nobody_s_page_keeps_it_busy(asked):
    assert asked(None, "busy") == [({"id": 0, "status": 200}, {"busy": False})]
    assert asked(None, "unwatch") == [({"id": 0, "status": 200}, {})]


def test_answers_are_never_mixed():
    pipe = Pipe()
    wire = Wire(pipe)
    threads = [threading.Thread(target=wire.write, args=({"id": k}, {"text": "x" * 10_000})) for k in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(head["id"] for head, _ in pipe.answers()) == [*range(8)]
