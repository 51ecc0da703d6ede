"""This module tests what a DataFrame made of a record batch is, and that it is the function's own."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters.declared import declare
from bentobatch.adapters.frames import frame_of
from tests.conformance.adapter_suite import ipc_bytes

NOON = dt.datetime(2026, 1, 1, 12)
TEXT_DTYPE = pd.Series(["a"]).dtype  # str in pandas 3, object in pandas 2

# Arrow array of two values, the dtype of the frame's column, and the values there.
COLUMNS = {
    "int8": (pa.array([1, 2], pa.int8()), "int8", [1, 2]),
    "int64": (pa.array([1, 2**53 + 1]), "int64", [1, 2**53 + 1]),
    "uint64": (pa.array([1, 2**64 - 1], pa.uint64()), "uint64", [1, 2**64 - 1]),
    "int_null": (pa.array([2**53 + 1, None]), "Int64", [2**53 + 1, pd.NA]),
    "uint8_null": (pa.array([1, None], pa.uint8()), "UInt8", [1, pd.NA]),
    "bool": (pa.array([True, False]), "bool", [True, False]),
    "bool_null": (pa.array([True, None]), "boolean", [True, pd.NA]),
    "float16": (pa.array([1.5, 2], pa.float16()), "float16", [1.5, 2]),
    "float32": (pa.array([1.5, None], pa.float32()), "float32", [1.5, np.nan]),
    "float64": (pa.array([1.5, 2.5]), "float64", [1.5, 2.5]),
    "string": (pa.array(["a", "é"]), TEXT_DTYPE, ["a", "é"]),
    "large_string": (pa.array(["a", "b"], pa.large_string()), TEXT_DTYPE, ["a", "b"]),
    "string_view": (pa.array(["a", "b"], pa.string_view()), TEXT_DTYPE, ["a", "b"]),
    "binary": (pa.array([b"a", None]), "object", [b"a", None]),
    "dictionary": (pa.array(["b", "a"]).dictionary_encode(), "category", ["b", "a"]),
    "decimal": (pa.array([Decimal("1.10"), None]), "object", [Decimal("1.10"), None]),
    "timestamp_s": (pa.array([NOON, NOON], pa.timestamp("s")), "datetime64[s]", [pd.Timestamp(NOON)] * 2),
    "timestamp_ns": (pa.array([NOON, None], pa.timestamp("ns")), "datetime64[ns]", [pd.Timestamp(NOON), pd.NaT]),
    "far": (pa.array([dt.datetime(9999, 1, 1)] * 2, pa.timestamp("us")), "datetime64[us]", [dt.datetime(9999, 1, 1)] * 2),
    "zone": (
        pa.array([NOON, NOON], pa.timestamp("us", "Europe/Berlin")),
        "datetime64[us, Europe/Berlin]",
        [pd.Timestamp("2026-01-01T13:00", tz="Europe/Berlin")] * 2,
    ),
    "date": (pa.array([dt.date(2026, 1, 1), None]), "object", [dt.date(2026, 1, 1), None]),
    "time": (pa.array([dt.time(1), None]), "object", [dt.time(1), None]),
    "duration": (pa.array([dt.timedelta(1), None]), "timedelta64[us]", [pd.Timedelta(1, "D"), pd.NaT]),
    "struct": (pa.array([{"a": 1}, None]), "object", [{"a": 1}, None]),
    "null": (pa.nulls(2), "object", [None, None]),
    "runs": (
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([7, None])), "Int64", [7, pd.NA]
    ),
}  # fmt: skip


def one(array, dtype=None):
    """The frame's only column."""
    frame = frame_of(pa.record_batch([array], names=["x"]), [declare(dtype)] if dtype is not None else ())
    return frame["x"]


@pytest.mark.parametrize("case", COLUMNS)
def test_each_type_has_its_dtype(case):
    """The dtypes that the docstring promises, and exact values, whole and sliced."""
    array, dtype, values = COLUMNS[case]
    column = one(array)
    assert column.dtype == dtype
    assert all(a is b or a == b or (a != a and b != b) for a, b in zip(column, values, strict=True))
    pd.testing.assert_series_equal(one(array.slice(1)), column.iloc[1:].reset_index(drop=True), check_dtype=False)
    assert len(one(array.slice(0, 0))) == 0


def test_columns_and_rows_are_the_batchs():
    """Order of columns kept, names as they are, an index from 0."""
    names = ["z", "a.b", "Ä", "", "0"]
    batch = pa.record_batch([pa.array([1, 2]) for _ in names], names=names)
    frame = frame_of(batch.slice(1))
    assert list(frame.columns) == names
    assert frame.index.equals(pd.RangeIndex(1))


def test_a_batch_without_columns_keeps_its_rows():
    """A function that only counts rows is served."""
    batch = pa.record_batch({"x": [1, 2, 3]}).select([])
    assert len(frame_of(batch)) == batch.num_rows == 3


def test_integers_in_lists_stay_exact_beside_a_null():
    """pandas' default would make floats of them."""
    column = one(pa.array([[2**53 + 1, None]]))
    assert column[0].tolist() == [2**53 + 1, None]


def test_odd_dictionaries_are_categories_too():
    """Arrow allows null and repeated words in a dictionary; pandas does not."""
    words = pa.array(["a", None, "a"])
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.int8()), words)
    column = one(array)
    assert column.dtype == "category"
    assert [None if value != value else value for value in column] == ["a", None, "a", None]


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (pa.array(["b", "a"]), "category", pd.CategoricalDtype(["a", "b"])),
        (pa.array([2, 1]), "category", pd.CategoricalDtype([1, 2])),
        (pa.array(["b", "a"]).dictionary_encode(), "category", pd.CategoricalDtype(["b", "a"])),
        (pa.array(["b", "c"]), pd.CategoricalDtype(["c", "b"], ordered=True), pd.CategoricalDtype(["c", "b"], True)),
        (pa.array([1, 2]), "Int64", pd.Int64Dtype()),
        (pa.array([1.5, None]), "Float64", pd.Float64Dtype()),
        (pa.array([True]), "boolean", pd.BooleanDtype()),
        (pa.array(["a"]), "string", pd.StringDtype()),
        (pa.array(["a"]), "object", np.dtype(object)),
        (pa.array([1]), "int64[pyarrow]", pd.ArrowDtype(pa.int64())),
        (pa.array([1]), "int64", np.dtype("int64")),
    ],
)
def test_declared_dtypes_of_pandas_are_honoured(array, dtype, expected):
    """Where Arrow has no such type the frame's column is cast."""
    assert one(array, dtype).dtype == expected


@pytest.mark.parametrize("case", COLUMNS)
def test_a_cell_may_be_assigned_without_touching_the_batch(case):
    """The frame is the function's own memory: no 'assignment destination is read-only', no write into Arrow's."""
    array, _, _ = COLUMNS[case]
    for arrays, names in (([array], ["x"]), ([array, array, pa.array([1.0, 2.0])], ["x", "y", "z"])):
        batch = pa.record_batch(arrays, names=names)
        before = ipc_bytes(batch)
        frame = frame_of(batch)
        frame.iloc[0, 0] = frame.iloc[1, 0]
        assert ipc_bytes(batch) == before
        assert str(frame.iloc[0, 0]) == str(frame.iloc[1, 0])


CHANGES = {
    "new column": lambda df: df.__setitem__("new", 1),
    "iloc": lambda df: df.__setitem__("a", df["a"] * 2),
    "in place": lambda df: df.__imul__(2),
    "mask": lambda df: df.loc.__setitem__((df["a"] > 0, "b"), 0),
    "at": lambda df: df.at.__setitem__((0, "a"), 5),
    "fillna": lambda df: df.fillna(0, inplace=True),
    "insert": lambda df: df.insert(0, "q", 1),
    "pop": lambda df: df.pop("a"),
    "row": lambda df: df.loc.__setitem__(0, 7),
    "clip": lambda df: df.__setitem__("a", df["a"].clip(upper=0)),
    "mixed type": lambda df: df.loc.__setitem__((0, "a"), 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_users_do_to_their_frame_works(change):
    """The usual changes in place succeed and leave the batch alone."""
    batch = pa.record_batch([pa.array([1.0, 2.0]), pa.array([3.0, None]), pa.array([5.0, 6.0])], names=["a", "b", "c"])
    before = ipc_bytes(batch)
    CHANGES[change](frame_of(batch))
    assert ipc_bytes(batch) == before


def test_one_dtype_is_one_block():
    """Where all columns are doubles the model's matrix is a view of the frame, and column-major."""
    frame = frame_of(pa.record_batch([pa.array([1.0, 2.0]) for _ in range(3)], names=["a", "b", "c"]))
    assert np.shares_memory(frame.to_numpy(), frame["b"].to_numpy())
    assert frame.to_numpy().flags.f_contiguous


@given(
    st.lists(
        st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.floats(), st.none() | st.text("aé"))
    )
)
def test_frames_hold_every_value(rows):
    """Integers with nulls, NaN and text survive the conversion."""
    types = [pa.int64(), pa.float64(), pa.string()]
    batch = pa.record_batch(
        [pa.array([row[column] for row in rows], type=kind) for column, kind in enumerate(types)], names=["i", "f", "s"]
    )
    frame = frame_of(batch)
    assert [None if value is pd.NA else int(value) for value in frame["i"]] == [row[0] for row in rows]
    assert np.array_equal(frame["f"].to_numpy(), np.array([row[1] for row in rows], dtype=float), equal_nan=True)
    assert [None if pd.isna(value) else value for value in frame["s"]] == [row[2] for row in rows]


def test_the_cost_of_a_chunk_is_printed():
    """65,536 x 20 doubles: well under 10 ms on any machine of today (printed, not asserted: machines are shared)."""
    batch = pa.record_batch([pa.array(np.arange(65_536.0)) for _ in range(20)], names=[f"x{i}" for i in range(20)])
    best = min(_timed(lambda: frame_of(batch)) for _ in range(5))
    print(f"65,536 x 20 doubles to a DataFrame: {best * 1000:.2f} ms")
    assert frame_of(batch).shape == (65_536, 20)


def _timed(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


class _Unhashable(pa.ExtensionType):
    """As users write them: pyarrow gives such a class ``__eq__`` and no ``__hash__``."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "bentobatch.test.unhashable")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Any:
        return cls()


def test_a_column_of_a_users_own_type_may_be_the_first() -> None:
    """What is known of types is not looked up by them: some cannot be hashed."""
    column = pa.ExtensionArray.from_storage(_Unhashable(), pa.array([1.0, 2.0]))
    with pytest.raises(TypeError):
        hash(column.type)
    assert frame_of(pa.record_batch({"mine": column, "x": pa.array([3.0, 4.0])}))["x"].tolist() == [3.0, 4.0]


_FLOATS = {"b": [1.5, float("nan"), 0.0], "a": [float("inf"), 2.0, -0.0]}
_COUNTS = {"b": [1, 2, 0], "a": [100, 2, 7]}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.float64(), _FLOATS),
        (pa.float32(), _FLOATS),
        (pa.int64(), _COUNTS),
        (pa.uint8(), _COUNTS),
        (pa.int8(), _COUNTS),
    ],
    ids=str,
)
def test_a_frame_of_one_type_alone_is_what_it_would_be_beside_other_columns(
    kind: Any, values: dict[str, list[Any]]
) -> None:
    """The short way for it gives the same values, names, index and memory, all of the frame's own."""

    def matrix() -> Any:
        return pa.record_batch({name: pa.array(column, kind, from_pandas=False) for name, column in values.items()})

    short = frame_of(matrix())
    long = frame_of(pa.record_batch({**dict(zip("ba", matrix().columns, strict=True)), "c": ["x", "y", "z"]}))[
        ["b", "a"]
    ].copy()
    pd.testing.assert_frame_equal(short, long, check_exact=True)
    assert short.columns.dtype == long.columns.dtype
    assert short.to_numpy().strides == long.to_numpy().strides
    short.columns.name = "mine"
    short.loc[0, "a"] = 7
    again = frame_of(matrix())
    assert (again.columns.name, again.loc[0, "a"]) == (None, values["a"][0])
