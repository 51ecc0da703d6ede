"""This module is a file system, counted://, over local files: each read of theirs is written down, in whatever process."""

from __future__ import annotations

import os
from typing import Any

from fsspec.implementations.local import LocalFileSystem


class CountedFile:
    """An open file; a line "name process bytes" is added to the log for each read."""

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data: bytes = self._file.read(size)
        with open(os.environ["COUNTED_FILES_LOG"], "a") as log:
            log.write(f"{os.path.basename(self._path)} {os.getpid()} {len(data)}\n")
        return data

    def readinto(self, buffer: Any) -> int:
        """As a file's."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> CountedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class CountedFileSystem(LocalFileSystem):
    """Local files whose reads are counted."""

    protocol = "counted"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).removeprefix("counted://"))

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a path."""
        return f"counted://{self._strip_protocol(name)}"

    def open(self, path: str, *args: Any, **options: Any) -> Any:
        """As the local one's."""
        return CountedFile(super().open(path, *args, **options), path)
