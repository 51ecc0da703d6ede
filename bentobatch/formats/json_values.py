"""This module makes columns of JSON values: what fits which type, exactly, and which values do not fit.

Numbers fit numbers (an integer fits a float column, 5.0 does not fit an integer one), true and false fit bool,
strings fit text. In a column of text any other value is its JSON text: that is how mixed columns are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pyarrow as pa

from bentobatch.errors import DataError
from bentobatch.formats.csv_values import complaint, is_text, parse_texts, parsed_as
from bentobatch.formats.json_guard import BEYOND, holds_beyond

_INT64 = range(-(2**63), 2**63)
_FLOAT32_END = 2.0**128 - 2.0**103  # from here on a float32 rounds to infinity


def is_native(type: Any) -> bool:
    """Whether JSON has values of this type itself; others are read from strings (or text of values)."""
    types = pa.types
    if types.is_list(type):
        return is_native(type.value_type)
    if types.is_struct(type):
        return all(is_native(field.type) for field in type)
    return bool(
        types.is_null(type)
        or types.is_boolean(type)
        or types.is_integer(type)
        or types.is_float32(type)
        or types.is_float64(type)
        or types.is_string(type)
        or types.is_large_string(type)
    )


def check_type(type: Any) -> None:
    """Refuse a type that no JSON value stands for.

    Raises:
        DataError: it is one.
    """
    if not is_native(type):
        parsed_as(type)


def build_column(
    name: str, values: Sequence[Any], type: Any, exact: Callable[[int], Any]
) -> tuple[Any, dict[int, str]]:
    """A column of ``type``, and what is wrong with the values that do not fit (null in the column).

    ``exact(index)`` parses the value of a row once more, with all integers as they are.
    """
    if not is_text(type) and is_native(type):
        if _fits_at_once(values, type):
            return pa.array(values, type), {}
        make = fit
    else:
        make = _text
    errors: dict[int, str] = {}
    made: list[Any] = []
    for index, value in enumerate(values):
        precise = exact(index) if holds_beyond(value) else value
        try:
            made.append(make(precise, type))
        except ValueError:
            made.append(None)
            errors[index] = complaint(name, precise, type)
    if make is fit:
        return pa.array(made, type), errors
    column, failed = parse_texts(pa.array(made, pa.string()), type)
    return column, errors | {index: complaint(name, values[index], type) for index in failed}


def _text(value: Any, type: Any) -> str | None:
    del type
    return value if value is None or isinstance(value, str) else json_text(value)


def _fits_at_once(values: Sequence[Any], type: Any) -> bool:
    """A quick answer for the usual columns; False says only that each value must be looked at."""
    kinds = {value.__class__ for value in values} - {None.__class__}
    if pa.types.is_float64(type):
        return kinds <= {float} and all(value is None or -BEYOND < value < BEYOND for value in values)
    if pa.types.is_int64(type):
        return kinds <= {int} and all(value is None or value in _INT64 for value in values)
    return not kinds or (bool(pa.types.is_boolean(type)) and kinds <= {bool})


def fit(value: Any, type: Any) -> Any:
    """``value`` as pyarrow.array takes it for ``type``, which is native.

    Raises:
        ValueError: it does not fit.
    """
    types = pa.types
    if value is None:
        return None
    if types.is_integer(type):
        return _fit_integer(value, type)
    if types.is_floating(type):
        return _fit_float(value, type)
    if types.is_boolean(type) and isinstance(value, bool):
        return value
    if (types.is_string(type) or types.is_large_string(type)) and isinstance(value, str):
        return value
    if types.is_list(type) and isinstance(value, list):
        return [fit(item, type.value_type) for item in value]
    if types.is_struct(type) and isinstance(value, dict):
        return {field.name: fit(value.get(field.name), field.type) for field in type}
    raise ValueError


def _fit_integer(value: Any, type: Any) -> int:
    bits = type.bit_width
    low, high = (-(1 << bits - 1), 1 << bits - 1) if pa.types.is_signed_integer(type) else (0, 1 << bits)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value < high:
        return value
    raise ValueError


def _fit_float(value: Any, type: Any) -> float:
    limit = _FLOAT32_END if pa.types.is_float32(type) else math.inf
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and value in _INT64):
        number = float(value)
        if -limit < number < limit:
            return number
    raise ValueError


def json_text(value: Any) -> str:
    """``value`` as compact JSON; integers of any size.

    Raises:
        ValueError: a number in it has overflowed.
    """
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if holds_beyond(value):
        json.dumps(value, allow_nan=False)
    return text


def checked(name: str, file: str, type: Any) -> Any:
    """``type``, if columns of it can be read.

    Raises:
        DataError: no JSON value stands for it; names the column and the file.
    """
    try:
        check_type(type)
    except DataError as error:
        raise DataError(f"{file}: column {name}: {error}") from error
    return type
