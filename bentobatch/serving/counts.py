"""This module keeps what is counted of a server's requests, in memory that the other workers of the server can read.

Each worker has a file of its own in a folder that all know, mapped into its memory: to count is to write a number there.
Whoever is asked for the metrics adds up all files. What a dead worker has counted stays; what it had at work does not
count any more. Without a folder a process counts for itself.
"""

from __future__ import annotations

import mmap
import os
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bentobatch.serving.measures import (
    COUNTERS,
    GAUGES,
    SECONDS,
    STATISTICS_CELLS,
    Cells,
    Histogram,
    Statistics,
    cells_of,
)

STATUSES = (200, 204, 400, 401, 403, 404, 405, 406, 408, 411, 413, 415, 422, 429, 431, 499, 500, 501, 503, 504, 505, 0)
"""Those that are counted apart; 499 is a client that left, 0 any other."""
_PLACES = {status: place for place, status in enumerate(STATUSES)}
OTHERS = ""
"""What the requests to no api are counted under."""

_HEAD = 2
_REQUEST_CELLS = len(STATUSES) + cells_of(SECONDS)
_API_CELLS = _REQUEST_CELLS + STATISTICS_CELLS


class RequestCounts:
    """The requests to one api by their statuses, and what they took."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._lock = threading.Lock()
        self.seconds = Histogram(SECONDS, cells[len(STATUSES) :])

    def add(self, status: int, seconds: float) -> None:
        """A request was answered so, after so long."""
        place = _PLACES.get(status)
        if place is None:
            place = len(STATUSES) - 1
        with self._lock:
            self._cells[place] += 1
            self.seconds.add(seconds)

    def by_status(self) -> dict[int, int]:
        """How many requests had each status; those that none had are left out."""
        return {status: int(self._cells[place]) for place, status in enumerate(STATUSES) if self._cells[place]}


class ApiCounts:
    """All that is counted of one api: ``requests``, and the batcher's ``statistics``."""

    def __init__(self, cells: Cells) -> None:
        self.requests = RequestCounts(cells)
        self.statistics = Statistics(cells[_REQUEST_CELLS:])


class Counts:
    """The counts of a server, of the apis of these names and of all other paths together (OTHERS).

    ``folder``: where the workers' files lie; it must be there, and be the server's own. The file of this process is made
    with the first count, so after a fork.
    """

    def __init__(self, apis: Sequence[str], folder: str | None = None) -> None:
        self._names = (*apis, OTHERS)
        self._folder = None if folder is None else Path(folder)
        self._size = _HEAD + len(self._names) * _API_CELLS
        self._lock = threading.Lock()
        self._made: Mapping[str, ApiCounts] | None = None
        self._memory: Any = None
        self._layout = float(zlib.crc32("\n".join((*self._names, str(self._size))).encode()))

    @property
    def apis(self) -> Mapping[str, ApiCounts]:
        """Where to count, by the names of the apis."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._memory = self._cells()
                    self._made = self._over(self._memory)
        return self._made

    def _cells(self) -> Any:
        if self._folder is None:
            return memoryview(bytearray(self._size * 8)).cast("d")
        file = self._folder / f"{os.getpid()}.counts"
        with file.open("w+b") as stream:
            stream.truncate(self._size * 8)
            cells = memoryview(mmap.mmap(stream.fileno(), self._size * 8)).cast("d")
        cells[1] = os.getpid()
        cells[0] = self._layout  # last: from now on it is whole
        return cells

    def together(self) -> tuple[Mapping[str, ApiCounts], int]:
        """The counts of all workers added up, and how many workers live."""
        _ = self.apis  # so that this one's own file is among them
        if self._folder is None:
            return self._over(list(self._memory)), 1
        found, living = [], 0
        for file in sorted(self._folder.glob("*.counts")):
            cells = np.fromfile(file, dtype=np.float64)
            if len(cells) != self._size or cells[0] != self._layout:
                continue  # of another version of the bundle, or only begun
            if _lives(int(cells[1])):
                living += 1
            else:
                self._forget_gauges(cells)
            found.append(cells)
        return self._over(np.sum(found, axis=0).tolist()), living

    def _over(self, cells: Any) -> Mapping[str, ApiCounts]:
        return {
            name: ApiCounts(cells[_HEAD + place * _API_CELLS : _HEAD + (place + 1) * _API_CELLS])
            for place, name in enumerate(self._names)
        }

    def _forget_gauges(self, cells: np.ndarray[Any, Any]) -> None:
        for place in range(len(self._names)):
            start = _HEAD + place * _API_CELLS + _REQUEST_CELLS + len(COUNTERS)
            cells[start : start + len(GAUGES)] = 0


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
