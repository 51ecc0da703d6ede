"""This module measures an api at work: what its calls cost, how many rows one may take, and counts for the metrics.

Sources: the row cap follows Crankshaw et al., "Clipper: A Low-Latency Online Prediction Serving System" (NSDI 2017),
section 4.3.1: additive increase under the latency objective, a back-off by 10 % beyond it. Before the first miss it
doubles, as Jacobson's slow start does ("Congestion Avoidance and Control", SIGCOMM 1988).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

START_ROWS = 8
BACK_OFF = 0.9
_NEWEST = 0.1

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RowCap:
    """How many rows one call may take: as many as the api has shown to answer within ``objective`` seconds.

    Between two misses it grows by a fixed step on each full batch: a sixteenth of what the miss left.
    """

    def __init__(self, most: int, objective: float) -> None:
        self.most = most
        self.objective = objective
        self.rows = min(START_ROWS, most)
        self._step: int | None = None

    def learn(self, seconds: float, *, full: bool) -> None:
        """A call took ``seconds``. Only a full batch tells that more could be taken."""
        if seconds > self.objective:
            kept = self.rows // 2 if self._step is None else int(self.rows * BACK_OFF)
            self.rows = max(1, min(kept, self.rows - 1))
            self._step = max(1, self.rows // 16)
        elif full:
            self.rows = min(self.most, self.rows + (self._step or self.rows))


class PredictTime:
    """What calls cost: so much for a call and so much for a row, by a regression in which old calls fade away."""

    def __init__(self) -> None:
        self.average = 0.0
        """Seconds of a call, the newest counting a tenth; 0 as long as nothing is known."""
        self.calls = 0
        self._rows = 0.0
        self._variance = 0.0
        self._covariance = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """A call with ``rows`` rows took ``seconds``."""
        self.calls += 1
        weight = max(_NEWEST, 1 / self.calls)
        more_rows, more_seconds = rows - self._rows, seconds - self.average
        self._rows += weight * more_rows
        self.average += weight * more_seconds
        self._variance = (1 - weight) * (self._variance + weight * more_rows * more_rows)
        self._covariance = (1 - weight) * (self._covariance + weight * more_rows * more_seconds)

    def seconds(self, calls: int, rows: int) -> float:
        """What ``calls`` calls with ``rows`` rows in all will take; 0 as long as nothing is known."""
        if not self.calls:
            return 0.0
        slope = max(0.0, self._covariance / self._variance) if self._variance > 0 else 0.0
        slope = min(slope, self.average / self._rows)  # a call costs no less than nothing
        return calls * (self.average - slope * self._rows) + slope * rows


@dataclass
class Histogram:
    """``counts[i]`` values were at most ``bounds[i]`` and more than the bound before; the last count is of those beyond
    all bounds. (Prometheus' buckets are the running sums of it.)"""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0
    count: int = 0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        self.count += 1


def _sizes() -> Histogram:
    return Histogram(_SIZES)


def _seconds() -> Histogram:
    return Histogram(_SECONDS)


@dataclass
class Statistics:
    """Counts since the start. At rest: admitted = answered + failed + expired + cancelled; requests that were refused at
    the door are in the two ``shed`` counts only. ``bad_rows`` are those of answered requests."""

    admitted: int = 0
    answered: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    shed_full: int = 0
    shed_deadline: int = 0
    bad_rows: int = 0
    batch_rows: Histogram = field(default_factory=_sizes)
    batch_requests: Histogram = field(default_factory=_sizes)
    wait_seconds: Histogram = field(default_factory=_seconds)
    predict_seconds: Histogram = field(default_factory=_seconds)
    waiting_requests: int = 0
    waiting_rows: int = 0
    running_requests: int = 0
    row_cap: int = 0

    def started(self, waits: Sequence[float], rows: int) -> None:
        """A batch of ``rows`` rows went out, whose requests have waited so many seconds each."""
        self.batch_rows.add(rows)
        self.batch_requests.add(len(waits))
        for seconds in waits:
            self.wait_seconds.add(seconds)
