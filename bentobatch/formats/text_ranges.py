"""This module cuts the rows of a text file: into ranges when a job is planned, into chunks when a range is read.

Both are cut greedily, by rows and by bytes, so that the cuts follow from the data and the limits alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.chunks import partition_values
from bentobatch.formats.convert import rows_without_columns
from bentobatch.formats.records import Records, concatenate, line_column
from bentobatch.formats.source import printable
from bentobatch.rows import BadRow

LINE = "line"
"""The one column where rows are wanted as they stand (``adapters.base.LINE_COLUMN``)."""


class Cuts:
    """Where pieces of at most ``max_rows`` rows and ``max_bytes`` bytes end, each holding at least one row."""

    def __init__(self, max_rows: int, max_bytes: int, *, start: int | None = None) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._start = start
        self._rows = 0

    def find(self, records: Records) -> list[int]:
        """The indices of those rows that begin a piece, but for the very first row of all. Call it in order."""
        starts, ends = records.starts + records.offset, records.ends + records.offset
        found = []
        row = 0
        while row < len(records):
            if self._start is None:
                self._start = int(starts[row])
            fitting = int(np.searchsorted(ends, self._start + self._max_bytes, "right")) - row
            take = min(fitting, self._max_rows - self._rows, len(records) - row)
            if take <= 0 and self._rows == 0:
                take = 1
            if take > 0:
                self._rows += take
                row += take
            else:
                found.append(row)
                self._start, self._rows = int(starts[row]), 0
        return found


class RangeCutter:
    """Collects the ranges of one file while its rows pass by."""

    def __init__(self, file: InputFile, options: ScanOptions) -> None:
        self._file = file
        whole = file.compression is not None  # a compressed text can only be read from its start
        self._cuts = None if whole else Cuts(options.split_rows, options.split_bytes, start=0)
        self._begun: list[tuple[int, int, int]] = []  # first byte, first row, first line
        self.rows = 0
        self.bytes = 0

    def add(self, records: Records) -> None:
        """Take the next rows; the first range begins with the file, whatever precedes its first row."""
        if not self._begun:
            self._begun.append((0, 0, int(records.lines[0])))
        for row in self._cuts.find(records) if self._cuts else ():
            self._begun.append((int(records.starts[row]) + records.offset, self.rows + row, int(records.lines[row])))
        self.rows += len(records)
        self.bytes += int((records.ends - records.starts).sum())

    def ranges(self) -> tuple[Range, ...]:
        """The ranges of all rows so far; the last one ends with the file."""
        edges = [*self._begun, (self._file.size, self.rows, 0)]
        return tuple(
            Range(start, stop, next_row - first_row, first_row, first_line=line)
            for (start, first_row, line), (stop, next_row, _) in pairwise(edges)
        )

    def row_bytes(self, types: Sequence[Any]) -> float:
        """What one row of columns of these types takes in memory, text columns together as much as its raw text."""
        widths = [_width(type) for type in types]
        text = self.bytes / self.rows if self.rows and None in widths else 0.0
        return text + sum(8.0 if width is None else width for width in widths)


def _width(type: Any) -> float | None:
    """Bytes of one value; None where values differ in size."""
    try:
        return float(type.bit_width) / 8
    except ValueError:
        return 0.0 if pa.types.is_null(type) else None


def chunk_records(blocks: Iterator[Records], plan: ReadPlan) -> Iterator[Records]:
    """The rows of ``blocks`` again, one chunk at a time."""
    cuts = Cuts(plan.chunk_rows, plan.chunk_bytes)
    held: list[Records] = []
    for records in blocks:
        first = 0
        for row in cuts.find(records):
            if row > first:
                held.append(records.part(first, row))
            yield concatenate(held)
            held, first = [], row
        held.append(records.part(first, len(records)))
    if held:
        yield concatenate(held)


Parse = Callable[[Records], "tuple[dict[str, Any], list[BadRow]]"]
"""Rows -> their columns by name, and the rows that cannot be read."""


def read_chunks(
    blocks: Iterator[Records], parse: Parse, *, file: InputFile, piece: Range, plan: ReadPlan
) -> Iterator[Chunk]:
    """The rows of ``blocks`` as chunks of the plan's schema: parsed, with hive values, and null where none has it.

    Raises:
        DataError: there are more or fewer rows than planned.
    """
    constants = partition_values(file, plan.schema)
    rows = 0
    for records in chunk_records(blocks, plan):
        rows += len(records)
        if rows > piece.rows:
            break
        columns, bad = parse(records)
        yield _chunk(
            records, columns | {key: pa.repeat(value, len(records)) for key, value in constants.items()}, bad, plan
        )
    if rows != piece.rows:
        found = f"{rows:,}{' or more' if rows > piece.rows else ''}"
        raise DataError(
            f"{printable(file.uri)}: changed since it was planned: from row {piece.first_row:,} on {piece.rows:,} rows "
            f"were expected and {found} found: run again"
        )


def _chunk(records: Records, columns: dict[str, Any], bad: list[BadRow], plan: ReadPlan) -> Chunk:
    rows = len(records)
    if len(plan.schema):
        arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in plan.schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=plan.schema)
    else:
        batch = rows_without_columns(rows)
    first = int(records.lines[0])
    in_step = int(records.lines[-1]) - first == rows - 1
    return Chunk(batch, tuple(bad), first, None if in_step else array("q", records.lines.tobytes()))


def lines_of(plan: ReadPlan) -> Parse:
    """Parse rows into their raw text, the plan's one column."""
    field = plan.schema.field(0)

    def parse(records: Records) -> tuple[dict[str, Any], list[BadRow]]:
        return {field.name: line_column(records).cast(field.type)}, []

    return parse
