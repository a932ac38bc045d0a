from pathlib import Path

import pytest

from ml_experiment_nb.addresses import local_path, without_password


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///home/me/my%20runs", "/home/me/my runs"),
        ("file:///a/b%20c/d%231", "/a/b c/d#1"),
        ("file://localhost/a", "/a"),
        ("/a/b", "/a/b"),
        ("/home/me/100%25", "/home/me/100%25"),
        ("mlruns/0", "mlruns/0"),
    ],
)
def test_a_path_of_this_machine_is_read_from_its_address(uri, path):
    assert local_path(uri) == Path(path)


@pytest.mark.parametrize(
    "uri", [None, "", "s3://bucket/key", "https://host/x.whl", "mlflow-artifacts:/0/1", "dbfs:/x", "file://host/a"]
)
def test_what_lies_elsewhere_has_no_path_here(uri):
    assert local_path(uri) is None


def test_an_address_that_pathlib_makes_is_read_as_it_was(tmp_path):
    odd = tmp_path / "a;b#c?d é"
    assert local_path(odd.as_uri()) == odd


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p/ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql:///db?user=u&password=p%40&x=1", "postgresql:///db?user=u&password=***&x=1"),
        ("http://h:5000", "http://h:5000"),
        ("https://h/x?a=1&access_token=abc y", "https://h/x?a=1&access_token=*** y"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_addresses_are_shown_without_their_passwords(address, shown):
    assert without_password(address) == shown
