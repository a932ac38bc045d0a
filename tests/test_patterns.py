import base64
import html
import json
import shlex
import urllib.parse

import pytest
from known_secrets import known

from ml_experiment_nb import patterns
from ml_experiment_nb.masking import masked

__all__ = ["known"]  # a fixture


ODD = "pass'wörd\"\\ <&> +/%\t#1"


KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\nshort\n-----END KEY-----\n"


@pytest.mark.parametrize("value", ["abcdef0123", ODD, "ä€𝄞-secret", "a" * 200])
@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        json.dumps,
        lambda v: json.dumps(v, ensure_ascii=False),
        lambda v: json.dumps({"text/plain": [repr(v)]}),
        lambda v: repr({"k": json.dumps(v)}),
        html.escape,
        lambda v: json.dumps(html.escape(v)),
        urllib.parse.quote,
        urllib.parse.quote_plus,
        lambda v: urllib.parse.quote(v, safe="").lower() if v.isascii() else urllib.parse.quote(v),
        shlex.quote,
        lambda v: v.encode().hex(),
        lambda v: v.encode().hex().upper(),
        lambda v: base64.b64encode(v.encode()).decode(),
        lambda v: base64.urlsafe_b64encode(v.encode()).decode().rstrip("="),
        lambda v: base64.encodebytes(v.encode()).decode(),
        *(lambda v, k=k: base64.b64encode(b"u" * k + b":" + v.encode() + b"!").decode() for k in range(3)),
    ],
)
def test_a_value_is_found_however_it_is_written(known, value, write):
    written = f"before {write(value)} after"
    assert masked(written) == written
    known[value] = "NAME"
    found = masked(written)
    assert "<secret NAME>" in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    left = found.replace("<secret NAME>", "")
    assert not any(value[k : k + 6] in left for k in range(len(value) - 5))
    assert len(left) < len(f"before {write('')} after") + 14  # padding, an edge of base64


def test_several_lines(known):
    known[KEY] = "KEY"
    text = f"$ cat key\n{KEY}| MIIEvQIBADANBgkqhkiG9w0B |\n  AQEFAASCBKcwggSjAgEAAoIB"
    found = masked(text)
    assert found == "$ cat key\n<secret KEY>| <secret KEY> |\n  <secret KEY>"
    assert masked("-----BEGIN KEY-----\nother") == "-----BEGIN KEY-----\nother"


SHORT_ALONE = [
    *(
        "8341",
        "pin=8341",
        "the PIN is 8341.",
        "'8341'",
        "model_8341.pt",
        "a\t8341\r\n",
        "8341, 8341",
        "(8341)",
        "8341.com",
    ),
    *(json.dumps("a\n8341\n"), json.dumps(repr("\t8341")), urllib.parse.quote("pin:8341"), "\x1b[31m8341\x1b[0m"),
    *("8341.com", "ODM0MQ"),
]


SHORT_WITHIN = [
    *("M 10.28341 5.2", '{"loss": 0.283415}', "1.834155", "id-83412", "8341.5", ".8341", "a8341", "8341b", "éx8341"),
]


@pytest.mark.parametrize("text", SHORT_ALONE)
def test_a_short_value_is_found_where_it_stands_by_itself(known, text):
    known["8341"] = "PIN"
    assert "8341" not in masked(text)
    assert masked(text).count("<secret PIN>") == text.count("8341") or "ODM0MQ" in text
    assert patterns.patterns().in_bytes(text.encode())


@pytest.mark.parametrize("text", SHORT_WITHIN)
def test_a_short_value_within_a_word_or_a_number_is_none(known, text):
    known["8341"], known["a-long-one"] = "PIN", "LONG"
    assert masked(text) == text
    assert not patterns.patterns().in_bytes(text.encode())
    assert masked(f"{text} a-long-one") == f"{text} <secret LONG>"


def test_a_long_value_that_has_a_short_one_within_it(known):
    known["8341"], known["x8341-and-more"] = "PIN", "LONG"
    assert masked("x8341-and-more 8341") == "<secret LONG> <secret PIN>"
