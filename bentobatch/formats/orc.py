"""This module reads ORC, one stripe at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow.orc

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, InputFile, Range, ReadPlan, ScanOptions, UnitFormat
from bentobatch.formats.chunks import (
    cheapest_column,
    chosen,
    cut_ranges,
    fixed_width,
    pour,
    refuse_lines,
    wanted_names,
    without_partitions,
)
from bentobatch.formats.convert import rows_without_columns
from bentobatch.formats.source import arrow_errors, open_arrow, printable

_MAGIC = b"ORC"
_EXPANSION = 3
"""How much larger variable-width columns are in memory than in a compressed file: a middle guess."""


class OrcFormat(UnitFormat):
    """ORC, any codec that pyarrow knows. A range is a run of stripes, or a piece of a large one."""

    name = "orc"
    extensions = (".orc",)

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        refuse_lines(file, options.lines)
        with _opened(file, storage_options) as source, arrow_errors(file, "ORC", storage_options):
            schema = source.schema
            rows = [_stripe(source, index, schema, []).num_rows for index in range(source.nstripes)]
            content = source.content_length
            names = set(wanted_names(schema.names, file, options.columns))  # which may be no UTF-8
        total = sum(rows)
        widths = [fixed_width(field.type) for field in schema if field.name in names]
        row_bytes = sum(width or 0.0 for width in widths)
        if total and None in widths:
            row_bytes += _EXPANSION * content / total
        ranges = cut_ranges(rows, [row_bytes * height for height in rows], options)
        return FileScan(total, without_partitions(schema, file), ranges, row_bytes)

    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        refuse_lines(file, plan.lines)
        with _opened(file, storage_options) as source:
            yield from _batches(source, file, piece, plan, storage_options)

    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        refuse_lines(file, plan.lines)
        yield from pour((chosen(batch, file, plan) for batch in units), file, piece, plan)


@contextmanager
def _opened(file: InputFile, storage_options: Mapping[str, Any] | None) -> Iterator[Any]:
    with open_arrow(file, storage_options) as stream:
        with arrow_errors(file, "ORC", storage_options):
            head = stream.read(len(_MAGIC))
            stream.seek(0)
            if head != _MAGIC:
                raise DataError(f"{printable(file.uri)}: not an ORC file: give the right --format")
            source = pyarrow.orc.ORCFile(stream)
        yield source


def _stripe(source: Any, index: int, schema: Any, names: list[str]) -> Any:
    """The columns ``names`` of one stripe; the cheapest one is read for the sake of its rows where there are none."""
    if names:
        return source.read_stripe(index, columns=names).select(names)
    return rows_without_columns(source.read_stripe(index, columns=cheapest_column(schema)).num_rows)


def _batches(
    source: Any, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
) -> Iterator[Any]:
    names = wanted_names(source.schema.names, file, plan.schema.names)
    for index in range(piece.start, min(piece.stop, source.nstripes)):
        with arrow_errors(file, "ORC", storage_options):
            batch = _stripe(source, index, source.schema, names)
        yield batch
