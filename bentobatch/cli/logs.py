"""This module writes what the command line has to say to stderr: as lines for people, or as JSON objects."""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, TextIO

from bentobatch.cli.text import printable, printable_values

LOG_FORMATS = ("text", "json")


class Messages:
    """The one writer of stderr. ``stream`` None (stderr is closed) drops everything.

    With the format "text" an event is a line, and its fields are left out; with "json" it is one object with time
    (UTC), level, message and the fields. ``status`` is the one line that is redrawn in place; every other line clears
    it first.
    """

    def __init__(self, stream: TextIO | None, log_format: str = "text") -> None:
        self.stream = stream
        self.log_format = log_format
        self._lock = threading.RLock()
        self._status = ""

    @property
    def is_terminal(self) -> bool:
        """Whether a status line can be redrawn in place."""
        plain = self.log_format != "text" or os.environ.get("TERM") == "dumb"
        return not plain and self.stream is not None and self.stream.isatty()

    def event(self, level: str, message: str, **fields: Any) -> None:
        """One line: ``bentobatch: message`` (warnings say so), or one JSON object with ``fields`` added."""
        if self.log_format == "json":
            self._write(_as_json(level, message, fields))
            return
        prefix = "bentobatch: warning: " if level == "warning" else "bentobatch: "
        self._write(prefix + printable(message))

    def plain(self, text: str) -> None:
        """Lines for people as they are, one ``printable`` line each; the caller does not use it for JSON."""
        self._write("\n".join(printable(line) for line in text.splitlines()))

    def traceback(self, error: BaseException) -> None:
        """The traceback of ``error``, as lines or as the field of one object."""
        lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        if self.log_format == "json":
            self._write(_as_json("debug", "traceback", {"traceback": lines.encode("utf-8", "replace").decode("utf-8")}))
        else:
            self._write(lines.rstrip("\n"))

    def status(self, text: str) -> None:
        """Redraw the status line; an empty text removes it."""
        with self._lock:
            if text or self._status:
                self._put(f"\r{text}\x1b[K")
            self._status = text

    def _write(self, line: str) -> None:
        with self._lock:
            if self._status:
                self._put("\r\x1b[K")
            self._put(line + "\n")
            if self._status:
                self._put(self._status)

    def _put(self, text: str) -> None:
        if self.stream is None:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            # Nobody reads stderr any more (a closed pipe, a full disk): the job itself goes on, and there is no other
            # place to say so.
            self.stream = None


class LogHandler(logging.Handler):
    """Hands log records to ``messages``; a record's ``fields`` attribute (a mapping) becomes fields of the event.

    One that is ``for_machines`` is left out of text, and the report always: the command shows it at its end, by itself.
    """

    def __init__(self, messages: Messages) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields = getattr(record, "fields", {})
        hidden = getattr(record, "for_machines", False) and self._messages.log_format == "text"
        if hidden or fields.get("event") == "report":
            return
        self._messages.event(record.levelname.lower(), record.getMessage(), **fields)


@contextmanager
def logging_to(messages: Messages, *, quiet: bool = False, debug: bool = False) -> Iterator[None]:
    """Send the ``bentobatch`` logger, and Python's warnings, to ``messages`` for the time of the block."""
    handler = LogHandler(messages)
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    loggers = [logging.getLogger("bentobatch"), logging.getLogger("py.warnings")]
    before = [logger.level for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, old in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(old)


def _as_json(level: str, message: str, fields: dict[str, Any]) -> str:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"time": now, "level": level, "message": printable(message)}
    rest = {key: value if key == "traceback" else printable_values(value) for key, value in fields.items()}
    return json.dumps({**event, **rest}, ensure_ascii=False)
