"""This module tests how ONNX models are fed from tables, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

from bentobatch.frameworks.onnx_tables import column_types, predict_table

KINDS = {
    "float": (TensorProto.FLOAT, "float64"),
    "double": (TensorProto.DOUBLE, "float64"),
    "int64": (TensorProto.INT64, "int64"),
    "uint8": (TensorProto.UINT8, "uint8"),
    "bool": (TensorProto.BOOL, "bool"),
    "string": (TensorProto.STRING, "str"),
}


def same(kind: int, *shape: Any, inputs: tuple[str, ...] = ("x",)) -> Any:
    """A session whose outputs are its inputs."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    results = [helper.make_tensor_value_info(f"{name}_again", kind, shape) for name in inputs]
    nodes = [helper.make_node("Identity", [name], [f"{name}_again"]) for name in inputs]
    model = helper.make_model(
        helper.make_graph(nodes, "same", given, results), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


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
