"""This module tests TorchTensorInput with torch itself."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from bentobatch.adapters import DefaultOutput, TorchTensorInput
from bentobatch.devices import on_device
from bentobatch.errors import UsageError
from tests.conformance.adapter_suite import InputAdapterSuite


class TestTorchTensorInput(InputAdapterSuite):
    """TorchTensorInput over columns."""

    def make(self):
        return TorchTensorInput(["a", "b"], dtype="float32", device="cpu")

    def good_batch(self):
        return pa.record_batch({"a": [1, 2, 3, 4], "b": [0.5, 1.5, 2.5, 3.5]})

    def bad_batch(self):
        return pa.record_batch({"a": [1.0, 1e300, 3.0], "b": [1.0, 2.0, 3.0]}), [1]

    def inline(self):
        return b"[[1, 2], [3, 4]]", 2

    def values(self, converted):
        return converted.args[0].tolist()


class TestTorchTensorInputOverLists(TestTorchTensorInput):
    """TorchTensorInput over one column of lists."""

    def make(self):
        return TorchTensorInput(shape=[2, 2])

    def good_batch(self):
        return pa.record_batch({"x": [[row, 2, 3, 4] for row in range(4)]})

    def bad_batch(self):
        return pa.record_batch({"x": [[1, 2, 3, 4], [1], None]}), [1, 2]

    def inline(self):
        return b"[[[1, 2], [3, 4]]]", 1


def test_the_tensor_is_the_functions_own():
    """It may be changed in place, and it is what torch makes of numpy's dtype."""
    batch = pa.record_batch({"x": [[1.0, 2.0], [3.0, 4.0]]})
    (tensor,) = TorchTensorInput().convert(batch).args
    assert tensor.dtype == torch.float64
    tensor.add_(1)
    assert batch.column(0).to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert DefaultOutput().columns(tensor).num_columns == 2
    with pytest.raises(UsageError, match="takes no array of object"):
        TorchTensorInput().convert(pa.record_batch({"x": ["a"], "y": ["b"]}))


def test_the_tensor_lies_where_models_are_loaded():
    """The device that is asked for, unless the adapter names one; one that is not there is told in a line."""
    batch = pa.record_batch({"a": [1.0], "b": [2.0]})
    with on_device("cpu"):
        assert TorchTensorInput(["a", "b"]).convert(batch).args[0].device.type == "cpu"
    with on_device("cuda:77"), pytest.raises(UsageError, match="device cuda:77 is not available here"):
        TorchTensorInput(["a", "b"]).convert(batch)
    with on_device("cuda:77"):
        assert TorchTensorInput(["a", "b"], device="cpu").convert(batch).args[0].device.type == "cpu"
