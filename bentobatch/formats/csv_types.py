"""This module finds the narrowest type that all values of a CSV column have, over a whole file, block by block.

null < bool; null < int64 < float64; null < date32 < timestamp[s] < timestamp[ns]; null < time32[s]; anything else,
and any mixture, is a string. Integers beyond 64 bits among integers leave the column int64: they are bad values then,
not a reason to make floats of all others. The answer is a function of the set of values: where blocks end has no say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from bentobatch.formats.csv_rows import misshapen
from bentobatch.formats.csv_values import FALSE, TRUE, holds_hex, is_hex, read_fields
from bentobatch.formats.number_rows import odd_csv_rows
from bentobatch.formats.records import Records

_KINDS = {
    pa.bool_(): "bool",
    pa.int64(): "int",
    pa.float64(): "float",
    pa.date32(): "date",
    pa.time32("s"): "time",
    pa.timestamp("s"): "s",
    pa.timestamp("ns"): "ns",
    pa.timestamp("s", "UTC"): "s UTC",
    pa.timestamp("ns", "UTC"): "ns UTC",
}
_MIXTURES = (
    ({"bool"}, pa.bool_()),
    ({"int"}, pa.int64()),
    ({"int", "float"}, pa.float64()),
    ({"date"}, pa.date32()),
    ({"time"}, pa.time32("s")),
    ({"date", "s"}, pa.timestamp("s")),
    ({"date", "s", "ns"}, pa.timestamp("ns")),
    ({"s UTC"}, pa.timestamp("s", "UTC")),
    ({"s UTC", "ns UTC"}, pa.timestamp("ns", "UTC")),
)
_NANOSECONDS = 2**63 // 10**9 - 1
"""Seconds from 1970 that timestamp[ns] can hold, either way."""
_INTEGER = r"^[ \t]*-?[0-9]+[ \t]*$"


class _Column:
    """The kinds of values that a column was seen to have."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.far = False  # a date or a time that timestamp[ns] cannot hold
        self._seen = (0, False)
        self._type: Any = pa.null()

    @property
    def type(self) -> Any:
        seen = (len(self.kinds), self.far)  # kinds are never taken away
        if seen != self._seen:
            self._seen, self._type = seen, self._widest()
        return self._type

    def _widest(self) -> Any:
        if not self.kinds:
            return pa.null()
        for kinds, type in _MIXTURES:
            if self.kinds <= kinds:
                return pa.string() if self.far and type in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")) else type
        return pa.string()

    @property
    def settled(self) -> bool:
        return bool(pa.types.is_string(self.type))


class CsvTypes:
    """Finds the types of the columns ``wanted`` of a file whose header is ``names``."""

    def __init__(self, names: Sequence[str], wanted: Sequence[str], *, delimiter: str, nulls: Sequence[str]) -> None:
        self._names = list(names)
        self._delimiter = delimiter
        self._nulls = list(nulls)
        self._columns = {name: _Column() for name in wanted}

    @property
    def types(self) -> dict[str, Any]:
        """What all the rows so far have in common."""
        return {name: column.type for name, column in self._columns.items()}

    def add(self, records: Records) -> None:
        """Look at more rows. Rows that are bad whatever their types (see CsvRows) are passed over."""
        open = [name for name, column in self._columns.items() if not column.settled]
        if not open:
            return
        odd = self._odd(records)
        if odd is not None:
            if not odd:
                return
            keep = np.zeros(len(records), bool)
            keep[odd] = True
            records = records.only(keep)
        body = records.body()
        if b"\0" in body or len(records.malformed):
            body = self._sound(records)
        try:
            table = self._infer(body, open) if body else None
        except pa.ArrowInvalid:  # a row has too few or too many fields
            body = self._sound(records)
            table = self._infer(body, open) if body else None
        if table is None:
            return
        for name in open:
            self._note(self._columns[name], table.column(name), body, name)

    def _odd(self, records: Records) -> list[int] | None:
        """The rows that may hold something else than numbers of kinds that were seen; None where all are to be parsed."""
        if "" not in self._nulls or not all(
            {"int"} <= column.kinds or {"float"} <= column.kinds or column.settled for column in self._columns.values()
        ):
            return None
        return odd_csv_rows(records, self._delimiter, [self._nothing_new(name) for name in self._names])

    def _nothing_new(self, name: str) -> frozenset[str] | None:
        column = self._columns.get(name)
        if column is None or column.settled:
            return None
        return frozenset(column.kinds | ({"int"} if "float" in column.kinds else set()))

    def _sound(self, records: Records) -> bytes:
        keep = np.ones(len(records), bool)
        keep[list(misshapen(records, len(self._names), self._delimiter))] = False
        return records.select(keep)

    def _infer(self, body: bytes, names: list[str]) -> Any:
        return arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(block_size=len(body) + 1, column_names=self._names),
            parse_options=arrow_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=names,
                null_values=self._nulls,
                true_values=TRUE,  # not 1 and 0: [1, true] is a string column however it is cut
                false_values=FALSE,
                strings_can_be_null=True,
            ),
        )

    def _note(self, column: _Column, values: Any, body: bytes, name: str) -> None:
        if pa.types.is_null(values.type):
            return
        kind = _KINDS.get(values.type, "text")
        if (kind == "int" and holds_hex(body) and self._any(body, name, is_hex)) or (
            kind == "float" and "float" not in column.kinds and not self._any_float(values, body, name)
        ):
            kind = "text" if kind == "int" else "int"
        column.kinds.add(kind)
        if kind in ("date", "s", "s UTC") and not column.far:
            seconds = values.cast(pa.timestamp("s", values.type.tz) if kind != "date" else pa.timestamp("s"))
            bounds = pc.min_max(seconds.cast(pa.int64())).as_py()
            column.far = max(-bounds["min"], bounds["max"]) > _NANOSECONDS

    def _any_float(self, values: Any, body: bytes, name: str) -> bool:
        """Whether a column that parsed as float64 has a value that is not spelled as an integer."""
        numbers = values.drop_null().to_numpy()
        finite = numbers[np.isfinite(numbers)]
        if (finite != np.trunc(finite)).any():
            return True
        return self._any(body, name, lambda texts: pc.invert(pc.match_substring_regex(texts, _INTEGER)))

    def _any(self, body: bytes, name: str, test: Any) -> bool:
        """Whether ``test`` holds for the text of any value of a column."""
        texts = read_fields(body, self._names, {name: pa.string()}, delimiter=self._delimiter, nulls=self._nulls)
        return bool(pc.any(test(texts[name])).as_py())
