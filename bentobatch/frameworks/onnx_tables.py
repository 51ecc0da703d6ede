"""This module runs an ONNX model on the columns of a table: it feeds a DataFrame to a session, and makes columns of what
comes out.

A model has one input that takes all columns (N rows of F features), or one for each column, found by its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentobatch.errors import ModelError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_NUMPY = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
"""What numpy calls the elements of an input."""


def check_inputs(session: Any) -> None:
    """Whether the model of an ``onnxruntime.InferenceSession`` can be fed from a table.

    Raises:
        UsageError: an input is no tensor, or has no dimension for the rows; two inputs fix different numbers of them.
    """
    inputs = session.get_inputs()
    for each in inputs:
        if each.type not in _NUMPY:
            raise UsageError(
                f"the input {each.name!r} of the ONNX model is a {each.type}, which no column of a table is: write a service "
                "with an OnnxModelArtifact for it"
            )
        if len(each.shape) == 0:
            raise UsageError(
                f"the input {each.name!r} of the ONNX model is a single value, not one for each row: write a service with an "
                "OnnxModelArtifact for it"
            )
    if not inputs:
        raise UsageError("the ONNX model has no input")
    _fixed_rows(inputs)


def column_types(session: Any) -> tuple[list[str] | None, dict[str, str] | str | None]:
    """The columns that the inputs name, and their types, as DataframeInput's ``columns`` and ``dtype``.

    A model with one input of several features knows no names: None, and one type for all. Numbers with a fraction are
    read as float64, and rounded to what the model takes when it is called. An input of more than two dimensions takes
    lists, whose type is left open.
    """
    inputs = session.get_inputs()
    if len(inputs) == 1:
        return None, _declared(inputs[0])
    types = {str(each.name): _declared(each) for each in inputs}
    return list(types), {name: kind for name, kind in types.items() if kind is not None}


def predict_table(session: Any, table: pd.DataFrame) -> Any:
    """What the model says of each row: an array for its only output, else a DataFrame with the outputs' names. ``table`` has
    one row at least.

    An output of K values for each row is K columns NAME_0, NAME_1, …; a map from labels to numbers, as exporters of
    scikit-learn's classifiers write it, is a column NAME_LABEL for each label. A model whose inputs are for a fixed number
    of rows is called with so many at a time; the last call's missing rows are copies of its last one.

    Raises:
        ModelError: the model returned another number of rows.
        ValueError: the columns do not fit its inputs.
    """
    import numpy as np

    inputs = session.get_inputs()
    size = _fixed_rows(inputs) or len(table)
    calls = []
    for start in range(0, len(table), size):
        rows = table.iloc[start : start + size]
        missing = size - len(rows)
        if missing:
            rows = rows.iloc[np.minimum(np.arange(size), len(rows) - 1)]
        results = session.run(None, _feed(inputs, rows))
        calls.append([_rows_of(result, size - missing, size) for result in results])
    outputs = [_joined(parts) for parts in zip(*calls, strict=True)]
    if len(outputs) == 1 and not isinstance(outputs[0], list):
        return outputs[0][:, 0] if outputs[0].ndim == 2 and outputs[0].shape[1] == 1 else outputs[0]
    return _columns({output.name: values for output, values in zip(session.get_outputs(), outputs, strict=True)})


def _declared(each: Any) -> str | None:
    kind = _NUMPY[each.type]
    if len(each.shape) > 2:
        return None
    return {"object": "str", "float32": "float64", "float16": "float64"}.get(kind, kind)


def _fixed_rows(inputs: Sequence[Any]) -> int | None:
    """The number of rows that the model takes in one call, None where it takes any."""
    fixed = {each.shape[0] for each in inputs if isinstance(each.shape[0], int) and each.shape[0] > 0}
    if len(fixed) > 1:
        raise UsageError(
            f"the inputs of the ONNX model are for several numbers of rows ({', '.join(map(str, sorted(fixed)))}): export it "
            "with a free first dimension"
        )
    return fixed.pop() if fixed else None


def _feed(inputs: Sequence[Any], rows: pd.DataFrame) -> dict[str, Any]:
    if len(inputs) == 1:
        return {inputs[0].name: _tensor(inputs[0], rows)}
    return {each.name: _tensor(each, rows[[each.name]]) for each in inputs}


def _tensor(each: Any, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The columns as the tensor that the input takes; a column of lists has the further dimensions inside."""
    import numpy as np

    if rows.shape[1] == 1 and len(rows) and isinstance(rows.iat[0, 0], (list, tuple, np.ndarray)):
        values = np.array([np.asarray(value) for value in rows.iloc[:, 0]])
    else:
        values = rows.to_numpy()
    kind = _NUMPY[each.type]
    values = _cast(each, values, kind)
    inner = each.shape[1:]
    if not inner:
        if values.size != len(rows):
            raise ValueError(f"the input {each.name!r} takes one column, not {values.shape[1]}")
        return values.reshape(len(rows))
    if all(isinstance(length, int) for length in inner):
        if values.size != len(rows) * math.prod(inner):
            raise ValueError(
                f"the input {each.name!r} takes {math.prod(inner)} values for each row ({' × '.join(map(str, inner))}), and "
                f"got {values.size // max(len(rows), 1)}"
            )
        return values.reshape(len(rows), *inner)
    return values


def _cast(each: Any, values: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """``values`` in the input's type. What that type cannot hold is refused, so that it costs its row; a fraction is rounded
    and a null is NaN only where the model takes numbers with a fraction."""
    import numpy as np
    import pandas as pd

    if kind.startswith("float"):
        return values.astype(kind)
    if pd.isna(values).any():
        raise ValueError(f"the input {each.name!r} takes {each.type}, which has no null")
    if kind == "object":
        return values.astype(str).astype(object)
    cast = values.astype(kind)
    if not np.array_equal(cast, values):
        raise ValueError(f"the input {each.name!r} takes {each.type}, which does not hold all values")
    return cast


def _rows_of(result: Any, wanted: int, size: int) -> Any:
    """One output of one call, without the rows that only filled it up: an array, or a list of dicts."""
    import numpy as np

    if isinstance(result, (list, np.ndarray)) and np.ndim(result) != 0 and len(result) == size:
        return result[:wanted]
    got = len(result) if isinstance(result, (list, np.ndarray)) and np.ndim(result) != 0 else "no"
    raise ModelError(
        f"the ONNX model returned {got} rows for {size}: its outputs must have a row for each row; write a service with an "
        "OnnxModelArtifact for it"
    )


def _joined(parts: Sequence[Any]) -> Any:
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate(parts)


def _columns(outputs: Mapping[str, Any]) -> pd.DataFrame:
    """The outputs side by side."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, values in outputs.items():
        if isinstance(values, list) and values and isinstance(values[0], dict):
            columns |= {f"{name}_{label}": [row[label] for row in values] for label in values[0]}
        elif isinstance(values, list) or values.ndim > 2:
            columns[name] = [value if isinstance(value, list) else value.tolist() for value in values]
        elif values.ndim == 2 and values.shape[1] != 1:
            columns |= {f"{name}_{number}": values[:, number] for number in range(values.shape[1])}
        else:
            columns[name] = values.reshape(len(values))
    return pd.DataFrame(columns)
