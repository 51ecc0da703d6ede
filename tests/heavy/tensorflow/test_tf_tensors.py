"""This module runs the tests of TfTensorInput and TfTensorOutput once more, where TensorFlow makes the tensors."""

from __future__ import annotations

import pyarrow as pa
import tensorflow as tf

from bentobatch.adapters import TfTensorInput, TfTensorOutput
from tests.adapters.test_tf_tensors import *  # noqa: F403 - they are collected here as well


def test_a_tensor_of_tensorflow_is_given_and_taken():
    """The function gets what TensorFlow makes; what it returns becomes columns."""
    (tensor,) = TfTensorInput().convert(pa.record_batch({"a": [1.0, 2.0], "b": [3.0, 4.0]})).args
    assert tf.is_tensor(tensor)
    assert tensor.dtype == tf.float32
    batch = TfTensorOutput().columns(tensor * 2)
    assert batch.num_columns == 2
    assert batch.column(0).to_pylist() == [2.0, 4.0]


def test_bytes_are_a_tensor_of_strings():
    """As TensorFlow Serving's b64 objects become."""
    adapter = TfTensorInput()
    table = adapter.table_from_text(b'{"instances": [{"b64": "AAE="}, {"b64": "/w=="}]}')
    (tensor,) = adapter.convert(table.combine_chunks().to_batches()[0]).args
    assert tensor.dtype == tf.string
    assert tensor.numpy().tolist() == [b"\x00\x01", b"\xff"]
