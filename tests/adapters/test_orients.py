"""This module tests that JSON tables are read in each orient, and never guessed against the features."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters.orients import ORIENTS, columns_of_json
from bentobatch.errors import DataError

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]})
EXPECTED = {"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]}


@pytest.mark.parametrize("orient", ORIENTS)
@pytest.mark.parametrize("given_orient", [True, False])
def test_what_pandas_writes_in_an_orient_is_read(orient, given_orient):
    """With the orient named, and guessed where the features are known (D8: index is not read as columns)."""
    value = json.loads(FRAME.to_json(orient=orient))
    found = columns_of_json(value, orient=orient if given_orient else None, names=["a", "b", "c"])
    assert found == EXPECTED
    assert list(found) == ["a", "b", "c"]


@pytest.mark.parametrize("orient", ["records", "columns", "split"])
def test_named_orients_are_guessed_without_features(orient):
    """The names come with the rows, in their order."""
    found = columns_of_json(json.loads(FRAME.to_json(orient=orient)))
    assert found == EXPECTED
    assert list(found) == ["a", "b", "c"]


def test_values_without_features_are_numbered():
    """As pandas numbers them."""
    assert columns_of_json([[1, 2], [3, 4]]) == {"0": [1, 3], "1": [2, 4]}


def test_a_dict_of_dicts_is_columns_where_nothing_else_is_known():
    """As pandas reads it."""
    assert columns_of_json({"0": {"a": 1, "b": 2}}) == {"0": [1, 2]}


def test_a_dict_of_dicts_is_read_by_the_keys_that_are_features():
    """Outer keys first; inner ones else (D8)."""
    value = {"x": {"r0": 1, "r1": 2}, "y": {"r0": 3, "r1": 4}}
    assert columns_of_json(value, names=["x", "y"]) == {"x": [1, 2], "y": [3, 4]}
    assert columns_of_json(value, names=["r0", "r1"]) == {"r0": [1, 3], "r1": [2, 4]}
    assert columns_of_json({"x": {"x": 1, "y": 2}, "y": {"x": 3, "y": 4}}, names=["x", "y"]) == {
        "x": [1, 2],
        "y": [3, 4],
    }
    with pytest.raises(DataError, match="missing columns p, q"):
        columns_of_json(value, names=["p", "q"])


def test_rows_are_aligned_by_their_index():
    """Columns may list their rows in another order; a missing cell is null."""
    assert columns_of_json({"a": {"0": 1, "1": 2}, "b": {"1": 4, "0": 3}}) == {"a": [1, 2], "b": [3, 4]}
    assert columns_of_json({"a": {"0": 1}, "b": {"1": 4}}) == {"a": [1, None], "b": [None, 4]}


def test_keys_that_some_rows_lack_are_null_there():
    """Neither dropped because the first row lacks them, nor the end of the request (D7)."""
    assert columns_of_json([{"a": 1}, {"b": 2}, {}]) == {"a": [1, None, None], "b": [None, 2, None]}
    assert columns_of_json([{"a": 1}, {"b": 2}], names=["b", "a"]) == {"b": [None, 2], "a": [1, None]}


@given(st.permutations(["x0", "x1", "x2"]))
def test_named_rows_are_matched_by_name_in_any_order(order):
    """A permutation is never applied by its inverse (D3)."""
    row = {"x0": 0, "x1": 1, "x2": 2}
    shuffled = {name: row[name] for name in order}
    expected = {"x0": [0], "x1": [1], "x2": [2]}
    for value in ([shuffled], shuffled, {"columns": order, "data": [[row[name] for name in order]]},
                  {name: [row[name]] for name in order}, {"7": shuffled}):  # fmt: skip
        found = columns_of_json(value, names=["x0", "x1", "x2"])
        assert found == expected
        assert list(found) == ["x0", "x1", "x2"]


def test_other_columns_of_named_rows_are_dropped():
    """The function gets the features and nothing else."""
    assert columns_of_json([{"a": 1, "id": 7}], names=["a"]) == {"a": [1]}


def test_flat_forms_of_one_row():
    """A flat list is one row where its width says so; a flat object is one row."""
    assert columns_of_json([1, 2, 3], names=["a", "b", "c"]) == {"a": [1], "b": [2], "c": [3]}
    assert columns_of_json([1, 2, 3], names=["a"]) == {"a": [1, 2, 3]}
    assert columns_of_json({"a": 1, "b": None}) == {"a": [1], "b": [None]}
    with pytest.raises(DataError, match=r"write \[\[1, 2\]\] for one row"):
        columns_of_json([1, 2, 3])


@pytest.mark.parametrize("value", [[], {}])
def test_no_rows_are_no_error(value):
    """Zero rows of the features that are known."""
    assert columns_of_json(value) == {}
    assert columns_of_json(value, names=["a", "b"]) == {"a": [], "b": []}


def test_a_feature_may_be_called_data():
    """Features named columns and data are columns, not the split form."""
    value = {"columns": [1, 2], "data": [3, 4]}
    assert columns_of_json(value, names=["columns", "data"]) == value
    assert columns_of_json({"columns": [[1], [2]], "data": [[3], [4]]}, names=["data"]) == {"data": [[3], [4]]}


@pytest.mark.parametrize(
    ("value", "orient", "names", "message"),
    [
        ([[1, 2]], None, ["a", "b", "c", "d"], r"row 0 has 2 values, the model takes 4: a, b, c, d"),
        ([[1, 2], [3]], None, ["a", "b"], r"row 1 has 1 value, the model takes 2"),
        ([[1, 2], [3, 4, 5]], None, None, r"row 1 has 3 values, row 0 has 2"),
        ([1, 2], None, ["a", "b", "c"], r"row 0 has 2 values, the model takes 3"),
        ([[]], None, None, r"no values"),
        ([{}], None, ["a"], r"no values"),
        ([[1], {"a": 1}], None, None, r"row 1 is an object"),
        ([{"a": 1}, [1]], None, None, r"row 1 is a list"),
        ([[1], 5], None, None, r"row 1 is a number"),
        ([[1], None], None, None, r"row 1 is null"),
        ([{"a": 1}], None, ["a", "x1"], r"missing column x1: the input has a"),
        ({"a": [1, 2], "b": [1]}, None, None, r"column 'b' has 1 value, the columns before it 2"),
        ({"a": [1, 2], "b": 3}, None, None, r"column 'b' is a number"),
        ({"a": {"0": 1}, "b": 3}, None, None, r"column 'a' is an object"),
        ({"a": [1]}, "records", None, None),
        ([1], "records", None, r"row 0 is a number"),
        ([[1]], "columns", None, r"a list, expected an object of columns"),
        ([[1]], "index", None, r"a list, expected an object of rows"),
        ({"0": [1]}, "index", None, r"row 0 is a list"),
        ({"a": 1}, "values", None, r"an object, expected a list of rows"),
        ({"a": 1}, "split", None, r"not of orient split"),
        ({"columns": ["a", "a"], "data": []}, "split", None, r"duplicate column 'a'"),
        ({"columns": ["a"], "data": [[1, 2]]}, None, None, r"row 0 of data has 2 values, columns names 1"),
        ({"columns": ["a"], "data": [5]}, "split", None, r"row 0 of data has a number"),
        ({"columns": 5, "data": []}, "split", None, r"list of names"),
        (5, None, None, r"a number, not a table"),
        ("x", None, None, r"text, not a table"),
        (None, None, None, r"null, not a table"),
        (True, None, None, r"a truth value, not a table"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(value, orient, names, message):
    """The message names the row or the column and both widths."""
    if message is None:
        assert columns_of_json(value, orient=orient, names=names) == {"a": [[1]]}
        return
    with pytest.raises(DataError, match=message) as caught:
        columns_of_json(value, orient=orient, names=names)
    assert "\n" not in str(caught.value)


def test_a_split_table_without_names_is_taken_by_position():
    """``columns`` may be left out."""
    assert columns_of_json({"data": [[1, 2]]}, orient="split", names=["a", "b"]) == {"a": [1], "b": [2]}


def test_a_message_lists_a_few_names_only():
    """A model of 1,000 features does not fill the screen."""
    with pytest.raises(DataError, match=r"… \(1000 in all\)$"):
        columns_of_json([[1]], names=[f"x{number}" for number in range(1000)])
