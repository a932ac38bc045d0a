import gzip
import os
import pickle
import struct
import tarfile
import zipfile
import zlib

import pytest
from known_secrets import known

from ml_experiment_nb import masking, packed
from ml_experiment_nb.masking import Veil, masked
from ml_experiment_nb.records import Failure, Outcome, Status

__all__ = ["known"]  # a fixture


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_a_stream_is_cut_anywhere(known, size):
    known["abcabd--"], known["abd--long-one"], known["8341"] = "A", "B", "C"
    text = "ab abcabcabd-- x abcab\nabd--long-onabcabd-- abd--long-one abcabd--long-one 8341 18341 83412 8341.5 8341. a"
    veil = Veil()
    stream = veil.stream("its output")
    pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stream.flush() == masked(text)
    assert "abcabd--" not in masked(text)
    assert masked(text).endswith(" <secret C> 18341 83412 8341.5 <secret C>. a")
    assert veil.found.keys() == {"A", "B", "C"}


def test_a_stream_holds_back_no_more_than_it_has_to(known):
    known["secret-value"] = "S"
    stream = Veil().stream("")
    assert stream.feed("a line\n") == "a line\n"
    assert stream.feed("password: s") == "password: "
    assert stream.feed("afe") == "safe"
    assert stream.flush() == ""


@pytest.mark.parametrize("protocol", range(1, 6))
@pytest.mark.parametrize("value", ["8341", "pin=8341", "8341" + " " * 50, "x" * 70 + " 8341"])
def test_a_short_value_in_a_pickle(known, tmp_path, protocol, value):
    known["8341"] = "PIN"
    data = {"pin": value, value: [value], "next": b"\xff" * 300}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, protocol))
    Veil().folder(tmp_path)
    assert b"8341" not in (tmp_path / "a.pkl").read_bytes()


def test_files_in_which_a_short_value_stands_by_chance(known, tmp_path):
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    known["8341"] = "PIN"
    (tmp_path / "a.svg").write_text("<path d='M 10.28341 5.2'/>")
    pandas.DataFrame({"id": ["id-83412", "18341"], "x": [[{"k": "a8341"}]] * 2}).to_parquet(tmp_path / "a.parquet")
    numpy.savez(tmp_path / "a.npz", x=numpy.frombuffer(b"x8341xyz", "float32"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    veil = Veil()
    veil.folder(tmp_path)
    assert veil.notes() == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("column", [["12", "8341", "99"], [["12", "8341"], ["99"]], [{"a": "12"}, {"a": "8341"}]])
def test_a_short_value_in_a_table(known, tmp_path, column):
    pandas = pytest.importorskip("pandas")
    known["8341"] = "PIN"
    pandas.DataFrame({"pin": column}).to_parquet(tmp_path / "a.parquet")
    Veil().folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_remark_of_what_is_no_text_within_an_archive(known, tmp_path):
    known["abcdef"] = "S"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.bin", b"\xffabcdef\xff")
        archive.writestr("c.bin", b"\xffabcdef\xff")
    veil = Veil()
    veil.folder(tmp_path)
    assert [one for one in veil.notes() if one.startswith("a.zip is no text: each byte of a secret")] == veil.notes()[
        1:
    ]


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
    [note, *remarks] = veil.notes()
    assert note.startswith("the secret S was found and masked in ")
    assert "linked.txt" in note
    assert "abcdef" not in note
    assert {one.partition(":")[0] for one in remarks} == {"<secret S>/x-<secret S>.bin is no text", "a.zip is no text"}


def test_a_large_file_that_is_no_text(known, tmp_path, monkeypatch):
    monkeypatch.setattr(masking, "_IN_MEMORY", 10)
    known["abcdef"] = "S"
    (tmp_path / "a.bin").write_bytes(b"\xff" * 100 + b"abcdef" + b"\xff" * 100 + b"abcdef")
    Veil().folder(tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"\xff" * 100 + b"*" * 6 + b"\xff" * 100 + b"*" * 6


def test_streams_that_follow_one_another(known, tmp_path):
    known["abcdef"] = "S"
    first, second = zlib.compress(b"abcdef, "), zlib.compress(b"and abcdef")
    (tmp_path / "two.z").write_bytes(first + second)
    (tmp_path / "later.z").write_bytes(zlib.compress(b"nothing, ") + second)
    (tmp_path / "other.z").write_bytes(first + b"something else")
    (tmp_path / "plain.z").write_bytes(zlib.compress(b"nothing") + b"something else")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other.z", first + b"something else")
    veil = Veil()
    veil.folder(tmp_path)
    assert zlib.decompress((tmp_path / "two.z").read_bytes()) == b"<secret S>, and <secret S>"
    assert zlib.decompress((tmp_path / "later.z").read_bytes()) == b"nothing, and <secret S>"
    assert {path.name for path in tmp_path.iterdir()} == {"two.z", "later.z", "plain.z"}
    assert any(one.startswith("other.z holds the secret S, which can't be taken out of zlib") for one in veil.notes())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_what_has_a_nul_keeps_its_lengths(known, tmp_path, mode):
    known["abcdef"] = "S"
    (tmp_path / "a.txt").write_text("a = abcdef\n" * 99)
    (tmp_path / "b.txt").write_text("another")
    with tarfile.open(tmp_path / "t.tar", mode) as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
        archive.add(tmp_path / "b.txt", "b.txt")
    (tmp_path / "wide.txt").write_bytes("abcdef".encode("utf-16-le"))
    Veil().folder(tmp_path)
    with tarfile.open(tmp_path / "t.tar") as archive:
        assert archive.getnames() == ["a.txt", "b.txt"]
        assert archive.extractfile("a.txt").read() == b"a = ******\n" * 99
        assert archive.extractfile("b.txt").read() == b"another"
    assert (tmp_path / "wide.txt").read_bytes() == b"*" * 12


@pytest.mark.parametrize(
    ("kind", "compression"),
    [("parquet", "snappy"), ("parquet", "zstd"), ("parquet", None), ("feather", "lz4"), ("feather", "uncompressed")],
)
def test_a_table_that_holds_a_secret_is_taken_out_of_the_run(known, tmp_path, kind, compression):
    pandas = pytest.importorskip("pandas")
    known["abcdef-and-more"] = "S"
    folder, aside = tmp_path / "files", tmp_path / "aside"
    (folder / "data").mkdir(parents=True)
    frame = pandas.DataFrame({"a": ["x"] * 500 + ["with abcdef-and-more in it"], "b": pandas.Categorical(["u"] * 501)})
    getattr(frame, f"to_{kind}")(folder / "data" / "t", compression=compression)
    getattr(frame[:400], f"to_{kind}")(folder / "plain", compression=compression)
    content = (folder / "data" / "t").read_bytes()
    veil = Veil()
    veil.folder(folder, aside)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["plain"]
    assert (aside / "data" / "t").read_bytes() == content
    [note] = veil.notes()
    assert note.startswith("data/t holds the secret S, which can't be taken out of ")
    assert note.endswith(f"it is not kept with the run, and lies in {aside / 'data/t'}")


def test_a_table_within_an_archive_takes_the_archive_with_it(known, tmp_path):
    pandas = pytest.importorskip("pandas")
    known["abcdef"] = "S"
    pandas.DataFrame({"a": ["abcdef"]}).to_parquet(tmp_path / "t.parquet", compression="zstd")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "t.parquet", "t.parquet")
        archive.writestr("a.txt.gz", gzip.compress(b"abcdef"))
    (tmp_path / "t.parquet").unlink()
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt.gz", gzip.compress(b"abcdef"))
    veil = Veil()
    veil.folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert gzip.decompress(archive.read("a.txt.gz")) == b"<secret S>"


def test_what_can_not_be_looked_through_is_taken_out_and_keeps_no_other_from_it(known, tmp_path, monkeypatch):
    """Whatever a reader raises: Arrow has errors of its own, of files that no release writes."""
    known["abcdef"] = "S"
    folder, aside = tmp_path / "files", tmp_path / "aside"
    folder.mkdir()
    for name in ("a.txt", "b.parquet", "x-abcdef.parquet", "z.txt"):
        (folder / name).write_bytes(b"PAR1" * name.endswith("parquet") + b"abcdef")
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.parquet", b"PAR1abcdef")

    def odd(file):
        raise NotImplementedError("abcdef is of no type")

    forms = tuple((magic, packed.Form("odd", odd) if magic == b"PAR1" else form) for magic, form in packed._FORMS)
    monkeypatch.setattr(packed, "_FORMS", forms)
    veil = Veil()
    veil.folder(folder, aside)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.txt": "<secret S>", "z.txt": "<secret S>"}
    assert {path.name for path in aside.iterdir()} == {"b.parquet", "x-abcdef.parquet", "c.zip"}
    told = "could not be looked through for secrets (NotImplementedError: <secret S> is of no type)"
    assert f"b.parquet {told}: it is not kept with the run, and lies in {aside / 'b.parquet'}" in veil.notes()


def test_a_file_that_can_not_be_written_again(known, tmp_path, monkeypatch):
    known["abcdef"] = "S"
    (tmp_path / "a.txt").write_text("abcdef")
    (tmp_path / "b.txt").write_text("abcdef")
    replace = os.replace

    def full(partial, path):
        if path.name == "a.txt":
            raise OSError(28, "No space left on device")
        replace(partial, path)

    monkeypatch.setattr(masking.os, "replace", full)
    veil = Veil()
    veil.folder(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b.txt": "<secret S>"}
    assert any("No space left" in note for note in veil.notes())


def test_names_that_are_the_same_when_they_are_masked(known, tmp_path):
    known["abcdef"], known["uvwxyz"] = "S", "S"
    for name in ("abcdef", "secret-S"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"of {len(name)}, abcdef")
    for name in ("x-abcdef.txt", "x-secret-S.txt", "x-uvwxyz.txt"):
        (tmp_path / name).write_text(name)
    Veil().folder(tmp_path)
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.txt")}
    assert found.keys() == {
        "secret-S/a.txt", "secret-S-2/a.txt", "x-secret-S.txt", "x-secret-S-2.txt", "x-secret-S-3.txt",
    }  # fmt: skip
    assert found["secret-S-2/a.txt"] == "of 6, <secret S>"
    assert len(set(found.values())) == 4


def test_a_broken_text_of_a_picture_hides_no_other(known, tmp_path):
    image = pytest.importorskip("PIL.Image")
    known["abcdef"] = "S"
    image.new("RGB", (3, 2), "red").save(tmp_path / "a.png")

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = (tmp_path / "a.png").read_bytes()
    at = content.index(b"IDAT") - 4
    texts = [
        chunk(b"tEXt", b"Title\0abcdef"),
        chunk(b"zTXt", b"Comment\0\0broken"),
        chunk(b"zTXt", b"Later\0\0" + zlib.compress(b"abcdef")),
        chunk(b"tEXt", b"Software\0kept"),
    ]
    (tmp_path / "a.png").write_bytes(content[:at] + b"".join(texts) + content[at:])
    Veil().folder(tmp_path)
    assert (tmp_path / "a.png").read_bytes() == content[:at] + texts[3] + content[at:]


@pytest.mark.parametrize("text", ["short abcdef", "abcdef " * 1000])
def test_the_metadata_of_a_picture_is_left_out(known, tmp_path, text):
    image, texts = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.PngImagePlugin")
    known["abcdef"] = "S"
    info = texts.PngInfo()
    info.add_text("Title", text, zip=len(text) > 100)
    info.add_itxt("Comment", text, zip=len(text) > 100)
    info.add_text("Software", "kept")
    image.new("RGB", (3, 2), "red").save(tmp_path / "a.png", pnginfo=info)
    veil = Veil()
    veil.folder(tmp_path)
    with image.open(tmp_path / "a.png") as shown:
        shown.load()
        assert (shown.text, shown.getpixel((1, 1))) == ({"Software": "kept"}, (255, 0, 0))
    assert veil.notes() == ["the secret S was found in the metadata of a.png, and is left out of it"]


def test_the_text_of_a_pdf_that_is_compressed(known, tmp_path):
    known["abcdef"] = "S"
    stream = zlib.compress(b"BT (abcdef) Tj ET")
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nstream\n" + stream + b"\nendstream\nendobj\n")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nstream\nodd\nendstream\nendobj\n")
    Veil().folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.pdf"]


def test_an_outcome(known):
    known["abcdef"] = "S"
    failure = Failure("ValueError", "no abcdef", "Traceback\nValueError: no abcdef")
    found = Veil().outcome(Outcome(Status.FAILED, failure)).failure
    assert found == Failure("ValueError", "no <secret S>", "Traceback\nValueError: no <secret S>")
