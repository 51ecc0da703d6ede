"""This module parses JSON lines of plain numbers: every line an object with the keys of the first one, spelled alike.

Such lines are made CSV by writing a comma for each colon, which pyarrow parses in a third of the time that its JSON
reader takes. Both turn the text of a number into a value by the same code. What CSV takes for a number and JSON does
not (007, .5, 5., +1, nan, 0x10) is looked for before; where anything is amiss, the lines are left to others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv as arrow_csv

from bentobatch.formats.csv_values import parsed_at_once
from bentobatch.formats.json_guard import parse_line
from bentobatch.formats.records import Positions, Records

_MEMBER = re.compile(rb'([{,] ?"([^"\\:,{}\n\r]+)"):( ?)(?:-?[0-9][0-9.eE+-]*|null)')
_NULLS = ["null", " null", "null ", " null "]
_SLICE = 256 << 10
"""Bytes that are looked at in one go, which the CPU's cache holds."""
_WORD = 8
_COMMA, _COLON, _CLOSE, _SPACE, _POINT, _MINUS, _ZERO = b",:} .-0"

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Template:
    """What stands before each colon of a line, and whether a space stands after it."""

    names: list[str]
    prefixes: list[bytes]
    space: int

    @property
    def words(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """The ends of the prefixes in words of eight bytes, of shape (words, prefixes), and the bits of them that count."""
        width = -(-max(map(len, self.prefixes)) // _WORD) * _WORD
        wanted = b"".join(prefix.rjust(width, b"\0") for prefix in self.prefixes)
        masks = b"".join((b"\xff" * len(prefix)).rjust(width, b"\0") for prefix in self.prefixes)
        words, bits = (np.frombuffer(text, np.uint64).reshape(len(self.prefixes), -1) for text in (wanted, masks))
        return words.T, bits.T


def read_numbers(records: Records, types: Mapping[str, Any]) -> dict[str, Any] | None:
    """The columns in ``types`` of rows that hold nothing but numbers and nulls, all with the keys of the first one.

    None where this is not so, where a column is to be no number, or where a number is not of its column's type.
    """
    if not all(pa.types.is_integer(type) or is_float(type) for type in types.values()) or len(records) < 2:
        return None
    template = _template(records.row(0))
    if template is None or not (
        np.array_equal(records.starts[1:], records.ends[:-1]) and np.array_equal(records.stops + 1, records.ends)
    ):
        return None
    fields = _as_fields(records, template)
    if fields is None:
        return None
    try:
        table = _parse(fields, template, types, longest=records.longest())
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(records):
        return None
    return {
        name: table.column(name).combine_chunks() if name in template.names else pa.nulls(len(records), type)
        for name, type in types.items()
    }


def is_float(type: Any) -> bool:
    """Whether ``type`` is one of those floats that JSON has numbers of."""
    return bool(pa.types.is_float32(type) or pa.types.is_float64(type))


def _template(line: bytes) -> _Template | None:
    """The form of a line, if it is an object of numbers and nulls."""
    members = []
    position = 0
    while (member := _MEMBER.match(line, position)) is not None:
        members.append(member)
        position = member.end()
    if not members or line[position:] != b"}" or len({member[3] for member in members}) > 1:
        return None
    try:
        row = parse_line(line)
    except ValueError:
        return None
    names = [member[2].decode() for member in members]
    if list(row) != names:  # a key that stands twice
        return None
    return _Template(names, [member[1] for member in members], len(members[0][3]))


def _as_fields(records: Records, template: _Template) -> Codes | None:
    """The rows with a comma for each colon, and no brace at the end; None unless all of them fit the template."""
    codes = np.frombuffer(records.data, np.uint8)[records.starts[0] : records.ends[-1]]
    starts, stops = records.starts - records.starts[0], records.stops - records.starts[0]
    if not (codes[stops - 1] == _CLOSE).all():
        return None
    words = template.words
    fields = codes.copy()
    step = max(1, _SLICE // records.longest())
    for first in range(0, len(starts), step):
        last = min(first + step, len(starts))
        colons = _colons(codes, starts[first:last], int(stops[last - 1]), template)
        if colons is None or not _has_keys(codes, colons[1:] if first == 0 else colons, words):
            return None
        if not _are_numbers(codes, colons + 1, template.space):
            return None
        fields[colons] = _COMMA
    fields[stops - 1] = _SPACE
    return fields


def _colons(codes: Codes, starts: Positions, stop: int, template: _Template) -> Positions | None:
    """Where the colons of some rows stand, of shape (rows, keys); None where there are others, or other marks."""
    rows, keys = len(starts), len(template.names)
    piece = codes[starts[0] : stop]
    colons: Positions = np.flatnonzero(piece == _COLON)
    if (
        len(colons) != rows * keys
        or np.count_nonzero(piece == _COMMA) != rows * (keys - 1)
        or np.count_nonzero(piece == _CLOSE) != rows
        or ((piece[:-1] == _POINT) & ((piece[1:] - _ZERO) > 9)).any()
    ):
        return None
    colons = (colons + starts[0]).reshape(rows, keys)
    return colons if np.array_equal(colons[:, 0], starts + len(template.prefixes[0])) else None


def _has_keys(codes: Codes, colons: Positions, words: tuple[Any, Any]) -> bool:
    """Whether the prefixes stand before these colons."""
    if not colons.size:
        return True
    if colons[0, 0] < _WORD * len(words[0]):  # the first row is too short to look so far back
        return False
    # a word at each byte
    windows: Any = np.ndarray(len(codes) - _WORD + 1, np.uint64, codes, strides=(1,))
    for back, (word, bits) in enumerate(zip(words[0][::-1], words[1][::-1], strict=True), 1):
        if ((windows[colons - _WORD * back] & bits) != word).any():
            return False
    return True


def _are_numbers(codes: Codes, places: Positions, space: int) -> bool:
    """Whether what begins at each place, after that many spaces, begins as a number of JSON or null does."""
    if space and (codes[places] != _SPACE).any():
        return False
    places = places + space
    first = codes[places]
    places += first == _MINUS
    digit, after = codes.take(places, mode="clip"), codes.take(places + 1, mode="clip")
    null = (first == ord("n")) & (after == ord("u"))
    longer = (digit == _ZERO) & (((after - _ZERO) < 10) | ((after | 32) == ord("x")))
    return bool(((((digit - _ZERO) < 10) & ~longer) | null).all())


def _parse(fields: Codes, template: _Template, types: Mapping[str, Any], *, longest: int) -> Any:
    """The numbers of all members: one of a column that nobody wants must be a number, too.

    Raises:
        pyarrow.ArrowInvalid: a value is no number, or none of its type.
    """
    found = {name: types.get(name, pa.float64()) for name in template.names}
    keys = [f"\0{index}" for index in range(len(template.names))]
    return arrow_csv.read_csv(
        pa.BufferReader(pa.py_buffer(fields)),
        read_options=arrow_csv.ReadOptions(
            use_threads=False,
            block_size=parsed_at_once(len(fields), longest),
            column_names=[name for pair in zip(keys, template.names, strict=True) for name in pair],
        ),
        parse_options=arrow_csv.ParseOptions(quote_char=False),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=template.names, column_types=found, null_values=_NULLS
        ),
    )
