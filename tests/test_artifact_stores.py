import importlib.util
import socket

import pytest
from mlflow.exceptions import MlflowException

from ml_experiment_nb import artifact_stores
from ml_experiment_nb.artifact_stores import artifact_root, check_artifacts, location, refusals, send
from ml_experiment_nb.errors import StoreError

SQLITE = "sqlite:////somewhere/mlflow.db"


@pytest.fixture
def closed():
    """The address of a port where nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{found.getsockname()[1]}"


def test_files_go_to_the_project_unless_it_is_told_where(project, monkeypatch):
    assert artifact_root(project, SQLITE) == (project / ".ml-experiment/artifacts").as_uri()
    monkeypatch.setenv(artifact_stores.ROOT, "shared/runs")
    assert artifact_root(project, SQLITE) == (project / "shared/runs").as_uri()
    monkeypatch.setenv(artifact_stores.ROOT, "dbfs:/runs")
    assert artifact_root(project, SQLITE) == (project / "dbfs:/runs").as_uri()
    monkeypatch.setenv(artifact_stores.ROOT, "gs://bucket/runs/")
    assert artifact_root(project, SQLITE) == "gs://bucket/runs"
    assert artifact_root(project, "http://server:5000") is None  # the server says it


def test_a_library_that_is_missing_is_named(project, monkeypatch):
    monkeypatch.setattr(artifact_stores, "find_spec", lambda name: None)
    monkeypatch.setenv(artifact_stores.ROOT, "s3://bucket/runs")
    with pytest.raises(StoreError, match=r"s3://bucket/runs needs boto3.*\[s3\]"):
        artifact_root(project, SQLITE)


@pytest.mark.parametrize(
    ("experiment", "folder"),
    [
        ("SVM", "SVM"), ("a/b: c", "a_b_ c"), ("..", "experiment"), (" . ", "experiment"), ("é", "é"),
        ("x" * 99, "x" * 60), ("../../etc", "_.._etc"),
    ],
)  # fmt: skip
def test_an_experiment_s_folder_stays_below_the_root(experiment, folder):
    from urllib.parse import unquote

    assert unquote(location("file:///runs", experiment)) == f"file:///runs/{folder}"
    assert location("s3://bucket", experiment) == f"s3://bucket/{folder.replace(' ', '_')}"


@pytest.fixture
def with_boto(monkeypatch):
    monkeypatch.setattr(artifact_stores, "find_spec", lambda name: importlib.util.find_spec("json"))


def test_an_s3_server_that_does_not_answer_is_said_at_once(monkeypatch, with_boto, closed):
    check_artifacts("s3://bucket/x")  # Amazon's own is not tried
    monkeypatch.setenv(artifact_stores.ENDPOINT, closed.replace("//", "//me:secret-word@"))
    with pytest.raises(StoreError, match=r"no S3 server answers at http://.*127\.0\.0\.1") as raised:
        check_artifacts("s3://bucket/x")
    assert "secret-word" not in str(raised.value)
    check_artifacts("file:///runs")  # it is not asked for those
    monkeypatch.setenv(artifact_stores.ENDPOINT, "localhost:9000")
    with pytest.raises(StoreError, match=r"is no address: 'localhost:9000'; it begins with http://"):
        check_artifacts("s3://bucket/x")


def test_files_are_moved_and_added_to_those_that_are_there(tmp_path):
    for number in (1, 2):
        folder = tmp_path / f"run-{number}"
        (folder / "record").mkdir(parents=True)
        (folder / f"record/{number}.txt").write_text(str(number))
        send((tmp_path / "store/run/artifacts").as_uri(), folder, SQLITE)
    found = tmp_path / "store/run/artifacts/record"
    assert sorted(one.name for one in found.iterdir()) == ["1.txt", "2.txt"]
    assert not (tmp_path / "run-1").exists()


def test_what_a_library_raises_is_mlflows_error_and_what_is_known_passes():
    with pytest.raises(MlflowException, match=r"^file:///runs: KeyError: 'bucket'$"), refusals("file:///runs"):
        raise KeyError("bucket")
    with pytest.raises(FileNotFoundError), refusals("file:///runs"):
        raise FileNotFoundError


def test_what_fails_because_the_server_has_gone_is_told_as_that(monkeypatch, with_boto, closed):
    asked = refusals("s3://bucket/x")
    asked.__enter__()
    monkeypatch.setenv(artifact_stores.ENDPOINT, closed)
    with pytest.raises(StoreError, match="no S3 server answers"):
        asked.__exit__(KeyError, KeyError("whatever boto raises"), None)
