"""This module makes a staged file or folder the visible output, at once, and tells later whether it still stands."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.engine.bucket_output import SUCCESS, BucketOutput
from bentobatch.engine.place import Place
from bentobatch.engine.store import remove, storage_error, store_at, sync_folder
from bentobatch.errors import OutputError

__all__ = ["SUCCESS", "check_place", "identity", "publish"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2  # macOS


def check_place(place: Place, *, overwrite: bool, storage_options: Mapping[str, Any] | None = None) -> None:
    """Refuse an output that cannot be made, before anything is scored.

    Raises:
        OutputError: its folder is missing, it is of another kind, or it exists and ``overwrite`` is off.
    """
    if place.remote:
        _check_bucket(place, overwrite, storage_options)
        return
    path = Path(place.output)
    if not path.parent.is_dir():
        raise OutputError(f"cannot create {path}: No such directory: {path.parent}; create it first")
    if not os.path.lexists(path):
        return
    if place.single and path.is_dir():
        raise OutputError(f"{path} is a directory, but its name ends like a {place.format} file: choose another output")
    if not path.is_file() and not path.is_dir():
        raise OutputError(
            f"{path} is not a regular file: give a path that a file can be renamed to, or leave --output-file"
            " out and redirect what is printed"
        )
    if not place.single and not path.is_dir():
        raise OutputError(
            f"{path} is a file, but without a known extension the output is a directory: choose another name"
        )
    if not place.single and not any(path.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{path} exists already; --overwrite replaces it once the new output is whole")


def _check_bucket(place: Place, overwrite: bool, storage_options: Mapping[str, Any] | None) -> None:
    def own_plans() -> list[str]:
        return store_at(place.state, storage_options).names("")

    BucketOutput(place, storage_options).check(overwrite=overwrite, own_plans=own_plans)


def identity(place: Place, storage_options: Mapping[str, Any] | None = None, *, at: Path | None = None) -> Any:
    """What tells the output (or the staged one, ``at``) from any other; None if there is none.

    A file's size, time of change and inode survive its renaming; a folder has its ``_SUCCESS`` file.
    """
    if place.remote:
        return BucketOutput(place, storage_options).identity()
    path_ = at or Path(place.output)
    try:
        if place.single:
            found = path_.stat()
            return [found.st_size, found.st_mtime_ns, found.st_ino]
        listed = json.loads((path_ / SUCCESS).read_text())
        sizes = [(path_ / name).stat().st_size for name in listed["parts"]]
        return json.dumps([listed, sizes])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(staged: Path, place: Place) -> None:
    """Put a staged local file or folder into the output's place; what stood there is gone afterwards."""
    target = Path(place.output)
    try:
        if place.single:
            os.replace(staged, target)
        elif _is_full_folder(target):
            _exchange(staged, target)
            remove(staged)
        else:
            os.rename(staged, target)
        sync_folder(target.parent)
    except FileNotFoundError as error:
        raise OutputError(
            f"cannot create {target}: its folder was removed meanwhile; create it and run again"
        ) from error
    except OSError as error:
        raise storage_error("replace", target, error) from error


def _is_full_folder(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())


def _exchange(staged: Path, target: Path) -> None:
    """Swap two folders at once where the system can; else the old one is moved away first, so that for an instant the
    output is absent, but never partial."""
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(target), os.fsencode(staged)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(new, old, ctypes.c_uint(_RENAME_SWAP))
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, new, _AT_FDCWD, old, ctypes.c_uint(_RENAME_EXCHANGE))
    else:
        failed = -1
        ctypes.set_errno(errno.ENOSYS)
    if not failed:
        return
    code = ctypes.get_errno()
    if code not in {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}:
        raise OSError(code, os.strerror(code), str(target))
    aside = staged.with_name(staged.name + ".old")
    remove(aside)
    os.rename(target, aside)
    os.rename(staged, target)
    remove(aside)
