"""This module tests Arrow IPC: the file and the stream format, dictionaries, and files that are broken."""

from __future__ import annotations

import os
import pickle

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DataError, UsageError
from bentobatch.formats.arrow_ipc import ArrowFormat
from bentobatch.formats.base import InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.discover import discover

FORMAT = ArrowFormat()


def described(path, **partition):
    return InputFile(str(path), os.stat(path).st_size, "", "arrow", partition=tuple(partition.items()))


def read_all(file, schema=None, *, options=None, **plan):
    """All rows of all ranges, as a table, and the chunks."""
    scan = FORMAT.scan(file, options or ScanOptions())
    schema = scan.schema if schema is None else schema
    chunks = [chunk for piece in scan.ranges for chunk in FORMAT.read(file, piece, ReadPlan(schema, **plan))]
    return pa.Table.from_batches([chunk.batch for chunk in chunks], schema), chunks


def write(path, table, *, stream=False, height=None, **options):
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=height)
    return described(path)


def features(rows=10):
    return pa.table({"id": np.arange(rows), "s": [f"w{row % 7}" for row in range(rows)], "x.y": np.arange(rows) * 0.5})


@settings(max_examples=40, deadline=None)
@given(
    heights=st.lists(st.integers(0, 40), max_size=8),
    split_rows=st.integers(1, 50),
    chunk_rows=st.integers(1, 40),
    stream=st.booleans(),
)
def test_ranges_are_the_whole_file_whatever_the_cuts(tmp_path_factory, heights, split_rows, chunk_rows, stream):
    """Every row once, in order, in both formats; a stream is one range."""
    path = tmp_path_factory.mktemp("arrow") / "x.arrow"
    table = features(sum(heights))
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        done = 0
        for height in heights:
            writer.write_batch(batch_of(table, done, height))
            done += height
    file = described(path)
    scan = FORMAT.scan(file, ScanOptions(split_rows=split_rows))
    assert scan.rows == table.num_rows == sum(piece.rows for piece in scan.ranges)
    if stream:
        assert len(scan.ranges) <= 1
    found, chunks = read_all(file, options=ScanOptions(split_rows=split_rows), chunk_rows=chunk_rows)
    assert found.equals(table)
    assert all(0 < chunk.batch.num_rows <= chunk_rows for chunk in chunks)


def batch_of(table, start, rows):
    columns = [column.slice(start, rows).combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
def test_feather_is_read(tmp_path, codec):
    """arrow/ok.feather, compressed or not."""
    pyarrow.feather.write_feather(features(), tmp_path / "x.feather", compression=codec or "uncompressed")
    assert read_all(described(tmp_path / "x.feather"))[0].equals(features())


def test_a_stream_under_the_files_extension_is_read(tmp_path):
    """arrow/stream.arrow: the bytes tell, not the name."""
    file = write(tmp_path / "stream.arrow", features(500), stream=True, height=100)
    assert FORMAT.scan(file, ScanOptions()).ranges == (Range(0, 5, 500, 0),)
    assert read_all(file)[0].equals(features(500))


def test_a_file_without_rows_has_columns_and_no_range(tmp_path):
    """In both formats."""
    for stream in (False, True):
        scan = FORMAT.scan(write(tmp_path / "x.arrow", features(0), stream=stream), ScanOptions())
        assert (scan.rows, scan.ranges, scan.schema) == (0, (), features(0).schema)


def test_only_wanted_columns_are_loaded(tmp_path):
    """By name and in the plan's order, a dot being part of a name; row_bytes is theirs."""
    file = write(tmp_path / "x.arrow", features(100), height=30)
    schema = pa.schema([("x.y", pa.float64()), ("absent", pa.int8()), ("id", pa.float64())])
    assert FORMAT.scan(file, ScanOptions(columns=("x.y",))).row_bytes == 8
    found, _ = read_all(file, schema)
    assert found.schema == schema
    assert found["id"].to_pylist() == list(range(100))
    assert found["absent"].null_count == 100
    for stream in (False, True):
        file = write(tmp_path / "x.arrow", features(100), stream=stream, height=30)
        assert sum(chunk.batch.num_rows for chunk in read_all(file, pa.schema([]))[1]) == 100
        assert FORMAT.scan(file, ScanOptions(columns=())).row_bytes == 0


def test_partition_values_are_added(tmp_path):
    """As for every format."""
    write(tmp_path / "x.arrow", features(2))
    found, _ = read_all(described(tmp_path / "x.arrow", k="3"), pa.schema([("k", pa.int32()), ("id", pa.int64())]))
    assert found.to_pydict() == {"k": [3, 3], "id": [0, 1]}


@pytest.mark.parametrize("stream", [False, True])
def test_dictionaries_that_grow_or_change_are_read(tmp_path, stream):
    """Deltas in both formats, replacements in streams; chunks over such batches agree on one dictionary."""
    type = pa.dictionary(pa.int8(), pa.string())
    first, second = ["a", "b"], ["a", "b", "c"] if not stream else ["z", "a"]
    batches = [
        pa.record_batch([pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), words)], names=["d"])
        for words in (first, second)
    ]
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(
        str(tmp_path / "x.arrow"), batches[0].schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)
    expected = ["a", "b", *second[:2]]
    file = described(tmp_path / "x.arrow")
    for height in (3, 10):
        found, _ = read_all(file, chunk_rows=height)
        assert found["d"].to_pylist() == expected
        assert found["d"].type == type
    assert read_all(file, pa.schema([("d", pa.string())]))[0]["d"].to_pylist() == expected


def test_dictionaries_too_many_for_one_index_type_stay_apart(tmp_path):
    """Two batches with 100 words each cannot share int8 indices: the chunk ends between them."""
    batches = [
        pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(
                    pa.array(range(100), pa.int8()), [f"w{start + index}" for index in range(100)]
                )
            ],
            names=["d"],
        )
        for start in (0, 100)
    ]
    with pa.ipc.new_stream(str(tmp_path / "x.arrow"), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    found, chunks = read_all(described(tmp_path / "x.arrow"))
    assert [chunk.batch.num_rows for chunk in chunks] == [100, 100]
    assert found["d"].to_pylist() == [f"w{index}" for index in range(200)]


def broken_files(tmp_path):
    write(tmp_path / "f", features(1000), height=100)
    write(tmp_path / "s", features(1000), height=100, stream=True)
    file, stream = (tmp_path / "f").read_bytes(), (tmp_path / "s").read_bytes()
    yield "empty", b"", r"empty file \(size 0\)"
    yield "truncated", file[: len(file) // 2], "broken Arrow file"
    yield "no_footer", file[:-10], "broken Arrow file"
    yield "magic_only", file[:8], "broken Arrow file"
    yield "stream_cut", stream[: len(stream) // 2], "broken Arrow file"
    yield "stream_head", stream[:20], "broken Arrow file|not an Arrow file"
    yield "csv", b"id,x\n1,2\n" * 10, "not an Arrow file or stream"
    yield "huge_message", b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0" * 100, "not an Arrow file or stream"
    yield "feather_1", b"FEA1" + b"\0" * 100 + b"FEA1", "Feather version 1 is not read"


def test_a_broken_container_is_one_line_that_names_the_file(tmp_path):
    """arrow/truncated.arrow and its relatives: 65 at planning."""
    for name, content, message in broken_files(tmp_path):
        (tmp_path / f"{name}.arrow").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.arrow: .*({message})") as caught:
            FORMAT.scan(described(tmp_path / f"{name}.arrow"), ScanOptions())
        assert "\n" not in str(caught.value)


def test_offsets_and_indices_that_point_nowhere_are_refused(tmp_path):
    """The reader trusts them; whoever used the values would read foreign memory."""
    wild = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 10**6, 2], np.int32)), pa.py_buffer(b"ab")]
    )
    nested = pa.ListArray.from_buffers(
        pa.list_(pa.int64()), 2, [None, pa.py_buffer(np.array([0, 10**6, 1], np.int32))], children=[pa.array([1])]
    )
    index = pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int32()), ["a"], safe=False)
    for array in (wild, nested, index):
        path = tmp_path / "wild.arrow"
        with pa.ipc.new_file(str(path), pa.schema([("x", array.type)])) as writer:
            writer.write_batch(pa.record_batch([array], names=["x"]))
        with pytest.raises(DataError, match=r"wild\.arrow"):
            read_all(described(path))


def test_text_that_is_no_utf8_costs_its_row(tmp_path):
    """As in Parquet."""
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xffa")]
    )
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), pa.schema([("s", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([text], names=["s"]))
    found, (chunk,) = read_all(described(tmp_path / "x.arrow"))
    assert found["s"].to_pylist() == [None, "a"]
    assert [row.index for row in chunk.bad] == [0]


def test_a_file_with_fewer_rows_than_planned_is_refused(tmp_path):
    """It changed; no short success."""
    file = write(tmp_path / "x.arrow", features(10))
    for stream in (False, True):
        file = write(tmp_path / "x.arrow", features(10), stream=stream)
        with pytest.raises(DataError, match="2 rows fewer than planned"):
            list(FORMAT.read(file, Range(0, 1, 12, 0), ReadPlan(features().schema)))
    with pytest.raises(UsageError, match="no lines of text"):
        FORMAT.scan(file, ScanOptions(lines=True))


class _Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_in_the_metadata_is_not_run(tmp_path):
    """CVE-2023-47248, in the format where it was found."""
    canary = tmp_path / "CANARY_EXECUTED"
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(_Canary(str(canary))),
    }
    schema = pa.schema([pa.field("x", pa.int64(), metadata=metadata)])
    for stream in (False, True):
        file = write(tmp_path / "x.arrow", pa.Table.from_arrays([pa.array([1, 2])], schema=schema), stream=stream)
        found, _ = read_all(file)
        assert found["x"].to_pylist() == [1, 2]
    assert not canary.exists()


@pytest.mark.parametrize("stream", [False, True])
def test_a_url_is_read_like_a_file(tmp_path, stream):
    """Through fsspec."""
    write(tmp_path / "x.arrow", features(100), stream=stream, height=30)
    fs = fsspec.filesystem("memory")
    fs.pipe("/bucket/x.arrow", (tmp_path / "x.arrow").read_bytes())
    (file,) = discover(["memory://bucket/x.arrow"])
    assert read_all(file)[0].equals(features(100))
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_name_that_stands_twice_is_no_crash(tmp_path):
    """It is refused where it is wanted, by planning, which sees it in the schema; else it is passed over."""
    twice = pa.record_batch([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], names=["x0", "x0", "id"])
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        with make(str(tmp_path / "x.arrow"), twice.schema) as writer:
            writer.write_batch(twice)
        file = described(tmp_path / "x.arrow")
        scan = FORMAT.scan(file, ScanOptions(columns=("x0",)))
        assert scan.schema.names == ["x0", "x0", "id"]
        (chunk,) = FORMAT.read(file, scan.ranges[0], ReadPlan(pa.schema([("id", pa.float64())])))
        assert chunk.batch.to_pydict() == {"id": [3.0]}
