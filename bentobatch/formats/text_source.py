"""This module opens text files, unpacked where they are compressed, and reads them as blocks of whole records.

The text must be UTF-8; a byte order mark is skipped. A block ends at a record's end, wherever the reads end, so
nothing that is made of blocks depends on their size. Memory holds one block, or one record where that is larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.errors import DataError, StorageError
from bentobatch.formats.base import InputFile
from bentobatch.formats.records import CR, LF, Records, Splitter, UnclosedQuoteError
from bentobatch.formats.source import open_binary, printable

BLOCK_BYTES = 1 << 20
"""Bytes that are read at a time: what is found in them is found while the CPU's cache holds them; a larger record widens
its block."""
MAX_RECORD_BYTES = 64 << 20
"""A record beyond this is taken for a lost quote or no text at all: what a planning pass holds must have a bound, some
seven times two of these; a compressed file of 300 kB can hold a line of 300 MB."""

_UTF8_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class TextSource:
    """The bytes of a text from one position to another. ``offset`` is that of the next byte in the unpacked file."""

    def __init__(self, file: InputFile, stream: Any, *, offset: int, stop: int | None) -> None:
        self.name = printable(file.uri)
        self.offset = offset
        self._packed = file.compression
        self._stream = stream
        self._left = stop - offset if stop is not None else None
        self._ahead = self._skip_mark() if offset == 0 else b""

    def _skip_mark(self) -> bytes:
        head = self._read(4)
        for mark, encoding in _WIDE_MARKS:
            if head.startswith(mark):
                raise self._encoding_error(encoding)
        zeros = [byte == 0 for byte in head]
        if zeros in ([True, False] * 2, [False, True] * 2):
            raise self._encoding_error("UTF-16")
        if head.startswith(_UTF8_MARK):
            self.offset = len(_UTF8_MARK)
            return head[len(_UTF8_MARK) :]
        return head

    def _encoding_error(self, encoding: str) -> DataError:
        return DataError(
            f"{self.name}: line 1: the encoding is {encoding}, not UTF-8: convert the file (iconv -t UTF-8)"
        )

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only where the text ends.

        Raises:
            StorageError: reading fails, or the compressed stream is truncated or corrupt.
        """
        block, self._ahead = self._ahead, b""
        block += self._read(size - len(block))
        self.offset += len(block)
        return block

    def _read(self, size: int) -> bytes:
        parts = []
        if self._left is not None:
            size = min(size, self._left)
        while size > 0:
            part = self._read_once(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
            if self._left is not None:
                self._left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_once(self, size: int) -> bytes:
        if self._packed is None:
            return bytes(self._stream.read(size))
        try:
            return bytes(self._stream.read(size))
        except OSError as error:
            raise StorageError(
                f"{self.name}: the {self._packed} stream is truncated or corrupt ({error}): fetch the file again"
            ) from error


@contextmanager
def open_text(
    file: InputFile, storage_options: Mapping[str, Any] | None = None, *, start: int = 0, stop: int | None = None
) -> Iterator[TextSource]:
    """The text from byte ``start`` to ``stop`` (None: its end). A compressed file is always read as a whole.

    Raises:
        DataError: the text is UTF-16 or UTF-32.
        StorageError: it cannot be opened or read.
    """
    with open_binary(file, storage_options) as stream:
        if file.compression is not None:
            yield TextSource(file, _unpacked(stream, file.compression), offset=0, stop=None)
        else:
            stream.seek(start)
            yield TextSource(file, stream, offset=start, stop=stop)


def _unpacked(stream: Any, compression: Any) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), compression)


def record_blocks(
    source: TextSource, split: Splitter, *, line: int = 1, block_bytes: int | None = None
) -> Iterator[Records]:
    """The rows of ``source``, which starts at a record on physical line ``line``, block by block.

    Raises:
        DataError: a quote is not closed, or a record is larger than MAX_RECORD_BYTES.
        StorageError: see TextSource.read.
    """
    block_bytes = block_bytes or BLOCK_BYTES
    tail = b""
    while True:
        size = max(block_bytes, min(len(tail), MAX_RECORD_BYTES))  # doubling keeps one long record's work linear
        offset = source.offset - len(tail)
        fresh = source.read(size)
        at_end = len(fresh) < size
        data = tail + fresh if tail else fresh
        if at_end and data and data[-1] not in (LF, CR):
            data += b"\n"
        if not data:
            return
        try:
            records, used, lines = split(data, at_end)
        except UnclosedQuoteError as error:
            raise _unclosed(source, data, error.position, line) from error
        if len(data) - used > MAX_RECORD_BYTES:
            raise _too_long(source, line + lines)
        longest = int((records.stops - records.starts).argmax()) if len(records) else 0
        if len(records) and records.stops[longest] - records.starts[longest] > MAX_RECORD_BYTES:
            raise _too_long(source, line + int(records.lines[longest]))
        if len(records):
            yield replace(records, offset=offset, lines=records.lines + line)
        if at_end:
            return
        tail, line = data[used:], line + lines


def _too_long(source: TextSource, line: int) -> DataError:
    return DataError(
        f"{source.name}: line {line}: a record of more than {MAX_RECORD_BYTES >> 20} MiB begins here: is a quote left "
        "open, or is this no text file?"
    )


def _unclosed(source: TextSource, data: bytes, position: int, line: int) -> DataError:
    at = line + count_lines(data[:position])
    return DataError(f"{source.name}: line {at}: the quote that opens here is never closed: close or double it")


def count_lines(data: bytes) -> int:
    """How many line ends (LF, CRLF, CR) stand in ``data``."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def check_utf8(records: Records, name: str) -> None:
    """Refuse rows that are not UTF-8. ``records`` begin with the block's first row.

    Raises:
        DataError: names the line, and the encoding that it looks like.
    """
    if records.data.isascii():
        return
    body = records.body()
    try:
        body.decode()
    except UnicodeDecodeError as error:
        row = int(np.searchsorted(records.ends, records.starts[0] + error.start, "right"))
        row_start = int(records.starts[row] - records.starts[0])
        line = int(records.lines[row]) + count_lines(body[row_start : error.start])
        raise DataError(
            f"{name}: line {line}: byte 0x{body[error.start]:02x} is not UTF-8; the encoding looks like latin-1 or "
            "windows-1252: convert the file (iconv -f latin1 -t UTF-8)"
        ) from error
