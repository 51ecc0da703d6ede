"""This module enters into a catalog what was saved into its folder without it, and forgets what was being deleted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bentobatch.bundle.layout import is_bundle
from bentobatch.bundle.manifest import read_manifest
from bentobatch.errors import BundleError
from bentobatch.labels import check_labels
from bentobatch.repository.entry import entry_of
from bentobatch.repository.folder import BundleFolder
from bentobatch.repository.storage import FolderStorage, Storage
from bentobatch.tags import Tag

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bentobatch.repository.catalog import Catalog

_log = logging.getLogger("bentobatch.repository")


def adopt(catalog: Catalog, storage: Storage) -> None:
    """Bring the catalog in step with a storage whose folders are the bundles; of other storages it knows all.

    A folder whose manifest is damaged is passed over with a warning, so that it does not hide the others.
    """
    if not isinstance(storage, FolderStorage):
        return
    known = catalog.locations()
    for tag in storage.unknown(set(known)):
        with catalog.changing(tag) as connection:
            adopt_one(catalog, connection, storage, tag)
    for location, tag in known.items():
        if storage.is_deleted(location):  # somebody was killed between the folder and the entry
            with catalog.changing(tag) as connection:
                if storage.is_deleted(location):
                    catalog.remove(connection, tag)
                    storage.remove(location)


def adopt_one(catalog: Catalog, connection: Connection, storage: Storage, tag: Tag) -> None:
    """Enter the bundle of one tag, if its folder is there and it has no entry; the caller holds the tag's lock."""
    if not isinstance(storage, FolderStorage) or catalog.get(tag, connection) is not None:
        return
    place = BundleFolder(storage.root).place(tag)
    if not is_bundle(place):
        return
    try:
        manifest = read_manifest(place)
        entry = entry_of(manifest, uri="")
        check_labels(entry.labels)
        if entry.tag != tag:
            raise BundleError(f"bundle {place}: it is {entry.tag}, and lies where {tag} belongs; move the folder")
    except BundleError as error:
        _log.warning("%s", error)
        return
    catalog.add(connection, entry, f"{tag.name}/{tag.version}")
