"""This module names and reads what a split leaves in the state folder: its part, its receipt, its rejects, its deaths."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bentobatch.engine.boot import boot_id
from bentobatch.engine.store import LAZY_BYTES, LocalStore, Store

MOST_DEATHS = 3
"""A split that killed so many workers is scored piece by piece from then on, until the fatal row is found."""


@dataclass(frozen=True, slots=True)  # a commit holds all of them
class Receipt:
    """Proof that a split is finished; written after its part. Counts are rows, ``seconds`` has read, model and write,
    ``columns`` the counts of the output's columns (see ``expectations.counts_to_json``), ``checksum`` is the CRC-32 of the
    part's bytes: Arrow and text files have none of their own. ``boot`` is that of the machine which wrote a small part
    without syncing it: under another one, a power cut may have damaged the part, and only its checksum proves it."""

    key: str
    rows: int
    rejected: int
    discarded: int
    part_bytes: int
    has_rejects: bool
    seconds: dict[str, float] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    checksum: int | None = None
    boot: str | None = None

    def to_bytes(self) -> bytes:
        """The receipt as its file's content."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """The receipt that ``to_bytes`` wrote."""
        return cls(**json.loads(data, object_pairs_hook=_with_shared_names))


def _with_shared_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are the same strings as in any other, of which a commit may hold a million."""
    return {sys.intern(name): value for name, value in pairs}


@dataclass
class Deaths:
    """How often a split took its worker with it, and on which of its rows (half-open ranges within the split)."""

    count: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The record as its file's content."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Deaths:
        """The record that ``to_bytes`` wrote; none means no deaths."""
        if data is None:
            return cls()
        values: Mapping[str, Any] = json.loads(data)
        return cls(values["count"], [(start, stop) for start, stop in values["ranges"]])


def boot_of(store: Store, part_bytes: int) -> str | None:
    """What a receipt says of a part of this size that was written lazily."""
    return boot_id() if isinstance(store, LocalStore) and part_bytes < LAZY_BYTES else None


def checksum_of(store: Store, name: str) -> int:
    """CRC-32 of a file's bytes."""
    found = 0
    with store.open(name) as file:
        while piece := file.read(1 << 20):
            found = zlib.crc32(piece, found)
    return found


def part_name(plan_id: str, key: str) -> str:
    """Where a split's rows lie."""
    return f"{plan_id}/parts/{key}"


def receipt_name(plan_id: str, key: str) -> str:
    """Where a split's receipt lies."""
    return f"{plan_id}/receipts/{key}"


def rejects_name(plan_id: str, key: str) -> str:
    """Where a split's rejects lie, if it has any."""
    return f"{plan_id}/rejects/{key}"


def deaths_name(plan_id: str, key: str) -> str:
    """Where a split's deaths are counted."""
    return f"{plan_id}/attempts/{key}"


def plan_name(plan_id: str) -> str:
    """Where the plan itself lies."""
    return f"{plan_id}/plan.json"


def commit_name(plan_id: str) -> str:
    """Where the record of the commit lies."""
    return f"{plan_id}/commit.json"


def read_receipt(store: Store, plan_id: str, key: str) -> Receipt | None:
    """The receipt of a finished split; None also where it, or a part that was never synced, did not outlive a power cut."""
    data = store.read(receipt_name(plan_id, key))
    if not data:
        return None
    try:
        receipt = Receipt.from_bytes(data)
    except (ValueError, TypeError):
        return None
    if (
        receipt.boot is not None
        and receipt.boot != boot_id()
        and not _is_whole(store, part_name(plan_id, key), receipt)
    ):
        return None
    return receipt


def _is_whole(store: Store, name: str, receipt: Receipt) -> bool:
    if name.rpartition("/")[2] not in store.names(name.rpartition("/")[0]):
        return False
    return store.size(name) == receipt.part_bytes and checksum_of(store, name) == receipt.checksum


def read_deaths(store: Store, plan_id: str, key: str) -> Deaths:
    """The deaths of a split."""
    return Deaths.from_bytes(store.read(deaths_name(plan_id, key)))


def record_death(store: Store, plan_id: str, key: str, rows: tuple[int, int] | None) -> Deaths:
    """Count one more worker that died on a split, and on which rows if that is known."""
    deaths = read_deaths(store, plan_id, key)
    deaths.count += 1
    if rows is not None and rows not in deaths.ranges:
        deaths.ranges.append(rows)
    store.write(deaths_name(plan_id, key), deaths.to_bytes())
    return deaths
