"""Rows of plain numbers are told from others without parsing them: the types that are found must be the same."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bentobatch.formats import csv_types, json_types, number_rows
from bentobatch.formats.base import FileScan, ScanOptions
from bentobatch.formats.csv import CsvFormat
from bentobatch.formats.discover import discover
from bentobatch.formats.json_lines import JsonLinesFormat

INTEGERS = ["7", "-12", "0", "007", "99999999999999999999", ""]
FLOATS = ["0.5", "-3.25", "12.0", "7", "-0.000001"]
ODD = [
    ".", "-", "-.", "5.", ".5", "-.5", "1-2", "1.2.3", "2020-01-05", "12:30:00", "1e5", "1E-7", "NA", " 5", "5 ", '"7"',
    "0x1F", "+3", "true", "False", "x", "--1", "1e400", "nan", "inf", "9" * 400 + ".5", "-inf", '"a,b"', '"a\nb"',
]  # fmt: skip


class SmallCsv(CsvFormat):
    block_bytes = 256


class SmallJson(JsonLinesFormat):
    block_bytes = 256


@pytest.mark.parametrize("delimiter", "/;|")
@pytest.mark.parametrize("odd", ["-", "."])
def test_a_mark_alone_is_no_number_beside_any_delimiter(tmp_path: Path, delimiter: str, odd: str) -> None:
    """A slash stands among the codes of signs, points and digits."""
    lines = ["a,b,c", *["1,2,3"] * 300, f"5,{odd},7", *["1,2,3"] * 5]
    (tmp_path / "in.csv").write_text("\n".join(lines).replace(",", delimiter) + "\n")
    (file,) = discover([str(tmp_path / "in.csv")])
    found = SmallCsv().scan(file, ScanOptions(columns=None, split_rows=50, delimiter=delimiter)).schema
    assert [str(field.type) for field in found] == ["int64", "string", "int64"]


def types_of(format: Any, path: Path, columns: tuple[str, ...] | None) -> FileScan:
    (file,) = discover([str(path)])
    return format.scan(file, ScanOptions(columns=columns, split_rows=50))  # type: ignore[no-any-return]


def both(format: Any, path: Path, columns: tuple[str, ...] | None, module: Any, name: str) -> tuple[FileScan, FileScan]:
    """What is found with the short way and without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_rows, "_SLICE", 100)
        quick = types_of(format, path, columns)
        patch.setattr(module, name, lambda *_: None)
        return quick, types_of(format, path, columns)


@pytest.mark.parametrize("seed", range(60))
def test_csv_columns_have_the_types_that_parsing_every_value_finds(tmp_path: Path, seed: int) -> None:
    """One odd value among many numbers, of every kind, wherever blocks end and whatever the line ends."""
    rng = random.Random(seed)
    width = rng.randint(1, 4)
    kinds = [rng.choice([INTEGERS, FLOATS]) for _ in range(width)]
    rows = [[rng.choice(kind) for kind in kinds] for _ in range(300)]
    for _ in range(rng.randint(0, 3)):
        rows[rng.randrange(len(rows))][rng.randrange(width)] = rng.choice(ODD)
    end = rng.choice(["\n", "\r\n"])
    names = [f"c{index}" for index in range(width)]
    path = tmp_path / "in.csv"
    path.write_bytes(end.join([",".join(names), *(",".join(row) for row in rows), ""]).encode())
    quick, full = both(SmallCsv(), path, tuple(names) if rng.random() < 0.5 else None, csv_types, "odd_csv_rows")
    assert quick == full


def test_a_short_and_a_long_row_are_no_reason_for_another_type(tmp_path: Path) -> None:
    """Malformed rows are bad rows; their fields say nothing of columns."""
    path = tmp_path / "in.csv"
    path.write_text("a,b\n" + "1,2.5\n" * 300 + "1,2,x\n1\n\n" + "1,2.5\n" * 50)
    quick, full = both(SmallCsv(), path, None, csv_types, "odd_csv_rows")
    assert quick == full
    assert [str(field.type) for field in quick.schema] == ["int64", "double"]


ODD_JSON = [
    "1e5", "null", "true", '"x"', "[1]", '{"a": 1}', "-0.5e-7", "1.5", "3", "9" * 30, "9" * 400 + ".5", "1-2", "01", ".5",
    "-", "NaN", "1 ", '"1.5"',
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_json_columns_have_the_types_that_parsing_every_value_finds(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that differ by digits alone change places, come late, or have different types."""
    monkeypatch.setattr(json_types, "_SAMPLE_ROWS", 20)
    rng = random.Random(seed)
    names = rng.sample(["x1", "x2", "x10", "id", "id-2", "y"], rng.randint(1, 5))
    kinds = {name: rng.choice(["int", "float"]) for name in names}
    lines = []
    for number in range(300):
        order = rng.sample(names, len(names)) if rng.random() < 0.01 else names
        values = {
            name: str(rng.randint(-9, 99)) if kinds[name] == "int" else f"{rng.uniform(-9, 9):.3f}" for name in order
        }
        if rng.random() < 0.01:
            values[rng.choice([*names, "x3", "z"])] = rng.choice(ODD_JSON)
        if number > 200 and rng.random() < 0.01:
            values = {"x7" if name == "x1" else name: value for name, value in values.items()}
        lines.append("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in values.items()) + "}")
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines) + "\n")
    wanted = (*names, "x7") if rng.random() < 0.8 else None
    quick, full = both(SmallJson(), path, wanted, json_types, "odd_json_rows")
    assert (quick.rows, quick.ranges) == (full.rows, full.ranges)
    chosen = [name for name in quick.schema.names if wanted is None or name in wanted]
    assert [quick.schema.field(name) for name in chosen] == [full.schema.field(name) for name in chosen]
    assert wanted is None or set(chosen) == {name for name in full.schema.names if name in wanted}


def test_rows_of_numbers_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the short way is for: one look at some rows, and then no more, but for the odd one."""
    monkeypatch.setattr(json_types, "_agrees", lambda *_: pytest.fail("parsed"))
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"id": number, "x0": number + 0.5}, separators=(",", ":")) for number in range(3000)]
    lines[2500] = '{"id":7,"x0":1e-7}'
    lines[2600] = '{"id":1.5,"x0":2}'
    path.write_text("\n".join(lines) + "\n")
    scan = types_of(JsonLinesFormat(), path, ("id", "x0"))
    assert [str(field.type) for field in scan.schema] == ["double", "double"]
    csv = tmp_path / "in.csv"
    csv.write_text("id,x0\n" + "".join(f"{number},{number + 0.5}\n" for number in range(3000)) + "8,1e-7\n9,text\n")
    parsed: list[int] = []
    infer = csv_types.CsvTypes._infer
    monkeypatch.setattr(
        csv_types.CsvTypes, "_infer", lambda self, body, names: parsed.append(len(body)) or infer(self, body, names)
    )
    assert [str(field.type) for field in types_of(SmallCsv(), csv, None).schema] == ["int64", "string"]
    assert sum(parsed) < 1000
