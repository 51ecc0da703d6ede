"""This module removes what runs into one output have left beside it; the output itself stays as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bentobatch.engine.bucket_output import BucketOutput
from bentobatch.engine.lease import BucketLease, take_lease
from bentobatch.engine.place import Place
from bentobatch.engine.store import end_uploads, remove, store_at


@dataclass(frozen=True)
class Cleaned:
    """What was removed: ``state`` tells whether there was any, ``parts`` are those that ``_SUCCESS`` does not name (or
    staged ones on a local disk), ``uploads`` counts multipart uploads that were never completed."""

    state: bool
    parts: tuple[str, ...] = ()
    uploads: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to remove."""
        return not (self.state or self.parts or self.uploads)


def clean(place: Place, *, storage_options: Mapping[str, Any] | None = None, break_lock: bool = False) -> Cleaned:
    """Remove the state of every run into an output: plans, finished splits, commit records, unfinished uploads, and parts
    that were never committed. Later runs into it start anew, and an output that stands needs ``overwrite``.

    Raises:
        LockedError: a run works on the output.
    """
    store = store_at(place.state, storage_options)
    state = bool(store.names(""))
    if not state and not place.remote and not os.path.isdir(place.state):
        return Cleaned(False, _remove_staging(place))
    with take_lease(place, storage_options, break_lock=break_lock) as lease:
        parts: tuple[str, ...] = ()
        uploads = 0
        if place.remote:
            output = BucketOutput(place, storage_options)
            parts = () if place.single else tuple(output.remove_unnamed())
            uploads = output.end_uploads()
        else:
            parts = _remove_staging(place)
        uploads += end_uploads(store)
        lease.check()
        if isinstance(lease, BucketLease):
            lease.forget()
        store.delete("")
    return Cleaned(state, parts, uploads)


def _remove_staging(place: Place) -> tuple[str, ...]:
    """Folders that a killed commit with --state-dir has left beside a local output."""
    if place.remote:
        return ()
    folder = Path(place.output).parent
    prefix, ending = f".{place.name}.", ".staging"
    found = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.startswith(prefix)
        and path.name.endswith(ending)
        and len(path.name) == len(prefix) + 16 + len(ending)
    ]
    for path in found:
        remove(path)
    return tuple(sorted(path.name for path in found))
