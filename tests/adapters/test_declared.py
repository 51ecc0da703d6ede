"""This module tests the spellings of declared dtypes."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bentobatch.adapters.declared import declare, declare_all
from bentobatch.errors import UsageError


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("float", pa.float64()),
        (float, pa.float64()),
        ("float64", pa.float64()),
        ("double", pa.float64()),
        ("f4", pa.float32()),
        ("<f4", pa.float32()),
        (np.float32, pa.float32()),
        (np.dtype("f2"), pa.float16()),
        (np.dtype(">i8"), pa.int64()),
        ("int", pa.int64()),
        (int, pa.int64()),
        ("uint8", pa.uint8()),
        ("bool", pa.bool_()),
        (bool, pa.bool_()),
        (np.bool_, pa.bool_()),
        ("str", pa.string()),
        (str, pa.string()),
        ("U10", pa.string()),
        (np.dtype("U3"), pa.string()),
        (bytes, pa.binary()),
        ("S4", pa.binary()),
        ("datetime64[ns]", pa.timestamp("ns")),
        ("M8[us]", pa.timestamp("us")),
        ("datetime64[D]", pa.date32()),
        ("datetime64[ns, UTC]", pa.timestamp("ns", "UTC")),
        ("datetime64[us, Europe/Berlin]", pa.timestamp("us", "Europe/Berlin")),
        (pd.DatetimeTZDtype("us", "UTC"), pa.timestamp("us", "UTC")),
        (np.dtype("M8[s]"), pa.timestamp("s")),
        ("timedelta64[ms]", pa.duration("ms")),
        (datetime.datetime, pa.timestamp("us")),
        (datetime.date, pa.date32()),
        (datetime.time, pa.time64("us")),
        (datetime.timedelta, pa.duration("us")),
        ("Int64", pa.int64()),
        (pd.Int64Dtype(), pa.int64()),
        ("UInt8", pa.uint8()),
        ("Float32", pa.float32()),
        ("boolean", pa.bool_()),
        ("string", pa.string()),
        (pd.StringDtype(), pa.string()),
        ("int64[pyarrow]", pa.int64()),
        ("string[pyarrow]", pa.string()),
        (pd.ArrowDtype(pa.float64()), pa.float64()),
        (pa.float32(), pa.float32()),
        (pa.float16(), pa.float16()),
        (pa.large_string(), pa.large_string()),
        ("large_string", pa.large_string()),
        (pa.string(), pa.string()),
        (pa.date32(), pa.date32()),
        ("date32", pa.date32()),
        ("date32[day]", pa.date32()),
        ("time64[us]", pa.time64("us")),
        ("timestamp[us, tz=UTC]", pa.timestamp("us", "UTC")),
        (pa.timestamp("ns", "+02:00"), pa.timestamp("ns", "+02:00")),
        ("decimal128(10, 2)", pa.decimal128(10, 2)),
        (pa.decimal256(50, 3), pa.decimal256(50, 3)),
        (pa.list_(pa.float32()), pa.list_(pa.float32())),
        ("list<double>", pa.list_(pa.float64())),
        (pa.large_list(pa.list_(pa.int8())), pa.large_list(pa.list_(pa.int8()))),
        (pa.binary(4), pa.binary(4)),
        ("category", None),
        (pd.CategoricalDtype(), None),
        (pa.dictionary(pa.int8(), pa.string()), None),
        (pd.CategoricalDtype(["a", "b"]), pa.string()),
        ({"categories": [3, 1], "ordered": True}, pa.int64()),
        ("object", None),
        (object, None),
    ],
)
def test_every_spelling_means_one_type_and_survives_json(dtype, kind):
    """The spelling goes to the bundle's manifest and declares the same again."""
    declared = declare(dtype)
    assert declared.arrow == kind
    again = declare(json.loads(json.dumps(declared.spelling)))
    assert again == declared


@pytest.mark.parametrize(
    "dtype",
    ["no_such", "complex128", "datetime64", "m8", "V3", "longdouble", "decimal128(99, 2)", "list<no_such>", "", "f99",
     "i4,f8", "int64 ", 5, None, 1.5, list, pd.PeriodDtype("M"), "timestamp[h, tz=UTC]", pd.CategoricalDtype([("a", 1)]),
     {"categories": [1, "a"]}, "struct<a: int64>"],
)  # fmt: skip
def test_an_unknown_dtype_is_a_usage_error(dtype):
    """At declaration, in one line."""
    with pytest.raises(UsageError) as caught:
        declare(dtype)
    assert "\n" not in str(caught.value)


def test_a_unit_is_asked_for():
    """numpy's unitless times would be a guess."""
    with pytest.raises(UsageError, match=r"datetime64\[us\]"):
        declare("datetime64")


def test_numpys_float_is_not_arrows():
    """'float' is 64 bits to numpy and Python and 32 to Arrow; the config must not confuse them."""
    assert declare("float").arrow == pa.float64()
    assert declare(declare(pa.float32()).spelling).arrow == pa.float32()


def test_a_dict_declares_by_name_a_list_by_position_a_dtype_for_all():
    """The three forms that BentoML 0.13 takes."""
    by_name, by_position, every = declare_all({"b": "int"}, ["a", "b"])
    assert ({name: each.arrow for name, each in by_name.items()}, by_position, every) == ({"b": pa.int64()}, None, None)
    by_name, by_position, every = declare_all(["int", "str"], ["a", "b"])
    assert [(name, each.arrow) for name, each in by_name.items()] == [("a", pa.int64()), ("b", pa.string())]
    by_name, by_position, every = declare_all(["int", "str"], None)
    assert not by_name
    assert [each.arrow for each in by_position] == [pa.int64(), pa.string()]
    by_name, by_position, every = declare_all("int", ["a", "b"])
    assert list(by_name) == ["a", "b"]
    assert every.arrow == pa.int64()
    assert declare_all({"categories": ["x"]}, None)[2].categories == ("x",)
    assert declare_all(None, ["a"]) == ({}, None, None)


def test_dtypes_that_do_not_match_the_columns_are_refused():
    """A wrong length or an unknown name is found at declaration."""
    with pytest.raises(UsageError, match="lists 1 types for 2 columns"):
        declare_all(["int"], ["a", "b"])
    with pytest.raises(UsageError, match="'c', which is not in columns"):
        declare_all({"c": "int"}, ["a", "b"])
