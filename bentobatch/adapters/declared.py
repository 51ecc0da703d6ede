"""This module reads the dtypes that an api declares, in numpy's, pandas', Python's and Arrow's spellings."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.errors import UsageError


@dataclass(frozen=True)
class Declared:
    """One declared dtype. ``spelling`` is the JSON value that declares it again; ``arrow`` is its Arrow type, or None
    where the values' own is kept; ``pandas`` is what the column of a frame is cast to, None where nothing needs to be
    cast after the conversion from Arrow."""

    spelling: Any
    arrow: pa.DataType | None = None
    pandas: str | None = None
    categories: tuple[Any, ...] | None = None
    ordered: bool = False


_PYTHON_TYPES: dict[type, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "str",
    bytes: "bytes",
    object: "object",
    datetime.datetime: "timestamp[us]",
    datetime.date: "date32",
    datetime.time: "time64[us]",
    datetime.timedelta: "duration[us]",
}
_PANDAS_NULLABLE = {
    **{
        f"{sign}Int{bits}" if sign else f"Int{bits}": f"{sign.lower()}int{bits}"
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
    "Float32": "float32",
    "Float64": "float64",
    "boolean": "bool",
    "string": "string",
}
_PLAIN = {"str": pa.string(), "bytes": pa.binary(), "int": pa.int64(), "uint": pa.uint64()}
_NUMPY_NAME = re.compile(r"[<>=|]?[A-Za-z][A-Za-z0-9]*(\[\w+\])?")
_ZONED = re.compile(r"(?:datetime64|M8|timestamp)\[(s|ms|us|ns), ?(?:tz=)?([^\]]+)\]")
_DECIMAL = re.compile(r"decimal(128|256)\((\d+), ?(-?\d+)\)")
_LIST = re.compile(r"(large_)?list<(?:\w+: )?(.+?)(?: not null)?>")
_FIXED_BYTES = re.compile(r"fixed_size_binary\[(\d+)\]")
_CURE = (
    "write a name such as 'float64', 'int64', 'str', 'bool', 'category', 'datetime64[us, UTC]' or 'decimal128(10, 2)'"
)


def declare(dtype: Any) -> Declared:
    """The meaning of one dtype: a name, a type, a dtype object of numpy or pandas, an Arrow type, or the JSON spelling
    {"categories": [...], "ordered": false} of a categorical with settled categories.

    Raises:
        UsageError: no dtype of that spelling is known, or it has no Arrow form.
    """
    if isinstance(dtype, Mapping):
        return _categorical(dtype.get("categories"), bool(dtype.get("ordered", False)))
    if isinstance(dtype, str):
        return _by_name(dtype)
    if isinstance(dtype, pa.DataType):
        return _by_name(_arrow_name(dtype))
    if isinstance(dtype, np.dtype):
        return _by_name({"U": "str", "T": "str", "S": "bytes"}.get(dtype.kind, dtype.name))
    if isinstance(dtype, type) and dtype in _PYTHON_TYPES:
        return _by_name(_PYTHON_TYPES[dtype])
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        return declare(np.dtype(dtype))
    if hasattr(dtype, "categories"):
        return _categorical(dtype.categories, bool(dtype.ordered))
    if hasattr(dtype, "na_value") and hasattr(dtype, "name"):  # a pandas extension dtype
        return _by_name(str(dtype))
    raise _unknown(dtype)


def _unknown(dtype: Any) -> UsageError:
    return UsageError(f"dtype {dtype!r} is not known or has no Arrow form; {_CURE}")


def _categorical(categories: Any, ordered: bool) -> Declared:
    if categories is None:
        return Declared("category", pandas="category")
    plain = [value.item() if isinstance(value, np.generic) else value for value in categories]
    if any(value is not None and not isinstance(value, (str, int, float, bool)) for value in plain):
        raise UsageError("categories must be text, numbers or truth values; declare 'category' without them")
    try:
        kind = pa.array(plain).type
    except (pa.ArrowException, OverflowError) as error:
        raise UsageError(f"categories {plain!r} are not of one type; declare text or numbers only") from error
    spelling = {"categories": plain, "ordered": ordered}
    return Declared(spelling, kind if plain else None, "category", tuple(plain), ordered)


def _by_name(name: str) -> Declared:
    if name == "category":
        return Declared(name, pandas="category")
    if name == "object":
        return Declared(name, pandas="object")
    if name in _PLAIN:
        return Declared(name, _PLAIN[name])
    if name in _PANDAS_NULLABLE:
        return Declared(name, pa.type_for_alias(_PANDAS_NULLABLE[name]), name)
    if name.endswith("[pyarrow]"):
        kind = pa.string() if name.startswith("string") else _arrow_type(name.removesuffix("[pyarrow]"))
        return Declared(name, kind, "string" if name.startswith("string") else name)
    return Declared(name, _numpy_type(name) or _arrow_type(name))


def _numpy_type(name: str) -> pa.DataType | None:
    """What numpy means by a name, or None where it means nothing. 'float' is numpy's and Python's, not Arrow's."""
    if not _NUMPY_NAME.fullmatch(name):
        return None
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        return None
    if dtype.kind in "mM" and np.datetime_data(dtype)[0] == "generic":
        raise UsageError(f"dtype {name!r} has no unit; write '{name}[us]' or '{name}[ns]'")
    if dtype.kind in "US":
        return pa.string() if dtype.kind == "U" else pa.binary()
    if dtype.kind == "M" and np.datetime_data(dtype)[0] == "D":
        return pa.date32()
    try:
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    except (pa.ArrowException, TypeError):
        raise _unknown(name) from None


def _arrow_type(name: str) -> pa.DataType:
    """The Arrow type that prints as ``name``."""
    zoned = _ZONED.fullmatch(name)
    if zoned:
        return pa.timestamp(zoned[1], tz=zoned[2])
    decimal = _DECIMAL.fullmatch(name)
    nested = _LIST.fullmatch(name)
    fixed = _FIXED_BYTES.fullmatch(name)
    try:
        if decimal:
            make = pa.decimal128 if decimal[1] == "128" else pa.decimal256
            return make(int(decimal[2]), int(decimal[3]))
        if nested:
            return (pa.large_list if nested[1] else pa.list_)(_arrow_type(nested[2]))
        if fixed:
            return pa.binary(int(fixed[1]))
        return pa.type_for_alias(name)
    except (ValueError, pa.ArrowException):
        raise _unknown(name) from None


def _arrow_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "category"
    if pa.types.is_floating(kind):
        return f"float{kind.bit_width}"  # Arrow prints float32 as 'float', which numpy takes for float64
    if pa.types.is_string(kind):
        return "str"
    return str(kind)


def declare_all(
    dtype: Any, columns: Sequence[str] | None
) -> tuple[Mapping[str, Declared], Sequence[Declared] | None, Declared | None]:
    """What a ``dtype`` option says: by name, by position, for every column. At most one of the three says something,
    but a list is read by name where the columns are declared.

    Raises:
        UsageError: a list of another length than ``columns``, a name that is not in ``columns``, an unknown dtype.
    """
    if dtype is None:
        return {}, None, None
    if isinstance(dtype, Mapping) and not _is_categories(dtype):
        known = dict.fromkeys(columns) if columns is not None else None
        strange = [str(name) for name in dtype if known is not None and name not in known]
        if strange:
            raise UsageError(f"dtype names column {strange[0]!r}, which is not in columns={list(columns or ())}")
        return {str(name): declare(each) for name, each in dtype.items()}, None, None
    if isinstance(dtype, (list, tuple)):
        if columns is None:
            return {}, [declare(each) for each in dtype], None
        if len(dtype) != len(columns):
            raise UsageError(f"dtype lists {len(dtype)} types for {len(columns)} columns; list one for each")
        return {name: declare(each) for name, each in zip(columns, dtype, strict=True)}, None, None
    single = declare(dtype)
    if columns is None:
        return {}, None, single
    return dict.fromkeys(columns, single), None, single


def _is_categories(dtype: Mapping[Any, Any]) -> bool:
    return isinstance(dtype.get("categories"), (list, tuple)) and set(dtype) <= {"categories", "ordered"}
