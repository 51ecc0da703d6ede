"""This module writes what is asked about as the bodies of requests, and reads the answers back into the same kind.

Tables (pandas, pyarrow, what has ``__arrow_c_stream__``) go as Arrow IPC streams and come back as tables; arrays of numpy
go as JSON, row by row. Both are cut into chunks where they are large. Anything else is one body, and is never cut.
"""

from __future__ import annotations

import io
import mimetypes
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from bentobatch.errors import DataError, ModelError, UsageError

ARROW, JSON = "application/vnd.apache.arrow.stream", "application/json"
_BYTES, _TEXT = "application/octet-stream", "text/plain; charset=utf-8"


class Payload(Protocol):
    """``rows`` is None where it cannot be cut; ``row_bytes`` is about what one row takes. ``accept`` is the media type
    that the answer must have."""

    content_type: str
    accept: str
    rows: int | None
    row_bytes: float

    def body(self, start: int, stop: int) -> bytes:
        """The body with those rows."""

    def part(self, body: bytes, rows: int) -> Any:
        """What an answer's body holds for so many rows.

        Raises:
            ModelError: it is malformed, or of another number of rows.
        """

    def joined(self, parts: Sequence[Any]) -> Any:
        """The parts, in their order, as one value."""


def payload_of(data: Any, media_type: str | None = None) -> Payload:
    """How to send ``data``. ``media_type`` is the Content-Type of bytes, texts and files, where it cannot be guessed.

    Raises:
        UsageError, DataError: it cannot be sent.
    """
    if media_type is not None:
        return OneBody(_content(data), media_type)
    pandas, numpy, pyarrow = (sys.modules.get(name) for name in ("pandas", "numpy", "pyarrow"))
    if pandas is not None and isinstance(data, pandas.Series):
        raise UsageError("a Series is no table: send frame.loc[[label]] for one row, series.to_frame() for one column")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return FrameRows(data)
    if pyarrow is not None and isinstance(data, (pyarrow.Table, pyarrow.RecordBatch)):
        return TableRows(data)
    if hasattr(data, "__arrow_c_stream__"):
        return TableRows(_imported(data))
    if numpy is not None and isinstance(data, numpy.ndarray) and data.ndim > 1:
        return ArrayRows(data)
    if _is_file(data):
        return OneBody(_content(data), _guessed(data))
    if isinstance(data, str):
        return OneBody(data.encode(), _TEXT)
    if isinstance(data, Mapping) and any(map(_is_file, data.values())):
        return _multipart(data)
    return OneBody(_json(data), JSON)


class TableRows:
    """A table or record batch of pyarrow."""

    content_type = accept = ARROW

    def __init__(self, data: Any) -> None:
        import pyarrow as pa  # here and not above: who sends lists has no use for it

        self._pa = pa
        self._is_batch = isinstance(data, pa.RecordBatch)
        table = pa.Table.from_batches([data]) if self._is_batch else data
        self._table = table.replace_schema_metadata(None)
        self.rows: int | None = table.num_rows
        self.row_bytes = table.nbytes / max(1, table.num_rows)

    def body(self, start: int, stop: int) -> bytes:
        """See Payload."""
        sink = io.BytesIO()
        with self._pa.ipc.new_stream(sink, self._table.schema) as writer:
            writer.write_table(self._table.slice(start, stop - start))
        return sink.getvalue()

    def part(self, body: bytes, rows: int) -> Any:
        """See Payload."""
        try:
            with self._pa.ipc.open_stream(self._pa.py_buffer(body)) as reader:
                table = reader.read_all()
            table.validate(full=True)  # the server may be anybody's
        except (self._pa.ArrowException, OSError, EOFError) as error:
            raise ModelError(f"the server's answer is no Arrow IPC stream: {' '.join(str(error).split())}") from error
        _check_rows(table.num_rows, rows)
        return table

    def joined(self, parts: Sequence[Any]) -> Any:
        """See Payload."""
        table = self._joined(parts)
        if self._is_batch:
            batches = table.combine_chunks().to_batches()
            return batches[0] if batches else self._pa.RecordBatch.from_pylist([], schema=table.schema)
        return table

    def _joined(self, parts: Sequence[Any]) -> Any:
        try:
            return self._pa.concat_tables(parts, promote_options="permissive")
        except (self._pa.ArrowException, OSError) as error:
            told = " ".join(str(error).split())
            raise ModelError(
                f"the api answers with other types in another chunk; declare its output: {told}"
            ) from error


class FrameRows(TableRows):
    """A DataFrame of pandas. The answer is one too, with the same index."""

    def __init__(self, frame: Any) -> None:
        import pyarrow as pa

        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise DataError(f"the frame cannot be sent: {' '.join(str(error).split())}") from error
        super().__init__(table)
        self.rows = len(frame)
        self._index = frame.index

    def joined(self, parts: Sequence[Any]) -> Any:
        """See Payload."""
        frame = self._joined(parts).to_pandas()
        frame.index = self._index
        return frame


class ArrayRows:
    """An array of numpy of two dimensions or more. The answer is an array, with a row for each."""

    content_type = accept = JSON

    def __init__(self, array: Any) -> None:
        self._array = array
        self.rows: int | None = len(array)
        self.row_bytes = 20.0 * array[:1].size  # a float64 as text

    def body(self, start: int, stop: int) -> bytes:
        """See Payload."""
        rows = self._array[start:stop]
        try:
            return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError:  # not contiguous, or of a type that it does not know: as Python's own values
            return _json(rows.tolist())

    def part(self, body: bytes, rows: int) -> Any:
        """See Payload."""
        found = json_of(body)
        if not isinstance(found, list):
            raise ModelError("the server's answer is no list with an item for each row")
        _check_rows(len(found), rows)
        return found

    def joined(self, parts: Sequence[Any]) -> Any:
        """See Payload."""
        import numpy as np

        return np.asarray([row for part in parts for row in part])


class OneBody:
    """Any other value, as one body. The answer is what its JSON says."""

    accept = JSON
    rows: int | None = None
    row_bytes = 0.0

    def __init__(self, content: bytes, content_type: str) -> None:
        self._content = content
        self.content_type = content_type

    def body(self, _start: int, _stop: int) -> bytes:
        """See Payload."""
        return self._content

    def part(self, body: bytes, _rows: int) -> Any:
        """See Payload."""
        return json_of(body)

    def joined(self, parts: Sequence[Any]) -> Any:
        """See Payload."""
        return parts[0]


def json_of(body: bytes) -> Any:
    """What a JSON answer says.

    Raises:
        ModelError: it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ModelError(f"the server's answer is no JSON: {error}") from error


def _check_rows(found: int, rows: int) -> None:
    if found != rows:
        raise ModelError(f"the server answered {found:,} rows to {rows:,}")


def _imported(data: Any) -> Any:
    import pyarrow as pa

    return pa.table(data)


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise UsageError(f"a {type(value).__name__} cannot be sent as JSON: {error}") from error


def _is_file(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview, os.PathLike)) or hasattr(value, "read")


def _content(value: Any) -> bytes:
    if isinstance(value, os.PathLike):
        return Path(value).read_bytes()
    content = value.read() if hasattr(value, "read") else value
    if isinstance(content, str):
        return content.encode()
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise UsageError(f"a {type(value).__name__} is no bytes, text, path or open file, which a media_type is for")
    return bytes(content)


def _guessed(value: Any) -> str:
    name = os.fspath(value) if isinstance(value, os.PathLike) else getattr(value, "name", None)
    if not isinstance(name, str):
        return _BYTES
    found, coding = mimetypes.guess_type(name)
    if found is None or coding is not None or found.startswith(("multipart/", "message/")):
        return _BYTES
    return found


def _multipart(data: Mapping[Any, Any]) -> OneBody:
    """RFC 7578. A value of None is left out."""
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for name, value in data.items():
        if value is None:
            continue
        quoted = "".join("_" if char in '"\\' or not char.isprintable() else char for char in str(name))
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{quoted}"; filename="{quoted}"\r\n'
        pieces += [f"{head}Content-Type: {_guessed(value)}\r\n\r\n".encode(), _content(value), b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return OneBody(b"".join(pieces), f"multipart/form-data; boundary={boundary}")
