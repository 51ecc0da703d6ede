"""This module gives the values of Arrow arrays the form that JSON has for them.

NaN and infinities become null; decimals are strings (a JSON number would lose digits); timestamps, dates and times are
ISO 8601, with the zone's offset where they have one, and null beyond the years that it can tell; durations are counts
of their unit; binary is base64; maps with text keys are objects, others lists of [key, value]. Integers are exact, and
so are floats.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.formats.convert import cast_values


def is_bytes(type: Any) -> bool:
    types = pa.types
    return bool(types.is_binary(type) or types.is_large_binary(type) or types.is_fixed_size_binary(type))


def json_values(column: Any) -> list[Any]:
    """The values of an array as orjson takes them; NaN and infinities are left to it, which makes them null."""
    type, types = column.type, pa.types
    if isinstance(type, pa.BaseExtensionType):
        return json_values(column.storage)
    if types.is_dictionary(type) or types.is_run_end_encoded(type):
        return json_values(cast_values(column, type.value_type))
    if types.is_nested(type):
        return list(_nested_values(column))
    if types.is_timestamp(type):
        text = pc.replace_substring(_in_range(column), " ", "T", max_replacements=1)
        column = pc.replace_substring_regex(text, r"([+-]\d\d)(\d\d)$", r"\1:\2") if type.tz else text
    elif types.is_date(type):
        column = _in_range(column)
    elif types.is_time(type) or types.is_decimal(type):
        column = pc.cast(column, pa.string())
    elif types.is_duration(type):
        column = pc.cast(column, pa.int64())
    elif is_bytes(type) or types.is_binary_view(type):
        return [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _in_range(column: Any) -> Any:
    """Dates or timestamps as text; those beyond the years that text can tell are null, as NaN is."""
    text = pc.cast(column, pa.string())
    return pc.if_else(pc.fill_null(pc.starts_with(text, "<"), False), pa.scalar(None, pa.string()), text)


def _nested_values(column: Any) -> Iterator[Any]:
    type = column.type
    if pa.types.is_struct(type):
        names = [type.field(index).name for index in range(type.num_fields)]
        members = [json_values(member) for member in column.flatten()]
        rows = zip(*members, strict=True) if members else iter([()] * len(column))
        for valid, row in zip(column.is_valid().to_pylist(), rows, strict=True):
            yield dict(zip(names, row, strict=True)) if valid else None
        return
    if pa.types.is_map(type):
        key_is_text = pa.types.is_string(type.key_type) or pa.types.is_large_string(type.key_type)
        pairs = pa.struct([pa.field("key", type.key_type, nullable=False), pa.field("value", type.item_type)])
        for entries in _nested_values(column.cast(pa.list_(pairs))):
            found = None if entries is None else [(entry["key"], entry["value"]) for entry in entries]
            yield dict(found) if key_is_text and found is not None else found
        return
    values = iter(json_values(column.flatten()))
    for length in pc.list_value_length(column).to_pylist():
        yield None if length is None else [next(values) for _ in range(length)]
