"""This module tests the plain text format, whose rows are lines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, InputFile, ReadPlan, ScanOptions
from bentobatch.formats.text import TextFormat


class SmallBlocks(TextFormat):
    """Text read in blocks of a few bytes."""

    def __init__(self, block_bytes: int) -> None:
        self.block_bytes = block_bytes  # type: ignore[misc]


def write(path: Path, data: bytes) -> InputFile:
    path.write_bytes(data)
    return InputFile(str(path), len(data), "1", "text")


def read(file: InputFile, format: TextFormat, options: ScanOptions, **plan: Any) -> list[Chunk]:
    scan = format.scan(file, options)
    plan.setdefault("schema", scan.schema)
    return [chunk for piece in scan.ranges for chunk in format.read(file, piece, ReadPlan(lines=True, **plan))]


@settings(max_examples=200, deadline=None)
@given(
    st.text("ab\n\r é☃\t", max_size=40), st.integers(1, 20), st.integers(1, 4), st.integers(1, 12), st.integers(1, 4)
)
def test_every_line_is_a_row(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    block_bytes: int,
    split_rows: int,
    chunk_bytes: int,
    chunk_rows: int,
) -> None:
    """Blank lines too; LF, CRLF and CR end a line, as in Python's universal newlines, however the file is cut."""
    file = write(tmp_path_factory.mktemp("text") / "in.txt", text.encode())
    options = ScanOptions(lines=True, split_rows=split_rows, split_bytes=chunk_bytes * 2)
    chunks = read(file, SmallBlocks(block_bytes), options, chunk_bytes=chunk_bytes, chunk_rows=chunk_rows)
    found = [row["line"].decode() for chunk in chunks for row in chunk.batch.to_pylist()]
    assert found == [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    assert [chunk.first_line for chunk in chunks] == [
        1 + sum(chunk.batch.num_rows for chunk in chunks[:index]) for index in range(len(chunks))
    ]
    assert all(chunk.lines is None and not chunk.bad for chunk in chunks)


def test_lines_are_strings_unless_raw_ones_are_wanted(tmp_path: Path) -> None:
    """The one column is called line."""
    file = write(tmp_path / "in.txt", "a\n☃\n".encode())
    scan = TextFormat().scan(file, ScanOptions())
    assert scan.schema == pa.schema([("line", pa.string())])
    (piece,) = scan.ranges
    (chunk,) = TextFormat().read(file, piece, ReadPlan(scan.schema))
    assert chunk.batch.to_pydict() == {"line": ["a", "☃"]}


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    """The message names the encoding that it looks like."""
    with pytest.raises(DataError, match=r"in\.txt: line 3: byte 0xfc is not UTF-8"):
        TextFormat().scan(write(tmp_path / "in.txt", b"a\n\nm\xfcll\n"), ScanOptions())


def test_an_empty_text_has_no_rows(tmp_path: Path) -> None:
    """And no range."""
    scan = TextFormat().scan(write(tmp_path / "in.txt", b""), ScanOptions())
    assert (scan.rows, scan.ranges) == (0, ())
