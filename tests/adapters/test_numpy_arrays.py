"""This module tests that every numpy dtype has its Arrow type, or a clear refusal."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from bentobatch.adapters.numpy_arrays import array_of_numpy

DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64))
)


@given(hnp.arrays(DTYPES, hnp.array_shapes(max_dims=3, min_side=0)))
def test_numbers_come_back_bit_for_bit(array):
    """Any byte order, any shape; NaN is kept."""
    made = array_of_numpy(array)
    made.validate(full=True)
    assert len(made) == array.shape[0]
    flat = made
    while pa.types.is_list(flat.type):
        flat = flat.flatten()
    native = array.astype(array.dtype.newbyteorder("=")).ravel()
    assert flat.null_count == 0
    assert flat.to_numpy(zero_copy_only=False).tobytes() == native.tobytes()


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (np.array(["a", "bb"]), pa.string(), ["a", "bb"]),
        (np.array([b"a"]), pa.binary(), [b"a"]),
        (np.array(["2026-01-01", "NaT"], "M8[D]"), pa.date32(), None),
        (np.array(["2026"], "M8[Y]"), pa.timestamp("s"), None),
        (np.array(["2026-01-01T05"], "M8[h]"), pa.timestamp("s"), None),
        (np.array(["2026-01-01"], "M8[ms]"), pa.timestamp("ms"), None),
        (np.array([5], "m8[ns]"), pa.duration("ns"), None),
        (np.array([1], "m8[D]"), pa.duration("s"), None),
        (np.array(["NaT"], "M8"), pa.timestamp("us"), [None]),
        (np.array([1.5], np.longdouble), pa.float64(), [1.5]),
        (np.arange(6)[::-2], pa.int64(), [5, 3, 1]),
        (np.ma.array([1, 2], mask=[False, True]), pa.int64(), [1, None]),
        (np.zeros((2, 0)), pa.list_(pa.float64()), [[], []]),
    ],
)
def test_each_dtype_has_its_type(array, kind, values):
    """Times keep their unit, days are dates, coarser units become seconds; what is masked is null."""
    made = array_of_numpy(array)
    assert made.type == kind
    if values is not None:
        assert made.to_pylist() == values


def test_a_count_of_days_is_kept_exactly():
    """The conversion of units neither rounds nor shifts."""
    assert array_of_numpy(np.array([3], "m8[D]")).cast(pa.int64()).to_pylist() == [3 * 86_400]
    assert str(array_of_numpy(np.array(["2026-02"], "M8[M]"))[0]) == "2026-02-01 00:00:00"


@pytest.mark.parametrize("array", [np.array([1j]), np.zeros(2, "V3"), np.array([1], "m8[Y]"), np.array([1], "m8")])
def test_other_dtypes_are_refused_by_name(array):
    """A type error that names the dtype."""
    with pytest.raises(TypeError, match=r"numpy dtype .* has no Arrow form"):
        array_of_numpy(array)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, "M8[us]"), np.zeros((2, 2)), np.ma.array([0.0, 0.0])])
def test_the_memory_is_not_shared(array):
    """A function that writes its next result into the same buffer must not change the last one."""
    made = array_of_numpy(array)
    before = made.to_pylist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array[...] = array.dtype.type(1) if array.dtype.kind == "f" else np.datetime64(1, "us")
    assert made.to_pylist() == before
