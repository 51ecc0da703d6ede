"""This module reads Parquet: planned from the footer alone, read one row group at a time.

Page checksums are verified where the file has them; damage to a file that carries none cannot be noticed by anybody.
Types are those of the file's Arrow schema; extension types that would run code are not loaded (pyarrow's default).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, InputFile, Range, ReadPlan, ScanOptions, UnitFormat
from bentobatch.formats.chunks import (
    chosen,
    cut_ranges,
    fixed_width,
    pour,
    refuse_lines,
    wanted_names,
    without_partitions,
)
from bentobatch.formats.source import arrow_errors, is_url, open_arrow, printable

_MAGIC = (b"PAR1", b"PARE")
_MAX_FOOTER = 256 << 20
"""Bytes of a footer; it is read into memory as a whole, and 50,000 row groups of 100 columns have some 200 MiB."""
_LOCAL_BUFFER = 1 << 20
_SMALL_FILE = 4 << 20
_LARGE_GROUP = 128 << 20
_RUN_ROWS, _RUN_GROUPS = 4096, 256
_DICTIONARY_FACTOR = 3
"""How much larger strings are in memory than in a file whose pages may hold each distinct one once: a middle guess."""


class ParquetFormat(UnitFormat):
    """Parquet, any codec that pyarrow knows. A range is a run of row groups, or a piece of a large one."""

    name = "parquet"
    extensions = (".parquet", ".pq")

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        refuse_lines(file, options.lines)
        with (
            open_arrow(file, storage_options, cache="none") as stream,
            arrow_errors(file, "Parquet", storage_options),
        ):
            _check_magic(stream, file)
            metadata = pq.read_metadata(stream)
            # metadata.schema would be kept in the footer that it refers to: a cycle, which lives until it is collected
            layout = _layout(pq.ParquetSchema(metadata).to_arrow_schema(), file, options.columns)
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            rows = [group.num_rows for group in groups]
            sizes = [_group_bytes(group, layout) for group in groups]
        total = sum(rows)
        if total != metadata.num_rows or min(rows, default=0) < 0:
            raise DataError(f"{printable(file.uri)}: broken Parquet file: its row groups do not add up to its rows")
        ranges = cut_ranges(rows, sizes, options)
        return FileScan(total, layout.own, ranges, sum(sizes) / total if total else 0.0)

    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        refuse_lines(file, plan.lines)
        with _opened(file, storage_options) as (source, stream):
            yield from _batches(source, stream, file, piece, plan, storage_options)

    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        refuse_lines(file, plan.lines)
        yield from pour((chosen(batch, file, plan) for batch in units), file, piece, plan)


@dataclass(frozen=True)
class _Layout:
    """What a file's schema means for a job: ``names`` are the wanted columns in the file's order, ``leaves`` their column
    chunks (see ``_leaves``), ``texts`` those of plain text, ``widths`` the bytes of a value of each, ``own`` the schema
    without hive keys."""

    schema: Any
    wanted: Sequence[str] | None
    keys: tuple[str, ...]
    names: list[str]
    leaves: list[tuple[str, int, Any]]
    texts: list[tuple[str, int, Any]]
    widths: list[float | None]
    own: Any


_LAST: list[_Layout] = []
"""The layout of the file before: thousands of files have the same one, and hold one schema in memory between them."""


def _layout(schema: Any, file: InputFile, wanted: Sequence[str] | None) -> _Layout:
    keys = tuple(key for key, _ in file.partition)
    for last in _LAST:
        if last.wanted == wanted and last.keys == keys and last.schema.equals(schema, check_metadata=True):
            return last
    names = wanted_names(schema.names, file, wanted)
    chosen = set(names)
    leaves = [leaf for leaf in _leaves(schema) if leaf[0] in chosen]
    widths = [fixed_width(type) for _, _, type in leaves]
    texts = [leaf for leaf in leaves if _is_plain_text(leaf[2])]
    made = _Layout(schema, wanted, keys, names, leaves, texts, widths, without_partitions(schema, file))
    _LAST[:] = [made]
    return made


@contextmanager
def _opened(file: InputFile, storage_options: Mapping[str, Any] | None) -> Iterator[tuple[Any, Any]]:
    """The open file, and the stream that it is read from."""
    with open_arrow(file, storage_options, cache="none") as stream:
        with arrow_errors(file, "Parquet", storage_options):
            _check_magic(stream, file)
            # how a URL is best read shows in its footer only, and a footer that is there already is not read again
            metadata = pq.read_metadata(stream) if is_url(file.uri) else None
            source = pq.ParquetFile(
                stream,
                metadata=metadata,
                pre_buffer=False,
                buffer_size=_local_buffer(file) if metadata is None else _remote_buffer(metadata),
                page_checksum_verification=True,
            )
        with source:
            yield source, stream


def _check_magic(stream: Any, file: InputFile) -> None:
    head = stream.read(4)
    stream.seek(max(0, file.size - 8))
    end = stream.read(8)
    length, tail = int.from_bytes(end[:4], "little"), end[-4:]
    stream.seek(0)
    if head not in _MAGIC and tail not in _MAGIC:
        raise DataError(f"{printable(file.uri)}: not a parquet file: give the right --format")
    if tail not in _MAGIC or file.size < 12:
        raise DataError(f"{printable(file.uri)}: truncated Parquet file: it has no footer; write it again")
    if length > _MAX_FOOTER:
        raise DataError(f"{printable(file.uri)}: broken Parquet file: its footer claims to have {length:,} bytes")


def _local_buffer(file: InputFile) -> int:
    """The same of a local file; streams for pieces are not worth their setting up where all of it is small."""
    return 0 if file.size <= _SMALL_FILE else _LOCAL_BUFFER


def _remote_buffer(metadata: Any) -> int:
    """Bytes to read of a column at a time from a file behind a URL; 0 reads its whole chunk in one request."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return 8 * _LOCAL_BUFFER if any(group.total_byte_size > _LARGE_GROUP for group in groups) else 0


def _batches(
    source: Any, stream: Any, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
) -> Iterator[Any]:
    layout = _layout(source.schema_arrow, file, plan.schema.names)
    for run in _runs(source.metadata, piece):
        groups = [source.metadata.row_group(index) for index in run]
        rows = sum(group.num_rows for group in groups)
        row_bytes = max(1.0, sum(_group_bytes(group, layout) for group in groups) / rows)
        height = max(1, min(plan.chunk_rows, int(plan.chunk_bytes / row_bytes), rows))
        with arrow_errors(file, "Parquet", storage_options):
            height = min(_safe_height(source, stream, index, layout.texts, height, plan) for index in run)
            batches = source.iter_batches(height, row_groups=run, columns=layout.names, use_threads=False)
        while True:
            with arrow_errors(file, "Parquet", storage_options):
                batch = next(batches, None)
            if batch is None:
                break
            yield batch


def _runs(metadata: Any, piece: Range) -> Iterator[list[int]]:
    """The row groups of ``piece`` that have rows, tiny ones together: what a group costs by itself adds up over
    thousands of them."""
    run: list[int] = []
    held = 0
    for index in range(piece.start, min(piece.stop, metadata.num_row_groups)):
        rows = metadata.row_group(index).num_rows
        if run and (held + rows > _RUN_ROWS or len(run) == _RUN_GROUPS):
            yield run
            run, held = [], 0
        if rows:
            run.append(index)
            held += rows
    if run:
        yield run


def _safe_height(
    source: Any, stream: Any, index: int, texts: Sequence[tuple[str, int, Any]], height: int, plan: ReadPlan
) -> int:
    """``height``, or fewer rows where so many of the longest texts of a row group could pass ``chunk_bytes``.

    A page of a few bytes can hold one text of a megabyte a thousand times over, and no footer tells how long texts are.
    So the dictionaries of those columns are looked at, where the footer leaves room for such.
    """
    if not texts:
        return height
    group = source.metadata.row_group(index)
    columns = [
        name
        for name, leaf, _ in texts
        if group.column(leaf).path_in_schema == name
        and group.column(leaf).has_dictionary_page
        and height * group.column(leaf).total_uncompressed_size > plan.chunk_bytes
    ]
    if not columns:
        return height
    folded = pq.ParquetFile(
        stream, metadata=source.metadata, pre_buffer=False, buffer_size=_LOCAL_BUFFER, read_dictionary=columns
    )
    first = next(folded.iter_batches(1, row_groups=[index], columns=columns, use_threads=False))
    longest = [pc.max(pc.binary_length(column.dictionary)).as_py() or 0 for column in first.columns]
    return max(1, min(height, plan.chunk_bytes // max(1, sum(longest))))


def _is_plain_text(type: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(type) or types.is_large_string(type) or types.is_binary(type) or types.is_large_binary(type)
    )


def _leaves(schema: Any) -> Iterator[tuple[str, int, Any]]:
    """Each column chunk of a row group: its top-level column, its index and its type.

    The file's own paths would not do: a dot in them may belong to a name.
    """
    index = 0
    for field in schema:
        for leaf in _leaf_types(field.type):
            yield field.name, index, leaf
            index += 1


def _leaf_types(type: Any) -> Iterator[Any]:
    if isinstance(type, pa.BaseExtensionType):
        yield from _leaf_types(type.storage_type)
    elif pa.types.is_nested(type):
        for index in range(type.num_fields):
            yield from _leaf_types(type.field(index).type)
    else:
        yield type.value_type if pa.types.is_dictionary(type) else type


def _group_bytes(group: Any, layout: _Layout) -> float:
    """An estimate of what the wanted columns of a row group take in memory."""
    total = 0.0
    for (_, index, _), width in zip(layout.leaves, layout.widths, strict=True):
        column = group.column(index)
        if width is None:
            total += column.num_values * 8 + column.total_uncompressed_size * _DICTIONARY_FACTOR
        else:
            total += column.num_values * width
    return total
