"""This module tells how threads spend their time: computing, waiting for a core, or blocked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BLOCKED = 0.3
"""Two threads that wait for each other so much of their time do little more than one."""
_BUSY = 0.7


@dataclass
class Clock:
    """How a thread spent its time, in seconds: ``wall`` in all, ``cpu`` computing, ``queued`` ready but without a core
    (Linux only, else 0). The rest it was blocked: by a lock, or waiting for a disk or a network."""

    wall: float = 0.0
    cpu: float = 0.0
    queued: float = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[Clock]:
        """Measures the calling thread."""
        wall, cpu, queued = time.perf_counter(), time.thread_time(), _queued_seconds()
        try:
            yield self
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.thread_time() - cpu
            self.queued += _queued_seconds() - queued

    @property
    def own(self) -> float:
        """The seconds that the work itself took, on a machine where others work too."""
        return max(0.0, self.wall - self.queued)

    def to_json(self) -> list[float]:
        """As JSON values."""
        return [self.wall, self.cpu, self.queued]


def wait_for_each_other(clocks: Sequence[Clock]) -> bool:
    """Whether threads that ran at the same time were blocked by each other, and not by something outside: blocked for
    a good part of their time, while all of them together kept one core busy."""
    wall = sum(clock.wall for clock in clocks)
    if wall <= 0 or len(clocks) < 2:
        return False
    active = sum(clock.cpu + clock.queued for clock in clocks)
    return 1 - active / wall > _BLOCKED and active > _BUSY * wall / len(clocks)


def _queued_seconds() -> float:
    """How long the calling thread has waited for a core so far."""
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
