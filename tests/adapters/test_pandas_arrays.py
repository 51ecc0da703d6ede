"""This module tests that what pandas holds becomes Arrow arrays: missing is null, NaN of floats is NaN."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bentobatch.adapters.pandas_arrays import array_of_pandas, is_pandas_column, is_pandas_frame
from bentobatch.adapters.values import MixedValuesError


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pd.Series([1, 2], index=[9, 3], dtype="int16"), pa.int16(), [1, 2]),
        (pd.Series([True, False]), pa.bool_(), [True, False]),
        (pd.Series([1, None], dtype="Int64"), pa.int64(), [1, None]),
        (pd.Series([1.5, None], dtype="Float32"), pa.float32(), [1.5, None]),
        (pd.Series([True, None], dtype="boolean"), pa.bool_(), [True, None]),
        (pd.Series(["a", None]), pa.string(), ["a", None]),
        (pd.Series(["a", None], dtype="string"), pa.string(), ["a", None]),
        (pd.Series(["a", np.nan], dtype=object), pa.string(), ["a", None]),
        (pd.Series([1, "1", None][::2], dtype=object), pa.int64(), [1, None]),
        (pd.Series(["b", None, "b"], dtype="category"), pa.string(), ["b", None, "b"]),
        (pd.Series([3, None, 3], dtype="category"), pa.int64(), [3, None, 3]),
        (pd.Series([], dtype="category"), pa.null(), []),
        (pd.Categorical(["x", None]), pa.string(), ["x", None]),
        (pd.Index([1, 2]), pa.int64(), [1, 2]),
        (pd.RangeIndex(2), pa.int64(), [0, 1]),
        (pd.CategoricalIndex(["x"]), pa.string(), ["x"]),
        (pd.Series(pd.period_range("2026-01", periods=2, freq="M")), pa.string(), ["2026-01", "2026-02"]),
        (pd.Series(pd.PeriodIndex(["2026-01", None], freq="M")), pa.string(), ["2026-01", None]),
        (pd.Series(pd.interval_range(0, 1)), pa.string(), ["(0, 1]"]),
        (pd.Series(pd.arrays.SparseArray([1, 0, 0])), pa.int64(), [1, 0, 0]),
        (pd.Series([1, None], dtype="int32[pyarrow]"), pa.int32(), [1, None]),
        (pd.Series([[1], None]), pa.list_(pa.int64()), [[1], None]),
    ],
)
def test_each_dtype_has_its_type(column, kind, values):
    """Categories are decoded: their codes differ from chunk to chunk."""
    array = array_of_pandas(column)
    array.validate(full=True)
    assert array.type == kind
    assert array.to_pylist() == values


def test_nan_of_a_float_column_stays_nan():
    """A model's NaN is its answer; pyarrow would make it null."""
    array = array_of_pandas(pd.Series([1.0, np.nan]))
    assert array.null_count == 0
    assert math.isnan(array[1].as_py())


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_times_keep_unit_and_zone(zone):
    """NaT is null."""
    column = pd.Series(pd.DatetimeIndex(["2026-01-01", None]).as_unit("ns").tz_localize(zone))
    array = array_of_pandas(column)
    assert array.type == pa.timestamp("ns", zone)
    assert array.null_count == 1


def test_an_index_of_several_levels_is_no_single_column():
    """Its tuples are of several kinds; where they are of one they are lists."""
    with pytest.raises(MixedValuesError):
        array_of_pandas(pd.MultiIndex.from_tuples([(1, "a")]))
    assert array_of_pandas(pd.MultiIndex.from_tuples([(1, 2)])).to_pylist() == [[1, 2]]


@pytest.mark.parametrize("dtype", ["int64", "Int64", "float64", "datetime64[ns]", "datetime64[ns, UTC]"])
def test_the_memory_is_not_shared(dtype):
    """A function that fills the same Series again does not change its last result."""
    column = pd.Series([0, 0]).astype(dtype)
    array = array_of_pandas(column)
    before = array.to_pylist()
    column.iloc[0] = pd.Series([7]).astype(dtype).iloc[0]
    assert array.to_pylist() == before


def test_what_pandas_made_is_told_apart():
    """Frames, columns and others."""
    assert is_pandas_frame(pd.DataFrame())
    assert not is_pandas_frame(pd.Series([1]))
    assert all(is_pandas_column(each) for each in (pd.Series([1]), pd.Index([1]), pd.Categorical(["a"]), pd.array([1])))
    assert not is_pandas_column(np.array([1]))
    assert not is_pandas_column(pd.DataFrame())
