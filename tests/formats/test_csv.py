"""This module tests the CSV format against Python's csv module and against the rules for files with flaws."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DataError, StorageError, UsageError
from bentobatch.formats import csv_values, text_source
from bentobatch.formats.base import Chunk, FileScan, InputFile, ReadPlan, ScanOptions
from bentobatch.formats.csv import CsvFormat

FLOATS = {"id": pa.int64(), "x0": pa.float64(), "x1": pa.float64(), "x2": pa.float64()}


class SmallBlocks(CsvFormat):
    """CSV read in blocks of a few bytes."""

    def __init__(self, block_bytes: int | None) -> None:
        self.block_bytes = block_bytes  # type: ignore[misc]


def write(path: Path, data: bytes, **more: Any) -> InputFile:
    path.write_bytes(data)
    return InputFile(str(path), len(data), "1", "csv", **more)


def read(file: InputFile, scan: FileScan, format: CsvFormat | None = None, **plan: Any) -> list[Chunk]:
    format = format or CsvFormat()
    plan.setdefault("schema", scan.schema)
    return [chunk for piece in scan.ranges for chunk in format.read(file, piece, ReadPlan(**plan))]


def rows(chunks: list[Chunk]) -> list[list[Any]]:
    return [list(row.values()) for chunk in chunks for row in chunk.batch.to_pylist()]


def lines(chunks: list[Chunk]) -> list[int]:
    return [
        line
        for chunk in chunks
        for line in (chunk.lines or range(chunk.first_line, chunk.first_line + chunk.batch.num_rows))
    ]


def bad(chunks: list[Chunk]) -> list[tuple[int, str]]:
    return [(row.line, row.error) for chunk in chunks for row in chunk.bad]


def score(tmp_path: Path, data: bytes, types: dict[str, Any] | None = None, **options: Any) -> list[Chunk]:
    file = write(tmp_path / "in.csv", data)
    return read(file, CsvFormat().scan(file, ScanOptions(types=types or {}, **options)))


def scan_error(tmp_path: Path, data: bytes, error: type[Exception] = DataError, **more: Any) -> str:
    file = write(tmp_path / "in.csv", data, **more)
    with pytest.raises(error) as caught:
        CsvFormat().scan(file, ScanOptions())
    assert "\n" not in str(caught.value)
    assert "in.csv" in str(caught.value)
    return str(caught.value)


# -- against Python's csv module ------------------------------------------------------------------------------------

FIELDS = st.text(alphabet='ab1,"\n\r é☃ ;\t', max_size=6)


@st.composite
def csv_texts(draw: Any) -> tuple[str, int]:
    """A CSV text with its number of columns: quoted where it must be or at random, blank lines, all line ends."""
    columns = draw(st.integers(1, 4))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    records = [[f"c{index}" for index in range(columns)]]
    records += draw(st.lists(st.lists(FIELDS, min_size=columns, max_size=columns), max_size=12))
    text = ""
    for record in records:
        text += draw(st.sampled_from(["", "", "", end, end + end])) if text else ""
        text += ",".join(_spelled(field, draw(st.booleans()), columns) for field in record) + end
    return (text[: -len(end)] if draw(st.booleans()) else text), columns


def _spelled(field: str, quoted: bool, columns: int) -> str:
    needed = any(mark in field for mark in ",\r\n") or field.startswith('"') or (columns == 1 and not field)
    return '"' + field.replace('"', '""') + '"' if quoted or needed else field


def python_rows(text: str) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    found, at, before = [], [], 0
    for row in reader:
        if row:
            found.append(row)
            at.append(before + 1)
        before = reader.line_num
    return found[1:], at[1:]


@settings(max_examples=300, deadline=None)
@given(
    csv_texts(),
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(1, 80),
    st.integers(1, 5),
    st.integers(1, 80),
    st.booleans(),
)
def test_the_rows_of_all_ranges_are_those_of_pythons_csv_module(
    tmp_path_factory: pytest.TempPathFactory,
    written: tuple[str, int],
    block_bytes: int,
    split_rows: int,
    split_bytes: int,
    chunk_rows: int,
    chunk_bytes: int,
    mark: bool,
) -> None:
    """However blocks, ranges and chunks are cut, each row comes once, in order, with its line, and none is broken."""
    text, columns = written
    file = write(tmp_path_factory.mktemp("csv") / "in.csv", (b"\xef\xbb\xbf" if mark else b"") + text.encode())
    types = {f"c{index}": pa.string() for index in range(columns)}
    options = ScanOptions(types=types, split_rows=split_rows, split_bytes=split_bytes)
    scan = SmallBlocks(block_bytes).scan(file, options)
    expected, at = python_rows(text)
    limits = {"chunk_rows": chunk_rows, "chunk_bytes": chunk_bytes, "nulls": ()}
    chunks = read(file, scan, SmallBlocks(block_bytes), **limits)
    assert rows(chunks) == expected
    assert lines(chunks) == at
    assert not bad(chunks)
    assert scan.rows == len(expected) == sum(piece.rows for piece in scan.ranges)
    assert scan.ranges == CsvFormat().scan(file, options).ranges
    whole = read(file, scan, CsvFormat(), **limits)
    assert [chunk.batch.num_rows for chunk in chunks] == [chunk.batch.num_rows for chunk in whole]
    assert all(chunk.batch.num_rows <= chunk_rows for chunk in chunks)
    if scan.ranges:
        edges = [scan.ranges[0].start, *(piece.stop for piece in scan.ranges)]
        assert edges == [0, *(piece.start for piece in scan.ranges[1:]), file.size]
        assert [piece.first_line for piece in scan.ranges] == [at[piece.first_row] for piece in scan.ranges]


@settings(max_examples=100, deadline=None)
@given(csv_texts(), st.integers(1, 60), st.integers(1, 5))
def test_raw_lines_are_the_records_text(
    tmp_path_factory: pytest.TempPathFactory, written: tuple[str, int], block_bytes: int, chunk_rows: int
) -> None:
    """In lines mode a row is its record's own bytes, line ends inside quotes kept, its own line end left out."""
    text, _ = written
    file = write(tmp_path_factory.mktemp("csv") / "in.csv", text.encode())
    scan = SmallBlocks(block_bytes).scan(file, ScanOptions(lines=True, split_rows=3))
    found = [row[0] for row in rows(read(file, scan, SmallBlocks(block_bytes), lines=True, chunk_rows=chunk_rows))]
    assert scan.schema == pa.schema([("line", pa.large_binary())])
    assert [next(csv.reader(io.StringIO(line.decode(), newline=""))) for line in found] == python_rows(text)[0]
    assert all(line in text.encode() for line in found)


VALUES = ["", "NA", "1", "-7", " 5", "007", "+5", "9223372036854775808", "-99999999999999999999", "1.5", "2.0", "1e3"]
VALUES += ["1e400", "inf", "nan", "x", "0x10", "-0x1", "true", "False", "2020-01-01", "0001-01-01", "2020-01-01 10:00"]
VALUES += ["2020-01-01 00:00:00.5", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z", "0001-01-01 00:00:00", "12:30"]
VALUES += ['"1"', '""', '"NA"', '"x,""y"', "1,000", "5,6,7", '"q"q', "a\0b", '"1.5"', "1_0", "é"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=6))
def test_a_column_has_the_same_type_however_the_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    """The widest type is a function of the set of values: neither their order nor where blocks end has a say."""
    folder = tmp_path_factory.mktemp("csv")
    ahead = write(folder / "a.csv", ("k,v\n" + "".join(f"k,{value}\n" for value in values)).encode())
    back = write(folder / "b.csv", ("k,v\n" + "".join(f"k,{value}\n" for value in reversed(values))).encode())
    found = [
        format.scan(file, ScanOptions()).schema
        for file in (ahead, back)
        for format in (CsvFormat(), SmallBlocks(1), SmallBlocks(20))
    ]
    assert all(schema == found[0] for schema in found)


TYPES = [pa.int64(), pa.int8(), pa.uint8(), pa.float64(), pa.float32(), pa.float16(), pa.bool_(), pa.string()]
TYPES += [pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.time64("us"), pa.decimal128(6, 2)]
TYPES += [pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string()), pa.null(), pa.string_view()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=8), st.sampled_from(TYPES))
def test_a_rows_fate_does_not_depend_on_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], type: Any
) -> None:
    """The quick way (all rows at once) and the exact one (bad rows by name) agree on every value and every bad row."""
    data = "k,v\n" + "".join(f"{index},{value}\n" for index, value in enumerate(values))
    file = write(tmp_path_factory.mktemp("csv") / "in.csv", data.encode())
    scan = CsvFormat().scan(file, ScanOptions(types={"k": pa.int64(), "v": type}))
    alone, together = read(file, scan, chunk_rows=1), read(file, scan)
    assert repr(rows(alone)) == repr(rows(together))
    assert bad(alone) == bad(together)
    assert [row[0] for row in rows(together)] == list(range(len(values)))  # the key survives in every case


# -- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (["1", "2.5"], pa.float64()),
        (["1", "true"], pa.string()),
        (["true", "FALSE", ""], pa.bool_()),
        (["1", "abc"], pa.string()),
        (["9007199254740993", ""], pa.int64()),
        (["1", "9223372036854775808"], pa.int64()),
        (["1.5", "9223372036854775808"], pa.float64()),
        (["2020-01-01", "2020-01-01 10:00:00"], pa.timestamp("s")),
        (["2020-01-01", "2020-01-01 10:00:00.25"], pa.timestamp("ns")),
        (["0001-01-01", "2020-01-01 10:00:00.25"], pa.string()),
        (["0x10", "1"], pa.string()),
        (["NA", ""], pa.null()),
    ],
)
def test_the_widest_type_of_a_column_is_found(tmp_path: Path, values: list[str], type: Any) -> None:
    """null < bool, int64 < float64 < string; dates widen to timestamps; a mixture is a string."""
    file = write(tmp_path / "in.csv", ("k,v\n" + "".join(f"k,{value}\n" for value in values)).encode())
    assert CsvFormat().scan(file, ScanOptions()).schema.field("v").type == type


def test_only_wanted_and_undeclared_columns_are_inferred(tmp_path: Path) -> None:
    """A column that nobody asked for has type null, a declared one its declared type."""
    file = write(tmp_path / "in.csv", b"a,b,c\n1,2,3\n")
    scan = CsvFormat().scan(file, ScanOptions(columns=("c", "a"), types={"c": pa.float32()}))
    assert scan.schema == pa.schema([("a", pa.int64()), ("b", pa.null()), ("c", pa.float32())])


def test_a_float_after_a_hundred_thousand_integers_makes_floats_of_all(tmp_path: Path) -> None:
    """Types come from the whole file, never from its first block."""
    file = write(tmp_path / "in.csv", b"id,x\n" + b"1,2\n" * 100_000 + b"1,2.5\n")
    scan = CsvFormat().scan(file, ScanOptions())
    assert scan.schema.field("x").type == pa.float64()
    assert sum(chunk.batch.column("x").to_numpy().sum() for chunk in read(file, scan)) == 200_002.5


def test_integers_never_pass_through_a_float(tmp_path: Path) -> None:
    """9007199254740993 is no float64, and comes out as it went in although a null is in the column."""
    assert rows(score(tmp_path, b"id,x\n9007199254740993,1\n,2\n")) == [[9007199254740993, 1], [None, 2]]


def test_a_quoted_null_spelling_is_text_in_text_columns_and_null_in_others(tmp_path: Path) -> None:
    """An unquoted empty field or NA is null everywhere."""
    data = b'n,s\n"",""\n1,\n2,"NA"\n"NA",NA\n3,x\n'
    assert rows(score(tmp_path, data)) == [[None, ""], [1, None], [2, "NA"], [None, None], [3, "x"]]


def test_null_spellings_can_be_set(tmp_path: Path) -> None:
    """What counts as null is the plan's say."""
    file = write(tmp_path / "in.csv", b"x,s\n1,NA\n-,-\n")
    scan = CsvFormat().scan(file, ScanOptions(nulls=("-",)))
    assert scan.schema.field("x").type == pa.int64()
    assert rows(read(file, scan, nulls=("-",))) == [[1, "NA"], [None, None]]


def test_hexadecimal_text_does_not_disturb_integers_beside_it(tmp_path: Path) -> None:
    """0x… in a text column is text, and the integers of the chunk stay."""
    assert rows(score(tmp_path, b"id,hash\n1,0xab\n2,0X10\n")) == [[1, "0xab"], [2, "0X10"]]


def test_a_formula_is_data(tmp_path: Path) -> None:
    """Nothing is evaluated."""
    assert rows(score(tmp_path, b"id,x\n1,=1+1\n")) == [[1, "=1+1"]]


# -- bad rows ---------------------------------------------------------------------------------------------------------


def test_a_ragged_row_is_bad_alone_and_keeps_what_can_be_read(tmp_path: Path) -> None:
    """Too few and too many fields cost that row; its line is told, its key survives."""
    chunks = score(tmp_path, b"id,x0,x1,x2\n1,1,2,3\n2,1.5\n3,1,2,3,4,5\n4,1,2,3\n", FLOATS)
    assert bad(chunks) == [(3, "expected 4 fields, found 2"), (4, "expected 4 fields, found 6")]
    assert rows(chunks)[1] == [2, 1.5, None, None]
    assert [row[0] for row in rows(chunks)] == [1, 2, 3, 4]
    assert [row.raw for row in chunks[0].bad] == [b"2,1.5", b"3,1,2,3,4,5"]
    assert [row.index for row in chunks[0].bad] == [1, 2]


def test_values_that_are_no_numbers_are_bad_and_named(tmp_path: Path) -> None:
    """abc, a thousands separator, hexadecimal, overflow: each costs its row; inf and nan are numbers."""
    data = b'id,x0,x1,x2\n1,1,2,3\n2,abc,1,1\n3,"1,000",1,1\n4,1,0x10,1\n5,1,1,1e400\n6,inf,-inf,nan\n'
    chunks = score(tmp_path, data, FLOATS, nulls=())
    assert bad(chunks) == [
        (3, "column x0: 'abc' is not a valid float64"),
        (4, "column x0: '1,000' is not a valid float64"),
        (5, "column x1: '0x10' is not a valid float64"),
        (6, "column x2: '1e400' is not a valid float64"),
    ]
    assert rows(chunks)[1] == [2, None, 1.0, 1.0]
    assert rows(chunks)[5][1:3] == [float("inf"), float("-inf")]


def test_an_integer_beyond_64_bits_is_a_bad_row_and_no_float(tmp_path: Path) -> None:
    """The other integers of the column stay integers."""
    chunks = score(tmp_path, b"id,x\n1,1\n99999999999999999999,2\n3,3\n")
    assert rows(chunks) == [[1, 1], [None, 2], [3, 3]]
    assert bad(chunks) == [(3, "column id: '99999999999999999999' is not a valid int64")]


def test_a_nul_byte_makes_its_row_bad(tmp_path: Path) -> None:
    """The field with the NUL is null, the others stay."""
    chunks = score(tmp_path, b"id,s\n1,a\n2,b\0c\n3,d\n")
    assert rows(chunks) == [[1, "a"], [2, None], [3, "d"]]
    assert bad(chunks) == [(3, "there is a NUL byte in the row")]


def test_text_after_a_closing_quote_is_not_swallowed(tmp_path: Path) -> None:
    """A lost quote that ends at the next row's first one is told, although the merged record has the right width."""
    chunks = score(tmp_path, b'id,s\n1,"a\n2,"b"\n3,"c"\n')
    assert bad(chunks) == [(2, "there is text between a closing quote and the next delimiter")]
    assert rows(chunks) == [[1, None], [3, "c"]]


def test_lines_are_physical_lines_and_rows_are_rows(tmp_path: Path) -> None:
    """Blank lines and line ends inside quotes count as lines and not as rows."""
    chunks = score(tmp_path, b'id,s\n\n1,"a\nb"\n\n\nx,c\n4,d\n', {"id": pa.int64()})
    assert lines(chunks) == [3, 7, 8]
    assert [(row.index, row.line) for row in chunks[0].bad] == [(1, 7)]


def test_a_long_value_is_shortened_in_the_message(tmp_path: Path) -> None:
    """One line that can be read, whatever the value."""
    ((_, error),) = bad(score(tmp_path, b"id,x0\n1," + b"y" * 5000 + b"\n", FLOATS))
    assert len(error) < 150


def test_ten_thousand_bad_values_are_found(tmp_path: Path) -> None:
    """The exact way bears a file in which every other row is bad."""
    data = b"id,x0\n" + b"".join(b"%d,%s\n" % (index, b"1.5" if index % 2 else b"y") for index in range(20_000))
    chunks = score(tmp_path, data, FLOATS)
    assert [row.index for row in chunks[0].bad] == list(range(0, 20_000, 2))
    assert [row[0] for row in rows(chunks)] == list(range(20_000))


# -- files with flaws -------------------------------------------------------------------------------------------------


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """Without a header nothing is known."""
    assert "empty file" in scan_error(tmp_path, b"")
    assert "empty file" in scan_error(tmp_path, b"\n\n")


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    """No rows and no ranges, but columns."""
    scan = CsvFormat().scan(write(tmp_path / "in.csv", b"id,x0"), ScanOptions())
    assert (scan.rows, scan.ranges, scan.schema.names) == (0, (), ["id", "x0"])


def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path: Path) -> None:
    """The rest of the file must not become one value."""
    message = scan_error(tmp_path, b'id,s\n1,a\n2,"b\n' + b"3,c\n" * 5000)
    assert "quote" in message
    assert "line 3" in message


def test_a_duplicate_column_is_refused(tmp_path: Path) -> None:
    """The message names it."""
    assert "duplicate column x0" in scan_error(tmp_path, b"id,x0,x0\n1,2,3\n")


def test_header_names_keep_their_spaces(tmp_path: Path) -> None:
    """So that the missing column can be told from one that is spelled differently."""
    scan = CsvFormat().scan(write(tmp_path / "in.csv", b'id, x0,"a ""b"", c"\n1,2,3\n'), ScanOptions())
    assert scan.schema.names == ["id", " x0", 'a "b", c']


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_refused_by_name(tmp_path: Path, encoding: str) -> None:
    """With a byte order mark, and UTF-16 without one too."""
    assert "UTF-" in scan_error(tmp_path, "id,x0\n1,2\n".encode(encoding))


def test_latin_1_is_refused_with_its_line(tmp_path: Path) -> None:
    """Also where the byte is far from the start, on a line inside quotes."""
    message = scan_error(tmp_path, b"id,s\n" + b"1,a\n" * 1000 + b'2,"x\ny\xe9"\n')
    assert "UTF-8" in message
    assert "latin-1" in message
    assert "line 1003" in message


def test_a_field_of_eight_megabytes_is_read(tmp_path: Path) -> None:
    """No block size is the limit of a field."""
    chunks = score(tmp_path, b"id,s\n1," + b"x" * (8 << 20) + b"\n2,y\n")
    assert [(row[0], len(row[1])) for row in rows(chunks)] == [(1, 8 << 20), (2, 1)]


def test_a_record_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost quote in a file of any size must not fill the memory."""
    monkeypatch.setattr(text_source, "MAX_RECORD_BYTES", 1 << 20)
    file = write(tmp_path / "in.csv", b'id,s\n1,"' + b"x\n" * (1 << 20))
    with pytest.raises(DataError, match=r"line 2: a record of more than 1 MiB begins here: is a quote left open"):
        SmallBlocks(1 << 16).scan(file, ScanOptions())


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "é"])
def test_an_odd_delimiter_is_refused(tmp_path: Path, delimiter: str) -> None:
    """One ASCII character, or nothing was done."""
    with pytest.raises(UsageError, match="delimiter"):
        CsvFormat().scan(write(tmp_path / "in.csv", b"a\n1\n"), ScanOptions(delimiter=delimiter))


def test_another_delimiter_is_read(tmp_path: Path) -> None:
    """Commas are text then."""
    file = write(tmp_path / "in.csv", b'id;s\n1;"a;b"\n2;c,d\n')
    scan = CsvFormat().scan(file, ScanOptions(delimiter=";"))
    assert rows(read(file, scan, delimiter=";")) == [[1, "a;b"], [2, "c,d"]]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKED = [("gzip", gzip.compress), ("bz2", bz2.compress), ("zstd", zstd)]


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_a_compressed_file_is_one_range(tmp_path: Path, name: str, pack: Any) -> None:
    """It is streamed from its start, and its rows are those of the plain file."""
    data = b"id,x\n" + b"".join(b"%d,%d.5\n" % (index, index) for index in range(5000))
    plain = write(tmp_path / "a.csv", data)
    packed = write(tmp_path / "a.csv.x", pack(data), compression=name)
    options = ScanOptions(split_rows=100)
    scan = SmallBlocks(1000).scan(packed, options)
    assert [(piece.start, piece.stop, piece.rows) for piece in scan.ranges] == [(0, packed.size, 5000)]
    expected = read(plain, CsvFormat().scan(plain, ScanOptions()), chunk_rows=300)
    found = read(packed, scan, chunk_rows=300)
    assert [chunk.batch for chunk in found] == [chunk.batch for chunk in expected]
    assert [chunk.first_line for chunk in found] == [chunk.first_line for chunk in expected]


@pytest.mark.parametrize(
    ("name", "pack", "harm"),
    [(*packed, harm) for packed in PACKED for harm in ("truncated", "plain")]
    + [(*packed, "corrupt") for packed in PACKED if packed[0] != "zstd"],  # whose checksum is optional
)
def test_a_broken_compressed_stream_is_a_storage_error(tmp_path: Path, name: str, pack: Any, harm: str) -> None:
    """Never a short success."""
    data = b"id,x\n" + b"".join(b"%d,%d\n" % (index, index * 7919 % 10007) for index in range(20_000))
    packed = bytearray(pack(data))
    if harm == "truncated":
        del packed[len(packed) // 2 :]
    elif harm == "corrupt":
        packed[len(packed) // 3 : len(packed) // 3 + 20] = b"x" * 20
    else:
        packed = bytearray(data)
    message = scan_error(tmp_path, bytes(packed), StorageError, compression=name)
    assert name in message
    assert "truncated or corrupt" in message


def test_a_file_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    """Fewer or more rows than planned are no success."""
    file = write(tmp_path / "in.csv", b"id,x\n1,2\n3,4\n")
    scan = CsvFormat().scan(file, ScanOptions())
    for data in (b"id,x\n1,2\n", b"id,x\n1,2\n3\n4\n"):
        write(tmp_path / "in.csv", data)
        with pytest.raises(DataError, match="changed since it was planned"):
            read(file, scan)


# -- the plan's schema ------------------------------------------------------------------------------------------------


def test_chunks_have_exactly_the_plans_columns(tmp_path: Path) -> None:
    """In the plan's order; hive values as constants, null where the file has no such column."""
    file = write(tmp_path / "in.csv", b"a,b,day\n1,x,0\n2,y,0\n", partition=(("day", "7"), ("zone", "eu")))
    scan = CsvFormat().scan(file, ScanOptions())
    assert scan.schema.names == ["a", "b"]
    schema = pa.schema([("zone", pa.string()), ("b", pa.string()), ("none", pa.float64()), ("day", pa.int32())])
    chunks = read(file, scan, schema=schema)
    assert [chunk.batch.schema for chunk in chunks] == [schema]
    assert rows(chunks) == [["eu", "x", None, 7], ["eu", "y", None, 7]]


def test_a_plan_without_any_column_of_the_file_still_counts_and_checks_rows(tmp_path: Path) -> None:
    """A ragged row is bad whatever is wanted of it."""
    file = write(tmp_path / "in.csv", b"a,b\n1,2\n3\n")
    chunks = read(file, CsvFormat().scan(file, ScanOptions()), schema=pa.schema([]))
    assert [chunk.batch.num_rows for chunk in chunks] == [2]
    assert bad(chunks) == [(3, "expected 2 fields, found 1")]


def test_a_type_that_no_text_stands_for_is_refused(tmp_path: Path) -> None:
    """The message names file and column."""
    file = write(tmp_path / "in.csv", b"a,b\n1,2\n")
    scan = CsvFormat().scan(file, ScanOptions())
    with pytest.raises(DataError, match=r"in\.csv: column b: a text field cannot be read as list"):
        read(file, scan, schema=pa.schema([("b", pa.list_(pa.int64()))]))


def test_the_estimate_of_a_row_covers_its_text(tmp_path: Path) -> None:
    """Chunks are sized by it, so it must not be too small where text is long."""
    file = write(tmp_path / "in.csv", b"a,b,s\n" + b"1,2," + b"x" * 1000 + b"\n")
    scan = CsvFormat().scan(file, ScanOptions(columns=("a", "s")))
    assert scan.row_bytes > 1000
    assert CsvFormat().scan(file, ScanOptions(columns=("a", "b"))).row_bytes == 16


# -- memory -----------------------------------------------------------------------------------------------------------


def test_a_scan_holds_blocks_and_never_the_file(tmp_path: Path) -> None:
    """A file ten times larger takes no more memory, quotes or not."""

    def peak(rows: int) -> int:
        file = write(tmp_path / "in.csv", b"id,s\n" + b'12345,"ab\ncd"\n12346,efgh\n' * rows)
        tracemalloc.start()
        SmallBlocks(1 << 16).scan(file, ScanOptions(split_rows=1 << 30))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(100)
    small, large = peak(20_000), peak(200_000)
    assert os.path.getsize(tmp_path / "in.csv") > 4_000_000
    assert large < small * 1.2 < 4_000_000


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoted", ["", ",", "end"])
@pytest.mark.parametrize("blank", [False, True])
def test_rows_are_the_same_however_many_of_them_are_parsed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, quoted: str, blank: bool
) -> None:
    """Blank lines, and delimiters and line ends in quotes, may stand where pyarrow's own blocks end."""
    inside = end if quoted == "end" else quoted
    texts = [f'"{index}{inside}b"' if quoted and index % 3 == 0 else f"t{index}" for index in range(200)]
    gaps = [end * (1 + index % 2 * blank) for index in range(200)]
    body = "".join(f"{index},{index / 8},{text}{gaps[index]}" for index, text in enumerate(texts))
    file = write(tmp_path / "in.csv", f"id,x,text{end}{body}".encode())
    scan = CsvFormat().scan(file, ScanOptions())
    expected = [[index, index / 8, text.strip('"')] for index, text in enumerate(texts)]
    for size in (64, 71, 80, 512 << 10):
        monkeypatch.setattr(csv_values, "_CACHED_BYTES", size)
        assert rows(read(file, scan)) == expected
