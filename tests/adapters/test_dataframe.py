"""This module tests DataframeInput: its declarations, its frames and its inline tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bentobatch.adapters import DataframeInput
from bentobatch.errors import DataError, UsageError
from tests.conformance.adapter_suite import InputAdapterSuite

IRIS = ["sepal length", "sepal width", "petal length", "petal width"]


class TestDataframeInputConformance(InputAdapterSuite):
    """The rules of every input adapter, with declared columns and dtypes."""

    def make(self):
        return DataframeInput(
            columns=["x", "n", "c"], dtype={"x": "float32", "n": "Int64", "c": pd.CategoricalDtype(["a", "b"])}
        )

    def good_batch(self):
        return pa.record_batch(
            [pa.array([0.5, 1.5, None, 3.5, 4.5]), pa.array([1, None, 3, 4, 5]), pa.array(["a", "b", None, "a", "b"])],
            names=["x", "n", "c"],
        )

    def bad_batch(self):
        columns = [pa.array(["0.5", "x", "1.5", "2.5"]), pa.array([1, 2, 3, 4]), pa.array(["a", "a", "z", "b"])]
        return pa.record_batch(columns, names=["x", "n", "c"]), [1, 2]

    def inline(self):
        return b'[{"x": 1, "n": 2, "c": "a"}, {"n": 3, "x": 2.5, "c": "b"}]', 2

    def values(self, converted):
        (frame,) = converted.args
        assert list(frame.dtypes.astype(str)) == ["float32", "Int64", "category"]
        return json.loads(frame.to_json(orient="values"))


def test_the_old_config_of_bentoml_is_accepted():
    """Bundles of 0.13 hold orient, typ and dtype, None included."""
    adapter = DataframeInput(orient=None, typ="frame", dtype=None)
    assert adapter.config() == {"orient": None, "typ": "frame", "columns": None, "dtype": None}
    adapter = DataframeInput(orient="records", typ=None, dtype={"a": "int", "b": "float"})
    assert adapter.types == {"a": pa.int64(), "b": pa.float64()}
    adapter = DataframeInput(orient="values", typ="frame", dtype=["int", "str"])
    assert DataframeInput(**adapter.config()).config() == adapter.config()
    assert adapter.types_for(["p", "q"]) == {"p": pa.int64(), "q": pa.string()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"typ": "series"}, r"typ='series'.*leave typ out"),
        ({"typ": "frames"}, "not supported"),
        ({"orient": "table"}, "orient 'table' is not known"),
        ({"columns": ["a", "b", "a"]}, "names 'a' twice"),
        ({"columns": "ab"}, "list of column names"),
        ({"columns": [1]}, "list of column names"),
        ({"columns": []}, "empty list"),
        ({"columns": ["a"], "dtype": ["int", "int"]}, "lists 2 types for 1 columns"),
        ({"columns": ["a"], "dtype": {"b": "int"}}, "'b', which is not in columns"),
        ({"dtype": "complex128"}, "no Arrow form"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_at_once(options, message):
    """Before anything is packed or saved."""
    with pytest.raises(UsageError, match=message):
        DataframeInput(**options)


def test_it_is_for_batches_only():
    """A DataFrame of one row is a batch."""
    assert DataframeInput.batch_only
    assert not DataframeInput.lines


def test_declared_types_are_told():
    """By name where they are; for any names where one dtype or a list was declared."""
    adapter = DataframeInput(columns=["a", "b"], dtype="float32")
    assert adapter.columns == ("a", "b")
    assert adapter.types == {"a": pa.float32(), "b": pa.float32()}
    every = DataframeInput(dtype="str")
    assert every.types == {}
    assert every.types_for(["p", "q"]) == {"p": pa.string(), "q": pa.string()}
    assert DataframeInput(dtype={"a": "int"}).types_for(["b", "a"]) == {"a": pa.int64()}
    assert DataframeInput(dtype={"a": "category"}).types == {}
    with pytest.raises(DataError, match="lists 1 types, the input has 2"):
        DataframeInput(dtype=["int"]).types_for(["a", "b"])


def test_one_text_does_not_change_anothers_integers():
    """Types are declared or the column's own, never the merged batch's (D6)."""
    batch = pa.record_batch([pa.array([1, 2]), pa.array(["007", "NA"])], names=["n", "s"])
    (frame,) = DataframeInput().convert(batch).args
    assert frame["n"].dtype == "int64"
    assert frame["s"].tolist() == ["007", "NA"]


def test_bad_rows_are_told_and_left_out():
    """The message names the column and the value; the other rows are scored."""
    batch = pa.record_batch([pa.array(["1", "x", "3", None]), pa.array(["a", "b", "c", "d"])], names=["n", "s"])
    converted = DataframeInput(dtype={"n": "int64"}).convert(batch)
    (frame,) = converted.args
    assert frame["s"].tolist() == ["a", "c", "d"]
    assert frame["n"].dtype == "Int64"
    (bad,) = converted.bad
    assert (bad.index, bad.stage, bad.error) == (1, "convert", "column 'n': 'x' is no int64")


def test_declared_categories_hold_in_every_chunk():
    """Codes mean the same everywhere, whatever a chunk happens to hold, encoded or not."""
    adapter = DataframeInput(dtype={"c": pd.CategoricalDtype(["z", "a"])})
    for column in (pa.array(["a", None]), pa.array(["a", None]).dictionary_encode()):
        (frame,) = adapter.convert(pa.record_batch([column], names=["c"])).args
        assert frame["c"].cat.categories.tolist() == ["z", "a"]
        assert frame["c"].cat.codes.tolist() == [1, -1]
        strange = adapter.convert(pa.record_batch([pa.concat_arrays([column, column])], names=["c"]))
        assert not strange.bad
    converted = adapter.convert(pa.record_batch([pa.array(["q", "z"])], names=["c"]))
    assert [(row.index, row.error) for row in converted.bad] == [
        (0, "column 'c': 'q' is none of the declared categories")
    ]


def test_a_batch_without_columns_is_converted():
    """Nothing to settle, the rows are there."""
    assert DataframeInput().convert(pa.record_batch({"x": [1, 2]}).select([])).rows == 2


@pytest.mark.parametrize(
    "text",
    [
        "[[5.1, 3.5, 1.4, 0.2]]",
        "[5.1, 3.5, 1.4, 0.2]",
        '\ufeff{"petal width": 0.2, "sepal length": 5.1, "sepal width": 3.5, "petal length": 1.4, "id": 7}',
        '[{"petal width": 0.2, "sepal length": 5.1, "sepal width": 3.5, "petal length": 1.4}]',
        '{"0": {"petal width": 0.2, "sepal length": 5.1, "sepal width": 3.5, "petal length": 1.4}}',
    ],
)
def test_an_inline_row_is_the_features_in_order(text):
    """In each of its forms; the caller's features or the declared ones."""
    expected = dict(zip(IRIS, [5.1, 3.5, 1.4, 0.2], strict=True))
    assert DataframeInput().table_from_text(text.encode(), columns=IRIS).to_pylist() == [expected]
    assert DataframeInput(columns=IRIS).table_from_text(text.encode()).to_pylist() == [expected]


def test_the_settled_features_go_before_the_declared_ones():
    """``--features`` was chosen by hand."""
    table = DataframeInput(columns=["a", "b"]).table_from_text(b"[[1, 2]]", columns=["p", "q"])
    assert table.to_pylist() == [{"p": 1, "q": 2}]


def test_an_inline_table_has_the_declared_types():
    """Also without rows."""
    adapter = DataframeInput(columns=["a", "b"], dtype={"a": "float32", "b": "str"})
    schema = pa.schema({"a": pa.float32(), "b": pa.string()})
    assert adapter.table_from_text(b"[[1, 7]]").schema == schema
    empty = adapter.table_from_text(b"[]")
    assert empty.schema == schema
    assert empty.num_rows == 0
    assert DataframeInput().table_from_text(b"[]").num_rows == 0
    assert DataframeInput(dtype=["int", "str"]).table_from_text(b"[[1, 7]]").to_pylist() == [{"0": 1, "1": "7"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{oops", "not JSON"),
        (b"", "not JSON"),
        (b"a,b\n1,2\n", "not JSON: .*CSV and other formats are read from files"),
        (b"[[NaN, 1]]", "not JSON"),
        (b"[[1, Infinity]]", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 20_000 + b"]" * 20_000, "depth limit"),
        (b"[[18446744073709551616, 1]]", "column 'a', row 0: the integer 18446744073709551616 does not fit"),
        (b"[[1, 2], [3]]", "row 1 has 1 value, the model takes 2: a, b"),
        (b'[{"a": 1}]', "missing column b"),
        (b'[[1, 2], ["x", 2]]', "column 'a' holds values of integers and text"),
        (b"[[1, " + b"[" * 500 + b"]" * 500 + b"]]", "deep"),
        (b"5", "a number, not a table"),
    ],
)
def test_a_text_that_is_no_table_is_one_line(text, message):
    """A DataError, never a traceback of the reader."""
    with pytest.raises(DataError, match=message) as caught:
        DataframeInput(columns=["a", "b"]).table_from_text(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_integers_of_inline_rows_are_exact():
    """Up to 64 bits (nasty-inputs: int_53)."""
    table = DataframeInput().table_from_text(b"[[9007199254740993, 18446744073709551615]]")
    assert table.to_pylist() == [{"0": 9007199254740993, "1": 18446744073709551615}]


def test_numpys_int_declared_for_all_columns():
    """One dtype for all, without columns, in whatever spelling."""
    (frame,) = DataframeInput(dtype=np.float32).convert(pa.record_batch({"a": [1], "b": [2]})).args
    assert set(frame.dtypes) == {np.dtype("float32")}
