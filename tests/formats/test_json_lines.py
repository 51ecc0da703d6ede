"""This module tests the JSON lines format against Python's json module and against the rules for files with flaws."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DataError, StorageError
from bentobatch.formats.base import Chunk, FileScan, InputFile, ReadPlan, ScanOptions
from bentobatch.formats.json_lines import JsonLinesFormat


class SmallBlocks(JsonLinesFormat):
    """JSON lines read in blocks of a few bytes."""

    def __init__(self, block_bytes: int | None) -> None:
        self.block_bytes = block_bytes  # type: ignore[misc]


def write(path: Path, data: bytes, **more: Any) -> InputFile:
    path.write_bytes(data)
    return InputFile(str(path), len(data), "1", "jsonl", **more)


def read(file: InputFile, scan: FileScan, format: JsonLinesFormat | None = None, **plan: Any) -> list[Chunk]:
    format = format or JsonLinesFormat()
    plan.setdefault("schema", scan.schema)
    return [chunk for piece in scan.ranges for chunk in format.read(file, piece, ReadPlan(**plan))]


def rows(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [row for chunk in chunks for row in chunk.batch.to_pylist()]


def lines(chunks: list[Chunk]) -> list[int]:
    return [
        line
        for chunk in chunks
        for line in (chunk.lines or range(chunk.first_line, chunk.first_line + chunk.batch.num_rows))
    ]


def bad(chunks: list[Chunk]) -> list[tuple[int, str, str]]:
    return [(row.line, row.error_type, row.error) for chunk in chunks for row in chunk.bad]


def score(tmp_path: Path, data: bytes, **options: Any) -> list[Chunk]:
    file = write(tmp_path / "in.jsonl", data)
    return read(file, JsonLinesFormat().scan(file, ScanOptions(**options)))


# -- against Python's json module -----------------------------------------------------------------------------------

SCALARS = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "s": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "b": st.booleans(),
    "l": st.lists(st.integers(-5, 5), max_size=3),
    "o": st.fixed_dictionaries({}, optional={"x": st.integers(0, 9), "y": st.text("ab", max_size=2)}),
}
TYPES = {
    "i": pa.int64(),
    "f": pa.float64(),
    "s": pa.string(),
    "b": pa.bool_(),
    "l": pa.list_(pa.int64()),
    "o": pa.struct([("x", pa.int64()), ("y", pa.string())]),
}
OBJECTS = st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in SCALARS.items()})


@st.composite
def json_texts(draw: Any) -> tuple[bytes, list[dict[str, Any]], list[int]]:
    """JSON lines with their objects and their lines: blank ones between, both line ends, spaces, any escapes."""
    text, objects, at = "", draw(st.lists(OBJECTS, max_size=10)), []
    end = draw(st.sampled_from(["\n", "\r\n"]))
    for value in objects:
        text += draw(st.sampled_from(["", "", "", end, " \t" + end, end * 2]))
        at.append(text.count("\n") + 1)
        body = json.dumps(
            value, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (", ", " : ")]))
        )
        text += draw(st.sampled_from(["", "", " "])) + body + draw(st.sampled_from(["", "", "\t"])) + end
    return (text[: -len(end)] if objects and draw(st.booleans()) else text).encode(), objects, at


@settings(max_examples=300, deadline=None)
@given(json_texts(), st.integers(1, 80), st.integers(1, 4), st.integers(1, 99), st.integers(1, 4), st.integers(1, 99))
def test_the_rows_of_all_ranges_are_those_of_pythons_json_module(
    tmp_path_factory: pytest.TempPathFactory,
    written: tuple[bytes, list[dict[str, Any]], list[int]],
    block_bytes: int,
    split_rows: int,
    split_bytes: int,
    chunk_rows: int,
    chunk_bytes: int,
) -> None:
    """However blocks, ranges and chunks are cut, each row comes once, in order, exactly, with its line."""
    data, objects, at = written
    file = write(tmp_path_factory.mktemp("json") / "in.jsonl", data)
    options = ScanOptions(types=TYPES, split_rows=split_rows, split_bytes=split_bytes)
    scan = SmallBlocks(block_bytes).scan(file, options)
    limits = {"schema": pa.schema(list(TYPES.items())), "chunk_rows": chunk_rows, "chunk_bytes": chunk_bytes}
    chunks = read(file, scan, SmallBlocks(block_bytes), **limits)
    assert repr(rows(chunks)) == repr([_full(value) for value in objects])
    assert lines(chunks) == at
    assert not bad(chunks)
    assert scan.rows == len(objects)
    assert scan.ranges == JsonLinesFormat().scan(file, options).ranges
    whole = read(file, scan, **limits)
    assert [chunk.batch.num_rows for chunk in chunks] == [chunk.batch.num_rows for chunk in whole]
    if scan.ranges:
        edges = [scan.ranges[0].start, *(piece.stop for piece in scan.ranges)]
        assert edges == [0, *(piece.start for piece in scan.ranges[1:]), file.size]
        assert [piece.first_line for piece in scan.ranges] == [at[piece.first_row] for piece in scan.ranges]


def _full(value: dict[str, Any]) -> dict[str, Any]:
    found = {key: value.get(key) for key in TYPES}
    if found["o"] is not None:
        found["o"] = {"x": found["o"].get("x"), "y": found["o"].get("y")}
    return found


LINES = ['{"a":1}', '{"a":-7}', '{"a":1.5}', '{"a":2.0}', '{"a":1e3}', '{"a":true}', '{"a":null}', "{}", '{"a":"x"}']
LINES += ['{"a":"2020-01-01"}', '{"a":[]}', '{"a":[1]}', '{"a":[1.5]}', '{"a":["x"]}', '{"a":{}}', '{"a":{"x":1}}']
LINES += ['{"a":{"x":1.5}}', '{"a":{"y":[{"z":null}]}}', '{"a":{"x":"1"}}', '{"a":9223372036854775808}', '{"a":NaN}']
LINES += ['{"a":99999999999999999999}', '{"a":1e300}', '{"a":1e400}', '{"a":-Infinity}', '{"a":1', "[1]", "5", "null"]
LINES += ['{"a":1}{"a":2}', '{"a":1,', '"a":1}', '{"b":1}', '{"a":1,"a":2}', '{"b":NaN,"a":1}', '{"b":1e400,"a":1}']
LINES += ['{"b":{"c":[1,"x"]},"a":1}', '{"b":{"c":1,"c":2}}', '{"a":"\\ud800"}', '{"a":"\\u0000é"}', '{"a":"x\ty"}']
LINES += ['{"a":1}\0', '\0{"a":1}', '{"a":"NaN"}', ' {"a":1} ', '{"a":"}{"}', '{"a":[[1],[2]]}', '{"a":01}', "x"]
LINES += [
    '{"a":' + "[" * 64 + "]" * 64 + "}",
    '{"a":' + "[" * 63 + "]" * 63 + "}",
    '{"b":' + '{"c":' * 70 + "1" + "}" * 71,
]
LINES += ['{"a":' + "9" * 5000 + "}", '{"a":-1e-400}', '{"a":"' + "[" * 99 + '"}', '{"a":[' + "[]," * 99 + "[]]}"]
WIDE = [*TYPES.values(), pa.int8(), pa.uint64(), pa.float32(), pa.float16(), pa.timestamp("us"), pa.date32()]
WIDE += [pa.decimal128(6, 2), pa.null(), pa.large_string(), pa.list_(pa.float64()), pa.list_(pa.list_(pa.int64()))]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=8), st.sampled_from(WIDE))
def test_a_rows_fate_does_not_depend_on_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], type: Any
) -> None:
    """The quick way (all rows at once) and the exact one (bad rows by name) agree on every value and every bad row."""
    file = write(tmp_path_factory.mktemp("json") / "in.jsonl", ('{"k":0}\n' + "\n".join(written)).encode())
    scan = JsonLinesFormat().scan(file, ScanOptions(columns=("a",), types={"a": type}))
    plan = {"schema": pa.schema([("a", type)])}
    alone, together = read(file, scan, chunk_rows=1, **plan), read(file, scan, **plan)
    assert repr(rows(alone)) == repr(rows(together))
    assert bad(alone) == bad(together)
    assert scan.rows == len(written) + 1


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=8), st.sampled_from([None, ("a",)]))
def test_a_column_has_the_same_type_however_the_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], columns: tuple[str, ...] | None
) -> None:
    """The widest type does not depend on where blocks end, nor on whether pyarrow or orjson looked at a row."""
    file = write(tmp_path_factory.mktemp("json") / "in.jsonl", ('{"k":0}\n' + "\n".join(written)).encode())
    found = [
        format.scan(file, ScanOptions(columns=columns)).schema
        for format in (JsonLinesFormat(), SmallBlocks(1), SmallBlocks(40))
    ]
    wanted = [{field.name: field.type for field in schema} for schema in found]
    assert [schema.get("a") for schema in wanted] == [wanted[0].get("a")] * 3
    if columns is None:
        assert found[1:] == [found[0]] * 2


# -- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (["1", "2.5"], pa.float64()),
        (["1", "true"], pa.string()),
        (["1", '"x"'], pa.string()),
        (["null", "null"], pa.null()),
        (["9007199254740993", "null"], pa.int64()),
        (["1", "18446744073709551616"], pa.int64()),
        (["1", "9" * 400], pa.int64()),
        (["1.5", "18446744073709551616"], pa.float64()),
        (['"2020-01-01"', '"x"'], pa.string()),
        (["[1]", "[2.5]", "null"], pa.list_(pa.float64())),
        (['{"x":1}', '{"y":[true]}'], pa.struct([("x", pa.int64()), ("y", pa.list_(pa.bool_()))])),
        (["[1]", '["x"]'], pa.string()),
        (["{}", "{}"], pa.string()),
        (["{}", '{"x":1}'], pa.struct([("x", pa.int64())])),
        (["[{}]", '[{"x":1}]'], pa.list_(pa.struct([("x", pa.int64())]))),
    ],
)
def test_the_widest_type_of_a_column_is_found(tmp_path: Path, values: list[str], type: Any) -> None:
    """null < bool, int64 < float64, string; lists and objects by their members; a mixture is a string."""
    few = write(tmp_path / "a.jsonl", "".join(f'{{"v":{value}}}\n' for value in values).encode())
    assert JsonLinesFormat().scan(few, ScanOptions()).schema.field("v").type == type
    many = "".join(f'{{"v":{value}}}\n' * 1500 for value in values).encode()  # the second comes after the sample
    for columns in (None, ("v",)):
        late = write(tmp_path / "b.jsonl", many)
        assert JsonLinesFormat().scan(late, ScanOptions(columns=columns)).schema.field("v").type == type


def test_columns_that_come_late_are_found(tmp_path: Path) -> None:
    """All of them where all are wanted; a wanted one in any case, even where it is always null or spelled by escapes."""
    data = b'{"a":1}\n' * 3000 + b'{"b":2,"c":{"d":1}}\n{"\\u00e9":null}\n{"e":1}\n'
    file = write(tmp_path / "in.jsonl", data)
    assert JsonLinesFormat().scan(file, ScanOptions()).schema.names == ["a", "b", "c", "é", "e"]
    schema = JsonLinesFormat().scan(file, ScanOptions(columns=("a", "é", "zz"))).schema
    assert "é" in schema.names
    assert "zz" not in schema.names


def test_only_wanted_and_undeclared_columns_are_inferred(tmp_path: Path) -> None:
    """A column that nobody asked for has type null, a declared one its declared type."""
    file = write(tmp_path / "in.jsonl", b'{"a":1,"b":[1,"x"],"c":3}\n')
    scan = JsonLinesFormat().scan(file, ScanOptions(columns=("c", "a"), types={"c": pa.float32()}))
    assert scan.schema == pa.schema([("a", pa.int64()), ("b", pa.null()), ("c", pa.float32())])


def test_nested_columns_that_nobody_wants_do_no_harm(tmp_path: Path) -> None:
    """Whatever their mixture of types."""
    data = b'{"id":1,"e":{"a":[1]}}\n{"id":2,"e":{"a":["s",{}]}}\n{"id":3,"e":5}\n'
    file = write(tmp_path / "in.jsonl", data)
    scan = JsonLinesFormat().scan(file, ScanOptions(columns=("id",)))
    chunks = read(file, scan, schema=pa.schema([("id", pa.int64())]))
    assert rows(chunks) == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert not bad(chunks)


def test_a_mixed_column_is_kept_as_json_text(tmp_path: Path) -> None:
    """Strings as they are, everything else as JSON; integers of any size without loss."""
    values = ['{"a":[1,null]}', '"s"', "5", "1.5", "true", "null", "123456789012345678901234567890", '[1e+20,"é"]']
    chunks = score(tmp_path, "".join(f'{{"e":{value}}}\n' for value in values).encode())
    assert [row["e"] for row in rows(chunks)] == [
        '{"a":[1,null]}',
        "s",
        "5",
        "1.5",
        "true",
        None,
        "123456789012345678901234567890",
        '[1e+20,"é"]',
    ]


def test_large_floats_are_floats(tmp_path: Path) -> None:
    """Only integers beyond 64 bits are bad, no float that happens to be as large."""
    chunks = score(tmp_path, b'{"x":1e20}\n{"x":-1.5e300}\n{"x":[1e20]}\n'.replace(b"[1e20]", b"3"))
    assert rows(chunks) == [{"x": 1e20}, {"x": -1.5e300}, {"x": 3.0}]
    assert not bad(chunks)


# -- bad rows ---------------------------------------------------------------------------------------------------------


def test_integers_stay_exact_or_are_bad(tmp_path: Path) -> None:
    """Never silently a float: neither in an integer column nor in one of floats."""
    data = b'{"id":9007199254740993,"x":1.5}\n{"id":99999999999999999999,"x":1}\n{"id":3,"x":1' + b"0" * 30 + b"}\n"
    chunks = score(tmp_path, data)
    assert rows(chunks)[0]["id"] == 9007199254740993
    assert [(line, error[:40]) for line, _, error in bad(chunks)] == [
        (2, "column id: 99999999999999999999 is not a"),
        (3, "column x: 100000000000000000000000000000"),
    ]
    assert rows(chunks)[1:] == [{"id": None, "x": 1.0}, {"id": 3, "x": None}]


def test_lines_that_are_not_json_are_bad_rows(tmp_path: Path) -> None:
    """NaN and Infinity are not JSON; a line that is no object is no row; the others are scored."""
    data = b'{"x":1.5}\n{"x":NaN}\n{"x":-Infinity}\n{"x":1\n[1]\n{"x":1}{"x":2}\n{"x":2.5}\n'
    chunks = score(tmp_path, data)
    assert bad(chunks) == [
        (2, "JSONDecodeError", "not JSON: unexpected character, expected a JSON value (column 6)"),
        (3, "JSONDecodeError", "not JSON: no digit after sign (column 7)"),
        (4, "JSONDecodeError", "not JSON: unexpected end of data (column 7)"),
        (5, "ValueError", "a JSON object was expected, not '[1]'"),
        (6, "JSONDecodeError", "not JSON: unexpected content after document (column 8)"),
    ]
    assert [row["x"] for row in rows(chunks)] == [1.5, None, None, None, None, None, 2.5]
    assert chunks[0].bad[0].raw == b'{"x":NaN}'


def test_objects_that_reach_over_line_ends_do_not_shift_rows(tmp_path: Path) -> None:
    """Two objects on one line and one on two lines make as many objects as lines; none of them is a row."""
    chunks = score(tmp_path, b'{"a":1}{"a":2}\n{"a":3,\n"b":4}\n{"a":5}\n')
    assert [row["a"] for row in rows(chunks)] == [None, None, None, 5]
    assert [line for line, _, _ in bad(chunks)] == [1, 2, 3]


def test_a_deeply_nested_line_is_a_bad_row(tmp_path: Path) -> None:
    """pyarrow's reader would end the process with SIGSEGV."""
    deep = b'{"id":2,"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}\n" + b'{"y":' * 20_000 + b"1" + b"}" * 20_000
    chunks = score(tmp_path, b'{"id":1}\n' + deep + b'\n{"id":3}\n')
    assert [row["id"] for row in rows(chunks)] == [1, None, None, 3]
    assert [(line, error) for line, _, error in bad(chunks)] == [
        (2, "arrays and objects are nested in more than 64 levels"),
        (3, "arrays and objects are nested in more than 64 levels"),
    ]


def test_a_truncated_last_line_is_a_bad_row(tmp_path: Path) -> None:
    """And a missing line end at the file's end is none."""
    assert [line for line, _, _ in bad(score(tmp_path, b'{"x":"a"}\n{"x":"b'))] == [2]
    assert not bad(score(tmp_path, b'{"x":"a"}\n{"x":"b"}'))


def test_a_missing_key_is_null(tmp_path: Path) -> None:
    """Whether a row may be scored without it is not the format's question."""
    chunks = score(tmp_path, b'{"x":1,"y":2}\n{"y":3}\n')
    assert rows(chunks) == [{"x": 1, "y": 2}, {"x": None, "y": 3}]
    assert not bad(chunks)


def test_the_last_of_duplicate_keys_counts(tmp_path: Path) -> None:
    """As in Python's json module."""
    assert rows(score(tmp_path, b'{"x":1,"x":2}\n')) == [{"x": 2}]


def test_lines_are_physical_lines_and_rows_are_rows(tmp_path: Path) -> None:
    """Lines of white space are skipped and counted."""
    chunks = score(tmp_path, b'\n{"x":1}\n \t\r\n\n{"x":"y"}\n{"x":3}\n', types={"x": pa.int64()})
    assert lines(chunks) == [2, 5, 6]
    assert [(row.index, row.line) for row in chunks[0].bad] == [(1, 5)]


def test_values_of_declared_types_are_read_from_strings(tmp_path: Path) -> None:
    """Dates and decimals have no JSON form of their own; what does not parse is bad."""
    types = {"t": pa.timestamp("us"), "d": pa.decimal128(5, 2)}
    chunks = score(tmp_path, b'{"t":"2020-01-01","d":"1.5"}\n{"t":"zz","d":1.25}\n', types=types)
    assert [str(row["d"]) for row in rows(chunks)] == ["1.50", "1.25"]
    assert bad(chunks) == [(2, "ValueError", "column t: 'zz' is not a valid timestamp[us]")]


# -- files with flaws -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b'[{"x":1}]\n', b'\xef\xbb\xbf\n [\n{"x":1}\n]\n', b'{\n"x":1\n}\n'])
def test_one_json_document_is_refused(tmp_path: Path, data: bytes) -> None:
    """The message says what the file is, instead of rejecting each line."""
    with pytest.raises(DataError, match=r"in\.jsonl: line \d: this is one JSON document, not JSON lines"):
        score(tmp_path, data)


def test_raw_lines_may_hold_any_value(tmp_path: Path) -> None:
    """In lines mode nothing is parsed: the api's adapter is given every line that is not blank."""
    file = write(tmp_path / "in.jsonl", b'[1,2]\r\n\n "x" \nnot json\n{"a":1}')
    scan = JsonLinesFormat().scan(file, ScanOptions(lines=True))
    assert scan.schema == pa.schema([("line", pa.large_binary())])
    chunks = read(file, scan, lines=True)
    assert [row["line"] for row in rows(chunks)] == [b"[1,2]", b' "x" ', b"not json", b'{"a":1}']
    assert lines(chunks) == [1, 3, 4, 5]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    """And no columns; there is no header to miss."""
    scan = JsonLinesFormat().scan(write(tmp_path / "in.jsonl", b"\n"), ScanOptions())
    assert (scan.rows, scan.ranges, scan.schema.names) == (0, (), [])


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    """With the line."""
    with pytest.raises(DataError, match=r"line 2: byte 0xe9 is not UTF-8; the encoding looks like latin-1"):
        score(tmp_path, b'{"x":"a"}\n{"x":"\xe9"}\n')
    with pytest.raises(DataError, match="UTF-16"):
        score(tmp_path, '{"x":1}\n'.encode("utf-16"))


def test_a_truncated_compressed_stream_is_a_storage_error(tmp_path: Path) -> None:
    """Never a short success."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(b'{"x":1}\n' * 50_000)
    packed = bytes(sink.getvalue())
    file = write(tmp_path / "in.jsonl.zst", packed, compression="zstd")
    assert JsonLinesFormat().scan(file, ScanOptions()).rows == 50_000
    file = write(tmp_path / "in.jsonl.zst", packed[:-3], compression="zstd")
    with pytest.raises(StorageError, match="truncated or corrupt"):
        JsonLinesFormat().scan(file, ScanOptions())


def test_chunks_have_exactly_the_plans_columns(tmp_path: Path) -> None:
    """In the plan's order; hive values as constants, null where no row has the key."""
    file = write(tmp_path / "in.jsonl", b'{"a":1,"b":"x"}\n', partition=(("day", "7"),))
    schema = pa.schema([("day", pa.string()), ("b", pa.string()), ("none", pa.float64())])
    chunks = read(file, JsonLinesFormat().scan(file, ScanOptions()), schema=schema)
    assert [chunk.batch.schema for chunk in chunks] == [schema]
    assert rows(chunks) == [{"day": "7", "b": "x", "none": None}]


def test_a_type_that_no_value_stands_for_is_refused(tmp_path: Path) -> None:
    """The message names file and column."""
    file = write(tmp_path / "in.jsonl", b'{"a":1}\n')
    scan = JsonLinesFormat().scan(file, ScanOptions())
    with pytest.raises(DataError, match=r"in\.jsonl: column a: .* cannot be read as map"):
        read(file, scan, schema=pa.schema([("a", pa.map_(pa.string(), pa.int64()))]))


def test_a_scan_holds_blocks_and_never_the_file(tmp_path: Path) -> None:
    """A file ten times larger takes no more memory, also where each line must be looked at alone."""

    def peak(rows: int) -> int:
        file = write(tmp_path / "in.jsonl", b'{"id":12345,"s":"abcdef"}\n{"id":NaN}\n{"id":"x"}\n' * rows)
        tracemalloc.start()
        SmallBlocks(1 << 16).scan(file, ScanOptions(split_rows=1 << 30))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(100)
    small, large = peak(3_000), peak(30_000)
    assert large < small * 1.2 < 4_000_000
