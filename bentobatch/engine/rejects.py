"""This module keeps the rows that could not be scored: where each stood, why it was lost, and what it held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa

from bentobatch.formats.base import Chunk, Origin, origin_of
from bentobatch.formats.json_form import json_values
from bentobatch.formats.source import printable
from bentobatch.rows import BadRow

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("file_row", pa.int64(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error_type", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("values", pa.string()),
        pa.field("raw", pa.binary()),
    ]
)
"""``row`` and ``file_row`` count data rows from 0, ``line`` physical lines from 1 (null where a format has none);
``values`` is the row as a JSON object, ``raw`` its bytes in a text format."""


def reject_rows(
    bad: Sequence[BadRow], chunk: Chunk, *, offset: int, file: str, file_row: int, raw_column: str | None
) -> list[dict[str, Any]]:
    """Records of SCHEMA for the bad rows of a chunk, which begins ``offset`` rows into its split and ``file_row`` rows
    into its file, unless its rows are files of their own, or have several origins. ``raw_column`` names the column that
    holds each row's bytes, in lines mode."""
    if not bad:
        return []
    indices = pa.array([item.index for item in bad], pa.int64())
    values = chunk.batch.take(indices)
    raws = values.column(raw_column).to_pylist() if raw_column else [None] * len(bad)
    named = [None] * len(bad) if raw_column else _rows(values)
    return [
        {
            "row": offset + item.index,
            **_place(item, chunk, file, file_row),
            "stage": item.stage,
            "error_type": item.error_type,
            "error": item.error.encode("utf-8", "backslashreplace").decode(),
            "values": None if row is None else _json(row),
            "raw": item.raw if item.raw is not None else raw,
        }
        for item, row, raw in zip(bad, named, raws, strict=True)
    ]


def _rows(values: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        return values.to_pylist()  # type: ignore[no-any-return]
    except (
        OverflowError,
        ValueError,
    ):  # dates beyond Python's, text that is no text: they have a form in JSON all the same
        columns = [json_values(column) for column in values.columns]
        return [dict(zip(values.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _place(item: BadRow, chunk: Chunk, file: str, file_row: int) -> dict[str, Any]:
    """The file of a row, its position there, and its line."""
    if chunk.files is not None:
        return {"file": chunk.files[item.index], "file_row": 0, "line": item.line or None}
    whole = Origin(0, file, file_row, chunk.first_line, chunk.lines)
    origin = origin_of(item.index, chunk.origins or [whole])
    line = item.line or (origin.first_line or None if origin.lines is None else int(origin.lines[0]))
    return {"file": printable(origin.file) if chunk.origins else file, "file_row": origin.file_row, "line": line}


def _json(row: dict[str, Any]) -> str:
    return orjson.dumps(row, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def _plain(value: Any) -> Any:
    """What JSON has no form for, as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value)
