"""This module reads Parquet: planned from the footer alone, read one row group at a time.

Page checksums are verified where the file has them; damage to a file that carries none cannot be noticed by anybody.
Types are those of the file's Arrow schema; extension types that would run code are not loaded (pyarrow's default).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, Format, InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.chunks import cut_ranges, fixed_width, pour, refuse_lines, wanted_names, without_partitions
from bentobatch.formats.source import arrow_errors, is_url, open_arrow, printable

_MAGIC = (b"PAR1", b"PARE")
_LOCAL_BUFFER = 1 << 20
_LARGE_GROUP = 128 << 20
_FEW_BYTES = 8
"""Bytes of a text column on the disk, for each row, below which most of its texts stand in a dictionary."""
_DICTIONARY_FACTOR = 3
"""How much larger strings are in memory than in a file whose pages may hold each distinct one once: a middle guess."""


class ParquetFormat(Format):
    """Parquet, any codec that pyarrow knows. A range is a run of row groups, or a piece of a large one."""

    name = "parquet"
    extensions = (".parquet", ".pq")

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        refuse_lines(file, options.lines)
        with _opened(file, storage_options) as source, arrow_errors(file, "Parquet", storage_options):
            schema, metadata = source.schema_arrow, source.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            names = set(wanted_names(schema.names, file, options.columns))
            leaves = [leaf for leaf in _leaves(schema) if leaf[0] in names]
            rows = [group.num_rows for group in groups]
            sizes = [_group_bytes(group, leaves) for group in groups]
        total = sum(rows)
        if total != metadata.num_rows:
            raise DataError(f"{printable(file.uri)}: broken Parquet file: its row groups do not add up to its rows")
        ranges = cut_ranges(rows, sizes, options)
        return FileScan(total, without_partitions(schema, file), ranges, sum(sizes) / total if total else 0.0)

    def read(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        refuse_lines(file, plan.lines)
        with _opened(file, storage_options, lambda metadata: _folded(metadata, piece, plan)) as source:
            yield from pour(_batches(source, file, piece, plan, storage_options), file, piece, plan)


@contextmanager
def _opened(
    file: InputFile,
    storage_options: Mapping[str, Any] | None,
    folded: Callable[[Any], list[str] | None] = lambda metadata: None,
) -> Iterator[Any]:
    """The open file; ``folded`` chooses, from its metadata, the columns that are to come as dictionaries."""
    with open_arrow(file, storage_options, cache="none") as stream:
        with arrow_errors(file, "Parquet", storage_options):
            _check_magic(stream, file)
            metadata = pq.read_metadata(stream)
            source = pq.ParquetFile(
                stream,
                metadata=metadata,
                pre_buffer=False,
                buffer_size=_buffer_size(file, metadata),
                read_dictionary=folded(metadata),
                page_checksum_verification=True,
            )
        with source:
            yield source


def _folded(metadata: Any, piece: Range, plan: ReadPlan) -> list[str]:
    """The text columns to read as dictionaries, which ``pour`` unfolds a bounded piece at a time.

    A page of a few bytes can hold one text of a megabyte a thousand times over, and nothing in the footer tells how
    long the texts are. Only columns of few bytes a row are read so: for others pyarrow is ten times slower that way.
    """
    found = []
    groups = [metadata.row_group(index) for index in range(piece.start, min(piece.stop, metadata.num_row_groups))]
    for name, index, type in _leaves(metadata.schema.to_arrow_schema()):
        if name not in plan.schema.names or "." in name or not _is_plain_text(type):
            continue
        columns = [group.column(index) for group in groups]
        if any(
            column.has_dictionary_page
            and column.path_in_schema == name
            and column.total_uncompressed_size < _FEW_BYTES * column.num_values
            for column in columns
        ):
            found.append(name)
    return found


def _is_plain_text(type: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(type) or types.is_large_string(type) or types.is_binary(type) or types.is_large_binary(type)
    )


def _check_magic(stream: Any, file: InputFile) -> None:
    head = stream.read(4)
    stream.seek(max(0, file.size - 4))
    tail = stream.read(4)
    stream.seek(0)
    if head not in _MAGIC and tail not in _MAGIC:
        raise DataError(f"{printable(file.uri)}: not a parquet file: give the right --format")
    if tail not in _MAGIC or file.size < 12:
        raise DataError(f"{printable(file.uri)}: truncated Parquet file: it has no footer; write it again")


def _buffer_size(file: InputFile, metadata: Any) -> int:
    """Bytes to read of a column at a time; 0 reads its whole chunk, in one request where the file is behind a URL."""
    if not is_url(file.uri):
        return _LOCAL_BUFFER
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return 8 * _LOCAL_BUFFER if any(group.total_byte_size > _LARGE_GROUP for group in groups) else 0


def _batches(
    source: Any, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
) -> Iterator[Any]:
    schema = source.schema_arrow
    names = wanted_names(schema.names, file, plan.schema.names)
    leaves = [leaf for leaf in _leaves(schema) if leaf[0] in set(names)]
    for index in range(piece.start, min(piece.stop, source.num_row_groups)):
        group = source.metadata.row_group(index)
        if not group.num_rows:
            continue
        row_bytes = max(1.0, _group_bytes(group, leaves) / group.num_rows)
        height = max(1, min(plan.chunk_rows, int(plan.chunk_bytes / row_bytes)))
        with arrow_errors(file, "Parquet", storage_options):
            batches = source.iter_batches(height, row_groups=[index], columns=names, use_threads=False)
        while True:
            with arrow_errors(file, "Parquet", storage_options):
                batch = next(batches, None)
            if batch is None:
                break
            yield batch


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


def _group_bytes(group: Any, leaves: Sequence[tuple[str, int, Any]]) -> float:
    """An estimate of what the leaves' columns of a row group take in memory."""
    total = 0.0
    for _, index, type in leaves:
        column = group.column(index)
        width = fixed_width(type)
        if width is None:
            total += column.num_values * 8 + column.total_uncompressed_size * _DICTIONARY_FACTOR
        else:
            total += column.num_values * width
    return total
