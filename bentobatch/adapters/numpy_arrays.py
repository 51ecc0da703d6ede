"""This module makes Arrow arrays of numpy arrays, and always copies: a model may reuse its buffer in the next call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

_ARROW_UNITS = ("s", "ms", "us", "ns")


def numpy_of(value: Any) -> np.ndarray[Any, Any]:
    """An array, a tensor of torch (which may need gradients or lie on a GPU) or of another library, as numpy's array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def array_of_numpy(array: np.ndarray[Any, Any]) -> pa.Array:
    """One Arrow array of a numpy array that is not of kind object. More than one dimension gives lists of lists.

    NaN stays NaN, NaT and what a mask hides are null. Days are date32, coarser times timestamps of seconds.

    Raises:
        TypeError: the dtype has no Arrow form.
    """
    if array.ndim > 1:
        return _nested(array)
    mask = np.ma.getmaskarray(array).copy() if isinstance(array, np.ma.MaskedArray) else None
    data = _native(np.asarray(array))
    try:
        return pa.array(data, mask=mask)
    except pa.ArrowNotImplementedError as error:
        raise TypeError(f"numpy dtype {array.dtype} has no Arrow form") from error


def _native(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy in a dtype and byte order that Arrow knows."""
    if data.dtype == np.longdouble:
        return data.astype(np.float64)
    if data.dtype.kind in "mM":
        return _times(data)
    return data.astype(data.dtype.newbyteorder("="), copy=True)


def _times(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    letter = data.dtype.kind
    unit, count = np.datetime_data(data.dtype)
    if letter == "M" and unit == "D" and count == 1:
        return data.astype("M8[D]", copy=True)
    if unit in _ARROW_UNITS:
        return data.astype(f"{letter}8[{unit}]", copy=True)
    if unit == "generic" and np.isnat(data).all():
        return data.astype(f"{letter}8[us]")
    if unit in ("Y", "M", "W", "D", "h", "m") and not (letter == "m" and unit in "YM"):
        return data.astype(f"{letter}8[s]")
    raise TypeError(f"numpy dtype {data.dtype} has no Arrow form")


def _nested(array: np.ndarray[Any, Any]) -> pa.Array:
    rows, width = array.shape[0], array.shape[1]
    items = array_of_numpy(array.reshape(rows * width, *array.shape[2:]))
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    if offsets[-1] > np.iinfo(np.int32).max:
        return pa.LargeListArray.from_arrays(pa.array(offsets), items)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), items)
