"""This module cuts typed files into ranges, and the batches of a range into chunks of the plan's schema.

Shared by Parquet, Arrow IPC and ORC, whose files come in units (row groups, batches, stripes) of known height.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.errors import DataError, UsageError
from bentobatch.formats.base import Chunk, InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.convert import cast_batch, rows_without_columns
from bentobatch.formats.discover import HIVE_NULL
from bentobatch.formats.source import printable
from bentobatch.rows import BadRow

MAX_PIECES = 16
"""A unit is cut into this many ranges at most: each of them decodes it from its head, up to its own last row."""


def cut_ranges(rows: Sequence[int], sizes: Sequence[float], options: ScanOptions) -> tuple[Range, ...]:
    """Ranges over units of ``rows`` rows and ``sizes`` bytes each: consecutive small units together, within split_rows
    and split_bytes, and a unit of more than twice split_rows in nearly equal pieces of split_rows at least."""
    ranges: list[Range] = []
    start, held, size, first_row = 0, 0, 0.0, 0
    for unit, (height, bytes_) in enumerate(zip(rows, sizes, strict=True)):
        large = height > 2 * options.split_rows
        if held and (large or held + height > options.split_rows or size + bytes_ > options.split_bytes):
            ranges.append(Range(start, unit, held, first_row))
            start, first_row, held, size = unit, first_row + held, 0, 0.0
        if large:
            ranges.extend(_pieces(unit, height, first_row, options.split_rows))
            start, first_row = unit + 1, first_row + height
            continue
        held, size = held + height, size + bytes_
    if held:
        ranges.append(Range(start, len(rows), held, first_row))
    return tuple(ranges)


def _pieces(unit: int, height: int, first_row: int, split_rows: int) -> Iterator[Range]:
    count = min(MAX_PIECES, height // split_rows)
    edges = [height * index // count for index in range(count + 1)]
    for skip, stop in pairwise(edges):
        yield Range(unit, unit + 1, stop - skip, first_row + skip, skip=skip)


def fixed_width(type: Any) -> float | None:
    """Bytes of one value in memory, or None where values differ in size."""
    return float(type.bit_width) / 8 if pa.types.is_primitive(type) or pa.types.is_decimal(type) else None


def cheapest_column(schema: Any) -> list[int]:
    """The index of a narrow column, in a list, to count rows with; an empty list where there is no column."""
    order = sorted(range(len(schema)), key=lambda index: fixed_width(schema.field(index).type) or 1e9)
    return order[:1]


def refuse_lines(file: InputFile, lines: bool) -> None:
    """Typed files have no lines of text.

    Raises:
        UsageError: lines are wanted.
    """
    if lines:
        raise UsageError(f"{printable(file.uri)}: a {file.format} file has no lines of text, which this api takes")


def without_partitions(schema: Any, file: InputFile) -> Any:
    """The columns that are read from the file itself: a hive value wins over a column of the same name."""
    keys = dict(file.partition)
    return pa.schema([field for field in schema if field.name not in keys])


def wanted_names(names: Sequence[str], file: InputFile, wanted: Sequence[str] | None) -> list[str]:
    """The file's columns among ``wanted`` (None: all), in the file's order, its hive keys left out."""
    keys = dict(file.partition)
    chosen = None if wanted is None else set(wanted)
    return [name for name in names if name not in keys and (chosen is None or name in chosen)]


def chosen(batch: Any, file: InputFile, plan: ReadPlan) -> Any:
    """The columns of ``batch`` that the plan reads from the file itself, where it was read for other plans too."""
    keys = dict(file.partition)
    wanted = {name for name in plan.schema.names if name not in keys}
    places = [index for index, name in enumerate(batch.schema.names) if name in wanted]
    if len(places) == batch.num_columns:
        return batch
    return batch.select(places) if places else rows_without_columns(batch.num_rows)


def partition_values(file: InputFile, schema: Any) -> dict[str, Any]:
    """The hive values of ``file`` that ``schema`` asks for, as scalars of its types; HIVE_NULL is null.

    Raises:
        DataError: a value does not fit its declared type.
    """
    values: dict[str, Any] = {}
    for key, text in file.partition:
        if schema.get_field_index(key) < 0:
            continue
        batch = pa.record_batch([pa.array([None if text == HIVE_NULL else text], pa.string())], names=[key])
        cast, bad = cast_batch(batch, pa.schema([schema.field(key)]))
        if bad:
            raise DataError(f"{printable(file.uri)}: partition {bad[0].error}")
        values[key] = cast.column(0)[0]
    return values


def pour(batches: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
    """The rows of ``piece`` as chunks, from ``batches`` that begin at the head of its first unit.

    All chunks but the last hold exactly ``chunk_rows`` rows, unless ``chunk_bytes`` cuts them earlier. Where they end
    follows from the rows and the plan.

    Raises:
        DataError: the batches hold fewer rows than the piece, or columns that cannot be cast to the plan's types.
    """
    constants = partition_values(file, plan.schema)
    cutter = Cutter(plan)
    skip, left = piece.skip, piece.rows
    for batch in batches:
        if skip >= batch.num_rows:
            skip -= batch.num_rows
            continue
        part = batch.slice(skip, left)
        skip, left = 0, left - part.num_rows
        folded = _has_dictionaries(part.schema)
        for within in _within(part, plan.chunk_bytes, folded):  # before dictionaries are unfolded
            try:
                checked, invalid = _checked(within)
                settled, bad = cast_batch(_with_constants(checked, constants), plan.schema)
            except (DataError, pa.ArrowInvalid) as error:
                raise DataError(f"{printable(file.uri)}: {error}") from error
            rows = {row.index: row for row in (*invalid, *bad)}
            yield from cutter.add(settled, [rows[index] for index in sorted(rows)])
        if left == 0:
            break
    if left:
        raise DataError(f"{printable(file.uri)}: changed while it was read: {left} rows fewer than planned; run again")
    yield from cutter.flush()


def _checked(batch: Any) -> tuple[Any, list[BadRow]]:
    """``batch`` without values that its types do not allow, which readers let through: bytes that are no UTF-8, times
    beyond a day. Text columns that hold such become binary, so that the cast to text finds their rows; in others
    (nested ones, mostly) the row's value becomes null, and the row is bad."""
    bad: dict[int, BadRow] = {}
    for index, field in enumerate(batch.schema):
        column = batch.column(index)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            if pa.types.is_dictionary(field.type):
                column = column.dictionary_decode()
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                column = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
                column.validate(full=True)  # raises where the bytes are not at fault, but the array itself
            else:
                column = _without_invalid(field.name, column, bad)
            batch = batch.set_column(index, field.name, column)
    return batch, [bad[row] for row in sorted(bad)]


def _without_invalid(name: str, column: Any, bad: dict[int, BadRow]) -> Any:
    rows = list(_invalid_rows(column, 0))
    for row, reason in rows:
        bad.setdefault(row, BadRow(row, "read", "ValueError", f"column {name}: {reason}"))
    lost = {row for row, _ in rows}
    return column.take(pa.array([None if row in lost else row for row in range(len(column))], pa.int64()))


def _invalid_rows(column: Any, first: int) -> Iterator[tuple[int, str]]:
    """The rows that do not validate, found by halves; ``take`` makes a half that shares nothing with the other."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if len(column) == 1:
            yield first, " ".join(str(error).rpartition("Invalid: ")[2].split())
            return
        middle = len(column) // 2
        yield from _invalid_rows(column.take(pa.array(range(middle))), first)
        yield from _invalid_rows(column.take(pa.array(range(middle, len(column)))), first + middle)


def _with_constants(batch: Any, constants: Mapping[str, Any]) -> Any:
    if not constants:
        return batch
    columns = {name: batch.column(index) for index, name in enumerate(batch.schema.names)}
    columns |= {name: pa.repeat(value, batch.num_rows) for name, value in constants.items()}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


class Cutter:
    """Collects batches of the plan's schema until a chunk is full."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._held: list[Any] = []
        self._bad: list[BadRow] = []
        self._rows = 0
        self._bytes = 0
        self._folded = _has_dictionaries(plan.schema)
        narrow = enumerate(plan.schema if self._folded else ())
        self._narrow = [i for i, field in narrow if pa.types.is_dictionary(field.type) and _index_bits(field.type) < 32]

    def add(self, batch: Any, bad: Sequence[BadRow]) -> Iterator[Chunk]:
        """Put rows in; the chunks that are full by that."""
        offset, pending = 0, list(bad)
        for part in _within(batch, self._plan.chunk_bytes, self._folded):
            done = 0
            while done < part.num_rows:
                head = part.slice(done, self._plan.chunk_rows - self._rows)
                size = _size(head, self._folded)
                if self._rows and (self._bytes + size > self._plan.chunk_bytes or not self._joins(head)):
                    yield from self.flush()
                    continue
                while pending and pending[0].index < offset + head.num_rows:
                    self._bad.append(_moved(pending.pop(0), self._rows - offset))
                self._held.append(head)
                self._rows, self._bytes = self._rows + head.num_rows, self._bytes + size
                done, offset = done + head.num_rows, offset + head.num_rows
                if self._rows == self._plan.chunk_rows:
                    yield from self.flush()

    def _joins(self, batch: Any) -> bool:
        """Whether the dictionaries of ``batch``, put together with those held, can be counted by their index type."""
        for index in self._narrow:
            columns = [held.column(index) for held in (*self._held, batch)]
            entries = sum(
                len(column.dictionary)
                for place, column in enumerate(columns)
                if place == 0 or not column.dictionary.equals(columns[place - 1].dictionary)
            )
            if entries >= 1 << (_index_bits(self._plan.schema.field(index).type) - 1):
                return False
        return True

    def flush(self) -> Iterator[Chunk]:
        """The rows that are held, if there are any."""
        if self._rows:
            held, bad, rows = self._held, self._bad, self._rows
            self._held, self._bad, self._rows, self._bytes = [], [], 0, 0
            yield Chunk(_joined(held, rows, self._plan.schema), tuple(bad))


def _moved(row: BadRow, by: int) -> BadRow:
    return BadRow(row.index + by, row.stage, row.error_type, row.error, row.line, row.raw)


def _joined(batches: list[Any], rows: int, schema: Any) -> Any:
    if len(batches) == 1:
        return batches[0]
    if not len(schema):
        return rows_without_columns(rows)
    columns = [pa.concat_arrays([batch.column(index) for batch in batches]) for index in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _has_dictionaries(schema: Any) -> bool:
    return any(map(pa.types.is_dictionary, schema.types))


def _index_bits(dictionary: Any) -> int:
    return int(dictionary.index_type.bit_width)


def _within(batch: Any, limit: int, folded: bool) -> Iterator[Any]:
    """``batch`` in halves, and their halves, until each is within ``limit`` bytes or is one row. ``folded``
    (it has dictionaries) is asked once for all: it takes as long as much else that is done to a small file."""
    if batch.num_rows < 2 or _fits(batch, limit, folded):
        yield batch
        return
    size = _size(batch, folded)
    if size <= limit:
        yield batch
        return
    middle = batch.num_rows // 2
    halves = batch.slice(0, middle), batch.slice(middle)
    # what they share may weigh more than their rows: then it is no use cutting
    if all(_size(half, folded) > 0.9 * size for half in halves):
        yield batch
        return
    for half in halves:
        yield from _within(half, limit, folded)


def _fits(batch: Any, limit: int, folded: bool) -> bool:
    """Whether ``_size`` is no more than ``limit`` for sure, by what is quickly known: the bytes of whole buffers."""
    return not folded and batch.get_total_buffer_size() <= limit


def _size(batch: Any, folded: bool) -> int:
    """Bytes of the rows, with the texts of a dictionary counted as often as they stand in rows."""
    if not folded:
        return int(batch.nbytes)
    return sum(_column_size(column) for column in batch.columns)


def _column_size(column: Any) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    words = column.dictionary
    width = fixed_width(words.type)
    if width is not None:
        return int(len(column) * width)
    try:
        lengths = pc.binary_length(words)
    except pa.ArrowNotImplementedError:  # lists and the like: few files have dictionaries of them
        return int(column.indices.nbytes + words.nbytes)
    return int(column.indices.nbytes) + int(pc.sum(pc.cast(lengths.take(column.indices), pa.int64())).as_py() or 0)
