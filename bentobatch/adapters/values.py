"""This module makes Arrow arrays of Python values, by one strict rule for each kind of value.

``pyarrow.array`` guesses kindly and loses data: it cuts datetimes that follow a date, takes naive times for UTC beside
aware ones, drops nanoseconds, turns text into bytes. Here values of kinds that do not belong together are refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from bentobatch.adapters.numpy_arrays import array_of_numpy, numpy_of

MAX_DEPTH = 32
"""Deeper lists and objects are MixedValuesError: files and messages of Arrow refuse more than 64 levels."""

MAX_KEYS = 256
"""Objects with more different keys than this are MixedValuesError: as a struct, each row would pay for every key."""


class MixedValuesError(ValueError):
    """No single Arrow type holds all the values without loss."""


class NoArrowFormError(TypeError):
    """A value of a type that has no Arrow form at all."""


def array_of(values: Sequence[Any], *, depth: int = 0) -> pa.Array:
    """One Arrow array of Python, numpy, pandas and Arrow values; None, NaT and NA are null.

    Integers are int64 (uint64 where needed), with floats among them float64. NaN stays NaN among numbers and is null
    among other values, as pandas means it. Text is string, bytes binary, decimals decimal128(38, scale). Lists and 1-D
    arrays are lists, dicts with text keys structs (a missing key is null).

    Raises:
        MixedValuesError: the values are of kinds that share no type, or too large for one.
        NoArrowFormError: a value has no Arrow form.
    """
    if depth > MAX_DEPTH:
        raise MixedValuesError(f"values nested more than {MAX_DEPTH} levels deep")
    types = set(map(type, values))
    kinds = {_kind_of(cls) for cls in types}
    if "other" in kinds:
        names = sorted(cls.__name__ for cls in types if _kind_of(cls) == "other")
        raise NoArrowFormError(f"a value of type {names[0]} has no Arrow form")
    if kinds & _BOXES:
        return _array_of_boxes(values, types, kinds, depth=depth)
    kinds.discard("null")
    if not kinds:
        return pa.nulls(len(values))
    if "float" in kinds and kinds - _NUMBERS and _only_nan(values):
        kinds.discard("float")
    kind = "float" if kinds == {"int", "float"} else "decimal" if kinds == {"int", "decimal"} else None
    if kind is None and len(kinds) > 1:
        raise MixedValuesError(f"values of {' and '.join(sorted(_SPOKEN[each] for each in kinds))}")
    kind = kind or kinds.pop()
    if kind == "list":
        return _lists(values, depth=depth)
    if kind == "object":
        return _structs(values, depth=depth)
    return _scalars(values, kind, types)


_NUMBERS = {"int", "float", "null"}
_BOXES = {"box", "array", "instant64", "span64", "uuid"}
_SPOKEN = {
    "bool": "true or false",
    "int": "integers",
    "float": "floats",
    "decimal": "decimals",
    "text": "text",
    "bytes": "bytes",
    "date": "dates",
    "instant": "date-times",
    "time": "times of day",
    "span": "durations",
    "list": "lists",
    "object": "objects",
}

# In the order of asking: a numpy.timedelta64 is a numpy.integer, a datetime is a date, a bool is an int.
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    ((bool, np.bool_), "bool"),
    (np.timedelta64, "span64"),
    (np.datetime64, "instant64"),
    ((int, np.integer), "int"),
    ((float, np.floating), "float"),
    (Decimal, "decimal"),
    (str, "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    (datetime.datetime, "instant"),
    (datetime.date, "date"),
    (datetime.time, "time"),
    (datetime.timedelta, "span"),
    (UUID, "uuid"),
    (Mapping, "object"),
    ((list, tuple), "list"),
    (pa.Scalar, "box"),
)

_KINDS_SEEN: dict[type, str] = {}
_MAX_SEEN = 1024


def _kind_of(cls: type) -> str:
    known = _KINDS_SEEN.get(cls)
    if known is None:
        if len(_KINDS_SEEN) > _MAX_SEEN:
            _KINDS_SEEN.clear()  # a function that makes classes must not fill the memory
        known = _KINDS_SEEN[cls] = _find_kind(cls)
    return known


def _find_kind(cls: type) -> str:
    if cls.__name__ in ("NaTType", "NAType") and cls.__module__.startswith("pandas"):
        return "null"  # pandas' own nulls, told by name so that pandas need not be imported
    for classes, kind in _KINDS:
        if issubclass(cls, classes):
            return kind
    return "array" if hasattr(cls, "__array__") else "other"


def _is_null(value: Any) -> bool:
    return value is None or _kind_of(type(value)) == "null"


def _is_missing(value: Any) -> bool:
    return _is_null(value) or (_kind_of(type(value)) == "float" and value != value)


def _only_nan(values: Sequence[Any]) -> bool:
    return all(value != value for value in values if _kind_of(type(value)) == "float")


def _array_of_boxes(values: Sequence[Any], types: set[type], kinds: set[str], *, depth: int) -> pa.Array:
    """Values that wrap others: Arrow scalars, arrays and tensors, numpy's times, UUIDs."""
    if kinds - {"null"} == {"box"}:
        inner = {value.type for value in values if isinstance(value, pa.Scalar) and value.is_valid}
        if len(inner) == 1:
            plain = [value if isinstance(value, pa.Scalar) and value.is_valid else None for value in values]
            return pa.array(plain, type=inner.pop())
    if kinds - {"null"} in ({"instant64"}, {"span64"}):
        null = np.datetime64("NaT") if "instant64" in kinds else np.timedelta64("NaT")
        return array_of_numpy(np.array([null if _is_null(value) else value for value in values]))
    if kinds == {"array"} and types == {np.ndarray}:
        dtypes = {value.dtype for value in values}
        if len(dtypes) == 1 and all(value.ndim == 1 for value in values) and dtypes.pop().kind in "biufM":
            return _list_array([len(value) for value in values], array_of_numpy(np.concatenate(values)), None)
    return array_of([_unboxed(value) for value in values], depth=depth)


def _unboxed(value: Any) -> Any:
    kind = _kind_of(type(value))
    if kind == "box":
        return value.as_py()
    if kind == "uuid":
        return str(value)
    if kind in ("instant64", "span64"):
        return _python_time(value)
    if kind == "array":
        array = numpy_of(value)
        if array.ndim == 0:
            return array[()]  # keeps numpy's type; an object array gives the object itself
        return list(array) if array.ndim == 1 and array.dtype.kind in "mM" else array.tolist()
    return value


def _python_time(value: Any) -> Any:
    """One of numpy's times beside Python's own: a date, datetime or timedelta where that loses nothing."""
    if np.isnat(value):
        return None
    micro = value.astype("M8[us]" if isinstance(value, np.datetime64) else "m8[us]")
    if micro != value:
        raise MixedValuesError("date-times of nanoseconds beside others")
    return value.item() if str(value.dtype) == "datetime64[D]" else micro.item()


def _scalars(values: Sequence[Any], kind: str, types: set[type]) -> pa.Array:
    """An array of one kind of scalar."""
    try:
        if kind == "int":
            return _integers(values, types)
        if kind == "float":
            return _floats(values, types)
        if kind == "decimal":
            return _decimals(values)
        if kind == "bytes":
            values = [bytes(value) if isinstance(value, (bytearray, memoryview)) else value for value in values]
        return pa.array(values, type=_scalar_type(values, kind), from_pandas=True)
    except UnicodeEncodeError as error:
        raise NoArrowFormError(f"text with a lone surrogate has no Arrow form ({error.reason})") from error
    except (pa.ArrowInvalid, OverflowError) as error:
        raise MixedValuesError(f"{_SPOKEN[kind]} beyond the range of their type") from error


def _scalar_type(values: Sequence[Any], kind: str) -> pa.DataType:
    if kind == "instant":
        samples = {id(value.tzinfo): value for value in values if not _is_missing(value)}  # not all can be hashed
        return pa.timestamp(_unit(values), tz=_zone(list(samples.values())))
    if kind == "span":
        return pa.duration(_unit(values))
    if kind == "time":
        if any(getattr(value, "tzinfo", None) is not None for value in values):
            raise MixedValuesError("times of day with a time zone")
        return pa.time64("us")
    return {"bool": pa.bool_(), "text": pa.string(), "bytes": pa.binary(), "date": pa.date32()}[kind]


def _unit(values: Sequence[Any]) -> str:
    """Python counts microseconds; pandas' Timestamp and Timedelta may hold nanoseconds besides."""
    times = (value for value in values if not _is_missing(value))
    fine = any(getattr(time, "nanosecond", 0) or getattr(time, "nanoseconds", 0) for time in times)
    return "ns" if fine else "us"


def _zone(samples: Sequence[Any]) -> str | None:
    """The name of the one zone of all (an example of each zone is given), UTC where they differ or have no name."""
    if all(sample.tzinfo is None for sample in samples):
        return None
    if any(sample.tzinfo is None for sample in samples):
        raise MixedValuesError("date-times with and without a time zone")
    names = set()
    for sample in samples:
        try:
            names.add(pa.scalar(sample).type.tz)
        except (pa.ArrowInvalid, ValueError):  # an offset of odd seconds, or a zone without a name
            names.add("UTC")
    return names.pop() if len(names) == 1 else "UTC"


def _integers(values: Sequence[Any], types: set[type]) -> pa.Array:
    kinds = {cls for cls in types if _kind_of(cls) == "int"}
    only = next(iter(kinds)) if len(kinds) == 1 else int
    if issubclass(only, np.integer):
        return pa.array(values, type=pa.from_numpy_dtype(np.dtype(only)), from_pandas=True)
    try:
        return pa.array(values, type=pa.int64(), from_pandas=True)
    except OverflowError:
        return pa.array(values, type=pa.uint64(), from_pandas=True)


def _floats(values: Sequence[Any], types: set[type]) -> pa.Array:
    kinds = {cls for cls in types if _kind_of(cls) in ("int", "float")}
    if kinds == {float} and types <= {float, type(None)}:
        return pa.array(values, type=pa.float64())
    if kinds in ({np.float32}, {np.float16}):
        narrow = pa.float32() if kinds == {np.float32} else pa.float16()
        return pa.array([None if _is_null(value) else value for value in values], type=narrow)
    floats = [None if _is_null(value) else float(value) for value in values]
    for value, made in zip(values, floats, strict=True):
        if made is not None and _kind_of(type(value)) == "int" and int(made) != int(value):
            raise MixedValuesError("floats and integers that no float holds exactly")
    return pa.array(floats, type=pa.float64())


def _decimals(values: Sequence[Any]) -> pa.Array:
    """The widest precision, so that a later chunk with larger amounts has the same type."""
    numbers = [None if _is_missing(value) else Decimal(value) for value in values]
    if any(number is not None and not number.is_finite() for number in numbers):
        raise MixedValuesError("decimals that are not finite")
    found = pa.array(numbers).type
    if pa.types.is_null(found):
        return pa.nulls(len(values))
    wide = pa.decimal128(38, found.scale) if found.precision <= 38 else pa.decimal256(76, found.scale)
    return pa.array(numbers, type=wide)


def _mask(values: Sequence[Any]) -> pa.Array | None:
    missing = [_is_missing(value) for value in values]
    return pa.array(missing, type=pa.bool_()) if any(missing) else None


def _list_array(lengths: Sequence[int], items: pa.Array, mask: pa.Array | None) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        return pa.LargeListArray.from_arrays(pa.array(offsets), items, mask=mask)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), items, mask=mask)


def _lists(values: Sequence[Any], *, depth: int) -> pa.Array:
    rows = [() if _is_missing(value) else value for value in values]
    items = array_of(list(chain.from_iterable(rows)), depth=depth + 1)
    return _list_array([len(row) for row in rows], items, _mask(values))


def _structs(values: Sequence[Any], *, depth: int) -> pa.Array:
    rows: list[Mapping[str, Any]] = [{} if _is_missing(value) else value for value in values]
    keys: dict[str, None] = {}
    for row in rows:
        keys.update(dict.fromkeys(row))
        if len(keys) > MAX_KEYS:
            raise MixedValuesError(f"objects of more than {MAX_KEYS} different keys")
    if not keys:
        raise MixedValuesError("objects without keys")
    if any(not isinstance(key, str) for key in keys):
        raise MixedValuesError("objects whose keys are not text")
    children = [array_of([row.get(key) for row in rows], depth=depth + 1) for key in keys]
    return pa.StructArray.from_arrays(children, names=[str(key) for key in keys], mask=_mask(values))
