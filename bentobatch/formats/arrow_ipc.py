"""This module reads Arrow IPC files, Feather (version 2) among them, and IPC streams, whatever their extension says.

A file is cut by its record batches. A stream can only be read forward, so it is one range; that one was cut off exactly
between two batches cannot be told from its bytes. A batch is read whole (the wanted columns of it), so a file that is
one huge batch takes that much memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, InputFile, Range, ReadPlan, ScanOptions, UnitFormat
from bentobatch.formats.chunks import (
    cheapest_column,
    chosen,
    cut_ranges,
    pour,
    refuse_lines,
    wanted_names,
    without_partitions,
)
from bentobatch.formats.source import arrow_errors, open_arrow, printable

_FILE, _FEATHER_1, _STREAM = b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"


class ArrowFormat(UnitFormat):
    """Arrow IPC, file or stream. A range is a run of record batches, or a piece of a large one."""

    name = "arrow"
    extensions = (".arrow", ".feather", ".ipc")

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        refuse_lines(file, options.lines)
        with open_arrow(file, storage_options) as stream, arrow_errors(file, "Arrow", storage_options):
            is_file = _is_file(stream, file)
            schema = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(stream).schema
            names = wanted_names(schema.names, file, options.columns)
            rows = _file_rows(stream, schema) if is_file else _stream_rows(stream)
            row_bytes = _row_bytes(stream, is_file, schema, names) if sum(rows) else 0.0
        if is_file:
            ranges = cut_ranges(rows, [row_bytes * height for height in rows], options)
        else:
            ranges = (Range(0, len(rows), sum(rows), 0),) if sum(rows) else ()
        return FileScan(sum(rows), without_partitions(schema, file), ranges, row_bytes)

    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        refuse_lines(file, plan.lines)
        with open_arrow(file, storage_options) as stream:
            yield from _batches(stream, file, piece, plan, storage_options)

    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        refuse_lines(file, plan.lines)
        yield from pour((chosen(batch, file, plan) for batch in units), file, piece, plan)


def _is_file(stream: Any, file: InputFile) -> bool:
    """Whether the bytes are the file format (True) or the stream format; ``stream`` is left at its head."""
    head = stream.read(8)
    stream.seek(0)
    if head.startswith(_FILE):
        return True
    if head.startswith(_FEATHER_1):
        raise DataError(f"{printable(file.uri)}: Feather version 1 is not read: write it again as version 2")
    if not head.startswith(_STREAM) or int.from_bytes(head[4:], "little") > file.size:
        raise DataError(f"{printable(file.uri)}: not an Arrow file or stream: give the right --format")
    return False


@contextmanager
def _reader(stream: Any, schema: Any, names: list[str] | None) -> Iterator[Any]:
    """A reader of the IPC file that loads the columns ``names`` only, or the cheapest for the sake of its rows."""
    wanted = set(names or [])
    fields = [index for index, name in enumerate(schema.names) if name in wanted] or cheapest_column(schema)
    options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
    with pa.ipc.open_file(stream, options=options) as reader:
        yield reader


def _file_rows(stream: Any, schema: Any) -> list[int]:
    with _reader(stream, schema, None) as reader:
        return [reader.get_batch(index).num_rows for index in range(reader.num_record_batches)]


def _stream_rows(stream: Any) -> list[int]:
    stream.seek(0)
    with pa.ipc.open_stream(stream) as reader:
        return [batch.num_rows for batch in reader]


def _row_bytes(stream: Any, is_file: bool, schema: Any, names: list[str]) -> float:
    """Bytes of one row of the wanted columns, measured on the first batch that has rows."""
    if not names:
        return 0.0
    with _forward(stream, is_file, schema, names, 0, None) as batches:
        first = next(batch for batch in batches if batch.num_rows)
    return float(first.nbytes) / int(first.num_rows)


@contextmanager
def _forward(
    stream: Any, is_file: bool, schema: Any, names: list[str], start: int, stop: int | None
) -> Iterator[Iterator[Any]]:
    stream.seek(0)
    if is_file:
        with _reader(stream, schema, names) as reader:
            last = reader.num_record_batches if stop is None else min(stop, reader.num_record_batches)
            yield (_select(reader.get_batch(index), names) for index in range(start, last))
    else:
        with pa.ipc.open_stream(stream) as reader:
            yield (_select(batch, names) for batch in reader)


def _select(batch: Any, names: list[str]) -> Any:
    """The columns ``names`` of ``batch``, by their places: a name may stand there twice."""
    wanted = set(names)
    return batch.select([index for index, name in enumerate(batch.schema.names) if name in wanted])


def _batches(
    stream: Any, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
) -> Iterator[Any]:
    with arrow_errors(file, "Arrow", storage_options):
        is_file = _is_file(stream, file)
        schema = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(stream).schema
        names = wanted_names(schema.names, file, plan.schema.names)
    with _forward(stream, is_file, schema, names, piece.start, piece.stop) as batches:
        while True:
            with arrow_errors(file, "Arrow", storage_options):
                batch = next(batches, None)
                if batch is not None:
                    _validate(batch)
            if batch is None:
                return
            yield batch


def _validate(batch: Any) -> None:
    """IPC readers trust the offsets and indices in a file; a damaged one would crash whoever uses the batch.

    Text is left to ``pour``, for which bytes that are no UTF-8 are the row's fault and not the file's.
    """
    for column in batch.columns:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column.validate(full=True)
