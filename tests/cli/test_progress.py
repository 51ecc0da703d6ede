"""Tests of bentobatch.cli.progress."""

from __future__ import annotations

import io
import json

import pytest

from bentobatch.cli.logs import Messages
from bentobatch.cli.progress import ProgressDisplay, duration
from bentobatch.engine.report import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def score(rows: int, seconds: float, **more: int) -> Progress:
    """Progress in the middle of scoring a thousand rows."""
    return Progress("score", rows, 1000, seconds=seconds, splits_total=10, **more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_terminal_there_is_a_line_every_five_seconds(clock: Clock) -> None:
    """A log gets few lines, and a run that ends at once none."""
    stream = io.StringIO()
    display = ProgressDisplay(Messages(stream), clock=clock)
    for step in range(21):
        clock.now = 100.0 + step
        display(score(step * 40, float(step), rejected=step))
    display.close()
    assert stream.getvalue().splitlines() == [
        "bentobatch: scoring, 200/1,000 rows (20 %), 40 rows/s, 5 rejected, 20 s left",
        "bentobatch: scoring, 400/1,000 rows (40 %), 40 rows/s, 10 rejected, 15 s left",
        "bentobatch: scoring, 600/1,000 rows (60 %), 40 rows/s, 15 rejected, 10 s left",
        "bentobatch: scoring, 800/1,000 rows (80 %), 40 rows/s, 20 rejected, 5 s left",
    ]


def test_json_lines_carry_the_numbers(clock: Clock) -> None:
    """A program that watches the run parses fields, not sentences."""
    stream = io.StringIO()
    display = ProgressDisplay(Messages(stream, "json"), clock=clock)
    display(score(0, 1.0))
    clock.now += 6
    display(score(100, 6.0, rejected=2, discarded=1, splits_done=1))
    event = json.loads(stream.getvalue())
    assert {key: event[key] for key in event if key not in ("time", "message")} == {
        "level": "info",
        "stage": "score",
        "rows": 100,
        "rows_total": 1000,
        "rows_per_second": 20.0,
        "rejected": 2,
        "discarded": 1,
        "splits_done": 1,
        "splits_total": 10,
        "seconds": 6.0,
        "seconds_left": 45.0,
    }


def test_the_terminal_has_one_line_that_is_redrawn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most ten times a second, within the width of the terminal, and removed at the end."""
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    display = ProgressDisplay(Messages(stream), clock=clock)
    display(score(0, 0.0))
    display(score(100, 1.0))  # too soon to be seen
    clock.now += 1
    display(score(500, 2.0, discarded=3))
    display.close()
    drawn = stream.getvalue().split("\r")
    assert drawn[1] == "scoring  [------------------------]  0/1,000 rows (0 %)  0 rejected\x1b[K"
    assert drawn[2] == (
        "scoring  [############------------]  500/1,000 rows (50 %)  250 rows/s  0 rejected  3 discarded  2 s left\x1b[K"
    )
    assert drawn[3:] == ["\x1b[K"]
    assert "\n" not in stream.getvalue()


def test_the_bar_is_cut_to_a_narrow_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps could not be redrawn."""
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    ProgressDisplay(Messages(stream), clock=clock)(score(500, 2.0))
    assert len(stream.getvalue().removeprefix("\r").removesuffix("\x1b[K")) == 39


def test_rows_of_an_earlier_run_do_not_count_for_the_rate(clock: Clock) -> None:
    """They took no time now: the rate and the time left would be too good."""
    display = ProgressDisplay(Messages(io.StringIO()), clock=clock)
    display(Progress("plan", seconds=0.0))
    display(score(900, 5.0))
    assert display.rate(score(900, 5.0)) is None
    assert display.rate(score(910, 10.0)) == 2.0
    assert display.seconds_left(score(910, 10.0)) == 45.0


def test_quiet_shows_nothing_but_remembers(clock: Clock) -> None:
    """What a stopped run says of its splits needs the last progress."""
    stream = Terminal()
    display = ProgressDisplay(Messages(stream), quiet=True, clock=clock)
    clock.now += 60
    display(score(10, 60.0, splits_done=7))
    display.close()
    assert stream.getvalue() == ""
    assert display.last is not None
    assert display.last.splits_done == 7


def test_an_empty_input_has_a_bar_too(clock: Clock) -> None:
    """No rows to divide by."""
    stream = Terminal()
    ProgressDisplay(Messages(stream), clock=clock)(Progress("score", 0, 0))
    assert "0/0 rows" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (245, "4 min 05 s"), (3600, "1 h 00 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    """Two units at most."""
    assert duration(seconds) == words
