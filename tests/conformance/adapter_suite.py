"""This module holds the rules that every adapter obeys; an adapter's test subclasses a suite and fills in the examples.

class TestMyInput(InputAdapterSuite):
    def make(self): return MyInput(scale=2)
    def good_batch(self): return pa.record_batch({"x": [1, 2, 3, 4]})
    def bad_batch(self): return pa.record_batch({"x": [1, None, 3, None]}), [1, 3]
    def inline(self): return b"[[1], [2]]", 2
    def values(self, converted): return converted.args[0].tolist()
"""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from typing import Any

import pyarrow as pa
import pytest

from bentobatch.adapters.base import Converted, InputAdapter, OutputAdapter


def ipc_bytes(batch: pa.RecordBatch) -> bytes:
    """The bytes of a batch, to see whether somebody wrote into it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


class InputAdapterSuite(ABC):
    """What the Scorer relies on, whatever an input adapter makes of the rows."""

    @abstractmethod
    def make(self) -> InputAdapter:
        """An adapter with options of its own, not the defaults only."""

    @abstractmethod
    def good_batch(self) -> pa.RecordBatch:
        """At least four different rows, all of which can be converted."""

    def bad_batch(self) -> tuple[pa.RecordBatch, list[int]] | None:
        """A batch with rows that cannot be converted, among others that can, and their positions; None where every row
        of every batch can be converted."""
        return None

    @abstractmethod
    def inline(self) -> tuple[bytes, int]:
        """A text for ``table_from_text`` and the number of its rows."""

    @abstractmethod
    def values(self, converted: Converted) -> list[Any]:
        """One comparable value for each converted row, in order."""

    def test_the_config_survives_json_and_makes_an_equal_adapter(self):
        """A bundle's manifest holds the config; loading makes the adapter again from it."""
        adapter = self.make()
        config = json.loads(json.dumps(adapter.config()))
        again = type(adapter)(**config)
        assert again.config() == adapter.config()
        assert again.columns == adapter.columns
        assert dict(again.types) == dict(adapter.types)
        assert self.values(again.convert(self.good_batch())) == self.values(adapter.convert(self.good_batch()))

    def test_good_rows_are_all_converted_in_order(self):
        """One value for each row, none bad."""
        batch = self.good_batch()
        converted = self.make().convert(batch)
        assert batch.num_rows >= 4
        assert converted.rows == batch.num_rows == len(self.values(converted))
        assert not converted.bad

    def test_every_row_is_converted_or_bad_exactly_once(self):
        """Bad rows are told in order, with the stage and one line; the others are what they are without the bad ones."""
        example = self.bad_batch()
        if example is None:
            assert not self.make().convert(self.good_batch()).bad
            return
        batch, expected = example
        converted = self.make().convert(batch)
        assert [row.index for row in converted.bad] == expected
        assert converted.rows + len(expected) == batch.num_rows
        for row in converted.bad:
            assert row.stage == "convert"
            assert row.error_type.isidentifier()
            assert row.error
            assert "\n" not in row.error
        keep = pa.array([index not in expected for index in range(batch.num_rows)])
        assert self.values(converted) == self.values(self.make().convert(batch.filter(keep)))

    def test_a_batch_of_bad_rows_only_is_no_error(self):
        """A chunk in which no row can be converted gives no values and all the rejects."""
        example = self.bad_batch()
        batch = self.good_batch().slice(0, 0) if example is None else example[0].take(pa.array(example[1]))
        converted = self.make().convert(batch)
        assert converted.rows == 0
        assert [row.index for row in converted.bad] == list(range(batch.num_rows))
        assert self.values(converted) == []

    def test_an_empty_batch_is_converted(self):
        """A filter or an empty file leaves no rows; that is no error."""
        converted = self.make().convert(self.good_batch().slice(0, 0))
        assert converted.rows == 0
        assert self.values(converted) == []

    @pytest.mark.parametrize(("start", "length"), [(0, 2), (1, 2), (3, 1), (2, 0)])
    def test_slicing_and_converting_is_converting_and_slicing(self, start, length):
        """A row's value depends on the row alone, not on its neighbours: what bisection and resume rest on."""
        batch = self.good_batch()
        whole = self.values(self.make().convert(batch))
        assert self.values(self.make().convert(batch.slice(start, length))) == whole[start : start + length]

    def test_converting_again_gives_the_same_and_leaves_the_batch_alone(self):
        """A split may be tried again with the same batch."""
        batch = self.good_batch()
        before = ipc_bytes(batch)
        adapter = self.make()
        assert self.values(adapter.convert(batch)) == self.values(adapter.convert(batch))
        assert ipc_bytes(batch) == before

    def test_an_inline_text_becomes_rows_that_can_be_converted(self):
        """``--input`` and a request's body take the same way as a file."""
        text, rows = self.inline()
        table = self.make().table_from_text(text)
        assert table.num_rows == rows
        (batch,) = table.combine_chunks().to_batches()
        assert self.make().convert(batch).rows == rows


class OutputAdapterSuite(ABC):
    """What the Scorer relies on, whatever the function returned."""

    @abstractmethod
    def make(self) -> OutputAdapter:
        """An adapter with options of its own, not the defaults only."""

    @abstractmethod
    def result(self, start: int, stop: int) -> Any:
        """What the function returns for the rows ``start`` to ``stop`` of six; row 0 must differ from the others."""

    def test_the_config_survives_json_and_makes_an_equal_adapter(self):
        """A bundle's manifest holds the config; loading makes the adapter again from it."""
        adapter = self.make()
        again = type(adapter)(**json.loads(json.dumps(adapter.config())))
        assert again.config() == adapter.config()
        assert again.columns(self.result(0, 6)).equals(adapter.columns(self.result(0, 6)))

    def test_there_is_one_row_for_each_result(self):
        """The number of rows is what promise 3 rests on."""
        assert self.make().columns(self.result(0, 6)).num_rows == 6
        assert self.make().columns(self.result(2, 3)).num_rows == 1

    def test_chunks_under_the_first_ones_schema_are_the_whole(self):
        """Where the chunks are cut does not show in the output."""
        adapter = self.make()
        whole = adapter.columns(self.result(0, 6))
        for cuts in ([0, 6], [0, 3, 6], [0, 1, 5, 6]):
            pieces = [
                adapter.columns(self.result(start, stop), schema=whole.schema)
                for start, stop in itertools.pairwise(cuts)
            ]
            assert pa.Table.from_batches(pieces).combine_chunks().equals(pa.Table.from_batches([whole]))

    def test_no_rows_fit_the_schema(self):
        """An empty chunk has the same columns."""
        schema = self.make().columns(self.result(0, 6)).schema
        empty = self.make().columns(self.result(0, 0), schema=schema)
        assert empty.num_rows == 0
        assert empty.schema.equals(schema, check_metadata=True)
