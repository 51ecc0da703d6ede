"""This module puts a folder in its place whole or not at all: filled under another name, synced to the disk, renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bentobatch.errors import OutputError

PREFIX = ".bentobatch-"
"""How the names of folders begin that are not in their place yet; no listing shows them."""


def refuse_existing(target: Path) -> None:
    """Raise OutputError where something other than an empty folder stands at ``target``."""
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    if os.path.lexists(target):
        raise OutputError(f"{str(target)!r} exists already: save to another folder, or remove that one first")


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new folder that becomes ``target`` when the block is left without an error, and is removed otherwise.

    Raises:
        OutputError: it cannot be made or written, or something came to stand at ``target`` meanwhile.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=PREFIX, dir=target.parent))  # 0700: nobody looks at half a bundle
    except OSError as error:
        raise OutputError(f"cannot create {str(target)!r}: {error.strerror}; choose another place") from error
    try:
        folder = staging / "bundle"
        folder.mkdir()
        yield folder
        sync_folder(folder)
        _publish(folder, target)
    except OSError as error:
        raise OutputError(f"cannot write {str(target)!r}: {error}; check the place, and try again") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(folder: Path, target: Path) -> None:
    try:
        os.rename(folder, target)  # takes the place of an empty folder, and of nothing else
    except OSError as error:
        refuse_existing(target)
        raise OutputError(f"cannot create {str(target)!r}: {error.strerror}; choose another place") from error
    sync_path(target.parent)


def sync_folder(folder: Path) -> None:
    """Bring every file and folder to the disk, so that a crash after the rename finds them whole."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync_path(Path(parent, name))
        sync_path(Path(parent))


def sync_path(path: Path) -> None:
    """Bring a file's bytes, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_at_once(file: Path, data: bytes) -> None:
    """Put a small file in place, instead of one that is there: written beside it, synced, renamed.

    Raises: OSError, as the disk says it.
    """
    handle, name = tempfile.mkstemp(prefix=PREFIX, dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    sync_path(file.parent)
