"""This module tests that rows in one array are to the adapters what their record batch is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bentobatch.adapters import DataframeInput, NumpyInput, TfTensorInput
from bentobatch.adapters.matrix_batch import MatrixBatch


def rows(width: int, height: int = 3) -> MatrixBatch:
    """Rows of floats, one of which fits no integer and one no float32."""
    matrix = np.arange(width * height, dtype=np.float64).reshape(height, width) / 4
    matrix[1, 0] = 1e300
    matrix[2, 0] = np.nan
    return MatrixBatch(matrix, pa.schema([(f"f{place}", pa.float64()) for place in range(width)]))


def test_it_stands_for_its_record_batch():
    """``record_batch`` holds the same values in the same columns, also of rows that are a part or a choice of others."""
    batch = rows(4)
    assert (batch.num_rows, batch.num_columns) == (3, 4)
    for some, whole in [
        (batch, batch.record_batch()),
        (batch.slice(1, 1), batch.record_batch().slice(1, 1)),
        (batch.take(pa.array([2, 0])), batch.record_batch().take(pa.array([2, 0]))),
    ]:
        made = some.record_batch()
        assert made.schema == whole.schema
        np.testing.assert_array_equal(np.array(made.to_pandas()), np.array(whole.to_pandas()))


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("adapter", [NumpyInput(), NumpyInput(dtype="float32"), TfTensorInput()])
def test_it_is_converted_as_its_record_batch(adapter: NumpyInput, width: int):
    """The same array, of the same dtype and shape, and the same bad rows."""
    assert adapter.takes_matrix_batch
    batch = rows(width)
    short, long = adapter.convert(batch), adapter.convert(batch.record_batch())
    assert (short.rows, short.bad) == (long.rows, long.bad)
    made, expected = (np.asarray(converted.args[0]) for converted in (short, long))
    assert (made.dtype, made.shape, made.flags.c_contiguous) == (expected.dtype, expected.shape, True)
    np.testing.assert_array_equal(made, expected)


def test_a_function_that_changes_its_array_leaves_the_rows_alone():
    """They are asked for again where the function raises."""
    batch = rows(4)
    before = batch.matrix.copy()
    NumpyInput().convert(batch).args[0][:] = 0.0
    np.testing.assert_array_equal(batch.matrix, before)


def test_an_adapter_that_reads_record_batches_itself_gets_those():
    """A subclass with a ``convert`` or an ``array_of`` of its own was written for record batches, as all others were."""

    class Own(NumpyInput):
        def convert(self, batch):
            return super().convert(batch.rename_columns(["a"] * batch.num_columns))

    assert not Own().takes_matrix_batch
    assert not DataframeInput().takes_matrix_batch
