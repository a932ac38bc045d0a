from contextlib import suppress

import pytest
from papermill.exceptions import PapermillException
from papermill.translators import papermill_translators

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.secrecy import Secret
from ml_experiment_nb.work.injecting import injected, injecting

MIXED = "postgres://me:${env:MLEXP_TEST_TOKEN}@host"


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("MLEXP_TEST_TOKEN", "tok-0123456789")


def code(language, **params):
    with injecting():
        return papermill_translators.find_translator("any", language).codify(
            {name: injected(value) for name, value in params.items()}, "Parameters"
        )


@pytest.mark.parametrize(
    ("language", "whole", "mixed"),
    [
        (
            "python",
            'a = __import__("os").environ["MLEXP_TEST_TOKEN"]',
            'a = "postgres://me:" + __import__("os").environ["MLEXP_TEST_TOKEN"] + "@host"',
        ),
        (
            "R",
            'a = Sys.getenv("MLEXP_TEST_TOKEN")',
            'a = paste0("postgres://me:", Sys.getenv("MLEXP_TEST_TOKEN"), "@host")',
        ),
        ("bash", 'a="$MLEXP_TEST_TOKEN"', 'a=postgres://me:"$MLEXP_TEST_TOKEN"@host'),
    ],
)
def test_the_injected_cell_reads_the_variable_in_its_own_language(language, whole, mixed):
    assert whole in code(language, a=Secret.of("MLEXP_TEST_TOKEN")).splitlines()
    text = code(language, a=Secret(MIXED))
    assert mixed in text.splitlines()
    assert "tok-0123456789" not in text


def test_what_was_injected_is_the_value(monkeypatch):
    names = {}
    exec(code("python", a=Secret(MIXED), b={"c": [Secret.of("MLEXP_TEST_TOKEN"), 1]}, plain="x"), names)
    assert names["a"] == "postgres://me:tok-0123456789@host"
    assert (names["b"], names["plain"]) == ({"c": ["tok-0123456789", 1]}, "x")


@pytest.mark.parametrize(
    ("language", "value"),
    [(".net-csharp", Secret.of("MLEXP_TEST_TOKEN")), ("matlab", Secret(MIXED))],
)
def test_a_language_that_can_not_read_it_is_refused(language, value):
    with pytest.raises(PapermillException, match="read the variable in the notebook itself"):
        code(language, a=value)


def test_a_variable_that_is_not_set_is_said_before_anything_is_written(monkeypatch):
    monkeypatch.delenv("MLEXP_TEST_TOKEN")
    with pytest.raises(SpecError, match="MLEXP_TEST_TOKEN"):
        injected([Secret.of("MLEXP_TEST_TOKEN")])


def test_papermill_is_as_it_was_behind_the_block():
    from papermill.translators import Translator

    before = Translator.__dict__["translate"]
    with suppress(RuntimeError), injecting():
        assert Translator.__dict__["translate"] is not before
        raise RuntimeError
    assert Translator.__dict__["translate"] is before
