"""What counts as changed between two columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from bentobatch.comparison.cells import Tolerance, changed
from bentobatch.comparison.outputs import CHUNK_ROWS, Output
from bentobatch.errors import UsageError

NAN = float("nan")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([1.0, NAN, None, NAN, 1.0], [1.0, NAN, None, None, NAN], [False, False, False, True, True]),
        ([2**60, 1, None], [2**60 + 1, 1, None], [True, False, False]),
        ([float("inf"), 1.0], [float("inf"), -1.0], [False, True]),
        (["a", None, "b"], ["a", None, None], [False, False, True]),
        ([True, False], [True, True], [False, True]),
        (["1", "x"], [1, 2], [False, True]),
        ([1, 2], [1.0, 2.5], [False, True]),
        ([[1, NAN], [1], None], [[1, NAN], [1, 2], None], [False, True, False]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}], [False, True]),
        ([1, 2], [None, None], [True, True]),
    ],
)
def test_cells_are_equal_by_value(old: list[Any], new: list[Any], expected: list[bool]) -> None:
    """Null equals null and NaN equals NaN; large integers are not rounded; other types differ by their texts."""
    assert changed(pa.array(old), pa.array(new), Tolerance()).tolist() == expected


def test_a_tolerance_is_an_amount_or_a_share_of_the_old_value() -> None:
    """Inside lists too."""
    old, new = pa.array([1.0, 100.0]), pa.array([1.5, 100.5])
    assert changed(old, new, Tolerance.parse("0.5")).tolist() == [False, False]
    assert changed(old, new, Tolerance.parse("1%")).tolist() == [True, False]
    lists = pa.array([[1.0, 100.0]]), pa.array([[1.0, 100.5]])
    assert changed(*lists, Tolerance.parse("1%")).tolist() == [False]
    assert changed(*lists, Tolerance.parse("0.1")).tolist() == [True]
    for text in ("-1", "nan", "much", "inf", "%"):
        with pytest.raises(UsageError, match="--tolerance takes"):
            Tolerance.parse(text)


def test_outputs_are_read_in_chunks_of_the_same_rows(tmp_path: Any) -> None:
    """However they were written."""
    table = pa.table({"x": range(2 * CHUNK_ROWS + 5)})
    for name, size in (("a", 1000), ("b", 300_000)):
        with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=size)
        output = Output(tmp_path / name)
        assert output.rows == table.num_rows
        assert [batch.num_rows for batch in output.chunks()] == [CHUNK_ROWS, CHUNK_ROWS, 5]
        assert pa.Table.from_batches(output.chunks(["x"])).equals(table)
