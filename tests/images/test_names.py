import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.images.names import Name, part_of

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("svm", "svm", "latest", None),
        ("team/svm:1", "team/svm", "1", None),
        ("localhost:5000/team/svm", "localhost:5000/team/svm", "latest", None),
        ("ghcr.io/Team".lower() + "/a_b-c.d:v1.0", "ghcr.io/team/a_b-c.d", "v1.0", None),
        (f"python@{DIGEST}", "python", None, DIGEST),
        (f"python:3.11@{DIGEST}", "python", "3.11", DIGEST),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text, repository, tag, digest):
    assert Name.read(text) == Name(repository, tag, digest)


def test_a_name_is_written_whole():
    assert str(Name.read("svm")) == "svm:latest"
    assert str(Name.read(f"python@{DIGEST}")) == f"python@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Svm:1", "lower case, as 'svm:1' is"),
        ("", "no spaces, and at least one character"),
        ("my image", "no spaces"),
        ("team//svm", "parts divided by /"),
        ("svm:", "parts divided by /"),
        ("-svm", "parts divided by /"),
        ("svm@sha256:12", "parts divided by /"),
        ("a" * 300, "parts divided by /"),
    ],
)
def test_what_is_no_name_is_said(text, why):
    with pytest.raises(SpecError, match="is no name of an image") as caught:
        Name.read(text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [("SVM with RBF (kernel)", "svm-with-rbf-kernel"), ("été_2", "t-2"), ("", "run"), ("???", "run"), ("日本", "run")],
)
def test_any_text_is_made_a_part_of_a_name(text, part):
    assert part_of(text, "run") == part
    assert Name.read(f"team/{part}:latest").repository == f"team/{part}"


@pytest.mark.parametrize("length", [98, 99, 100, 101, 300])
def test_a_part_is_cut_where_docker_still_takes_it(length):
    part = part_of("a" * length + " b" * 200, "run")
    assert len(part) <= 100
    assert Name.read(part).repository == part
