"""This module is the adapter of functions that take several files for each row."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.files import FilesInput, StoredFile
from bentobatch.adapters.json_text import parse_json
from bentobatch.errors import DataError


class MultiFilesInput(FilesInput):
    """What all adapters of several files share: one JSON object is one row of them, as base64."""

    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None) -> pa.Table:  # noqa: ARG002
        """One row, of a JSON object with the bytes of each input as base64 under its name; null or nothing for none."""
        try:
            row = parse_json(text)
        except json.JSONDecodeError as error:
            raise DataError(f"the input is not JSON: {error}; name files with --input-file-NAME") from error
        unknown = [name for name in row if name not in self.input_names] if isinstance(row, Mapping) else ["?"]
        if unknown or not row:
            raise DataError(f"expected one JSON object with {', '.join(self.input_names)}: base64 of each file's bytes")
        values = {name: pa.array([self.bytes_of(name, row.get(name))], pa.large_binary()) for name in self.input_names}
        return pa.table(values)

    def bytes_of(self, name: str, value: Any) -> bytes | None:
        """The bytes that one value of the JSON object means.

        Raises:
            DataError: it is no base64.
        """
        if value is None:
            return None
        try:
            return base64.b64decode(value, validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise DataError(f"input {name!r} is no base64: {error}") from error


class MultiFileInput(MultiFilesInput):
    """The api function gets one list of binary streams for each of ``input_names`` (batch=True), or one stream each.

    A row that lacks one of its files is bad, unless ``allow_none``: then the function gets None for it. A row that has no
    file at all is bad anyway.
    """

    def __init__(self, input_names: Sequence[str], allow_none: bool = False, **options: Any) -> None:
        super().__init__(input_names, **options)
        self.allow_none = bool(allow_none)

    def config(self) -> dict[str, Any]:
        """``input_names``, ``allow_none`` and ``fetch``."""
        return {"input_names": list(self.input_names), "allow_none": self.allow_none, **super().config()}

    def value_of(self, name: str, file: StoredFile) -> Any:  # noqa: ARG002
        """The stream itself."""
        return file

    def absent(self, name: str) -> Any:
        """None, where that is allowed."""
        return None if self.allow_none else super().absent(name)
