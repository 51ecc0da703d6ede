"""This module reads groups of small files as one: their rows one after the other, in chunks that span files.

What a split, a chunk and a call of a model cost by themselves adds up over thousands of files. So planning puts files of
a few rows together (engine.groups); a group is an InputFile of its own, whose members stand in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bentobatch import plugins
from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, Format, InputFile, Origin, Range, ReadPlan, ScanOptions
from bentobatch.formats.chunks import Cutter
from bentobatch.formats.convert import conform_files
from bentobatch.formats.source import printable
from bentobatch.formats.unchanged import check_unchanged

NAME = "file_group"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a group, with all of its ``rows``. ``range`` is where they stand in it; None asks to look again, for a
    file that was mended since (it must have as many rows)."""

    file: InputFile
    rows: int
    range: Range | None

    def to_json(self) -> list[Any]:
        """The member as JSON values."""
        file, piece = self.file, self.range
        known = [
            file.uri,
            file.size,
            file.stamp,
            file.format,
            file.compression,
            [list(pair) for pair in file.partition],
        ]
        if piece is None:
            return [*known, self.rows, None]
        return [
            *known,
            self.rows,
            [piece.start, piece.stop, piece.rows, piece.first_row, piece.skip, piece.first_line],
        ]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Member:
        """The member that ``to_json`` wrote."""
        uri, size, stamp, format, compression, partition, rows, piece = values
        pairs = tuple((str(name), value) for name, value in partition)
        return cls(
            InputFile(uri, size, stamp, format, compression, pairs), rows, None if piece is None else Range(*piece)
        )

    def now(self, file: InputFile) -> Member:
        """The same member after ``file`` was looked up again."""
        same = replace(file, partition=self.file.partition, compression=self.file.compression)
        return self if same == self.file else Member(same, self.rows, None)


class FileGroupFormat(Format):
    """The files of one group. Chunks tell in ``origins`` which file their rows come from. ``on_file`` is told of each
    file before it is read: its path or URL."""

    name: ClassVar[str] = NAME
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, members: Sequence[Member], on_file: Callable[[str], None] | None = None) -> None:
        self.members = members
        self.on_file = on_file

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """See Format: one range, with the columns of all members."""
        del file
        scans = [self._scan(member, options, storage_options) for member in self.members]
        names = dict.fromkeys(name for scan in scans for name in scan.schema.names)
        labelled = [(printable(member.file.uri), scan.schema) for member, scan in zip(self.members, scans, strict=True)]
        schema = conform_files(labelled, tuple(names), options.types)
        rows = sum(scan.rows for scan in scans)
        size = sum(scan.rows * scan.row_bytes for scan in scans)
        ranges = (Range(0, len(self.members), rows, 0),) if rows else ()
        return FileScan(rows, schema, ranges, size / rows if rows else 0.0)

    def _scan(self, member: Member, options: ScanOptions, storage_options: Mapping[str, Any] | None) -> FileScan:
        options = replace(options, split_rows=max(1, member.rows))
        scan = _format(member.file).scan(member.file, options, storage_options)
        if scan.rows != member.rows:
            raise DataError(
                f"{printable(member.file.uri)} has {scan.rows:,} rows now and had {member.rows:,} when it was scored, so no"
                " row can be known by its position; run again in full with --overwrite"
            )
        return scan

    def read(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        del file
        cutter = Cutter(plan)
        origins = _Origins()
        for member in self.members[piece.start : piece.stop]:
            if not member.rows:
                continue
            for chunk in self._chunks(member, plan, storage_options):
                origins.add(member.file.uri, chunk)
                for full in cutter.add(chunk.batch, chunk.bad):
                    yield origins.of(full)
        for last in cutter.flush():
            yield origins.of(last)

    def _chunks(self, member: Member, plan: ReadPlan, storage_options: Mapping[str, Any] | None) -> Iterator[Chunk]:
        if self.on_file is not None:
            self.on_file(member.file.uri)
        piece = member.range
        if piece is None:
            types = {field.name: field.type for field in plan.schema}
            options = ScanOptions((), types, plan.lines, delimiter=plan.delimiter, nulls=plan.nulls)
            (piece,) = self._scan(member, options, storage_options).ranges
        check_unchanged(member.file, member.file.uri, storage_options)
        yield from _format(member.file).read(member.file, piece, plan, storage_options)
        check_unchanged(member.file, member.file.uri, storage_options)


class _Origins:
    """Follows rows from the files that they are read from to the chunks that they come out in."""

    def __init__(self) -> None:
        self._added: list[Origin] = []
        self._in = 0
        self._out = 0
        self._file = ""
        self._file_row = 0

    def add(self, uri: str, chunk: Chunk) -> None:
        """The next rows that are put in."""
        if uri != self._file:
            self._file, self._file_row = uri, 0
        self._added.append(Origin(self._in, uri, self._file_row, chunk.first_line, chunk.lines))
        self._in += chunk.batch.num_rows
        self._file_row += chunk.batch.num_rows

    def of(self, chunk: Chunk) -> Chunk:
        """The next rows that come out."""
        stop = self._out + chunk.batch.num_rows
        within = [origin for origin in self._added if origin.start < stop]
        found = tuple(replace(origin, start=origin.start - self._out) for origin in within)
        # the last one may go on in the next chunk
        self._added = [*within[-1:], *self._added[len(within) :]]
        self._out = stop
        return replace(chunk, origins=found)


def _format(file: InputFile) -> Format:
    return plugins.find("formats", file.format)()  # type: ignore[no-any-return]
