"""This module counts the columns of record batches: nulls, NaNs, sums and ends, for the expectations of a commit."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.expectations import ColumnCounts


def is_numeric(type: pa.DataType) -> bool:
    """Whether values of a type are counted as numbers."""
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def count_columns(batch: pa.RecordBatch, counts: dict[str, ColumnCounts]) -> None:
    """Add the rows of ``batch`` to the counts of each of its columns."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        counts.setdefault(field.name, ColumnCounts()).add(_counts(column))


def _counts(column: pa.Array) -> ColumnCounts:
    made = ColumnCounts(nulls=column.null_count)
    if not is_numeric(column.type):
        return made
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64()) if pa.types.is_float16(column.type) else column
        made.nans = pc.sum(pc.is_nan(column)).as_py() or 0
        if made.nans:
            column = column.filter(pc.invert(pc.is_nan(column)))
    made.values = len(column) - column.null_count
    if made.values:
        ends = pc.min_max(column)
        made.low, made.high = float(ends["min"].as_py()), float(ends["max"].as_py())
        made.total = float(pc.sum(column.cast(pa.float64(), safe=False)).as_py())
    return made
