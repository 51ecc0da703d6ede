"""This module packs a bundle into a .tar.gz as a stream of blocks, without a copy of it: for the server and its client.

What reads it again is bundle/archives.py. Names and contents go in; owners, times and modes of the files do not.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bentobatch.bundle import layout
from bentobatch.bundle.manifest import Manifest
from bentobatch.errors import BundleError

_BLOCK = 1 << 18
_TAR_BLOCK = 512
_LEVEL = 1
"""Models seldom shrink, and the network is often faster than a higher level."""
_GZIP = 31
"""zlib's window size with a gzip header."""


@dataclass(frozen=True)
class Member:
    """One file: its relative path, its size in bytes, and what opens it."""

    path: str
    size: int
    open: Callable[[], BinaryIO]


def members_of(folder: Path, manifest: Manifest) -> list[Member]:
    """The files of the bundle in ``folder`` that its manifest lists, the manifest first, and its signatures.

    Raises:
        BundleError: a file is missing, or cannot be one of a bundle.
    """
    more = [layout.SIGNATURES] if os.path.lexists(folder / layout.SIGNATURES) else []
    found = []
    for path in (layout.MANIFEST, *more, *sorted(manifest.files)):
        with layout.open_member(folder, path) as stream:
            size = os.fstat(stream.fileno()).st_size
        found.append(Member(path, size, lambda path=path: layout.open_member(folder, path)))  # type: ignore[misc]
    return found


def packed(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of the archive. A file is opened when its turn has come.

    Raises, while it is read:
        BundleError: a file is gone, or has another size than was said: the archive stays without an end.
    """
    gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for block in _tarred(members):
        data = gzip.compress(block)
        if data:
            yield data
    yield gzip.flush()


def _tarred(members: Iterable[Member]) -> Iterator[bytes]:
    for member in members:
        header = tarfile.TarInfo(member.path)
        header.size, header.mode = member.size, 0o644
        yield header.tobuf(tarfile.PAX_FORMAT)
        left = member.size
        with member.open() as stream:
            while block := stream.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    break
                yield block
        if left:
            raise BundleError(f"the file {member.path} of the bundle has changed while it was read; try again")
        yield bytes(-member.size % _TAR_BLOCK)
    yield bytes(2 * _TAR_BLOCK)
