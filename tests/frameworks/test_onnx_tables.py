"""This module tests how ONNX models are fed from tables, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

from bentobatch.errors import ModelError, UsageError
from bentobatch.frameworks.onnx_tables import check_inputs, column_types, predict_table

KINDS = {
    "float": (TensorProto.FLOAT, "float64"),
    "double": (TensorProto.DOUBLE, "float64"),
    "int64": (TensorProto.INT64, "int64"),
    "uint8": (TensorProto.UINT8, "uint8"),
    "bool": (TensorProto.BOOL, "bool"),
    "string": (TensorProto.STRING, "str"),
}


def session_of(nodes: list[Any], given: list[Any], results: list[Any]) -> Any:
    graph = helper.make_graph(nodes, "graph", given, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def same(kind: int, *shape: Any, inputs: tuple[str, ...] = ("x",)) -> Any:
    """A session whose outputs are its inputs."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    results = [helper.make_tensor_value_info(f"{name}_again", kind, shape) for name in inputs]
    return session_of([helper.make_node("Identity", [name], [f"{name}_again"]) for name in inputs], given, results)


@pytest.mark.parametrize("name", KINDS)
def test_each_type_comes_back_as_it_went_in(name: str) -> None:
    """Declared for the table, cast for the model."""
    kind, declared = KINDS[name]
    session = same(kind, "N")
    assert column_types(session) == (None, declared)
    values = {"bool": [True, False], "str": ["007", "ü"]}.get(declared, [1, 2])
    result = predict_table(session, pd.DataFrame({"a": pd.Series(values)}))
    assert result.tolist() == values


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("int64", [1.0, None], "has no null"),
        ("int64", [1.0, 2.5], "does not hold all values"),
        ("uint8", [1, -1], "does not hold all values"),
        ("bool", [True, None], "has no null"),
        ("string", ["a", None], "has no null"),
    ],
)
def test_what_a_type_cannot_hold_is_refused_and_never_turned_into_something_else(
    name: str, values: list[Any], message: str
) -> None:
    """Not "None", not 255, not False: the row is rejected, since a batch that raises is bisected."""
    with pytest.raises(ValueError, match=message):
        predict_table(same(KINDS[name][0], "N"), pd.DataFrame({"a": pd.Series(values)}))


def test_null_is_nan_for_numbers_with_a_fraction() -> None:
    """As in every data frame."""
    result = predict_table(same(TensorProto.FLOAT, "N"), pd.DataFrame({"a": [1.0, None]}))
    assert np.isnan(result).tolist() == [False, True]


def test_columns_are_found_by_name_in_any_order() -> None:
    """Each input takes the column of its name; the outputs keep their names."""
    session = same(TensorProto.INT64, "N", 1, inputs=("a", "b"))
    assert column_types(session) == (["a", "b"], {"a": "int64", "b": "int64"})
    result = predict_table(session, pd.DataFrame({"b": [3, 4], "c": [0, 0], "a": [1, 2]}))
    pd.testing.assert_frame_equal(result, pd.DataFrame({"a_again": [1, 2], "b_again": [3, 4]}))


@pytest.mark.parametrize("columns", [1, 3])
def test_another_number_of_columns_is_refused(columns: int) -> None:
    """Two are taken."""
    table = pd.DataFrame(np.ones((4, columns)))
    with pytest.raises(ValueError, match=f"takes 2 values for each row .2., and got {columns}"):
        predict_table(same(TensorProto.FLOAT, "N", 2), table)


@pytest.mark.parametrize("rows", [1, 4, 10])
def test_a_model_for_a_fixed_number_of_rows_is_called_with_so_many(rows: int) -> None:
    """10 rows; those that fill the last call up give no results."""
    table = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0) * 2})
    np.testing.assert_array_equal(predict_table(same(TensorProto.FLOAT, rows, 2), table), table)


def test_an_input_of_more_dimensions_takes_a_column_of_lists_or_flat_columns() -> None:
    """A picture of 2 × 3 for each row."""
    session = same(TensorProto.FLOAT, "N", 2, 3)
    assert column_types(session) == (None, None)
    expected = np.arange(12.0).reshape(2, 2, 3)
    flat = pd.DataFrame(expected.reshape(2, 6))
    for table in (flat, pd.DataFrame({"x": flat.to_numpy().tolist()}), pd.DataFrame({"x": expected.tolist()})):
        np.testing.assert_array_equal(predict_table(session, table), expected)


def test_what_no_table_can_feed_is_refused_with_the_input_named() -> None:
    """A single value for all rows, a sequence, inputs for several numbers of rows."""
    for given, message in (
        ([helper.make_tensor_value_info("factor", TensorProto.FLOAT, [])], "'factor' .* is a single value"),
        (
            [helper.make_tensor_sequence_value_info("words", TensorProto.FLOAT, None)],
            r"'words' .* is a seq\(tensor\(float\)\)",
        ),
        (
            [helper.make_tensor_value_info(f"of_{rows}", TensorProto.FLOAT, [rows, 1]) for rows in (4, 2)],
            r"several numbers of rows \(2, 4\)",
        ),
    ):
        constant = helper.make_node("Constant", [], ["y"], value_float=1.0)
        session = session_of([constant], given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
        with pytest.raises(UsageError, match=message):
            check_inputs(session)


def test_outputs_without_a_row_for_each_row_are_the_models_fault() -> None:
    """A sum over all rows, and a single value."""
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    for keep, got in ((1, "1"), (0, "no")):
        session = session_of([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=keep)], given, results)
        with pytest.raises(ModelError, match=f"returned {got} rows for 2"):
            predict_table(session, table)
