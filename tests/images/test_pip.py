import pytest

from ml_experiment_nb.images.pip import _explained, indexes

INDEXES = [
    (
        ["Collecting a", "  Downloading a-1.0-py3-none-any.whl (7 kB)"],
        {"a-1.0-py3-none-any.whl": "https://pypi.org/simple"},
    ),
    (
        [
            "Looking in indexes: https://me:tok@own.host/simple",
            "  Downloading https://own.host/f/b%2B1-1.0.tar.gz (1 MB)",
        ],
        {"b+1-1.0.tar.gz": "https://own.host/simple"},
    ),
    (
        [
            "Looking in indexes: https://own.host/simple, https://pypi.org/simple, file:///here",
            "  Using cached a-1.0-py3-none-any.whl (7 kB)",
            "  Downloading https://own.host/a-1.0-py3-none-any.whl.metadata (7 kB)",
            "  Downloading https://files.own.host/b-1.0-py3-none-any.whl (7 kB)",
            "Processing /here/c-1.0-py3-none-any.whl",
        ],
        {"a-1.0-py3-none-any.whl": "https://pypi.org/simple", "b-1.0-py3-none-any.whl": "https://files.own.host/"},
    ),
]


@pytest.mark.parametrize(("said", "found"), INDEXES)
def test_the_index_of_a_file_is_told_by_pip(said, found):
    assert indexes(said) == found


SAID = [
    ("/usr/bin/python: No module named pip", "pip isn't installed here"),
    ("OSError: [Errno 28] No space left on device", "the disk is full"),
    ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'", "can't be reached"),
    ("ERROR: HTTP error 401 Client Error: Unauthorized", "wants to know who you are"),
    ("ERROR: No matching distribution found for a==1", "a==1 is not to be had"),
    ("  error: gcc failed\nERROR: Failed building wheel for a", "no wheel can be built of a: "),
    ("git clone --quiet did not run successfully\nfatal: could not read from https://u:p@host/x", "by git: fatal"),
    ("something new", "pip can't have a==1: something new"),
]


@pytest.mark.parametrize(("said", "sentence"), SAID)
def test_what_pip_says_is_one_sentence(said, sentence):
    found = _explained(said, ["a==1"], "the index")
    assert sentence in found
    assert "\n" not in found
