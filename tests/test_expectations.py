"""What a user may expect of an output, and how it is judged."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.engine.column_counts import count_columns
from bentobatch.errors import UsageError
from bentobatch.expectations import ColumnCounts, check_columns, counts_from_json, counts_to_json, parse, unmet


def judged(line: str, *values: float | None, rejects: int = 0, rows: int | None = None) -> bool:
    counts: dict[str, ColumnCounts] = {}
    count_columns(pa.RecordBatch.from_pydict({"prediction": pa.array(values, pa.float64())}), counts)
    return not unmet([parse(line)], counts, rows=len(values) if rows is None else rows, rejects=rejects, discards=0)


@pytest.mark.parametrize(
    ("line", "values", "met"),
    [
        ("rows >= 3", (1, 2, 3), True),
        ("rows >= 4", (1, 2, 3), False),
        ("rows = 3", (1, 2, 3), True),
        ("rows != 3", (1, 2, 3), False),
        ("nulls(prediction) < 1%", (1,) * 200 + (None,), True),
        ("nulls(prediction) < 1%", (1,) * 99 + (None,), False),
        ("nulls(prediction) = 1", (1, None), True),
        ('nulls("prediction") == 0', (1, None), False),
        ("nans(prediction) = 0", (1, math.nan), False),
        ("prediction between 0 and 1", (0, 0.5, 1, None), True),
        ("prediction between 0 and 1", (0, 1.0000001), False),
        ("prediction between 0 and 1", (-1e-9, 1), False),
        ("prediction between 0 and 1", (0.5, math.nan), False),
        ("prediction between 0 and 1", (0.5, math.inf), False),
        ("prediction BETWEEN -1e3 AND .5", (-1000, 0.5), True),
        ("mean(prediction) <= 2", (1, 2, 3, None), True),
        ("mean(prediction) < 2", (1, 2, 3), False),
        ("min(prediction) > 0", (1, math.nan), True),
        ("max(prediction)<3", (1, 3), False),
        ("mean(prediction) >= 0", (None, None), False),
        ("rejects = 0", (1,), True),
    ],
)
def test_an_expectation_is_judged_by_the_counts(line: str, values: tuple[float | None, ...], met: bool) -> None:
    """Both ends of between belong to it; a mean of no values is never as expected."""
    assert judged(line, *values) is met


def test_a_share_is_of_the_rows() -> None:
    """Of no rows at all, every share is nothing."""
    assert judged("rejects <= 10%", 1, rejects=1, rows=10)
    assert not judged("rejects <= 9%", 1, rejects=1, rows=10)
    assert judged("nulls(prediction) < 1%")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "",
            "rows",
            "rows >",
            "rows > x",
            "rows > 5%",
            "sum(x) > 1",
            "x between 1",
            "x between 1 and",
            "nulls(x) is 0",
        ),
        *("min(x) > 1%", "rows >= 1; rows >= 2", "x = 1", "__import__('os')"),
    ],
)
def test_what_is_not_of_the_grammar_is_refused(line: str) -> None:
    """With examples of what is."""
    with pytest.raises(UsageError, match=r"expectation .*(examples|no share)"):
        parse(line)


def test_an_unknown_column_and_numbers_of_text_are_refused_before_scoring() -> None:
    """The message lists what there is."""
    with pytest.raises(UsageError, match="no column 'x'; it has prediction"):
        check_columns([parse("nulls(x) = 0")], {"prediction": True})
    with pytest.raises(UsageError, match="holds no numbers"):
        check_columns([parse("min(label) > 0")], {"label": False})
    check_columns(
        [parse("nulls(label) = 0"), parse('"prediction" between 0 and 1')], {"label": False, "prediction": True}
    )


@given(st.lists(st.lists(st.none() | st.floats(allow_nan=True), max_size=20), max_size=5))
def test_counts_of_pieces_add_up_to_those_of_the_whole(pieces: list[list[float | None]]) -> None:
    """However an output is split, and after a trip through a receipt."""

    def counted(values: list[float | None]) -> ColumnCounts:
        counts: dict[str, ColumnCounts] = {}
        count_columns(pa.RecordBatch.from_pydict({"p": pa.array(values, pa.float64())}), counts)
        return counts_from_json(counts_to_json(counts))["p"]

    total = ColumnCounts()
    for piece in pieces:
        total.add(counted(piece))
    whole = counted([value for piece in pieces for value in piece])
    assert (total.nulls, total.nans, total.values, total.low, total.high) == (
        whole.nulls, whole.nans, whole.values, whole.low, whole.high,
    )  # fmt: skip
    assert total.total == pytest.approx(whole.total, nan_ok=True)


@pytest.mark.parametrize("type", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(30, 2)])
def test_every_kind_of_number_is_counted(type: pa.DataType) -> None:
    """Integers, floats of all widths, decimals."""
    counts: dict[str, ColumnCounts] = {}
    count_columns(pa.RecordBatch.from_arrays([pa.array([1, 3, None]).cast(type)], names=["p"]), counts)
    assert counts["p"] == ColumnCounts(nulls=1, values=2, total=4.0, low=1.0, high=3.0)
