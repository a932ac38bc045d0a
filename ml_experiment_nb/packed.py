"""Files whose text is compressed: what stands in them, unpacked piece by piece.

A file is known by its first bytes, whatever it is called. A zip archive is none of these: see `masking`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

MOST: Final = 1 << 30
"""The unpacked bytes of a file that are looked through."""

_PIECE = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP")
_PDF_STREAM = re.compile(rb"stream\r?\n")


@dataclass(frozen=True)
class Form:
    """A form of compressed files.

    Attributes:
        name: What people call it.
        pieces: Reads what stands in an open file, unpacked and one after the other; what is cut between two pieces is
            one text.
        repack: Packs a content again that was masked; None where that can't be done.
        strip: Returns a file's content without those parts of it that hold any of some texts; None where it has no
            such parts.
    """

    name: str
    pieces: Callable[[IO[bytes]], Iterator[bytes]]
    repack: Callable[[bytes], bytes] | None = None
    strip: Callable[[bytes, Callable[[bytes], bool]], bytes] | None = None


def form_of(file: IO[bytes]) -> Form | None:
    """Return the form of an open file; None for one that is not compressed in a way that is known here."""
    head = file.read(16)
    file.seek(0)
    return next((form for magic, form in _FORMS if head.startswith(magic)), None)


def unpacked(form: Form, file: IO[bytes]) -> Iterator[bytes]:
    """Return what stands in an open file, piece by piece, up to `MOST` bytes.

    What is broken ends where it is: nobody reads on from there.

    Raises:
        ValueError: Not all of it can be looked at.
    """
    taken = 0
    try:
        for piece in form.pieces(file):
            yield piece
            taken += len(piece)
            if taken > MOST:
                raise ValueError(f"it unpacks to more than {MOST >> 30} GiB")
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed") from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError, struct.error):
        return


def _stream(opened: Callable[[IO[bytes]], Any]) -> Callable[[IO[bytes]], Iterator[bytes]]:
    def pieces(file: IO[bytes]) -> Iterator[bytes]:
        with opened(file) as stream:
            while piece := stream.read(_PIECE):
                yield piece

    return pieces


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """Return what stands in a file's streams, of which there may be several, one behind the other."""
    machine, ended = zlib.decompressobj(), False
    while piece := file.read(_PIECE):
        while piece:
            if machine.eof:
                machine, ended = zlib.decompressobj(), True
            try:
                yield machine.decompress(piece, _PIECE)
            except zlib.error:
                if ended:
                    raise ValueError("something else follows its compressed part") from None
                raise
            piece = machine.unconsumed_tail or machine.unused_data
    yield machine.flush()


def _png(file: IO[bytes]) -> Iterator[bytes]:
    for kind, data, _ in _png_chunks(file.read()):
        if kind in _PNG_TEXTS:
            try:
                yield _png_text(kind, data) + b"\0\n"
            except zlib.error:  # others follow it
                yield data + b"\0\n"


def _png_text(kind: bytes, data: bytes) -> bytes:
    """Return a chunk's text, behind its keyword, as it stands there or unpacked."""
    packed = data.find(b"\0") + 2 if kind in (b"zTXt", b"iCCP") else -1
    if kind == b"iTXt" and data[data.find(b"\0") + 1 : data.find(b"\0") + 2] == b"\1":
        packed = data.find(b"\0", data.find(b"\0", data.find(b"\0") + 3) + 1) + 1  # behind language and translation
    if packed < 0:
        return data
    return data[:packed] + zlib.decompressobj().decompress(data[packed:], _PIECE)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Return the kind, the data and the whole of each chunk."""
    at = len(_PNG)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 12 + length
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length], content[at:end]
        at = end


def _without_texts(content: bytes, holds: Callable[[bytes], bool]) -> bytes:
    def is_kept(kind: bytes, data: bytes) -> bool:
        try:
            return kind not in _PNG_TEXTS or not holds(_png_text(kind, data))
        except zlib.error:  # nobody can read it
            return False

    return _PNG + b"".join(whole for kind, data, whole in _png_chunks(content) if is_kept(kind, data))


def _pdf(file: IO[bytes]) -> Iterator[bytes]:
    content = file.read()
    for found in _PDF_STREAM.finditer(content):
        end = content.find(b"endstream", found.end())
        try:
            yield zlib.decompressobj().decompress(content[found.end() : end], _PIECE << 6) + b"\n"
        except zlib.error:
            continue  # packed in another way, or not at all


def _parquet(file: IO[bytes]) -> Iterator[bytes]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    yield from _batches(table.schema_arrow, table.iter_batches())


def _arrow(file: IO[bytes]) -> Iterator[bytes]:
    from pyarrow import ipc

    reader = ipc.open_file(file)
    yield from _batches(reader.schema, (reader.get_batch(k) for k in range(reader.num_record_batches)))


def _batches(schema: Any, batches: Iterator[Any]) -> Iterator[bytes]:
    """Return Arrow's own form of batches, in which texts lie one behind the other, and then the texts line by line."""
    from pyarrow import ipc

    for batch in batches:
        for column in batch.columns:
            yield from _lines(column)
        sink = io.BytesIO()
        with ipc.new_stream(sink, schema) as stream:
            stream.write_batch(batch)
        yield sink.getvalue()
    yield schema.serialize().to_pybytes()


def _lines(column: Any) -> Iterator[bytes]:
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind):
        yield from _lines(column.dictionary)
    elif types.is_struct(kind):
        for part in column.flatten():
            yield from _lines(part)
    elif types.is_map(kind):
        yield from _lines(column.keys)
        yield from _lines(column.items)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        yield from _lines(column.flatten())
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        texts = column.drop_null().cast(pyarrow.binary())
        whole = pyarrow.ListArray.from_arrays(pyarrow.array([0, len(texts)], pyarrow.int32()), texts)
        yield b"\n" + compute.binary_join(whole, b"\n")[0].as_py() + b"\n"


_FORMS = (
    (b"\x1f\x8b", Form("gzip", _stream(gzip.open), lambda it: gzip.compress(it, mtime=0))),
    (b"BZh", Form("bzip2", _stream(bz2.open), bz2.compress)),
    (b"\xfd7zXZ\x00", Form("xz", _stream(lzma.open), lzma.compress)),
    (_PNG, Form("PNG", _png, strip=_without_texts)),
    (b"PAR1", Form("Parquet", _parquet)),
    (b"ARROW1", Form("Arrow", _arrow)),
    (b"%PDF-", Form("PDF", _pdf)),
    *((b"\x78" + level, Form("zlib", _inflated, zlib.compress)) for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")),
)
