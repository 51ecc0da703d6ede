"""This module compares a repository's storage with its catalog, name by name, and removes what pushes left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bentobatch.bundle.layout import MANIFEST
from bentobatch.bundle.manifest import Manifest
from bentobatch.bundle.verify import COVERED
from bentobatch.errors import BundleError
from bentobatch.repository.catalogued import LocalRepository
from bentobatch.repository.entry import Entry
from bentobatch.repository.storage import Leftover
from bentobatch.tags import Tag

DAY = 24 * 3600.0
_BLOCK = 1 << 20
_FAULTS = {
    "missing": "it is listed, and not there",
    "extra": "nothing lists it",
    "changed": "it is not what was saved",
    "leftover": "a push or a deletion that was cut off has left it; `bentobatch repository gc` removes it",
}


@dataclass(frozen=True)
class Problem:
    """One object that is not as it should be. ``object`` is its path below the storage's root, ``tag`` the bundle's that it
    belongs to, None for what belongs to none."""

    kind: Literal["missing", "extra", "changed", "leftover"]
    object: str
    tag: Tag | None = None

    def __str__(self) -> str:
        owner = f" (of {self.tag})" if self.tag else ""
        return f"{self.kind}: {self.object}{owner}: {_FAULTS[self.kind]}"


def check(repository: LocalRepository, *, read_data: bool = False) -> Iterator[Problem]:
    """Everything that is missing, extra or changed, in an order that stays.

    Without ``read_data`` names, sizes and manifests are compared; with it every byte is read and compared with its sha256.
    What a push has begun in this minute looks like a leftover.
    """
    catalog, storage = repository.catalog, repository.storage
    locations = catalog.locations()
    for location, tag in sorted(locations.items()):
        found = catalog.get(tag)
        if found is not None and found[1] == location:  # else it was deleted meanwhile
            yield from _check_bundle(repository, found[0], location, read_data)
    for leftover in storage.leftovers(set(locations)):
        yield Problem("leftover" if leftover.ours else "extra", leftover.path)


def gc(repository: LocalRepository, *, min_age: float = DAY, dry_run: bool = False) -> Iterator[Leftover]:
    """Remove what pushes, savings and deletions that were cut off have left behind, and nothing that others put there.

    ``min_age`` is in seconds: younger ones may belong to a push that is under way. ``dry_run`` only tells.
    """
    catalog, storage = repository.catalog, repository.storage
    # in this order: what is published between the two looks must not be taken for a leftover
    found = list(storage.leftovers(set(catalog.locations())))
    owned = set(catalog.locations())
    for leftover in found:
        if leftover.ours and leftover.age >= min_age and leftover.path not in owned:
            if not dry_run:
                storage.clear(leftover)
            yield leftover


def _check_bundle(repository: LocalRepository, entry: Entry, location: str, read_data: bool) -> Iterator[Problem]:
    sizes = repository.storage.sizes(location)
    if not sizes:
        yield Problem("missing", location, entry.tag)
        return
    if MANIFEST not in sizes:
        yield Problem("missing", f"{location}/{MANIFEST}", entry.tag)
        return
    manifest = _manifest(repository, location)
    if manifest is None or manifest.digest != entry.digest:
        yield Problem("changed", f"{location}/{MANIFEST}", entry.tag)
        return
    for path, wanted in sorted(manifest.files.items()):
        if path not in sizes:
            yield Problem("missing", f"{location}/{path}", entry.tag)
        elif sizes[path] != wanted["size"] or (read_data and not _is_same(repository, location, path, wanted)):
            yield Problem("changed", f"{location}/{path}", entry.tag)
    for path in sorted(sizes.keys() - manifest.files.keys() - COVERED):
        yield Problem("extra", f"{location}/{path}", entry.tag)


def _manifest(repository: LocalRepository, location: str) -> Manifest | None:
    try:
        return repository.storage.manifest(location)
    except BundleError:
        return None


def _is_same(repository: LocalRepository, location: str, path: str, wanted: Mapping[str, Any]) -> bool:
    digest = hashlib.sha256()
    try:
        with repository.storage.open(location, path) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except BundleError:  # a link, or gone in this moment
        return False
    return digest.hexdigest() == str(wanted["sha256"])
