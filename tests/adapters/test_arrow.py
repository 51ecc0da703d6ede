"""This module tests ArrowInput: the batch untouched, and inline tables as DataframeInput reads them."""

from __future__ import annotations

import pyarrow as pa

from bentobatch.adapters import ArrowInput
from tests.conformance.adapter_suite import InputAdapterSuite


class TestArrowInputConformance(InputAdapterSuite):
    """The rules of every input adapter."""

    def make(self):
        return ArrowInput(columns=["x", "s"], dtype={"x": "float32"})

    def good_batch(self):
        return pa.record_batch([pa.array([1.0, 2.0, None, 4.0]), pa.array(["a", "b", "c", None])], names=["x", "s"])

    def inline(self):
        return b'[[1, "a"], [2, "b"]]', 2

    def values(self, converted):
        return converted.args[0].to_pylist()


def test_the_function_gets_the_very_batch():
    """Nothing is copied, cast or checked."""
    batch = pa.record_batch({"x": [1, 2]})
    converted = ArrowInput(dtype={"x": "float32"}).convert(batch)
    assert converted.args[0] is batch
    assert converted.rows == 2


def test_inline_rows_have_the_declared_types():
    """As in DataframeInput."""
    table = ArrowInput(["x", "s"], {"x": "float32", "s": "category"}).table_from_text(b'[[1, "a"]]')
    assert table.schema == pa.schema({"x": pa.float32(), "s": pa.string()})
    assert ArrowInput.batch_only
