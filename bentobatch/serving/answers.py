"""This module writes the answer to a request: JSON, CSV or an Arrow IPC stream, as the client accepts.

JSON has the form of what the api returned: a list of values, of lists (an array of two dimensions), or the orient of a
DataFrame. NaN and infinities are null; for the other values see formats/json_form.py.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa

from bentobatch.formats.json_form import json_values
from bentobatch.formats.write import part_writer
from bentobatch.service.schemas import is_json
from bentobatch.serving.call import RequestError
from bentobatch.serving.scoring import Answer

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
_OFFERS = (JSON, ARROW, CSV)
_CONTENT_TYPES = {JSON: JSON, CSV: "text/csv; charset=utf-8; header=present", ARROW: ARROW}


@lru_cache(maxsize=256)
def accepted(header: str | None) -> str:
    """The media type to answer with, by an Accept header; JSON where it has no say.

    Raises:
        RequestError: 406, nothing that is offered is accepted.
    """
    if header is None or not header.strip():
        return JSON
    weights: dict[str, float] = {}
    for item in header[:2_000].split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0
    found = {offer: _weight(offer, weights) for offer in _OFFERS}
    best = max(_OFFERS, key=lambda offer: found[offer])  # the first of equals: JSON
    if found[best] <= 0:
        raise RequestError(406, f"the answer can be {', '.join(_OFFERS)}; Accept takes none of them")
    return best


def _weight(offer: str, weights: dict[str, float]) -> float:
    kind = offer.partition("/")[0]
    return next((weights[name] for name in (offer, f"{kind}/*", "*/*") if name in weights), 0.0)


def written(answer: Answer, media: str, *, orient: str, single: bool) -> tuple[str, bytes]:
    """The Content-Type and the body of an answer without bad rows. ``single``: the request was one value and no table, so
    its JSON is the one result itself."""
    if media == ARROW:
        return ARROW, _arrow(answer)
    if media == CSV:
        return _CONTENT_TYPES[CSV], _csv(answer)
    return JSON, _json(answer, orient, single)


def _json(answer: Answer, orient: str, single: bool) -> bytes:
    if answer.values is not None:
        return _dumped(answer.values[0] if single else answer.values)
    columns = answer.columns
    if answer.form == "values" and columns.num_columns == 1:
        values = _values(columns, 0)
        return _dumped(values[0] if single else values)
    names = columns.schema.names
    lists = [_values(columns, position) for position in range(columns.num_columns)]
    if answer.form == "matrix":
        rows: list[Any] = [list(row) for row in zip(*lists, strict=True)] if lists else []
        return _dumped(rows[0] if single else rows)
    if single:
        return _dumped({name: values[0] for name, values in zip(names, lists, strict=True)})
    return _dumped(_oriented(names, lists, columns.num_rows, orient))


def _oriented(names: list[str], lists: list[list[Any]], rows: int, orient: str) -> Any:
    """A table as pandas writes it with the index 0..n-1."""
    if orient == "columns":
        return {
            name: {str(row): value for row, value in enumerate(values)}
            for name, values in zip(names, lists, strict=True)
        }
    if orient == "values":
        return list(zip(*lists, strict=True))
    if orient == "split":
        return {"columns": names, "index": list(range(rows)), "data": list(zip(*lists, strict=True))}
    records = [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
    return {str(row): record for row, record in enumerate(records)} if orient == "index" else records


def _values(columns: pa.RecordBatch, position: int) -> list[Any]:
    column, field = columns.column(position), columns.schema.field(position)
    if is_json(field):
        return [None if text is None else orjson.Fragment(text) for text in column.to_pylist()]
    return json_values(column)


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) + b"\n"


def _arrow(answer: Answer) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, answer.columns.schema) as writer:
        writer.write_batch(answer.columns)
    return sink.getvalue()


def _csv(answer: Answer) -> bytes:
    sink = io.BytesIO()
    writer = part_writer("csv", answer.columns.schema, sink)
    writer.write(answer.columns)
    writer.close()
    return sink.getvalue()
