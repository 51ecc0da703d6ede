"""This module finds exact quantiles of a column of any length in bounded memory.

A quantile is the value of a row: the one at rank ceil(q · n) of n sorted values (NaN and null are no values), which is
the definition "inverted_cdf" of numpy.quantile. No value is made up between two.

Source: radix selection, most significant digit first. A 64-bit float is mapped to an unsigned integer of the same order;
each of four passes counts the next 16 bits of those values that share what is known of a wanted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

_DIGIT_BITS = 16
_PASSES = 4
_SIGN = np.uint64(1 << 63)


def quantiles(read: Callable[[], Iterable[Any]], wanted: Sequence[float]) -> list[float | None]:
    """The quantiles ``wanted`` (from 0, the least value, to 1, the greatest) of what ``read()`` yields: numpy arrays of
    64-bit floats, the same ones at each of five calls. None for each of them where there is no value."""
    count = sum(int((~np.isnan(values)).sum()) for values in read())
    if not count:
        return [None] * len(wanted)
    ranks = [min(max(math.ceil(share * count - 1e-9), 1), count) - 1 for share in wanted]
    prefixes = [0] * len(ranks)
    for number in range(_PASSES):
        shift = 64 - _DIGIT_BITS * (number + 1)
        counts = {prefix: np.zeros(1 << _DIGIT_BITS, np.int64) for prefix in set(prefixes)}
        for values in read():
            keys = _keys(values[~np.isnan(values)])
            heads = keys >> np.uint64(shift)
            for prefix, tally in counts.items():
                chosen = heads if number == 0 else heads[(heads >> np.uint64(_DIGIT_BITS)) == np.uint64(prefix)]
                digits = (chosen & np.uint64((1 << _DIGIT_BITS) - 1)).astype(np.int64)
                np.add(tally, np.bincount(digits, minlength=1 << _DIGIT_BITS), out=tally)
        for index, prefix in enumerate(prefixes):
            below = np.cumsum(counts[prefix])
            digit = int(np.searchsorted(below, ranks[index], side="right"))
            ranks[index] -= int(below[digit - 1]) if digit else 0
            prefixes[index] = (prefix << _DIGIT_BITS) | digit
    return [float(value) for value in _values(np.array(prefixes, np.uint64))]


def _keys(values: Any) -> Any:
    """Unsigned integers in the order of the floats: those of negative numbers are turned round."""
    bits = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(keys: Any) -> Any:
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).astype(np.uint64).view(np.float64)
