"""This module reads one range of a file for both sides at once, and keeps its chunks as files until both have had them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.comparison.stream import Reader, Seat, Stream
from bentobatch.formats.base import Format, InputFile, Range, ReadPlan

PATIENCE = 30.0
"""Seconds that the faster side waits, far ahead in a range, for one that has not begun it; that one then reads it anew."""


class Streams:
    """The streams of both sides. Once ``plans`` are known, a range is read for all of them in one go.

    ``patience`` is how long one side waits for another that has not begun a range, in seconds; None where no side waits for
    another at all, since its workers have a time limit.
    """

    def __init__(
        self, folder: Path, storage_options: Mapping[str, Any] | None, *, patience: float | None = PATIENCE
    ) -> None:
        self.plans: dict[str, ReadPlan] | None = None
        self.readers: set[Reader] = set()
        self._folder = folder
        self._storage_options = storage_options
        self._patience = patience
        self._lock = threading.Lock()
        self._open: dict[str, Stream] = {}
        self._done: dict[str, set[Reader]] = {}
        self._made = 0

    def settle(self, plans: Mapping[str, ReadPlan], readers: set[Reader]) -> None:
        """Take the plans that both sides have made, and who will read each range (nobody, where the sides cut differently);
        what was read for making them is not needed any more."""
        with self._lock:
            if self.plans is not None:
                return
            self.plans, self.readers = dict(plans), readers
            probes, self._open = list(self._open.values()), {}
        for stream in probes:
            stream.close()

    def open(self, key: str, reader: Reader, plan: ReadPlan, format: Format, file: InputFile, piece: Range) -> Seat:
        """A seat at the stream of a range for one of a side's plans; ``done`` ends it."""
        with self._lock:
            settled = self.plans is not None and reader[1] in self.plans
            plans = dict(self.plans or {}) if settled else {reader[1]: plan}
            if not settled:
                key = f"{key} {reader[1]}"
            stream = self._open.get(key)
            seat = None if stream is None else stream.join(reader)
            if seat is not None:
                return seat
            absent: set[Reader] | None = None
            if self.plans is not None:
                # where chunks have gone already, the others go on with the old stream and this one is for the late one alone
                alone = not settled or (stream is not None and stream.in_use)
                absent = set() if alone else self.readers - self._done.get(key, set()) - {reader}
            chunks = format.read_each(file, piece, list(plans.values()), self._storage_options)
            self._made += 1
            place = str(self._folder / str(self._made))
            made = Stream(key, chunks, list(plans), place, absent, patience=self._patience)
            if stream is None or not stream.in_use:
                self._open[key] = made
            seat = made.join(reader)
            assert seat is not None
            return seat

    def done(self, seat: Seat) -> None:
        """A side has ended reading a range, or its worker has; one that comes back reads anew."""
        stream = seat.stream
        with self._lock:
            self._done.setdefault(stream.key, set()).add(seat.reader)
            stream.leave(seat)
            if stream.awaits:
                return
            if self._open.get(stream.key) is stream:
                del self._open[stream.key]
        stream.close()
