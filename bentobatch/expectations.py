"""This module checks what a user expects of an output before it is committed, from counts that every receipt carries.

One expectation is one line of this grammar; NUMBER may carry an exponent, and "%" means a share of the rows::

    expectation = measure comparison NUMBER ["%"]  |  COLUMN "between" NUMBER "and" NUMBER
    measure     = "rows" | "rejects" | "discards" | function "(" COLUMN ")"
    function    = "nulls" | "nans" | "min" | "max" | "mean"
    comparison  = "<" | "<=" | ">" | ">=" | "=" | "==" | "!="

A column whose name is no identifier stands in double quotes. ``between`` includes both ends, passes over nulls, and is
not met by a NaN. ``min``, ``max`` and ``mean`` pass over nulls and NaNs; over no value at all they are never met.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bentobatch.errors import UsageError

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_COLUMN = r'(?:"(?P<quoted>[^"]+)"|(?P<plain>[^\W\d]\w*))'
_COMPARED = re.compile(
    rf"(?:(?P<count>rows|rejects|discards)|(?P<function>nulls|nans|min|max|mean)\(\s*{_COLUMN}\s*\))"
    rf"\s*(?P<comparison><=|>=|==|!=|<|>|=)\s*(?P<number>{_NUMBER})\s*(?P<percent>%)?"
)
_BETWEEN = re.compile(rf"{_COLUMN}\s+between\s+(?P<low>{_NUMBER})\s+and\s+(?P<high>{_NUMBER})", re.IGNORECASE)
_NUMERIC = frozenset({"min", "max", "mean", "nans", "between"})
_SHARES = frozenset({"rejects", "discards", "nulls", "nans"})


@dataclass(frozen=True)
class Expectation:
    """One parsed line. ``measure`` is rows, rejects, discards, a function's name, or between (then ``number`` and
    ``high`` are its ends)."""

    text: str
    measure: str
    column: str | None
    comparison: str
    number: float
    percent: bool = False
    high: float = math.inf


@dataclass
class ColumnCounts:
    """Counts of one output column over some rows; ``low`` and ``high`` are None without a value."""

    nulls: int = 0
    nans: int = 0
    values: int = 0
    total: float = 0.0
    low: float | None = None
    high: float | None = None

    def add(self, other: ColumnCounts) -> None:
        """Take in the counts of further rows."""
        self.nulls += other.nulls
        self.nans += other.nans
        self.values += other.values
        self.total += other.total
        lows = [value for value in (self.low, other.low) if value is not None]
        highs = [value for value in (self.high, other.high) if value is not None]
        self.low = min(lows, default=None)
        self.high = max(highs, default=None)


def parse(text: str) -> Expectation:
    """The expectation that ``text`` says.

    Raises:
        UsageError: it is not of the grammar.
    """
    line = text.strip()
    if found := _COMPARED.fullmatch(line):
        measure = found["count"] or found["function"]
        if found["percent"] and measure not in _SHARES:
            raise UsageError(f"expectation {text!r}: {measure} is no share of the rows; leave the % out")
        column = found["quoted"] or found["plain"]
        return Expectation(
            line, measure, column, found["comparison"], float(found["number"]), percent=bool(found["percent"])
        )
    if found := _BETWEEN.fullmatch(line):
        low, high = float(found["low"]), float(found["high"])
        return Expectation(line, "between", found["quoted"] or found["plain"], "between", low, high=high)
    raise UsageError(
        f"expectation {text!r} is not understood; examples: 'rows >= 1000', 'nulls(prediction) < 1%',"
        " 'prediction between 0 and 1', 'mean(prediction) <= 0.2', 'rejects = 0'"
    )


def check_columns(expectations: Sequence[Expectation], numeric: Mapping[str, bool]) -> None:
    """Refuse what names a column that the output has not, or asks for numbers of a column without any.

    ``numeric`` tells of each output column whether its values are numbers.
    """
    for item in expectations:
        if item.column is None:
            continue
        if item.column not in numeric:
            raise UsageError(
                f"expectation {item.text!r}: the output has no column {item.column!r}; it has {', '.join(numeric)}"
            )
        if item.measure in _NUMERIC and not numeric[item.column]:
            raise UsageError(f"expectation {item.text!r}: column {item.column!r} holds no numbers")


def unmet(
    expectations: Sequence[Expectation], counts: Mapping[str, ColumnCounts], *, rows: int, rejects: int, discards: int
) -> list[str]:
    """What is not as expected, one line for each, with what was found."""
    found: list[str] = []
    for item in expectations:
        totals = {"rows": rows, "rejects": rejects, "discards": discards}
        if item.column is None:
            value: float | None = totals[item.measure]
        elif item.measure == "between":
            problem = _outside(item, counts[item.column])
            if problem:
                found.append(f"{item.text!r} ({problem})")
            continue
        else:
            value = _measured(item.measure, counts[item.column])
        if value is not None and item.percent:
            value = 100 * value / rows if rows else 0.0
        if value is None or not _COMPARISONS[item.comparison](value, item.number):
            shown = "no value" if value is None else f"{value:.6g}{'%' if item.percent else ''}"
            found.append(f"{item.text!r} (found {shown})")
    return found


def _measured(measure: str, counts: ColumnCounts) -> float | None:
    if measure == "mean":
        return counts.total / counts.values if counts.values else None
    return {"nulls": counts.nulls, "nans": counts.nans, "min": counts.low, "max": counts.high}[measure]


def _outside(item: Expectation, counts: ColumnCounts) -> str | None:
    if counts.nans:
        return f"found {counts.nans:,} NaN"
    if counts.low is not None and counts.low < item.number:
        return f"found {counts.low:.6g}"
    if counts.high is not None and counts.high > item.high:
        return f"found {counts.high:.6g}"
    return None


def counts_to_json(counts: Mapping[str, ColumnCounts]) -> dict[str, list[Any]]:
    """Counts as JSON values; infinities as text, since JSON has none."""
    return {
        name: [item.nulls, item.nans, item.values, *map(_text, (item.total, item.low, item.high))]
        for name, item in counts.items()
    }


def counts_from_json(data: Mapping[str, Sequence[Any]]) -> dict[str, ColumnCounts]:
    """The counts that ``counts_to_json`` wrote."""
    return {name: ColumnCounts(*item[:3], *map(_number, item[3:])) for name, item in data.items()}


def _text(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _number(value: float | str | None) -> float | None:
    return float(value) if isinstance(value, str) else value
