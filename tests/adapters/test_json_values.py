"""This module tests JsonInput and StringInput: lines, typed rows and what is wrong with a row."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters import LINE_COLUMN, JsonInput, StringInput
from bentobatch.errors import DataError
from tests.conformance.adapter_suite import InputAdapterSuite


def lines(*texts, kind=None):
    """A batch in lines mode."""
    return pa.record_batch([pa.array(texts, kind or pa.large_binary())], names=[LINE_COLUMN])


class TestJsonLinesConformance(InputAdapterSuite):
    """JsonInput over raw lines."""

    def make(self):
        return JsonInput(http_input_example=[1])

    def good_batch(self):
        return lines(b'{"a": 1}', b"[1, 2.5]", b"null", b'"text"', b"18446744073709551616")

    def bad_batch(self):
        return lines(b"1", b"{oops", b'"\xff"', b"2", None, b"NaN", b""), [1, 2, 4, 5, 6]

    def inline(self):
        return b'{"a": [1, 2]}', 1

    def values(self, converted):
        return converted.args[0]


class TestJsonRowsConformance(TestJsonLinesConformance):
    """JsonInput over typed columns."""

    def good_batch(self):
        return pa.record_batch([pa.array([1, None, 3, 4]), pa.array(["a", "b", None, "d"])], names=["n", "s"])

    def bad_batch(self):
        return None


class TestStringLinesConformance(InputAdapterSuite):
    """StringInput over raw lines."""

    def make(self):
        return StringInput()

    def good_batch(self):
        return lines(b"a", "é".encode(), b"", b" x ")

    def bad_batch(self):
        return lines(b"a", b"\xff", None, b"b"), [1, 2]

    def inline(self):
        return "grün".encode(), 1

    def values(self, converted):
        return converted.args[0]


class TestStringColumnConformance(TestStringLinesConformance):
    """StringInput over a column of text."""

    def good_batch(self):
        return pa.record_batch([pa.array(["a", None, "", "d"])], names=["text"])

    def bad_batch(self):
        return None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5), st.integers(0, 5))
def test_each_line_is_parsed_exactly(values, start):
    """Long integers in one line change nothing in the others, sliced or not."""
    batch = lines(*[json.dumps(value).encode() for value in values])
    good = [value for value in values if "\\ud" not in json.dumps(value)]
    converted = JsonInput().convert(batch)
    if len(good) == len(values):
        assert converted.args[0] == values
        assert JsonInput().convert(batch.slice(start)).args[0] == values[start:]
    else:
        assert converted.rows + len(converted.bad) == len(values)


def test_a_bad_line_says_where_and_keeps_its_bytes():
    """The rejects file shows the line's own bytes and the position in it."""
    (bad,) = JsonInput().convert(lines(b"1", b'{"a": oops}')).bad
    assert (bad.index, bad.stage, bad.error_type, bad.raw) == (1, "convert", "JSONDecodeError", b'{"a": oops}')
    assert "column 7" in bad.error
    (bad,) = StringInput().convert(lines(b"a\xff")).bad
    assert (bad.error_type, bad.raw) == ("UnicodeDecodeError", b"a\xff")


def test_deep_lines_are_bad_rows():
    """20,000 levels cost one row, not the process."""
    deep = b"[" * 20_000 + b"]" * 20_000
    converted = JsonInput().convert(lines(b"1", deep, b'{"a":' * 20_000 + b"12345678901234567890123" + b"}" * 20_000))
    assert converted.args == ([1],)
    assert [bad.index for bad in converted.bad] == [1, 2]


def test_typed_rows_are_dicts_of_python_values():
    """Integers exact beside nulls, decimals, dates and nesting as Python's own."""
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    rows = [
        {"i": 2**53 + 1, "u": 2**64 - 1, "f": 1.5, "b": True, "s": "a", "d": Decimal("1.10"), "t": moment, "l": [1, None],
         "o": {"k": 1}, "z": b"\x00"},
        {"i": None, "u": None, "f": None, "b": None, "s": None, "d": None, "t": None, "l": None, "o": None, "z": None},
    ]  # fmt: skip
    schema = pa.schema({
        "i": pa.int64(), "u": pa.uint64(), "f": pa.float64(), "b": pa.bool_(), "s": pa.string(), "d": pa.decimal128(5, 2),
        "t": pa.timestamp("us", "UTC"), "l": pa.list_(pa.int64()), "o": pa.struct({"k": pa.int64()}), "z": pa.binary(),
    })  # fmt: skip
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    for part, expected in ((batch, rows), (batch.slice(0, 1), rows[:1]), (batch.slice(1), rows[1:])):
        (values,) = JsonInput().convert(part).args
        assert values == expected
    first = JsonInput().convert(batch.slice(0, 1)).args[0][0]
    assert [type(first[key]) for key in "iufbs"] == [int, int, float, bool, str]


def test_rows_of_no_columns_are_empty_dicts_of_their_own():
    """A function may fill one without filling the others."""
    batch = pa.record_batch({"x": [1, 2]}).select([])
    (values,) = JsonInput().convert(batch).args
    assert values == [{}, {}]
    assert values[0] is not values[1]


def test_values_are_the_functions_own():
    """Numbers are Python's, whatever the width of the column."""
    batch = pa.record_batch([pa.array([1.5], pa.float32()), pa.array([1], pa.int8())], names=["f", "i"])
    assert [type(value) for value in JsonInput().convert(batch).args[0][0].values()] == [float, int]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_any_text_column_is_taken_as_strings(kind):
    """Whatever its encoding in memory."""
    assert StringInput().convert(pa.record_batch([pa.array(["a", None], kind)], names=["t"])).args == (["a", None],)


@pytest.mark.parametrize(
    "batch",
    [
        pa.record_batch({"a": ["x"], "b": ["y"]}),
        pa.record_batch({"a": [1]}),
        pa.record_batch({"a": [b"x"]}),
        pa.record_batch({"x": [1]}).select([]),
    ],
)
def test_other_columns_are_refused_by_name(batch):
    """A function of strings cannot take a table; the message tells what is there."""
    with pytest.raises(DataError, match=r"one column of text, the input has: (a \(|none)"):
        StringInput().convert(batch)


def test_an_inline_text_is_one_row_of_raw_bytes():
    """Unparsed: what is wrong with it is the row's trouble, not the command's."""
    table = JsonInput().table_from_text(b"{oops", columns=["a"])
    assert table.schema == pa.schema({LINE_COLUMN: pa.large_binary()})
    assert table.to_pylist() == [{LINE_COLUMN: b"{oops"}]


def test_both_take_single_items_and_lines():
    """They are the adapters of batch=False apis too."""
    for adapter in (JsonInput(), StringInput()):
        assert adapter.lines
        assert not adapter.batch_only
        assert adapter.config() == {}
        assert adapter.columns is None


def test_a_typed_column_called_line_is_a_column():
    """Only raw bytes are lines."""
    batch = pa.record_batch({LINE_COLUMN: np.array([1, 2])})
    assert JsonInput().convert(batch).args == ([{"line": 1}, {"line": 2}],)
