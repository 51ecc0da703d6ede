"""Tests of bentobatch.cli.logs."""

from __future__ import annotations

import io
import json
import logging
import warnings
from datetime import datetime

import pytest

from bentobatch.cli.logs import Messages, logging_to


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_record_of_our_logger_is_one_line() -> None:
    """The library logs, the command line prints."""
    stream = io.StringIO()
    with logging_to(Messages(stream)):
        logging.getLogger("bentobatch").warning("split %d:\nagain", 3)
        logging.getLogger("bentobatch.engine").info("hello")
        logging.getLogger("bentobatch").debug("too much")
    logging.getLogger("bentobatch").warning("nobody listens any more")
    assert stream.getvalue() == "bentobatch: warning: split 3: again\nbentobatch: hello\n"


@pytest.mark.parametrize(
    ("flags", "expected"), [({"quiet": True}, ["w"]), ({}, ["i", "w"]), ({"debug": True}, ["d", "i", "w"])]
)
def test_quiet_and_debug_choose_the_level(flags: dict[str, bool], expected: list[str]) -> None:
    """--quiet leaves warnings and errors, --debug shows all."""
    stream = io.StringIO()
    with logging_to(Messages(stream, "json"), **flags):
        for level, text in ((logging.DEBUG, "d"), (logging.INFO, "i"), (logging.WARNING, "w")):
            logging.getLogger("bentobatch").log(level, text)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == expected


def test_json_events_are_one_object_a_line_with_their_fields() -> None:
    """time (UTC), level, message and the fields of the event."""
    stream = io.StringIO()
    with logging_to(Messages(stream, "json")):
        logging.getLogger("bentobatch").info("a\nb\udcff", extra={"fields": {"rows": 5, "file": "x\udcffy"}})
    event = json.loads(stream.getvalue())
    assert datetime.fromisoformat(event.pop("time").replace("Z", "+00:00")).utcoffset().total_seconds() == 0
    assert event == {"level": "info", "message": "a b\\xff", "rows": 5, "file": "x\\xffy"}


def test_python_warnings_become_events() -> None:
    """A library's warning must not break a stream of JSON objects."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with logging_to(Messages(stream, "json")):
            warnings.warn("old habits", FutureWarning, stacklevel=1)
    assert "old habits" in json.loads(stream.getvalue())["message"]


def test_a_line_clears_the_status_and_draws_it_again() -> None:
    """A log line and the progress bar do not write into each other."""
    stream = Terminal()
    messages = Messages(stream)
    messages.status("50 %")
    messages.event("warning", "careful")
    messages.status("")
    assert stream.getvalue() == "\r50 %\x1b[K\r\x1b[Kbentobatch: warning: careful\n50 %\r\x1b[K"


@pytest.mark.parametrize(
    ("stream", "log_format", "term", "expected"),
    [
        (Terminal(), "text", "xterm", True),
        (Terminal(), "text", "dumb", False),
        (Terminal(), "json", "xterm", False),
        (io.StringIO(), "text", "xterm", False),
        (None, "text", "xterm", False),
    ],
)
def test_a_bar_needs_a_terminal_that_can_redraw(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None, log_format: str, term: str, expected: bool
) -> None:
    """Elsewhere it would fill a file with control characters."""
    monkeypatch.setenv("TERM", term)
    assert Messages(stream, log_format).is_terminal is expected


def test_a_stderr_that_nobody_reads_does_not_stop_the_run() -> None:
    """The job is worth more than its log."""
    messages = Messages(Broken())
    messages.event("info", "one")
    messages.event("info", "two")
    assert messages.stream is None
