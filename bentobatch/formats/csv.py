"""This module reads CSV (RFC 4180): a header, then rows, quotes doubled, in UTF-8, lines ended by LF, CRLF or CR.

Header names are taken as they stand, spaces included. Blank lines are skipped; rows count rows, lines count lines.
An unquoted field that is spelled like a null (empty, NA, … see ScanOptions.nulls) is null, also in a column of text,
where a quoted one is the text itself. Numbers lose leading zeros: declare the column a string to keep them.
Fields are data whatever they look like: a formula is text.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.errors import DataError, UsageError
from bentobatch.formats.base import Chunk, FileScan, InputFile, Range, ReadPlan, ScanOptions, UnitFormat
from bentobatch.formats.chunks import wanted_names, without_partitions
from bentobatch.formats.csv_rows import CsvRows, cut_fields
from bentobatch.formats.csv_types import CsvTypes
from bentobatch.formats.records import Records, split_csv
from bentobatch.formats.source import printable
from bentobatch.formats.text_ranges import LINE, RangeCutter, lines_of, read_chunks
from bentobatch.formats.text_source import check_utf8, open_text, record_blocks

_HEADER_BYTES = 64 << 10


class CsvFormat(UnitFormat):
    """Delimited text with a header. The first range of a file starts with its header, at byte 0."""

    name: ClassVar[str] = "csv"
    extensions: ClassVar[tuple[str, ...]] = (".csv",)
    text: ClassVar[bool] = True
    block_bytes: ClassVar[int | None] = None  # None: text_source.BLOCK_BYTES

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """See Format.

        Raises:
            DataError: no header, a duplicate name in it, no UTF-8, or a quote that is never closed.
            StorageError: reading fails, or a compressed stream is truncated.
            UsageError: the delimiter is not one ASCII character.
        """
        split = split_csv(_delimiter_code(options.delimiter))
        cutter = RangeCutter(file, options)
        names: list[str] | None = None
        types: CsvTypes | None = None
        with open_text(file, storage_options, stop=file.size) as source:
            for block in record_blocks(source, split, block_bytes=self.block_bytes):
                check_utf8(block, source.name)
                records = block
                if names is None:
                    names = _header(block, options.delimiter, source.name)
                    records = block.part(1, len(block))
                    types = None if options.lines else _types(names, file, options)
                if len(records):
                    cutter.add(records)
                    if types is not None:
                        types.add(records)
            if names is None:
                raise DataError(f"{source.name}: empty file: a CSV file needs a header with the names of its columns")
        schema = _schema(names, file, options, types)
        return FileScan(cutter.rows, schema, cutter.ranges(), cutter.row_bytes(schema.types))

    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        """The names in the header (none where only lines are wanted of a later range), then blocks of records."""
        split = split_csv(_delimiter_code(plan.delimiter))
        names: Sequence[str] = ()
        if piece.start and not plan.lines:
            with open_text(file, storage_options) as source:
                names = _header(
                    next(record_blocks(source, split, block_bytes=_HEADER_BYTES)), plan.delimiter, source.name
                )
        with open_text(file, storage_options, start=piece.start, stop=piece.stop) as source:
            line = piece.first_line if piece.start else 1
            blocks = record_blocks(source, split, line=line, block_bytes=self.block_bytes)
            if not piece.start:
                first = next(blocks)
                names = _header(first, plan.delimiter, source.name)
                rest = first.part(1, len(first))
                blocks = chain([rest] if len(rest) else [], blocks)
            yield names
            yield from blocks

    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        """See UnitFormat."""
        names: Sequence[str] = next(units)
        if plan.lines:
            parse = lines_of(plan)
        else:
            fields = [field for field in without_partitions(plan.schema, file) if field.name in names]
            types = {field.name: field.type for field in fields}
            parse = CsvRows(names, types, file=printable(file.uri), delimiter=plan.delimiter, nulls=plan.nulls).parse
        yield from read_chunks(units, parse, file=file, piece=piece, plan=plan)


def _delimiter_code(delimiter: str) -> int:
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise UsageError(f"the delimiter must be one ASCII character, no quote and no line end, not {delimiter!r}")
    return ord(delimiter)


def _header(records: Records, delimiter: str, file: str) -> list[str]:
    """The names in the first of ``records``.

    Raises:
        DataError: a name stands there twice, or the header is malformed.
    """
    names: dict[str, None] = {}
    line = int(records.lines[0])
    for number, (name, _) in enumerate(cut_fields(records.row(0), delimiter), 1):
        if name is None or "\0" in name:
            raise DataError(f"{file}: line {line}: the name of column {number} in the header cannot be read: mend it")
        if name in names:
            raise DataError(
                f"{file}: line {line}: duplicate column {name or repr(name)}: rename or drop one in the header"
            )
        names[name] = None
    return list(names)


def _types(names: Sequence[str], file: InputFile, options: ScanOptions) -> CsvTypes | None:
    wanted = [name for name in wanted_names(names, file, options.columns) if name not in options.types]
    return CsvTypes(names, wanted, delimiter=options.delimiter, nulls=options.nulls) if wanted else None


def _schema(names: Sequence[str], file: InputFile, options: ScanOptions, types: CsvTypes | None) -> Any:
    if options.lines:
        return pa.schema([(LINE, pa.large_binary())])
    found = types.types if types is not None else {}
    declared = {name: options.types[name] for name in names if name in options.types}
    columns = wanted_names(names, file, None)
    return pa.schema([(name, declared.get(name, found.get(name, pa.null()))) for name in columns])
