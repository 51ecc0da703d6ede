"""This module is the adapter of functions that take files as streams, and the base of all that take files."""

from __future__ import annotations

import io
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import Converted, InputAdapter
from bentobatch.adapters.casting import is_text
from bentobatch.errors import DataError, UsageError
from bentobatch.rows import FILE_FIELDS, BadRow

_NOT_READ = "the column holds a path or URL, and only batch jobs over tables read those; give the bytes"


class StoredFile(io.BytesIO):
    """One file as the api function gets it: a binary stream of its bytes.

    ``name`` is its name without folders, ``uri`` its absolute path or URL, ``path`` its path on this machine, and
    ``label`` what messages call it; all but the last are None where the bytes came from a column or a request.
    """

    def __init__(self, content: bytes = b"", *, uri: str | None = None, label: str = "") -> None:
        super().__init__(content)
        self.uri = uri
        self.label = label
        self.path = None if uri is None or "://" in uri else uri
        self.name = None if uri is None else os.path.basename(uri.partition("?")[0] if self.path is None else uri)


class BadFileError(ValueError):
    """The bytes of one file are not what the adapter takes. ``kind`` names the class of the error that told so."""

    def __init__(self, text: str, kind: str = "ValueError") -> None:
        super().__init__(text)
        self.kind = kind


class FilesInput(InputAdapter):
    """An adapter whose rows are files: one for each of ``input_names``, which the api function gets as an argument each.

    In batch jobs the rows are the files of folders and globs, or rows of a table with one column for each input: bytes,
    or text, which names a file. Paths must lie in the table's folder or ``--files-root``; URLs are fetched only with
    ``fetch``, since that connects to whatever host the data names. From elsewhere columns hold bytes.
    """

    def __init__(
        self,
        input_names: Sequence[str] = ("file",),
        *,
        fetch: bool = False,
        http_input_example: Any = None,
        request_schema: Mapping[str, Any] | None = None,
    ) -> None:
        self.input_names = _checked_names(input_names)
        self.fetch = bool(fetch)
        self.http_input_example = http_input_example
        self.request_schema = request_schema

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The inputs' names where they are several; the column of a single input may have any name."""
        return self.input_names if len(self.input_names) > 1 else None

    def config(self) -> dict[str, Any]:
        """``fetch``."""
        return {"fetch": self.fetch}

    @abstractmethod
    def value_of(self, name: str, file: StoredFile) -> Any:
        """What the function gets for one file of the input ``name``.

        Raises:
            BadFileError: the row cannot be scored.
        """

    def absent(self, name: str) -> Any:
        """What the function gets where a row has no file of the input ``name``; by default the row is bad.

        Raises:
            BadFileError: the input is not optional.
        """
        raise BadFileError(f"no file for {name!r}" if len(self.input_names) > 1 else "the row has no file")

    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None) -> pa.Table:  # noqa: ARG002
        """One row: the text is the bytes of the file. (``--input @PATH`` names a file; the job reads it.)"""
        if len(self.input_names) > 1:
            raise DataError(f"{type(self).__name__} takes several files for each row: {', '.join(self.input_names)}")
        return pa.table({self.input_names[0]: pa.array([text], type=pa.large_binary())})

    def convert(self, batch: pa.RecordBatch) -> Converted:
        """A list of values for each input. A row is bad where one of its files is.

        Raises:
            DataError: the batch has not one column of files for each input.
        """
        columns = self.file_columns(batch)
        values: list[list[Any]] = [[] for _ in columns]
        bad: list[BadRow] = []
        for index, files in enumerate(zip(*columns, strict=True)):
            try:
                if all(file is None for file in files):
                    raise BadFileError("the row has no file")
                made = [self._value(name, file, files) for name, file in zip(self.input_names, files, strict=True)]
            except BadFileError as error:
                bad.append(BadRow(index, "convert", error.kind, " ".join(str(error).split())))
                continue
            for column, value in zip(values, made, strict=True):
                column.append(value)
        return Converted(tuple(values), rows=batch.num_rows - len(bad), bad=bad)

    def _value(self, name: str, file: StoredFile | None, files: Sequence[StoredFile | None]) -> Any:
        label = next((each.label for each in files if each is not None and each.label), "")
        try:
            if isinstance(file, _Path):
                raise BadFileError(_NOT_READ)
            return self.absent(name) if file is None else self.value_of(name, file)
        except BadFileError as error:
            if not label:
                raise
            raise BadFileError(f"{label}: {error}", error.kind) from error

    def file_columns(self, batch: pa.RecordBatch) -> list[Iterator[StoredFile | None]]:
        """The files of each input, made one at a time."""
        names = batch.schema.names
        single = len(self.input_names) == 1 and len(names) == 1
        if not single and any(name not in names for name in self.input_names):
            raise self._other_columns(batch)
        arrays = [batch.column(0)] if single else [batch.column(name) for name in self.input_names]
        if not all(_holds_files(array.type) for array in arrays):
            raise self._other_columns(batch)
        return [_files(array) for array in arrays]

    def _other_columns(self, batch: pa.RecordBatch) -> DataError:
        told = ", ".join(f"{field.name} ({field.type})" for field in batch.schema) or "none"
        if len(self.input_names) == 1:
            wanted = "one column of bytes, or of paths"
        else:
            wanted = f"the columns {', '.join(self.input_names)} of bytes, or of paths"
        return DataError(f"{type(self).__name__} takes {wanted}; the input has: {told}; choose with --features")


class FileInput(FilesInput):
    """The api function gets the files of many rows as a list of binary streams (batch=True), or one of them. A stream has
    ``name``, ``uri`` and ``path`` beside what any binary file has (see StoredFile)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(("file",), **options)

    def value_of(self, name: str, file: StoredFile) -> Any:  # noqa: ARG002
        """The stream itself."""
        return file


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not names:
        raise UsageError(f"input_names must be a list of names, not {names!r}")
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name == "path":
            raise UsageError(f"{name!r} cannot name an input: use letters, digits and _, and not the word path")
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"input_names names one input twice: {', '.join(names)}")
    return tuple(names)


def _is_bytes(kind: pa.DataType) -> bool:
    known = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(check(kind) for check in known)


def _is_file(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind)) and tuple(field.name for field in kind) == FILE_FIELDS


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _holds_files(kind: pa.DataType) -> bool:
    kind = _plain(kind)
    return _is_file(kind) or _is_bytes(kind) or is_text(kind) or bool(pa.types.is_null(kind))


class _Path(StoredFile):
    """A file of which the path is known and nothing else: nobody may read it here."""


def _files(array: pa.Array) -> Iterator[StoredFile | None]:
    """The files of a column, each made when it is due: a chunk's bytes must not be in memory three times."""
    if _is_file(array.type):
        paths, uris, contents = array.flatten()
        for present, path, uri, content in zip(array.is_valid(), paths, uris, contents, strict=True):
            if not present.as_py():
                yield None
                continue
            name = None if uri.as_py() is None else os.fsdecode(uri.as_py())
            yield StoredFile(content.as_py(), uri=name, label=path.as_py() or "")
        return
    text = is_text(_plain(array.type))
    for scalar in array:
        value = scalar.as_py()
        if value is None:
            yield None
        elif text:
            yield _Path(label=value)
        else:
            yield StoredFile(value)
