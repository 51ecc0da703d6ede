"""Quantiles are those that a sort would give, for any floats, in chunks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.comparison.quantiles import quantiles

WANTED = [0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60), st.integers(1, 9))
def test_they_are_values_at_the_ranks_of_a_sorted_column(values: list[float], size: int) -> None:
    """numpy.quantile's "inverted_cdf"; NaN is no value."""
    column = np.array(values, np.float64)
    chunks = [column[start : start + size] for start in range(0, len(column), size)]
    found = quantiles(lambda: iter(chunks), WANTED)
    kept = np.sort(column[~np.isnan(column)])
    if not len(kept):
        assert found == [None] * len(WANTED)
        return
    ranks = [max(int(np.ceil(share * len(kept) - 1e-9)), 1) - 1 for share in WANTED]
    assert found == [kept[rank] for rank in ranks]


def test_they_agree_with_numpy() -> None:
    """On a column of a usual kind."""
    column = np.random.default_rng(7).normal(size=10_000)
    expected = np.quantile(column, WANTED, method="inverted_cdf")
    assert quantiles(lambda: iter(np.array_split(column, 7)), WANTED) == pytest.approx(expected, abs=0)
