"""This module reads folders of files, such as images: one row is one file, or the files that belong together.

Planning writes the files of an input down in listings (Arrow files in the state folder, each with the rows of one
split); this format reads a listing, and the bytes of each file when its chunk is due. A listing has the column ``path``
and, for each input NAME of the api, NAME (the file's path or URL, to be shown) and ``_NAME`` (its identity), both null
where no file of that input belongs to the row.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, Format, InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.chunks import refuse_lines
from bentobatch.formats.file_bytes import FileIdentity, UnreadableError, read_planned
from bentobatch.formats.source import arrow_errors, open_arrow, printable
from bentobatch.rows import FILE_FIELDS, BadRow

NAME = "binary_files"
PATH = "path"
"""The column that names a row: a file's path below the folder that was given."""
FILE_TYPE = pa.struct(list(zip(FILE_FIELDS, (pa.string(), pa.binary(), pa.large_binary()), strict=True)))
_IDENTITY = pa.struct([("uri", pa.binary()), ("size", pa.int64()), ("stamp", pa.string())])

Row = tuple[str, Mapping[str, FileIdentity]]
"""The path of a row, and its file for each input that has one."""


class BinaryFilesFormat(Format):
    """Files as rows. ``read`` yields chunks whose ``features`` hold the files' bytes; a file that cannot be read is a bad
    row of stage read. Chunks are bounded by the files' sizes."""

    name: ClassVar[str] = NAME
    extensions: ClassVar[tuple[str, ...]] = ()

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """See Format. A listing is one split: it was cut when it was written."""
        refuse_lines(file, options.lines)
        table = read_listing(file, storage_options)
        names = [name for name in table.schema.names if not name.startswith("_")]
        schema = pa.schema([table.schema.field(name) for name in names])
        rows = table.num_rows
        sizes = sum(_row_bytes(row) for row in listed_rows(table))
        return FileScan(rows, schema, (Range(0, rows, rows, 0),) if rows else (), sizes / rows if rows else 0.0)

    def read(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        """See Format. The columns of ``plan.schema`` are text; the bytes are in ``Chunk.features`` alone."""
        refuse_lines(file, plan.lines)
        table = read_listing(file, storage_options).slice(piece.start, piece.stop - piece.start)
        rows = listed_rows(table)
        wanted = [name for name in plan.schema.names if name != PATH]
        start = 0
        while start < len(rows):
            stop = _chunk_end(rows, start, plan)
            columns = [table.column(name).slice(start, stop - start).combine_chunks() for name in plan.schema.names]
            batch = pa.RecordBatch.from_arrays(columns, names=plan.schema.names)
            features, bad = read_rows(rows[start:stop], wanted, storage_options)
            named = [_shown(row) for row in rows[start:stop]]
            yield Chunk(batch, bad, features=features, files=named)
            start = stop


def listing(rows: Sequence[Row], names: Sequence[str]) -> pa.Table:
    """The listing of ``rows``, whose api has the inputs ``names``."""
    columns: dict[str, Any] = {PATH: pa.array([printable(path) for path, _ in rows], pa.string())}
    for name in names:
        found = [files.get(name) for _, files in rows]
        columns[name] = pa.array([None if each is None else printable(each.uri) for each in found], pa.string())
        identities = [
            None if each is None else {"uri": os.fsencode(each.uri), "size": each.size, "stamp": each.stamp}
            for each in found
        ]
        columns[f"_{name}"] = pa.array(identities, _IDENTITY)
    return pa.table(columns)


def listed_rows(table: pa.Table) -> list[Row]:
    """The rows that ``listing`` wrote down."""
    names = input_names(table)
    paths = table.column(PATH).to_pylist()
    found = [table.column(f"_{name}").to_pylist() for name in names]
    return [
        (
            path,
            {
                name: FileIdentity(os.fsdecode(each["uri"]), each["size"], each["stamp"])
                for name, each in zip(names, files, strict=True)
                if each is not None
            },
        )
        for path, *files in zip(paths, *found, strict=True)
    ]


def input_names(table: pa.Table) -> list[str]:
    """The inputs of a listing."""
    return [name for name in table.schema.names if name != PATH and not name.startswith("_")]


def read_rows(
    rows: Sequence[Row], names: Sequence[str], storage_options: Mapping[str, Any] | None
) -> tuple[pa.RecordBatch, list[BadRow]]:
    """The files of rows as columns of FILE_TYPE, and the rows with a file that cannot be read."""
    found: dict[str, list[tuple[str, str, bytes] | None]] = {name: [] for name in names}
    bad: list[BadRow] = []
    for index, (path, files) in enumerate(rows):
        problem: str | None = None
        for name in names:
            file = files.get(name)
            content = None
            if file is not None and problem is None:
                try:
                    content = read_planned(file, storage_options)
                except UnreadableError as error:
                    problem = f"{printable(file.uri)}: {error}"
            found[name].append(None if file is None or content is None else (path, file.uri, content))
        if problem is not None:
            bad.append(BadRow(index, "read", "UnreadableFile", problem))
    columns = [file_array(found[name]) for name in names]
    return pa.RecordBatch.from_arrays(columns, names=list(names)), bad


def file_array(files: Sequence[tuple[str, str | None, bytes] | None]) -> pa.Array:
    """A column of FILE_TYPE: for each row path, path or URL, and bytes; or None."""
    mask = pa.array([each is None for each in files], pa.bool_())
    paths = pa.array([None if each is None else each[0] for each in files], pa.string())
    uris = [None if each is None or each[1] is None else os.fsencode(each[1]) for each in files]
    contents = pa.array([None if each is None else each[2] for each in files], pa.large_binary())
    return pa.StructArray.from_arrays([paths, pa.array(uris, pa.binary()), contents], fields=list(FILE_TYPE), mask=mask)


def _row_bytes(row: Row) -> int:
    return sum(max(file.size, 0) for file in row[1].values())


def _shown(row: Row) -> str:
    """The first file of a row, to be shown."""
    return printable(next(iter(row[1].values())).uri)


def _chunk_end(rows: Sequence[Row], start: int, plan: ReadPlan) -> int:
    held = 0
    for position in range(start, min(len(rows), start + plan.chunk_rows)):
        held += _row_bytes(rows[position])
        if held > plan.chunk_bytes and position > start:
            return position
    return min(len(rows), start + plan.chunk_rows)


def read_listing(file: InputFile, storage_options: Mapping[str, Any] | None) -> pa.Table:
    """The table of a listing.

    Raises:
        DataError: the file is none.
    """
    with open_arrow(file, storage_options) as stream, arrow_errors(file, "listing", storage_options):
        table = pa.ipc.open_file(stream).read_all()
    names = input_names(table)
    if PATH not in table.schema.names or not names or any(f"_{name}" not in table.schema.names for name in names):
        raise DataError(f"{printable(file.uri)}: not a listing of files: give the folder of files itself")
    return table
