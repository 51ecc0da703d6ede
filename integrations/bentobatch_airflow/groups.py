"""This module writes groups of split numbers as short texts ("0-4095,5000"), which is what mapped tasks are given."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from bentobatch.errors import UsageError

MOST_GROUPS = 100
"""Airflow maps over 1,024 values at most, and its scheduler slows down well before."""


def grouped(numbers: Sequence[int], most: int = MOST_GROUPS) -> list[str]:
    """Neighbours together, in at most ``most`` groups whose sizes differ by one at most."""
    if most < 1:
        raise UsageError(f"max_groups must be at least 1, not {most}")
    count = min(most, len(numbers))
    edges = [len(numbers) * group // count for group in range(count + 1)] if count else []
    return [as_text(numbers[start:stop]) for start, stop in itertools.pairwise(edges)]


def as_text(numbers: Iterable[int]) -> str:
    """Ascending numbers, runs of them as FIRST-LAST."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def from_text(text: str) -> list[int]:
    """The numbers that ``as_text`` wrote.

    Raises:
        UsageError: it is no such text.
    """
    numbers: list[int] = []
    for run in text.split(","):
        edges = run.strip().split("-")
        if len(edges) > 2 or not all(edge.isdecimal() for edge in edges):
            raise UsageError(f"splits are named as in 0-3,7, not {text!r}")
        numbers.extend(range(int(edges[0]), int(edges[-1]) + 1))
    return numbers
