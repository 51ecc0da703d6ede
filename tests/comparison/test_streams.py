"""Chunks for two sides are decoded once, wait in files for the slower one, and are removed when both have had them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bentobatch.comparison import stream
from bentobatch.comparison.pace import Pace
from bentobatch.comparison.stream import Seat
from bentobatch.comparison.streams import Streams
from bentobatch.engine.chunk_files import chunk_from_json
from bentobatch.errors import DataError, StorageError
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


def _open(streams: Streams, side: str, format: Format | None = None) -> Seat:
    return streams.open("k", (side, "p"), PLAN, format or Numbers(), FILE, PIECE)


def _values(seat: Seat, count: int) -> list[int]:
    """The values of the next chunks."""
    found = []
    for _ in range(count):
        data = seat.next()
        assert data is not None
        found.append(chunk_from_json(data, SCHEMA).batch.column(0)[0].as_py())
    return found


def test_what_one_side_has_had_waits_for_the_other(streams: Streams, tmp_path: Path) -> None:
    """Decoded as it is asked for, once; a file goes when both have asked for the one after it."""
    old = _open(streams, "old")
    assert _values(old, 2) == [0, 1]
    assert Numbers.decoded == len(list(tmp_path.iterdir())) == 2
    new = _open(streams, "new")
    assert _values(new, 2) == [0, 1]
    assert len(list(tmp_path.iterdir())) == 1
    assert _values(new, 1) == _values(old, 1) == [2]
    assert len(list(tmp_path.iterdir())) == 1
    assert old.next() is None
    assert Numbers.decoded == 3
    streams.done(old)
    assert len(list(tmp_path.iterdir())) == 1
    assert new.next() is None
    assert list(tmp_path.iterdir()) == []
    streams.done(new)


def test_a_worker_that_comes_after_a_lost_one_reads_anew(streams: Streams, tmp_path: Path) -> None:
    """From what is still there, else from the file; and nothing of that stays behind either."""
    first = _open(streams, "old")
    assert _values(first, 1) == [0]
    streams.done(first)  # its worker was lost
    again, new = _open(streams, "old"), _open(streams, "new")
    assert _values(new, 3) == [0, 1, 2]
    streams.done(new)
    assert _values(again, 3) == [0, 1, 2]
    streams.done(again)
    assert list(tmp_path.iterdir()) == []
    late = _open(streams, "old")
    assert _values(late, 1) == [0]
    streams.done(late)
    assert list(tmp_path.iterdir()) == []
    assert Numbers.decoded == 4


def test_a_worker_that_comes_back_after_its_chunks_have_gone_reads_alone(streams: Streams, tmp_path: Path) -> None:
    """The other side goes on with what it reads."""
    old, new = _open(streams, "old"), _open(streams, "new")
    assert _values(old, 2) == _values(new, 2) == [0, 1]
    streams.done(old)
    again = _open(streams, "old")
    assert _values(again, 3) == [0, 1, 2]
    assert _values(new, 1) == [2]
    assert Numbers.decoded == 6
    streams.done(new)
    streams.done(again)
    assert list(tmp_path.iterdir()) == []


def test_two_conversations_of_one_reader_do_not_end_each_other(streams: Streams) -> None:
    """A killed worker's old one, or those for two files of the same content."""
    first, second = _open(streams, "old"), _open(streams, "old")
    streams.done(_open(streams, "new"))
    assert _values(first, 1) == [0]
    streams.done(first)
    assert _values(second, 3) == [0, 1, 2]
    assert second.next() is None


class Broken(Numbers):
    """Fails after its first chunk."""

    def read(self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Any = None) -> Iterator[Chunk]:
        """See Format."""
        yield next(super().read(file, piece, plan, storage_options))
        raise DataError("rows: the end is missing")


def test_both_sides_get_the_error_of_what_they_read(streams: Streams) -> None:
    """Whoever comes to it second is not told that the range has ended; who comes back reads anew."""
    old, new = _open(streams, "old", Broken()), _open(streams, "new", Broken())
    for seat in (old, new, old):
        with pytest.raises(DataError, match="the end is missing"):
            _values(seat, 2)
    streams.done(old)
    assert _values(_open(streams, "old"), 3) == [0, 1, 2]


def test_chunks_that_cannot_be_kept_are_an_error_of_the_storage(tmp_path: Path) -> None:
    """As on a full disk, which is not the model's fault."""
    streams = Streams(tmp_path / "missing", None)
    with pytest.raises(StorageError, match=r"cannot keep rows for both bundles in .*missing: No such file"):
        _open(streams, "old").next()


def test_who_has_not_begun_a_range_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for it is bounded, and goes then; it reads anew when it comes."""
    monkeypatch.setattr(stream, "MOST_AHEAD", 2)
    streams = Streams(tmp_path, None, patience=None)
    streams.settle({"p": PLAN}, set(BOTH))
    Numbers.decoded = 0
    old = _open(streams, "old")
    assert _values(old, 3) == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 1
    new = _open(streams, "new")
    assert _values(new, 3) == [0, 1, 2]
    assert Numbers.decoded == 6
    streams.done(old)
    streams.done(new)
    assert list(tmp_path.iterdir()) == []


def test_the_faster_side_waits_within_a_range(
    streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the slower one has taken what is kept for it."""
    monkeypatch.setattr(stream, "MOST_AHEAD", 1)
    old, new = _open(streams, "old"), _open(streams, "new")
    assert _values(old, 1) == [0]
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(_values, old, 1)
        assert not wait([second], timeout=0.05).done
        assert Numbers.decoded == 1
        assert _values(new, 1) == [0]
        assert second.result(timeout=30) == [1]


def test_a_chunk_comes_out_as_it_went_in(streams: Streams) -> None:
    """With its bad rows and their bytes, its lines and where its rows come from."""
    (given,) = list(Numbers().read(FILE, Range(0, 1, 1, 0), PLAN))
    held = _open(streams, "old").next()
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
