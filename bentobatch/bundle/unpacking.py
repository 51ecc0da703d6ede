"""This module writes what an archive holds into a folder: regular files and folders only, every name checked, bounded.

The names come from a stranger. Each one is judged as text first (``Unpacked.claim``), and each file is then opened
relative to the descriptor of its folder, without following a link and never over something that is there, so that no
mistake in the judgement leads out of the folder either.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from bentobatch.bundle.layout import path_fault
from bentobatch.errors import BundleError

MAX_PART = 255
MAX_DEPTH = 64
"""Folders inside each other. A chain of hundreds fits into a path of 1,024 bytes, and breaks tools that recurse."""

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Limits:
    """What a bundle from elsewhere may cost; one that costs more is refused before it has cost it.

    ``bytes``: of the archive as it is fetched, and of its content. ``ratio``: how many times the archive's size its
    content may have; up to ``free`` bytes every archive may have. ``members``: files and folders.
    """

    bytes: int = 20 << 30
    ratio: int = 100
    free: int = 256 << 20
    members: int = 50_000

    def unpacked(self, packed: int) -> int:
        """How many bytes an archive of ``packed`` bytes may hold."""
        return min(self.bytes, max(self.free, self.ratio * packed))


LIMITS = Limits()


def name_fault(name: str) -> str | None:
    """Why an archive's member cannot have this name (its folder's final "/" removed), or None when it can."""
    if re.match(r"[/\\]|[A-Za-z]:", name):
        return "is an absolute path"
    fault = path_fault(name)
    if fault:
        return fault
    parts = name.split("/")
    if len(parts) > MAX_DEPTH:
        return f"has more than {MAX_DEPTH} folders inside each other"
    for part in parts:
        if len(part.encode()) > MAX_PART:
            return f"has a part longer than {MAX_PART} bytes"
        if _DEVICE.fullmatch(part) or _DRIVE.match(part):
            return "is the name of a device on other systems"
    return None


class Unpacked:
    """The folder that an archive is unpacked into; it exists and is empty. A context manager, for its descriptor.

    ``where`` names the archive in messages, ``allowed`` is how many bytes may be written.
    """

    def __init__(self, folder: Path, where: str, *, allowed: int, members: int) -> None:
        self.where = where
        self._allowed = allowed
        self._left = allowed
        self._members = members
        self._seen = 0
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._spelled: dict[str, str] = {}
        self._root = os.open(folder, _FOLDER)

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._root)

    def refusal(self, name: str, fault: str) -> BundleError:
        """The error for the member ``name``, to raise."""
        shown = name if len(name) <= 200 else f"{name[:200]}…"
        return BundleError(f"{self.where}: its member {shown!r} {fault}; do not use this archive")

    def spend(self, size: int, name: str) -> None:
        """Count ``size`` bytes that the member ``name`` is about to cost."""
        self._left -= size
        if self._left < 0:
            raise BundleError(
                f"{self.where}: it unpacks to more than {self._allowed:,} bytes, at its member {name[:200]!r}: if it is "
                "what you expect, unpack it yourself and give the folder"
            )

    def count(self, name: str) -> None:
        """Count one more member, of whatever kind."""
        self._seen += 1
        if self._seen > self._members:
            raise BundleError(
                f"{self.where}: it has more than {self._members:,} members, at {name[:200]!r}: if it is what you "
                "expect, unpack it yourself and give the folder"
            )

    def add_folder(self, name: str) -> None:
        """Make the folder ``name`` and those that it lies in."""
        self._claim(name)
        if name in self._files or name in self._folders:
            raise self.refusal(name, "stands there twice")
        self._folders.add(name)
        os.close(self._open_folder(name.split("/")))

    def add_file(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write the file ``name``; ``blocks`` are counted before they are written."""
        with self.new_file(name) as file:
            for block in blocks:
                self.spend(len(block), name)
                file.write(block)

    def new_file(self, name: str) -> BinaryIO:
        """The file ``name``, open for writing; the caller sees to its size."""
        self._claim(name)
        if name in self._files or name in self._folders:
            raise self.refusal(name, "stands there twice")
        self._files.add(name)
        *folders, last = name.split("/")
        folder = self._open_folder(folders)
        try:
            return os.fdopen(os.open(last, _NEW_FILE, 0o666, dir_fd=folder), "wb")
        except FileExistsError as error:
            raise self.refusal(name, "stands there twice") from error
        finally:
            os.close(folder)

    def _claim(self, name: str) -> None:
        """Refuse a name that leads elsewhere, or that some file system takes for another one's."""
        fault = name_fault(name)
        if fault:
            raise self.refusal(name, fault)
        path = ""
        for part in name.split("/"):
            path = f"{path}/{part}" if path else part
            other = self._spelled.setdefault(_folded(path), path)
            if other != path:
                raise self.refusal(name, f"differs from {other!r} in case or accents only")

    def _open_folder(self, folders: list[str]) -> int:
        handle = os.dup(self._root)
        for index, part in enumerate(folders):
            try:
                with contextlib.suppress(FileExistsError):  # if it is no folder, the next line says so
                    os.mkdir(part, 0o777, dir_fd=handle)
                inner = os.open(part, _FOLDER, dir_fd=handle)
            except (NotADirectoryError, FileExistsError) as error:
                raise self.refusal("/".join(folders[: index + 1]), "is a file and a folder at once") from error
            finally:
                os.close(handle)
            handle = inner
        return handle


def _folded(path: str) -> str:
    """The same text for paths that a file system without case, or with other accents (macOS), takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
