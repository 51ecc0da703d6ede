"""This module is the output adapters: what the api function returned, as a record batch of a settled schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.adapters.base import OutputAdapter
from bentobatch.adapters.casting import LossyCastError, cast_exactly
from bentobatch.adapters.json_text import JSON_ENCODING, json_text
from bentobatch.adapters.orients import ORIENTS
from bentobatch.adapters.pandas_arrays import is_pandas_column, is_pandas_frame
from bentobatch.adapters.results import (
    ResultColumns,
    array_of_column,
    result_columns,
    settle_result,
    values_of_column,
)
from bentobatch.adapters.settling import shown
from bentobatch.adapters.values import MixedValuesError
from bentobatch.errors import ModelError, UsageError

_CURE = "declare output_schema in @api, or return values of one type"


class DefaultOutput(OutputAdapter):
    """Takes whatever has one result for each row, and looks at each result anew.

    1-D arrays, Series, Arrow arrays and lists are one column; 2-D arrays and sparse matrices one for each of theirs;
    DataFrames, Arrow tables, structured arrays and dicts of columns keep their names. A list of lists or of 1-D arrays
    is one column of lists, a list of dicts one column of structs. Values that no single Arrow type holds become JSON
    texts, in a string field whose metadata says so (``JSON_ENCODING``).
    """

    ensure_ascii = False

    def columns(
        self,
        result: Any,
        *,
        name: str = "prediction",
        classes: Sequence[Any] | None = None,
        schema: pa.Schema | None = None,
    ) -> pa.RecordBatch:
        """``result`` as a record batch; see OutputAdapter. With ``schema``, the columns of a table are matched by name,
        and one column without a name takes the name of a schema of one field.
        """
        settled = settle_result(result)
        self.check(settled)
        found = result_columns(settled, name=name, classes=classes)
        if schema is None:
            return _found_batch(found, self.ensure_ascii)
        return _settled_batch(found, schema, self.ensure_ascii)

    def numbers(self, result: Any, *, schema: pa.Schema | None = None) -> list[Any] | None:
        """Those of a 1-D array of whole numbers, truth values or float64, which ``schema`` does not make others; None where
        a subclass makes its own columns."""
        if type(result) is not np.ndarray or result.ndim != 1 or type(self).columns is not DefaultOutput.columns:
            return None
        kind = result.dtype
        if kind.kind not in "iub" and kind != np.float64:
            return None
        if schema is not None and (len(schema) != 1 or schema.types[0] != pa.from_numpy_dtype(kind)):
            return None
        self.check(result)
        values: list[Any] = result.tolist()
        return values

    def check(self, result: Any) -> None:
        """Raise ModelError for a settled result that this adapter does not take."""


class DataframeOutput(DefaultOutput):
    """Takes frames only: a DataFrame, a Series, an Arrow table, a dict of columns. ``output_orient`` is how a server
    writes them as JSON; files do not know it."""

    def __init__(self, output_orient: str = "records") -> None:
        if output_orient not in ORIENTS:
            raise UsageError(f"output_orient {output_orient!r} is not known; choose one of {', '.join(ORIENTS)}")
        self.output_orient = output_orient

    def config(self) -> dict[str, Any]:
        """``output_orient``."""
        return {"output_orient": self.output_orient}

    def check(self, result: Any) -> None:
        """Raise ModelError for what is no frame."""
        frame = is_pandas_frame(result) or isinstance(result, (pa.Table, pa.RecordBatch, Mapping))
        if not frame and not is_pandas_column(result):
            raise ModelError(
                f"the function returned {type(result).__name__}, but DataframeOutput takes a DataFrame; "
                "return one, or declare output=DefaultOutput()"
            )


class JsonOutput(DefaultOutput):
    """Takes one JSON value for each row, in a list or an array. ``ensure_ascii`` escapes other characters in the
    values that are written as JSON texts."""

    def __init__(self, ensure_ascii: bool = False) -> None:
        self.ensure_ascii = bool(ensure_ascii)

    def config(self) -> dict[str, Any]:
        """``ensure_ascii``."""
        return {"ensure_ascii": self.ensure_ascii}

    def check(self, result: Any) -> None:
        """Raise ModelError for frames."""
        if is_pandas_frame(result) or isinstance(result, (pa.Table, pa.RecordBatch, Mapping)):
            raise ModelError(
                f"the function returned {type(result).__name__}, but JsonOutput takes a list with one JSON value for "
                "each row; return one, or declare output=DefaultOutput()"
            )


def _found_batch(found: ResultColumns, ensure_ascii: bool) -> pa.RecordBatch:
    """Columns in the types that their values have."""
    arrays, fields = [], []
    for name, values in found.columns:
        try:
            array, metadata = _array(name, values), None
        except MixedValuesError:
            array, metadata = _json_texts(name, values, ensure_ascii, pa.string()), JSON_ENCODING
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=metadata))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _array(name: str, values: Any) -> pa.Array:
    try:
        return array_of_column(values)
    except MixedValuesError:
        raise
    except (TypeError, UnicodeEncodeError, pa.ArrowException) as error:
        told = str(error).partition("\n")[0]
        raise ModelError(f"column {name!r}: {told}; return numbers, text, dates, lists or dicts") from error


def _json_texts(name: str, values: Any, ensure_ascii: bool, kind: pa.DataType) -> pa.Array:
    texts: list[str | None] = []
    for row, value in enumerate(values_of_column(values)):
        try:
            text = json_text(value, ensure_ascii=ensure_ascii)
        except TypeError as error:
            raise ModelError(f"column {name!r}, row {row}: {error}") from error
        texts.append(None if text == "null" else text)
    try:
        return pa.array(texts, type=kind)
    except UnicodeEncodeError as error:
        raise ModelError(f"column {name!r}: text with a lone surrogate cannot be written as UTF-8") from error


def _settled_batch(found: ResultColumns, schema: pa.Schema, ensure_ascii: bool) -> pa.RecordBatch:
    """Columns in the types of ``schema``, in its order."""
    values = dict(found.columns)
    if found.plain and len(schema) == 1:
        values = {schema.names[0]: found.columns[0][1]}
    if set(values) != set(schema.names):
        raise ModelError(
            f"the function returned the columns {_listed(values)}, expected {_listed(schema.names)} as settled before; "
            "return the same columns for every row, or declare output_schema in @api"
        )
    arrays = [_settled_column(field, values[field.name], ensure_ascii) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _settled_column(field: pa.Field, values: Any, ensure_ascii: bool) -> pa.Array:
    if (field.metadata or {}).get(b"bentobatch.encoding") == b"json":
        return _json_texts(field.name, values, ensure_ascii, field.type)
    if pa.types.is_map(field.type) and isinstance(values, (list, tuple)):
        values = _map_of_dicts(field, values)
    try:
        found = _array(field.name, values)
    except MixedValuesError as error:
        raise ModelError(f"column {field.name!r}: {error}, expected {field.type}; {_CURE}") from error
    try:
        array = cast_exactly(found, field.type)
    except LossyCastError as error:
        raise ModelError(f"column {field.name!r}, {_misfit(found, error)}; {_CURE}") from error
    if array.null_count and not field.nullable:
        raise ModelError(f"column {field.name!r} holds nulls, but output_schema says that it has none")
    return array


def _misfit(found: pa.Array, error: LossyCastError) -> str:
    """Which value does not fit: the one that failed, or an example where the whole type is another."""
    if error.row >= 0:
        return f"row {error.row}: {error}"
    row = max(0, pc.index(found.is_valid(), True).as_py())
    return f"row {row}: {shown(found[row].as_py())} does not fit, {error}"


def _map_of_dicts(field: pa.Field, values: Sequence[Any]) -> Any:
    """Dicts as the map that the schema declares; what is none is left for the cast to refuse."""
    if any(value is not None and not isinstance(value, Mapping) for value in values):
        return values
    try:
        return pa.array([None if value is None else list(value.items()) for value in values], type=field.type)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        told = shown(str(error).partition("\n")[0])
        raise ModelError(f"column {field.name!r}: {told}, expected {field.type}; {_CURE}") from error


def _listed(names: Any, limit: int = 12) -> str:
    every = [str(name) for name in names]
    return ", ".join(every[:limit]) + (f", … ({len(every)} in all)" if len(every) > limit else "")
