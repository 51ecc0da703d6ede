"""This module is the adapter of functions that take a numpy array of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.adapters import tensors
from bentobatch.adapters.base import Converted
from bentobatch.adapters.json_text import parse_json
from bentobatch.adapters.matrix_batch import MatrixBatch
from bentobatch.adapters.tabular import TabularInput
from bentobatch.adapters.values import array_of
from bentobatch.errors import DataError, UsageError
from bentobatch.rows import BadRow

TENSOR = "instances"
"""The column of inline tensors, whose values are taken in the shape that they have."""


class NumpyInput(TabularInput):
    """The api function gets one array of many rows, which is its own. Columns of numbers make it rows x columns, in the
    order of the features; one column of lists (of lists…), or of tensors, rows x their shape.

    ``columns`` are the features; ``dtype`` is numpy's, by default the one that holds the columns' own types. ``shape`` is
    the shape of one row, for a column of lists: a row with another number of values is bad. Null floats are NaN; a null
    among whole numbers makes its row bad, unless the dtype is one of floats.

    Raises:
        UsageError: an unknown dtype, a shape that is none, duplicate columns.
    """

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        dtype: Any = None,
        shape: Sequence[int] | None = None,
        *,
        http_input_example: Any = None,
        request_schema: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(columns=columns, http_input_example=http_input_example, request_schema=request_schema)
        self.dtype = None if dtype is None else _checked_dtype(dtype)
        if shape is not None and any(not isinstance(size, int) or size < 1 for size in shape):
            raise UsageError(f"shape must be a list of whole numbers such as [28, 28], not {shape!r}")
        self.shape = None if shape is None else tuple(shape)

    def config(self) -> dict[str, Any]:
        """``columns``, ``dtype`` and ``shape`` as JSON values."""
        return {
            "columns": None if self.columns is None else list(self.columns),
            "dtype": None if self.dtype is None else self.dtype.name,
            "shape": None if self.shape is None else list(self.shape),
        }

    def types_for(self, names: Sequence[str]) -> Mapping[str, pa.DataType]:
        """How text files are to be read for the dtype."""
        return tensors.dtypes_of_text(names, self.dtype)

    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None, pick: bool = True) -> pa.Table:
        """The rows of one JSON table (see TabularInput), or of a list of lists of lists…, as one column."""
        value = self.parsed(text)
        if isinstance(value, list) and value and _depth(value) > 2:
            return pa.table({TENSOR: array_of(value)})
        return super().table_from_text(text, columns=columns, pick=pick)

    def parsed(self, text: bytes) -> Any:
        """The JSON value of an inline text; None where it is no JSON, which whoever reads it as a table tells better."""
        try:
            return parse_json(text)
        except ValueError:
            return None

    @property
    def takes_matrix_batch(self) -> bool:
        """Yes, but for a subclass with a reading of record batches of its own."""
        kind = type(self)
        return kind.convert is NumpyInput.convert and kind.array_of is NumpyInput.array_of

    def convert(self, batch: pa.RecordBatch | MatrixBatch) -> Converted:
        """One array. A row with a value that does not fit is bad."""
        array, problems = self.array_of(batch)
        if problems:
            array = np.delete(array, sorted(problems), axis=0)
        elif not array.flags.writeable:
            array = array.copy()
        bad = [BadRow(row, "convert", "ValueError", problems[row]) for row in sorted(problems)]
        return Converted((self.value_of(array),), rows=len(array), bad=bad)

    def array_of(self, batch: pa.RecordBatch | MatrixBatch) -> tuple[np.ndarray[Any, Any], tensors.Problems]:
        """The array of all rows, and what is wrong with some of them."""
        problems: tensors.Problems = {}
        if isinstance(batch, MatrixBatch):
            if batch.num_columns == 1:  # may be a tensor by its name
                return self.array_of(batch.record_batch())
            array = batch.matrix.copy()
        elif batch.num_columns > 1 and all(map(tensors.is_doubles, batch.columns)):
            array = tensors.doubles_of(batch)
        elif batch.num_columns == 1 and (tensors.is_list(batch.schema.types[0]) or batch.schema.names == [TENSOR]):
            array, problems = tensors.tensor_of(batch.schema.names[0], batch.column(0), self.shape)
        else:
            nested = [field.name for field in batch.schema if tensors.is_list(field.type)]
            if nested:
                raise DataError(f"column {nested[0]!r} holds lists, which must be the only column: choose --features")
            array, problems = tensors.matrix_of(batch, nan_allowed=self.dtype is not None and self.dtype.kind == "f")
        dtype = self.dtype_for(array)
        return (array if dtype is None else tensors.cast(array, dtype, problems)), problems

    def dtype_for(self, array: np.ndarray[Any, Any]) -> np.dtype[Any] | None:  # noqa: ARG002 - for other adapters
        """The dtype that the function gets for an array of the rows' own; None for that one."""
        return self.dtype

    def value_of(self, array: np.ndarray[Any, Any]) -> Any:
        """What the function gets."""
        return array


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise UsageError(f"dtype {dtype!r} is none of numpy's, such as 'float32' or 'int64'") from error
    if found.kind not in "fiub":
        raise UsageError(f"dtype {dtype!r} is no dtype of numbers, such as 'float32' or 'int64'")
    return found


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth
