"""This module writes record batches as Parquet, Arrow IPC, CSV or JSON lines, onto a binary file that the caller owns.

What values become, where the target has no form of its own for them:

- Dictionaries and view layouts are written as their plain values, in every format.
- JSON lines: see ``json_form``. A field whose metadata holds ENCODING: JSON is text that is JSON already, and is
  embedded as it is.
- CSV: text is quoted, null is nothing between two commas (or "" where it is the only column, since a blank line would be
  no row); nested values are JSON text, binary is base64, timestamps are as ISO 8601 with a blank for the T. Nothing is
  escaped for spreadsheets: a text that begins with "=" stays as it is.
"""

from __future__ import annotations

import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from bentobatch.errors import OutputError, UsageError
from bentobatch.formats.convert import cast_values
from bentobatch.formats.json_form import is_bytes, json_values

ENCODING = b"bentobatch.encoding"
JSON = b"json"
ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 << 20
PAGES_CHECKED_BYTES = 1 << 20
"""A Parquet file with more bytes is not checked as a whole beside its pages."""
"""A Parquet row group is closed at either, so that whoever reads it later needs little memory."""

_WRITABLE = ("parquet", "csv", "jsonl", "arrow")


def part_writer(
    format: str,
    schema: Any,
    sink: BinaryIO,
    *,
    metadata: Mapping[str, str] | None = None,
    compression: str | None = None,
    header: bool = True,
) -> PartWriter:
    """A writer of ``format`` onto ``sink``, which is neither closed nor synced.

    ``metadata`` goes into the file where the format can hold it (Parquet, Arrow). ``compression`` is a codec's name:
    for Parquet snappy by default, for Arrow none (or lz4, zstd). ``header`` is CSV's first line.

    Raises:
        UsageError: no such format can be written.
        OutputError: a column's type has no form in this format.
        OSError: from the sink, as it is, here and from the writer's methods.
    """
    if format == "parquet":
        return ParquetWriter(schema, sink, metadata or {}, compression or "snappy")
    if format == "arrow":
        return ArrowWriter(schema, sink, metadata or {}, compression)
    if format == "csv":
        return CsvWriter(schema, sink, header)
    if format == "jsonl":
        return JsonLinesWriter(schema, sink)
    raise UsageError(f"no output format is called {format!r}; known are: {', '.join(_WRITABLE)}")


class PartWriter(ABC):
    """Writes batches of one schema. ``rows`` and ``bytes`` count what was written; bytes are final after ``close``."""

    def __init__(self, schema: Any, sink: BinaryIO) -> None:
        self.given = schema
        self.schema = written_schema(schema)
        self.rows = 0
        self._sink = _Counting(sink)

    @property
    def bytes(self) -> int:
        return self._sink.count

    @property
    def checksum(self) -> int | None:
        """CRC-32 of the bytes written, final after ``close``; None for a large Parquet file, whose pages have checksums of
        their own."""
        return self._sink.checksum

    @property
    def checksum_seconds(self) -> float:
        """How long that took."""
        return self._sink.checksum_seconds

    def write(self, batch: Any) -> None:
        """Add the rows of ``batch``, whose columns must be those of the schema, by name, order and type."""
        if not batch.schema.equals(self.given):
            raise ValueError(f"a batch of other columns than the part's: {batch.schema} instead of {self.given}")
        if batch.num_rows:
            self._write(_plain_batch(batch, self.schema))
            self.rows += batch.num_rows

    @abstractmethod
    def _write(self, batch: Any) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Write what is left: footers, and for CSV the header of an empty part. A second call does nothing."""

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # a part that failed is not to look finished, but pyarrow's writers add their footers when they are freed
            self._sink.abandoned = True


class _Counting:
    """What pyarrow's and our writers need of a file, with a count of the bytes; closing it does not close the file."""

    closed = False
    abandoned = False
    """Nothing reaches the file any more."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.count = 0
        self.checksum: int | None = 0
        self.checksum_seconds = 0.0
        self.checked_bytes: int | None = None
        """A longer file has no checksum."""

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.abandoned:
            return size
        self._sink.write(data)
        self.count += size
        if self.checksum is not None:
            started = time.perf_counter()
            self.checksum = zlib.crc32(data, self.checksum)
            self.checksum_seconds += time.perf_counter() - started
            if self.checked_bytes is not None and self.count > self.checked_bytes:
                self.checksum = None
        return size

    def tell(self) -> int:
        return self.count

    def flush(self) -> None:
        if not self.abandoned:
            self._sink.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.flush()


def written_schema(schema: Any) -> Any:
    """``schema`` as it stands in every file: without dictionaries, runs and views."""
    return pa.schema([field.with_type(_written_type(field.type)) for field in schema])


def _written_type(type: Any) -> Any:
    """``type`` without dictionaries, runs and views, at any depth: those depend on the batch, files want one layout."""
    types = pa.types
    if types.is_dictionary(type) or types.is_run_end_encoded(type):
        return _written_type(type.value_type)
    if types.is_string_view(type):
        return pa.string()
    if types.is_binary_view(type):
        return pa.binary()
    if types.is_list(type):
        return pa.list_(type.value_field.with_type(_written_type(type.value_type)))
    if types.is_large_list(type):
        return pa.large_list(type.value_field.with_type(_written_type(type.value_type)))
    if types.is_struct(type):
        members = [type.field(index) for index in range(type.num_fields)]
        return pa.struct([member.with_type(_written_type(member.type)) for member in members])
    return type


def _plain_batch(batch: Any, schema: Any) -> Any:
    columns = [
        column if column.type.equals(field.type) else cast_values(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema) if columns else batch


class ArrowWriter(PartWriter):
    """The IPC file format."""

    def __init__(self, schema: Any, sink: BinaryIO, metadata: Mapping[str, str], compression: str | None) -> None:
        super().__init__(schema, sink)
        options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
        self._writer = pa.ipc.new_file(self._sink, self.schema.with_metadata(dict(metadata)), options=options)
        self._open = True

    def _write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._writer.close()


class ParquetWriter(PartWriter):
    """Parquet with page checksums and statistics; rows are collected until a row group is full."""

    def __init__(self, schema: Any, sink: BinaryIO, metadata: Mapping[str, str], compression: str) -> None:
        super().__init__(schema, sink)
        self._sink.checked_bytes = PAGES_CHECKED_BYTES
        self._held: list[Any] = []
        self._held_rows = 0
        self._held_bytes = 0
        text = [field.name for field in self.schema if pa.types.is_string(field.type) or _is_large_string(field.type)]
        try:
            self._writer = pq.ParquetWriter(
                self._sink,
                self.schema.with_metadata(dict(metadata)),
                compression=compression,
                use_dictionary=text,
                write_statistics=True,
                write_page_checksum=True,
            )
        except pa.ArrowNotImplementedError as error:
            raise OutputError(f"the result cannot be written as Parquet: {error}: write Arrow instead") from error
        self._open = True

    def _write(self, batch: Any) -> None:
        done = 0
        while done < batch.num_rows:
            head = batch.slice(done, ROW_GROUP_ROWS - self._held_rows)
            self._held.append(head)
            done += head.num_rows
            self._held_rows += head.num_rows
            self._held_bytes += head.nbytes
            if self._held_rows == ROW_GROUP_ROWS or self._held_bytes >= ROW_GROUP_BYTES:
                self._close_group()

    def _close_group(self) -> None:
        table = pa.Table.from_batches(self._held, self.schema)
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def close(self) -> None:
        if self._open:
            self._open = False
            if self._held:
                self._close_group()
            self._writer.close()


def _is_large_string(type: Any) -> bool:
    return bool(pa.types.is_large_string(type))


class CsvWriter(PartWriter):
    """CSV as RFC 4180 has it, with line feeds."""

    def __init__(self, schema: Any, sink: BinaryIO, header: bool) -> None:
        super().__init__(schema, sink)
        self._text = pa.schema([pa.field(field.name, _csv_type(field.type)) for field in self.schema])
        self._options = pa.csv.WriteOptions(include_header=False)
        if header and len(schema):
            names = ['"' + name.replace('"', '""') + '"' for name in self.schema.names]
            self._sink.write((",".join(names) + "\n").encode())

    def _write(self, batch: Any) -> None:
        columns = [_csv_column(column) for column in batch.columns]
        if len(columns) == 1 and columns[0].null_count:
            self._sink.write(_one_column(columns[0]))
        elif columns:
            pa.csv.write_csv(pa.RecordBatch.from_arrays(columns, schema=self._text), self._sink, self._options)
        else:
            self._sink.write(b"\n" * batch.num_rows)

    def close(self) -> None:
        """Nothing is left to write: the header went first."""


def _csv_type(type: Any) -> Any:
    if isinstance(type, pa.BaseExtensionType):
        return _csv_type(type.storage_type)
    return pa.string() if pa.types.is_nested(type) or is_bytes(type) else type


def _csv_column(column: Any) -> Any:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_nested(column.type):
        return pa.array([None if value is None else _dump(value) for value in json_values(column)], pa.string())
    return pa.array(json_values(column), pa.string()) if is_bytes(column.type) else column


def _dump(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _one_column(column: Any) -> bytes:
    """The lines of the only column, with "" for null: readers of CSV pass over blank lines."""
    text = column.cast(pa.large_string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        mark, nothing = pa.scalar('"', pa.large_string()), pa.scalar("", pa.large_string())
        text = pc.binary_join_element_wise(mark, pc.replace_substring(text, '"', '""'), mark, nothing)
    lines: list[str] = pc.fill_null(text, '""').to_pylist()
    return ("\n".join(lines) + "\n").encode()


class JsonLinesWriter(PartWriter):
    """One JSON object for each row, every column in it, nulls included."""

    def _write(self, batch: Any) -> None:
        columns = [_embedded(column, field) for column, field in zip(batch.columns, self.schema, strict=True)]
        names = self.schema.names
        rows = zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)
        option = orjson.OPT_APPEND_NEWLINE
        self._sink.write(b"".join([orjson.dumps(dict(zip(names, row, strict=True)), option=option) for row in rows]))

    def close(self) -> None:
        """Nothing is left to write."""


def _embedded(column: Any, field: Any) -> list[Any]:
    if (field.metadata or {}).get(ENCODING) == JSON:
        return [None if text is None else orjson.Fragment(text) for text in column.to_pylist()]
    return json_values(column)
