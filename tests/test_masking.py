import base64
import gzip
import html
import io
import json
import os
import shlex
import urllib.parse
import zipfile

import pytest

from ml_experiment_nb import masking, secrecy
from ml_experiment_nb.masking import Veil, masked
from ml_experiment_nb.records import Failure, Outcome, Status

ODD = "pass'wörd\"\\ <&> +/%\t#1"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\nshort\n-----END KEY-----\n"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The secrets that are known in a test."""
    known = {}
    monkeypatch.setattr(secrecy, "known", known)
    monkeypatch.setattr(masking, "known", known)
    monkeypatch.setattr(masking, "_made", (0, masking._Patterns({})))
    return known


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


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_a_stream_is_cut_anywhere(known, size):
    known["abcabd"], known["abd-long-one"] = "A", "B"
    text = "ab abcabcabd x abcab\nabd-long-onabcabd abd-long-one abcabd-long-one ab"
    veil = Veil()
    stream = veil.stream("its output")
    pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stream.flush() == masked(text)
    assert "abcabd" not in masked(text)
    assert veil.found.keys() == {"A", "B"}


def test_a_stream_holds_back_no_more_than_it_has_to(known):
    known["secret-value"] = "S"
    stream = Veil().stream("")
    assert stream.feed("a line\n") == "a line\n"
    assert stream.feed("password: s") == "password: "
    assert stream.feed("afe") == "safe"
    assert stream.flush() == ""


def test_nothing_is_done_without_a_secret(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    before = (tmp_path / "a.txt").stat()
    Veil().folder(tmp_path)
    assert (tmp_path / "a.txt").stat() == before


def test_a_folder(known, tmp_path):
    """Text is masked as text, in markup as markup; what isn't keeps its length; archives stay archives."""
    known["abcdef"] = "S"
    other = tmp_path.parent / f"{tmp_path.name}-other"
    other.write_text("abcdef")
    os.link(other, tmp_path / "linked.txt")
    (tmp_path / "a.svg").write_text("<text>abcdef</text>")
    (tmp_path / "plain.txt").write_text("nothing here")
    (tmp_path / "abcdef").mkdir()
    (tmp_path / "abcdef" / "x-abcdef.bin").write_bytes(b"\xff\xfeabcdef\xff" + "abcdef".encode("utf-16-le"))
    (tmp_path / "link").symlink_to(other)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.txt", "x abcdef y")
        archive.writestr("b.bin", b"\xffabcdef\xff")
        archive.writestr("same", b"\xff\xff")
    veil = Veil()
    veil.folder(tmp_path)
    assert (tmp_path / "linked.txt").read_text() == "<secret S>"
    assert other.read_text() == "abcdef"  # the user's own file
    assert (tmp_path / "a.svg").read_text() == "<text>&lt;secret S&gt;</text>"
    assert (tmp_path / "plain.txt").read_text() == "nothing here"
    found = (tmp_path / "secret-S" / "x-secret-S.bin").read_bytes()
    assert found == b"\xff\xfe******\xff" + b"*" * 12
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert [archive.read(one) for one in archive.namelist()] == [b"x <secret S> y", b"\xff******\xff", b"\xff\xff"]
    [note, remark] = veil.notes()
    assert note.startswith("the secret S was found and masked in ")
    assert "linked.txt" in note
    assert "abcdef" not in note
    assert remark.startswith("<secret S>/x-<secret S>.bin is no text")


def test_a_large_file_that_is_no_text(known, tmp_path, monkeypatch):
    monkeypatch.setattr(masking, "_IN_MEMORY", 10)
    known["abcdef"] = "S"
    (tmp_path / "a.bin").write_bytes(b"\xff" * 100 + b"abcdef" + b"\xff" * 100 + b"abcdef")
    Veil().folder(tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"\xff" * 100 + b"*" * 6 + b"\xff" * 100 + b"*" * 6


def test_an_archive_that_is_broken_or_locked_is_a_file_like_others(known, tmp_path):
    known["abcdef"] = "S"
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("t.txt", "abcdef")
        content = bytearray(file.getvalue())
    content[content.index(b"PK\1\2") + 16] ^= 1  # its check sum
    (tmp_path / "a.zip").write_bytes(content)
    veil = Veil()
    veil.folder(tmp_path)
    assert b"abcdef" not in (tmp_path / "a.zip").read_bytes()
    assert len((tmp_path / "a.zip").read_bytes()) == len(content)


def test_what_is_compressed_otherwise_is_not_found(known, tmp_path):
    """As docs/secrets.md says."""
    known["abcdef"] = "S"
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"abcdef" * 100))
    veil = Veil()
    veil.folder(tmp_path)
    assert veil.found == {}


def test_an_outcome(known):
    known["abcdef"] = "S"
    failure = Failure("ValueError", "no abcdef", "Traceback\nValueError: no abcdef")
    found = Veil().outcome(Outcome(Status.FAILED, failure)).failure
    assert found == Failure("ValueError", "no <secret S>", "Traceback\nValueError: no <secret S>")
