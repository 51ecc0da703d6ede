"""This module settles the columns and types of one request, so that requests can be joined without changing each other.

What a request's rows mean to the api is decided here, from that request and the api's declarations alone. Requests are
joined only where that came out alike (``Rows.kind``); nothing is promoted, unified or filled up to make them fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bentobatch.adapters.base import LINE_COLUMN
from bentobatch.adapters.matrix_batch import MatrixBatch
from bentobatch.adapters.numpy_input import NumpyInput
from bentobatch.adapters.settling import settle_column
from bentobatch.errors import DataError
from bentobatch.scorer import Scorer

_MAX_KNOWN = 64
_WIDEST = 1_000
"""So many columns that no api has declared are remembered of a request that brings them."""


class Rows:
    """The settled rows of one request. Rows of equal ``kind`` may be joined; those of kind None stand alone.

    ``headers`` are those of the HTTP request that brought them, for functions that take tasks; None where there are none.
    """

    __slots__ = ("_batch", "headers", "kind")

    def __init__(
        self, batch: pa.RecordBatch | None, kind: pa.Schema | None, headers: Mapping[str, str] | None = None
    ) -> None:
        self._batch = batch
        self.kind = kind
        self.headers = headers

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows themselves."""
        return self._batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def part(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` to before ``stop``."""
        return Rows(self.batch.slice(start, stop - start), self.kind, self.headers)

    def joins(self, other: Rows) -> bool:
        """Whether these rows and those of ``other`` may go to the api in one batch."""
        return self.kind is not None and (self.kind is other.kind or self.kind == other.kind)


class MatrixRows(Rows):
    """Rows whose columns are all float64, as an array of rows x columns: a record batch is made once for all requests
    that are joined, since to make twenty columns of one row each costs more than many a model does."""

    __slots__ = ("matrix",)

    kind: pa.Schema

    def __init__(self, matrix: np.ndarray[Any, Any], kind: pa.Schema, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(None, kind, headers)
        self.matrix = matrix

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows themselves."""
        if self._batch is None:
            self._batch = MatrixBatch(self.matrix, self.kind).record_batch()
        return self._batch

    def __len__(self) -> int:
        return len(self.matrix)

    def part(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` to before ``stop``."""
        return MatrixRows(self.matrix[start:stop], self.kind, self.headers)


class MatrixColumns(NamedTuple):
    """Columns whose rows may be taken in one array of float64: MatrixRows of the kind ``schema``, with values of ``names``
    in their order. With ``only_floats`` float64 is declared for each, so that whole numbers become floats too."""

    names: tuple[str, ...]
    schema: pa.Schema
    only_floats: bool


class RequestColumns:
    """What the requests to one api must bring.

    The columns are those that the api declares, else those that the packed model was fitted on, as in a batch run; else
    (and for JsonInput and StringInput) whatever the request has. ``types`` tells the types of columns whose dtype the api
    does not declare, by name. A column without either keeps the type that it came with: where some requests bring whole
    numbers for it and others fractions, they are right all the same, but joined only among themselves.
    """

    def __init__(self, scorer: Scorer, *, types: Mapping[str, pa.DataType] | None = None) -> None:
        self.api = scorer.api
        self.names = _feature_names(scorer)
        self._told = dict(types or {})
        self._known: list[pa.Schema] = []
        self._settled: list[pa.Schema] = []
        self._matrices: dict[int | tuple[str, ...], MatrixColumns] = {}

    def settle(self, rows: pa.RecordBatch | pa.Table) -> Rows:
        """The rows in the columns of the api, in its order and its types; columns are matched by name.

        Raises:
            DataError: a column is missing, not known or there twice, or a value is not of the declared type. The message
                names the column, and the row counted from 0.
        """
        batch = _one_batch(rows)
        for schema in self._settled:
            if schema.equals(batch.schema, check_metadata=True):
                return Rows(batch, schema)
        if self.api.input.lines and batch.schema.names == [LINE_COLUMN]:
            return self._rows([_lines(batch.column(0))], [LINE_COLUMN])
        names = self._matched(batch.schema.names)
        types = {**self._told, **self.api.input.types_for(names)}
        arrays = [self._column(name, batch.column(name), types.get(name)) for name in names]
        return self._rows(arrays, names)

    def matrix_columns(self, row: Any) -> MatrixColumns | None:
        """How rows like this one, a list or an object of JSON, may be taken in one array of float64; None where not.

        Where no columns are known they are those of the row: its keys, or else "0", "1"…
        """
        if self.names is not None:
            return self._matrix_of_names
        if not self._matrix_of_any or not row:
            return None
        found = self._matrices.get(len(row) if type(row) is list else tuple(row))
        return found if found is not None else self._new_matrix_columns(row)

    def _new_matrix_columns(self, row: Any) -> MatrixColumns | None:
        if len(self._matrices) == _MAX_KNOWN or len(row) > _WIDEST:
            return None
        names = tuple(map(str, range(len(row)))) if type(row) is list else tuple(row)
        found = self._matrix_columns(names)
        if found is not None:
            self._matrices[len(row) if type(row) is list else names] = found
        return found

    @cached_property
    def _matrix_of_names(self) -> MatrixColumns | None:
        return self._matrix_columns(self.names) if self.names and self.api.input.batch_only else None

    @cached_property
    def _matrix_of_any(self) -> bool:
        """Whether the adapter makes no more of rows with unknown columns than an array."""
        adapter = self.api.input
        return adapter.takes_matrix_batch and type(adapter).table_from_text is NumpyInput.table_from_text

    def _matrix_columns(self, names: tuple[str, ...]) -> MatrixColumns | None:
        types = {**self._told, **self.api.input.types_for(names)}
        if any(types.get(name, pa.float64()) != pa.float64() for name in names):
            return None
        schema = self._same(pa.schema([pa.field(name, pa.float64()) for name in names]))
        return MatrixColumns(names, schema, only_floats=all(name in types for name in names))

    def declared(self, names: Sequence[str]) -> dict[str, pa.DataType]:
        """The types that are declared or told for columns of these names, for readers of text.

        Raises:
            DataError: as ``settle``, where the columns are not those of the api.
        """
        matched = self._matched(names)
        types = {**self._told, **self.api.input.types_for(matched)}
        return {name: types[name] for name in names if name in types}

    def _matched(self, found: Sequence[str]) -> Sequence[str]:
        if self.names is not None and tuple(found) == self.names:
            return found
        counts = Counter(found)
        if len(counts) < len(found):
            twice = min(name for name, count in counts.items() if count > 1)
            raise DataError(f"the request has the column {twice!r} twice; send each column once")
        if self.names is None:
            return found
        known = set(self.names)
        missing = [name for name in self.names if name not in counts]
        extra = [name for name in found if name not in known]
        if missing or extra:
            told = [f"lacks {_listed(missing)}"] if missing else []
            told += [f"has {_listed(extra)}, which the api does not take"] if extra else []
            raise DataError(
                f"the request {' and '.join(told)}; api {self.api.name!r} takes {_listed(self.names)} (in any order)"
            )
        return self.names

    def _column(self, name: str, array: pa.Array, target: pa.DataType | None) -> pa.Array:
        if target is None and pa.types.is_null(array.type) and self.api.input.batch_only:
            target = pa.float64()  # in a table a lone null says nothing of its column; NaN is what models can take
        if target is None or array.type == target:
            return array
        settled, bad = settle_column(array, target)
        for row, problem in bad.items():
            raise DataError(f"column {name!r}, row {row}: {problem}")
        return settled

    def _rows(self, arrays: Sequence[pa.Array], names: Sequence[str]) -> Rows:
        fields = [
            pa.field(name, array.type, nullable=not _shows_nulls(array.type) or _holds_null(array))
            for name, array in zip(names, arrays, strict=True)
        ]
        schema = pa.schema(fields)
        if any(_holds_dictionary(field.type) for field in fields):
            # joined dictionaries are merged, and a categorical column would show the categories of other requests
            return Rows(pa.RecordBatch.from_arrays(arrays, schema=schema), None)
        schema = self._same(schema)
        return Rows(pa.RecordBatch.from_arrays(arrays, schema=schema), schema)

    def _same(self, schema: pa.Schema) -> pa.Schema:
        """An equal schema that was seen before, where there is one: telling that two are one object is free."""
        for known in self._known:
            if known.equals(schema):
                return known
        if len(self._known) < _MAX_KNOWN:  # requests choose their columns, so they may not fill the memory with them
            self._known.append(schema)
            if not any(_shows_nulls(kind) for kind in schema.types):
                self._settled.append(schema)  # rows that come in these types are settled, whatever their values
        return schema


def join_rows(pieces: Sequence[Rows], *, matrix: bool = False) -> pa.RecordBatch | MatrixBatch:
    """The rows of several requests of one kind, one after the other; in a MatrixBatch only where ``matrix``."""
    matrices = [piece.matrix for piece in pieces if isinstance(piece, MatrixRows)]
    kind = pieces[0].kind
    if len(matrices) == len(pieces) and kind is not None and (matrix or len(pieces) > 1):
        joined = MatrixBatch(matrices[0] if len(matrices) == 1 else np.concatenate(matrices), kind)
        return joined if matrix else joined.record_batch()
    if len(pieces) == 1:
        return pieces[0].batch
    return _one_batch(pa.Table.from_batches([piece.batch for piece in pieces]))


def _feature_names(scorer: Scorer) -> tuple[str, ...] | None:
    adapter = scorer.api.input
    if adapter.columns is not None:
        return tuple(adapter.columns)
    if not adapter.batch_only:
        return None
    known = {
        tuple(names)
        for artifact in scorer.service.artifacts.values()
        if (names := artifact.feature_names()) is not None
    }
    return known.pop() if len(known) == 1 else None


def _one_batch(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    if isinstance(rows, pa.RecordBatch):
        return rows
    arrays = [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in rows.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=rows.schema)


def _lines(column: pa.Array) -> pa.Array:
    kind = column.type
    return column if pa.types.is_large_binary(kind) or not pa.types.is_binary(kind) else column.cast(pa.large_binary())


def _shows_nulls(kind: pa.DataType) -> bool:
    """Whether a null changes what pandas makes of all the others: a whole column of integers or truth values gets another
    dtype, and lists of them become lists of objects. A request with a null is not joined there with requests without."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind))


def _holds_null(array: pa.Array) -> bool:
    if array.null_count:
        return True
    if pa.types.is_struct(array.type):
        return any(map(_holds_null, array.flatten()))
    if pa.types.is_map(array.type):
        return _holds_null(array.keys) or _holds_null(array.items)
    return pa.types.is_nested(array.type) and hasattr(array, "flatten") and _holds_null(array.flatten())


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return pa.types.is_nested(kind) and any(_holds_dictionary(kind.field(at).type) for at in range(kind.num_fields))


def _listed(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    word = "column" if len(names) == 1 else "columns"
    return f"the {word} {shown}" + (f", … ({len(names)} in all)" if len(names) > limit else "")
