"""This module does the sums: medians, and ratios as medians of the ratios of each round."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def middle(values: Sequence[float]) -> float | None:
    """The median, or None of nothing."""
    return median(values) if values else None


def speed_ratio(mine: Sequence[float], theirs: Sequence[float]) -> float | None:
    """How fast mine is beside theirs: the median over the rounds of their seconds by mine. 1 is as fast, 2 twice as fast.

    A round's machine is the same for both, which a ratio of medians would not use. Rounds that one of them lacks are
    left out.
    """
    pairs = [other / own for own, other in zip(mine, theirs, strict=False) if own > 0]
    return middle(pairs)


def rotated(items: Sequence[str], turn: int) -> list[str]:
    """The items, begun at another place each turn, so that none always follows the same one."""
    if not items:
        return []
    start = turn % len(items)
    return [*items[start:], *items[:start]]


def spread(values: Sequence[float]) -> float | None:
    """(largest − smallest) / median: how much runs of the same differ."""
    centre = middle(values)
    return (max(values) - min(values)) / centre if centre else None
