"""This module tests that input columns come to their declared types and the rows that cannot are told."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters.settling import column_of_json, settle_column, shown
from bentobatch.errors import DataError


@pytest.mark.parametrize(
    ("array", "target", "values", "bad"),
    [
        (pa.array([1, None]), pa.float64(), [1.0, None], []),
        (pa.array(["5.1", "x", None, "6"]), pa.float64(), [5.1, None, None, 6.0], [1]),
        (pa.array(["007"]), pa.int64(), [7], []),
        (pa.array(["1.5", "2"]), pa.int64(), [None, 2], [0]),
        (pa.array(["true", "0", "maybe"]), pa.bool_(), [True, False, None], [2]),
        (pa.array([0, 1, 2, None]), pa.bool_(), [False, True, None, None], [2]),
        (pa.array([0.0, 1.0]), pa.bool_(), [False, True], []),
        (pa.array([True, None]), pa.float64(), [1.0, None], []),
        (pa.array([5, None]), pa.string(), ["5", None], []),
        (pa.array([dt.date(2026, 1, 1)]), pa.string(), ["2026-01-01"], []),
        (pa.array(["2026-01-01", "soon"]), pa.date32(), [dt.date(2026, 1, 1), None], [1]),
        (pa.array(["1.10"]), pa.decimal128(5, 2), [Decimal("1.10")], []),
        (pa.array(["a"]).dictionary_encode(), pa.string(), ["a"], []),
        (pa.array(["1", "b"]).dictionary_encode(), pa.int8(), [1, None], [1]),
        (pa.array([2.0, 2.5]), pa.int64(), [2, None], [1]),
        (pa.array([[1], None]), pa.float64(), [None, None], [0]),
        (pa.array([], pa.list_(pa.int8())), pa.float64(), [], []),
        (pa.array([[1], [2, 3]]), pa.list_(pa.float32()), [[1.0], [2.0, 3.0]], []),
        (pa.array([300, 1]), pa.uint8(), [None, 1], [0]),
        (pa.nulls(2), pa.float64(), [None, None], []),
    ],
)
def test_a_declaration_allows_parsing_and_spelling(array, target, values, bad):
    """Text becomes numbers and numbers text where that was declared; what cannot is null and told."""
    made, problems = settle_column(array, target)
    made.validate(full=True)
    assert made.type == target
    assert made.to_pylist() == values
    assert sorted(problems) == bad
    assert all("\n" not in problem for problem in problems.values())


@given(st.lists(st.integers(-100, 100).map(str) | st.text("abc", min_size=1) | st.none(), max_size=40))
def test_each_bad_row_is_found_and_no_other(values):
    """Wherever the bad rows are, the others keep their value and place."""
    made, problems = settle_column(pa.array(values, pa.string()), pa.int64())
    wrong = {row for row, value in enumerate(values) if value is not None and not value.lstrip("-").isdigit()}
    assert set(problems) == wrong
    assert made.to_pylist() == [
        None if value is None or row in wrong else int(value) for row, value in enumerate(values)
    ]


def test_a_column_of_json_has_the_type_of_its_values():
    """64-bit integers exactly, floats among them as floats, nulls as nulls, nesting as nesting."""
    assert column_of_json("a", [1, 2**53 + 1, None], None).to_pylist() == [1, 2**53 + 1, None]
    assert column_of_json("a", [2**64 - 1], None).type == pa.uint64()
    assert column_of_json("a", [1, 2.5], None).type == pa.float64()
    assert column_of_json("a", [None], None).type == pa.null()
    assert column_of_json("a", [[1], []], None).type == pa.list_(pa.int64())
    assert column_of_json("a", [{"b": 1}], None).type == pa.struct({"b": pa.int64()})


def test_a_column_of_json_has_its_declared_type():
    """Also where the values are of several kinds, one of which is spelled as text."""
    assert column_of_json("a", [1, "2.5", None], pa.float64()).to_pylist() == [1.0, 2.5, None]
    assert column_of_json("a", [1, "x", True], pa.string()).to_pylist() == ["1", "x", "true"]
    assert column_of_json("a", [], pa.float32()).type == pa.float32()


@pytest.mark.parametrize(
    ("values", "target", "message"),
    [
        ([1, "x"], None, "column 'a' holds values of integers and text"),
        ([True, 1], None, "declare its dtype"),
        ([1, 2**64], None, "row 1: the integer 18446744073709551616 does not fit into 64 bits"),
        ([2**64], pa.float64(), "row 0: the integer"),
        ([-(2**63) - 1, "x"], pa.string(), "row 0: the integer"),
        ([2**63, -1], None, "integers beyond the range"),
        ([1, "x"], pa.int64(), "column 'a', row 1: 'x' is no int64"),
        (["1", "y"], pa.int64(), "column 'a', row 1: 'y' is no int64"),
        ([1, [2]], pa.int64(), "column 'a', row 1: \\[2\\] is no int64"),
        ([{}], pa.int64(), "row 0: objects without keys"),
    ],
)
def test_a_bad_value_of_json_is_told_with_column_and_row(values, target, message):
    """One line, and no traceback of the reader."""
    with pytest.raises(DataError, match=message) as caught:
        column_of_json("a", values, target)
    assert "\n" not in str(caught.value)


def test_a_value_in_a_message_is_short():
    """A megabyte of text, or a number of 10,000 digits, does not fill the log."""
    assert len(shown("x" * 10**6)) <= 80
    assert shown(10**10_000) == "an integer of 33220 bits"
    assert shown("a\nb") == "'a\\nb'"
