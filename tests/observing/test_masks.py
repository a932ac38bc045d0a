"""What MLflow's own calls are given, without the secrets that are known; its clients are stood in for."""

from pathlib import Path

import pytest
from known_secrets import known
from mlflow.entities import Metric, Param, RunTag, ViewType

from ml_experiment_nb import reports
from ml_experiment_nb.events import Note
from ml_experiment_nb.observing.masks import _of_files, _of_texts, _wrap

__all__ = ["known"]  # a fixture
SECRET = "tok-0123456789"


class Sink:
    """Keeps what it is sent."""

    def __init__(self):
        self.events = []

    def send(self, event):
        self.events.append(event)


@pytest.fixture
def client():
    """A client whose calls keep what they were given."""

    class Client:
        def __init__(self):
            self.given = []

        def log_batch(self, run_id, metrics=(), params=(), tags=()):
            self.given.append((run_id, metrics, params, tags))

        def log_artifacts(self, run_id, place, artifact_path=None):
            path = Path(place)
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            texts = {one.name: one.read_text() for one in files if one.is_file()}
            self.given.append((run_id, texts, artifact_path))

    _wrap(Client, _of_texts, ["log_batch", "not_there"])
    _wrap(Client, _of_files, ["log_artifacts"])
    return Client()


def test_without_a_secret_nothing_is_touched(client):
    params = [Param("a", SECRET)]
    client.log_batch("r", params=params)
    assert client.given[0][2] is params


def test_texts_are_masked_wherever_they_stand_and_the_callers_own_stay(client, known):
    known[SECRET] = "TOKEN"
    param, tag = Param("token", SECRET), RunTag(f"of {SECRET}", "x")
    client.log_batch("r", [Metric("loss", 0.5, 1, 2)], params=[param], tags=(tag,))
    _, [metric], [masked], [other] = client.given[0]
    assert (metric.key, metric.value, metric.timestamp, metric.step) == ("loss", 0.5, 1, 2)
    assert (masked.key, masked.value) == ("token", "<secret TOKEN>")
    assert other.key == "of <secret TOKEN>"
    assert (param.value, tag.key) == (SECRET, f"of {SECRET}")


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({f"{SECRET}": [SECRET]}, {"<secret TOKEN>": ["<secret TOKEN>"]}),
        ((1, True, None, 0.5), [1, True, None, 0.5]),
        (Path(f"/x/{SECRET}"), "/x/<secret TOKEN>"),
        (Path("/x"), Path("/x")),
        (ViewType.ALL, ViewType.ALL),
    ],
)
def test_values_of_any_kind(client, known, value, masked):
    known[SECRET] = "TOKEN"
    client.log_batch("r", value)
    assert client.given[0][1] == masked


def test_a_value_whose_text_can_not_be_had_is_left_as_it_is(client, known):
    class Odd:
        def __str__(self):
            raise RuntimeError

    known[SECRET] = "TOKEN"
    odd = Odd()
    client.log_batch("r", odd)
    assert client.given[0][1] is odd


def test_files_are_masked_as_they_are_sent_and_left_as_they_lie(client, known, tmp_path):
    known[SECRET] = "TOKEN"
    (tmp_path / "files").mkdir()
    for name, text in (("a.txt", f"it is {SECRET}"), ("b.txt", "plain")):
        (tmp_path / "files" / name).write_text(text)
    client.log_artifacts("r", str(tmp_path / "files"), artifact_path="x")
    client.log_artifacts("r", str(tmp_path / "files/a.txt"))
    assert client.given == [
        ("r", {"a.txt": "it is <secret TOKEN>", "b.txt": "plain"}, "x"), ("r", {"a.txt": "it is <secret TOKEN>"}, None),
    ]  # fmt: skip
    assert (tmp_path / "files/a.txt").read_text() == f"it is {SECRET}"


def test_the_run_is_told_which_secret_was_found(client, known):
    known[SECRET] = "TOKEN"
    sink = Sink()
    with reports.local_sink(sink):
        client.log_batch("r", params=[Param("token", SECRET)])
    [note] = sink.events
    assert isinstance(note, Note)
    assert "TOKEN" in note.text
    assert SECRET not in note.text


def test_a_call_is_wrapped_once(client):
    once = type(client).log_batch
    _wrap(type(client), _of_texts, ["log_batch"])
    assert type(client).log_batch is once
