"""This module starts the process that reads for both sides of a comparison, and ends it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.engine.shared_reading import address_of

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]);"
    "from bentobatch.comparison.reader import main; main(sys.argv[1:])"
)
"""What it runs: it finds modules exactly where its leader does, and not in the folder that it was started from."""


class ReadingProcess:
    """The process, as its leader sees it. ``folder`` is where it keeps chunks that a side has not had yet."""

    def __init__(self, folder: Path, storage_options: Mapping[str, Any] | None) -> None:
        folder.mkdir()
        self._place = tempfile.TemporaryDirectory(prefix="bentobatch-")  # a socket's path is short, and private
        self._path = str(Path(self._place.name) / "reader")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(self._path)
            listening.listen(128)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(listening.fileno()), str(folder), json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
            )
        assert self._process.stdin is not None
        # a secret among the options goes through the pipe, since a process's arguments can be seen by others
        self._process.stdin.write(json.dumps(dict(storage_options or {})).encode() + b"\n")
        self._process.stdin.flush()

    def address(self, side: str) -> str:
        """Where the workers of a side ask."""
        return address_of(self._path, side)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._place.cleanup()
