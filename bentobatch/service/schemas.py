"""This module reads and writes the types of an api's output columns as text: ``{"score": "float64", "why": "json"}``.

pyarrow is imported where a schema is read, not before: ``import bentobatch`` must not pull it in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bentobatch.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

ENCODING_KEY = b"bentobatch.encoding"
JSON_ENCODING = b"json"

_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns),\s*tz=([^\]]+)\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)?\((\d+),\s*(-?\d+)\)")
_LIST = re.compile(r"(large_)?list<(?:\w+:\s*)?(.+)>")


def schema_from(declared: Any, where: str) -> pa.Schema:
    """The schema that ``@api(output_schema=...)`` declares: a pyarrow.Schema, or column names with type names.

    Type names are Arrow's ("large_string", "timestamp[us, tz=UTC]", "list<item: double>") or numpy's ("float32",
    "<M8[ns]", "str"); "json" is a string column whose text is JSON. ``where`` names the api in messages.

    Raises:
        UsageError: it is neither, has no column or one twice, or a type that nobody knows.
    """
    import pyarrow as pa

    if isinstance(declared, pa.Schema):
        names = declared.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            raise UsageError(f"{where}: output_schema has {'no column' if not names else f'column {twice[0]!r} twice'}")
        return declared
    if not isinstance(declared, Mapping) or not declared or not all(isinstance(name, str) for name in declared):
        raise UsageError(
            f"{where}: output_schema must be a pyarrow.Schema or a dict such as {{'score': 'float64'}}, not {declared!r}"
        )
    try:
        return pa.schema([_field(name, spelled, where) for name, spelled in declared.items()])
    except UnicodeEncodeError as error:  # a lone surrogate
        raise UsageError(f"{where}: output_schema has a column name that is no valid text: {error.object!r}") from error


def schema_as_text(schema: pa.Schema) -> dict[str, str]:
    """Column names and type names, for the manifest; ``schema_from`` makes an equal schema of it.

    Types beyond its reach (structs, maps, dictionaries) are told in Arrow's words all the same.
    """
    return {field.name: "json" if is_json(field) else str(field.type) for field in schema}


def is_json(field: pa.Field) -> bool:
    """Whether the column's text is JSON."""
    return bool((field.metadata or {}).get(ENCODING_KEY) == JSON_ENCODING)


def _field(name: str, spelled: Any, where: str) -> pa.Field:
    import pyarrow as pa

    if spelled == "json":
        return pa.field(name, pa.string(), metadata={ENCODING_KEY: JSON_ENCODING})
    return pa.field(name, spelled if isinstance(spelled, pa.DataType) else _type(spelled, f"{where}: column {name!r}"))


def _type(spelled: Any, where: str) -> pa.DataType:
    import numpy as np
    import pyarrow as pa

    if isinstance(spelled, str):
        try:
            return pa.type_for_alias(spelled)
        except ValueError:
            found = _type_with_parameters(spelled.strip(), where)
            if found is not None:
                return found
    try:
        dtype = np.dtype(spelled)
        if dtype.kind in "SU":
            return pa.string() if dtype.kind == "U" else pa.binary()
        return pa.from_numpy_dtype(dtype)
    except (TypeError, ValueError, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"{where} has the type {spelled!r}, which neither Arrow nor numpy knows: "
            "use a name such as 'float64', 'string', 'timestamp[us, tz=UTC]' or 'json'"
        ) from error


def _type_with_parameters(spelled: str, where: str) -> pa.DataType | None:
    import pyarrow as pa

    if match := _TIMESTAMP.fullmatch(spelled):
        return pa.timestamp(match[1], tz=match[2].strip())
    if match := _DECIMAL.fullmatch(spelled):
        make = {"32": "decimal32", "64": "decimal64", "256": "decimal256"}.get(match[1] or "", "decimal128")
        try:
            return getattr(pa, make)(int(match[2]), int(match[3]))
        except ValueError as error:
            raise UsageError(f"{where} has the type {spelled!r}: {error}") from error
    if match := _LIST.fullmatch(spelled):
        item = _type(match[2], where)
        return pa.large_list(item) if match[1] else pa.list_(item)
    return None
