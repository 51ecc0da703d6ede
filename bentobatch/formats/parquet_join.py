"""This module joins Parquet files of one schema into one, row group by row group, without decoding a page.

The pages are copied as they are; only the footers are read and written anew, with the places of the pages moved. A footer
is a struct in Thrift's compact protocol. It is taken apart by field numbers alone, so fields that later versions of
Parquet add are carried along.

Source: https://github.com/apache/parquet-format (parquet.thrift), and the compact protocol of Apache Thrift
(doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from bentobatch.errors import StorageError

MAGIC = b"PAR1"
_COPY = 1 << 20
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS = (_I16, _I32, _I64)
# fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4
_GROUP_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _CHUNK_METADATA, _OFFSET_INDEX, _COLUMN_INDEX = 2, 3, 4, 6
_PAGE_OFFSETS = (9, 10, 11, 14)  # data, index and dictionary pages, bloom filter


@dataclass
class _Struct:
    """A struct as its fields' numbers, types and values, in their order."""

    fields: list[tuple[int, int, Any]] = field(default_factory=list)

    def get(self, number: int) -> Any:
        """The value of a field, None where it is not there."""
        return next((value for known, _, value in self.fields if known == number), None)

    def set(self, number: int, value: Any) -> None:
        """Replace the value of a field that is there."""
        self.fields = [(known, type, value if known == number else old) for known, type, old in self.fields]

    def drop(self, number: int) -> None:
        """Leave a field out."""
        self.fields = [item for item in self.fields if item[0] != number]

    def move(self, number: int, by: int) -> None:
        """Add ``by`` to an offset; 0 and absence mean that there is none."""
        value = self.get(number)
        if value:
            self.set(number, value + by)


def join_parquet(parts: Iterable[BinaryIO], sink: BinaryIO, *, template: bytes) -> int:
    """Write the row groups of ``parts`` (seekable, in order) to ``sink`` as one file; the number of rows.

    ``template`` is a file without rows that has the schema and the metadata of the whole.

    Raises:
        StorageError: a part is no whole Parquet file, or has another schema.
    """
    footer = _footer(io.BytesIO(template))[0]
    schema = _encoded(_LIST, footer.get(_SCHEMA))
    groups: list[_Struct] = []
    sink.write(MAGIC)
    written = len(MAGIC)
    for part in parts:
        try:
            found, end = _footer(part)
            if _encoded(_LIST, found.get(_SCHEMA)) != schema:
                raise StorageError("a part of the output has another schema than its plan; run again with --restart")
            for group in found.get(_GROUPS)[1]:
                _move(group, written - len(MAGIC))
                groups.append(group)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # a footer of damaged bytes is still a struct, of other fields
            raise StorageError(
                f"a part of the output has a broken footer: {error!r}; run again with --restart"
            ) from error
        part.seek(len(MAGIC))
        _copy(part, sink, end - len(MAGIC))
        written += end - len(MAGIC)
    rows: int = sum(group.get(_GROUP_ROWS) for group in groups)
    footer.set(_ROWS, rows)
    footer.set(_GROUPS, (_STRUCT, groups))
    data = _encoded(_STRUCT, footer)
    sink.write(data + len(data).to_bytes(4, "little") + MAGIC)
    return rows


def _copy(source: BinaryIO, sink: BinaryIO, size: int) -> None:
    while size:
        data = source.read(min(size, _COPY))
        if not data:
            raise StorageError("a part of the output ended early; run again with --restart")
        sink.write(data)
        size -= len(data)


def _footer(file: BinaryIO) -> tuple[_Struct, int]:
    """A file's FileMetaData, and where it begins."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    start = size - 8 - length
    if tail[4:] != MAGIC or start < len(MAGIC):
        raise StorageError("a part of the output is no whole Parquet file; run again with --restart")
    file.seek(start)
    return _Reader(file.read(length)).struct(), start


def _move(group: _Struct, by: int) -> None:
    """Move the places that a row group names. Its ordinal goes: it may be left out, and holds 32,767 at most."""
    group.move(_GROUP_OFFSET, by)
    group.drop(_GROUP_ORDINAL)
    for chunk in group.get(_GROUP_COLUMNS)[1]:
        for number in (_CHUNK_OFFSET, _OFFSET_INDEX, _COLUMN_INDEX):
            chunk.move(number, by)
        metadata = chunk.get(_CHUNK_METADATA)
        for number in _PAGE_OFFSETS:
            metadata.move(number, by)


# -- the compact protocol -----------------------------------------------------------------------------------------


class _Reader:
    """Reads values; a list or set is (element type, values), a map (key type, value type, pairs)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> _Struct:
        made = _Struct()
        number = 0
        while head := self._byte():
            step, type = head >> 4, head & 15
            number = number + step if step else self._integer()
            made.fields.append((number, type, type == _TRUE if type in (_TRUE, _FALSE) else self._value(type)))
        return made

    def _value(self, type: int) -> Any:
        if type in _INTEGERS:
            return self._integer()
        if type == _BINARY:
            return self._bytes(self._varint())
        if type == _STRUCT:
            return self.struct()
        if type in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            return head & 15, [self._value(head & 15) for _ in range(count)]
        if type in (_TRUE, _FALSE, _BYTE):  # as an element of a list, a truth value is a byte
            return self._byte()
        if type == _DOUBLE:
            return self._bytes(8)
        if type == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            return kinds, [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]
        raise ValueError(f"type {type} is not known")

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _bytes(self, size: int) -> bytes:
        value = self._data[self._at : self._at + size]
        if len(value) != size:
            raise ValueError("it ends early")
        self._at += size
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _encoded(type: int, value: Any) -> bytes:
    sink = bytearray()
    _write(sink, type, value)
    return bytes(sink)


def _write(sink: bytearray, type: int, value: Any) -> None:
    if type in _INTEGERS:
        _write_varint(sink, (value << 1) ^ (value >> 63))
    elif type == _BINARY:
        _write_varint(sink, len(value))
        sink += value
    elif type == _STRUCT:
        _write_struct(sink, value)
    elif type in (_LIST, _SET):
        _write_list(sink, *value)
    elif type == _MAP:
        _write_map(sink, *value)
    elif type == _DOUBLE:
        sink += value
    else:
        sink.append(value)


def _write_list(sink: bytearray, element: int, values: list[Any]) -> None:
    if len(values) < 15:
        sink.append(len(values) << 4 | element)
    else:
        sink.append(0xF0 | element)
        _write_varint(sink, len(values))
    for item in values:
        _write(sink, element, item)


def _write_map(sink: bytearray, kinds: int, pairs: list[tuple[Any, Any]]) -> None:
    _write_varint(sink, len(pairs))
    if pairs:
        sink.append(kinds)
    for key, item in pairs:
        _write(sink, kinds >> 4, key)
        _write(sink, kinds & 15, item)


def _write_struct(sink: bytearray, value: _Struct) -> None:
    last = 0
    for number, type, item in value.fields:
        step = number - last
        if 0 < step <= 15:
            sink.append(step << 4 | type)
        else:
            sink.append(type)
            _write_varint(sink, (number << 1) ^ (number >> 63))
        if type not in (_TRUE, _FALSE):  # the type is the value
            _write(sink, type, item)
        last = number
    sink.append(0)


def _write_varint(sink: bytearray, value: int) -> None:
    while value > 127:
        sink.append(value & 127 | 128)
        value >>= 7
    sink.append(value)
