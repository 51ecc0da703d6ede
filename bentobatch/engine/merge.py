"""This module puts rows that were scored again into the file that holds the others, which keep their values."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from bentobatch.engine.earlier import HeldPart
from bentobatch.errors import StorageError
from bentobatch.formats.write import part_writer

Rows = np.ndarray[Any, np.dtype[np.int64]]
_PIECE = 1 << 20


class Patches:
    """Rows that were scored again, taken in the order of the output; each one is given once."""

    def __init__(self, pieces: Iterator[tuple[Rows, pa.RecordBatch]], schema: pa.Schema) -> None:
        self.schema = schema
        self._pieces = pieces
        self._held: list[tuple[Rows, pa.RecordBatch]] = []
        self._known_to = -1

    def within(self, start: int, stop: int) -> tuple[Rows, pa.RecordBatch]:
        """The rows [start, stop) of the output: their positions from ``start``, and their values."""
        while self._known_to < stop - 1:
            piece = next(self._pieces, None)
            if piece is None:
                break
            if len(piece[0]):
                self._held.append(piece)
                self._known_to = int(piece[0][-1])
        rows: list[Rows] = [np.empty(0, dtype=np.int64)]
        batches: list[pa.RecordBatch] = []
        left: list[tuple[Rows, pa.RecordBatch]] = []
        for numbers, batch in self._held:
            cut = int(np.searchsorted(numbers, stop))
            if cut:
                rows.append(numbers[:cut] - start)
                batches.append(batch.slice(0, cut))
            if cut < len(numbers):
                left.append((numbers[cut:], batch.slice(cut)))
        self._held = left
        return np.concatenate(rows), one_batch(batches, self.schema)


def one_batch(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Batches of the columns of ``schema`` as one."""
    if not batches:
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    columns = [pa.concat_arrays([batch.column(index) for batch in batches]) for index in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def merge_batches(batches: Iterable[pa.RecordBatch], patches: Patches, first_row: int) -> Iterator[pa.RecordBatch]:
    """The batches, which begin at ``first_row`` of the output, with the patched rows in their places."""
    for batch in batches:
        if not batch.num_rows:
            continue
        old = pa.RecordBatch.from_arrays(batch.columns, schema=patches.schema)
        rows, new = patches.within(first_row, first_row + old.num_rows)
        first_row += old.num_rows
        if not len(rows):
            yield old
            continue
        order = np.arange(old.num_rows)
        order[rows] = old.num_rows + np.arange(len(rows))
        yield one_batch([old, new], patches.schema).take(pa.array(order))


def merge_file(
    source: Path,
    sink: BinaryIO,
    patches: Patches,
    format: str,
    metadata: Mapping[str, str],
    rows: int,
    first_row: int = 0,
) -> None:
    """Write a Parquet or Arrow file of ``rows`` rows with the patches in it."""
    with part_writer(format, patches.schema, sink, metadata=metadata) as writer:
        for batch in merge_batches(_batches(source, format), patches, first_row):
            writer.write(batch)
        if writer.rows != rows:
            raise _other_rows(source, writer.rows, rows)


def _batches(path: Path, format: str) -> Iterator[pa.RecordBatch]:
    if format == "parquet":
        with pa.parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
            yield from file.iter_batches(use_threads=False)
        return
    with pa.memory_map(str(path)) as mapped:
        reader = pa.ipc.open_file(mapped)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def merge_part(
    source: Path, sink: BinaryIO, part: HeldPart, patches: Patches, format: str, metadata: Mapping[str, str]
) -> None:
    """Write one part of a directory output with the patches in it."""
    if format in ("parquet", "arrow"):
        merge_file(source, sink, patches, format, metadata, part.rows, part.first_row)
        return
    with source.open("rb") as file:
        records = _records(file, source.stat().st_size, format)
        if format == "csv":
            sink.write(next(records, b""))
        _merge_records(records, sink, part, patches, format, source)


def merge_texts(
    source: Path, sink: BinaryIO, held: Sequence[HeldPart], patches: Patches, *, format: str
) -> list[list[int]]:
    """Write a CSV or JSON lines file with the patches in it; where each part begins now, and how long it is."""
    offsets: list[list[int]] = []
    with source.open("rb") as file:
        _copy(file, sink, held[0].offset[0] if held else source.stat().st_size)  # the header
        for part in held:
            start = sink.tell()
            begin, length = part.offset
            file.seek(begin)
            if part.lost:
                _merge_records(_records(file, length, format), sink, part, patches, format, source)
            else:
                _copy(file, sink, length)
            offsets.append([start, sink.tell() - start])
    return offsets


def _copy(source: BinaryIO, sink: BinaryIO, length: int) -> None:
    while length > 0:
        data = source.read(min(_PIECE, length))
        if not data:
            return
        sink.write(data)
        length -= len(data)


def _merge_records(
    records: Iterator[bytes], sink: BinaryIO, part: HeldPart, patches: Patches, format: str, source: Path
) -> None:
    rows, batch = patches.within(part.first_row, part.first_row + part.rows)
    text = io.BytesIO()
    with part_writer(format, patches.schema, text, header=False) as writer:
        writer.write(batch)
    size = text.tell()
    text.seek(0)
    new = dict(zip(rows.tolist(), _records(text, size, format), strict=True))
    count = 0
    for record in records:
        sink.write(new.get(count, record))
        count += 1
    if count != part.rows:
        raise _other_rows(source, count, part.rows)


def _records(file: BinaryIO, length: int, format: str) -> Iterator[bytes]:
    """The records of the next ``length`` bytes of a text that bentobatch wrote, each with its line end.

    In CSV a line end may stand within quotes, and a quote in a field is doubled: a record ends where their number is even.
    """
    record = b""
    quotes = 0
    while length > 0:
        line = file.readline(length)
        if not line:
            break
        length -= len(line)
        record = record + line if record else line
        if format == "csv":
            quotes += line.count(b'"')
            if quotes % 2:
                continue
        yield record
        record, quotes = b"", 0
    if record:
        yield record


def _other_rows(path: Path, found: int, rows: int) -> StorageError:
    return StorageError(f"{path} holds {found} rows where its record says {rows}; run again in full with --overwrite")
