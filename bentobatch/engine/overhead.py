"""This module measures what the promises cost: seconds spent on checksums, syncs, receipts and rejects."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

NAMES = ("checksum", "fsync", "receipts", "rejects")
"""What is measured. They are parts of "write" and of what lies between the stages, and stand beside them in a report."""
_OF_THREAD = threading.local()


def add(name: str, seconds: float) -> None:
    """Add to what the calling thread has spent; nothing happens outside of ``collected``."""
    spent: dict[str, float] | None = getattr(_OF_THREAD, "spent", None)
    if spent is not None:
        spent[name] = spent.get(name, 0.0) + seconds


@contextlib.contextmanager
def spending(name: str) -> Iterator[None]:
    """Measures a piece of work of the calling thread, without what pieces inside of it count for themselves."""
    before = dict(getattr(_OF_THREAD, "spent", None) or {})
    started = time.perf_counter()
    try:
        yield
    finally:
        took = time.perf_counter() - started
        after: dict[str, float] = getattr(_OF_THREAD, "spent", None) or {}
        inside = sum(after.values()) - sum(before.values())
        add(name, max(0.0, took - inside))


@contextlib.contextmanager
def collected() -> Iterator[dict[str, float]]:
    """What the calling thread spends within the context, by name."""
    spent: dict[str, float] = {}
    _OF_THREAD.spent = spent
    try:
        yield spent
    finally:
        _OF_THREAD.spent = None
