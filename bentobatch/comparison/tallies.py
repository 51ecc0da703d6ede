"""This module counts, chunk by chunk, what changed in one prediction column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.comparison.cells import Tolerance, as_floats, changed, is_number
from bentobatch.comparison.outputs import Output
from bentobatch.comparison.quantiles import quantiles

SHARES = {
    "min": 0.0,
    "1%": 0.01,
    "5%": 0.05,
    "25%": 0.25,
    "50%": 0.5,
    "75%": 0.75,
    "95%": 0.95,
    "99%": 0.99,
    "max": 1.0,
}
"""The quantiles that a report has."""
MOST_CLASSES = 100
"""A column with more different values than this holds no classes, and gets no table of them."""
_MOST_PAIRS = 2_000


class ColumnTally:
    """One prediction column of both outputs; a type is None where an output does not have it."""

    def __init__(self, name: str, old: Any, new: Any) -> None:
        self.name = name
        self.types = (old, new)
        self.changed = 0
        self.nulls = [0, 0]
        self.nans = [0, 0]
        self.sums = [0.0, 0.0]
        self.pairs: Counter[tuple[Any, Any]] | None = Counter() if all(map(_may_be_class, self.types)) else None

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers on both sides."""
        return all(type is not None and is_number(type) for type in self.types)

    def add(self, old: Any, new: Any, tolerance: Tolerance) -> Any:
        """Count a chunk of both columns; a numpy mask of the rows that changed."""
        mask = changed(old, new, tolerance)
        self.changed += int(mask.sum())
        for side, column in enumerate((old, new)):
            self.nulls[side] += column.null_count
            if self.numeric:
                values = as_floats(column)
                self.nans[side] += int(np.isnan(values).sum()) - column.null_count
                self.sums[side] += float(np.nansum(values))
        if self.pairs is not None:
            self._count_pairs(old, new)
        return mask

    def _count_pairs(self, old: Any, new: Any) -> None:
        assert self.pairs is not None
        self.pairs.update(pairs_of(old, new))
        values = {value for pair in self.pairs for value in pair}
        if len(values) > MOST_CLASSES or len(self.pairs) > _MOST_PAIRS:
            self.pairs = None

    def report(self, outputs: tuple[Output, Output], rows: int) -> dict[str, Any]:
        """The counts as JSON values; pairs are [old, new]. Quantiles are read from the outputs, in bounded memory."""
        found: dict[str, Any] = {
            "changed": self.changed,
            "types": [None if type is None else str(type) for type in self.types],
            "nulls": list(self.nulls),
        }
        if self.numeric:
            found["nans"] = list(self.nans)
            counts = [rows - nulls - nans for nulls, nans in zip(self.nulls, self.nans, strict=True)]
            found["mean"] = [total / count if count else None for total, count in zip(self.sums, counts, strict=True)]
            sides = [quantiles(lambda output=output: self._floats(output), list(SHARES.values())) for output in outputs]  # type: ignore[misc]
            found["quantiles"] = {name: list(pair) for name, *pair in zip(SHARES, *sides, strict=True)}
        if self.pairs is not None:
            found["classes"] = [[old, new, count] for (old, new), count in sorted(self.pairs.items(), key=_by_text)]
        return found

    def _floats(self, output: Output) -> Iterable[Any]:
        return (as_floats(chunk.column(0)) for chunk in output.chunks([self.name]))


def pairs_of(old: Any, new: Any) -> dict[tuple[Any, Any], int]:
    """How many rows have each pair of values, in two Arrow arrays of the same length."""
    counted = pa.table({"old": old, "new": new}).group_by(["old", "new"]).aggregate([([], "count_all")])
    return {(row["old"], row["new"]): row["count_all"] for row in counted.to_pylist()}


def _may_be_class(type: Any) -> bool:
    if type is None:
        return False
    return bool(pa.types.is_integer(type) or pa.types.is_boolean(type) or is_text(type) or pa.types.is_dictionary(type))


def is_text(type: Any) -> bool:
    """Whether an Arrow type is text."""
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def _by_text(item: tuple[tuple[Any, Any], int]) -> tuple[Any, ...]:
    """In the order of the values, numbers before texts, null last."""
    return tuple(
        (
            value is None,
            isinstance(value, str),
            value if value is not None and not isinstance(value, str) else 0,
            str(value),
        )
        for value in item[0]
    )
