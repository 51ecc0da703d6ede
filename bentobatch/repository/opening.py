"""This module opens the repository or the storage that a URL names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.errors import UsageError
from bentobatch.repository.storage import FolderStorage, Storage


def storage_of(url: str, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """The storage at ``url``: a path or file:// is a folder, anything else goes through fsspec.

    Raises:
        UsageError: it is no URL that can be used, or its library is missing.
    """
    if "://" in url and not url.startswith("file://"):
        from bentobatch.repository.url_storage import UrlStorage  # here and not above: it imports pyarrow

        return UrlStorage(url, storage_options)
    return FolderStorage(folder_of(url))


def folder_of(url: str) -> Path:
    """The folder that a path or a file:// URL names, as an absolute path.

    Raises:
        UsageError: it names none.
    """
    text = url.removeprefix("file://")
    if not text or "\0" in text or "://" in text or (text != url and not text.startswith("/")):
        raise UsageError(f"{url!r} names no folder: give a path, or file:///PATH")
    return Path(text).expanduser().absolute()
