"""This module says what a format is: bytes and files on one side, record batches of a settled schema on the other.

A format is asked twice. ``scan`` looks at one file during planning and tells its rows, its columns and where it may be
cut; ``read`` yields one range of it as chunks. Both are pure functions of the file: the same range gives the same
chunks on every machine, since chunk boundaries depend on ``ReadPlan`` and the data alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import tee
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.rows import BadRow


@dataclass(frozen=True, slots=True)  # there may be a million of these and of Range
class InputFile:
    """One regular file of the input, as ``discover`` found it.

    ``uri`` is an absolute local path or a URL with a scheme. ``stamp`` changes when the content does (mtime in ns, or
    an ETag). ``compression`` is None, "gzip", "zstd" or "bz2" (text formats only). ``partition`` holds hive values,
    such as (("day", "2026-01-01"),), which become string columns of every row of the file.
    """

    uri: str
    size: int
    stamp: str
    format: str
    compression: str | None = None
    partition: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """A piece of one file, in the format's own unit: row groups (Parquet), stripes (ORC), batches (IPC), bytes (text).

    ``start`` and ``stop`` are half open. ``skip`` rows at the head of ``start`` belong to the piece before; ``rows`` is
    the exact number of rows in this piece, ``first_row`` the position of its first row in the file (from 0), and
    ``first_line`` the physical line of its first row in a text file (from 1; 0 where that means nothing).
    """

    start: int
    stop: int
    rows: int
    first_row: int
    skip: int = 0
    first_line: int = 0


@dataclass(frozen=True)
class ScanOptions:
    """What planning wants to know, and how text is spelled.

    ``columns``: the only columns whose types matter, or None for all. ``types``: declared types, which need no
    inference. ``lines``: rows are wanted as raw lines, so count and cut but do not parse. ``split_rows`` and
    ``split_bytes`` bound one range, where the file allows a cut there. ``nulls`` are the spellings of null in CSV.
    """

    columns: tuple[str, ...] | None = None
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    lines: bool = False
    split_rows: int = 262_144
    split_bytes: int = 256 << 20
    delimiter: str = ","
    nulls: tuple[str, ...] = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A")


@dataclass(frozen=True, slots=True)
class FileScan:
    """What ``scan`` learned. ``schema`` has every column of the file in the file's order (partition columns excluded);
    for text formats a column that was not asked for has type null. ``row_bytes`` estimates the memory of one row of
    the wanted columns. ``ranges`` cover the file without gaps, in order; a file without rows has no range."""

    rows: int
    schema: pa.Schema
    ranges: tuple[Range, ...]
    row_bytes: float


@dataclass(frozen=True)
class ReadPlan:
    """How to read, the same for every split of a job.

    ``schema``: the settled columns, in order; every chunk has exactly these (partition columns included). In ``lines``
    mode it is one column "line" of type large_binary. A chunk holds at most ``chunk_rows`` rows, and at most
    ``chunk_bytes`` bytes where it has more than one row.
    """

    schema: pa.Schema
    lines: bool = False
    chunk_rows: int = 65_536
    chunk_bytes: int = 128 << 20
    delimiter: str = ","
    nulls: tuple[str, ...] = ScanOptions.nulls


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows of a chunk come from, which begin at its row ``start`` and end with the next origin: the file, the
    position of the first of them in it (``start`` may be negative: what stands before belongs to an earlier chunk), and
    its line or their lines as in Chunk."""

    start: int
    file: str
    file_row: int
    first_line: int = 0
    lines: Sequence[int] | None = None


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a range. A row in ``bad`` (stage "read") is in ``batch`` too, with null where unreadable;
    columns of it that can be read are kept. ``first_line`` is the physical line of the first row (0: no lines);
    ``lines`` gives each row's physical line where rows and lines do not run in step (blank or multi-line records).

    Where columns of ``batch`` name files, ``features`` are the feature columns with the files themselves (see
    rows.FILE_FIELDS). Where each row is a file of its own, ``files`` names it. Where the rows come from several files,
    ``origins`` tell which."""

    batch: pa.RecordBatch
    bad: Sequence[BadRow] = ()
    first_line: int = 0
    lines: Sequence[int] | None = None
    features: pa.RecordBatch | None = None
    files: Sequence[str] | None = None
    origins: Sequence[Origin] = ()


def origin_of(row: int, origins: Sequence[Origin]) -> Origin:
    """Where a row of a chunk comes from, as an origin that begins there."""
    origin = origins[bisect_right(origins, row, key=lambda each: each.start) - 1]
    by = row - origin.start
    lines = None if origin.lines is None else origin.lines[by:]
    return Origin(row, origin.file, origin.file_row + by, origin.first_line + by if origin.first_line else 0, lines)


class Format(ABC):
    """One file format. Instances hold no state; ``storage_options`` go to fsspec and stay out of every message.

    Both methods raise DataError for a broken, foreign or wrongly encoded file and StorageError where reading itself
    fails (a truncated compressed stream included); the message names the file in one line and says what to do.
    """

    name: ClassVar[str]
    extensions: ClassVar[tuple[str, ...]]
    text: ClassVar[bool] = False

    @abstractmethod
    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """Look at one file before anything is scored: its rows, columns and cuts."""

    @abstractmethod
    def read(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        """The rows of one range, as chunks of the plan's schema, ``piece.rows`` rows in all."""

    def read_each(
        self,
        file: InputFile,
        piece: Range,
        plans: Sequence[ReadPlan],
        storage_options: Mapping[str, Any] | None = None,
    ) -> Generator[tuple[int, Chunk], None, None]:
        """The chunks that ``read`` yields for each of several plans, with the plan's position, so that all are about as far.

        Here the range is read once for each plan; the formats of this package read it once (see ``UnitFormat``).
        """
        return in_step([self.read(file, piece, plan, storage_options) for plan in plans])


class UnitFormat(Format):
    """A format that reads a range in two steps: units of the file (blocks of records, batches as the file has them), and
    chunks that are settled from those by a plan. Several plans share the first step."""

    @property
    def reads_units(self) -> bool:
        """Whether it reads in these two steps; a class that has a ``read`` of its own does not."""
        return type(self).read is UnitFormat.read

    @abstractmethod
    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        """The units of a range, with the plan's columns at least."""

    @abstractmethod
    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        """The chunks of a plan, from units that may have more columns than it asks for."""

    def read(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        """See Format."""
        with closing(self.units(file, piece, plan, storage_options)) as units:
            yield from self.settle(units, file, piece, plan)

    def read_each(
        self,
        file: InputFile,
        piece: Range,
        plans: Sequence[ReadPlan],
        storage_options: Mapping[str, Any] | None = None,
    ) -> Generator[tuple[int, Chunk], None, None]:
        """See Format."""
        if not self.reads_units:
            yield from super().read_each(file, piece, plans, storage_options)
            return
        with closing(self.units(file, piece, _of_all(plans), storage_options)) as units:
            shared = tee(units, len(plans))
            yield from in_step([self.settle(part, file, piece, plan) for part, plan in zip(shared, plans, strict=True)])


def in_step(sides: Sequence[Iterator[Chunk]]) -> Generator[tuple[int, Chunk], None, None]:
    """The chunks of several iterators over the same rows, always of that one which has given the fewest rows."""
    rows = dict.fromkeys(range(len(sides)), 0)
    while rows:
        position = min(rows, key=lambda each: (rows[each], each))
        chunk = next(sides[position], None)
        if chunk is None:
            del rows[position]
        else:
            rows[position] += chunk.batch.num_rows
            yield position, chunk


def _of_all(plans: Sequence[ReadPlan]) -> ReadPlan:
    """A plan that asks for the columns of all of them."""
    fields = {field.name: field for plan in plans for field in plan.schema}
    return replace(
        plans[0],
        schema=pa.schema(list(fields.values())),
        lines=all(plan.lines for plan in plans),
        chunk_rows=min(plan.chunk_rows for plan in plans),
        chunk_bytes=min(plan.chunk_bytes for plan in plans),
    )
