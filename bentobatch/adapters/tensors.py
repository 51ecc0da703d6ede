"""This module makes one numpy array of the rows of a batch: a matrix of feature columns, or a tensor of one list column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.adapters.casting import is_text
from bentobatch.adapters.settling import shown
from bentobatch.errors import DataError

Array = np.ndarray[Any, Any]
_DOUBLE = pa.float64()
Problems = dict[int, str]
"""What is wrong with a row, by its position in the batch."""


def is_list(kind: pa.DataType) -> bool:
    """Whether the values of a column of this type are lists, or tensors of one shape."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    known = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in known)


def is_doubles(column: pa.Array) -> bool:
    """Whether a column is float64 without a null."""
    return column.type == _DOUBLE and not column.null_count


def doubles_of(batch: pa.RecordBatch) -> Array:
    """What ``matrix_of`` makes of such columns, in a fifth of the time: online it counts."""
    made = np.empty((batch.num_rows, batch.num_columns))
    for position, column in enumerate(batch.columns):
        made[:, position] = column.to_numpy()
    return made


def matrix_of(batch: pa.RecordBatch, *, nan_allowed: bool) -> tuple[Array, Problems]:
    """Columns of scalars as an array of rows x columns. Null floats are NaN; a null among whole numbers is NaN where
    ``nan_allowed`` (the array is cast to floats anyway), else its row is bad. Text gives an array of objects.

    Raises:
        DataError: a column of another kind, or text among numbers.
    """
    columns: list[Array] = []
    problems: Problems = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        columns.append(_scalars(name, values, problems, nan_allowed=nan_allowed))
    if not columns:
        return np.empty((batch.num_rows, 0)), {}
    kinds = {column.dtype.kind == "O" for column in columns}
    if len(kinds) > 1:
        told = ", ".join(f"{field.name} ({field.type})" for field in batch.schema)
        raise DataError(f"text and numbers make no array: {told}; choose the columns with --features")
    made = np.empty((batch.num_rows, len(columns)), dtype=np.result_type(*columns))
    for position, values in enumerate(columns):
        made[:, position] = values
    return made, problems


def tensor_of(name: str, column: pa.Array, shape: Sequence[int] | None) -> tuple[Array, Problems]:
    """A column of lists as an array of rows x their shape. A row is bad that is null, holds a null among whole numbers,
    has lists of different lengths, or not as many values as ``shape``. Bad rows hold zeros.

    Raises:
        DataError: rows of different shapes where none is declared.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        if shape is None and hasattr(column.type, "shape"):
            shape = tuple(column.type.shape)
        column = column.storage
    whole = _regular(column)
    if whole is not None and (shape is None or whole[0].size == math.prod(shape) if len(whole) else True):
        return (whole if shape is None else whole.reshape(len(column), *shape)), {}
    rows: dict[int, Array] = {}
    problems: Problems = {}
    for index in range(len(column)):
        row = _regular(column.slice(index, 1))
        if row is None:
            null = not column[index].is_valid
            problems[index] = f"column {name!r}: {'null' if null else 'a null, or lists of different lengths'}"
        elif shape is not None and row.size != math.prod(shape):
            problems[index] = f"column {name!r}: {row.size} values, and the shape is {list(shape)}"
        else:
            rows[index] = row[0] if shape is None else row[0].reshape(shape)
    _check_one_shape(name, rows)
    if not rows:
        return np.zeros((len(column), *(shape or ()))), problems
    first = next(iter(rows.values()))
    made = np.zeros((len(column), *first.shape), dtype=np.result_type(*{row.dtype for row in rows.values()}))
    for index, row in rows.items():
        made[index] = row
    return made, problems


def cast(array: Array, dtype: Any, problems: Problems) -> Array:
    """``array`` in ``dtype``; rows whose numbers do not fit are added to ``problems``.

    Raises:
        DataError: the cast would lose what the numbers are (floats to integers, text to numbers).
    """
    target = np.dtype(dtype)
    if array.dtype == target:
        return array
    if array.dtype.kind == "O" or not (np.can_cast(array.dtype, target, "same_kind") or array.dtype.kind == "b"):
        raise DataError(f"the input's values are {_told(array.dtype)}, which are no {target}; declare another dtype")
    with np.errstate(all="ignore"):
        made = array.astype(target)
        if target.kind in "iu":
            lost = made.astype(array.dtype) != array
            if target.kind == "u" and array.dtype.kind == "i":
                lost |= array < 0
        else:
            lost = np.isinf(made) & ~np.isinf(array) if target.kind == "f" else np.zeros(array.shape, dtype=bool)
    if len(array) and lost.any():
        for row in np.flatnonzero(lost.reshape(len(array), -1).any(axis=1)):
            value = array[row][lost[row]].ravel()[0]
            problems.setdefault(int(row), f"{shown(value.item())} does not fit into {target}")
    return made


def dtypes_of_text(names: Sequence[str], dtype: Any) -> Mapping[str, pa.DataType]:
    """The types that columns of text files are read as for an array of ``dtype``: the widest of its kind, since the array
    is cast as a whole. A single column may hold lists, so nothing is said of it."""
    kind = np.dtype(dtype).kind if dtype is not None else ""
    wide = {"f": pa.float64(), "i": pa.int64()}.get(kind)
    return {} if wide is None or len(names) < 2 else dict.fromkeys(names, wide)


def _scalars(name: str, column: pa.Array, problems: Problems, *, nan_allowed: bool) -> Array:
    kind = column.type
    if is_text(kind):
        return np.array(column.to_pylist(), dtype=object)
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"column {name!r} is {kind}, and an array takes numbers: choose the columns with --features")
    if column.null_count and not pa.types.is_floating(column.type):
        if nan_allowed:
            column = column.cast(pa.float64())
        else:
            for row in pc.indices_nonzero(column.is_null()).to_pylist():
                problems.setdefault(
                    row, f"column {name!r} is null among whole numbers; declare dtype='float64' for NaN"
                )
            column = column.fill_null(False if pa.types.is_boolean(kind) else 0)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _regular(column: pa.Array) -> Array | None:
    """The lists as one array where all are of one shape and hold no null but NaN for floats; else None."""
    shape = [len(column)]
    while is_list(column.type):
        if column.null_count:
            return None
        lengths = pc.list_value_length(column)
        bounds = pc.min_max(lengths).as_py() if len(column) else {"min": 0, "max": 0}
        if bounds["min"] != bounds["max"]:
            return None
        shape.append(bounds["max"])
        column = column.flatten()
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    if column.null_count and not pa.types.is_floating(column.type):
        return None
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)


def _check_one_shape(name: str, rows: Mapping[int, Array]) -> None:
    shapes = {row.shape: index for index, row in rows.items()}
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise DataError(
            f"column {name!r}: row {first} has the shape {list(one)} and row {second} {list(other)}: declare"
            f" shape={list(one)}, so that rows of another one are rejected, or bring all to one shape"
        )


def _told(dtype: Any) -> str:
    return "text" if dtype.kind == "O" else str(dtype)
