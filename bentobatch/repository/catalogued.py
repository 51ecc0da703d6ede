"""This module is the repository that this process opens itself, by its catalog and its storage: at home, or in a server.

At home the storage is the folder ``<home>/repository``, where each bundle is a folder NAME/VERSION, and the catalog is
``<home>/catalog.db``. What is in such a folder needs no entry to be found and run; one is made for it when the catalog is
next asked. So ``svc.save()`` and a run by tag do without the catalog, and without the library behind it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bentobatch.bundle.layout import MANIFEST, SIGNATURES, is_bundle
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.bundle.signatures import Signature, merged, parse_signatures, read_signatures
from bentobatch.bundle.verify import copy_bundle, remove_extras, verify_bundle
from bentobatch.errors import BundleError, ConflictError, MissingDependencyError, NoInputError, UsageError
from bentobatch.labels import Selector, check_key, check_labels
from bentobatch.repository.adoption import adopt, adopt_one
from bentobatch.repository.base import Repository, check_page, one_version, parsed_tag
from bentobatch.repository.entry import Entry, entry_of
from bentobatch.repository.folder import BundleFolder, SavedBundle
from bentobatch.repository.storage import CATALOG_FILE, FolderStorage, Incoming, Storage, read_whole
from bentobatch.settings import read_settings
from bentobatch.tags import Tag, check_name

if TYPE_CHECKING:
    from bentobatch.repository.catalog import Catalog

_log = logging.getLogger("bentobatch.repository")
_SMALL = 5 << 20
"""More bytes than a manifest or the signatures may have."""


class LocalRepository(Repository):
    """The bundles of one catalog and one storage. Any number of processes may have the same one open.

    ``folder``: a storage on this machine, by default the one that the settings name now; ``storage`` is one elsewhere (see
    opening.py). ``db_url``: the catalog, by default the settings' own, or ``.catalog.db`` in a folder that is given.
    """

    def __init__(
        self, folder: Path | None = None, *, db_url: str | None = None, storage: Storage | None = None
    ) -> None:
        settings = read_settings()
        place = settings.repository if folder is None else folder
        self.storage = FolderStorage(place) if storage is None else storage
        if db_url is None and storage is not None:
            raise UsageError(f"the storage {storage.where} needs its catalog: give db_url")
        if db_url is None:
            is_home = place == settings.repository
            db_url = f"sqlite:///{settings.home / 'catalog.db' if is_home else place / CATALOG_FILE}"
        self._db_url = db_url
        self._catalog: Catalog | None = None

    @property
    def where(self) -> str:
        """The storage's place."""
        return self.storage.where

    @property
    def catalog(self) -> Catalog:
        """The catalog, in which all saved bundles of the storage have been entered.

        Raises:
            MissingDependencyError: its library is not installed.
        """
        if self._catalog is None:
            if find_spec("sqlalchemy") is None:
                raise MissingDependencyError(
                    "the catalog of a repository needs the library sqlalchemy, which is not installed: "
                    "pip install 'bentobatch[repository]'"
                )
            from bentobatch.repository.catalog import Catalog  # here and not above: a run by tag needs none

            self._catalog = Catalog(self._db_url)
        adopt(self._catalog, self.storage)
        return self._catalog

    def close(self) -> None:
        """Close the connections to the catalog; the next use opens new ones."""
        if self._catalog is not None:
            self._catalog.close()

    @property
    def folder(self) -> Path:
        """The folder that the bundles lie in.

        Raises:
            UsageError: they lie elsewhere.
        """
        if not isinstance(self.storage, FolderStorage):
            raise UsageError(f"the storage {self.where} is no folder of this machine")
        return self.storage.root

    # -- folders, which need no catalog -----------------------------------------------------------------------------

    def place(self, tag: Tag) -> Path:
        """Where the bundle of this tag is or would be; see BundleFolder."""
        return BundleFolder(self.folder).place(tag)

    def bundles(self, name: str | None = None) -> Sequence[SavedBundle]:
        """The saved bundles by their folders, without labels that were set later; see BundleFolder."""
        return BundleFolder(self.folder).bundles(name)

    def find(self, tag: Tag | str) -> Path:
        """The folder of a saved bundle; of a storage elsewhere, a verified copy in the cache."""
        if isinstance(self.storage, FolderStorage):
            return BundleFolder(self.folder).find(parsed_tag(tag))
        return super().find(tag)

    # -- reading ------------------------------------------------------------------------------------------------------

    def list(
        self,
        name: str | None = None,
        *,
        labels: str = "",
        limit: int | None = None,
        offset: int = 0,
        order_by: str = "name",
        ascending: bool = False,
    ) -> Sequence[Entry]:
        """See Repository. A home without a catalog, on a machine without its library, is listed by its folders."""
        check_page(limit, offset, order_by)
        if name is not None:
            check_name(name)
        selector = Selector.parse(labels)
        if self._is_nothing():
            return []
        if self._without_catalog():
            found = [one for one in map(_saved, self.bundles(name)) if selector.matches(one.labels)]
            found.sort(key=lambda one: (one.created_at, one.version), reverse=not ascending)
            if order_by == "name":
                found.sort(key=lambda one: one.name)
            return found[offset : None if limit is None else offset + limit]
        rows = self.catalog.find(name, selector, limit=limit, offset=offset, order_by=order_by, ascending=ascending)
        return [self._placed(entry, location) for entry, location in rows]

    def get(self, tag: Tag | str) -> Entry:
        """See Repository."""
        entry, location = self._found(parsed_tag(tag))
        return self._placed(entry, location, signatures=self._signatures(location))

    def manifest(self, tag: Tag | str) -> Manifest:
        """The manifest of a saved bundle, without its other files."""
        _, location = self._found(parsed_tag(tag))
        return self.storage.manifest(location)

    def open(self, tag: Tag | str, path: str) -> BinaryIO:
        """One file of a saved bundle, to be read. Nothing of it is verified.

        Raises:
            BundleError: the bundle has no such file.
        """
        _, location = self._found(parsed_tag(tag))
        return self.storage.open(location, path)

    def fill(self, entry: Entry, folder: Path) -> None:
        """See Repository."""
        _, location = self._found(entry.tag)
        self.storage.fill(location, folder)

    # -- changing -----------------------------------------------------------------------------------------------------

    def push(self, bundle: str | os.PathLike[str], *, labels: Mapping[str, str] | None = None) -> Entry:
        """See Repository."""
        source = Path(bundle)
        manifest = read_manifest(source)
        tag = Tag(manifest.service_name, manifest.service_version)
        return self.receive(lambda folder: copy_bundle(source, folder), tag=tag, labels=labels)

    def receive(
        self,
        fill: Callable[[Path], object],
        *,
        tag: Tag | None = None,
        digest: str | None = None,
        labels: Mapping[str, str] | None = None,
        check: Callable[[Path, Manifest], object] | None = None,
    ) -> Entry:
        """Take the bundle that ``fill`` puts into an empty folder, as ``push`` does; files beyond its manifest are dropped.

        ``tag``, ``digest``: what it must have. ``check`` may raise when it has seen the verified folder. Its entry.

        Raises:
            ConflictError: another bundle has its tag.
            BundleError: what came is no bundle, is damaged, or not the one of ``tag`` and ``digest``.
        """
        wanted = None if labels is None else check_labels(labels)
        catalog = self.catalog
        with self.storage.incoming() as incoming:
            fill(incoming.folder)
            where = f"the bundle that was pushed to {self.where}"
            if not is_bundle(incoming.folder):
                raise BundleError(f"{where} has no {MANIFEST}: push the folder of a bundle")
            manifest = verify_bundle(incoming.folder, digest=digest, where=where)
            self.storage.check_kind(manifest)
            entry = entry_of(manifest, uri="", labels=wanted)
            check_labels(entry.labels)
            if tag not in (None, entry.tag):
                raise BundleError(f"{where} as {tag} is {entry.tag}: push it under its own tag")
            remove_extras(incoming.folder, manifest)
            signatures = read_signatures(incoming.folder)
            if check is not None:
                check(incoming.folder, manifest)
            location = self._same(catalog.get(entry.tag), entry, signatures)
            if location is None:
                incoming.store(entry.tag)
                location = self._entered(catalog, entry, incoming)
                if location is None:  # somebody else was quicker
                    location = self._same(catalog.get(entry.tag), entry, signatures)
        return self.get(entry.tag)

    def _entered(self, catalog: Catalog, entry: Entry, incoming: Incoming) -> str | None:
        """Publish and enter the bundle at once, unless its tag is taken; its location."""
        with catalog.changing(entry.tag) as connection:
            adopt_one(catalog, connection, self.storage, entry.tag)
            known = catalog.get(entry.tag, connection)
            if known is not None:
                if self.storage.sizes(known[1]):
                    return None
                catalog.remove(connection, entry.tag)  # its files are lost: this push brings them back
                entry = replace(entry, labels=known[0].labels)
            location = incoming.publish()
            catalog.add(connection, entry, location)
        return location

    def _same(self, known: tuple[Entry, str] | None, entry: Entry, signatures: Sequence[Signature]) -> str | None:
        """The location of the same bundle where it is there already, with these signatures added.

        Raises:
            ConflictError: another bundle is there.
        """
        if known is None or not self.storage.sizes(known[1]):
            return None
        there, location = known
        if there.digest != entry.digest:
            raise ConflictError(
                f"{entry.tag} is in the repository {self.where} already, with other content (sha256:{there.digest}, not "
                f"sha256:{entry.digest}): save it under another version, or delete that one first"
            )
        here = self._signatures(location)
        if merged(here, signatures) != merged(here, ()):
            with self.catalog.changing(entry.tag):
                self.storage.add_signatures(location, signatures)
        return location

    def delete(self, tag: Tag | str) -> None:
        """See Repository."""
        wanted = one_version(tag, "delete")
        self._found(wanted)
        catalog = self.catalog
        with catalog.changing(wanted) as connection:
            known = catalog.get(wanted, connection)
            if known is None:
                raise NoInputError(f"no bundle {wanted} in the repository {self.where}: somebody else has deleted it")
            self.storage.hide(known[1])
            catalog.remove(connection, wanted)
        self.storage.remove(known[1])

    def set_labels(
        self, tag: Tag | str, labels: Mapping[str, str] | None = None, *, unset: Collection[str] = ()
    ) -> dict[str, str]:
        """See Repository."""
        wanted = check_labels(labels or {})
        for key in unset:
            check_key(key)
        catalog = self.catalog
        found = self._found(parsed_tag(tag))[0].tag
        with catalog.changing(found) as connection:
            known = catalog.get(found, connection)
            if known is None:
                raise NoInputError(f"no bundle {found} in the repository {self.where}: somebody has deleted it")
            catalog.set_labels(connection, found, wanted, unset)
        return self.labels(found)

    # -- the parts of all that ----------------------------------------------------------------------------------------

    def _found(self, tag: Tag) -> tuple[Entry, str]:
        """The entry of a bundle, and its location.

        Raises: NoInputError, BundleError
        """
        if self._is_nothing() or self._without_catalog():
            path = self.find(tag)
            return entry_of(read_manifest(path), uri=""), path.relative_to(self.folder).as_posix()
        known = self.catalog.get(tag)
        if known is not None:
            return known
        if isinstance(self.storage, FolderStorage):
            read_manifest(self.find(tag))  # says what is there, or what is wrong with it
        others = self.catalog.find(tag.name, Selector(), limit=10, offset=0, order_by="name", ascending=False)
        there = (
            f"there are {', '.join(str(entry.tag) for entry, _ in others)}" if others else "it has none of that name"
        )
        raise NoInputError(f"no bundle {tag} in the repository {self.where}: {there}")

    def _placed(self, entry: Entry, location: str, *, signatures: Sequence[Signature] = ()) -> Entry:
        return replace(entry, uri=self.storage.uri(location), signatures=tuple(signatures))

    def _signatures(self, location: str) -> Sequence[Signature]:
        if SIGNATURES not in self.storage.sizes(location):
            return []
        data = read_whole(self.storage.open(location, SIGNATURES), _SMALL, f"{location}: its {SIGNATURES}")
        return parse_signatures(data, self.storage.uri(location))

    def _is_nothing(self) -> bool:
        """Whether neither the folder nor the catalog is there: then looking makes neither."""
        file = self._catalog_file
        if file is None or not isinstance(self.storage, FolderStorage):
            return False
        return not file.exists() and not self.storage.root.is_dir()

    def _without_catalog(self) -> bool:
        """Whether the folders have to do, since the catalog cannot be opened or kept up to date here."""
        file = self._catalog_file
        if file is None or not isinstance(self.storage, FolderStorage):
            return False
        if find_spec("sqlalchemy") is None:
            return True
        writable = os.access(file if file.exists() else file.parent, os.W_OK)
        if not writable:
            _log.warning("%s cannot be written: labels that were set later are not shown", file)
        return not writable

    @property
    def _catalog_file(self) -> Path | None:
        """The file of a SQLite catalog."""
        return Path(self._db_url.removeprefix("sqlite:///")) if self._db_url.startswith("sqlite:///") else None


def _saved(one: SavedBundle) -> Entry:
    return entry_of(one.manifest, uri=str(one.path))
