"""This module finds the files of an input: files, globs, directories and hive-partitioned datasets, local or by URL.

Rules, the same for all kinds: a path that exists is taken literally, before it is tried as a glob. Files are ordered by
the natural sort of their paths (part-2 before part-10) within each input, inputs as given; a file is listed once, or as
often as it was named itself. Below a named root, and where a wildcard matches, names that start with ``_`` or ``.`` are
ignored and symlinked directories are not followed. Whatever else is there must be a regular file: a dangling link, a
pipe or a device stops the job instead of being passed over.

Directories called key=value below the root, or from a glob's first wildcard on, are hive partitions. Keys and values
are URL-decoded; the value HIVE_NULL is kept as it is spelled and stands for null (``chunks`` makes it so).
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from bentobatch.errors import DataError, NoInputError, StorageError, UsageError
from bentobatch.formats.base import InputFile
from bentobatch.formats.source import (
    base_name,
    filesystem_of,
    is_url,
    open_binary,
    printable,
    split_chain,
    storage_errors,
)

EXTENSIONS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".orc": "orc",
    ".txt": "text",
}
"""Extension -> format name. "json" is one document in one file, which the engine reads through the api's adapter."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

_BINARY = frozenset({"parquet", "arrow", "orc"})
_DIGITS = re.compile(r"([0-9]+)")
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True, slots=True)
class _Found:
    """A file, the directories between it and the named root, and whether it was named itself."""

    uri: str
    size: int
    stamp: str
    below: tuple[str, ...] = ()
    explicit: bool = False


def discover(
    inputs: Sequence[str], *, format: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> list[InputFile]:
    """The files that ``inputs`` (paths, globs, directories, URLs of these) stand for, in the order they are scored.

    Raises:
        NoInputError: an input stands for no file, or a link leads nowhere.
        DataError: something that is no regular file, or files of different formats.
        UsageError: a format cannot be told from the extension and ``format`` is None; an unknown URL scheme.
        StorageError: a directory or a bucket cannot be listed.
    """
    files = [_typed(found, format) for found in _chosen(inputs, storage_options)]
    other = next((file for file in files if file.format != files[0].format), None)
    if other is not None:
        both = f"{printable(files[0].uri)} and {printable(other.uri)}"
        raise DataError(f"mixed formats: {both}: give files of one format, or say which with --format")
    return files


@dataclass(frozen=True, slots=True)  # there may be a million
class FoundFile:
    """A file whatever its format. ``path`` is its path below the input that it was found in, or its name if it was
    ``explicit``, named itself; ``format`` is what its extension tells, None where that is nothing."""

    uri: str
    size: int
    stamp: str
    path: str
    explicit: bool
    format: str | None


def discover_any(inputs: Sequence[str], *, storage_options: Mapping[str, Any] | None = None) -> list[FoundFile]:
    """The files that ``inputs`` stand for, of all formats and none, by the rules of ``discover`` and in its order.

    Raises:
        NoInputError, DataError, UsageError, StorageError: as ``discover``, but for formats.
    """
    return [
        FoundFile(
            found.uri,
            found.size,
            found.stamp,
            "/".join((*found.below, base_name(found.uri))),
            found.explicit,
            _format_and_compression(found.uri)[0],
        )
        for found in _chosen(inputs, storage_options)
    ]


def _chosen(inputs: Sequence[str], storage_options: Mapping[str, Any] | None) -> list[_Found]:
    if not inputs:
        raise NoInputError("no input was given: name a file, a glob, a directory or a URL")
    chosen: list[_Found] = []
    listed: set[str] = set()
    named: set[str] = set()
    for given in [inputs] if isinstance(inputs, str) else inputs:
        for found in sorted(_find(given, storage_options), key=_natural):
            if found.uri not in listed or (found.explicit and found.uri in named):
                chosen.append(found)
                listed.add(found.uri)
            if found.explicit:
                named.add(found.uri)
    return chosen


def _natural(found: _Found) -> tuple[list[Any], str]:
    pieces: list[Any] = _DIGITS.split(found.uri)
    pieces[1::2] = [int(digits) for digits in pieces[1::2]]
    return pieces, found.uri


def _find(given: str, storage_options: Mapping[str, Any] | None) -> list[_Found]:
    if not given or "\0" in given:
        raise UsageError(f"not a path: {given!r}")
    if given.startswith(("file://", "local://")):
        given = given.partition("://")[2]
        if not given.startswith("/"):
            raise UsageError(f"not an absolute path: file://{printable(given)}: write file:///path, or the path alone")
    found = list(_remote(given, storage_options) if is_url(given) else _local(given))
    if not found:
        raise NoInputError(f"no input files in {printable(given)} (names that start with _ or . are ignored)")
    return found


def _typed(found: _Found, format: str | None) -> InputFile:
    known, compression = _format_and_compression(found.uri)
    known = format or known
    if known is None:
        text = ", ".join(sorted(set(EXTENSIONS.values())))
        raise UsageError(f"{printable(found.uri)}: its extension tells no format: give --format (one of {text})")
    if known in _BINARY:
        if compression is not None and format is None:
            raise DataError(f"{printable(found.uri)}: a {known} file cannot be read compressed: unpack it first")
        compression = None
    return InputFile(found.uri, found.size, found.stamp, known, compression, _partition(found))


def _format_and_compression(uri: str) -> tuple[str | None, str | None]:
    """What the extensions of a file's name tell."""
    stem, dot, suffix = base_name(uri).casefold().rpartition(".")
    compression = COMPRESSIONS.get(dot + suffix)
    if compression is not None:
        stem, dot, suffix = stem.rpartition(".")
    return EXTENSIONS.get(dot + suffix), compression


def _partition(found: _Found) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for part in found.below:
        key, equals, value = part.partition("=")
        if not key or not equals:
            continue
        key, value = unquote(key), unquote(value)
        if key in pairs:
            raise DataError(f"{printable(found.uri)}: the partition {printable(key)} stands in its path twice")
        if not (key + value).isascii():
            _check_utf8(key + value, found.uri)
        pairs[key] = value
    return tuple(pairs.items())


def _check_utf8(text: str, uri: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{printable(uri)}: a partition directory's name is not UTF-8") from error


# -- local paths --------------------------------------------------------------------------------------------------


def _local(given: str) -> Iterator[_Found]:
    path = _absolute(given)
    status = _status(given)
    if status is not None:
        return _walk(path, ()) if stat.S_ISDIR(status.st_mode) else iter([_regular(path, status, (), explicit=True)])
    if not os.path.islink(given) and _is_pattern(given):
        return _expand(path)
    raise NoInputError(f"No such file or directory: {printable(given)}")


def _absolute(path: str) -> str:
    if ".." not in path.split("/"):
        return os.path.abspath(path)
    return os.path.abspath(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))


def _status(path: str) -> os.stat_result | None:
    """What stands at ``path`` (links followed), or None for nothing."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise StorageError(f"cannot read {printable(path)}: {error.strerror}") from error


def _regular(path: str, status: os.stat_result, below: tuple[str, ...], *, explicit: bool = False) -> _Found:
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"not a regular file: {printable(path)}: only regular files are read")
    return _Found(path, status.st_size, str(status.st_mtime_ns), below, explicit)


def _is_pattern(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with storage_errors(directory), os.scandir(directory) as entries:
        return list(entries)


def _walk(directory: str, below: tuple[str, ...]) -> Iterator[_Found]:
    for entry in _entries(directory):
        if not entry.name.startswith(("_", ".")):
            yield from _take(entry, below)


def _take(entry: os.DirEntry[str], below: tuple[str, ...]) -> Iterator[_Found]:
    """The file at ``entry``, or the files below it; ``below`` are the directories from the root to the entry."""
    if entry.is_dir(follow_symlinks=False):
        yield from _walk(entry.path, (*below, entry.name))
        return
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in _ABSENT:
            raise StorageError(f"cannot read {printable(entry.path)}: {error.strerror}") from error
        raise NoInputError(
            f"No such file or directory: {printable(entry.path)} is a link that leads nowhere"
        ) from error
    if not stat.S_ISDIR(status.st_mode):  # else a link to a directory
        yield _regular(entry.path, status, below)


def _expand(pattern: str) -> Iterator[_Found]:
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if _is_pattern(part))
    root = "/".join(parts[:first]) or "/"
    status = _status(root)
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise NoInputError(f"No such file or directory: {printable(root)}")
    return _match(root, parts[first:], ())


def _match(directory: str, pattern: list[str], below: tuple[str, ...]) -> Iterator[_Found]:
    """The files below ``directory`` that ``pattern``, one item for each level, stands for."""
    part, rest = pattern[0], pattern[1:]
    if not _is_pattern(part):
        yield from _match_literal(os.path.join(directory, part), part, rest, below)
        return
    if part == "**":
        yield from _match(directory, rest or ["*"], below)
        rest = pattern
    for entry in _entries(directory):
        if not _matches(entry.name, part):
            continue
        if not rest:
            yield from _take(entry, below)
        elif entry.is_dir(follow_symlinks=False):
            yield from _match(entry.path, rest, (*below, entry.name))


def _match_literal(path: str, name: str, rest: list[str], below: tuple[str, ...]) -> Iterator[_Found]:
    status = _status(path)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        if not rest:
            yield _regular(path, status, below)
    elif rest:
        yield from _match(path, rest, (*below, name))
    else:
        yield from _walk(path, (*below, name))


def _matches(name: str, part: str) -> bool:
    if name.startswith(("_", ".")) and not part.startswith(name[0]):
        return False
    return fnmatch.fnmatchcase(name, part)


# -- URLs ---------------------------------------------------------------------------------------------------------


def _remote(given: str, storage_options: Mapping[str, Any] | None) -> Iterator[_Found]:
    fs, path = filesystem_of(given, storage_options)
    with storage_errors(given, storage_options):
        fs.invalidate_cache()  # a listing that an earlier job left in this process may be old
        info = _info(fs, path)
        folder = given.partition("?")[0].endswith("/") or (info is not None and info["type"] == "directory")
        if info is not None and not folder:
            size = info.get("size")
            found = _Found(given, -1 if size is None else int(size), _stamp(info), explicit=True)
            return iter([found if size is not None else _measured(found, storage_options)])
        if info is None and _is_pattern(given):
            root, pattern = _split_pattern(given)
            infos = _globbed(fs, path)
        elif folder:
            root, pattern = given, []
            infos = fs.find(path, detail=True)
        else:
            raise NoInputError(f"No such file or directory: {printable(given)}")
    root_path = filesystem_of(root, storage_options)[1]
    return _remote_files(root, root_path, pattern, infos)


def _info(fs: Any, path: str) -> dict[str, Any] | None:
    try:
        return dict(fs.info(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _measured(found: _Found, storage_options: Mapping[str, Any] | None) -> _Found:
    """``found`` with its size, from a server that does not tell it."""
    with open_binary(InputFile(found.uri, 0, found.stamp, ""), storage_options) as stream:
        size = stream.seek(0, os.SEEK_END)
    return _Found(found.uri, size, found.stamp, found.below, found.explicit)


def _stamp(info: Mapping[str, Any]) -> str:
    value = next((info[key] for key in _STAMPS if info.get(key)), "")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _globbed(fs: Any, path: str) -> dict[str, Any]:
    infos: dict[str, Any] = {}
    for name, info in fs.glob(path, detail=True).items():
        infos.update(fs.find(name, detail=True) if info["type"] == "directory" else {name: info})
    return infos


def _split_pattern(url: str) -> tuple[str, list[str]]:
    """The URL above the first wildcard, and the levels of the pattern below it."""
    head, tail = split_chain(url)
    start = head.index("://") + 3
    parts = head[start:].split("/")
    first = next(index for index, part in enumerate(parts) if _is_pattern(part))
    return head[:start] + "/".join(parts[:first]) + tail, parts[first:]


def _remote_files(root: str, root_path: str, pattern: list[str], infos: Mapping[str, Any]) -> Iterator[_Found]:
    head, tail = split_chain(root)
    head = head if head.endswith("/") else head + "/"
    for path, info in infos.items():
        relative = path[len(root_path) :].lstrip("/") if path.startswith(root_path) else path.lstrip("/")
        parts = relative.split("/")
        if info["type"] != "file" or not parts[-1] or _is_hidden(parts, pattern):
            continue
        yield _Found(head + relative + tail, int(info.get("size") or 0), _stamp(info), tuple(parts[:-1]))


def _is_hidden(parts: list[str], pattern: list[str]) -> bool:
    """Whether a level is called ``_…`` or ``.…`` and the pattern does not ask for that by its own first character."""
    asked = dict(enumerate(pattern)) if "**" not in pattern else {}
    return any(part.startswith(("_", ".")) and asked.get(level, "")[:1] != part[0] for level, part in enumerate(parts))
