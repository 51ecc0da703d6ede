"""This module holds rows of numbers in one array, beside the record batch that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


class MatrixBatch:
    """Rows whose columns are all float64 without a null: ``matrix`` is an array of rows x columns, ``schema`` names them.

    Where rows come one at a time, to make a record batch of twenty columns, and an array of that again, costs more than
    many a model does.
    """

    __slots__ = ("matrix", "schema")

    def __init__(self, matrix: np.ndarray[Any, Any], schema: pa.Schema) -> None:
        self.matrix = matrix
        self.schema = schema

    @property
    def num_rows(self) -> int:
        """As of a record batch."""
        return len(self.matrix)

    @property
    def num_columns(self) -> int:
        """As of a record batch."""
        return int(self.matrix.shape[1])

    def slice(self, start: int, length: int) -> MatrixBatch:
        """As of a record batch: the same memory."""
        return MatrixBatch(self.matrix[start : start + length], self.schema)

    def take(self, rows: pa.Array) -> MatrixBatch:
        """As of a record batch."""
        return MatrixBatch(self.matrix[rows.to_numpy()], self.schema)

    def record_batch(self) -> pa.RecordBatch:
        """The record batch."""
        rows, width = self.matrix.shape
        values = pa.py_buffer(np.ascontiguousarray(self.matrix.T))
        kind, size = pa.float64(), rows * self.matrix.itemsize
        columns = [
            pa.Array.from_buffers(kind, rows, [None, values.slice(place * size, size)], null_count=0)
            for place in range(width)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
