"""This module tests TfTensorInput and TfTensorOutput; tests/heavy/tensorflow runs the same with TensorFlow itself."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from bentobatch.adapters import TfTensorInput, TfTensorOutput
from bentobatch.errors import DataError, ModelError, UsageError
from tests.conformance.adapter_suite import InputAdapterSuite, OutputAdapterSuite


class TestTfTensorInput(InputAdapterSuite):
    """TfTensorInput over columns."""

    def make(self):
        return TfTensorInput(columns=["a", "b"])

    def good_batch(self):
        return pa.record_batch({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]})

    def bad_batch(self):
        return pa.record_batch({"a": [1, 2**40, 3, None], "b": [1, 2, 3, 4]}), [1, 3]

    def inline(self):
        return b'{"instances": [[1.0, 2.0], [3.0, 4.0]]}', 2

    def values(self, converted):
        return np.asarray(converted.args[0]).tolist()


class TestTfTensorOutput(OutputAdapterSuite):
    """TfTensorOutput of a matrix."""

    def make(self):
        return TfTensorOutput()

    def result(self, start, stop):
        return np.arange(12.0).reshape(6, 2)[start:stop]


def inline(value):
    """What the function gets for one inline value."""
    adapter = TfTensorInput()
    (batch,) = adapter.table_from_text(json.dumps(value).encode()).combine_chunks().to_batches()
    return np.asarray(adapter.convert(batch).args[0])


def test_instances_are_tensorflow_servings():
    """Scalars stay scalars, lists a matrix, objects of b64 bytes."""
    assert inline({"instances": [1, 2, 3]}).shape == (3,)
    assert inline({"instances": [[1, 2], [3, 4]], "signature_name": "x"}).tolist() == [[1, 2], [3, 4]]
    assert inline({"instances": [[[1], [2]]]}).shape == (1, 2, 1)
    assert inline({"instances": [{"b64": "AAE="}, {"b64": "/w=="}]}).tolist() == [b"\x00\x01", b"\xff"]
    assert inline([[1, 2], [3, 4]]).shape == (2, 2)


def test_numbers_are_as_wide_as_tensorflow_makes_them_of_pythons():
    """float32 and int32, on machines with TensorFlow and without; a dtype says otherwise."""
    batch = pa.record_batch({"a": [1.5], "b": [2.5]})
    assert np.asarray(TfTensorInput().convert(batch).args[0]).dtype == np.float32
    assert np.asarray(TfTensorInput(dtype="float64").convert(batch).args[0]).dtype == np.float64
    assert np.asarray(TfTensorInput().convert(pa.record_batch({"a": [1]})).args[0]).dtype == np.int32


@pytest.mark.parametrize(
    "value",
    [{"inputs": {"a": [1]}}, {"instances": 5}, {"instances": [{"a": 1}]}, {"instances": [{"b64": "!"}]},
     {"instances": [1, "a"]}],
)  # fmt: skip
def test_other_forms_are_refused_in_one_line(value):
    """As BentoML 0.13 refused them, but saying what is expected."""
    with pytest.raises(DataError):
        inline(value)


def test_other_methods_are_refused():
    """classify and regress were never implemented in BentoML 0.13 either."""
    with pytest.raises(UsageError, match="classify"):
        TfTensorInput(method="classify")


@pytest.mark.parametrize("result", [{"a": [1]}, "text", None])
def test_what_is_no_tensor_is_refused(result):
    """A frame or a dict would be columns with names, which a tensor has not."""
    with pytest.raises(ModelError):
        TfTensorOutput().columns(result)
