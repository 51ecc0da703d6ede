"""This module parses the rows of a CSV file: all at once where every row is sound, else with its bad rows named.

Bad are rows with too few or too many fields, with a NUL byte, with text after a closing quote, or with a value that
does not parse as the column's type. They keep those of their columns that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.errors import DataError
from bentobatch.formats.csv_values import (
    complaint,
    holds_hex,
    is_hex,
    is_text,
    may_overflow,
    parse_texts,
    parsed_as,
    read_fields,
)
from bentobatch.formats.records import Mask, Positions, Records, quote_positions
from bentobatch.rows import BadRow

_QUOTED = re.compile(rb'"([^"]*(?:""[^"]*)*)"')


class CsvRows:
    """Parses rows of a file whose header is ``names`` into the columns ``types``, a subset of them by name.

    ``nulls`` are the spellings of null. In columns of text a quoted one is that text; elsewhere quotes do not matter.
    """

    def __init__(
        self, names: Sequence[str], types: Mapping[str, Any], *, file: str, delimiter: str, nulls: Sequence[str]
    ) -> None:
        self._names = names
        self._types = types
        self._file = file
        self._delimiter = delimiter
        self._nulls = nulls
        self._integers = [name for name, type in types.items() if pa.types.is_integer(type)]
        for name, type in types.items():
            try:
                parsed_as(type)
            except DataError as error:
                raise DataError(f"{file}: column {name}: {error}") from error

    def parse(self, records: Records) -> tuple[dict[str, Any], list[BadRow]]:
        """The columns of these rows, and the bad rows among them."""
        body = records.body()
        if b"\0" not in body and not len(records.malformed):
            try:
                parsed = self._read(body, self._types, longest=_longest(records, body))
            except pa.ArrowInvalid:
                return self._parse_exactly(records)
            columns = {name: _cast(parsed[name], type) for name, type in self._types.items()}
            if not self._doubtful(body, columns):
                return columns, []
        return self._parse_exactly(records)

    def _doubtful(self, body: bytes, columns: dict[str, Any]) -> bool:
        if any(may_overflow(column) for column in columns.values()):
            return True
        if not self._integers or not holds_hex(body):
            return False
        texts = self._read(body, dict.fromkeys(self._integers, pa.string()))
        return any(pc.any(is_hex(column)).as_py() for column in texts.values())

    def _read(self, body: bytes, types: Mapping[str, Any], *, longest: int | None = None) -> dict[str, Any]:
        """read_fields, where a quoted null spelling is a null in columns that are not text."""
        if not types:  # rows are checked all the same
            read_fields(body, self._names, {self._names[0]: pa.string()}, delimiter=self._delimiter)
            return {}
        if b'"' not in body:
            return read_fields(body, self._names, types, delimiter=self._delimiter, nulls=self._nulls, longest=longest)
        columns: dict[str, Any] = {}
        for text in (True, False):
            some = {name: type for name, type in types.items() if is_text(self._types[name]) == text}
            if some:
                columns |= read_fields(
                    body,
                    self._names,
                    some,
                    delimiter=self._delimiter,
                    nulls=self._nulls,
                    quoted_nulls=not text,
                    longest=longest,
                )
        return columns

    def _parse_exactly(self, records: Records) -> tuple[dict[str, Any], list[BadRow]]:
        shapes = misshapen(records, len(self._names), self._delimiter)
        texts = self._texts(records, shapes)
        columns: dict[str, Any] = {}
        errors = dict(shapes)
        for name, type in self._types.items():
            column = texts[name]
            if pa.types.is_integer(type):
                hex = pc.fill_null(is_hex(column), False)
                failed = np.flatnonzero(hex.to_numpy(zero_copy_only=False)).tolist()
                columns[name], others = parse_texts(pc.if_else(hex, None, column), type)
                failed += others
            else:
                columns[name], failed = parse_texts(column, type)
            for index in failed:
                errors.setdefault(index, complaint(name, column[index].as_py(), type))
        bad = [
            BadRow(index, "read", "ValueError", errors[index], int(records.lines[index]), records.row(index))
            for index in sorted(errors)
        ]
        return columns, bad

    def _texts(self, records: Records, apart: Mapping[int, str]) -> dict[str, Any]:
        """The columns as strings; rows in ``apart`` are cut one by one."""
        sound = np.ones(len(records), bool)
        sound[list(apart)] = False
        strings = dict.fromkeys(self._types, pa.string())
        columns = {name: pa.nulls(0, pa.string()) for name in strings}
        if sound.any():
            try:
                columns = self._read(records.select(sound), strings)
            except pa.ArrowInvalid as error:
                raise DataError(f"{self._file}: cannot be parsed as CSV: {error}") from error
        if not apart or not strings:
            return columns
        rows = [self._cut(records.row(index)) for index in sorted(apart)]
        order = np.cumsum(sound) - 1
        order[~sound] = int(sound.sum()) + np.arange(len(rows))
        return {
            name: pa.concat_arrays([column, pa.array([row.get(name) for row in rows], pa.string())]).take(
                pa.array(order)
            )
            for name, column in columns.items()
        }

    def _cut(self, row: bytes) -> dict[str, str]:
        """The readable fields of one row, by column; null ones are left out."""
        found = {}
        for name, (text, quoted) in zip(self._names, cut_fields(row, self._delimiter), strict=False):
            if name not in self._types or text is None or "\0" in text:
                continue
            if text not in self._nulls or (quoted and is_text(self._types[name])):
                found[name] = text
        return found


def _longest(records: Records, body: bytes) -> int | None:
    """What ``read_fields`` is told of the longest row."""
    return records.longest() if b'"' not in body or records.are_lines() else None


def misshapen(records: Records, fields: int, delimiter: str) -> dict[int, str]:
    """What is wrong with those rows that cannot be cut into that many clean fields, by their index."""
    codes = np.frombuffer(records.data, np.uint8)
    errors: dict[int, str] = {}
    delimiters = _delimiters(records.data, codes, ord(delimiter))
    found = np.searchsorted(delimiters, records.stops) - np.searchsorted(delimiters, records.starts) + 1
    for index in np.flatnonzero(found != fields).tolist():
        errors[index] = f"expected {fields} fields, found {found[index]}"
    for index in records.malformed.tolist():
        errors.setdefault(index, "there is text between a closing quote and the next delimiter")
    zeros = np.flatnonzero(codes == 0) if b"\0" in records.data else np.zeros(0, np.int64)
    zeros = zeros[(zeros >= records.starts[0]) & (zeros < records.ends[-1])]
    for index in np.searchsorted(records.ends, zeros, "right").tolist():
        errors.setdefault(index, "there is a NUL byte in the row")
    return errors


def _delimiters(data: bytes, codes: npt.NDArray[np.uint8], delimiter: int) -> Positions:
    """Where fields end, line ends aside. ``data`` starts at a record's start."""
    found = np.flatnonzero(codes == delimiter)
    if b'"' not in data:
        return found
    outside: Mask = (np.searchsorted(quote_positions(data, codes, delimiter), found) & 1) == 0
    return found[outside]


def cut_fields(row: bytes, delimiter: str) -> Iterator[tuple[str | None, bool]]:
    """The text of each field of a record, and whether it was quoted. A field with text after its closing quote has None.

    The row may be malformed, but is UTF-8.
    """
    mark = delimiter.encode()
    position = 0
    while position <= len(row):
        quoted = _QUOTED.match(row, position)
        end = row.find(mark, quoted.end() if quoted else position)
        end = len(row) if end < 0 else end
        if quoted is None:
            yield row[position:end].decode(), False
        else:
            yield quoted[1].replace(b'""', b'"').decode() if quoted.end() == end else None, True
        position = end + 1


def _cast(column: Any, type: Any) -> Any:
    return column if column.type.equals(type) else column.cast(type)
