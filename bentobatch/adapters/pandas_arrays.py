"""This module makes Arrow arrays of the columns that pandas knows, without importing pandas."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.adapters.numpy_arrays import array_of_numpy
from bentobatch.adapters.values import array_of

_MAX_STRING_BYTES = 2**31 - 1


def is_pandas_frame(value: Any) -> bool:
    """Whether ``value`` is a DataFrame; whoever has one has imported pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_pandas_column(value: Any) -> bool:
    """Whether ``value`` is a Series, an Index or an extension array (Categorical included)."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return False
    return isinstance(value, (pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray))


def array_of_pandas(column: Any) -> pa.Array:
    """One Arrow array of a Series, an Index or an extension array; the index of a Series is ignored.

    NaN of a numpy float column stays NaN; what pandas calls missing elsewhere is null. Categories are decoded, since
    their codes differ from chunk to chunk; periods and intervals are their text.

    Raises:
        MixedValuesError, NoArrowFormError, TypeError: as ``array_of`` and ``array_of_numpy``.
    """
    name = str(column.dtype)
    if name == "object":  # a MultiIndex too
        return array_of(list(column))
    values = getattr(column, "array", column)
    if isinstance(column.dtype, np.dtype):
        return array_of_numpy(column.to_numpy())
    if name.startswith("Sparse"):
        dense = np.asarray(values)
        return array_of(dense.tolist()) if dense.dtype.kind == "O" else array_of_numpy(dense)
    if name.startswith(("period", "interval")):
        missing = values.isna()
        return array_of([None if gone else str(value) for value, gone in zip(values, missing, strict=True)])
    if name == "category":
        return _decoded(values)
    return _plain_text(pa.array(values.copy()))


def _decoded(values: Any) -> pa.Array:
    codes = np.array(values.codes, dtype=np.int64)
    words = array_of_pandas(values.categories)
    return words.take(pa.array(codes, mask=codes < 0))


def _plain_text(array: Any) -> pa.Array:
    """One chunk, and text as string: pandas' large_string beside the string of lists would be two types of one thing."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_large_string(array.type) and array.nbytes < _MAX_STRING_BYTES:
        return array.cast(pa.string())
    return array
