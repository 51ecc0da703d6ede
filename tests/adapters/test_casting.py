"""This module tests that a cast keeps every value or fails, naming the row."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters.casting import LossyCastError, cast_exactly, first_failure

NUMBERS = [
    pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(38, 6),
    pa.decimal128(10, 2),
]  # fmt: skip
D1 = dt.datetime(2026, 1, 1)


def cast_or_row(array, target):
    """The cast array, or the row that was refused."""
    try:
        return cast_exactly(array, target)
    except LossyCastError as error:
        return error.row


@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)),
    st.sampled_from(NUMBERS),
)
def test_integers_are_exact_in_every_type_or_refused(values, target):
    """Whatever the target, each value that comes out equals the value that went in."""
    array = pa.array(values, pa.int64())
    made = cast_or_row(array, target)
    if isinstance(made, int):
        assert values[made] is not None
        return
    assert made.type == target
    assert made.to_pylist() == values


@given(st.lists(st.none() | st.floats() | st.integers(-300, 300).map(float)), st.sampled_from(NUMBERS))
def test_floats_are_exact_but_for_narrower_floats(values, target):
    """Integers and decimals hold the float itself; float32 rounds, within its range."""
    array = pa.array(values, pa.float64())
    made = cast_or_row(array, target)
    if isinstance(made, int):
        assert values[made] is not None
        return
    for before, after in zip(values, made.to_pylist(), strict=True):
        if before is None or math.isnan(before):
            assert (after is None) == (before is None)
        elif target == pa.float32():
            assert after == pytest.approx(before, rel=1e-7, abs=1e-44)
        elif pa.types.is_decimal(target):
            assert float(after) == before
        else:
            assert after == before


@pytest.mark.parametrize(
    ("values", "source", "target"),
    [
        ([1, None], pa.int64(), pa.float64()),
        ([1.0, None], pa.float64(), pa.int64()),
        ([5000], pa.int64(), pa.decimal128(6, 2)),
        ([Decimal("1.50")], pa.decimal128(5, 2), pa.decimal128(38, 1)),
        ([Decimal("2.00")], pa.decimal128(5, 2), pa.int8()),
        (["a", None], pa.string(), pa.large_string()),
        (["a", None], pa.large_string(), pa.string_view()),
        ([b"ab", None], pa.binary(), pa.binary(2)),
        ([D1, None], pa.timestamp("us"), pa.timestamp("ns")),
        ([dt.date(2026, 1, 1)], pa.date32(), pa.date64()),
        ([dt.time(1)], pa.time64("us"), pa.time32("s")),
        ([dt.timedelta(1)], pa.duration("us"), pa.duration("s")),
        ([[1, None], None, []], pa.list_(pa.int64()), pa.list_(pa.float64())),
        ([[1, 2], None, [3, 4]], pa.list_(pa.int64()), pa.list_(pa.float64(), 2)),
        ([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2), pa.large_list(pa.int8())),
        ([[[1], None], None], pa.list_(pa.list_(pa.int64())), pa.large_list(pa.list_(pa.float32()))),
        ([{"a": 1}, None], pa.struct({"a": pa.int64()}), pa.struct({"a": pa.float64()})),
        ([None, None], pa.null(), pa.struct({"a": pa.list_(pa.int8())})),
        ([[], []], pa.list_(pa.null()), pa.list_(pa.struct({"a": pa.int8()}))),
        (["a", None, "a"], pa.string(), pa.dictionary(pa.int8(), pa.string())),
        (["a", None], pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (["a", None], pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string())),
    ],
)
def test_casts_within_a_family_keep_the_values(values, source, target):
    """Also of a slice, whose offsets do not begin at 0."""
    array = pa.array(values, source)
    made = cast_exactly(array, target)
    made.validate(full=True)
    assert made.type == target
    assert made.to_pylist() == values
    assert cast_exactly(array.slice(1), target).to_pylist() == values[1:]
    assert cast_exactly(array.slice(0, 0), target).to_pylist() == []


def test_run_ends_and_extensions_are_cast_by_their_values():
    """Encodings are no types of their own."""
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([1, 2]))
    assert cast_exactly(runs, pa.float64()).to_pylist() == [1.0, 1.0, 2.0]
    tensor = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int64(), (2,)), pa.array([[1, 2]], pa.list_(pa.int64(), 2))
    )
    assert cast_exactly(tensor, pa.list_(pa.float64())).to_pylist() == [[1.0, 2.0]]


def test_a_struct_gains_null_fields_and_loses_none():
    """A missing key is null; an extra one would be lost, so it is named."""
    array = pa.array([{"a": 1}, None])
    wide = pa.struct({"b": pa.string(), "a": pa.int64()})
    assert cast_exactly(array, wide).to_pylist() == [{"b": None, "a": 1}, None]
    with pytest.raises(LossyCastError, match=r"unknown key 'a' \(known: b\)"):
        cast_exactly(array, pa.struct({"b": pa.int64()}))


@pytest.mark.parametrize(
    ("values", "source", "target", "row"),
    [
        ([1.0, 1.5], pa.float64(), pa.int64(), 1),
        ([1.0, math.nan], pa.float64(), pa.int64(), 1),
        ([0, 2**53 + 1], pa.int64(), pa.float64(), 1),
        ([1.0, 2.0, 1e300], pa.float64(), pa.float32(), 2),
        ([1.0, 1e9], pa.float64(), pa.float16(), 1),
        ([0.1], pa.float64(), pa.decimal128(5, 0), 0),
        ([1.0, 1.25], pa.float64(), pa.decimal128(5, 1), 1),
        ([Decimal("1.25")], pa.decimal128(5, 2), pa.decimal128(5, 1), 0),
        ([1, None, 300], pa.int64(), pa.int8(), 2),
        ([-1], pa.int64(), pa.uint64(), 0),
        ([D1, D1 + dt.timedelta(hours=1)], pa.timestamp("us"), pa.date32(), 1),
        ([D1, D1 + dt.timedelta(microseconds=1)], pa.timestamp("us"), pa.timestamp("s"), 1),
        ([[1.0], [2.0, 2.5], [3.5]], pa.list_(pa.float64()), pa.list_(pa.int64()), 1),
        ([None, [], [[1.5]]], pa.list_(pa.list_(pa.float64())), pa.list_(pa.list_(pa.int64())), 2),
        ([{"a": 1.0}, {"a": 1.5}], pa.struct({"a": pa.float64()}), pa.struct({"a": pa.int64()}), 1),
    ],
)
def test_a_value_that_would_change_is_told_with_its_row(values, source, target, row):
    """The first row that does not survive, counted from the head of the column even when it is inside a list."""
    with pytest.raises(LossyCastError) as caught:
        cast_exactly(pa.array(values, source), target)
    assert caught.value.row == row
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pa.string(), pa.int64()),
        (pa.int64(), pa.string()),
        (pa.int64(), pa.bool_()),
        (pa.bool_(), pa.int64()),
        (pa.binary(), pa.string()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.date32()),
        (pa.int64(), pa.timestamp("us")),
        (pa.list_(pa.string()), pa.list_(pa.int64())),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.struct({"a": pa.int64()}), pa.map_(pa.string(), pa.int64())),
    ],
)
def test_types_of_other_families_are_refused_even_when_empty(source, target):
    """What pyarrow would parse, reinterpret or shift; the answer must not hang on the values."""
    with pytest.raises(LossyCastError, match=r"is not|one has a time zone"):
        cast_exactly(pa.array([], source), target)


@given(st.integers(1, 50), st.data())
def test_the_first_failure_is_found_by_halving(length, data):
    """Wherever it is, and -1 where there is none."""
    values = [1.0] * length
    assert first_failure(pa.array(values), lambda piece: piece.cast(pa.int64())) == -1
    bad = data.draw(st.sets(st.integers(0, length - 1), min_size=1))
    for row in bad:
        values[row] = 1.5
    assert first_failure(pa.array(values), lambda piece: piece.cast(pa.int64())) == min(bad)
