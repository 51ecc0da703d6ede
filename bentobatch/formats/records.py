"""This module finds where the records of a text begin and end, with numpy instead of a loop over bytes or rows.

A record is a line, except that a CSV field which starts with a quote may hold line ends (RFC 4180, quotes doubled).
Line ends are LF, CRLF and CR in CSV and plain text, LF and CRLF in JSON lines (where a CR is white space).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions: TypeAlias = "npt.NDArray[np.int64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"

LF, CR, QUOTE = 10, 13, 34
_NONE: Positions = np.zeros(0, np.int64)


class UnclosedQuoteError(Exception):
    """A quoted field is still open where the text ends; ``position`` is that of the quote that opened it."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


@dataclass(frozen=True)
class Records:
    """Consecutive rows of a text, by their positions in ``data``; blank lines between them count as no row.

    ``starts``, ``stops`` (without the line end) and ``ends`` (with it) have one entry for each row. ``lines`` are
    physical lines, from 1. ``offset`` is the position of ``data[0]`` in the file. ``malformed`` are the indices of
    CSV rows with text between a closing quote and the next delimiter.
    """

    data: bytes
    offset: int
    starts: Positions
    stops: Positions
    ends: Positions
    lines: Positions
    malformed: Positions = field(default_factory=lambda: _NONE)

    def __len__(self) -> int:
        return len(self.starts)

    def row(self, index: int) -> bytes:
        """The bytes of one row, without its line end."""
        return self.data[self.starts[index] : self.stops[index]]

    def longest(self) -> int:
        """The bytes from the start of a row to that of the next one, where that is most."""
        return int(np.diff(self.starts, append=self.ends[-1:]).max()) if len(self) else 0

    def are_lines(self) -> bool:
        """Whether each row is one line that LF ends, with no blank line between them."""
        rows = len(self)
        return (
            rows > 0
            and int(self.lines[-1] - self.lines[0]) == rows - 1
            and b"\n" not in self.row(rows - 1)
            and b"\r" not in self.body()
        )

    def body(self) -> bytes:
        """The bytes from the first row's first to the last row's line end."""
        return self.data[self.starts[0] : self.ends[-1]] if len(self) else b""

    def part(self, first: int, last: int) -> Records:
        """The rows ``first`` to ``last`` (half open), without a copy of the data."""
        inside = self.malformed[(self.malformed >= first) & (self.malformed < last)] - first
        return Records(
            self.data,
            self.offset,
            self.starts[first:last],
            self.stops[first:last],
            self.ends[first:last],
            self.lines[first:last],
            inside,
        )

    def only(self, keep: Mask) -> Records:
        """The rows in ``keep``, with nothing between them in ``data``; meant for a few of many."""
        sizes = np.cumsum(np.concatenate((_NONE, [0], (self.ends - self.starts)[keep])))
        places = zip(self.starts[keep].tolist(), self.ends[keep].tolist(), strict=True)
        return Records(
            b"".join([self.data[start:stop] for start, stop in places]),
            self.offset,
            sizes[:-1],
            sizes[:-1] + (self.stops - self.starts)[keep],
            sizes[1:],
            self.lines[keep],
            np.searchsorted(np.flatnonzero(keep), self.malformed[keep[self.malformed]]),
        )

    def select(self, keep: Mask) -> bytes:
        """The bytes of the rows in ``keep``, with their line ends, and nothing between them."""
        if keep.all() and len(self):
            return self.body()
        return _gather(self.data, self.starts[keep], self.ends[keep])


def concatenate(parts: Sequence[Records]) -> Records:
    """The rows of ``parts``, which follow one another in the file, as one; ``data`` is the body of it and no more."""
    if len(parts) == 1 and len(parts[0].data) == len(parts[0].body()):
        return parts[0]
    bodies = [memoryview(part.data)[part.starts[0] : part.ends[-1]] for part in parts]
    sizes = np.cumsum([0, *(len(body) for body in bodies)])
    shifts = [size - part.starts[0] for size, part in zip(sizes, parts, strict=False)]
    counts = np.cumsum([0, *(len(part) for part in parts)])
    return Records(
        b"".join(bodies),
        parts[0].offset + int(parts[0].starts[0]),
        np.concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.stops + shift for part, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.lines for part in parts]),
        np.concatenate([part.malformed + count for part, count in zip(parts, counts, strict=False)]),
    )


Splitter: TypeAlias = Callable[[bytes, bool], "tuple[Records, int, int]"]
"""(data, whether the text ends here) -> rows, bytes used, line ends passed. ``data`` starts at a record's start and,
where the text ends here, with a line end; the bytes that were not used are the start of a record to come. ``lines`` of
the result count from 0. Raises UnclosedQuoteError."""


def split_text(data: bytes, at_end: bool) -> tuple[Records, int, int]:
    """Splitter of plain text: every line is a row, a blank one too."""
    codes = np.frombuffer(data, np.uint8)
    ends = _line_ends(data, codes, at_end)
    return _records(data, codes, ends, np.arange(len(ends)), keep_blank=True), *_used(ends)


def split_json_lines(data: bytes, at_end: bool) -> tuple[Records, int, int]:
    """Splitter of JSON lines: a line of white space alone is no row."""
    del at_end  # a CR that the block cuts off is white space in any case
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes == LF) + 1
    records = _records(data, codes, ends, np.arange(len(ends)))
    blank = [
        index
        for index in np.flatnonzero(codes[records.starts] <= 32).tolist()  # 32 and below: begins with white space
        if records.row(index).isspace()
    ]
    if blank:
        keep = np.ones(len(records), bool)
        keep[blank] = False
        records = Records(data, 0, records.starts[keep], records.stops[keep], records.ends[keep], records.lines[keep])
    return records, *_used(ends)


def split_csv(delimiter: int) -> Splitter:
    """The splitter of CSV with this delimiter (the code of one ASCII character)."""

    def split(data: bytes, at_end: bool) -> tuple[Records, int, int]:
        codes = np.frombuffer(data, np.uint8)
        line_ends = _line_ends(data, codes, at_end)
        if b'"' not in data:
            return _records(data, codes, line_ends, np.arange(len(line_ends))), *_used(line_ends)
        quotes = quote_positions(data, codes, delimiter)
        ends = line_ends[(np.searchsorted(quotes, line_ends) & 1) == 0]
        used, _ = _used(ends)
        if at_end and used < len(data):
            raise UnclosedQuoteError(int(quotes[-1]))
        begins = np.concatenate((_NONE, [0], ends[:-1])) if len(ends) else _NONE
        lines = np.searchsorted(line_ends, begins, "right")
        records = _records(data, codes, ends, lines)
        records = replace(records, malformed=_malformed(codes, quotes, delimiter, used, records.starts))
        return records, used, int(np.searchsorted(line_ends, used, "right"))

    return split


def quote_positions(data: bytes, codes: npt.NDArray[np.uint8], delimiter: int) -> Positions:
    """Where a quoted field opens and closes, by turns; ``data`` starts at a record's start.

    A doubled quote counts as closing and opening again. A quote inside an unquoted field is text and not listed.
    """
    quotes = np.flatnonzero(codes == QUOTE)
    opening = quotes[0::2]
    before = codes[opening - 1]  # for position 0 this is the last byte, and overruled below
    legal = (before == delimiter) | (before == LF) | (before == CR) | (before == QUOTE) | (opening == 0)
    if legal.all():
        return quotes
    first = 2 * int(np.flatnonzero(~legal)[0])
    return np.concatenate((quotes[:first], _walk(data, quotes[first:].tolist(), int(quotes[first - 1]), delimiter)))


def _walk(data: bytes, quotes: list[int], closed: int, delimiter: int) -> Positions:
    """quote_positions one quote at a time, from outside a quoted field; the last one closed at ``closed``."""
    found = []
    inside = False
    for position in quotes:
        if inside:
            inside, closed = False, position
        elif position == 0 or position - 1 == closed or data[position - 1] in (delimiter, LF, CR):
            inside = True
        else:
            continue
        found.append(position)
    return np.array(found, np.int64)


def _malformed(
    codes: npt.NDArray[np.uint8], quotes: Positions, delimiter: int, used: int, starts: Positions
) -> Positions:
    closing = quotes[1::2]
    closing = closing[closing < used]
    after = codes[closing + 1]  # exists: a line end follows somewhere before ``used``
    stray = closing[(after != delimiter) & (after != LF) & (after != CR) & (after != QUOTE)]
    return np.unique(np.searchsorted(starts, stray, "right") - 1)


def _line_ends(data: bytes, codes: npt.NDArray[np.uint8], at_end: bool) -> Positions:
    ends = np.flatnonzero(codes == LF) + 1
    if b"\r" not in data:
        return ends
    returns = np.flatnonzero(codes == CR)
    if not at_end and returns[-1] == len(data) - 1:  # its LF may be in the next block
        returns = returns[:-1]
    after = codes[np.minimum(returns + 1, len(data) - 1)]
    return np.sort(np.concatenate((ends, returns[after != LF] + 1)))


def _used(ends: Positions) -> tuple[int, int]:
    return (int(ends[-1]), len(ends)) if len(ends) else (0, 0)


def _records(
    data: bytes, codes: npt.NDArray[np.uint8], ends: Positions, lines: Positions, *, keep_blank: bool = False
) -> Records:
    """Rows from the ends of all records, blank ones left out."""
    if not len(ends):
        return Records(data, 0, _NONE, _NONE, _NONE, _NONE)
    starts = np.concatenate((_NONE, [0], ends[:-1]))
    stops = ends - 1
    if b"\r" in data:
        before = codes[np.maximum(stops - 1, 0)]
        stops = stops - ((codes[stops] == LF) & (before == CR) & (stops > starts))
    if not keep_blank:
        full = stops > starts
        if not full.all():
            starts, stops, ends, lines = starts[full], stops[full], ends[full], lines[full]
    return Records(data, 0, starts, stops, ends, lines)


def _gather(data: bytes, starts: Positions, stops: Positions) -> bytes:
    """The pieces of ``data`` from each start to its stop, joined."""
    if not len(starts):
        return b""
    marks = np.zeros(len(data) + 1, np.int8)
    marks[starts] += 1
    marks[stops] -= 1
    keep = np.cumsum(marks[:-1], dtype=np.int8).view(np.bool_)
    return bytes(np.frombuffer(data, np.uint8)[keep])


def line_column(records: Records) -> Any:
    """The rows as one pyarrow large_binary array, line ends left out."""
    offsets = np.zeros(len(records) + 1, np.int64)
    np.cumsum(records.stops - records.starts, out=offsets[1:])
    body = _gather(records.data, records.starts, records.stops)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(records), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(body)]
    )
