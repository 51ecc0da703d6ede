"""This module names the trouble that a single row can make, the same for formats, adapters, scorer and engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FILE_FIELDS = ("path", "uri", "content")
"""The fields of a struct column whose values are files: the name to show (string), the absolute path or URL (binary: a
path may be no UTF-8; null where there is none) and the bytes (large_binary). A null is no file."""

Stage = Literal["read", "convert", "model", "discard"]
"""Where a row was lost: parsing its bytes, making the user's value of it, inside the api, or by the api's own wish."""


@dataclass(frozen=True)
class BadRow:
    """One row that cannot be scored, by its position in the batch that it came in.

    ``index`` counts from 0 within the batch. ``error_type`` is the name of an exception class, ``error`` one line.
    ``line`` is the physical line in a text file, from 1 (0 where unknown). ``raw`` is the row's own bytes where
    the format has them (text formats), else None.
    """

    index: int
    stage: Stage
    error_type: str
    error: str
    line: int = 0
    raw: bytes | None = None
