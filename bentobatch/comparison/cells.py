"""This module says which cells of two columns differ: numbers by a tolerance, all else by being equal or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.errors import UsageError


@dataclass(frozen=True)
class Tolerance:
    """How far a number may move without counting as changed: ``amount``, or where ``relative`` that share of the old one."""

    amount: float = 0.0
    relative: bool = False

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """From ``0.01``, an amount, or ``0.1%``, a share of the old value.

        Raises:
            UsageError: it is neither.
        """
        relative = text.strip().endswith("%")
        try:
            amount = float(text.strip().removesuffix("%"))
        except ValueError:
            amount = math.nan
        if not (math.isfinite(amount) and amount >= 0):
            raise UsageError(f"--tolerance takes an amount such as 0.01 or a share such as 0.1%, not {text!r}")
        return cls(amount / 100 if relative else amount, relative)


def is_number(type: Any) -> bool:
    """Whether values of this Arrow type are numbers."""
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def changed(old: Any, new: Any, tolerance: Tolerance) -> Any:
    """A numpy mask of the rows that differ between two Arrow arrays of the same length.

    Null equals null and NaN equals NaN, and each differs from anything else. Values of different types that are not both
    numbers differ by their texts; nested values are compared part by part.
    """
    if is_number(old.type) and is_number(new.type):
        return _numbers_changed(old, new, tolerance)
    if pa.types.is_nested(old.type) or pa.types.is_nested(new.type):
        pairs = zip(old.to_pylist(), new.to_pylist(), strict=True)
        return np.fromiter((not _same(first, second, tolerance) for first, second in pairs), bool, len(old))
    if old.type != new.type:
        old, new = old.cast(pa.string()), new.cast(pa.string())
    differs = pc.fill_null(pc.not_equal(old, new), False)
    return _mask(differs) | (_mask(old.is_null()) != _mask(new.is_null()))


def as_floats(column: Any) -> Any:
    """A numeric column as 64-bit floats in numpy, with NaN for null."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return column.to_numpy(zero_copy_only=False).astype("float64")


def _numbers_changed(old: Any, new: Any, tolerance: Tolerance) -> Any:
    nulls = _mask(old.is_null()) != _mask(new.is_null())
    if tolerance.amount == 0 and old.type == new.type and not pa.types.is_floating(old.type):
        return _mask(pc.fill_null(pc.not_equal(old, new), False)) | nulls  # floats would not tell large integers apart
    first, second = as_floats(old), as_floats(new)
    allowed = np.abs(first) * tolerance.amount if tolerance.relative else tolerance.amount
    with np.errstate(invalid="ignore"):
        moved = ~((np.abs(first - second) <= allowed) | (first == second))
    return (moved & ~(np.isnan(first) & np.isnan(second))) | nulls


def _same(old: Any, new: Any, tolerance: Tolerance) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key], tolerance) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        pairs = zip(old, new, strict=False)
        return len(old) == len(new) and all(_same(first, second, tolerance) for first, second in pairs)
    numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in (old, new)]
    if all(numbers):
        if old == new or (old != old and new != new):  # NaN is unequal to itself
            return True
        return bool(abs(old - new) <= (abs(old) * tolerance.amount if tolerance.relative else tolerance.amount))
    return bool(old == new)


def _mask(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False).astype(bool)
