"""This module reads one whole file: an image of a folder, or a file that a column names.

What is wrong with a single file is an UnreadableError, which costs its row; what is wrong with the job is an error of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bentobatch.errors import DataError, NoInputError
from bentobatch.formats.discover import discover
from bentobatch.formats.source import filesystem_of, is_url, printable, storage_error, storage_errors

MAX_FILE = 1 << 30
"""Bytes of one file; it is read into memory as a whole, and so is what is made of it."""

_OF_THE_FILE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP, errno.ENAMETOOLONG}
)
"""Errors of opening and reading that tell of this file alone, not of the machine."""
_BLOCK = 8 << 20
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class UnreadableError(Exception):
    """One file cannot be read. The text is one line that says why, without the file's name."""


@dataclass(frozen=True, slots=True)  # there may be a million
class FileIdentity:
    """A file as planning saw it: an absolute path or a URL, bytes, and a stamp that changes when the content does."""

    uri: str
    size: int
    stamp: str


def read_planned(file: FileIdentity, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a file that planning has seen.

    Raises:
        UnreadableError: it cannot be read, or is larger than MAX_FILE.
        DataError: it changed, or is gone, since planning.
        StorageError: reading fails for a reason that is not the file's.
    """
    _check_size(file.size)
    if is_url(file.uri):
        _check_url(file, storage_options)
        return _read_url(file.uri, storage_options, size=file.size)
    return _read_local(file.uri, planned=file)


def read_named(uri: str, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a file that a column names; the caller has checked that it may be read. A local path must have no
    links left in it.

    Raises:
        UnreadableError: it is not there, no regular file, cannot be read, or is larger than MAX_FILE.
        StorageError: reading fails for a reason that is not the file's.
    """
    return _read_url(uri, storage_options) if is_url(uri) else _read_local(uri)


def _check_size(size: int) -> None:
    if size > MAX_FILE:
        raise UnreadableError(f"the file has {size:,} bytes; files of up to {MAX_FILE:,} bytes are read as one value")


def _changed(file: FileIdentity, what: str = "changed") -> DataError:
    return DataError(f"{printable(file.uri)}: {what} since planning; run the same command again, which plans anew")


def _read_local(path: str, planned: FileIdentity | None = None) -> bytes:
    """Opened without waiting, so that a pipe that took the file's place cannot hold the job."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if planned is None else 0)
    try:
        with open(os.open(path, flags), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError("not a regular file")
            _check_size(status.st_size)
            if planned is not None and (status.st_size, str(status.st_mtime_ns)) != (planned.size, planned.stamp):
                raise _changed(planned)
            content = stream.read(MAX_FILE + 1)
    except OSError as error:
        if error.errno in _GONE and planned is not None:
            raise _changed(planned, "gone") from error
        if error.errno in _GONE | _OF_THE_FILE:
            raise UnreadableError(error.strerror) from error
        raise storage_error(error, path) from error
    if planned is not None and len(content) != planned.size:
        raise _changed(planned)
    _check_size(len(content))
    return content


def _check_url(file: FileIdentity, storage_options: Mapping[str, Any] | None) -> None:
    if not file.stamp:  # a server that tells none
        return
    try:
        (found,) = discover([file.uri], format="binary_files", storage_options=storage_options)
    except NoInputError as error:
        raise _changed(file, "gone") from error
    if (found.size, found.stamp) != (file.size, file.stamp):
        raise _changed(file)


def _read_all(stream: Any) -> bytes:
    """Up to MAX_FILE + 1 bytes; a stream from a web server gives as much at a time as has come in."""
    parts: list[bytes] = []
    left = MAX_FILE + 1
    while left > 0 and (part := stream.read(min(left, _BLOCK))):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_url(uri: str, storage_options: Mapping[str, Any] | None, *, size: int | None = None) -> bytes:
    fs, path = filesystem_of(uri, storage_options)
    reason = ""
    with storage_errors(uri, storage_options):
        try:
            with fs.open(path, "rb") as stream:
                content = _read_all(stream)
        except FileNotFoundError:
            reason = "No such file"
        except PermissionError:
            reason = "Permission denied"
        except IsADirectoryError:
            reason = "not a regular file"
    if reason:  # raised here, since what leaves the block above becomes an error of the storage
        raise UnreadableError(reason)
    _check_size(len(content))
    if size is not None and len(content) != size:
        raise DataError(f"{printable(uri)}: changed while it was read; run the same command again")
    return content
