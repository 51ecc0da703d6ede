"""This module is the adapters of functions that take or return TensorFlow tensors."""

from __future__ import annotations

import base64
import binascii
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.adapters.numpy_input import TENSOR, NumpyInput
from bentobatch.adapters.outputs import DefaultOutput
from bentobatch.adapters.pandas_arrays import is_pandas_column, is_pandas_frame
from bentobatch.adapters.values import MixedValuesError, NoArrowFormError, array_of
from bentobatch.errors import DataError, ModelError, UsageError

_NARROW = {"float64": np.dtype("float32"), "int64": np.dtype("int32")}


class TfTensorInput(NumpyInput):
    """The api function gets one ``tf.Tensor`` of many rows, or the same values as a numpy array where TensorFlow is not
    installed. ``columns``, ``dtype`` and ``shape`` are NumpyInput's. Without ``dtype``, float64 becomes float32 and int64
    int32, as when TensorFlow makes a tensor of Python's numbers; a row with an integer that does not fit is bad.

    Inline values and JSON documents are TensorFlow Serving's: ``{"instances": [...]}``, with ``{"b64": "..."}`` for bytes.

    Raises:
        UsageError: another method than "predict", and as NumpyInput.
    """

    def __init__(self, method: str = "predict", **options: Any) -> None:
        super().__init__(**options)
        if method != "predict":
            raise UsageError(f"TfTensorInput(method={method!r}) is not supported: leave it out, it is 'predict'")

    def config(self) -> dict[str, Any]:
        """``method``, ``columns``, ``dtype`` and ``shape``."""
        return {"method": "predict", **super().config()}

    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None, pick: bool = True) -> pa.Table:
        """The rows of ``{"instances": [...]}`` as one column; other JSON as NumpyInput takes it."""
        value = self.parsed(text)
        if not isinstance(value, Mapping) or not ("instances" in value or "inputs" in value):
            return super().table_from_text(text, columns=columns, pick=pick)
        instances = value.get("instances")
        if not isinstance(instances, list):
            raise DataError(
                'TfTensorInput takes rows, {"instances": [...]}; the form of columns, "inputs", is not known'
            )
        try:
            return pa.table({TENSOR: array_of(_decoded(instances))})
        except (MixedValuesError, NoArrowFormError) as error:
            raise DataError(f"the instances make no tensor: {error}") from error

    def dtype_for(self, array: np.ndarray[Any, Any]) -> np.dtype[Any] | None:
        """The declared one, else TensorFlow's."""
        return self.dtype or _NARROW.get(array.dtype.name)

    def value_of(self, array: np.ndarray[Any, Any]) -> Any:
        """The array as a tensor, where TensorFlow is installed."""
        if importlib.util.find_spec("tensorflow") is None:
            return array
        return importlib.import_module("tensorflow").constant(array)  # here, since it takes seconds


class TfTensorOutput(DefaultOutput):
    """Takes a tensor or an array with one row for each input; of two dimensions it is a column for each of its columns."""

    def check(self, result: Any) -> None:
        """Raise ModelError for what is no tensor."""
        if is_pandas_frame(result) or is_pandas_column(result) or not isinstance(result, (np.ndarray, list)):
            raise ModelError(
                f"the function returned {type(result).__name__}, but TfTensorOutput takes a tensor; return one, or declare"
                " output=DefaultOutput()"
            )


def _decoded(value: Any) -> Any:
    """``value`` with bytes for TensorFlow Serving's ``{"b64": text}``."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"b64"}:
        raise DataError('an instance is an object; TfTensorInput takes lists and numbers, or {"b64": ...} for bytes')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise DataError(f"the bytes of an instance are no base64: {error}") from error
