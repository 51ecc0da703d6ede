"""This module reads and writes JSON text without loss: integers keep every digit, NaN and deep nesting are refused."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa

JSON_ENCODING = {b"bentobatch.encoding": b"json"}
"""The metadata of a string field whose values are JSON texts, since no single Arrow type fits them."""

_LONG_DIGITS = re.compile(rb"[0-9]{19}")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
# numpy and dates pass through ``_simple_value``, since orjson would cut their nanoseconds.
_DUMP_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def may_hold_long_numbers(text: Any) -> bool:
    """Whether ``text`` (bytes, or a buffer of many texts) has 19 digits in a row anywhere: integers may not fit."""
    return _LONG_DIGITS.search(text) is not None


def parse_json(text: bytes, *, long_numbers: bool | None = None) -> Any:
    """The value of one JSON text. Integers of up to 308 digits are exact; nesting is bounded at about 1,000 levels.

    ``long_numbers`` False spares the search for long integers where the caller has made it.

    Raises:
        json.JSONDecodeError: with the position. Bare NaN and Infinity, numbers beyond a double and invalid UTF-8 are
            no JSON.
    """
    value = orjson.loads(text)  # also the guard of what follows: syntax, UTF-8 and depth are checked here
    if long_numbers is None:
        long_numbers = may_hold_long_numbers(text)
    return _parse_exactly(text) if long_numbers else value


def _parse_exactly(text: bytes) -> Any:
    """orjson makes floats of integers beyond 64 bits; the standard library keeps them."""
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("depth limit exceeded", "", 0) from None


def json_text(value: Any, *, ensure_ascii: bool = False) -> str:
    """``value`` as one JSON text. NaN and infinities become null, bytes base64, dates ISO 8601, decimals text.

    Raises:
        TypeError: a value in it has no JSON form, or it is nested too deeply.
    """
    try:
        text = orjson.dumps(value, default=_simple_value, option=_DUMP_OPTIONS).decode()
    except orjson.JSONEncodeError:  # integers beyond 64 bits, unusual keys, more than 254 levels
        try:
            text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except RecursionError:
            raise TypeError("the value is nested too deeply for JSON") from None
        except ValueError as error:  # an integer of more than sys.get_int_max_str_digits() digits, a circle
            raise TypeError(f"the value has no JSON form: {error}") from None
    return _NON_ASCII.sub(_escaped, text) if ensure_ascii else text


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]


def _simple_value(value: Any) -> Any:
    """A value that orjson does not know, one step nearer to JSON."""
    for classes, simple in _SIMPLE:
        if isinstance(value, classes):
            return simple(value)
    if type(value).__name__ == "NAType":  # pandas' null, told by name so that pandas need not be imported
        return None
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _simple_array(array: np.ndarray[Any, Any]) -> Any:
    if array.ndim == 0:
        return array[()]
    return list(array) if array.dtype.kind in "mM" else array.tolist()  # tolist makes integers of nanoseconds


# In the order of asking: numpy's times and bytes are numpy.generic too.
_SIMPLE: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    # NaT is a datetime that differs from itself
    ((datetime.date, datetime.time), lambda value: value.isoformat() if value == value else None),
    ((datetime.timedelta, Decimal, UUID), str),
    ((np.datetime64, np.timedelta64), lambda value: None if np.isnat(value) else str(value)),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(bytes(value)).decode()),
    (np.ndarray, _simple_array),
    (np.generic, lambda value: value.item()),
    (pa.Scalar, lambda value: value.as_py()),
    (Mapping, dict),
    (tuple, list),
)


def _finite(value: Any) -> Any:
    """``value`` made of what the standard library's encoder takes, without NaN."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _finite(dataclasses.asdict(value))
    return _finite(_simple_value(value))


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    simple = _finite(key)
    if simple is None or isinstance(simple, (bool, int, float)):
        return json.dumps(simple)
    if isinstance(simple, str):
        return simple
    raise TypeError(f"a key of type {type(key).__name__} has no JSON form")
