"""This module tests NumpyInput: matrices of columns, tensors of lists, and the rows that make none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bentobatch.adapters import NumpyInput
from bentobatch.errors import DataError, UsageError
from tests.conformance.adapter_suite import InputAdapterSuite


class TestNumpyInputOverColumns(InputAdapterSuite):
    """A matrix of two columns."""

    def make(self):
        return NumpyInput(columns=["b", "a"], dtype="float32")

    def good_batch(self):
        return pa.record_batch({"b": [1, 2, None, 4], "a": [0.5, 1.5, 2.5, 3.5]})

    def bad_batch(self):
        return pa.record_batch({"b": [1.0, 1e300, 3.0, -1e300], "a": [1.0, 2.0, 3.0, 4.0]}), [1, 3]

    def inline(self):
        return b'[{"a": 1, "b": 2}, {"b": 3, "a": 4}]', 2

    def values(self, converted):
        return [str(row.tolist()) for row in converted.args[0]]  # text, since NaN differs from itself


class TestNumpyInputOverLists(InputAdapterSuite):
    """A tensor of one column of lists, whose shape is declared."""

    def make(self):
        return NumpyInput(shape=[2, 2])

    def good_batch(self):
        return pa.record_batch({"x": [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 0, 0]]})

    def bad_batch(self):
        return pa.record_batch({"x": [[1, 2, 3, 4], [1], None, [1, 2, 3, None], [5, 6, 7, 8], []]}), [1, 2, 3, 5]

    def inline(self):
        return b"[[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[5, 6], [7, 8]]]", 3

    def values(self, converted):
        return converted.args[0].tolist()


class TestNumpyInputOverNestedLists(TestNumpyInputOverLists):
    """Lists of lists, of fixed size and not."""

    def good_batch(self):
        rows = [[[1.0, 2.0], [3.0, float(row)]] for row in range(4)]
        return pa.record_batch([pa.array(rows, pa.list_(pa.list_(pa.float64(), 2)))], names=["x"])

    def bad_batch(self):
        rows = [[[1, 2], [3, 4]], [[1], [2, 3]], [[1, 2], None], [[5, 6], [7, 8]]]
        return pa.record_batch({"x": rows}), [1, 2]


def array_of(adapter, columns):
    """The array of all rows, none of which is bad."""
    converted = adapter.convert(pa.record_batch(columns))
    assert not converted.bad
    return converted.args[0]


def test_columns_become_a_matrix_in_their_order():
    """Rows x columns, in the widest of the columns' types; the array is the function's own."""
    array = array_of(NumpyInput(), {"b": pa.array([1, 2], pa.int8()), "a": pa.array([3, 4], pa.int32())})
    assert array.tolist() == [[1, 3], [2, 4]]
    assert array.dtype == np.int32
    array[0, 0] = 9
    assert array_of(NumpyInput(), {"a": [True, False]}).dtype == np.bool_
    assert array_of(NumpyInput(), {"a": ["x", "y"], "b": ["z", None]}).tolist() == [["x", "z"], ["y", None]]


def test_null_floats_are_nan_and_null_integers_bad_rows():
    """A null whole number has no value in an array of them; a dtype of floats gives it one."""
    batch = pa.record_batch({"f": [1.5, None], "i": [1, None]})
    converted = NumpyInput().convert(batch)
    assert converted.args[0].tolist() == [[1.5, 1.0]]
    assert "null among whole numbers" in converted.bad[0].error
    array = NumpyInput(dtype="float64").convert(batch).args[0]
    assert np.isnan(array[1]).all()


def test_a_list_column_keeps_its_shape():
    """Lists of lists of equal length are a tensor; nothing needs to be declared."""
    array = array_of(NumpyInput(), {"x": [[[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]]]})
    assert array.shape == (2, 3, 2)
    assert array.flags.writeable
    nulls = array_of(NumpyInput(), {"x": pa.array([[1.5, None], [None, 2.5]])})
    assert np.isnan(nulls[0, 1])


def test_arrows_own_tensors_are_taken():
    """A column of fixed-shape tensors has its shape in its type."""
    values = np.arange(12, dtype=np.int64).reshape(3, 2, 2)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    assert array_of(NumpyInput(dtype="int16"), {"x": column}).tolist() == values.tolist()


def test_rows_of_different_shapes_ask_for_a_declaration():
    """Which of them is wrong nobody knows; the line says how to tell."""
    with pytest.raises(DataError, match=r"row 0 has the shape \[2\] and row 1 \[3\]: declare shape=\[2\]"):
        NumpyInput().convert(pa.record_batch({"x": [[1, 2], [1, 2, 3]]}))


@pytest.mark.parametrize(
    ("dtype", "values", "bad"),
    [
        ("int8", [127, 128, -129], [1, 2]),
        ("float32", [1.0, 1e39, float("inf")], [1]),
        ("float16", [1.0, 70000.0], [1]),
    ],
)
def test_a_number_that_does_not_fit_costs_its_row(dtype, values, bad):
    """Nothing wraps around or becomes infinite silently."""
    converted = NumpyInput(dtype=dtype).convert(pa.record_batch({"x": values}))
    assert [row.index for row in converted.bad] == bad
    assert converted.args[0].dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("adapter", "columns", "told"),
    [
        (NumpyInput(), {"x": [1], "s": ["a"]}, "text and numbers"),
        (NumpyInput(), {"x": [b"bytes"]}, "takes numbers"),
        (NumpyInput(), {"x": [[1]], "y": [1]}, "must be the only column"),
        (NumpyInput(dtype="int64"), {"x": [1.5]}, "no int64"),
        (NumpyInput(dtype="float64"), {"s": ["a"]}, "text, which are no float64"),
    ],
)
def test_columns_that_make_no_array_are_refused_in_one_line(adapter, columns, told):
    """A whole column of another kind is no matter of rows."""
    with pytest.raises(DataError, match=told):
        adapter.convert(pa.record_batch(columns))


@pytest.mark.parametrize("options", [{"dtype": "str"}, {"dtype": "nosuch"}, {"shape": [0]}, {"shape": "ab"}])
def test_options_that_mean_nothing_are_refused(options):
    """At declaration."""
    with pytest.raises(UsageError):
        NumpyInput(**options)


def test_text_files_are_read_as_wide_numbers():
    """A dtype tells how CSV is read, so that a word among numbers costs its row; a single column may hold lists."""
    assert dict(NumpyInput(dtype="float32").types_for(["a", "b"])) == {"a": pa.float64(), "b": pa.float64()}
    assert dict(NumpyInput(dtype="int8").types_for(["a", "b"])) == {"a": pa.int64(), "b": pa.int64()}
    assert not NumpyInput(dtype="float32").types_for(["a"])
    assert not NumpyInput().types_for(["a", "b"])


def test_inline_rows_without_names_are_taken_by_position():
    """As DataframeInput takes them; deeper lists are one column."""
    table = NumpyInput(columns=["a", "b"]).table_from_text(b"[[1, 2], [3, 4]]")
    assert table.to_pydict() == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(DataError, match="not JSON"):
        NumpyInput().table_from_text(b"{oops")


def test_columns_of_doubles_alone_make_the_array_that_they_make_beside_others() -> None:
    """The short way for them gives the same values and the same memory, which is the function's own."""
    values = {"a": pa.array([1.5, float("nan")], from_pandas=False), "b": pa.array([float("-inf"), -0.0])}
    (short,) = NumpyInput().convert(pa.record_batch(values)).args
    (long,) = NumpyInput().convert(pa.record_batch({**values, "c": pa.array([0.0, None])})).args
    assert short.tobytes() == long[:, :2].copy().tobytes()
    assert (short.dtype, short.flags.c_contiguous, short.flags.writeable) == (long.dtype, True, True)
