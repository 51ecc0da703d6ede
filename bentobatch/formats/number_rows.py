"""This module tells rows of plain numbers from others without parsing them: a type of a column of numbers needs no value.

What is left of a row without its digits and signs is its skeleton: ``{"id":,"x":.}`` for ``{"id":7,"x":-0.5}``. Rows with
the skeleton of a row that is known hold the same kinds of numbers in the same places. Removing bytes and comparing what
is left is several times faster than parsing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from bentobatch.formats.json_guard import parse_line
from bentobatch.formats.records import CR, LF, Records

_DIGITS = b"0123456789"
_SIGNED = _DIGITS + b"-"
_POINT, _MINUS = ord("."), ord("-")
_SLICE = 256 << 10
"""Bytes that are looked at in one go, which the CPU's cache holds."""
_MOST_ODD = 0.1
"""Where more rows are of another form, all are parsed: looking at rows one by one is slow."""
_TEMPLATES = 5
_MEMBER = re.compile(rb'"([^"\\]*)"[ ]*:[ ]*-?[0-9]+(\.[0-9]+)?[ ]*[,}]')
INT, FLOAT = "int", "float"


def odd_json_rows(records: Records, known: Mapping[str, frozenset[str] | None]) -> list[int] | None:
    """The rows that may hold something else than ``known`` says: for each column the kinds of numbers that are nothing
    new, None where nothing would be. None where this is not seen by skeletons, or too many rows are odd."""
    for index in range(min(_TEMPLATES, len(records))):
        template = _json_template(records.row(index), known)
        if template is not None:
            return _unlike(records, records.body().translate(None, _SIGNED), template)
    return None


def _json_template(line: bytes, known: Mapping[str, frozenset[str] | None]) -> bytes | None:
    """The skeleton of a line, if it and all lines with it are objects of numbers that are nothing new."""
    members = _MEMBER.findall(line)
    if not members or line.count(b'"') != 2 * len(members):
        return None
    try:
        row = parse_line(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or len(row) != len(members):
        return None
    # keys that differ by digits and signs alone look the same, so each of them may stand where any of them does
    places: dict[bytes, set[str]] = {}
    for key, fraction in members:
        places.setdefault(key.translate(None, _SIGNED), set()).add(FLOAT if fraction else INT)
    for name, kinds in known.items():
        found = places.get(name.encode().translate(None, _SIGNED), set())
        if kinds is not None and not found <= kinds:
            return None
    return line.translate(None, _SIGNED)


def odd_csv_rows(records: Records, delimiter: str, kinds: list[frozenset[str] | None]) -> list[int] | None:
    """The same of CSV, where ``kinds`` has what is nothing new for each column; a field may be empty too."""
    body = records.body()
    mark = delimiter.encode()
    if mark in _SIGNED + b"./" or not _only_numbers(body, ord(delimiter)):
        return None
    for index in range(min(_TEMPLATES, len(records))):
        template = records.data[records.starts[index] : records.ends[index]].translate(None, _SIGNED)
        if _fits(template.rstrip(b"\r\n").split(mark), kinds):
            return _unlike(records, body.translate(None, _SIGNED), template.removesuffix(b"\n"))
    return None


def _only_numbers(body: bytes, delimiter: int) -> bool:
    """Whether each point is followed by a digit, and each sign stands where a number begins: a date is none."""
    codes = np.frombuffer(body, np.uint8)
    for start in range(0, len(codes), _SLICE):
        piece = codes[start : start + _SLICE + 1]  # one byte more: each is seen once as the first of two
        marks = (piece - _MINUS) < 2  # "-" and "."
        numeric = (piece - _MINUS) < 13  # these and digits; "/" stands between, and in no skeleton
        if (marks[:-1] > numeric[1:]).any():
            return False
        begins = (piece == delimiter) | (piece == LF) | (piece == CR)
        if ((piece[1:] == _MINUS) > begins[:-1]).any():
            return False
    return not len(codes) or codes[-1] not in (_POINT, _MINUS)


def _fits(fields: list[bytes], kinds: list[frozenset[str] | None]) -> bool:
    names = {b"": INT, b".": FLOAT}
    return len(fields) == len(kinds) and all(
        field in names and (known is None or names[field] in known) for field, known in zip(fields, kinds, strict=True)
    )


def _unlike(records: Records, skeletons: bytes, template: bytes) -> list[int] | None:
    if skeletons == (template + b"\n") * len(records):
        return []
    lines: list[Any] = skeletons.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if len(lines) != len(records):  # blank lines, or a record of several
        return None
    odd = [index for index, line in enumerate(lines) if line != template]
    return odd if len(odd) <= _MOST_ODD * len(records) else None
