"""This module tells whether a file is still the one that was planned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bentobatch.errors import DataError, NoInputError
from bentobatch.formats.base import InputFile
from bentobatch.formats.discover import discover
from bentobatch.formats.source import is_url, printable


def check_unchanged(file: InputFile, label: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Refuse a file that is not the one that was planned; a URL whose server tells no stamp is taken as it is.

    Raises:
        DataError: its size, or its time of change or ETag, is another, or it is gone.
    """
    if file.stamp.startswith("sha256:"):
        return
    if is_url(file.uri):
        if file.stamp:
            _check_url(file, label, storage_options)
        return
    try:
        found = os.stat(file.uri)
    except OSError as error:
        raise DataError(
            f"{printable(label)}: gone since planning ({error.strerror}); run the same command again"
        ) from error
    if (found.st_size, str(found.st_mtime_ns)) != (file.size, file.stamp):
        raise DataError(f"{printable(label)} changed since planning; run the same command again, which plans anew")


def _check_url(file: InputFile, label: str, storage_options: Mapping[str, Any] | None) -> None:
    try:
        (found,) = discover([file.uri], format=file.format, storage_options=storage_options)
    except NoInputError as error:
        raise DataError(f"{printable(label)}: gone since planning; run the same command again") from error
    if (found.size, found.stamp) != (file.size, file.stamp):
        raise DataError(f"{printable(label)} changed since planning; run the same command again, which plans anew")
