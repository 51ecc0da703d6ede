"""This module reads Arrow IPC streams from strangers, so that a small body cannot become much memory.

Compressed buffers are refused (Content-Encoding: gzip has a bound, these have none), and so are types whose values may take
no bytes of the body, or the same bytes many times: views, runs, nulls inside of others, extension types.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.errors import DataError
from bentobatch.formats.json_form import is_bytes
from bentobatch.serving.call import RequestError

_MOST_FIELDS = 10_000
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_PLAIN: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_temporal,
)


def table_of_stream(content: bytes, *, most_rows: int, most_bytes: int) -> pa.Table:
    """The rows of an Arrow IPC stream.

    Raises:
        DataError: it is none, it is damaged, or has types that are not taken.
        RequestError: 413, more than ``most_rows`` rows, or more than ``most_bytes`` once repeated values are written out.
    """
    try:
        _refuse_compression(content)
        with pa.ipc.open_stream(pa.BufferReader(content)) as reader:
            _check_schema(reader.schema)
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                if rows > most_rows:
                    raise RequestError(413, f"the request has {rows:,} rows or more, and {most_rows:,} are taken")
                batch.validate(full=True)  # offsets of a stranger's are not trusted
                _bound_repeated(batch, most_bytes)
                batches.append(batch)
            return pa.Table.from_batches(batches, schema=reader.schema)
    except (pa.ArrowException, OSError, EOFError, struct.error) as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(f"the body is no Arrow IPC stream: {told}") from error


def _check_schema(schema: pa.Schema) -> None:
    if len(schema) > _MOST_FIELDS:
        raise DataError(f"the stream has {len(schema):,} columns, and {_MOST_FIELDS:,} are taken")
    for field in schema:
        if not pa.types.is_null(field.type) and not _is_taken(field.type):
            raise DataError(f"column {field.name!r} is {str(field.type)[:100]}, which is not taken from a request")


def _is_taken(kind: pa.DataType) -> bool:
    """Whether each value has bytes of its own in the body."""
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if pa.types.is_dictionary(kind):
        return not pa.types.is_nested(kind.value_type) and _is_taken(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_taken(kind.value_type)
    if pa.types.is_map(kind):
        return _is_taken(kind.key_type) and _is_taken(kind.item_type)
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_taken(kind.field(place).type) for place in range(kind.num_fields))
    if pa.types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > 0)
    return is_bytes(kind) or any(check(kind) for check in _PLAIN)


def _bound_repeated(batch: pa.RecordBatch, most: int) -> None:
    """A long text in a dictionary may stand for every row."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not pa.types.is_dictionary(column.type) or pa.types.is_primitive(column.type.value_type):
            continue
        lengths = pc.binary_length(column.dictionary) if len(column.dictionary) else None
        longest = 0 if lengths is None else pc.max(lengths).as_py() or 0
        if longest * batch.num_rows > most:
            raise RequestError(413, f"column {name!r} is larger than the {most:,} bytes that are taken, once decoded")


def _refuse_compression(content: bytes) -> None:
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(content)):
        if _is_compressed(message.metadata.to_pybytes()):
            raise DataError(
                "the stream's buffers are compressed; send them plain, or all of it with Content-Encoding: gzip"
            )


def _is_compressed(message: bytes) -> bool:
    """Whether the flatbuffer of a message (Arrow's Message.fbs) is of a batch with ``compression``.

    Raises:
        struct.error: it is malformed.
    """
    table = _at("<I", message, 0)
    kind = _field(message, table, 1)
    header = _field(message, table, 2)
    if not kind or not header:
        return False
    batch = header + _at("<I", message, header)
    if message[kind] == _DICTIONARY_BATCH:
        data = _field(message, batch, 1)
        if not data:
            return False
        batch = data + _at("<I", message, data)
    elif message[kind] != _RECORD_BATCH:
        return False
    return _field(message, batch, 3) != 0


def _field(message: bytes, table: int, number: int) -> int:
    """Where a field of a table lies, 0 where it is left out."""
    virtual = table - _at("<i", message, table)
    size = _at("<H", message, virtual)
    slot = 4 + 2 * number
    offset = _at("<H", message, virtual + slot) if slot < size else 0
    return table + offset if offset else 0


def _at(form: str, message: bytes, place: int) -> int:
    if place < 0:
        raise struct.error("an offset lies before the message")
    value: int = struct.unpack_from(form, message, place)[0]
    return value
