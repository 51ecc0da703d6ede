"""This module is the adapter of functions that take JSON values or strings, one for each row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import LINE_COLUMN, Converted, InputAdapter
from bentobatch.adapters.casting import is_text
from bentobatch.adapters.json_text import may_hold_long_numbers, parse_json
from bentobatch.errors import DataError
from bentobatch.rows import BadRow


class _LineInput(InputAdapter):
    """What both adapters share: text formats hand over raw lines, an inline value is one row."""

    lines = True

    def __init__(self, *, http_input_example: Any = None, request_schema: Mapping[str, Any] | None = None) -> None:
        self.http_input_example = http_input_example
        self.request_schema = request_schema

    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None) -> pa.Table:  # noqa: ARG002
        """One row, the text itself; ``columns`` means nothing here."""
        return pa.table({LINE_COLUMN: pa.array([text], type=pa.large_binary())})


class JsonInput(_LineInput):
    """The api function gets the parsed JSON values of many rows as a list (batch=True), or one of them.

    Integers of up to 308 digits are exact, bare NaN and Infinity are no JSON, nesting is bounded at about 1,000 levels.
    From files with typed columns (Parquet, Arrow, ORC, CSV) each row is a dict of column names and Python values.
    """

    def convert(self, batch: pa.RecordBatch) -> Converted:
        """A list of values. A line that is no JSON is a bad row."""
        if not _is_lines(batch):
            return Converted((_python_rows(batch),), rows=batch.num_rows)
        column = batch.column(0)
        long_numbers: bool | None = None  # look into each line
        data = column.buffers()[2]
        if data is None or not may_hold_long_numbers(memoryview(data)):
            long_numbers = False  # one search through all lines was enough
        return _converted(column.to_pylist(), lambda line: parse_json(line, long_numbers=long_numbers))


class StringInput(_LineInput):
    """The api function gets the text of many rows as a list of str (batch=True), or one of them.

    Lines are UTF-8. Files with typed columns need exactly one column of text, whose nulls are None.
    """

    def convert(self, batch: pa.RecordBatch) -> Converted:
        """A list of strings. A line that is not UTF-8 is a bad row.

        Raises:
            DataError: the batch has other columns than one of text.
        """
        if _is_lines(batch):
            return _converted(batch.column(0).to_pylist(), lambda line: line.decode("utf-8"))
        kinds = [column.value_type if pa.types.is_dictionary(column) else column for column in batch.schema.types]
        if len(kinds) != 1 or not is_text(kinds[0]):
            told = ", ".join(f"{field.name} ({field.type})" for field in batch.schema) or "none"
            raise DataError(f"StringInput takes one column of text, the input has: {told}; choose one with --features")
        return Converted((batch.column(0).to_pylist(),), rows=batch.num_rows)


def _is_lines(batch: pa.RecordBatch) -> bool:
    if batch.schema.names != [LINE_COLUMN]:
        return False
    kind = batch.schema.types[0]
    return bool(pa.types.is_large_binary(kind) or pa.types.is_binary(kind))


def _converted(lines: Sequence[bytes | None], read: Callable[[bytes], Any]) -> Converted:
    values, bad = [], []
    for index, line in enumerate(lines):
        if line is None:
            bad.append(BadRow(index, "convert", "ValueError", "the row has no text"))
            continue
        try:
            values.append(read(line))
        except json.JSONDecodeError as error:
            bad.append(BadRow(index, "convert", "JSONDecodeError", str(error), raw=line))
        except UnicodeDecodeError as error:
            bad.append(BadRow(index, "convert", "UnicodeDecodeError", f"the text is not UTF-8: {error}", raw=line))
    return Converted((values,), rows=len(values), bad=bad)


def _python_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    names = batch.schema.names
    if not names:
        return [{} for _ in range(batch.num_rows)]
    columns = [_python_values(column) for column in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _python_values(array: pa.Array) -> list[Any]:
    """Python values of a column; by way of numpy where that is exact, which is ten times as fast."""
    kind = array.type
    whole = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if (whole and not array.null_count) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return values
    plain: list[Any] = array.to_pylist()
    return plain
