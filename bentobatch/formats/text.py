"""This module reads plain text: every line is a row, blank ones too, in one column called "line"."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.formats.base import Chunk, FileScan, InputFile, Range, ReadPlan, ScanOptions, UnitFormat
from bentobatch.formats.records import split_text
from bentobatch.formats.text_ranges import LINE, RangeCutter, lines_of, read_chunks
from bentobatch.formats.text_source import check_utf8, open_text, record_blocks


class TextFormat(UnitFormat):
    """Lines of text. Line ends (LF, CRLF, CR) are left out; the column is a string, or in lines mode large_binary."""

    name: ClassVar[str] = "text"
    extensions: ClassVar[tuple[str, ...]] = (".txt",)
    text: ClassVar[bool] = True
    block_bytes: ClassVar[int | None] = None  # None: text_source.BLOCK_BYTES

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """See Format. Raises DataError where the text is not UTF-8."""
        cutter = RangeCutter(file, options)
        with open_text(file, storage_options, stop=file.size) as source:
            for records in record_blocks(source, split_text, block_bytes=self.block_bytes):
                check_utf8(records, source.name)
                cutter.add(records)
        type = pa.large_binary() if options.lines else options.types.get(LINE, pa.string())
        return FileScan(cutter.rows, pa.schema([(LINE, type)]), cutter.ranges(), cutter.row_bytes([type]))

    def units(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None
    ) -> Generator[Any, None, None]:
        """Blocks of records."""
        del plan
        with open_text(file, storage_options, start=piece.start, stop=piece.stop) as source:
            line = piece.first_line if piece.start else 1
            yield from record_blocks(source, split_text, line=line, block_bytes=self.block_bytes)

    def settle(self, units: Iterator[Any], file: InputFile, piece: Range, plan: ReadPlan) -> Iterator[Chunk]:
        """See UnitFormat."""
        yield from read_chunks(units, lines_of(plan), file=file, piece=piece, plan=plan)
