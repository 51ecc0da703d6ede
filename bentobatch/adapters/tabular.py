"""This module holds what DataframeInput and ArrowInput share: declared columns and dtypes, and tables from JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import InputAdapter
from bentobatch.adapters.declared import Declared, declare_all
from bentobatch.adapters.json_text import parse_json
from bentobatch.adapters.orients import ORIENTS, columns_of_json
from bentobatch.adapters.settling import column_of_json
from bentobatch.errors import DataError, UsageError

_BOM = b"\xef\xbb\xbf"


class TabularInput(InputAdapter):
    """An input adapter whose rows have columns. It has no single-item form: one row is a table of height 1."""

    batch_only = True

    def __init__(
        self,
        *,
        orient: str | None = None,
        columns: Sequence[str] | None = None,
        dtype: Any = None,
        http_input_example: Any = None,
        request_schema: Mapping[str, Any] | None = None,
    ) -> None:
        if orient is not None and orient not in ORIENTS:
            raise UsageError(f"orient {orient!r} is not known; choose one of {', '.join(ORIENTS)}, or None to guess")
        self._orient = orient
        self._columns = _checked_columns(columns)
        self._by_name, self._by_position, self._every = declare_all(dtype, self._columns)
        self.http_input_example = http_input_example
        self.request_schema = request_schema

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The feature columns that the api declares, in order, or None."""
        return self._columns

    @property
    def types(self) -> Mapping[str, pa.DataType]:
        """Declared types by column, as far as they are declared by name; ``types_for`` knows the others too."""
        return {name: each.arrow for name, each in self._by_name.items() if each.arrow is not None}

    def types_for(self, names: Sequence[str]) -> Mapping[str, pa.DataType]:
        """Declared types of the features ``names``: a dtype for all columns and a list by position included."""
        pairs = zip(names, self.declared_for(names), strict=True)
        return {name: each.arrow for name, each in pairs if each is not None and each.arrow is not None}

    def declared_for(self, names: Sequence[str]) -> list[Declared | None]:
        """What is declared for each of the columns ``names``, in their order.

        Raises:
            DataError: dtypes are listed by position, and there is another number of columns.
        """
        if self._by_position is not None:
            if len(self._by_position) != len(names):
                raise DataError(
                    f"dtype lists {len(self._by_position)} types, the input has {len(names)} columns; "
                    "declare columns=[…], or dtype as a dict of names"
                )
            return list(self._by_position)
        return [self._by_name.get(name, self._every) for name in names]

    def config(self) -> dict[str, Any]:
        """``columns`` and ``dtype`` as JSON values."""
        dtype: Any = {name: each.spelling for name, each in self._by_name.items()} or None
        if self._by_position is not None:
            dtype = [each.spelling for each in self._by_position]
        elif self._every is not None:
            dtype = self._every.spelling
        return {"columns": None if self._columns is None else list(self._columns), "dtype": dtype}

    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None, pick: bool = True) -> pa.Table:
        """The rows of one JSON table, of any orient of pandas. Where the features are known (``columns``, else the
        declared ones) exactly these are returned, in order, matched by name where the rows have names and by position
        where not; other columns of named rows are dropped. Unknown features of rows without names are "0", "1"…
        Without ``pick`` the columns of named rows are those that they have.
        """
        names = self._columns if columns is None else tuple(columns)
        table = columns_of_json(_parsed(text), orient=self._orient, names=names, pick=pick)
        declared = self.declared_for(list(table))
        arrays = [
            column_of_json(name, values, None if each is None else each.arrow)
            for (name, values), each in zip(table.items(), declared, strict=True)
        ]
        return pa.Table.from_arrays(arrays, names=list(table))


def _parsed(text: bytes) -> Any:
    try:
        return parse_json(text.removeprefix(_BOM))
    except json.JSONDecodeError as error:
        raise DataError(f"the input is not JSON: {error}; CSV and other formats are read from files") from error


def _checked_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, (str, bytes)) or any(not isinstance(name, str) for name in columns):
        raise UsageError(f"columns must be a list of column names, not {columns!r}")
    if not len(columns):
        raise UsageError("columns is an empty list; name the feature columns, or leave it out")
    twice = next((name for position, name in enumerate(columns) if name in columns[:position]), None)
    if twice is not None:
        raise UsageError(f"columns names {twice!r} twice; a duplicate column cannot be told apart")
    return tuple(columns)
