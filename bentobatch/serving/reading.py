"""This module turns the body of a request into rows, by its Content-Type and by what the api takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson
import pyarrow as pa

from bentobatch.adapters.base import LINE_COLUMN
from bentobatch.adapters.files import FilesInput
from bentobatch.adapters.images import DecodedFilesInput
from bentobatch.adapters.json_text import parse_json
from bentobatch.adapters.json_values import StringInput
from bentobatch.errors import DataError
from bentobatch.formats.json_form import is_bytes
from bentobatch.service.apis import InferenceAPI
from bentobatch.serving.answers import ARROW, CSV, JSON
from bentobatch.serving.arrow_bodies import table_of_stream
from bentobatch.serving.bodies import MediaType, media_type, parts_of, utf8_of
from bentobatch.serving.call import Call, RequestError
from bentobatch.serving.columns import RequestColumns, Rows
from bentobatch.serving.options import ServingOptions
from bentobatch.serving.tables import lines_of_values, rows_of_csv, rows_of_json, rows_of_json_lines

MULTIPART = "multipart/form-data"
TEXT = "text/plain"
BYTES = "application/octet-stream"
JSON_LINES = "application/x-ndjson"
_SAME = {
    "application/csv": CSV,
    "application/x-csv": CSV,
    "application/ndjson": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/jsonlines": JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/vnd.apache.arrow.file": "",
}
_BATCH = "bentoml-is-batch-request"
_TABLES = frozenset({CSV, ARROW, JSON_LINES})
_NEVER_FILES = ("application/x-www-form-urlencoded", "message/", "multipart/")

_Read = Callable[[bytes, MediaType], Rows]


class Reader:
    """Reads requests to one api."""

    def __init__(self, api: InferenceAPI, columns: RequestColumns, options: ServingOptions) -> None:
        self._adapter = api.input
        self._columns = columns
        self._options = options
        self._several = len(getattr(api.input, "input_names", ())) > 1
        self._is_files = isinstance(api.input, FilesInput)
        self._is_text = isinstance(api.input, StringInput)
        self._reads = self._readers()
        self.media_types = self._media_types()

    def rows(self, call: Call, content: bytes) -> Rows:
        """The rows of a request whose inflated body is ``content``.

        Raises:
            RequestError: 415, no or another Content-Type than the api takes; 413, too many rows.
            DataError: the body is malformed; the message names the row and the column where it can.
        """
        header = call.headers.get("content-type")
        if header is None or not header.strip():
            raise self._unsupported("the request has no Content-Type")
        media = media_type(header)
        if media.name == MULTIPART:
            return self._of_parts(content, media)
        if self._is_batch(call) and _is_json(media.name):
            return self._of_list(content, media)
        read = self._reads.get(_known(media.name)) or (self._of_file if self._takes_file(media.name) else None)
        if read is None:
            raise self._unsupported(f"the Content-Type {media.name} is not taken")
        if not content and not self._is_text:
            raise DataError("the body is empty")
        return read(content, media)

    def is_single(self, call: Call) -> bool:
        """Whether the request is one value, and not a table of them: its answer is one result."""
        if self._adapter.batch_only:
            return False
        name = _known(media_type(call.headers.get("content-type", "")).name)
        return name not in _TABLES and not (self._is_batch(call) and _is_json(name))

    def _readers(self) -> dict[str, _Read]:
        adapter, columns, most = self._adapter, self._columns, self._options.max_rows
        reads: dict[str, _Read] = {}
        if self._is_files:
            if self._several:
                reads[JSON] = lambda content, _: columns.settle(adapter.table_from_text(content))
            reads[ARROW] = self._files_of_stream
            return reads
        reads[CSV] = lambda content, media: rows_of_csv(
            utf8_of(content, media), columns, most, header=media.parameters.get("header", "").lower() != "absent"
        )
        reads[ARROW] = self._of_stream
        if self._is_text:
            reads[TEXT] = self._of_line
            return reads
        reads[JSON_LINES] = lambda content, media: rows_of_json_lines(utf8_of(content, media), adapter, columns, most)
        if adapter.lines:
            reads[JSON] = self._of_json_value
        else:
            reads[JSON] = lambda content, media: rows_of_json(utf8_of(content, media), adapter, columns, most)
        return reads

    def _media_types(self) -> tuple[str, ...]:
        found = [*sorted(self._reads, key=lambda name: name != JSON), MULTIPART]  # JSON first, the form of the examples
        if self._is_files and not self._several:
            found = ["image/*" if isinstance(self._adapter, DecodedFilesInput) else "*/*", BYTES, *found]
        return tuple(found)

    def _takes_file(self, name: str) -> bool:
        if not self._is_files or self._several or name.startswith(_NEVER_FILES):
            return False
        return not isinstance(self._adapter, DecodedFilesInput) or name.startswith("image/") or name == BYTES

    def _of_line(self, content: bytes, media: MediaType) -> Rows:
        return self._columns.settle(pa.table({LINE_COLUMN: pa.array([utf8_of(content, media)], pa.large_binary())}))

    def _of_json_value(self, content: bytes, media: MediaType) -> Rows:
        text = utf8_of(content, media).removeprefix(b"\xef\xbb\xbf")
        try:
            orjson.loads(text)  # here, for a 400 that comes before any other request is held up
        except orjson.JSONDecodeError as error:
            raise DataError(f"the body is not JSON: {error}") from error
        return self._columns.settle(pa.table({LINE_COLUMN: pa.array([text], pa.large_binary())}))

    def _of_file(self, content: bytes, _: MediaType) -> Rows:
        names: Sequence[str] = getattr(self._adapter, "input_names", ("file",))
        return self._columns.settle(pa.table({names[0]: pa.array([content], pa.large_binary())}))

    def _of_stream(self, content: bytes, _: MediaType) -> Rows:
        options = self._options
        return self._columns.settle(
            table_of_stream(content, most_rows=options.max_rows, most_bytes=options.max_inflated_bytes)
        )

    def _files_of_stream(self, content: bytes, media: MediaType) -> Rows:
        """A column of bytes for each input. Nothing else: a text would name a file of this machine, and a struct could say
        of its bytes that they are one."""
        rows = self._of_stream(content, media)
        for field in rows.batch.schema:
            if not (is_bytes(field.type) or pa.types.is_null(field.type)):
                raise DataError(f"column {field.name!r} is {field.type}; files are sent as binary")
        return rows

    def _of_list(self, content: bytes, media: MediaType) -> Rows:
        """BentoML's batch request: a JSON list, each item of which is a row."""
        text = utf8_of(content, media)
        if self._adapter.batch_only:
            return rows_of_json(text, self._adapter, self._columns, self._options.max_rows)
        try:
            items = parse_json(text)
        except ValueError as error:
            raise DataError(f"the body is not JSON: {error}") from error
        if not isinstance(items, list) or self._is_files:
            raise DataError("a request with Bentoml-Is-Batch-Request is a JSON list with an item for each row")
        if self._is_text:
            if not all(isinstance(item, str) for item in items):
                raise DataError("a request with Bentoml-Is-Batch-Request is a JSON list of texts here")
            lines = [item.encode("utf-8", "replace") for item in items]
        else:
            lines = lines_of_values(items)
        if len(lines) > self._options.max_rows:
            raise RequestError(413, f"the request has {len(lines):,} rows, and {self._options.max_rows:,} are taken")
        return self._columns.settle(pa.table({LINE_COLUMN: pa.array(lines, pa.large_binary())}))

    def _of_parts(self, content: bytes, media: MediaType) -> Rows:
        parts = parts_of(content, media, self._options.max_parts)
        if self._is_files and self._several:
            return self._of_named({part.name: part.content for part in parts}, len(parts))
        files = [part for part in parts if part.is_file] or parts
        if len(files) != 1:
            raise DataError(f"the multipart body has {len(files)} files, and one is taken")
        inner = files[0].media
        if self._is_files:
            return self._of_file(files[0].content, media)
        if inner is None:
            raise self._unsupported(f"the part {files[0].name!r} has no Content-Type")
        read = self._reads.get(_known(inner.name))
        if read is None:
            raise self._unsupported(f"the part {files[0].name!r} is {inner.name}, which is not taken")
        return read(files[0].content, inner)

    def _of_named(self, found: Mapping[str, bytes], count: int) -> Rows:
        names: Sequence[str] = self._adapter.input_names  # type: ignore[attr-defined]
        unknown = [name for name in found if name not in names]
        if unknown:
            raise DataError(f"the multipart body has a part {unknown[0]!r}; the api takes {', '.join(names)}")
        if count > len(found):
            raise DataError("the multipart body has two parts of one name")
        columns = {name: pa.array([found.get(name)], pa.large_binary()) for name in names}
        return self._columns.settle(pa.table(columns))

    def _is_batch(self, call: Call) -> bool:
        return call.headers.get(_BATCH, "").strip().lower() == "true"

    def _unsupported(self, what: str) -> RequestError:
        taken = ", ".join(self.media_types)
        return RequestError(415, f"{what}; the api takes {taken}", headers=(("Accept-Post", taken),))


def _known(name: str) -> str:
    if name.startswith("application/") and name.endswith("+json"):
        return JSON
    return _SAME.get(name, name)


def _is_json(name: str) -> bool:
    return _known(name) == JSON
