"""This module reads and writes requests in the form of Vertex AI: ``{"instances": […]}`` and ``{"predictions": […]}``."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
import pyarrow as pa

from bentobatch.adapters.base import LINE_COLUMN, InputAdapter
from bentobatch.adapters.files import FilesInput
from bentobatch.adapters.json_text import parse_json
from bentobatch.adapters.json_values import StringInput
from bentobatch.errors import DataError
from bentobatch.serving.answers import JSON, written
from bentobatch.serving.bodies import media_type
from bentobatch.serving.call import Call, RequestError
from bentobatch.serving.columns import RequestColumns, Rows
from bentobatch.serving.scoring import Answer
from bentobatch.serving.tables import lines_of_values, rows_of_json

_FORM = 'a request is {"instances": [...]}, with an item for each row'


def rows_of_instances(content: bytes, call: Call, adapter: InputAdapter, columns: RequestColumns, most: int) -> Rows:
    """The rows of the instances, whatever the api takes; files are ``{"b64": "…"}``. ``parameters`` are passed over.

    Raises:
        RequestError: 415, no JSON; 413, too many rows.
        DataError: the body is malformed.
    """
    if media_type(call.headers.get("content-type", "?/?")).name != JSON:
        raise RequestError(415, f"the Content-Type is not {JSON}", headers=(("Accept-Post", JSON),))
    try:
        value = parse_json(content)
    except ValueError as error:
        raise DataError(f"the body is not JSON: {error}") from error
    instances = value.get("instances") if isinstance(value, dict) else None
    if not isinstance(instances, list):
        raise DataError(_FORM)
    if len(instances) > most:
        raise RequestError(413, f"the request has {len(instances):,} rows, and {most:,} are taken")
    if adapter.batch_only:
        return rows_of_json(lines_of_values([instances])[0], adapter, columns, most)
    if isinstance(adapter, FilesInput):
        return columns.settle(_files(instances, adapter))
    if isinstance(adapter, StringInput):
        if not all(isinstance(item, str) for item in instances):
            raise DataError("the instances are texts here")
        lines = [item.encode("utf-8", "replace") for item in instances]
    else:
        lines = lines_of_values(instances)
    return columns.settle(pa.table({LINE_COLUMN: pa.array(lines, pa.large_binary())}))


def predictions_of(answer: Answer) -> bytes:
    """The body of the reply."""
    _, body = written(answer, JSON, orient="records", single=False)
    return orjson.dumps({"predictions": orjson.Fragment(body)}) + b"\n"


def _files(instances: list[Any], adapter: FilesInput) -> pa.Table:
    names = adapter.input_names
    columns: dict[str, list[bytes | None]] = {name: [] for name in names}
    for row, item in enumerate(instances):
        found = {names[0]: item} if len(names) == 1 else item
        if not isinstance(found, dict):
            raise DataError(f"row {row} is no object with {', '.join(names)}")
        for name in names:
            columns[name].append(_bytes(found.get(name), row))
    return pa.table({name: pa.array(values, pa.large_binary()) for name, values in columns.items()})


def _bytes(value: Any, row: int) -> bytes | None:
    if value is None:
        return None
    text = value.get("b64") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(text, str):
        raise DataError(f'row {row}: a file is {{"b64": "its bytes as base64"}}')
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise DataError(f"row {row}: the bytes are no base64: {error}") from error
