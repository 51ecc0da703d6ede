"""This module keeps stdout for results: what others print there goes to stderr, and a reader who leaves is no error."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bentobatch.cli.logs import Messages
from bentobatch.errors import StorageError


class StdoutClosedError(Exception):
    """The reader of stdout has gone (``bentobatch list | head -1``): there is nobody to print for."""


class ResultStream(io.RawIOBase):
    """stdout by its file descriptor. After the first failed write the rest is dropped, so that Python's own flush at
    exit does not fail once more."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self._dead = False

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor that results go to at present."""
        return self.fd

    def isatty(self) -> bool:
        """Whether results go to a terminal."""
        return os.isatty(self.fd)

    def write(self, data: Any) -> int:
        """Write some of ``data`` and tell how much.

        Raises:
            StdoutClosedError: the reader has gone.
            StorageError: stdout is a file on a full disk, or otherwise broken.
        """
        if self._dead:
            return len(data)
        try:
            return os.write(self.fd, data)
        except BrokenPipeError as error:
            self._dead = True
            raise StdoutClosedError from error
        except OSError as error:
            self._dead = True
            raise StorageError(f"cannot write to standard output: {error.strerror}") from error


@contextmanager
def guarded_stdout() -> Iterator[None]:
    """Make ``sys.stdout`` a ResultStream underneath, where it is the process's own stdout (in tests it may be not)."""
    before = sys.stdout
    if _descriptor(before) != 1:
        yield
        return
    before.flush()
    raw = ResultStream(1)
    buffered = io.BufferedWriter(raw)
    # backslashreplace: a file name that the terminal's encoding cannot show is shown escaped instead of a traceback
    text = io.TextIOWrapper(
        buffered, encoding=before.encoding, errors="backslashreplace", line_buffering=before.isatty()
    )
    sys.stdout = text
    try:
        yield
        text.flush()
    finally:
        sys.stdout = before
        with suppress(StdoutClosedError, StorageError):  # raised once already, by the write or flush that met it
            text.flush()
        text.detach()
        buffered.detach()


@contextmanager
def stdout_for_results_only() -> Iterator[None]:
    """Point descriptor 1 to stderr for the time of the block, while ``sys.stdout`` keeps the real one.

    What a user's function, a child process or a native library prints then cannot mix with the results.
    """
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, ResultStream):
        yield
        return
    sys.stdout.flush()
    own = os.dup(1)
    raw.fd = own
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        with suppress(StdoutClosedError, StorageError):  # as above: the first failure was raised
            sys.stdout.flush()
        raw.fd = 1
        os.dup2(own, 1)
        os.close(own)


@contextmanager
def stray_lines_as_events(messages: Messages) -> Iterator[None]:
    """With JSON logs: make every line that somebody else writes to stderr (a child process, a library) an event too.

    Without it one warning of a model's library would break the stream for a program that reads it.
    """
    if messages.log_format != "json" or messages.stream is None or _descriptor(messages.stream) != 2:
        yield
        return
    before = messages.stream
    own = os.dup(2)
    messages.stream = os.fdopen(own, "w", encoding="utf-8", errors="backslashreplace")
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    reader = threading.Thread(target=_forward_lines, args=(source, messages), name="stray stderr", daemon=True)
    reader.start()
    try:
        yield
    finally:
        before.flush()
        os.dup2(own, 2)
        # A grandchild may hold the pipe open for ever: what it says after the end is not waited for.
        reader.join(timeout=1.0)
        if not reader.is_alive():
            messages.stream.close()
        messages.stream = before


def _forward_lines(source: int, messages: Messages) -> None:
    with os.fdopen(source, "r", encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if line.strip():
                messages.event("warning", line, source="stderr")


def _descriptor(stream: Any) -> int | None:
    try:
        number: int = stream.fileno()
    except (AttributeError, OSError, ValueError):  # closed, replaced by a StringIO, or no stream at all
        return None
    return number
