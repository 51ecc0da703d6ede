"""Chunks for two sides are decoded once, wait in files for the slower one, and are removed when both have had them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bentobatch.comparison.pace import Pace
from bentobatch.comparison.streams import Streams
from bentobatch.engine.chunk_files import chunk_from_json
from bentobatch.formats.base import Chunk, Format, InputFile, Origin, Range, ReadPlan, ScanOptions
from bentobatch.rows import BadRow

SCHEMA = pa.schema([("x", pa.int64())])
PLAN = ReadPlan(SCHEMA)
FILE, PIECE = InputFile("rows", 1, "1", "numbers"), Range(0, 3, 3, 0)
BAD = BadRow(0, "read", "ValueError", "bad", 7, b"\xff")
BOTH = {("old", "p"), ("new", "p")}


class Numbers(Format):
    """Three chunks of a row; counts how many were decoded."""

    decoded = 0

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Any = None) -> Any:
        """Not asked for."""
        raise NotImplementedError

    def read(self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Any = None) -> Iterator[Chunk]:
        """See Format."""
        for number in range(piece.start, piece.stop):
            Numbers.decoded += 1
            batch = pa.record_batch([pa.array([number])], schema=SCHEMA)
            yield Chunk(batch, (BAD,), 7, [7], files=["a"], origins=(Origin(0, "a", number, 7, [7]),))


@pytest.fixture
def streams(tmp_path: Path) -> Streams:
    """Streams of sides that have planned."""
    made = Streams(tmp_path, None)
    made.settle({"p": PLAN}, set(BOTH))
    Numbers.decoded = 0
    return made


def _values(stream: Any, positions: Sequence[int]) -> list[int]:
    return [chunk_from_json(stream.chunk("p", each), SCHEMA).batch.column(0)[0].as_py() for each in positions]


def test_what_one_side_has_had_waits_for_the_other(streams: Streams, tmp_path: Path) -> None:
    """Decoded as it is asked for, once; the files go with the last of the two."""
    key, old = streams.open("k", ("old", "p"), PLAN, Numbers(), FILE, PIECE)
    _, new = streams.open("k", ("new", "p"), PLAN, Numbers(), FILE, PIECE)
    assert _values(old, [0, 1]) == [0, 1]
    assert Numbers.decoded == 2
    assert _values(new, [0, 1, 2]) == [0, 1, 2]
    assert _values(old, [2]) == [2]
    assert old.chunk("p", 3) is None
    assert Numbers.decoded == 3
    streams.done(key, ("old", "p"), old)
    assert len(list(tmp_path.iterdir())) == 3
    streams.done(key, ("new", "p"), new)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_comes_after_a_lost_one_reads_anew(streams: Streams, tmp_path: Path) -> None:
    """From what is still there, else from the file; and nothing of that stays behind either."""
    key, first = streams.open("k", ("old", "p"), PLAN, Numbers(), FILE, PIECE)
    assert _values(first, [0]) == [0]
    streams.done(key, ("old", "p"), first)  # its worker was lost
    _, again = streams.open("k", ("old", "p"), PLAN, Numbers(), FILE, PIECE)
    _, new = streams.open("k", ("new", "p"), PLAN, Numbers(), FILE, PIECE)
    assert _values(new, [0, 1, 2]) == [0, 1, 2]
    streams.done(key, ("new", "p"), new)
    assert _values(again, [0, 1, 2]) == [0, 1, 2]
    streams.done(key, ("old", "p"), again)
    assert list(tmp_path.iterdir()) == []
    _, late = streams.open("k", ("old", "p"), PLAN, Numbers(), FILE, PIECE)
    assert _values(late, [0]) == [0]
    streams.done(key, ("old", "p"), late)
    assert list(tmp_path.iterdir()) == []
    assert Numbers.decoded == 4


def test_a_chunk_comes_out_as_it_went_in(streams: Streams) -> None:
    """With its bad rows and their bytes, its lines and where its rows come from."""
    _, stream = streams.open("k", ("old", "p"), PLAN, Numbers(), FILE, PIECE)
    (given,) = list(Numbers().read(FILE, Range(0, 1, 1, 0), PLAN))
    held = stream.chunk("p", 0)
    assert held is not None
    found = chunk_from_json(held, SCHEMA)
    assert found.batch.equals(given.batch)
    assert (found.bad, found.first_line, list(found.lines or ())) == (given.bad, 7, [7])
    assert found.files == given.files
    assert [(each.file, each.file_row, list(each.lines or ())) for each in found.origins] == [("a", 0, [7])]


def test_the_faster_side_waits_for_the_slower_one() -> None:
    """It may be no more than a few splits ahead, in whatever order the other one ends them."""
    pace = Pace(("old", "new"), room=2)
    assert [pace.may("old", index) for index in range(4)] == [True, True, False, False]
    pace.ended("new", 1)
    assert not pace.may("old", 2)
    pace.ended("new", 0)
    assert [pace.may("old", index) for index in range(5)] == [True, True, True, True, False]
    pace.finished("new")
    assert pace.may("old", 99)
    assert not pace.may("new", 2)
