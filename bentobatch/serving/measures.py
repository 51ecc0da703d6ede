"""This module measures an api at work: what its calls cost, how many rows one may take, and counts for the metrics.

Sources: the row cap follows Crankshaw et al., "Clipper: A Low-Latency Online Prediction Serving System" (NSDI 2017),
section 4.3.1: additive increase under the latency objective, a back-off by 10 % beyond it. Before the first miss it
doubles, as Jacobson's slow start does ("Congestion Avoidance and Control", SIGCOMM 1988).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

START_ROWS = 8
BACK_OFF = 0.9
_NEWEST = 0.1

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


Cells = Any
"""Numbers by their places: a memoryview of doubles, whose slices are the same memory, or a list, to read only. (memoryview
has no type parameter before Python 3.13.)"""


def own_cells(count: int) -> Cells:
    """Cells of this process alone."""
    return memoryview(bytearray(8 * count)).cast("d")


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
        self._slope = 0.0
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
        slope = max(0.0, self._covariance / self._variance) if self._variance > 0 else 0.0
        self._slope = min(slope, self.average / self._rows)  # a call costs no less than nothing

    def seconds(self, calls: int, rows: int) -> float:
        """What ``calls`` calls with ``rows`` rows in all will take; 0 as long as nothing is known."""
        return calls * (self.average - self._slope * self._rows) + self._slope * rows


class Histogram:
    """``counts[i]`` values were at most ``bounds[i]`` and more than the bound before; the last count is of those beyond
    all bounds. (Prometheus' buckets are the running sums of it.)

    ``cells`` hold the counts, the sum and the number of values, so many as ``cells_of(bounds)``; they may be shared memory.
    """

    def __init__(self, bounds: tuple[float, ...], cells: Cells | None = None) -> None:
        self.bounds = bounds
        self._cells: Cells = own_cells(cells_of(bounds)) if cells is None else cells

    @property
    def counts(self) -> list[int]:
        """How many values fell under each bound and not under the one before."""
        return [int(self._cells[index]) for index in range(len(self.bounds) + 1)]

    @property
    def sum(self) -> float:
        """Of all values."""
        return float(self._cells[len(self.bounds) + 1])

    @property
    def count(self) -> int:
        """How many values there were."""
        return int(self._cells[len(self.bounds) + 2])

    def add(self, value: float) -> None:
        """Count one value."""
        self.add_all((value,))

    def add_all(self, values: Sequence[float]) -> None:
        """Count several values."""
        cells, bounds, places = self._cells, self.bounds, len(self.bounds)
        for value in values:
            cells[bisect_left(bounds, value)] += 1
        cells[places + 1] += sum(values)
        cells[places + 2] += len(values)


def cells_of(bounds: tuple[float, ...]) -> int:
    """How many cells a histogram takes."""
    return len(bounds) + 3


COUNTERS = ("admitted", "answered", "failed", "expired", "cancelled", "shed_full", "shed_deadline", "bad_rows")
GAUGES = ("waiting_requests", "waiting_rows", "running_requests", "row_cap")
HISTOGRAMS = {"batch_rows": SIZES, "batch_requests": SIZES, "wait_seconds": SECONDS, "predict_seconds": SECONDS}
_NAMES = (*COUNTERS, *GAUGES)


class _Cell:
    """A whole number of Statistics, in the cell of its place."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, owner: Statistics, _: Any) -> int:
        return int(owner._cells[self._place])

    def __set__(self, owner: Statistics, value: float) -> None:
        owner._cells[self._place] = value


class Statistics:
    """Counts since the start. At rest: admitted = answered + failed + expired + cancelled; requests that were refused at
    the door are in the two ``shed`` counts only. ``bad_rows`` are those of answered requests. The last four are as of now.

    All lie in ``cells``, STATISTICS_CELLS numbers, which may be memory that other processes read.
    """

    admitted = _Cell(0)
    answered = _Cell(1)
    failed = _Cell(2)
    expired = _Cell(3)
    cancelled = _Cell(4)
    shed_full = _Cell(5)
    shed_deadline = _Cell(6)
    bad_rows = _Cell(7)
    waiting_requests = _Cell(8)
    waiting_rows = _Cell(9)
    running_requests = _Cell(10)
    row_cap = _Cell(11)

    def __init__(self, cells: Cells | None = None) -> None:
        self._cells: Cells = own_cells(STATISTICS_CELLS) if cells is None else cells
        start = len(_NAMES)
        found: dict[str, Histogram] = {}
        for name, bounds in HISTOGRAMS.items():
            found[name] = Histogram(bounds, self._cells[start : start + cells_of(bounds)])
            start += cells_of(bounds)
        self.batch_rows, self.batch_requests = found["batch_rows"], found["batch_requests"]
        self.wait_seconds, self.predict_seconds = found["wait_seconds"], found["predict_seconds"]

    def copy(self) -> Statistics:
        """The counts as they are now."""
        return Statistics(list(self._cells))

    def started(self, waits: Sequence[float], rows: int) -> None:
        """A batch of ``rows`` rows went out, whose requests have waited so many seconds each."""
        self.batch_rows.add(rows)
        self.batch_requests.add(len(waits))
        self.wait_seconds.add_all(waits)


STATISTICS_CELLS = len(_NAMES) + sum(map(cells_of, HISTOGRAMS.values()))
