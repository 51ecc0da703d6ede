"""This module turns the signals that end a process into an exception, so that a run can clean up and say where it is."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bentobatch.engine.stop import Stopped

REPEAT_SECONDS = 1.0
"""A signal that comes again this soon is the same wish: ``timeout`` and process groups deliver it twice."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread on SIGTERM, SIGINT and SIGHUP while the block runs.

    A signal that the caller told this process to ignore (nohup; SIGINT of a shell's background job) stays ignored.
    """
    first_at: list[float] = []

    def stop(signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if first_at and now - first_at[0] < REPEAT_SECONDS:
            return
        first_at.append(now)
        raise Stopped(signum)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
