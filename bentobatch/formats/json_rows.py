"""This module parses rows of JSON lines: by pyarrow where all are sound and plain, else one by one, bad ones named.
Plain numbers have a way of their own (see json_numbers).

Bad are rows that are not JSON, no object, deeper than 64 levels, or with a value that does not fit its column.
A missing key is null. Where a key stands twice in an object, the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from bentobatch.formats.csv_values import complaint, parse_texts, parsed_at_once
from bentobatch.formats.json_guard import BEYOND, MAX_DEPTH, deep_rows, is_plain, parse_line, parse_line_exactly
from bentobatch.formats.json_numbers import read_numbers
from bentobatch.formats.json_values import build_column, checked, is_native
from bentobatch.formats.records import Records
from bentobatch.rows import BadRow

_NOTHING = pa.schema([("\0", pa.null())])  # pyarrow takes an empty schema for none


def read_objects(records: Records, schema: Any, *, unexpected: str) -> Any:
    """The fields of ``schema`` of plain rows (see is_plain) as a table.

    Raises:
        pyarrow.ArrowInvalid: a row is not JSON, or a value is not of its field's type.
    """
    body = records.body()
    # blocks of their own would each find types of their own
    longest = records.longest() if unexpected == "ignore" else None
    return arrow_json.read_json(
        pa.BufferReader(body),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=parsed_at_once(len(body), longest)),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=schema if len(schema) else _NOTHING, unexpected_field_behavior=unexpected
        ),
    )


class JsonRows:
    """Parses rows into the columns ``types`` by name."""

    def __init__(self, types: Mapping[str, Any], *, file: str) -> None:
        self._types = {name: checked(name, file, type) for name, type in types.items()}
        self._schema = pa.schema([(name, type if is_native(type) else pa.string()) for name, type in types.items()])

    def parse(self, records: Records) -> tuple[dict[str, Any], list[BadRow]]:
        """The columns of these rows, and the bad rows among them."""
        columns = self._read(records)
        if columns is None:
            return self._parse_exactly(records)
        errors: dict[int, str] = {}
        for name, type in self._types.items():
            if not is_native(type):
                texts = columns[name]
                columns[name], failed = parse_texts(texts, type)
                for index in failed:
                    errors.setdefault(index, complaint(name, texts[index].as_py(), type))
        return columns, _bad_rows(records, errors, {})

    def _read(self, records: Records) -> dict[str, Any] | None:
        """The columns as pyarrow reads them, or None where it cannot or should not."""
        numbers = read_numbers(records, self._types)
        if numbers is not None and not any(_reaches_beyond(column) for column in numbers.values()):
            return numbers
        if not is_plain(records):
            return None
        try:
            table = read_objects(records, self._schema, unexpected="ignore")
        except pa.ArrowInvalid:
            return None
        columns = {name: table.column(name).combine_chunks() for name in self._types}
        if table.num_rows != len(records) or any(_reaches_beyond(column) for column in columns.values()):
            return None
        return columns

    def _parse_exactly(self, records: Records) -> tuple[dict[str, Any], list[BadRow]]:
        objects: list[Mapping[str, Any]] = []
        errors: dict[int, str] = {}
        types: dict[int, str] = {}
        deep = set(deep_rows(records))
        for index in range(len(records)):
            try:
                objects.append(_object(records.row(index), index in deep))
            except ValueError as error:
                objects.append({})
                errors[index] = _said(error)
                types[index] = error.__class__.__name__
        columns = {}
        for name, type in self._types.items():
            exact = partial(_exact_value, records, name)
            columns[name], wrong = build_column(name, [row.get(name) for row in objects], type, exact)
            errors = {**wrong, **errors}
        return columns, _bad_rows(records, errors, types)


def _exact_value(records: Records, name: str, index: int) -> Any:
    return parse_line_exactly(records.row(index))[name]


def _object(line: bytes, deep: bool) -> Mapping[str, Any]:
    if deep:
        raise ValueError(f"arrays and objects are nested in more than {MAX_DEPTH} levels")
    value = parse_line(line)
    if isinstance(value, dict):
        return value
    raise ValueError(f"a JSON object was expected, not {line[:40].decode(errors='replace')!r}")


def _said(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} (column {error.colno})"
    return str(error)


def _bad_rows(records: Records, errors: Mapping[int, str], types: Mapping[int, str]) -> list[BadRow]:
    return [
        BadRow(
            index,
            "read",
            types.get(index, "ValueError"),
            errors[index],
            int(records.lines[index]),
            records.row(index),
        )
        for index in sorted(errors)
    ]


def _reaches_beyond(column: Any) -> bool:
    """Whether a float in the column may have been an integer beyond 64 bits, or an overflow."""
    types = pa.types
    if types.is_floating(column.type):
        return bool(pc.any(pc.greater_equal(pc.abs(column), BEYOND)).as_py())
    if types.is_list(column.type):
        return _reaches_beyond(column.values)
    if types.is_struct(column.type):
        return any(_reaches_beyond(column.field(index)) for index in range(column.type.num_fields))
    return False
