"""This module is the chunks of one range on their way to those who read it: decoded once, and kept as files for no longer
than the slowest reader needs them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bentobatch.engine.chunk_files import chunk_to_json, files_of
from bentobatch.formats.base import Chunk

Reader = tuple[str, str]
"""A side, and the digest of one of its plans."""
MOST_AHEAD = 64
MOST_BYTES = 256 << 20
"""The faster side is ahead of the slower one by at most so many chunks of a range, and by one beyond these bytes."""
_LEAST_AHEAD = 2
_LIVE = 10
"""How much longer one that is there is waited for: its model may be slow, but its conversation may also never end."""
_MOMENT = 0.2


class Seat:
    """One conversation with a reader: which of the chunks it has had (it maps each before it asks for the next)."""

    def __init__(self, stream: Stream, reader: Reader) -> None:
        self.stream = stream
        self.reader = reader
        self.asked = 0
        self.handed = 0

    def next(self) -> dict[str, Any] | None:
        """The next chunk of the reader's plan, as JSON values; None past the end."""
        return self.stream.chunk(self)


class _Line:
    """The chunks of one plan that are kept; ``first`` is the position of the first of them, ``size`` their bytes on disk."""

    def __init__(self) -> None:
        self.first = 0
        self.chunks: deque[dict[str, Any]] = deque()
        self.sizes: deque[int] = deque()

    @property
    def end(self) -> int:
        return self.first + len(self.chunks)

    def size_from(self, position: int) -> int:
        return sum(size for number, size in enumerate(self.sizes, self.first) if number >= position)


class Stream:
    """The chunks of one range, for one or more plans, decoded as they are asked for.

    ``absent`` are the readers that have not come yet. A chunk's files go once all who are there have asked for the one after
    it, and nobody is absent. None as ``absent`` keeps all of them until the stream is closed.
    """

    def __init__(
        self,
        key: str,
        chunks: Generator[tuple[int, Chunk], None, None],
        digests: Sequence[str],
        place: str,
        absent: set[Reader] | None,
        *,
        patience: float | None,
    ) -> None:
        self.key = key
        self._absent = absent
        self._seats: set[Seat] = set()
        self._chunks = chunks
        self._digests = digests
        self._place = place
        self._patience = patience
        self._files = 0
        self._lines = {digest: _Line() for digest in digests}
        self._decoding = threading.Lock()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False

    @property
    def awaits(self) -> bool:
        """Whether somebody reads it, or is to come."""
        return bool(self._absent is None or self._absent or self._seats)

    @property
    def in_use(self) -> bool:
        """Whether it goes on: nothing has failed, and somebody is there or is to come."""
        return self._error is None and self.awaits

    def join(self, reader: Reader) -> Seat | None:
        """A seat from the first chunk on; None where that has gone, or reading has failed."""
        with self._changed:
            if self._error is not None or self._lines[reader[1]].first:
                return None
            seat = Seat(self, reader)
            self._seats.add(seat)
            if self._absent is not None:
                self._absent.discard(reader)
            return seat

    def leave(self, seat: Seat) -> None:
        """A conversation has ended; another one of its reader stays."""
        with self._changed:
            self._seats.discard(seat)
            self._drop()
            self._changed.notify_all()

    def chunk(self, seat: Seat) -> dict[str, Any] | None:
        """The next chunk for a seat, or None past the end.

        Raises:
            Exception: whatever decoding raised, for every reader that comes to where it did.
        """
        line = self._lines[seat.reader[1]]
        with self._changed:
            seat.asked = seat.handed
            self._drop()
            self._changed.notify_all()
        while True:
            with self._changed:
                if seat.asked < line.end:
                    seat.handed = seat.asked + 1
                    return line.chunks[seat.asked - line.first]
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return None
                self._let_others_follow(seat)
            with self._decoding:
                if seat.asked >= line.end and self._error is None and not self._ended:
                    self._decode()

    def _decode(self) -> None:
        """One more chunk, of whichever plan is behind; under the lock for it, so that the others may take what there is."""
        try:
            found = next(self._chunks, None)
            if found is None:
                self._ended = True
                return
            digest = self._digests[found[0]]
            with self._changed:
                if not self._wanted(digest):
                    self._lines[digest].first += 1
                    return
            made = chunk_to_json(found[1], self._next_place)
            size = sum(Path(path).stat().st_size for path in files_of(made))
            with self._changed:
                line = self._lines[digest]
                line.chunks.append(made)
                line.sizes.append(size)
                self._drop()  # who wanted it may have left
        except BaseException as error:
            self._error = error
            raise
        finally:
            with self._changed:
                self._changed.notify_all()

    def _let_others_follow(self, seat: Seat) -> None:
        """Wait while the other side is far behind, and never without end: of one that is not there, what is kept for it goes
        then, and it reads anew; for one that is there, more is kept. Nobody waits for a conversation of its own side."""
        if self._absent is None:
            return
        patience = self._patience or 0.0
        since = time.monotonic()
        while self._error is None and not self._ended and seat.asked >= self._lines[seat.reader[1]].end:
            waited = time.monotonic() - since
            absent = {each for each in self._absent if each[0] != seat.reader[0] and self._is_far(each[1], 0)}
            if absent and waited >= patience:
                self._absent -= absent
                self._drop()
                continue
            others = [each for each in self._seats if each.reader[0] != seat.reader[0]]
            late = any(self._is_far(each.reader[1], each.handed) for each in others)
            if not absent and (not late or waited >= patience * _LIVE):
                return
            self._changed.wait(_MOMENT)

    def _is_far(self, digest: str, position: int) -> bool:
        """Whether so much is kept beyond a position that its reader is to catch up first."""
        line = self._lines[digest]
        ahead = line.end - max(position, line.first)
        return ahead >= MOST_AHEAD or (ahead >= _LEAST_AHEAD and line.size_from(position) >= MOST_BYTES)

    def _wanted(self, digest: str) -> bool:
        return self._absent is None or any(
            reader[1] == digest for reader in (*self._absent, *(seat.reader for seat in self._seats))
        )

    def _drop(self) -> None:
        """Remove what everybody has had."""
        if self._absent is None:
            return
        for digest, line in self._lines.items():
            if any(reader[1] == digest for reader in self._absent):
                continue
            asked = min((seat.asked for seat in self._seats if seat.reader[1] == digest), default=line.end)
            while line.first < asked:
                line.first += 1
                line.sizes.popleft()
                _remove(line.chunks.popleft())

    def close(self) -> None:
        """Stop reading, and remove the files."""
        with self._decoding, self._changed:
            self._ended = True
            self._chunks.close()
            for line in self._lines.values():
                for chunk in line.chunks:
                    _remove(chunk)
                line.first = line.end
                line.chunks.clear()
                line.sizes.clear()
            self._changed.notify_all()

    def _next_place(self) -> str:
        self._files += 1
        return f"{self._place}-{self._files}.arrow"


def _remove(chunk: dict[str, Any]) -> None:
    for path in files_of(chunk):
        with suppress(FileNotFoundError):
            Path(path).unlink()
