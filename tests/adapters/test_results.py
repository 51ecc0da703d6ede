"""This module tests how what a function returned is read: its length, its columns, and what is no result."""

from __future__ import annotations

import datetime as dt
from collections import deque
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

from bentobatch.adapters import result_length, settle_result
from bentobatch.adapters.results import array_of_column, result_columns
from bentobatch.errors import ModelError


class Tensor:
    """Looks like a tensor of torch that needs gradients: numpy() fails until it is detached."""

    def __init__(self, data, attached=True):
        self.data, self.attached = np.asarray(data), attached

    def detach(self):
        return Tensor(self.data, attached=False)

    def cpu(self):
        return self

    def numpy(self):
        if self.attached:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return self.data

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def __len__(self):
        return len(self.data)


class EagerTensor:
    """Looks like a tensor of TensorFlow: an array by __array__."""

    def __init__(self, data):
        self.data = np.asarray(data)

    def __array__(self, dtype=None, copy=None):
        return self.data


class ForeignFrame:
    """Looks like a frame of polars: Arrow's stream protocol and column names."""

    columns = ("a",)

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.table({"a": [1, 2, 3]}).__arrow_c_stream__(requested_schema)


class ForeignColumn:
    """Looks like a Series of polars: Arrow's stream protocol alone."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.chunked_array([[1, 2, 3]]).__arrow_c_stream__(requested_schema)


LENGTHS = {
    "list": ([1, 2, 3], 3),
    "tuple": ((1, 2, 3), 3),
    "array": (np.zeros(3), 3),
    "matrix": (np.zeros((3, 2)), 3),
    "np.matrix": (np.asmatrix(np.zeros((3, 2))), 3),
    "structured": (np.zeros(3, dtype=[("a", "i8")]), 3),
    "series": (pd.Series([1, 2, 3]), 3),
    "frame": (pd.DataFrame({"a": [1, 2, 3]}), 3),
    "index": (pd.Index([1, 2, 3]), 3),
    "categorical": (pd.Categorical(["a", "b", "a"]), 3),
    "arrow": (pa.array([1, 2, 3]), 3),
    "chunked": (pa.chunked_array([[1], [2, 3]]), 3),
    "table": (pa.table({"a": [1, 2, 3]}), 3),
    "batch": (pa.record_batch({"a": [1, 2, 3]}), 3),
    "sparse": (scipy.sparse.csr_matrix(np.eye(3)), 3),
    "sparse array": (scipy.sparse.coo_array(np.eye(3)), 3),
    "columns": ({"a": [1, 2, 3], "b": np.zeros(3)}, 3),
    "mapping": (MappingProxyType({"a": pa.array([1, 2, 3])}), 3),
    "empty columns": ({"a": []}, 0),
    "tensor": (Tensor([1, 2, 3]), 3),
    "tensor columns": ({"a": Tensor([1, 2, 3])}, 3),
    "eager": (EagerTensor([[1], [2], [3]]), 3),
    "foreign frame": (ForeignFrame(), 3),
    "foreign column": (ForeignColumn(), 3),
    "range": (range(3), 3),
    "deque": (deque([1, 2, 3]), 3),
    "values": ({1: "a", 2: "b"}.values(), 2),
    "float": (0.5, 1),
    "bool": (True, 1),
    "numpy scalar": (np.float32(1), 1),
    "0-d": (np.array(1.5), 1),
    "0-d tensor": (Tensor(1.5), 1),
    "arrow scalar": (pa.scalar(1), 1),
    "decimal": (Decimal(1), 1),
    "date": (dt.date(2026, 1, 1), 1),
    "empty": ([], 0),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_the_length_is_the_number_of_rows(case):
    """For each kind of result, and again when it is settled."""
    result, length = LENGTHS[case]
    assert result_length(result) == length
    settled = settle_result(result)
    assert result_length(settled) == length
    assert settle_result(settled) is settled or isinstance(settled, (dict, list))


def test_an_iterator_is_counted_after_it_was_settled():
    """Counting would use it up, silently."""
    results = (number for number in range(3))
    with pytest.raises(TypeError, match="settle_result"):
        result_length(results)
    assert settle_result(results) == [0, 1, 2]


def test_a_tensor_that_numpy_does_not_know_is_told():
    """torch's bfloat16 has no counterpart; the message is the library's own, in one line."""

    class Brain(Tensor):
        def detach(self):
            raise TypeError("Got unsupported ScalarType BFloat16")

    with pytest.raises(ModelError, match=r"returned Brain that is no numpy array: Got unsupported ScalarType BFloat16"):
        settle_result(Brain([1.0]))


def test_tensors_in_a_list_are_detached_too():
    """One tensor for each row, as a loop over the rows leaves them."""
    (column,) = result_columns([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], name="p").columns
    assert array_of_column(column[1]).to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert array_of_column([Tensor(1.5), Tensor(2.5)]).to_pylist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, r"returned None, expected one result for each row: does it lack a return\?"),
        ("text", r"returned str, expected one result for each row"),
        (b"text", r"returned bytes, expected one result for each row"),
        ({1, 2}, r"returned set.*a set has no order"),
        ({"a": 1, "b": 2}, r"returned dict whose value 'a' is int, expected one result for each row"),
        ({"a": "text"}, r"value 'a' is str"),
        ({"a": {"b": [1]}}, r"value 'a' is dict"),
        ({"a": np.array(1.0)}, r"value 'a' is ndarray"),
        ({"a": pd.DataFrame({"b": [1]})}, r"value 'a' is DataFrame"),
        ({}, r"returned dict, expected one result"),
        ({"a": [1], "b": [1, 2]}, r"different lengths \(a: 1, b: 2\)"),
        ({1: [1], "1": [2]}, r"read alike: 1, '1'"),
        (object(), r"returned object, expected one result for each row"),
        (len, r"returned builtin_function_or_method"),
    ],
)
def test_what_is_no_collection_of_results_is_told(result, message):
    """The message says what was returned and what to return."""
    for ask in (settle_result, result_length):
        with pytest.raises(ModelError, match=message):
            ask(result)


@pytest.mark.parametrize(
    ("result", "classes", "names", "named"),
    [
        ([1], None, ["p"], False),
        (np.zeros(2), ["a", "b"], ["p"], False),
        (np.zeros((1, 2)), None, ["p_0", "p_1"], False),
        (np.zeros((1, 2)), np.array(["cat", "dog"]), ["p_cat", "p_dog"], False),
        (np.zeros((1, 2)), np.array([0, 1]), ["p_0", "p_1"], False),
        (np.zeros((1, 2)), ["cat"], ["p_0", "p_1"], False),
        (np.zeros((1, 2)), [1, "1"], ["p_0", "p_1"], False),
        (np.zeros((1, 1)), None, ["p_0"], False),
        (np.zeros((1, 2, 2)), None, ["p"], False),
        (pd.DataFrame([[1, 2, 3]], columns=["a", 5, ("x", "y")]), None, ["a", "5", "('x', 'y')"], True),
        (pa.table({"a": [1]}), None, ["a"], True),
        ({"a": [1], 2: [2]}, None, ["a", "2"], True),
        (np.zeros(1, dtype=[("a", "i8"), ("b", "f8")]), None, ["a", "b"], True),
    ],
)
def test_columns_are_named(result, classes, names, named):
    """A table's own names as text, a matrix's by its classes where they fit, else by position."""
    found = result_columns(settle_result(result), name="p", classes=classes)
    assert [name for name, _ in found.columns] == names
    assert found.named is named


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "two columns named '1'"),
        (pa.table([[1], [2]], names=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame(index=[0, 1]), "without columns"),
        (np.zeros((3, 0)), "without columns"),
    ],
)
def test_columns_that_cannot_be_told_apart_are_refused(result, message):
    """A file would keep one of them."""
    with pytest.raises(ModelError, match=message):
        result_columns(settle_result(result), name="p")
