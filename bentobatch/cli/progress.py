"""This module shows how far a run is: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from bentobatch.cli.logs import Messages
from bentobatch.engine.report import Progress

REDRAW_SECONDS = 0.1
"""Between two redraws of the bar: quicker is not seen, and costs."""
LINE_SECONDS = 5.0
"""Between two log lines where no bar can be drawn."""
BAR_WIDTH = 24

_DOING = {"plan": "planning", "score": "scoring", "commit": "committing"}


class ProgressDisplay:
    """A callable for ``on_progress``. ``last`` is the newest Progress seen, None before the first.

    The rate counts this run's rows alone: what an earlier run had finished is in ``rows_done`` from the start, and
    would make the rate and the time left look better than they are.
    """

    def __init__(self, messages: Messages, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.last: Progress | None = None
        self._messages = messages
        self._quiet = quiet
        self._clock = clock
        self._bar = messages.is_terminal
        self._shown = -REDRAW_SECONDS if self._bar else clock()
        self._shown_stage = ""
        self._first_scored: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Take note of ``progress``, and show it when it is time to."""
        self.last = progress
        if self._first_scored is None and progress.stage == "score":
            self._first_scored = progress
        if self._quiet:
            return
        now = self._clock()
        if self._bar:
            if now - self._shown >= REDRAW_SECONDS or progress.stage != self._shown_stage:
                self._messages.status(self._bar_text(progress)[: max(20, shutil.get_terminal_size().columns - 1)])
                self._shown, self._shown_stage = now, progress.stage
        elif now - self._shown >= LINE_SECONDS:
            self._messages.event("info", ", ".join(self._words(progress)), **self._fields(progress))
            self._shown = now

    def close(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._messages.status("")

    def rate(self, progress: Progress) -> float | None:
        """Rows per second of this run, or None while there is nothing to divide."""
        first = self._first_scored
        if first is None:
            return None
        rows, seconds = progress.rows_done - first.rows_done, progress.seconds - first.seconds
        return rows / seconds if rows > 0 and seconds > 0 else None

    def seconds_left(self, progress: Progress) -> float | None:
        """Seconds until the last row is scored at the present rate, or None while that cannot be told."""
        rate = self.rate(progress)
        if rate is None or progress.rows_total is None:
            return None
        return (progress.rows_total - progress.rows_done) / rate

    def _bar_text(self, progress: Progress) -> str:
        words = self._words(progress)
        if progress.rows_total:
            filled = min(BAR_WIDTH, progress.rows_done * BAR_WIDTH // progress.rows_total)
            words.insert(1, f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}]")
        return "  ".join(words)

    def _words(self, progress: Progress) -> list[str]:
        words = [_DOING.get(progress.stage, progress.stage)]
        if progress.rows_total is None:
            return [*words, f"{progress.seconds:.0f} s"]
        share = f" ({progress.rows_done * 100 // progress.rows_total} %)" if progress.rows_total else ""
        words.append(f"{progress.rows_done:,}/{progress.rows_total:,} rows{share}")
        rate, left = self.rate(progress), self.seconds_left(progress)
        if rate is not None:
            words.append(f"{rate:,.0f} rows/s")
        words.append(f"{progress.rejected:,} rejected")
        if progress.discarded:
            words.append(f"{progress.discarded:,} discarded")
        if left is not None and progress.stage == "score":
            words.append(f"{duration(left)} left")
        return words

    def _fields(self, progress: Progress) -> dict[str, Any]:
        rate, left = self.rate(progress), self.seconds_left(progress)
        return {
            "stage": progress.stage,
            "rows": progress.rows_done,
            "rows_total": progress.rows_total,
            "rows_per_second": None if rate is None else round(rate, 1),
            "rejected": progress.rejected,
            "discarded": progress.discarded,
            "splits_done": progress.splits_done,
            "splits_total": progress.splits_total,
            "seconds": round(progress.seconds, 3),
            "seconds_left": None if left is None else round(left, 1),
        }


def duration(seconds: float) -> str:
    """``seconds`` as people say it: 9 s, 4 min 05 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
