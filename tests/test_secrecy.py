import ast
import pickle

import pytest

from ml_experiment_nb import secrecy
from ml_experiment_nb.cells import read_cell, value_text, with_values
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.identity import spec_hash
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.secrecy import Secret
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.words import read_assignments


@pytest.fixture(autouse=True)
def values(monkeypatch):
    monkeypatch.setattr(secrecy, "secrets_seen", {})
    monkeypatch.setenv("TOKEN", "abcdef")
    monkeypatch.setenv("PASSWORD", "hunter-2")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("secret(TOKEN)", Secret("${env:TOKEN}")),
        (" secret( 'TOKEN' ) ", Secret("${env:TOKEN}")),
        ('secret("TOKEN")', Secret("${env:TOKEN}")),
        ("${env:TOKEN}", Secret("${env:TOKEN}")),
        ("a ${env:TOKEN}:${env: PASSWORD } b", Secret("a ${env:TOKEN}:${env:PASSWORD} b")),
        ("secrets(TOKEN)", "secrets(TOKEN)"),
        ("a secret(TOKEN)", "a secret(TOKEN)"),
        ("$TOKEN ${TOKEN}", "$TOKEN ${TOKEN}"),
        ({"a": ["secret(TOKEN)", 1]}, {"a": [Secret("${env:TOKEN}"), 1]}),
    ],
)
def test_what_is_read(text, read):
    assert secrecy.read(text) == read


@pytest.mark.parametrize("text", ["secret()", "secret(a b)", "secret(my-token)", "${env:}", "x${env:a-b}", "${env:A"])
def test_what_names_no_variable(text):
    with pytest.raises(SpecError, match="environment variable"):
        secrecy.read(text)


def test_a_secret_has_no_value_until_it_is_asked_for():
    secret = secrecy.read("me:${env:TOKEN}@${env:PASSWORD}")
    assert pickle.loads(pickle.dumps(secret)) == secret
    assert (repr(secret), str(Secret.of("TOKEN"))) == ("me:${env:TOKEN}@${env:PASSWORD}", "secret(TOKEN)")
    assert secrecy.secrets_seen == {}
    assert secret.value == "me:abcdef@hunter-2"
    assert secrecy.secrets_seen == {"abcdef": "TOKEN", "hunter-2": "PASSWORD"}


def test_what_can_not_be_had(monkeypatch):
    with pytest.raises(SpecError, match="UNSET is not set"):
        Secret.of("UNSET").value  # noqa: B018
    monkeypatch.setenv("TOKEN", " ab ")
    with pytest.raises(SpecError, match="fewer than 4 characters") as caught:
        Secret.of("TOKEN").value  # noqa: B018
    assert " ab " not in str(caught.value)


def test_a_known_value_is_recognised():
    given = {"a": "abcdef", "b": ["x abcdef"], "c": ("abcde", 1), "d": None}
    assert secrecy.recognised(given) == given
    secrecy.learn("TOKEN")
    found = {"a": Secret.of("TOKEN"), "b": [Secret("x ${env:TOKEN}")], "c": ("abcde", 1), "d": None}
    assert secrecy.recognised(given) == found
    assert secrecy.resolved(found) == given
    assert list(secrecy.names_in(found)) == ["TOKEN", "TOKEN"]


def test_a_short_value_within_another_is_none_and_a_note_says_so(monkeypatch, script):
    monkeypatch.setenv("PIN", "8341")
    script("secret('PASSWORD')")
    assert secrecy.resolved(Secret.of("PIN")) == "8341"
    given = {"a": "0.28341", "b": "pin=8341"}
    assert secrecy.recognised(given) == {"a": "0.28341", "b": Secret("pin=${env:PIN}")}
    spec = spec_from_mapping({"run": "script.py", "params": {"pin": Secret.of("PIN")}})
    [note] = make_plan(spec).notes
    assert note.startswith("the secret PIN has fewer than 8 characters")
    assert "8341" not in note


def test_a_value_that_is_another_s_name(monkeypatch):
    monkeypatch.setenv("PASSWORD", "TOKEN")
    secrecy.learn("TOKEN")
    secrecy.learn("PASSWORD")
    assert secrecy.recognised("abcdef TOKEN") == Secret("${env:TOKEN} ${env:PASSWORD}")


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ('secret("TOKEN")', Secret.of("TOKEN")),
        ("f\"me:{secret('TOKEN')}@h\"", Secret("me:${env:TOKEN}@h")),
        ("'me:' + secret('TOKEN') + '@h'", Secret("me:${env:TOKEN}@h")),
        ("{'a': [secret('TOKEN'), 1], 'b': (2,)}", {"a": [Secret.of("TOKEN"), 1], "b": (2,)}),
    ],
)
def test_a_parameter_of_a_cell(code, value):
    cell = read_cell(f"t = {code}\nn = 1\nprint(t)")
    assert cell.params == {"t": value, "n": 1}
    assert "secret" not in cell.reads
    again = with_values(cell, {"t": value})
    assert read_cell(again).params == cell.params
    assert eval(value_text("t", value), {"secret": lambda name: {"TOKEN": "abcdef"}[name]}) == secrecy.resolved(value)


@pytest.mark.parametrize(
    "code", ["secret('a-b')", "secret(x)", "secret()", "f(secret('TOKEN'))", "secret('TOKEN')[:2]"]
)
def test_what_is_no_parameter(code):
    with pytest.raises((ValueError, TypeError)):
        secrecy.from_node(ast.parse(code, mode="eval").body)
    assert read_cell(f"t = {code}\nn = 1").params == {}


def test_a_function_called_secret_that_is_another_s():
    assert read_cell("from vault import secret\nt = secret('TOKEN')").params == {}


def test_a_text_in_a_cell_is_a_text():
    assert read_cell("t = 'secret(TOKEN)'").params == {"t": "secret(TOKEN)"}


def test_on_the_command_line():
    found = read_assignments(["a=secret(TOKEN)", "b='secret(TOKEN)'", "c={'k': 'secret(TOKEN)'}", "d=x${env:TOKEN}"])
    assert found == {
        "a": Secret.of("TOKEN"),
        "b": "secret(TOKEN)",
        "c": {"k": Secret.of("TOKEN")},
        "d": Secret("x${env:TOKEN}"),
    }


def test_the_name_counts_and_not_the_value(script, monkeypatch):
    script("")
    spec = spec_from_mapping({"run": "script.py", "params": {"token": Secret.of("TOKEN")}})
    before = spec_hash(spec)
    assert "token: secret(TOKEN)" in spec_text(spec)
    monkeypatch.setenv("TOKEN", "another")
    assert spec_hash(spec) == before
    other = spec.model_copy(update={"params": {"token": Secret.of("PASSWORD")}})
    assert spec_hash(other) != before


def test_credentials_in_clear_draw_one_note(script, monkeypatch):
    script("")
    monkeypatch.setenv("TOKEN", "abcdef-and-more")
    given = {
        "password": "abcd", "hf_token": "abcd", "apiKey": "abcd", "aws": {"secret_key": "abcd", "region": "eu"},
        "url": "postgres://me:pw@host/db",
    }  # fmt: skip
    fine = {
        "token": Secret.of("TOKEN"), "max_tokens": "100", "pad_token": "abcd", "tokenizer": "bpe", "secret": "",
        "mask_token": "[MASK]", "key": "abcd", "n_tokens": 5, "password_length": "long", "api_key": None,
        "address": "http://host:80/a@b",
    }  # fmt: skip
    [note] = make_plan(spec_from_mapping({"run": "script.py", "params": {**given, **fine}})).notes
    assert note.startswith("password, hf_token, apiKey, aws.secret_key, url look like credentials")
    assert "abcd" not in note
    assert make_plan(spec_from_mapping({"run": "script.py", "params": fine})).notes == ()


def test_a_plan_says_where_a_variable_is_missing(script):
    script("")
    spec = spec_from_mapping({"run": "script.py", "params": {"deep": {"a": [Secret.of("UNSET")]}}})
    with pytest.raises(SpecError, match=r"^params\.deep: the environment variable UNSET is not set"):
        make_plan(spec)
    rows = [{"a": 1}, {"a": Secret.of("UNSET")}]
    with pytest.raises(SpecError, match=r"^each\[1\]\.a: .*UNSET is not set"):
        make_plan(spec_from_mapping({"run": "script.py", "each": rows}))
