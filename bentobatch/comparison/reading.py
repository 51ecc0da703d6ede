"""This module starts the process that reads for both sides of a comparison, and ends it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bentobatch.engine.child import program
from bentobatch.engine.shared_reading import address_of
from bentobatch.errors import StorageError

SIDES = ("old", "new")
_LONGEST = 100
"""Bytes of a socket's path that every system takes (Linux: 107, macOS: 103)."""


class ReadingProcess:
    """The process, as its leader sees it. ``folder`` is where it keeps chunks that a side has not had yet; ``waits`` whether
    the faster side may be kept waiting there. ``close`` ends whatever ``start`` has begun."""

    def __init__(self, folder: Path, storage_options: Mapping[str, Any] | None, *, waits: bool = True) -> None:
        self._folder = folder
        self._options = {"storage_options": dict(storage_options or {}), "waits": waits}
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""

    def start(self) -> None:
        """Begin.

        Raises:
            StorageError: there is no place for its socket or its chunks.
        """
        try:
            self._folder.mkdir()
            self._place = _short_folder()
            self._path = os.path.join(self._place.name, "reader")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
                listening.bind(self._path)
                listening.listen(128)
                self._process = subprocess.Popen(
                    program("bentobatch.comparison.reader", str(listening.fileno()), str(self._folder)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[listening.fileno()],
                )
            assert self._process.stdin is not None
            # a secret among the options goes through the pipe, since a process's arguments can be seen by others
            self._process.stdin.write(json.dumps(self._options).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise StorageError(f"the process that reads for both bundles cannot be started: {error}") from error

    def address(self, side: str) -> str:
        """Where the workers of a side ask."""
        return address_of(self._path, side)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.kill()
            self._process.wait()
            with suppress(BrokenPipeError):  # it had ended before it was told anything
                self._process.stdin.close()
        if self._place is not None:
            self._place.cleanup()


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    """A private folder whose path leaves room for a socket's name, also where TMPDIR is a long one."""
    root = tempfile.gettempdir()
    long = len(os.fsencode(root)) + len("/bentobatch-xxxxxxxx/reader") > _LONGEST
    return tempfile.TemporaryDirectory(prefix="bentobatch-", dir="/tmp" if long else None)  # noqa: S108 - it makes one of its own
