"""This module reads the files that columns of a table name: paths beside the table, or URLs where fetching was asked for.

What stands in a column is data, perhaps of strangers. A path must lead into the root (the table's own folder, or the one
that was given), links resolved; a URL is fetched only on demand, and gets the job's credentials only where the table
itself came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from bentobatch.formats.base import Chunk
from bentobatch.formats.binary_files import file_array
from bentobatch.formats.file_bytes import UnreadableError, read_named
from bentobatch.formats.source import is_url, printable
from bentobatch.rows import BadRow

FETCHED = ("http", "https", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
"""Schemes of URLs in a column. Others reach into this machine, or chain file systems."""

File = tuple[str, str | None, bytes]


@dataclass(frozen=True)
class FileColumns:
    """How the columns ``names`` of a table become files.

    ``root``: the folder (or URL of one) that paths are relative to and must lie in; None where there is none, and every
    path is refused. ``fetch``: URLs may be fetched. ``chunk_bytes`` bounds the files of one chunk.
    """

    names: tuple[str, ...]
    root: str | None
    fetch: bool
    chunk_bytes: int
    storage_options: Mapping[str, Any] | None = None

    def attach(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The rows of ``chunks``, with the files in ``features``, in smaller chunks where files are large. A file that
        cannot be had is a bad row of stage read. Columns that hold no text stay as they are."""
        for chunk in chunks:
            texts = [name for name in self.names if _is_text(chunk.batch.schema.field(name).type)]
            if chunk.features is not None or not texts:
                yield chunk
            else:
                yield from self._attach(chunk, texts)

    def _attach(self, chunk: Chunk, texts: Sequence[str]) -> Iterator[Chunk]:
        named = [chunk.batch.column(name).to_pylist() for name in texts]
        known = {item.index: item for item in chunk.bad}
        files: list[list[File | None]] = [[] for _ in texts]
        bad: list[BadRow] = []
        start = held = 0
        for row in range(chunk.batch.num_rows):
            found, problem = self._files(row, named) if row not in known else ([None] * len(texts), None)
            size = sum(len(file[2]) for file in found if file is not None)
            if held + size > self.chunk_bytes and row > start:
                yield self._piece(chunk, start, row, dict(zip(texts, files, strict=True)), bad)
                start, held, files, bad = row, 0, [[] for _ in texts], []
            held += size
            for column, file in zip(files, found, strict=True):
                column.append(file)
            if row in known:
                bad.append(_moved(known[row], -start))
            elif problem is not None:
                bad.append(BadRow(row - start, "read", "UnreadableFile", problem))
        if chunk.batch.num_rows > start:
            yield self._piece(chunk, start, chunk.batch.num_rows, dict(zip(texts, files, strict=True)), bad)

    def _files(self, row: int, named: Sequence[Sequence[str | None]]) -> tuple[list[File | None], str | None]:
        """The files of one row; none, and why, where one of them cannot be had."""
        found: list[File | None] = []
        for column in named:
            text = column[row]
            try:
                found.append(None if text is None else self._file(text))
            except UnreadableError as error:
                return [None] * len(named), f"{printable(str(text))}: {error}"
        return found, None

    def _file(self, text: str) -> File:
        if is_url(text) and not text.startswith(("file://", "local://")):
            return text, text, self._fetched(text)
        root = self.root
        if root is not None and is_url(root):
            uri = _below(root, text)
            return text, uri, read_named(uri, self.storage_options)
        path = _inside(root, text)
        return text, path, read_named(path)

    def _fetched(self, url: str) -> bytes:
        if not self.fetch:
            raise UnreadableError(
                "URLs in a column are not fetched unless the api says so, such as ImageInput(fetch=True)"
            )
        parts = urlsplit(url)
        if parts.scheme.lower() not in FETCHED or "::" in url:
            raise UnreadableError(f"only URLs of {', '.join(FETCHED)} are fetched")
        return read_named(url, self.storage_options if self._is_home(parts.scheme.lower(), parts.netloc) else None)

    def _is_home(self, scheme: str, netloc: str) -> bool:
        """Whether a URL leads where the table came from, so that the job's credentials are meant for it."""
        home = urlsplit(self.root) if self.root is not None and is_url(self.root) else None
        if home is None or home.scheme.lower() != scheme:
            return False
        return scheme not in ("http", "https") or home.netloc == netloc

    def _piece(
        self, chunk: Chunk, start: int, stop: int, files: Mapping[str, Sequence[File | None]], bad: Sequence[BadRow]
    ) -> Chunk:
        batch = chunk.batch.slice(start, stop - start)
        columns = [file_array(files[name]) if name in files else batch.column(name) for name in self.names]
        features = pa.RecordBatch.from_arrays(columns, names=list(self.names))
        lines = None if chunk.lines is None else chunk.lines[start:stop]
        return Chunk(batch, bad, chunk.first_line + start if chunk.first_line else 0, lines, features)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _moved(row: BadRow, by: int) -> BadRow:
    return BadRow(row.index + by, row.stage, row.error_type, row.error, row.line, row.raw)


def _inside(root: str | None, text: str) -> str:
    """The file that ``text`` means, its links resolved, if it lies in ``root``."""
    if root is None:
        raise UnreadableError(
            "the rows come from no folder that the path could be looked for in: give --files-root DIR"
        )
    if not text or "\0" in text:
        raise UnreadableError("not a path")
    if text.startswith(("file://", "local://")):
        text = text.partition("://")[2]
    folder = os.path.realpath(root)
    path = os.path.realpath(os.path.join(folder, text))
    if not path.startswith(folder.rstrip("/") + "/"):
        raise UnreadableError(
            f"the path leads out of {printable(root)}: give the folder of the files with --files-root"
        )
    return path


def _below(root: str, text: str) -> str:
    """The URL of a file below the URL ``root``."""
    parts = text.split("/")
    if (
        not text
        or text.startswith("/")
        or ".." in parts
        or any(mark in text for mark in ("\0", "\\", "::", "?", "#", "%"))
    ):
        raise UnreadableError(f"the path leads out of {printable(root)}, or cannot be part of a URL")
    return f"{root.rstrip('/')}/{text}"
