"""This module writes numbers of splits as short texts such as "0-99,104", and shares them out over messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from bentobatch.errors import UsageError

_TEXT = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*")


def to_text(numbers: Sequence[int]) -> str:
    """Ascending numbers as ranges."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def from_text(text: str, limit: int) -> list[int]:
    """The numbers that ``to_text`` wrote, all below ``limit``: a message of a few bytes must not fill the memory.

    Raises:
        UsageError: it is no such text.
    """
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        raise UsageError(f"splits are written as 0-99,104, not as {str(text)[:100]!r}")
    numbers: list[int] = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        low, high = int(first), int(last or first)
        if high >= limit or low > high or (numbers and low <= numbers[-1]):
            raise UsageError(f"splits {text[:100]!r} are not ascending numbers below {limit}")
        numbers.extend(range(low, high + 1))
    return numbers


def shared_out(numbers: Sequence[int], most: int) -> list[str]:
    """The numbers as at most ``most`` texts of neighbours, as long as each other but for one."""
    count = min(len(numbers), most)
    cuts = [len(numbers) * place // count for place in range(count + 1)] if count else []
    return [to_text(numbers[start:stop]) for start, stop in pairwise(cuts)]
