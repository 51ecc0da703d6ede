"""This module tests that a range read for several plans at once gives each of them what it would read alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from bentobatch import plugins
from bentobatch.formats.base import Chunk, Format, InputFile, Range, ReadPlan, ScanOptions

ROWS = 40
NUMBERS = [None if row % 7 == 3 else row for row in range(ROWS)]
TEXTS = ["007" if row % 5 else "seven" for row in range(ROWS)]
TABLE = pa.table({"n": pa.array(NUMBERS, pa.int64()), "t": TEXTS, "x": [row / 4 for row in range(ROWS)]})
CSV = "n,t,x\n" + "".join(
    f"{'' if n is None else n},{t},{row / 4}\n" for row, (n, t) in enumerate(zip(NUMBERS, TEXTS, strict=True))
)
JSONL = TABLE.to_pandas().to_json(orient="records", lines=True)

PLANS = (
    ReadPlan(pa.schema([("n", pa.int64()), ("x", pa.float64())]), chunk_rows=7),
    ReadPlan(pa.schema([("t", pa.int32())]), chunk_rows=7),  # "seven" is none: those rows are bad here, and only here
    ReadPlan(pa.schema([("x", pa.float32()), ("t", pa.string()), ("n", pa.float64())]), chunk_rows=11),
    ReadPlan(pa.schema([]), chunk_rows=100),
)
LINES = ReadPlan(pa.schema([("line", pa.large_binary())]), lines=True, chunk_rows=5)


class CountingFileSystem(LocalFileSystem):
    """Local files under openings://, with how often each was opened."""

    protocol = "openings"
    opened: int = 0

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).removeprefix("openings://"))

    def open(self, path: str, *args: Any, **options: Any) -> Any:
        """As the local one's."""
        CountingFileSystem.opened += 1
        return super().open(path, *args, **options)


fsspec.register_implementation("openings", CountingFileSystem, clobber=True)


def _write(folder: Path, format: str) -> InputFile:
    path = folder / f"rows.{format}"
    if format == "parquet":
        pq.write_table(TABLE, path, row_group_size=16)
    elif format == "arrow":
        pyarrow.feather.write_feather(TABLE, str(path), chunksize=16)
    elif format == "orc":
        pyarrow.orc.write_table(TABLE, str(path))
    else:
        path.write_text({"csv": CSV, "jsonl": JSONL, "text": CSV}[format])
    return InputFile(f"openings://{path}", path.stat().st_size, "", format)


def _shown(chunk: Chunk) -> Any:
    bad = [(row.index, row.stage, row.error_type, row.error, row.line, row.raw) for row in chunk.bad]
    return chunk.batch.schema, chunk.batch.num_rows, chunk.batch.to_pydict(), bad, chunk.first_line, chunk.lines


def _read(format: Format, file: InputFile, piece: Range, plan: ReadPlan) -> list[Any]:
    return [_shown(chunk) for chunk in format.read(file, piece, plan)]


@pytest.mark.parametrize("name", ["parquet", "arrow", "orc", "csv", "jsonl", "text"])
def test_each_plan_gets_what_it_would_read_alone(tmp_path: Path, name: str) -> None:
    """Its own columns, types and bad rows, in its own chunks; and the file is opened as often as for one of them."""
    format: Format = plugins.find("formats", name)()
    file = _write(tmp_path, name)
    lines = name == "text"
    plans = (LINES, replace(LINES, chunk_rows=9)) if lines else PLANS if name in ("parquet", "arrow", "orc") else (
        *PLANS, LINES,
    )  # fmt: skip
    pieces = format.scan(file, ScanOptions(split_rows=16, lines=lines)).ranges
    assert pieces
    bad = 0
    for piece in pieces:
        before = CountingFileSystem.opened
        alone = [_read(format, file, piece, plan) for plan in plans]
        opened_alone = CountingFileSystem.opened - before
        before = CountingFileSystem.opened
        together: list[list[Any]] = [[] for _ in plans]
        for position, chunk in format.read_each(file, piece, plans):
            together[position].append(_shown(chunk))
        opened = CountingFileSystem.opened - before
        assert together == alone
        assert (
            opened <= 2 < len(plans) <= opened_alone or lines
        )  # 2: a CSV file's header stands apart from a later range
        bad += sum(len(shown[3]) for chunks in together for shown in chunks)
    assert (bad > 0) == (not lines)


def test_a_format_of_others_is_read_once_for_each_plan(tmp_path: Path) -> None:
    """One that has ``scan`` and ``read`` alone, as the documentation says, works as before."""

    class Plain(Format):
        def scan(self, file: InputFile, options: ScanOptions, storage_options: Any = None) -> Any:
            raise NotImplementedError

        def read(self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Any = None) -> Any:
            yield from plugins.find("formats", "csv")().read(file, piece, plan, storage_options)

    file = _write(tmp_path, "csv")
    (piece,) = plugins.find("formats", "csv")().scan(file, ScanOptions()).ranges
    found: list[list[Any]] = [[], []]
    for position, chunk in Plain().read_each(file, piece, PLANS[:2]):
        found[position].append(_shown(chunk))
    assert found == [_read(Plain(), file, piece, plan) for plan in PLANS[:2]]
