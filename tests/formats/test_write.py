"""This module tests output files: what each format makes of every type, and that readers get it back."""

from __future__ import annotations

import csv
import datetime
import decimal
import errno
import gc
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import OutputError, UsageError
from bentobatch.formats.json_form import json_values
from bentobatch.formats.write import ENCODING, JSON, ROW_GROUP_ROWS, part_writer

FORMATS = ("parquet", "arrow", "csv", "jsonl")


def written(format, table, *, height=None, **options):
    sink = io.BytesIO()
    with part_writer(format, table.schema, sink, **options) as writer:
        for batch in table.to_batches(max_chunksize=height):
            writer.write(batch)
    assert not sink.closed
    assert writer.rows == table.num_rows
    assert writer.bytes == len(sink.getvalue())
    return sink.getvalue()


def read_typed(format, data):
    return pq.read_table(io.BytesIO(data)) if format == "parquet" else pa.ipc.open_file(data).read_all()


RICH = pa.table(
    {
        "i": pa.array([2**53 + 1, None]),
        "u": pa.array([2**64 - 1, 0], pa.uint64()),
        "f": [0.1, float("nan")],
        "f32": pa.array([0.1, float("inf")], pa.float32()),
        "b": [True, None],
        "s": ['a"b,\nc', ""],
        "ls": pa.array(["=1+1", None], pa.large_string()),
        "sv": pa.array(["x", None], pa.string_view()),
        "dict": pa.array(["u", "v"]).dictionary_encode(),
        "bin": pa.array([b"\xff\x00", None]),
        "fsb": pa.array([b"ab", b"cd"], pa.binary(2)),
        "dec": pa.array([decimal.Decimal("1.10"), None]),
        "ts": pa.array([1, None], pa.timestamp("ns")),
        "utc": pa.array([1, 10**6], pa.timestamp("us", "UTC")),
        "berlin": pa.array([1, 10**6], pa.timestamp("us", "Europe/Berlin")),
        "d": pa.array([1, None], pa.date32()),
        "d64": pa.array([86_400_000, None], pa.date64()),
        "t": pa.array([1, None], pa.time64("us")),
        "du": pa.array([1, None], pa.duration("s")),
        "null": pa.nulls(2),
        "l": pa.array([[1, None], None]),
        "ld": pa.array([["a"], None], pa.list_(pa.string())).cast(pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "fl": pa.array([[1, 2], None], pa.list_(pa.int64(), 2)),
        "st": pa.array([{"a": 1.5, "b": [datetime.date(2026, 1, 1)]}, None]),
        "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "mi": pa.array([[(1, "v")], None], pa.map_(pa.int64(), pa.string())),
    }
)

JSON_ROWS = [
    {
        "i": 2**53 + 1,
        "u": 2**64 - 1,
        "f": 0.1,
        "f32": float(np.float32(0.1)),
        "b": True,
        "s": 'a"b,\nc',
        "ls": "=1+1",
        "sv": "x",
        "dict": "u",
        "bin": "/wA=",
        "fsb": "YWI=",
        "dec": "1.10",
        "ts": "1970-01-01T00:00:00.000000001",
        "utc": "1970-01-01T00:00:00.000001Z",
        "berlin": "1970-01-01T01:00:00.000001+01:00",
        "d": "1970-01-02",
        "d64": "1970-01-02",
        "t": "00:00:00.000001",
        "du": 1,
        "null": None,
        "l": [1, None],
        "ld": ["a"],
        "fl": [1, 2],
        "st": {"a": 1.5, "b": ["2026-01-01"]},
        "m": {"k": 1},
        "mi": [[1, "v"]],
    },
    dict.fromkeys(RICH.schema.names)
    | {
        "u": 0,
        "s": "",
        "dict": "v",
        "fsb": "Y2Q=",
        "utc": "1970-01-01T00:00:01.000000Z",
        "berlin": "1970-01-01T01:00:01.000000+01:00",
    },
]


def test_json_lines_have_a_form_for_every_type():
    """The rules at the top of json_form; integers exact, null columns kept, one object for each row."""
    lines = written("jsonl", RICH, height=1).splitlines()
    assert [json.loads(line) for line in lines] == JSON_ROWS


def test_json_that_stands_in_a_column_is_embedded():
    """A field marked as JSON is not quoted again."""
    schema = pa.schema([pa.field("p", pa.string(), metadata={ENCODING: JSON}), ("q", pa.string())])
    table = pa.Table.from_arrays([pa.array(['{"a":[1,2.50]}', None]), pa.array(['{"a":1}', None])], schema=schema)
    assert written("jsonl", table) == b'{"p":{"a":[1,2.50]},"q":"{\\"a\\":1}"}\n{"p":null,"q":null}\n'


@pytest.mark.parametrize("array", [RICH[name].combine_chunks() for name in ("l", "fl", "st", "m", "mi")])
def test_nested_values_of_a_slice_are_those_of_its_rows(array):
    """A slice shares its children with the whole array."""
    longer = pa.concat_arrays([array] * 3)
    assert json_values(longer.slice(1, 3)) == json_values(longer)[1:4]


def plain_rich():
    """RICH with the types that files keep: dictionaries and views as plain values."""
    names = {"dict": pa.string(), "sv": pa.string(), "ld": pa.list_(pa.string())}
    return RICH.cast(pa.schema([field.with_type(names.get(field.name, field.type)) for field in RICH.schema]))


def cells(table):
    """Comparable text of all values (NaN equals NaN)."""
    return {name: str(table[name].to_pylist()) for name in table.schema.names if name != "ts"} | {
        "ts": str(table["ts"].cast(pa.int64()).to_pylist())
    }


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_typed_formats_keep_every_value_and_type(format):
    """Bit for bit, but for dictionaries and views, which are written as plain values."""
    back = read_typed(format, written(format, RICH, height=1))
    plain = plain_rich()
    if format == "parquet":  # Parquet has no such type; pyarrow reads it as days
        plain = plain.set_column(plain.schema.get_field_index("d64"), "d64", plain["d64"].cast(pa.date32()))
    same = [name for name in plain.schema.names if back.schema.field(name).type == plain.schema.field(name).type]
    assert set(plain.schema.names) - set(same) <= {"d64"}
    assert cells(back) == cells(plain)


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_batches_with_other_dictionaries_make_one_file(format):
    """Dictionaries belong to a batch, which IPC files and row groups cannot hold."""
    type = pa.dictionary(pa.int8(), pa.string())
    sink = io.BytesIO()
    with part_writer(format, pa.schema([("d", type)]), sink) as writer:
        for start in range(0, 300, 100):
            words = pa.array([f"w{start + index}" for index in range(100)])
            writer.write(pa.record_batch([words.cast(type)], names=["d"]))
        assert writer.schema == pa.schema([("d", pa.string())])
    assert read_typed(format, sink.getvalue())["d"].to_pylist() == [f"w{index}" for index in range(300)]


def test_csv_has_a_form_for_every_type():
    """Text quoted as RFC 4180 has it, null empty, nested values as JSON."""
    header, first, second = csv.reader(io.StringIO(written("csv", RICH).decode(), newline=""), strict=True)
    assert header == RICH.schema.names
    assert dict(zip(header, first, strict=True)) == {
        "i": "9007199254740993",
        "u": "18446744073709551615",
        "f": "0.1",
        "f32": "0.1",
        "b": "true",
        "s": 'a"b,\nc',
        "ls": "=1+1",
        "sv": "x",
        "dict": "u",
        "bin": "/wA=",
        "fsb": "YWI=",
        "dec": "1.10",
        "ts": "1970-01-01 00:00:00.000000001",
        "utc": "1970-01-01 00:00:00.000001Z",
        "berlin": "1970-01-01 01:00:00.000001+0100",
        "d": "1970-01-02",
        "d64": "1970-01-02",
        "t": "00:00:00.000001",
        "du": "1",
        "null": "",
        "l": "[1,null]",
        "ld": '["a"]',
        "fl": "[1,2]",
        "st": '{"a":1.5,"b":["2026-01-01"]}',
        "m": '{"k":1}',
        "mi": '[[1,"v"]]',
    }
    assert dict(zip(header, second, strict=True))["st"] == ""


def test_csv_tells_null_from_empty_text():
    """Nothing between commas against two quotes."""
    table = pa.table({"a": ["", None], "b": [1, 2]})
    assert written("csv", table) == b'"a","b"\n"",1\n,2\n'


@pytest.mark.parametrize(
    ("column", "lines"),
    [
        (pa.array([1.5, None, float("nan")]), b'1.5\n""\nnan\n'),
        (pa.array(['a"b', None, ""]), b'"a""b"\n""\n""\n'),
        (pa.array([[1], None]), b'"[1]"\n""\n'),
        (pa.nulls(2), b'""\n""\n'),
    ],
)
def test_a_null_in_the_only_csv_column_is_still_a_row(column, lines):
    """Readers pass over blank lines; a row must not get lost there."""
    data = written("csv", pa.table({"p": column}))
    assert data == b'"p"\n' + lines
    assert pyarrow.csv.read_csv(io.BytesIO(data)).num_rows == len(column)


def test_csv_header_can_be_left_out_and_is_quoted():
    """Parts of one file have one header between them."""
    table = pa.table({'we"ird,\n': [1]})
    assert written("csv", table) == b'"we""ird,\n"\n1\n'
    assert written("csv", table, header=False) == b"1\n"


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=20))
def test_text_and_integers_come_back_from_every_format(rows):
    """Any text that Arrow can hold, any 64-bit integer."""
    rows = [(text and text.encode("utf-8", "replace").decode(), number) for text, number in rows]
    table = pa.table(
        {"t": pa.array([row[0] for row in rows], pa.string()), "n": pa.array([row[1] for row in rows], pa.int64())}
    )
    for format in ("parquet", "arrow"):
        assert read_typed(format, written(format, table)).equals(table)
    lines = written("jsonl", table).decode().split("\n")[:-1]
    assert [tuple(json.loads(line).values()) for line in lines] == rows
    options = {"strings_can_be_null": True, "quoted_strings_can_be_null": False, "column_types": table.schema}
    back = pyarrow.csv.read_csv(
        io.BytesIO(written("csv", table)),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(null_values=[""], **options),
    )
    assert back.equals(table)


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_part_still_has_its_schema(format):
    """Zero batches, and batches of zero rows."""
    table = pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})
    for batches in ([], [pa.RecordBatch.from_pylist([], table.schema)]):
        sink = io.BytesIO()
        with part_writer(format, table.schema, sink) as writer:
            for batch in batches:
                writer.write(batch)
        writer.close()
        if format in ("parquet", "arrow"):
            assert read_typed(format, sink.getvalue()).schema == table.schema
        else:
            assert sink.getvalue() == (b'"a","b"\n' if format == "csv" else b"")


@pytest.mark.parametrize("format", FORMATS)
def test_a_batch_of_other_columns_is_a_bug_of_the_caller(format):
    """Never written as if it fitted."""
    with part_writer(format, pa.schema([("a", pa.int64())]), io.BytesIO()) as writer:
        for other in ({"b": [1]}, {"a": ["x"]}, {"a": [1], "b": [2]}):
            with pytest.raises(ValueError, match="other columns than the part's"):
                writer.write(pa.record_batch(other))


def test_parquet_row_groups_are_bounded_and_filled(monkeypatch):
    """Small batches share a group, large ones are cut; wide rows close it earlier."""
    table = pa.table({"a": np.arange(300_000)})
    for height in (1000, 200_000):
        metadata = pq.read_metadata(io.BytesIO(written("parquet", table, height=height)))
        heights = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        assert heights == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 300_000 - 2 * ROW_GROUP_ROWS]
    monkeypatch.setattr("bentobatch.formats.write.ROW_GROUP_BYTES", 8 * 1000)
    metadata = pq.read_metadata(io.BytesIO(written("parquet", table.slice(0, 2500), height=500)))
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [1000, 1000, 500]


def test_parquet_has_checksums_statistics_and_dictionaries_for_text_alone():
    """A flipped bit in our own output is found; filters can use it."""
    table = pa.table({"a": np.arange(20_000, dtype=float), "s": ["x", "y"] * 10_000})
    data = bytearray(written("parquet", table, compression="none"))
    group = pq.read_metadata(io.BytesIO(bytes(data))).row_group(0)
    assert not group.column(0).has_dictionary_page
    assert group.column(1).has_dictionary_page
    assert (group.column(0).statistics.min, group.column(0).statistics.max) == (0, 19_999)
    assert pq.read_metadata(io.BytesIO(written("parquet", table))).row_group(0).column(0).compression == "SNAPPY"
    data[group.column(0).data_page_offset + 5000] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(io.BytesIO(bytes(data)), page_checksum_verification=True)


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_metadata_stands_in_the_file(format):
    """Bundle, digest and plan id; the input's own metadata is not carried along."""
    table = pa.table({"a": [1]}).replace_schema_metadata({"pandas": "{}"})
    back = read_typed(format, written(format, table, metadata={"bentobatch.bundle": "iris:1"}))
    assert back.schema.metadata == {b"bentobatch.bundle": b"iris:1"}


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_parts_may_be_compressed(compression):
    """None by default: parts are read once."""
    table = pa.table({"a": np.zeros(10_000)})
    data = written("arrow", table, compression=compression)
    assert pa.ipc.open_file(data).read_all().equals(table)
    assert (len(data) < 10_000) == bool(compression)


class _Full(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_an_oserror_with_its_number(format):
    """The engine, which knows the path, tells it; nothing is swallowed on the way."""
    table = pa.table({"a": ["x" * 100] * 1000})

    def write():
        with part_writer(format, table.schema, _Full()) as writer:
            writer.write(table.to_batches()[0])

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_an_error_leaves_the_part_unfinished(format):
    """A part whose writing failed gets no footer, now or when the writer is freed, nor is its file touched any more."""
    sink = io.BytesIO()

    def write():
        with part_writer(format, pa.schema([("a", pa.int64())]), sink) as writer:
            writer.write(pa.record_batch({"a": [1]}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    gc.collect()
    with pytest.raises(pa.ArrowInvalid):
        read_typed(format, sink.getvalue())
    sink.close()


def test_a_type_without_a_form_is_told():
    """Before the first row."""
    with pytest.raises(OutputError, match="cannot be written as Parquet"):
        part_writer("parquet", pa.schema([("x", pa.month_day_nano_interval())]), io.BytesIO())
    with pytest.raises(UsageError, match="no output format is called 'xml'; known are: parquet"):
        part_writer("xml", pa.schema([]), io.BytesIO())
