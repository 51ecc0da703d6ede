"""This module tells whether this machine was started anew since a file was written."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str | None:
    """The id of this machine's present boot (Linux); None where there is none, so that nothing can rest on it."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def sync_disk(folder: Path) -> None:
    """Make everything that was written to the folder's disk durable: one call instead of one for each of many files."""
    if sys.platform == "linux":
        handle = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(handle) == 0:
                return
        finally:
            os.close(handle)
    os.sync()
