"""This module reads JSON lines: one object a line, in UTF-8; lines of white space are skipped."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, InputFile, Range, ReadPlan, ScanOptions, UnitFormat
from bentobatch.formats.chunks import wanted_names, without_partitions
from bentobatch.formats.json_rows import JsonRows
from bentobatch.formats.json_types import JsonTypes
from bentobatch.formats.records import Records, split_json_lines
from bentobatch.formats.source import printable
from bentobatch.formats.text_ranges import LINE, RangeCutter, lines_of, read_chunks
from bentobatch.formats.text_source import check_utf8, open_text, record_blocks


class JsonLinesFormat(UnitFormat):
    """Lines with an object each. In lines mode a line may hold any JSON value; nothing but UTF-8 is checked then."""

    name: ClassVar[str] = "jsonl"
    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")
    text: ClassVar[bool] = True
    block_bytes: ClassVar[int | None] = None  # None: text_source.BLOCK_BYTES

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """See Format. An empty file has no rows and no columns.

        Raises:
            DataError: the file is one JSON document, or not UTF-8. A line that is not JSON is a bad row, no error.
            StorageError: reading fails, or a compressed stream is truncated.
        """
        cutter = RangeCutter(file, options)
        types = None if options.lines else JsonTypes(options.columns, options.types)
        with open_text(file, storage_options, stop=file.size) as source:
            for records in record_blocks(source, split_json_lines, block_bytes=self.block_bytes):
                check_utf8(records, source.name)
                if not cutter.rows:
                    _refuse_document(records, source.name, options.lines)
                cutter.add(records)
                if types is not None:
                    types.add(records)
        if types is not None:
            types.finish()
        schema = pa.schema([(LINE, pa.large_binary())]) if types is None else _schema(types, file, options)
        return FileScan(cutter.rows, schema, cutter.ranges(), cutter.row_bytes(schema.types))

    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        """Blocks of records."""
        del plan
        with open_text(file, storage_options, start=piece.start, stop=piece.stop) as source:
            line = piece.first_line if piece.start else 1
            yield from record_blocks(source, split_json_lines, line=line, block_bytes=self.block_bytes)

    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        """See UnitFormat."""
        if plan.lines:
            parse = lines_of(plan)
        else:
            types = {field.name: field.type for field in without_partitions(plan.schema, file)}
            parse = JsonRows(types, file=printable(file.uri)).parse
        yield from read_chunks(units, parse, file=file, piece=piece, plan=plan)


def _refuse_document(records: Records, file: str, lines: bool) -> None:
    """Refuse a file whose first line shows that it is one document (an array, or one object over many lines)."""
    first = records.row(0).strip()
    if first in (b"[", b"{") or (first.startswith(b"[") and not lines):
        raise DataError(
            f"{file}: line {records.lines[0]}: this is one JSON document, not JSON lines: write one object a line, "
            "or name the file .json"
        )


def _schema(types: JsonTypes, file: InputFile, options: ScanOptions) -> Any:
    columns = types.columns
    names = wanted_names(list(columns), file, None)
    return pa.schema([(name, options.types.get(name, columns[name])) for name in names])
