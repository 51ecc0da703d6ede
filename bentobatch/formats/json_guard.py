"""This module tells which lines of JSON may be handed to pyarrow's reader, and parses the others one by one.

pyarrow reads flat lines fast, but it overflows the stack on deep ones, takes NaN and Infinity for numbers, reads two
objects on one line as two rows, and makes floats of integers beyond 64 bits. orjson decides what is JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import orjson

from bentobatch.formats.records import Records

MAX_DEPTH = 64
"""Levels of arrays and objects that a line may have. pyarrow dies at some 20,000, orjson stops at 1,024."""
BEYOND = 2.0**63
"""A float of this magnitude may have been an integer beyond 64 bits."""

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OPEN, _OPEN_LIST = ord("{"), ord("[")
_CLOSE = ord("}")


def deep_rows(records: Records) -> list[int]:
    """The rows with more than MAX_DEPTH levels."""
    data = records.data
    openings = data.count(b"{") + data.count(b"[")
    if openings <= MAX_DEPTH or (openings - len(records) < MAX_DEPTH and _all_objects(records)):
        return []
    codes = np.frombuffer(data, np.uint8)
    openers = np.flatnonzero((codes == _OPEN) | (codes == _OPEN_LIST))
    count = np.searchsorted(openers, records.ends) - np.searchsorted(openers, records.starts)
    return [row for row in np.flatnonzero(count > MAX_DEPTH).tolist() if _depth(records.row(row)) > MAX_DEPTH]


def _depth(line: bytes) -> int:
    codes = np.frombuffer(_STRINGS.sub(b"", line), np.uint8)
    steps = np.isin(codes, (_OPEN, _OPEN_LIST)).astype(np.int64) - np.isin(codes, (_CLOSE, ord("]")))
    return int(np.cumsum(steps).max(initial=0))


def _all_objects(records: Records) -> bool:
    """Whether each row starts with { and ends with }: then no object can reach over a line end."""
    codes = np.frombuffer(records.data, np.uint8)
    return bool((codes[records.starts] == _OPEN).all() and (codes[records.stops - 1] == _CLOSE).all())


def is_plain(records: Records) -> bool:
    """Whether pyarrow may read these rows. If it then finds as many objects as rows, each row is one object."""
    data = records.data
    if b"\0" in data or (b"N" in data and b"NaN" in data) or (b"I" in data and b"Inf" in data):
        return False
    return _all_objects(records) and not deep_rows(records)


def parse_line(line: bytes) -> Any:
    """The value that a line holds. An integer beyond 64 bits may come as a float of magnitude BEYOND or more.

    Raises:
        ValueError: the line is not JSON; the message says why.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if "infinity" not in str(error):
            raise
    return parse_line_exactly(line)  # orjson refuses numbers that overflow, even where nobody wants the column


def parse_line_exactly(line: bytes) -> Any:
    """parse_line with all integers as they are; a number that overflows is an infinity.

    Raises:
        ValueError: the line is not JSON.
    """
    value = json.loads(line, parse_constant=_refuse, parse_int=_integer)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a surrogate without its partner") from error
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4000 else float("-inf" if digits[0] == "-" else "inf")  # Python stops at 4,300


def holds_beyond(value: Any) -> bool:
    """Whether a value, or one inside it, is a float of magnitude BEYOND or more."""
    if isinstance(value, float):
        return not -BEYOND < value < BEYOND
    if isinstance(value, dict):
        return any(holds_beyond(item) for item in value.values())
    return isinstance(value, list) and any(holds_beyond(item) for item in value)
