"""This module makes the nasty CSV and JSON lines files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from tests.faults.nasty import COLUMNS, NAN, Case, Row, Truth, either, error, makes, ok, rejects, row, rows, truth

HEADER = "id,x0,x1,x2\n"

TABLE = (
    error("csv/empty.csv", 65, "empty file|no header"),
    ok("csv/header_no_newline.csv", 0),
    rejects("csv/ragged_short.csv", 10, 1, "line.{1,3}7"),
    rejects("csv/ragged_long.csv", 10, 1, "line.{1,3}7"),
    error("csv/unclosed_quote.csv", 65, "quote|line 3"),
    ok("csv/na_after_100k.csv", 100101),
    ok("csv/int_then_float_100k.csv", 100001),
    error("csv/utf16.csv", 65, "UTF-8|encoding"),
    ok("csv/cr_only.csv", 10),
    ok("csv/long_line.csv", 2),
    rejects("csv/nul_bytes.csv", 2, 1),
    ok("csv/blank_lines.csv", 2),
    error("csv/semicolon.csv", 65, "missing column.*--delimiter"),
    error("csv/space_header.csv", 65, "missing column.*x0"),
    ok("csv/nan_inf.csv", 6),
    rejects("csv/odd_numbers.csv", 1, 4),
    error("csv/truncated.csv.gz", 74, "truncated|corrupt|gzip"),
    ok("csv/formula.csv", 1),
    ok("json/ok.jsonl", 10),
    ok("json/nested.jsonl", 5),
    rejects("json/huge_ints.jsonl", 1, 2),
    ok("json/int_53.jsonl", 1),
    ok("json/missing_key.jsonl", 3),  # a missing key is a null, as an empty field of CSV is: the model decides
    ok("json/blank_lines.jsonl", 2),
    rejects("json/deep.jsonl", 2, 1, process=True),
    rejects("json/truncated_tail.jsonl", 1, 1),
)

BEYOND = (
    error("csv/latin1.csv", 65, "UTF-8|encoding"),
    ok("csv/quoted_newlines.csv", 20, options={"keep": ["id", "note"]}),
    ok("csv/bom.csv", 10),
    error("csv/duplicate_header.csv", 65, "x0"),
    rejects("csv/mixed_after_100k.csv", 100_000, 1),
    ok("csv/mixed_line_ends.csv", 9),
    rejects("csv/only_quotes.csv", 2, 1),
    rejects("csv/trailing_delimiter.csv", 1, 2),
    ok("csv/trailing_delimiter_header.csv", 3),
    ok("csv/very_many_columns.csv", 3),
    ok("csv/null_spellings.csv", 11),
    rejects("csv/own_nulls.csv", 2, 1, options={"nulls": ["-"]}),
    ok("csv/no_last_newline.csv", 10),
    rejects("csv/stray_quote.csv", 2, 1),
    ok("csv/tabs.csv", 5, options={"delimiter": "\t"}),
    ok("csv/quoted_numbers.csv", 5),
    ok("csv/gzip_members.csv.gz", 20),
    error("csv/gzip_tail.csv.gz", 74, "truncated|corrupt|gzip"),
    error("csv/not_gzip.csv.gz", 74, "truncated|corrupt|gzip"),
    # a line of 384 MiB out of 400 kB; the native reader may die of it, but not silently
    error("csv/gzip_bomb.csv.gz", 65, "MiB|header|column|memory|crashed", process=True, memory=4000),
    error("csv/long_header.csv", 65, "missing column"),
    error("csv/only_newlines.csv", 65, "empty file|no header"),
    ok("csv/int63.csv", 3),
    either("csv/int64_overflow.csv"),
    error("csv/parquet_renamed.csv", 65),
    rejects("json/nan_inf.jsonl", 1, 3),
    either("json/duplicate_keys.jsonl"),
    rejects("json/array_lines.jsonl", 2, 1),
    rejects("json/scalar_lines.jsonl", 2, 4),
    ok("json/bom.jsonl", 5),
    ok("json/crlf.jsonl", 5),
    ok("json/nested_types_change.jsonl", 4, options={"keep": ["id", "extra"]}),
    either("json/document.jsonl"),
    ok("json/document.json", 5),
    error("json/broken_document.json", 65),
    error("json/deep_document.json", 65, process=True),
    rejects("json/two_objects_on_a_line.jsonl", 2, 1),
    rejects("json/string_number.jsonl", 2, 1),
    rejects("json/lone_surrogate.jsonl", 2, 1, options={"keep": ["id", "note"]}),
    rejects("json/trailing_comma.jsonl", 2, 1),
    ok("json/long_line.jsonl", 2),
    error("json/latin1.jsonl", 65, "UTF-8|encoding"),
    error("json/utf16.jsonl", 65, "UTF-8|encoding"),
    ok("json/empty_strings_as_keys.jsonl", 3),
    either("json/empty.jsonl"),
    ok("json/wide_ints_in_features.jsonl", 2),
    ok("json/one_wide_record_then_narrow.jsonl", 3),
)


def line(item: Row) -> str:
    """A row as a line of CSV; None is nothing between two commas."""
    return ",".join("" if value is None else repr(value) for value in item) + "\n"


def lines(of: list[Row]) -> str:
    """A whole CSV file."""
    return HEADER + "".join(line(item) for item in of)


def write(path: Path, text: str | bytes) -> None:
    """Text as UTF-8, or bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def bad(*ids: int | None) -> list[tuple[int | None, float | None]]:
    """The truth of rejected rows."""
    return [(key, None) for key in ids]


def record(item: Row, **more: Any) -> str:
    """A row as a line of JSON."""
    return json.dumps({**dict(zip(COLUMNS, item, strict=True)), **more}) + "\n"


def records(of: list[Row]) -> str:
    """A whole JSON lines file."""
    return "".join(record(item) for item in of)


# -- the table's CSV -----------------------------------------------------------------------------------------------


@makes("csv/empty.csv")
def _(path: Path) -> Truth:
    write(path, "")


@makes("csv/header_no_newline.csv")
def _(path: Path) -> Truth:
    write(path, HEADER.strip())
    return []


def _ragged(path: Path, broken: str) -> Truth:
    write(path, HEADER + "".join(broken if index == 5 else line(row(index)) for index in range(11)))
    return truth(rows(5)) + bad(5) + truth(rows(5, 6))


@makes("csv/ragged_short.csv")
def _(path: Path) -> Truth:
    return _ragged(path, "5,1.0\n")


@makes("csv/ragged_long.csv")
def _(path: Path) -> Truth:
    return _ragged(path, "5,1,2,3,4,5\n")


@makes("csv/unclosed_quote.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(5000)).replace("\n1,0.5,", '\n1,"0.5,'))


@makes("csv/na_after_100k.csv")
def _(path: Path) -> Truth:
    tail: list[Row] = [(index, row(index)[1], None, 1.0) for index in range(100_000, 100_101)]
    write(path, lines(rows(100_000)) + "".join(line(item).replace(",,", ",n/a,") for item in tail))
    return truth(rows(100_000) + tail)


@makes("csv/int_then_float_100k.csv")
def _(path: Path) -> Truth:
    many: list[Row] = [(index, index, 1, 2) for index in range(100_000)] + [(100_000, 0.5, 1, 2)]
    write(path, lines(many))
    return truth(many)


@makes("csv/utf16.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(10)).encode("utf-16"))


@makes("csv/cr_only.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(10)).replace("\n", "\r"))
    return truth(rows(10))


@makes("csv/long_line.csv")
def _(path: Path) -> Truth:
    write(path, "id,x0,note,x1,x2\n0,0.0,short,-3.0,1.0\n1,0.5," + "a" * (8 << 20) + ",-2.0,0.5\n")
    return truth(rows(2))


@makes("csv/nul_bytes.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + line(row(0)) + "1,0.\x005,-2.0,0.5\n" + line(row(2)))
    return truth(rows(1)) + bad(1) + truth(rows(1, 2))


@makes("csv/blank_lines.csv")
def _(path: Path) -> Truth:
    write(path, "\n\n" + HEADER + "\n" + line(row(0)) + "\n\n\n" + line(row(1)) + "\n")
    return truth(rows(2))


@makes("csv/semicolon.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(5)).replace(",", ";"))


@makes("csv/space_header.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(5)).replace("id,x0,x1,x2", "id, x0, x1, x2"))


@makes("csv/nan_inf.csv")
def _(path: Path) -> Truth:
    texts = ["NaN", "inf", "-inf", "", "nan", "Infinity"]
    write(path, HEADER + "".join(f"{index},{text},1.0,2.0\n" for index, text in enumerate(texts)))
    values = [NAN, float("inf"), float("-inf"), None, NAN, float("inf")]
    return truth([(index, value, 1.0, 2.0) for index, value in enumerate(values)])


@makes("csv/odd_numbers.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + "0,1e5,1.0,2.0\n1,1_000,1.0,2.0\n2,0x1F,1.0,2.0\n3,1e400,1.0,2.0\n" + '4,"1,5",1.0,2.0\n')
    return truth([(0, 1e5, 1.0, 2.0)]) + bad(1, 2, 3, 4)


@makes("csv/truncated.csv.gz")
def _(path: Path) -> Truth:
    packed = gzip.compress(lines(rows(5000)).encode(), mtime=0)
    write(path, packed[: len(packed) // 2])


@makes("csv/formula.csv")
def _(path: Path) -> Truth:
    write(path, "id,note,x0,x1,x2\n0,\"=cmd|' /C calc'!A0\",0.0,-3.0,1.0\n")
    return truth(rows(1))


# -- the table's JSON ----------------------------------------------------------------------------------------------


@makes("json/ok.jsonl")
def _(path: Path) -> Truth:
    write(path, records(rows(10)))
    return truth(rows(10))


@makes("json/nested.jsonl")
def _(path: Path) -> Truth:
    extras: list[Any] = [{"a": [1]}, {"a": ["x"]}, [1, [2]], None, {"a": {"b": 1}}]
    write(path, "".join(record(row(index), extra=extra) for index, extra in enumerate(extras)))
    return truth(rows(5))


@makes("json/huge_ints.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + record((2**63, 1.0, 1.0, 1.0)) + record((10**30, 1.0, 1.0, 1.0)))
    return truth(rows(1)) + bad(None, None)


@makes("json/int_53.jsonl")
def _(path: Path) -> Truth:
    big: list[Row] = [(9007199254740993, 1.0, 2.0, 3.0)]
    write(path, records(big))
    return truth(big)


@makes("json/missing_key.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + '{"id": 1, "x0": 0.5, "x2": 0.5}\n' + record(row(2)))
    return truth([row(0), (1, 0.5, None, 0.5), row(2)])


@makes("json/blank_lines.jsonl")
def _(path: Path) -> Truth:
    write(path, "\n" + record(row(0)) + " \t\n\n" + record(row(1)) + "\n")
    return truth(rows(2))


@makes("json/deep.jsonl")
def _(path: Path) -> Truth:
    deep = '{"id": 1, "x0": 1.0, "x1": 1.0, "x2": 1.0, "extra": ' + "[" * 20_000 + "]" * 20_000 + "}\n"
    write(path, record(row(0)) + deep + record(row(2)))
    return truth(rows(1)) + bad(1) + truth(rows(1, 2))


@makes("json/truncated_tail.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + '{"id": 1, "x0": 0.5, "x1": "un')
    return truth(rows(1)) + bad(None)


# -- beyond the table: CSV -----------------------------------------------------------------------------------------


@makes("csv/latin1.csv")
def _(path: Path) -> Truth:
    write(path, ("id,x0,x1,x2,name\n" + line(row(0)).strip() + ",Müller\n").encode("latin-1"))


@makes("csv/quoted_newlines.csv")
def _(path: Path) -> Truth:
    body = "".join(line(row(index)).strip() + f',"a\nb ""{index}"", c\r\nd"\n' for index in range(20))
    write(path, "id,x0,x1,x2,note\n" + body)
    return truth(rows(20))


@makes("csv/bom.csv")
def _(path: Path) -> Truth:
    write(path, b"\xef\xbb\xbf" + lines(rows(10)).encode())
    return truth(rows(10))


@makes("csv/duplicate_header.csv")
def _(path: Path) -> Truth:
    write(path, "id,x0,x1,x2,x0\n" + "0,1.0,2.0,3.0,4.0\n")


@makes("csv/mixed_after_100k.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(100_000)) + "100000,hello,1.0,2.0\n")
    return truth(rows(100_000)) + bad(100_000)


@makes("csv/mixed_line_ends.csv")
def _(path: Path) -> Truth:
    ends = ["\n", "\r\n", "\r"]
    write(path, HEADER + "".join(line(row(index)).strip() + ends[index % 3] for index in range(9)))
    return truth(rows(9))


@makes("csv/only_quotes.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + line(row(0)) + '""\n' + line(row(2)))
    return truth(rows(1)) + bad(None) + truth(rows(1, 2))


@makes("csv/trailing_delimiter.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + line(row(0)) + line(row(1)).strip() + ",\n" + line(row(2)).strip() + ",\n")
    return truth(rows(1)) + bad(1, 2)


@makes("csv/trailing_delimiter_header.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(3)).replace("\n", ",\n"))
    return truth(rows(3))


@makes("csv/very_many_columns.csv")
def _(path: Path) -> Truth:
    names = "".join(f",c{index}" for index in range(20_000))
    write(path, HEADER.strip() + names + "\n" + "".join(line(item).strip() + ",7" * 20_000 + "\n" for item in rows(3)))
    return truth(rows(3))


@makes("csv/null_spellings.csv")
def _(path: Path) -> Truth:
    texts = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "1.0"]
    write(path, HEADER + "".join(f"{index},{text},1.0,2.0\n" for index, text in enumerate(texts)))
    return truth([(index, None if index < 10 else 1.0, 1.0, 2.0) for index in range(11)])


@makes("csv/own_nulls.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + "0,-,1.0,2.0\n1,1.0,1.0,2.0\n2,NA,1.0,2.0\n")
    return [*truth([(0, None, 1.0, 2.0), (1, 1.0, 1.0, 2.0)]), *bad(2)]


@makes("csv/no_last_newline.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(10)).rstrip("\n"))
    return truth(rows(10))


@makes("csv/stray_quote.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + line(row(0)) + '1,"0.5"x,-2.0,0.5\n' + line(row(2)))
    return truth(rows(1)) + bad(1) + truth(rows(1, 2))


@makes("csv/tabs.csv")
def _(path: Path) -> Truth:
    write(path, lines(rows(5)).replace(",", "\t"))
    return truth(rows(5))


@makes("csv/quoted_numbers.csv")
def _(path: Path) -> Truth:
    quoted = ["".join(f'"{value}",' for value in item)[:-1] + "\n" for item in rows(5)]
    write(path, '"id","x0","x1","x2"\n' + "".join(quoted))
    return truth(rows(5))


@makes("csv/gzip_members.csv.gz")
def _(path: Path) -> Truth:
    more = "".join(line(item) for item in rows(10, 10))
    write(path, gzip.compress(lines(rows(10)).encode(), mtime=0) + gzip.compress(more.encode(), mtime=0))
    return truth(rows(20))


@makes("csv/gzip_tail.csv.gz")
def _(path: Path) -> Truth:
    packed = bytearray(gzip.compress(lines(rows(5000)).encode(), mtime=0))
    packed[-8] ^= 1  # the checksum
    write(path, bytes(packed))


@makes("csv/not_gzip.csv.gz")
def _(path: Path) -> Truth:
    write(path, lines(rows(10)))


@makes("csv/gzip_bomb.csv.gz")
def _(path: Path) -> Truth:
    chunk = gzip.compress(b"a" * (64 << 20), mtime=0)
    write(path, chunk * 6)  # one line of 384 MiB out of 400 kB


@makes("csv/long_header.csv")
def _(path: Path) -> Truth:
    write(path, HEADER.replace("x0", "a" * 1_000_000) + line(row(0)))


@makes("csv/only_newlines.csv")
def _(path: Path) -> Truth:
    write(path, "\n" * 100)


@makes("csv/int63.csv")
def _(path: Path) -> Truth:
    big: list[Row] = [(2**63 - 1, 1.0, 2.0, 3.0), (-(2**63), 1.0, 2.0, 3.0), (9007199254740993, 1.0, 2.0, 3.0)]
    write(path, lines(big))
    return truth(big)


@makes("csv/int64_overflow.csv")
def _(path: Path) -> Truth:
    write(path, HEADER + "1,1.0,2.0,3.0\n9223372036854775808,1.0,2.0,3.0\n")
    return truth([(1, 1.0, 2.0, 3.0)]) + bad(None)


@makes("csv/parquet_renamed.csv")
def _(path: Path) -> Truth:
    from tests.faults.nasty import parquet

    parquet(path, rows(10))


# -- beyond the table: JSON ----------------------------------------------------------------------------------------


@makes("json/nan_inf.jsonl")
def _(path: Path) -> Truth:
    values = [0.0, NAN, float("inf"), float("-inf")]
    write(path, "".join(record((index, value, 1.0, 2.0)) for index, value in enumerate(values)))
    return truth([(0, 0.0, 1.0, 2.0)]) + bad(None, None, None)


@makes("json/duplicate_keys.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + '{"id": 1, "x0": 5.0, "x0": 0.5, "x1": -2.0, "x2": 0.5}\n')
    return truth(rows(2))


@makes("json/array_lines.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + "[1, 0.5, -2.0, 0.5]\n" + record(row(2)))
    return truth(rows(1)) + bad(None) + truth(rows(1, 2))


@makes("json/scalar_lines.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + '5\n"text"\nnull\ntrue\n' + record(row(5)))
    return truth(rows(1)) + bad(None, None, None, None) + truth(rows(1, 5))


@makes("json/bom.jsonl")
def _(path: Path) -> Truth:
    write(path, b"\xef\xbb\xbf" + records(rows(5)).encode())
    return truth(rows(5))


@makes("json/crlf.jsonl")
def _(path: Path) -> Truth:
    write(path, records(rows(5)).replace("\n", "\r\n"))
    return truth(rows(5))


@makes("json/nested_types_change.jsonl")
def _(path: Path) -> Truth:
    extras: list[Any] = [1, "x", [1, {"a": 2}], {"b": None}]
    write(path, "".join(record(row(index), extra=extra) for index, extra in enumerate(extras)))
    return truth(rows(4))


def _document() -> str:
    return json.dumps([dict(zip(COLUMNS, item, strict=True)) for item in rows(5)], indent=1)


@makes("json/document.jsonl")
def _(path: Path) -> Truth:
    write(path, _document())


@makes("json/document.json")
def _(path: Path) -> Truth:
    write(path, _document())
    return truth(rows(5))


@makes("json/broken_document.json")
def _(path: Path) -> Truth:
    write(path, _document()[:-20])


@makes("json/deep_document.json")
def _(path: Path) -> Truth:
    write(path, "[" * 100_000 + "]" * 100_000)


@makes("json/two_objects_on_a_line.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + record(row(1)).strip() + record(row(1)) + record(row(2)))
    return truth(rows(1)) + bad(None) + truth(rows(1, 2))


@makes("json/string_number.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + record((1, "half", -2.0, 0.5)) + record(row(2)))
    return truth(rows(1)) + bad(1) + truth(rows(1, 2))


@makes("json/lone_surrogate.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0), note="é") + record(row(1), note="\ud800") + record(row(2), note="é"))
    return truth(rows(1)) + bad(None) + truth(rows(1, 2))


@makes("json/trailing_comma.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + record(row(1)).replace("}", ",}") + record(row(2)))
    return truth(rows(1)) + bad(None) + truth(rows(1, 2))


@makes("json/long_line.jsonl")
def _(path: Path) -> Truth:
    write(path, record(row(0)) + record(row(1), note="a" * (20 << 20)))
    return truth(rows(2))


@makes("json/latin1.jsonl")
def _(path: Path) -> Truth:
    write(path, (record(row(0)) + '{"id": 1, "note": "é"}\n').encode("latin-1"))


@makes("json/utf16.jsonl")
def _(path: Path) -> Truth:
    write(path, records(rows(5)).encode("utf-16-le"))


@makes("json/empty_strings_as_keys.jsonl")
def _(path: Path) -> Truth:
    write(path, "".join(record(item, **{"": 1, "a.b": 2, "x0 ": 3}) for item in rows(3)))
    return truth(rows(3))


@makes("json/empty.jsonl")
def _(path: Path) -> Truth:
    write(path, "")
    return []


@makes("json/wide_ints_in_features.jsonl")
def _(path: Path) -> Truth:
    wide: list[Row] = [(0, 2**60, 1, 2), (1, 1.5, 1, 2)]
    write(path, records(wide))
    return truth(wide)


@makes("json/one_wide_record_then_narrow.jsonl")
def _(path: Path) -> Truth:
    more = {f"c{index}": index for index in range(20_000)}
    write(path, record(row(0), **more) + record(row(1)) + record(row(2)))
    return truth(rows(3))


CASES: tuple[Case, ...] = TABLE + BEYOND
