import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib

import pytest
from known_secrets import known

from ml_experiment_nb import packed
from ml_experiment_nb.masking import Veil

__all__ = ["known"]  # a fixture


def test_an_archive_that_is_broken_or_locked_is_a_file_like_others(known, tmp_path):
    known["abcdef"] = "S"
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("t.txt", "a = abcdef\n")
        content = bytearray(file.getvalue())
    content[content.index(b"PK\1\2") + 16] ^= 1  # its check sum
    (tmp_path / "a.zip").write_bytes(content)
    veil = Veil()
    veil.folder(tmp_path)
    assert b"abcdef" not in (tmp_path / "a.zip").read_bytes()
    assert len((tmp_path / "a.zip").read_bytes()) == len(content)


@pytest.mark.parametrize("module", [gzip, bz2, lzma, zlib])
def test_compressed_files_are_masked_and_packed_again(known, tmp_path, module):
    known["abcdef"] = "S"
    text = "x" * 1_048_570 + "\nabcdef\n"  # over the end of a piece
    packed = {
        "a.csv.x": text.encode(),
        "a.html.x": b"<p>abcdef</p>",
        "a.bin.x": b"\xff\xfeabcdef\xff",
        "plain.x": b"nothing here",
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(module.compress(content))
    before = (tmp_path / "plain.x").read_bytes()
    veil = Veil()
    veil.folder(tmp_path)
    assert module.decompress((tmp_path / "a.csv.x").read_bytes()).decode() == text.replace("abcdef", "<secret S>")
    assert module.decompress((tmp_path / "a.html.x").read_bytes()) == b"<p>&lt;secret S&gt;</p>"
    assert module.decompress((tmp_path / "a.bin.x").read_bytes()) == b"\xff\xfe******\xff"
    assert (tmp_path / "plain.x").read_bytes() == before
    assert {*veil.found["S"]} == {"a.csv.x", "a.html.x", "a.bin.x"}


def test_an_archive_of_a_tape_stays_one(known, tmp_path):
    known["abcdef"] = "S"
    (tmp_path / "a.txt").write_text("abcdef")
    (tmp_path / "odd.png").write_bytes(b"\xff" * 9)
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
        archive.add(tmp_path / "odd.png", "odd.png")
    Veil().folder(tmp_path)
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        assert archive.extractfile("a.txt").read() == b"******"


def test_what_only_looks_compressed_or_is_cut_off_is_a_file_like_others(known, tmp_path, monkeypatch):
    known["abcdef"] = "S"
    for magic in (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"x^2 ", b"PAR1", b"ARROW1", b"%PDF-", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / f"{magic[:2].hex()}").write_bytes(magic + b" and abcdef")
    cut = gzip.compress(os.urandom(3000) + b"abcdef")[:1000]
    (tmp_path / "cut.gz").write_bytes(cut)
    monkeypatch.setattr(packed, "MOST", 100)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"\0" * 9_000_000))
    veil = Veil()
    veil.folder(tmp_path)
    assert (tmp_path / "785e").read_bytes() == b"x^2  and <secret S>"
    assert all(b"abcdef" not in path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "cut.gz").read_bytes() == cut
    assert any("bomb.gz was not wholly looked through" in one for one in veil.notes())
