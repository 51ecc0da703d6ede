"""This module is the adapter of functions that take a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.adapters.base import Converted
from bentobatch.adapters.casting import is_text
from bentobatch.adapters.declared import Declared
from bentobatch.adapters.settling import settle_column, shown
from bentobatch.adapters.tabular import TabularInput
from bentobatch.errors import UsageError
from bentobatch.rows import BadRow


class DataframeInput(TabularInput):
    """The api function gets one DataFrame of many rows, with the index 0..n-1. It is the function's own: it may be
    changed in place.

    ``columns`` are the features in the order that the model takes; files are matched to them by name. ``dtype`` is a
    dict of column names, a list in the order of ``columns``, or one dtype for all, in numpy's, pandas', Python's or
    Arrow's spellings. A column declared "category" has the categories of each chunk of rows; where the function looks
    at codes, declare settled ones with ``pandas.CategoricalDtype([...])``: a row with a value beyond them is bad.
    ``orient`` is the form of inline JSON tables (records, columns, values, split, index), None guesses it.

    Raises:
        UsageError: an unknown orient or dtype, duplicate columns, dtypes that do not match ``columns``.
    """

    late_modules = ("bentobatch.adapters.frames",)
    pip_packages = ("pandas",)

    def __init__(
        self,
        orient: str | None = None,
        typ: str | None = "frame",
        *,
        columns: Sequence[str] | None = None,
        dtype: Any = None,
        http_input_example: Any = None,
        request_schema: Mapping[str, Any] | None = None,
    ) -> None:
        if typ not in (None, "frame"):
            raise UsageError(
                f"DataframeInput(typ={typ!r}) is not supported: the function always gets a DataFrame; leave typ out, "
                "and for a Series take a column of it, df['name']"
            )
        super().__init__(
            orient=orient,
            columns=columns,
            dtype=dtype,
            http_input_example=http_input_example,
            request_schema=request_schema,
        )

    def config(self) -> dict[str, Any]:
        """``orient``, ``typ``, ``columns`` and ``dtype`` as JSON values."""
        return {"orient": self._orient, "typ": "frame", **super().config()}

    def convert(self, batch: pa.RecordBatch) -> Converted:
        """One DataFrame. A row with a value that is not of the declared dtype is bad."""
        from bentobatch.adapters.frames import frame_of  # here, since declaring an api must not import pandas

        declared = self.declared_for(batch.schema.names)
        settled, bad = _settled(batch, declared)
        return Converted((frame_of(settled, declared),), rows=settled.num_rows, bad=bad)


def _settled(batch: pa.RecordBatch, declared: Sequence[Declared | None]) -> tuple[pa.RecordBatch, list[BadRow]]:
    """The good rows in their declared types, and the bad rows. Formats cast already; other callers may not have."""
    if all(map(_needs_nothing, batch.schema.types, declared)):
        return batch, []
    arrays, problems = [], dict[int, str]()
    for name, column, each in zip(batch.schema.names, batch.columns, declared, strict=True):
        array, bad = _settled_column(column, each)
        arrays.append(array)
        for row, problem in bad.items():
            problems.setdefault(row, f"column {name!r}: {problem}")
    if not arrays:
        return batch, []
    settled = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    if problems:
        good = np.ones(batch.num_rows, dtype=bool)
        good[list(problems)] = False
        settled = settled.filter(pa.array(good))
    return settled, [BadRow(row, "convert", "ValueError", problems[row]) for row in sorted(problems)]


def _needs_nothing(kind: pa.DataType, declared: Declared | None) -> bool:
    return declared is None or declared.arrow is None or (declared.categories is None and _is_settled(kind, declared))


def _settled_column(column: pa.Array, declared: Declared | None) -> tuple[pa.Array, dict[int, str]]:
    if declared is None or declared.arrow is None:
        return column, {}
    array, bad = (column, {}) if _is_settled(column.type, declared) else settle_column(column, declared.arrow)
    if declared.categories is not None:
        plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        known = pc.is_in(plain, value_set=pa.array(declared.categories, type=plain.type))
        for row in pc.indices_nonzero(pc.and_(plain.is_valid(), pc.invert(known))).to_pylist():
            bad[row] = f"{shown(plain[row].as_py())} is none of the declared categories"
    return array, bad


def _is_settled(kind: pa.DataType, declared: Declared) -> bool:
    """Whether a column of type ``kind`` gives the frame that was declared without a cast."""
    if pa.types.is_dictionary(kind) and declared.pandas == "category":
        kind = kind.value_type
    return kind.equals(declared.arrow) or (is_text(kind) and is_text(declared.arrow))
