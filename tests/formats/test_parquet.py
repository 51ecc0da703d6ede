"""This module tests Parquet: planning from the footer, exact ranges and chunks, and files that are broken or odd."""

from __future__ import annotations

import gc
import os
import pickle
import resource

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DataError, NoInputError, UsageError
from bentobatch.formats.base import InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.convert import conform_files
from bentobatch.formats.discover import HIVE_NULL, discover
from bentobatch.formats.parquet import ParquetFormat

FORMAT = ParquetFormat()


def described(path, **partition):
    return InputFile(str(path), os.stat(path).st_size, "", "parquet", partition=tuple(partition.items()))


def read_all(file, schema=None, *, scan=None, **plan):
    """All chunks of all ranges, one list for each range."""
    scan = scan or FORMAT.scan(file, ScanOptions())
    schema = scan.schema if schema is None else schema
    return [list(FORMAT.read(file, piece, ReadPlan(schema, **plan))) for piece in scan.ranges]


def as_table(ranges, schema):
    return pa.Table.from_batches([chunk.batch for chunks in ranges for chunk in chunks], schema)


def features(rows=10):
    return pa.table({"id": np.arange(rows), **{f"x{index}": np.arange(rows) * 0.5 + index for index in range(3)}})


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 60), max_size=8),
    split_rows=st.integers(1, 50),
    chunk_rows=st.integers(1, 40),
    chunk_bytes=st.sampled_from([1, 100, 300, 1 << 20]),
)
def test_ranges_and_chunks_are_the_whole_file_whatever_the_cuts(
    tmp_path_factory, groups, split_rows, chunk_rows, chunk_bytes
):
    """Every row once, in order; chunks within their bounds; and the same chunks every time."""
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    rows = sum(groups)
    whole = pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "s": pa.array(["x" * (row * 7 % 90) for row in range(rows)], pa.string()),
            "d": pa.array([f"w{row // 13}" for row in range(rows)], pa.string()).dictionary_encode(),
        }
    )
    with pq.ParquetWriter(path, whole.schema) as writer:
        done = 0
        for height in groups:
            writer.write_table(whole.slice(done, height))
            done += height
    file = described(path)
    scan = FORMAT.scan(file, ScanOptions(split_rows=split_rows))
    assert scan.rows == rows == sum(piece.rows for piece in scan.ranges)
    assert [piece.first_row for piece in scan.ranges] == np.cumsum([0, *(p.rows for p in scan.ranges)])[:-1].tolist()
    assert all(piece.rows <= max(2 * split_rows, *groups) and piece.rows for piece in scan.ranges)
    plan = {"chunk_rows": chunk_rows, "chunk_bytes": chunk_bytes}
    ranges = read_all(file, scan=scan, **plan)
    assert as_table(ranges, scan.schema).equals(whole)
    for piece, chunks in zip(scan.ranges, ranges, strict=True):
        assert sum(chunk.batch.num_rows for chunk in chunks) == piece.rows
        heights = [chunk.batch.num_rows for chunk in chunks]
        assert max(heights) <= chunk_rows
        if chunk_bytes == 1 << 20:
            assert all(height == chunk_rows for height in heights[:-1])
        for chunk in chunks:
            size = sum(c.indices.nbytes if pa.types.is_dictionary(c.type) else c.nbytes for c in chunk.batch.columns)
            assert chunk.batch.num_rows == 1 or size <= chunk_bytes
    again = read_all(file, scan=scan, **plan)
    assert [[chunk.batch for chunk in chunks] for chunks in again] == [[chunk.batch for chunk in c] for c in ranges]


def test_a_large_row_group_is_cut_in_at_most_sixteen_pieces(tmp_path):
    """Each piece decodes the group from its head, so that more would cost more than they bring."""
    pq.write_table(features(1000), tmp_path / "x.parquet")
    file = described(tmp_path / "x.parquet")
    assert [(p.skip, p.rows) for p in FORMAT.scan(file, ScanOptions(split_rows=300)).ranges] == [
        (0, 333),
        (333, 333),
        (666, 334),
    ]
    assert len(FORMAT.scan(file, ScanOptions(split_rows=600)).ranges) == 1
    pieces = FORMAT.scan(file, ScanOptions(split_rows=10)).ranges
    assert len(pieces) == 16
    assert {(piece.start, piece.stop) for piece in pieces} == {(0, 1)}


def test_ranges_are_bounded_by_bytes_of_the_wanted_columns(tmp_path):
    """Row groups join until split_bytes; what is not read does not count."""
    table = pa.table({"a": np.zeros(1000), "b": np.random.default_rng(0).random(1000)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100)
    file = described(tmp_path / "x.parquet")
    wide = FORMAT.scan(file, ScanOptions(split_bytes=3200))
    narrow = FORMAT.scan(file, ScanOptions(split_bytes=3200, columns=("b",)))
    assert (wide.row_bytes, narrow.row_bytes) == (16, 8)
    assert [piece.stop for piece in wide.ranges] == [2, 4, 6, 8, 10]
    assert [piece.stop for piece in narrow.ranges] == [4, 8, 10]


def test_no_footer_outlives_the_look_at_its_file(tmp_path):
    """Footers are large, and the garbage collector, which counts objects, may leave thousands of them for long."""
    path = tmp_path / "f.parquet"
    pq.write_table(features(), path)
    known = {id(each) for each in gc.get_objects() if isinstance(each, pq.FileMetaData)}
    gc.disable()
    try:
        scan = ParquetFormat().scan(described(path), ScanOptions())
        chunks = list(ParquetFormat().read(described(path), scan.ranges[0], ReadPlan(scan.schema)))
        left = [each for each in gc.get_objects() if isinstance(each, pq.FileMetaData) and id(each) not in known]
    finally:
        gc.enable()
    assert sum(chunk.batch.num_rows for chunk in chunks) == 10
    assert not left


def test_the_row_estimate_counts_strings_and_lists(tmp_path):
    """Within a small factor of what they take in memory."""
    table = pa.table({"s": ["some text " * 10] * 1000, "l": [[1.0] * 20] * 1000})
    pq.write_table(table, tmp_path / "x.parquet", use_dictionary=False)
    estimate = FORMAT.scan(described(tmp_path / "x.parquet"), ScanOptions()).row_bytes
    assert table.nbytes / 1000 / 2 < estimate < table.nbytes / 1000 * 4


@pytest.mark.parametrize("groups", [0, 1])
def test_a_file_without_rows_has_columns_and_no_range(tmp_path, groups):
    """parquet/zero_row_groups, zero_rows."""
    with pq.ParquetWriter(tmp_path / "x.parquet", features().schema) as writer:
        for _ in range(groups):
            writer.write_table(features(0))
    scan = FORMAT.scan(described(tmp_path / "x.parquet"), ScanOptions())
    assert (scan.rows, scan.ranges, scan.row_bytes, scan.schema.names) == (0, (), 0.0, ["id", "x0", "x1", "x2"])


TYPES = {
    "all_null_typed": pa.nulls(10, pa.float64()),
    "dictionary": pa.array(["a", "b"] * 5).dictionary_encode(),
    "large_string": pa.array(["a"] * 10, pa.large_string()),
    "string_view": pa.array(["a"] * 10, pa.string_view()),
    "timestamp_tz": pa.array(range(10), pa.timestamp("us", "Europe/Berlin")),
    "list": pa.array([[1, 2], None] * 5),
    "struct": pa.array([{"a": 1, "b": {"c": "x"}}, None] * 5),
    "map": pa.array([[("k", 1)], None] * 5, pa.map_(pa.string(), pa.int64())),
    "decimal": pa.array([1, None] * 5).cast(pa.decimal128(21, 2)),
    "int_53": pa.array([2**53 + 1, None] * 5),
    "null": pa.nulls(10),
    "fixed_size_binary": pa.array([b"ab"] * 10, pa.binary(2)),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_arrives_as_it_is(tmp_path, name):
    """The file's own types, bit for bit, over row groups and chunks."""
    table = features().append_column("y", TYPES[name])
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    file = described(tmp_path / "x.parquet")
    assert as_table(read_all(file, chunk_rows=3), table.schema).equals(table)


@pytest.mark.parametrize("codec", ["zstd", "lz4", "gzip", "snappy", "brotli"])
def test_every_codec_is_read(tmp_path, codec):
    """parquet/codec_*."""
    pq.write_table(features(100), tmp_path / "x.parquet", compression=codec)
    assert as_table(read_all(described(tmp_path / "x.parquet")), features().schema).equals(features(100))


def test_columns_are_read_by_name_and_only_those_wanted(tmp_path):
    """parquet/order_shuffled, int_features: the plan's order and types, whatever the file's."""
    pq.write_table(features().select(["x2", "id", "x0", "x1"]), tmp_path / "x.parquet")
    schema = pa.schema([("x0", pa.float64()), ("x1", pa.float64()), ("id", pa.float64())])
    ((chunk,),) = read_all(described(tmp_path / "x.parquet"), schema)
    assert chunk.batch.schema == schema
    assert chunk.batch.column(2).to_pylist() == list(range(10))


def test_a_dot_in_a_name_is_part_of_it(tmp_path):
    """parquet/dotted_names: a.b is a column, and the member b of a is not taken for it."""
    table = pa.table({"a": [{"b": 1, "c": 2}], "a.b": [3], "a.b.c": [4], "ä ö": [5], "x": [6]})
    pq.write_table(table, tmp_path / "x.parquet")
    for names in (["a.b"], ["a"], ["a.b.c", "a"], ["ä ö"], table.schema.names):
        wanted = table.select(names)
        assert as_table(read_all(described(tmp_path / "x.parquet"), wanted.schema), wanted.schema).equals(wanted)
    absent = pa.schema([("a.c", pa.int64())])
    assert as_table(read_all(described(tmp_path / "x.parquet"), absent), absent)["a.c"].null_count == 1


def test_rows_are_counted_where_no_column_is_wanted(tmp_path):
    """A plan of no columns, or of partition columns alone, still has its rows."""
    pq.write_table(features(10), tmp_path / "x.parquet", row_group_size=4)
    chunks = read_all(described(tmp_path / "x.parquet"), pa.schema([]), chunk_rows=3)[0]
    assert [chunk.batch.num_rows for chunk in chunks] == [3, 3, 3, 1]
    file = described(tmp_path / "x.parquet", day="2026-01-01")
    chunks = read_all(file, pa.schema([("day", pa.string())]), chunk_rows=7)[0]
    assert [chunk.batch.column(0).to_pylist() for chunk in chunks] == [["2026-01-01"] * 7, ["2026-01-01"] * 3]


def test_partition_values_are_columns_of_every_row(tmp_path):
    """They win over a column of the file, take the settled type, and the hive null is null."""
    pq.write_table(pa.table({"x": [1, 2], "day": ["no", "no"]}), tmp_path / "x.parquet")
    file = described(tmp_path / "x.parquet", day="7", city=HIVE_NULL)
    assert FORMAT.scan(file, ScanOptions()).schema.names == ["x"]
    schema = pa.schema([("day", pa.int64()), ("x", pa.int64()), ("city", pa.string())])
    ((chunk,),) = read_all(file, schema)
    assert chunk.batch.to_pydict() == {"day": [7, 7], "x": [1, 2], "city": [None, None]}
    with pytest.raises(DataError, match=r"x\.parquet: partition column day: 'x' is not a valid int64"):
        read_all(described(tmp_path / "x.parquet", day="x"), schema)


def test_a_value_that_does_not_fit_costs_its_row(tmp_path):
    """Bad rows are told by their place in their chunk, wherever chunks and row groups end."""
    pq.write_table(pa.table({"x": [1.0, 2.5, 3.0, 4.5, 5.0, 6.5, 7.0]}), tmp_path / "x.parquet", row_group_size=3)
    (chunks,) = read_all(described(tmp_path / "x.parquet"), pa.schema([("x", pa.int64())]), chunk_rows=2)
    assert [[row.index for row in chunk.bad] for chunk in chunks] == [[1], [1], [1], []]
    assert [chunk.batch.column(0).to_pylist() for chunk in chunks] == [[1, None], [3, None], [5, None], [7]]


@pytest.mark.parametrize("type", [pa.string(), pa.large_string()])
def test_text_that_is_no_utf8_costs_its_row(tmp_path, type):
    """pyarrow does not look; whoever uses the value would stumble over it later."""
    offsets = np.array([0, 1, 2, 3], np.int64 if type == pa.large_string() else np.int32)
    text = pa.Array.from_buffers(type, 3, [None, pa.py_buffer(offsets), pa.py_buffer(b"a\xffb")])
    pq.write_table(pa.table({"s": text}), tmp_path / "x.parquet")
    ((chunk,),) = read_all(described(tmp_path / "x.parquet"))
    assert chunk.batch.column(0).to_pylist() == ["a", None, "b"]
    assert [(row.index, row.error) for row in chunk.bad] == [(1, f"column s: b'\\xff' is not a valid {type}")]


def test_duplicate_columns_stay_visible_for_the_check(tmp_path):
    """parquet/dup_columns: the schema keeps both, so that planning can refuse them; others can be read."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["x0", "x0", "x1"])
    pq.write_table(table, tmp_path / "x.parquet")
    scan = FORMAT.scan(described(tmp_path / "x.parquet"), ScanOptions())
    with pytest.raises(DataError, match=r"x\.parquet: duplicate column x0"):
        conform_files([("x.parquet", scan.schema)], ["x0"], {})
    ((chunk,),) = read_all(described(tmp_path / "x.parquet"), pa.schema([("x1", pa.int64())]))
    assert chunk.batch.to_pydict() == {"x1": [3]}


def body(tmp_path, **options):
    pq.write_table(features(20_000), tmp_path / "good.parquet", **options)
    return bytearray((tmp_path / "good.parquet").read_bytes())


def broken_files(tmp_path):
    good = body(tmp_path)
    footer = int.from_bytes(good[-8:-4], "little")
    yield "empty", b"", r"empty file \(size 0\)"
    yield "csv_renamed", b"id,x0\n1,2\n" * 20, "not a parquet file"
    yield "tiny", b"PAR1", "truncated Parquet file"
    yield "truncated", bytes(good[:-100]), "truncated Parquet file"
    yield "huge_footer_len", b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\x7fPAR1", "broken Parquet file"
    yield "no_footer", b"PAR1" + b"\0" * 100 + b"\x10\0\0\0PAR1", "broken Parquet file"
    yield "footer_garbage", bytes(good[: -8 - footer]) + b"\xff" * footer + bytes(good[-8:]), "broken Parquet file"
    yield "encrypted", b"PARE" + b"\0" * 100 + b"\x10\0\0\0PARE", "broken Parquet file"


def test_a_broken_container_is_one_line_that_names_the_file(tmp_path):
    """parquet/empty, csv_renamed, huge_footer_len…: 65 at planning, without a huge allocation."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content, message in broken_files(tmp_path):
        (tmp_path / f"{name}.parquet").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.parquet: .*{message}") as caught:
            FORMAT.scan(described(tmp_path / f"{name}.parquet"), ScanOptions())
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_damaged_body_is_told_when_it_is_read(tmp_path):
    """parquet/body_truncated: the footer is whole, the pages are not."""
    good = body(tmp_path)
    footer = int.from_bytes(good[-8:-4], "little") + 8
    path = tmp_path / "body_truncated.parquet"
    path.write_bytes(bytes(good[:5000]) + bytes(good[-footer:]))
    with pytest.raises(DataError, match=r"body_truncated\.parquet: broken Parquet file") as caught:
        read_all(described(path))
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found_where_pages_have_checksums(tmp_path):
    """Without them nothing can find it, which is documented."""
    good = body(tmp_path, write_page_checksum=True, compression="none", use_dictionary=False)
    good[100_000] ^= 1
    path = tmp_path / "bitflip.parquet"
    path.write_bytes(good)
    with pytest.raises(DataError, match=r"bitflip\.parquet: broken Parquet file: .*CRC"):
        read_all(described(path))


def test_a_file_that_changed_after_planning_is_refused(tmp_path):
    """Fewer rows than the plan has are no short success."""
    path = tmp_path / "x.parquet"
    pq.write_table(features(10), path)
    file = described(path)
    with pytest.raises(DataError, match="changed while it was read: 5 rows fewer than planned"):
        list(FORMAT.read(file, Range(0, 1, 15, 0), ReadPlan(features().schema)))
    pq.write_table(features(1000), path)
    with pytest.raises(DataError, match="changed while it was read"):
        list(FORMAT.read(file, Range(0, 1, 10, 0), ReadPlan(features().schema)))
    path.unlink()
    with pytest.raises(NoInputError, match=r"x\.parquet"):
        list(FORMAT.read(file, Range(0, 1, 10, 0), ReadPlan(features().schema)))


def test_lines_are_refused(tmp_path):
    """A typed file has no lines of text."""
    pq.write_table(features(1), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="no lines of text"):
        FORMAT.scan(described(tmp_path / "x.parquet"), ScanOptions(lines=True))


class _Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_in_the_metadata_is_not_run(tmp_path):
    """CVE-2023-47248: arrow.py_extension_type carried one in its field metadata."""
    canary = tmp_path / "CANARY_EXECUTED"
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(_Canary(str(canary))),
    }
    schema = pa.schema([pa.field("x", pa.int64(), metadata=metadata)])
    pq.write_table(pa.Table.from_arrays([pa.array([1, 2])], schema=schema), tmp_path / "x.parquet")
    file = described(tmp_path / "x.parquet")
    scan = FORMAT.scan(file, ScanOptions())
    settled = conform_files([("x", scan.schema)], None, {})
    assert as_table(read_all(file, settled), settled)["x"].to_pylist() == [1, 2]
    assert settled.field("x").metadata is None
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", [b"with space", b"per%20cent#hash?q", b"-dash", b"quote'\"", b"n" * 240, b"bad\xffutf8"], ids=repr
)
def test_files_of_odd_names_are_read(tmp_path, monkeypatch, name):
    """names/*: from the command line's argument to the last row."""
    monkeypatch.chdir(tmp_path)
    with open(name + b".parquet", "wb") as sink:
        pq.write_table(features(5), sink)
    (file,) = discover([os.fsdecode(name) + ".parquet"])
    assert as_table(read_all(file), features().schema).equals(features(5))


@pytest.mark.parametrize("limit", [128 << 20, 10])
def test_a_url_is_read_like_a_file(monkeypatch, limit):
    """Whole column chunks at a time, or buffered where row groups are large."""
    monkeypatch.setattr("bentobatch.formats.parquet._LARGE_GROUP", limit)
    fs = fsspec.filesystem("memory")
    with fs.open("/bucket/x.parquet", "wb") as sink:
        pq.write_table(features(1000), sink, row_group_size=300)
    (file,) = discover(["memory://bucket/x.parquet"])
    assert as_table(read_all(file), features().schema).equals(features(1000))
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_reading_holds_a_few_chunks_and_not_the_row_group(tmp_path):
    """A row group of 64 MB of values in chunks of 1 MB: Arrow's pool never holds more than a fraction."""
    path = tmp_path / "x.parquet"
    values = np.random.default_rng(0).random(8_000_000)
    pq.write_table(pa.table({"x": values}), path, row_group_size=8_000_000, use_dictionary=False, compression="none")
    file = described(path)
    plan = ReadPlan(pa.schema([("x", pa.float64())]), chunk_rows=131_072)
    before = pa.total_allocated_bytes()
    highest = 0
    for _ in FORMAT.read(file, Range(0, 1, 8_000_000, 0), plan):
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert highest < 16 << 20


def test_long_texts_in_a_dictionary_do_not_pass_the_bound_of_a_chunk(tmp_path):
    """A file of a few kB may hold one text of a megabyte for each of its rows: it is read a few rows at a time."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array(["a" * 1_000_000]))
    path = tmp_path / "words.parquet"
    pq.write_table(pa.table({"s": words}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 20_000
    file = described(path)
    scan = FORMAT.scan(file, ScanOptions())
    rows, before = 0, pa.total_allocated_bytes()
    for chunk in FORMAT.read(file, scan.ranges[0], ReadPlan(scan.schema, chunk_bytes=8 << 20)):
        assert pa.total_allocated_bytes() - before < 64 << 20
        assert chunk.batch.nbytes < 9 << 20
        rows += chunk.batch.num_rows
    assert rows == 300


def test_tiny_row_groups_are_read_in_runs(tmp_path):
    """A row group has a price of its own; the rows and their order are those of the file, across ranges too."""
    table = pa.table({"x": pa.array(range(1000), pa.int64()), "s": pa.array([f"w{row % 3}" for row in range(1000)])})
    path = tmp_path / "tiny.parquet"
    pq.write_table(table, path, row_group_size=1)
    file = described(path)
    scan = FORMAT.scan(file, ScanOptions(split_rows=300))
    assert [piece.rows for piece in scan.ranges] == [300, 300, 300, 100]
    chunks = [
        chunk for piece in scan.ranges for chunk in FORMAT.read(file, piece, ReadPlan(scan.schema, chunk_rows=128))
    ]
    assert [chunk.batch.num_rows for chunk in chunks] == [128, 128, 44] * 3 + [100]
    assert pa.Table.from_batches([chunk.batch for chunk in chunks]).equals(table)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array([0, 10**15, 1], pa.int64()).view(pa.time64("us")), "not within the acceptable range"),
        (pa.ListArray.from_arrays([0, 1, 2, 3], pa.array([b"a", b"\xff", b"c"]).view(pa.string())), "UTF8"),
    ],
)
def test_a_value_that_its_type_does_not_allow_costs_its_row(tmp_path, values, reason):
    """The reader lets it through, and whoever used it would raise or write it on."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": values}), path)
    file = described(path)
    scan = FORMAT.scan(file, ScanOptions())
    (chunk,) = FORMAT.read(file, scan.ranges[0], ReadPlan(scan.schema))
    assert [(row.index, row.stage) for row in chunk.bad] == [(1, "read")]
    assert "column x" in chunk.bad[0].error
    assert reason in chunk.bad[0].error
    assert chunk.batch["x"].is_valid().to_pylist() == [True, False, True]
