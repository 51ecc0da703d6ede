"""This module reads one range of a file for both sides at once, and keeps its chunks as files until both have had them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bentobatch.engine.chunk_files import chunk_to_json
from bentobatch.formats.base import Chunk, Format, InputFile, Range, ReadPlan

Reader = tuple[str, str]
"""A side, and the digest of one of its plans."""


class Stream:
    """The chunks of one range, for one or more plans. They are decoded as the first side asks for them, and ``awaited`` are
    the readers that have not ended yet: with the last of them the files go. None waits for an end of the planning."""

    def __init__(
        self, chunks: Iterator[tuple[int, Chunk]], digests: Sequence[str], folder: Path, awaited: set[Reader] | None
    ) -> None:
        self.awaited = awaited
        self.failed = False
        self._chunks = chunks
        self._digests = digests
        self._folder = folder
        self._numbers = itertools.count()
        self._held: dict[str, list[dict[str, Any]]] = {digest: [] for digest in digests}
        self._lock = threading.Lock()
        self._paths: list[str] = []
        self._ended = False

    def chunk(self, digest: str, position: int) -> dict[str, Any] | None:
        """The chunk at a position for a plan, as JSON values; None past the end."""
        with self._lock:
            held = self._held[digest]
            while len(held) <= position and not self._ended:
                try:
                    found = next(self._chunks, None)
                    if found is None:
                        self._ended = True
                        break
                    index, chunk = found
                    self._held[self._digests[index]].append(chunk_to_json(chunk, self._place))
                except BaseException:
                    self.failed = self._ended = True
                    raise
            return held[position] if len(held) > position else None

    def close(self) -> None:
        """Stop reading, and remove the files."""
        with self._lock:
            self._ended = True
            self._chunks.close()  # type: ignore[attr-defined]
            for path in self._paths:
                with suppress(FileNotFoundError):
                    Path(path).unlink()

    def _place(self) -> str:
        path = str(self._folder / f"{id(self)}-{next(self._numbers)}.arrow")
        self._paths.append(path)
        return path


class Streams:
    """The streams of both sides. Once ``plans`` are known, a range is read for all of them in one go."""

    def __init__(self, folder: Path, storage_options: Mapping[str, Any] | None) -> None:
        self.plans: dict[str, ReadPlan] | None = None
        self.readers: set[Reader] = set()
        self._folder = folder
        self._storage_options = storage_options
        self._lock = threading.Lock()
        self._open: dict[str, Stream] = {}
        self._done: dict[str, set[Reader]] = {}

    def settle(self, plans: Mapping[str, ReadPlan], readers: set[Reader]) -> None:
        """Take the plans that both sides have made; what was read for making them is not needed any more."""
        with self._lock:
            if self.plans is not None:
                return
            self.plans, self.readers = dict(plans), readers
            probes, self._open = list(self._open.values()), {}
        for stream in probes:
            stream.close()

    def open(
        self, key: str, reader: Reader, plan: ReadPlan, format: Format, file: InputFile, piece: Range
    ) -> tuple[str, Stream]:
        """The stream of a range for one of a side's plans, with the key that ``done`` takes."""
        with self._lock:
            settled = self.plans is not None and reader[1] in self.plans
            plans = dict(self.plans or {}) if settled else {reader[1]: plan}
            if not settled:
                key = f"{key} {reader[1]}"
            stream = self._open.get(key)
            if stream is None or stream.failed:
                chunks = format.read_each(file, piece, list(plans.values()), self._storage_options)
                awaited = None
                if settled:
                    awaited = self.readers - self._done.get(key, set()) | {reader}
                elif self.plans is not None:
                    awaited = {reader}
                stream = self._open[key] = Stream(chunks, list(plans), self._folder, awaited)
            elif stream.awaited is not None:
                stream.awaited.add(reader)  # its worker was lost, and another one begins anew
            return key, stream

    def done(self, key: str, reader: Reader, stream: Stream) -> None:
        """A side has ended reading a range, or its worker has; one that comes back reads anew."""
        with self._lock:
            self._done.setdefault(key, set()).add(reader)
            if stream.awaited is None:
                return
            stream.awaited.discard(reader)
            if stream.awaited:
                return
            if self._open.get(key) is stream:
                del self._open[key]
        stream.close()
