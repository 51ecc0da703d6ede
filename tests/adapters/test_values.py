"""This module tests that Python values become Arrow arrays without loss, or not at all."""

from __future__ import annotations

import datetime as dt
import enum
import math
import zoneinfo
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import dateutil.tz
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters.values import MAX_DEPTH, MAX_KEYS, MixedValuesError, NoArrowFormError, array_of

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
UTC = dt.timezone.utc

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INT64 = st.integers(-(2**63), 2**63 - 1)
LEAVES = [
    st.booleans(),
    INT64,
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.times(),
    st.timedeltas(min_value=dt.timedelta(days=-(10**6)), max_value=dt.timedelta(days=10**6)),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
]


def columns_of(leaf):
    """Columns of values of one kind: plain, or in lists, or in structs with the same keys, nulls among them."""
    optional = st.none() | leaf
    struct = st.fixed_dictionaries({"a": optional, "b": st.lists(optional, max_size=3)})
    return st.lists(optional) | st.lists(st.none() | st.lists(optional, max_size=3)) | st.lists(st.none() | struct)


@given(st.one_of([columns_of(leaf) for leaf in LEAVES]))
def test_values_of_one_kind_come_back(values):
    """Whatever the kind and the nesting, ``to_pylist`` gives the values again."""
    array = array_of(values)
    array.validate(full=True)
    assert array.to_pylist() == values


@given(st.lists(st.one_of(LEAVES) | st.none() | st.lists(st.one_of(LEAVES), max_size=3), max_size=6))
def test_values_of_any_kinds_come_back_or_are_refused(values):
    """No mixture is cut, rounded or turned into something else: it comes back equal, or it is MixedValuesError."""
    try:
        array = array_of(values)
    except MixedValuesError:
        return
    assert array.to_pylist() == values


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], pa.null()),
        ([None, pd.NA, pd.NaT], pa.null()),
        ([1, None], pa.int64()),
        ([2**63], pa.uint64()),
        ([1, 2.5], pa.float64()),
        ([math.nan, 1], pa.float64()),
        ([True, np.bool_(False)], pa.bool_()),
        (["a", np.str_("b")], pa.string()),
        ([b"a", bytearray(b"b"), memoryview(b"c"), np.bytes_(b"d")], pa.binary()),
        ([np.int8(1), np.int8(2)], pa.int8()),
        ([np.int8(1), 300], pa.int64()),
        ([np.uint64(2**63), 1], pa.uint64()),
        ([np.float32(1), None], pa.float32()),
        ([np.float16(1)], pa.float16()),
        ([np.float32(1), 2.5], pa.float64()),
        ([np.longdouble(1)], pa.float64()),
        ([Decimal("1.10"), 2], pa.decimal128(38, 2)),
        ([Decimal(10) ** 50], pa.decimal256(76, 0)),
        ([dt.date(2026, 1, 1)], pa.date32()),
        ([dt.datetime(2026, 1, 1), pd.NaT], pa.timestamp("us")),
        ([dt.datetime(2026, 1, 1, tzinfo=BERLIN)], pa.timestamp("us", "Europe/Berlin")),
        ([dt.datetime(2026, 1, 1, tzinfo=BERLIN), dt.datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        ([dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))], pa.timestamp("us", "+02:00")),
        ([dt.datetime(1890, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=1)))], pa.timestamp("us", "UTC")),
        ([dt.datetime(2026, 1, 1, tzinfo=dateutil.tz.tzutc())], pa.timestamp("us", "UTC")),
        ([dt.datetime(2026, 1, 1, tzinfo=dateutil.tz.gettz("Europe/Berlin"))] * 2, pa.timestamp("us", "Europe/Berlin")),
        ([pd.Timestamp("2026-01-01")], pa.timestamp("us")),
        ([pd.Timestamp("2026-01-01T00:00:00.000000001")], pa.timestamp("ns")),
        ([pd.Timedelta(1, "ns"), dt.timedelta(1)], pa.duration("ns")),
        ([np.datetime64("2026-01-01"), None], pa.date32()),
        ([np.datetime64("2026-01-01T00", "h")], pa.timestamp("s")),
        ([np.datetime64("2026-01-01T00:00:00", "ns"), pd.NaT], pa.timestamp("ns")),
        ([np.datetime64("2026-01-01T00:00:00", "s"), dt.datetime(2026, 1, 1)], pa.timestamp("us")),
        ([np.timedelta64(5, "s")], pa.duration("s")),
        ([dt.time(1, 2)], pa.time64("us")),
        ([UUID(int=1)], pa.string()),
        ([(1, 2), [3]], pa.list_(pa.int64())),
        ([np.array([1.0, 2.0]), np.array([3.0])], pa.list_(pa.float64())),
        ([np.array([1], dtype="i2"), None], pa.list_(pa.int64())),
        ([np.array([1], dtype="i2")], pa.list_(pa.int16())),
        ([np.ones((2, 2))], pa.list_(pa.list_(pa.float64()))),
        ([np.array(1.5), np.array(2.5)], pa.float64()),
        ([pd.Series(["a"]), ["b"]], pa.list_(pa.string())),
        ([np.array(["2026-01-01"], dtype="M8[ns]")], pa.list_(pa.timestamp("ns"))),
        ([{"a": 1}, {"b": "x"}], pa.struct({"a": pa.int64(), "b": pa.string()})),
        ([MappingProxyType({"a": 1})], pa.struct({"a": pa.int64()})),
        ([pa.scalar(1, pa.int8()), None, pa.scalar(None, pa.int8())], pa.int8()),
        ([pa.scalar(1), 2.5], pa.float64()),
        ([pa.scalar(None), pa.scalar(1), pa.scalar("x").cast(pa.string())][:2], pa.int64()),
    ],
)
def test_each_kind_has_its_type(values, kind):
    """The types of the module's docstring, exactly."""
    assert array_of(values).type == kind


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"],
        [True, 1],
        [1, True],
        [dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, 5)],
        [[dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, 5)]],
        [dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=UTC)],
        [dt.timedelta(1), 1],
        ["a", b"b"],
        [["a", b"b"]],
        [2**64],
        [2**63, -1],
        [1.5, 2**53 + 1],
        [Decimal("1.1"), 1.5],
        [Decimal("NaN")],
        [Decimal("Infinity"), 1],
        [Decimal(10) ** 80],
        [dt.time(1, tzinfo=UTC)],
        [[1], 1],
        [[1], ["a"]],
        [{"a": 1}, 1],
        [{"a": 1}, {"a": "x"}],
        [{}],
        [{1: 2}],
        [np.datetime64("2026-01-01T00:00:00.000000001"), dt.datetime(2026, 1, 1)],
        [pd.Timestamp("2026-01-01T00:00:00.000000001"), dt.datetime(9999, 1, 1)],
    ],
)
def test_what_shares_no_type_is_refused(values):
    """pyarrow.array would cut, shift, round or reinterpret several of these."""
    with pytest.raises(MixedValuesError):
        array_of(values)


@pytest.mark.parametrize("value", [object(), {1}, 1j, range(3), enum.Enum("Colour", "RED").RED, len])
def test_what_has_no_arrow_form_is_told_by_its_type(value):
    """Not a repr, not a guess: sets have no order, other objects no form."""
    for values in ([value], [1, value], [[value]], [{"a": value}]):
        with pytest.raises(NoArrowFormError, match=type(value).__name__):
            array_of(values)


def test_a_lone_surrogate_has_no_arrow_form():
    """It is no UTF-8, so no file could hold it."""
    with pytest.raises(NoArrowFormError, match="surrogate"):
        array_of(["\ud800"])


def test_missing_values_are_null_among_others_and_nan_among_numbers():
    """NaN is a number's value, and pandas' word for missing everywhere else."""
    assert array_of(["a", math.nan, pd.NA]).to_pylist() == ["a", None, None]
    assert array_of([True, math.nan]).to_pylist() == [True, None]
    assert array_of([[1], math.nan]).to_pylist() == [[1], None]
    assert array_of([{"a": 1}, math.nan]).to_pylist() == [{"a": 1}, None]
    assert array_of([Decimal(1), np.float64("nan")]).to_pylist() == [Decimal(1), None]
    assert array_of([dt.date(2026, 1, 1), pd.NaT]).to_pylist() == [dt.date(2026, 1, 1), None]
    numbers = array_of([1.5, math.nan, None, pd.NA, 2])
    assert numbers.null_count == 2
    assert math.isnan(numbers[1].as_py())
    nested = array_of([[math.nan, None]])
    assert math.isnan(nested[0][0].as_py())
    assert nested[0][1].as_py() is None


def test_integers_among_floats_are_exact():
    """An integer beyond 2**53 goes with floats where the float is the integer."""
    assert array_of([1.5, 2**60]).to_pylist() == [1.5, float(2**60)]


def test_instants_in_other_zones_are_the_same_instants():
    """Each keeps its moment when the column is UTC."""
    values = [dt.datetime(2026, 7, 1, tzinfo=BERLIN), dt.datetime(2026, 7, 1, tzinfo=UTC)]
    assert array_of(values).to_pylist() == values


def test_nesting_is_bounded():
    """Files refuse 64 levels; a list in a list 20,000 times is no RecursionError."""
    value: list = [1]
    for _ in range(MAX_DEPTH - 2):
        value = [value]
    array_of([value]).validate(full=True)
    for _ in range(20_000):
        value = [value]
    with pytest.raises(MixedValuesError, match="deep"):
        array_of([value])


def test_objects_of_too_many_keys_are_refused():
    """65,536 rows of word counts must not become 65,536 x 65,536 nulls."""
    assert array_of([{str(key): 1 for key in range(MAX_KEYS)}]).type.num_fields == MAX_KEYS
    with pytest.raises(MixedValuesError, match="keys"):
        array_of([{str(key): 1} for key in range(MAX_KEYS + 1)])


def test_arrow_scalars_of_one_type_keep_it():
    """A dictionary of types is not consulted: the scalar's own type holds, nanoseconds included."""
    kind = pa.timestamp("ns", "UTC")
    array = array_of([pa.scalar(1, kind), None, pa.scalar(None, kind)])
    assert array.type == kind
    assert array.cast(pa.int64()).to_pylist() == [1, None, None]
