"""This module lets files of a few rows share a split: what a split and a call of the model cost by themselves would be
most of what thousands of such files cost.

Where a group ends depends on the names in it, so that one more file in a directory changes one group, and the finished
splits of the others are taken over. Fewer than MANY_FILES of them have a split each, and so has every file of a job that
only adds to an output: there, a file that changes later is to be replaced alone.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bentobatch import plugins
from bentobatch.engine.job import digest_of
from bentobatch.formats.base import FileScan, Format, InputFile, Range
from bentobatch.formats.file_groups import NAME, FileGroupFormat, Member

MANY_FILES = 256
SMALL_ROWS = 8_192
GROUP_ROWS = 65_536
"""A group has no more rows, and so is one call of a model that takes the default of rows a call."""
GROUP_FILES = 128
_GROUP_BYTES = 64 << 20
_MARKS = 16
"""One name in so many ends a group that is at least half full."""

Groups = Mapping[str, tuple[Member, ...]]


def format_of(file: InputFile, groups: Groups, *, on_file: Callable[[str], None] | None = None) -> Format:
    """What reads a file of a plan; ``on_file`` is told of the members of a group before each is read."""
    if file.format == NAME:
        return FileGroupFormat(groups[file.uri], on_file)
    return plugins.find("formats", file.format)()  # type: ignore[no-any-return]


@dataclass
class Shared:
    """Files and scans of a job with small files put together; ``labels`` is what to call a group."""

    files: list[InputFile]
    scans: list[FileScan]
    groups: dict[str, tuple[Member, ...]]
    labels: dict[str, str]


def share_splits(files: Sequence[InputFile], scans: Sequence[FileScan], *, split_rows: int) -> Shared:
    """Put consecutive small files together where there are many; a split of a group has at most ``split_rows`` rows."""
    most = min(GROUP_ROWS, split_rows)
    small = [_is_small(scan, min(SMALL_ROWS, most // 2)) for scan in scans]
    if sum(small) < MANY_FILES:
        return Shared(list(files), list(scans), {}, {})
    shared = Shared([], [], {}, {})
    for start, stop in _runs(files, scans, small, most):
        if stop - start == 1:
            shared.files.append(files[start])
            shared.scans.append(scans[start])
        else:
            _add(shared, files[start:stop], scans[start:stop])
    return shared


def _is_small(scan: FileScan, rows: int) -> bool:
    return len(scan.ranges) <= 1 and scan.rows <= rows


def _runs(
    files: Sequence[InputFile], scans: Sequence[FileScan], small: Sequence[bool], most: int
) -> Iterator[tuple[int, int]]:
    """Half-open ranges of files: large ones alone, small ones together."""
    start, rows, size = 0, 0, 0.0
    for index, (file, scan) in enumerate(zip(files, scans, strict=True)):
        held = index - start
        bytes_ = scan.rows * scan.row_bytes
        full = rows + scan.rows > most or held >= GROUP_FILES or size + bytes_ > _GROUP_BYTES
        if held and (full or not small[index]):
            yield start, index
            start, rows, size = index, 0, 0.0
        rows, size = rows + scan.rows, size + bytes_
        half = rows >= most // 2 or index + 1 - start >= GROUP_FILES // 2
        if not small[index] or (half and zlib.crc32(os.fsencode(file.uri)) % _MARKS == 0):
            yield start, index + 1
            start, rows, size = index + 1, 0, 0.0
    if start < len(files):
        yield start, len(files)


def _add(shared: Shared, files: Sequence[InputFile], scans: Sequence[FileScan]) -> None:
    members = tuple(
        Member(file, scan.rows, scan.ranges[0] if scan.ranges else None)
        for file, scan in zip(files, scans, strict=True)
    )
    group = group_of(members)
    rows = sum(scan.rows for scan in scans)
    size = sum(scan.rows * scan.row_bytes for scan in scans)
    ranges = (Range(0, len(members), rows, 0),) if rows else ()
    shared.files.append(group)
    # the columns are settled by now: nobody asks for a group's own
    shared.scans.append(FileScan(rows, pa.schema([]), ranges, size / rows if rows else 0.0))
    shared.groups[group.uri] = members
    shared.labels[group.uri] = f"{files[0].uri} and {len(files) - 1} more"


def group_of(members: Sequence[Member]) -> InputFile:
    """A group as a file; it is another one when any of its members is."""
    digest = digest_of([member.to_json() for member in members])
    return InputFile(f"group/{digest[:32]}", sum(member.file.size for member in members), f"sha256:{digest}", NAME)
