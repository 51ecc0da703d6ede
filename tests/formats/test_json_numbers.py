"""JSON lines of plain numbers are parsed by a way of their own: what comes out must be what any other way finds."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest

from bentobatch.formats import csv_values, json_numbers, json_rows
from bentobatch.formats.json_numbers import read_numbers
from bentobatch.formats.json_rows import JsonRows
from bentobatch.formats.records import Records, split_json_lines

TYPES = [pa.int64(), pa.float64(), pa.float32(), pa.int8(), pa.uint16()]
FINE = ["0", "-0", "7", "-12", "0.5", "-3.25", "1e5", "1E-7", "2e+3", "0e1", "100.125", "null", "123456789", "5.0"]
ODD = [
    "007", "-01", ".5", "-.5", "5.", "1.e3", "+1", "0x10", "0X1F", "-0x1", "nan", "NaN", "inf", "-inf", "Infinity",
    "null5", "nul", "-null", "", " ", "-", "--1", "1-2", "1 2", "1.2.3", "1e", "1_0", "00", "-00.5", "1e400", "9" * 30,
    "9223372036854775808", "true", '"7"', "[1]", "{}", '{"a":1}', "1:2", "1,2", "1}", '1"', "\t7", "7 ", " 7", "7\t",
]  # fmt: skip
KEYS = ["id", "x", "x01", "x10", "1", "a long name of many bytes", "é", "f.x", "-"]


def records_of(text: str) -> Records:
    return split_json_lines(text.encode(), True)[0]


def line(values: dict[str, str], space: str, after: str) -> str:
    return "{" + f",{space}".join(f'"{key}":{after}{value}' for key, value in values.items()) + "}"


def mangled(text: str, rng: random.Random) -> str:
    """The line with something else amiss than a number."""
    place = rng.randrange(len(text))
    kind = rng.randrange(5)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + rng.choice('{}[]:,"\\ \t10nx.') + text[place:]
    if kind == 2:
        return text.replace("x01", "x10").replace('"1"', '"2"')
    if kind == 3:
        return "{" + text[1:-1].split(",", 1)[-1] + "}"
    return text + text


@pytest.mark.parametrize("seed", range(60))
def test_rows_are_what_the_json_reader_finds(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """One or two odd things among many rows, of every kind, wherever the pieces end that are looked at in one go."""
    rng = random.Random(seed)
    names = rng.sample(KEYS, rng.randint(1, 5))
    space, after = rng.choice(["", " "]), rng.choice(["", " "])
    kinds = {name: rng.choice([["7", "-12", "0", "99"], FINE]) for name in names}
    lines = [line({name: rng.choice(kinds[name]) for name in names}, space, after) for _ in range(60)]
    for _ in range(rng.randint(0, 2)):
        row = rng.randrange(len(lines))
        if rng.random() < 0.7:
            odd = {name: rng.choice(kinds[name]) for name in names} | {rng.choice(names): rng.choice(ODD)}
            lines[row] = line(odd, space, after)
        else:
            lines[row] = mangled(lines[row], rng)
    records = records_of(rng.choice(["\n", "\n", "\r\n", "\n\n"]).join(lines) + "\n")
    types = {name: rng.choice(TYPES[: rng.choice([2, 5])]) for name in [*names, "absent"] if rng.random() < 0.8}
    rows = JsonRows(types, file="in.jsonl")
    monkeypatch.setattr(json_numbers, "_SLICE", 300)
    monkeypatch.setattr(csv_values, "_CACHED_BYTES", 3 * records.longest())
    quick, bad = rows.parse(records)
    monkeypatch.setattr(json_rows, "read_numbers", lambda *_: None)
    columns, expected = rows.parse(records)
    assert bad == expected
    for name, type in types.items():
        assert quick[name].type == type
        # 0.0 and -0.0 are told apart by their text
        assert list(map(repr, quick[name].to_pylist())) == list(map(repr, columns[name].to_pylist()))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_plain_numbers_need_no_json_reader(separators: tuple[str, str]) -> None:
    """As json.dumps and pandas write them; also where a value is null, and a column is missing."""
    values: list[dict[str, Any]] = [
        {"id": index, "x00": index / 7, "x01": None if index % 5 == 0 else -index} for index in range(5000)
    ]
    records = records_of("\n".join(json.dumps(row, separators=separators) for row in values) + "\n")
    found = read_numbers(records, {"x00": pa.float64(), "x01": pa.int32(), "y": pa.float32()})
    assert found is not None
    assert found["x00"].to_pylist() == [row["x00"] for row in values]
    assert found["x01"].to_pylist() == [row["x01"] for row in values]
    assert found["y"].null_count == len(values)
