"""This module translates between Arrow's types, which bentobatch has, and those that Spark knows.

Spark reads what a Python worker returns by position and declared type, and checks neither, so every batch is cast.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from bentobatch.errors import UsageError

_MOST_DIGITS = 38
"""Digits of Spark's decimals."""
_EQUIVALENTS = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.null(): pa.string(),
}
"""The narrowest of Spark's types that holds all values of another."""
_KNOWN = frozenset(
    {
        *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
        *(pa.string(), pa.binary(), pa.date32()),
    }
)


def arrow_schema(df: Any) -> pa.Schema:
    """The schema of the record batches that the DataFrame ``df``, streaming or not, is handed to Python in."""
    schema: pa.Schema = df.sparkSession.createDataFrame([], df.schema).toArrow().schema
    return schema


def spark_schema(schema: pa.Schema) -> StructType:
    """The same in Spark's words; its types are ``for_spark``'s already."""
    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def for_spark(schema: pa.Schema) -> pa.Schema:
    """The schema with each type replaced by one that Spark has and that holds the same values.

    Raises:
        UsageError: there is none.
    """
    return pa.schema([field.with_type(_type(field.type, field.name)) for field in schema])


def cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of ``batch``, which has the names of ``schema`` in its order, in its types. No value changes."""
    columns = [
        column if column.type.equals(field.type) else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _type(type: Any, name: str) -> Any:
    types = pa.types
    if isinstance(type, pa.BaseExtensionType):
        return _type(type.storage_type, name)
    if types.is_dictionary(type) or types.is_run_end_encoded(type):
        return _type(type.value_type, name)
    if type in _KNOWN:
        return type
    found = _EQUIVALENTS.get(type) or _with_parameters(type) or _nested(type, name)
    if found is None:
        raise UsageError(f"column {name!r} is {type}, which Spark does not have: let the api return another type")
    return found


def _with_parameters(type: Any) -> Any:
    types = pa.types
    if types.is_fixed_size_binary(type):
        return pa.binary()
    if types.is_timestamp(type):
        return pa.timestamp("us", None if type.tz is None else "UTC")
    if types.is_duration(type):
        return pa.duration("us")
    if types.is_decimal(type) and type.precision <= _MOST_DIGITS:
        return pa.decimal128(type.precision, type.scale)
    return None


def _nested(type: Any, name: str) -> Any:
    types = pa.types
    if types.is_struct(type):
        return pa.struct([field.with_type(_type(field.type, f"{name}.{field.name}")) for field in type])
    if types.is_map(type):
        return pa.map_(_type(type.key_type, name), _type(type.item_type, name))
    if types.is_list(type) or types.is_large_list(type) or types.is_fixed_size_list(type):
        return pa.list_(_type(type.value_type, name))
    return None
