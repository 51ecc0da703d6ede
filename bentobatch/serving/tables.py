"""This module reads the rows of requests to apis that take tables: JSON, CSV, Arrow IPC streams.

JSON of numbers alone goes straight into one array, by the columns' names or places; that is the common case, and what
it makes is the same as by the long way. Everything else is read by the adapters and formats of batch runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from bentobatch.adapters.base import InputAdapter
from bentobatch.adapters.json_text import json_text
from bentobatch.adapters.json_values import JsonInput, StringInput
from bentobatch.adapters.tabular import TabularInput
from bentobatch.errors import DataError
from bentobatch.formats.base import ScanOptions
from bentobatch.formats.csv_rows import CsvRows, cut_fields
from bentobatch.formats.csv_types import CsvTypes
from bentobatch.formats.records import Records, UnclosedQuoteError, split_csv
from bentobatch.formats.text_source import check_utf8
from bentobatch.serving.call import RequestError
from bentobatch.serving.columns import MatrixColumns, MatrixRows, RequestColumns, Rows

_COMMA = ord(",")
_REQUEST = "the request"
_EXACT = 2**53
_ROWS = (list, dict)
_MOST_FIELDS = 10_000
_SPARE_CELLS = 1_000_000


def rows_of_json(content: bytes, adapter: InputAdapter, columns: RequestColumns, most: int) -> Rows:
    """The rows of one JSON table of any orient.

    Raises:
        DataError: it is malformed, or its columns are not those of the api; the message names them.
        RequestError: 413, more than ``most`` rows.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DataError(f"the body is not JSON: {error}") from error
    known = columns.matrix_columns(value[0]) if type(value) is list and value and type(value[0]) in _ROWS else None
    if known is not None:
        matrix = _matrix(value, known)
        if matrix is not None:
            _bound(len(matrix), most)
            return MatrixRows(matrix, known.schema)
    _bound_cells(value, len(content))
    names = columns.names
    if isinstance(adapter, TabularInput):
        table = adapter.table_from_text(content, columns=names, pick=False)
    else:
        table = adapter.table_from_text(content, columns=names)
    _bound(table.num_rows, most)
    if not table.num_columns and not table.num_rows and names:
        table = pa.table({name: pa.nulls(0) for name in names})
    return columns.settle(table)


def _bound_cells(value: Any, size: int) -> None:
    """Rows that have few keys in common make a table of many more cells than the text has values."""
    rows = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    named = [row for row in rows if isinstance(row, dict)]
    names = set().union(*named) if named else set()
    if len(rows) * len(names) > size + _SPARE_CELLS:
        raise DataError(
            f"the rows have {len(names):,} different keys, and few of them in common: a table of them would have"
            f" {len(rows) * len(names):,} cells"
        )


def _matrix(value: list[Any], columns: MatrixColumns) -> np.ndarray[Any, Any] | None:
    """The rows as float64, where they are lists or objects of floats alone and have these columns; else None."""
    names = columns.names
    if type(value[0]) is dict:
        try:
            if any(len(row) != len(names) for row in value):
                return None
            value = [[row[name] for name in names] for row in value]
        except (KeyError, TypeError):
            return None
    kinds: set[type] = set()
    for row in value:
        if type(row) is not list or len(row) != len(names):
            return None
        kinds.update(map(type, row))
    if kinds != {float} and not (columns.only_floats and kinds <= {float, int}):
        return None
    try:
        matrix = np.array(value, dtype=np.float64)
    except OverflowError:
        return None
    if int in kinds and not (np.abs(matrix) <= _EXACT).all():
        return None
    return matrix


def rows_of_csv(content: bytes, columns: RequestColumns, most: int, *, header: bool = True) -> Rows:
    """The rows of a CSV document, in the types that a batch run would find for it. Without a ``header`` they are taken by
    position, and only where their width fits.

    Raises: as ``rows_of_json``; a malformed row is named by its row and line.
    """
    records = _csv_records(content)
    names = _header(records) if header else _places(records, columns)
    body = records.part(1, len(records)) if header else records
    _bound(len(body), most)
    types = _types(names, columns.declared(names), body)
    if not len(body):
        return columns.settle(pa.table({name: pa.nulls(0, kind) for name, kind in types.items()}))
    found, bad = CsvRows(names, types, file=_REQUEST, delimiter=",", nulls=ScanOptions.nulls).parse(body)
    if bad:
        raise DataError(f"row {bad[0].index}, line {bad[0].line + 1}: {bad[0].error}")
    return columns.settle(pa.table(found))


def _csv_records(content: bytes) -> Records:
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.endswith((b"\n", b"\r")):
        content += b"\n"
    try:
        records, _, _ = split_csv(_COMMA)(content, True)
    except UnclosedQuoteError as error:
        line = content.count(b"\n", 0, error.position) + 1
        raise DataError(f"{_REQUEST}, line {line}: a quoted field is not closed") from error
    if not content.strip() or not len(records):
        raise DataError("the body is empty: a CSV document needs a header with the names of its columns")
    check_utf8(records, _REQUEST)
    return records


def _places(records: Records, columns: RequestColumns) -> list[str]:
    """The names of columns that are told by their places."""
    width = sum(1 for _ in cut_fields(records.row(0), ","))
    if columns.names is None:
        return [str(place) for place in range(width)]
    if width != len(columns.names):
        raise DataError(f"row 0 has {width} fields, and the api takes {len(columns.names)}")
    return list(columns.names)


def _header(records: Records) -> list[str]:
    names: list[str] = []
    for name, _ in cut_fields(records.row(0), ","):
        if name is None or "\0" in name or len(names) == _MOST_FIELDS:
            raise DataError(f"{_REQUEST}: the name of column {len(names) + 1} in the header cannot be read")
        names.append(name)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{_REQUEST} has the column {twice[0]!r} twice; send each column once")
    return names


def _types(names: Sequence[str], declared: dict[str, pa.DataType], body: Records) -> dict[str, pa.DataType]:
    open_ = [name for name in names if name not in declared]
    if not open_ or not len(body):
        return {name: declared.get(name, pa.null()) for name in names}
    finder = CsvTypes(names, open_, delimiter=",", nulls=ScanOptions.nulls)
    finder.add(body)
    found = finder.types
    return {name: declared.get(name, found.get(name, pa.null())) for name in names}


def rows_of_json_lines(content: bytes, adapter: InputAdapter, columns: RequestColumns, most: int) -> Rows:
    """The rows of JSON texts, one a line: objects or lists of a table, or values of JsonInput. Blank lines are none."""
    lines = [line for line in content.split(b"\n") if line.strip()]
    _bound(len(lines), most)
    if isinstance(adapter, (JsonInput, StringInput)) or adapter.lines:
        return columns.settle(pa.table({"line": pa.array(lines, pa.large_binary())}))
    for number, line in enumerate(lines):
        try:
            orjson.loads(line)  # so that lines can be joined into one document without changing what they mean
        except orjson.JSONDecodeError as error:
            raise DataError(f"row {number} is not JSON: {error}") from error
    return rows_of_json(b"[" + b",".join(lines) + b"]", adapter, columns, most)


def lines_of_values(values: Sequence[Any]) -> list[bytes]:
    """Parsed JSON values as texts again, each a row of JsonInput.

    Raises:
        DataError: one is nested too deeply.
    """
    try:
        return [json_text(value).encode("utf-8", "replace") for value in values]
    except TypeError as error:
        raise DataError(f"the body is not JSON that can be taken: {error}") from error


def _bound(rows: int, most: int) -> None:
    if rows > most:
        raise RequestError(413, f"the request has {rows:,} rows or more, and {most:,} are taken: send fewer at a time")
