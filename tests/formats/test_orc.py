"""This module tests ORC: ranges by stripes, columns by name, and files that are broken."""

from __future__ import annotations

import os

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.orc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DataError, UsageError
from bentobatch.formats.base import InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.discover import discover
from bentobatch.formats.orc import OrcFormat

FORMAT = OrcFormat()


def described(path, **partition):
    return InputFile(str(path), os.stat(path).st_size, "", "orc", partition=tuple(partition.items()))


def read_all(file, schema=None, *, options=None, **plan):
    scan = FORMAT.scan(file, options or ScanOptions())
    schema = scan.schema if schema is None else schema
    chunks = [chunk for piece in scan.ranges for chunk in FORMAT.read(file, piece, ReadPlan(schema, **plan))]
    return pa.Table.from_batches([chunk.batch for chunk in chunks], schema), chunks


def write(path, table, **options):
    pyarrow.orc.write_table(table, str(path), **options)
    return described(path)


def features(rows=10):
    words = pa.array([f"w{row % 7}" for row in range(rows)], pa.string())
    return pa.table({"id": np.arange(rows), "s": words, "x.y": np.arange(rows) * 0.5})


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 900), split_rows=st.integers(1, 300), chunk_rows=st.integers(20, 300))
def test_ranges_are_the_whole_file_whatever_the_cuts(tmp_path_factory, rows, split_rows, chunk_rows):
    """Every row once, in order."""
    table = features(rows)
    file = write(tmp_path_factory.mktemp("orc") / "x.orc", table, stripe_size=500, batch_size=100)
    scan = FORMAT.scan(file, ScanOptions(split_rows=split_rows))
    assert scan.rows == rows == sum(piece.rows for piece in scan.ranges)
    found, chunks = read_all(file, options=ScanOptions(split_rows=split_rows), chunk_rows=chunk_rows)
    assert found.equals(table)
    assert all(0 < chunk.batch.num_rows <= chunk_rows for chunk in chunks)


def test_stripes_are_the_units_of_ranges(tmp_path):
    """Small ones join, as row groups do."""
    file = write(tmp_path / "x.orc", features(1000), stripe_size=1000, batch_size=100)
    stripes = pyarrow.orc.ORCFile(file.uri).nstripes
    assert stripes > 4
    one_each = FORMAT.scan(file, ScanOptions(split_rows=1000 // stripes)).ranges
    assert [(piece.start, piece.stop) for piece in one_each] == [(index, index + 1) for index in range(stripes)]
    assert FORMAT.scan(file, ScanOptions()).ranges == (Range(0, stripes, 1000, 0),)


def test_columns_are_read_by_name_and_filled_where_absent(tmp_path):
    """In the plan's order and types; rows are kept where no column is wanted."""
    write(tmp_path / "x.orc", features(10))
    file = described(tmp_path / "x.orc", k="3")
    schema = pa.schema([("x.y", pa.float64()), ("absent", pa.int8()), ("k", pa.int32()), ("id", pa.float64())])
    found, _ = read_all(file, schema, chunk_rows=4)
    assert found.to_pydict() == {
        "x.y": [row * 0.5 for row in range(10)],
        "absent": [None] * 10,
        "k": [3] * 10,
        "id": list(range(10)),
    }
    assert [chunk.batch.num_rows for chunk in read_all(file, pa.schema([]), chunk_rows=4)[1]] == [4, 4, 2]


def test_types_and_estimates(tmp_path):
    """Nested values, decimals, times and nulls arrive; the estimate is of the right size."""
    table = pa.table(
        {
            "l": [[1, 2], None] * 50,
            "st": [{"a": 1}, None] * 50,
            "dec": pa.array([1, None] * 50).cast(pa.decimal128(21, 2)),
            "t": pa.array(range(100), pa.timestamp("ns")),
            "big": pa.array([2**53 + 1, None] * 50),
        }
    )
    file = write(tmp_path / "x.orc", table)
    assert read_all(file)[0].equals(table)
    assert FORMAT.scan(file, ScanOptions(columns=("t", "big"))).row_bytes == 16
    assert FORMAT.scan(file, ScanOptions()).row_bytes > 32


def test_a_file_without_rows_has_columns_and_no_range(tmp_path):
    """An empty input is no error."""
    scan = FORMAT.scan(write(tmp_path / "x.orc", features(0)), ScanOptions())
    assert (scan.rows, scan.ranges, scan.schema.names) == (0, (), ["id", "s", "x.y"])


def test_a_broken_container_is_one_line_that_names_the_file(tmp_path):
    """65 at planning."""
    write(tmp_path / "good.orc", features(1000))
    good = (tmp_path / "good.orc").read_bytes()
    for name, content, message in [
        ("empty", b"", r"empty file \(size 0\)"),
        ("csv", b"id,x\n1,2\n" * 10, "not an ORC file"),
        ("truncated", good[: len(good) // 2], "broken ORC file"),
        ("cut_tail", good[:-5], "broken ORC file"),
        ("magic_only", b"ORC", "broken ORC file"),
        ("name_no_utf8", good.replace(b"x.y", b"x\xffy"), "broken ORC file"),
    ]:
        (tmp_path / f"{name}.orc").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.orc: .*{message}") as caught:
            FORMAT.scan(described(tmp_path / f"{name}.orc"), ScanOptions())
        assert "\n" not in str(caught.value)


def test_a_damaged_body_and_a_changed_file_are_told_when_read(tmp_path):
    """Never a short success."""
    file = write(tmp_path / "x.orc", features(1000), compression="zlib")
    with pytest.raises(DataError, match="5 rows fewer than planned"):
        list(FORMAT.read(file, Range(0, 1, 1005, 0), ReadPlan(features().schema)))
    damaged = bytearray((tmp_path / "x.orc").read_bytes())
    damaged[50:1000] = b"\xff" * 950
    (tmp_path / "x.orc").write_bytes(damaged)
    with pytest.raises(DataError, match=r"x\.orc: broken ORC file"):
        list(FORMAT.read(file, Range(0, 1, 1000, 0), ReadPlan(features().schema)))
    with pytest.raises(UsageError, match="no lines of text"):
        FORMAT.scan(file, ScanOptions(lines=True))


def test_a_url_is_read_like_a_file(tmp_path):
    """Through fsspec."""
    write(tmp_path / "x.orc", features(100))
    fs = fsspec.filesystem("memory")
    fs.pipe("/bucket/x.orc", (tmp_path / "x.orc").read_bytes())
    (file,) = discover(["memory://bucket/x.orc"])
    assert read_all(file)[0].equals(features(100))
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
