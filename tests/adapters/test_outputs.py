"""This module tests the output adapters: columns of whatever was returned, and a schema that holds."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters import DataframeOutput, DefaultOutput, JsonOutput
from bentobatch.adapters.json_text import JSON_ENCODING
from bentobatch.errors import ModelError, UsageError
from tests.conformance.adapter_suite import OutputAdapterSuite


class TestDefaultOutputOfArrays(OutputAdapterSuite):
    """A matrix of probabilities."""

    def make(self):
        return DefaultOutput()

    def result(self, start, stop):
        return np.arange(12.0).reshape(6, 2)[start:stop]


class TestDefaultOutputOfMixedValues(OutputAdapterSuite):
    """Values that no one type holds, while some chunks of them have one."""

    def make(self):
        return DefaultOutput()

    def result(self, start, stop):
        return [{"a": 1}, 1, 2, 3.5, None, "text"][start:stop]


class TestDefaultOutputOfTypeless(OutputAdapterSuite):
    """Lists whose later chunks are all None, ints among floats, empty lists."""

    def make(self):
        return DefaultOutput()

    def result(self, start, stop):
        return [[1.5], [2], [], None, None, [None]][start:stop]


class TestDataframeOutput(OutputAdapterSuite):
    """Frames with every usual dtype."""

    def make(self):
        return DataframeOutput(output_orient="split")

    def result(self, start, stop):
        frame = pd.DataFrame({
            "i": [1, 2, 3, 4, 5, 6],
            "n": pd.array([1, None, 3, None, None, 6], dtype="Int64"),
            "f": [0.5, 1, 2, np.inf, -1, 0],
            "s": ["a", None, "c", "d", None, None],
            "c": pd.Categorical(["x", "y", "x", None, "z", "y"]),
            "t": pd.date_range("2026-01-01", periods=6, tz="Europe/Berlin").as_unit("ns"),
            "l": [[1], [], None, None, [2], [3]],
        })  # fmt: skip
        return frame.iloc[start:stop]


class TestJsonOutput(OutputAdapterSuite):
    """Objects with keys that come and go, and text beyond ASCII."""

    def make(self):
        return JsonOutput(ensure_ascii=True)

    def result(self, start, stop):
        return [{"é": 1}, {"b": "x"}, None, {}, {"é": None}, {"é": 2, "b": "é"}][start:stop]


COLUMNS = st.lists(
    st.one_of(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        st.none() | st.lists(st.booleans()),
    )
)


@given(COLUMNS)
def test_values_come_back_or_as_json_text(values):
    """Whatever a list holds: the values again, or JSON texts of them in a field that says so."""
    batch = DefaultOutput().columns(values)
    assert batch.num_rows == len(values)
    made = batch.column(0).to_pylist()
    if batch.schema.field(0).metadata == JSON_ENCODING:
        assert [None if text is None else json.loads(text) for text in made] == values
    else:
        assert made == values


@given(st.lists(st.floats(allow_nan=True)), st.sampled_from([np.array, list, pd.Series, pa.array, tuple]))
def test_floats_are_the_same_in_every_container(values, container):
    """Bit for bit, NaN included; no container makes a null of it."""
    result = container(np.array(values)) if container is not list else values
    batch = DefaultOutput().columns(result, schema=pa.schema({"prediction": pa.float64()}))
    assert batch.column(0).null_count == 0
    assert batch.column(0).to_numpy().tobytes() == np.array(values, dtype=float).tobytes()


@pytest.mark.parametrize("first", [[1], "frame", np.zeros((1, 2))])
@pytest.mark.parametrize("second", [["a"], pd.DataFrame({"x": [1.5]}), np.zeros(1), {"y": [1]}])
def test_the_adapter_remembers_nothing(first, second):
    """A list first and a DataFrame then must not give the column names (D13)."""
    adapter = DefaultOutput()
    adapter.columns(pd.DataFrame({"q": [1]}) if isinstance(first, str) else first)
    assert adapter.columns(second).equals(DefaultOutput().columns(second))


@pytest.mark.parametrize(
    ("result", "schema", "rows"),
    [
        (np.array([1, 2]), {"p": pa.int64()}, [{"p": 1}, {"p": 2}]),
        (np.array([[1.0, 2.0]]), {"p_0": pa.float64(), "p_1": pa.float64()}, [{"p_0": 1.0, "p_1": 2.0}]),
        (np.array(["a", "b"]), {"p": pa.string()}, [{"p": "a"}, {"p": "b"}]),
        (np.array(["a", None], object), {"p": pa.string()}, [{"p": "a"}, {"p": None}]),
        (np.array([["a", 1]], object), {"p_0": pa.string(), "p_1": pa.int64()}, [{"p_0": "a", "p_1": 1}]),
        (np.array([[1], None], object), {"p": pa.list_(pa.int64())}, [{"p": [1]}, {"p": None}]),
        (np.array([True]), {"p": pa.bool_()}, [{"p": True}]),
        (np.zeros((1, 1, 2)), {"p": pa.list_(pa.list_(pa.float64()))}, [{"p": [[0.0, 0.0]]}]),
        ([np.array([1.0, 2.0])], {"p": pa.list_(pa.float64())}, [{"p": [1.0, 2.0]}]),
        (scipy.sparse.csr_matrix([[0, 1]]), {"p_0": pa.int64(), "p_1": pa.int64()}, [{"p_0": 0, "p_1": 1}]),
        (pd.Series([3, 1], index=[1, 0]), {"p": pa.int64()}, [{"p": 3}, {"p": 1}]),
        (pa.chunked_array([[1], [2]]), {"p": pa.int64()}, [{"p": 1}, {"p": 2}]),
        (pa.table({"q": pa.chunked_array([[1], [2]])}), {"q": pa.int64()}, [{"q": 1}, {"q": 2}]),
        ({"a": [1], "b": np.array([0.5])}, {"a": pa.int64(), "b": pa.float64()}, [{"a": 1, "b": 0.5}]),
        ({"a": np.zeros((1, 2))}, {"a": pa.list_(pa.float64())}, [{"a": [0.0, 0.0]}]),
        ((n for n in (1, 2.5)), {"p": pa.float64()}, [{"p": 1.0}, {"p": 2.5}]),
        (0.5, {"p": pa.float64()}, [{"p": 0.5}]),
        ([None, None], {"p": pa.null()}, [{"p": None}, {"p": None}]),
        ([Decimal("1.1")], {"p": pa.decimal128(38, 1)}, [{"p": Decimal("1.1")}]),
        ([{"a": [1]}], {"p": pa.struct({"a": pa.list_(pa.int64())})}, [{"p": {"a": [1]}}]),
        ([], {"p": pa.null()}, []),
    ],
)
def test_each_result_has_its_columns(result, schema, rows):
    """Names, types and values of the docstring's rules."""
    batch = DefaultOutput().columns(result, name="p")
    assert batch.schema.equals(pa.schema(schema))
    assert batch.to_pylist() == rows


def test_mixed_values_are_json_texts():
    """A field that says so; null stays null, NaN has no JSON."""
    batch = DefaultOutput().columns([1, "a", {"x": [None, math.nan]}, None, 2**70])
    assert batch.schema.field(0).type == pa.string()
    assert batch.schema.field(0).metadata == JSON_ENCODING
    assert batch.column(0).to_pylist() == ["1", '"a"', '{"x":[null,null]}', None, str(2**70)]
    assert DefaultOutput().columns([1, "é"]).column(0).to_pylist() == ["1", '"é"']
    assert JsonOutput(ensure_ascii=True).columns([1, "é"]).column(0).to_pylist() == ["1", '"\\u00e9"']


def test_a_reused_buffer_does_not_change_earlier_results():
    """The function may write each result into the same array."""
    buffer = np.zeros((2, 2))
    first = DefaultOutput().columns(buffer)
    column = DefaultOutput().columns(buffer[:, 0])
    frame = DefaultOutput().columns({"a": buffer[:, 1]})
    buffer += 1
    for batch in (first, column, frame):
        assert all(value == 0 for each in batch.columns for value in each.to_pylist())


SCHEMA = pa.schema({"p": pa.int64()})


@pytest.mark.parametrize(
    ("result", "kind", "values"),
    [
        ([1.0, 2.0], pa.int64(), [1, 2]),
        ([1, None], pa.float64(), [1.0, None]),
        (np.array([1, 2], "i1"), pa.float32(), [1.0, 2.0]),
        ([None, None], pa.struct({"a": pa.int64()}), [None, None]),
        ([None], pa.dictionary(pa.int8(), pa.string()), [None]),
        (["a"], pa.dictionary(pa.int8(), pa.string()), ["a"]),
        (["a"], pa.large_string(), ["a"]),
        ([[], [1]], pa.list_(pa.float64()), [[], [1.0]]),
        (
            [{"a": 1}, {}],
            pa.struct({"a": pa.float64(), "b": pa.string()}),
            [{"a": 1.0, "b": None}, {"a": None, "b": None}],
        ),
        ([{"x": 1}, None, {}], pa.map_(pa.string(), pa.float64()), [[("x", 1.0)], None, []]),
        ([Decimal("1.5")], pa.decimal128(10, 3), [Decimal("1.500")]),
        (pd.Series([1, 2], dtype="category"), pa.int64(), [1, 2]),
    ],
)
def test_values_are_cast_to_the_schema_exactly(result, kind, values):
    """The types found at planning, or declared, hold for every chunk."""
    schema = pa.schema([pa.field("p", kind, metadata={b"k": b"v"})], metadata={b"m": b"n"})
    batch = DefaultOutput().columns(result, name="p", schema=schema)
    assert batch.schema.equals(schema, check_metadata=True)
    assert batch.column(0).to_pylist() == values


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        ([1, 1.5], pa.int64(), r"column 'p', row 1: 1.5 is no int64; declare output_schema"),
        ([1, math.nan], pa.int64(), r"row 1: nan is no int64"),
        ([None, "x"], pa.int64(), r"row 1: 'x' does not fit, string is not int64"),
        ([1], pa.string(), r"row 0: 1 does not fit, int64 is not string"),
        ([1, "x"], pa.int64(), r"values of integers and text, expected int64; declare output_schema"),
        ([{"a": 1, "c": 2}], pa.struct({"a": pa.int64()}), r"unknown key 'c' \(known: a\)"),
        ([[1.0], [2.5]], pa.list_(pa.int64()), r"row 1: 2.5 is no int64"),
        ([dt.datetime(2026, 1, 1)], pa.timestamp("us", "UTC"), r"time zone"),
        ([1e300], pa.float32(), r"row 0: 1e\+300 is no float"),
        ([{"x": "y"}], pa.map_(pa.string(), pa.int64()), r"column 'p'.*expected map"),
        ([5], pa.map_(pa.string(), pa.int64()), r"row 0: 5 does not fit, int64 is not map"),
        ([{1, 2}], pa.int64(), r"a value of type set has no Arrow form"),
        (np.array([1j]), pa.int64(), r"complex128 has no Arrow form"),
        (["\ud800"], pa.string(), r"surrogate"),
    ],
)
def test_a_value_that_does_not_fit_the_schema_is_a_model_error(result, kind, message):
    """It names the column, the value and the cure, in one line."""
    with pytest.raises(ModelError, match=message) as caught:
        DefaultOutput().columns(result, name="p", schema=pa.schema({"p": kind}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (pd.DataFrame({"a": [1]}), "columns a, expected a, b as settled"),
        (pd.DataFrame({"a": [1], "c": [2]}), "columns a, c, expected a, b"),
        (np.zeros((1, 3)), "columns prediction_0, prediction_1, prediction_2, expected a, b"),
        ([1], "columns prediction, expected a, b"),
    ],
)
def test_other_columns_than_the_schemas_are_a_model_error(result, message):
    """Both lists are named; a later chunk of another shape is not squeezed in."""
    with pytest.raises(ModelError, match=message):
        DefaultOutput().columns(result, schema=pa.schema({"a": pa.int64(), "b": pa.int64()}))


def test_tables_are_matched_to_the_schema_by_name():
    """Another order of a frame's columns is no other result."""
    schema = pa.schema({"a": pa.int64(), "b": pa.int64()})
    batch = DefaultOutput().columns(pd.DataFrame({"b": [2], "a": [1]}), schema=schema)
    assert batch.to_pylist() == [{"a": 1, "b": 2}]


def test_one_unnamed_column_takes_the_name_of_a_declared_one():
    """``output_schema`` of one field names a plain result; a frame's own name must match."""
    schema = pa.schema({"score": pa.float64()})
    assert DefaultOutput().columns([1], schema=schema).to_pylist() == [{"score": 1.0}]
    with pytest.raises(ModelError, match="columns x, expected score"):
        DefaultOutput().columns({"x": [1]}, schema=schema)


def test_a_json_field_takes_any_value():
    """Once a column is JSON texts, chunks of one type are so too."""
    schema = pa.schema([pa.field("p", pa.string(), metadata=JSON_ENCODING)])
    for result, texts in (
        ([1, None, math.nan], ["1", None, None]),
        (np.array([1.5, np.nan]), ["1.5", None]),
        (np.array([[1, 2]])[:, None, :], ["[[1,2]]"]),
        (pd.Series(["é", None]), ['"é"', None]),
        (pa.array([{"a": 1}]), ['{"a":1}']),
        (np.array(["2026-01-01"], "M8[ns]"), ['"2026-01-01T00:00:00.000000000"']),
        ([{}], ["{}"]),
    ):
        assert DefaultOutput().columns(result, name="p", schema=schema).column(0).to_pylist() == texts
    for result, message in (([1, {2}], "row 1: a value of type set"), (["\ud800"], "surrogate")):
        with pytest.raises(ModelError, match=message):
            DefaultOutput().columns(result, name="p", schema=schema)


def test_a_field_without_nulls_holds_none():
    """``output_schema`` may say so."""
    schema = pa.schema([pa.field("p", pa.int64(), nullable=False)])
    assert DefaultOutput().columns([1], name="p", schema=schema).num_rows == 1
    with pytest.raises(ModelError, match="column 'p' holds nulls"):
        DefaultOutput().columns([1, None], name="p", schema=schema)


@pytest.mark.parametrize("result", [[1], np.zeros(2), np.zeros((2, 2)), pa.array([1])])
def test_a_dataframe_output_refuses_what_is_no_frame(result):
    """The api declared frames."""
    with pytest.raises(ModelError, match="DataframeOutput takes a DataFrame"):
        DataframeOutput().columns(result)


@pytest.mark.parametrize("result", [pd.DataFrame({"a": [1]}), pa.table({"a": [1]}), {"a": [1]}, pd.Series([1])])
def test_a_dataframe_output_takes_frames(result):
    """A Series is a frame of one column, as in BentoML 0.13."""
    assert DataframeOutput().columns(result).equals(DefaultOutput().columns(result))


@pytest.mark.parametrize("result", [pd.DataFrame({"a": [1]}), pa.table({"a": [1]}), {"a": [1]}])
def test_a_json_output_refuses_frames(result):
    """The api declared one JSON value for each row."""
    with pytest.raises(ModelError, match="JsonOutput takes a list"):
        JsonOutput().columns(result)


def test_options_are_checked_and_told():
    """They go to the bundle's manifest."""
    assert DefaultOutput().config() == {}
    assert DataframeOutput().config() == {"output_orient": "records"}
    assert JsonOutput().config() == {"ensure_ascii": False}
    with pytest.raises(UsageError, match="output_orient 'rows' is not known"):
        DataframeOutput("rows")


@pytest.mark.parametrize("result", ["text", None, {"a": 1}, {1}])
@pytest.mark.parametrize("adapter", [DefaultOutput(), DataframeOutput(), JsonOutput()])
def test_what_is_no_collection_is_a_model_error(adapter, result):
    """Whatever the adapter."""
    with pytest.raises(ModelError, match="expected one result for each row"):
        adapter.columns(result)


@pytest.mark.parametrize("declared", [None, pa.int64(), pa.float64()])
@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (np.array([1, -2]), pa.int64()),
        (np.array([0.5, -0.0, 1e300, math.nan]), pa.float64()),
        (np.array([True, False]), pa.bool_()),
        (np.array([1, 2], dtype=np.uint8), pa.uint8()),
        (np.array([0.5], dtype=np.float32), None),
        (np.array([[1], [2]]), None),
        (np.ma.array([1, 2], mask=[True, False]), None),
        (np.array(["a"]), None),
        ([1, 2], None),
    ],
)
def test_numbers_are_those_of_the_column(result, kind, declared):
    """A server writes them without making the column: the same values of the same types. They are not told where the
    column is of another type than the array, or no array of numbers is there."""
    schema = None if declared is None else pa.schema([("y", declared)])
    found = DefaultOutput().numbers(result, schema=schema)
    if kind is None or declared not in (None, kind):
        assert found is None
        return
    expected = DefaultOutput().columns(result, schema=schema).column(0).to_pylist()
    assert [(type(value), repr(value)) for value in found] == [(type(value), repr(value)) for value in expected]


def test_numbers_are_refused_or_left_alone_where_the_column_is():
    """An adapter that takes frames only takes no numbers, and one that makes its own columns is asked for these."""

    class Doubled(DefaultOutput):
        def columns(self, result, **options):
            return super().columns(2 * result, **options)

    assert Doubled().numbers(np.array([1])) is None
    with pytest.raises(ModelError, match="DataframeOutput takes a DataFrame"):
        DataframeOutput().numbers(np.array([1]))
