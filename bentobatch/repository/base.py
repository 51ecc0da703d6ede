"""This module says what a repository is: the verbs that each one has, and those that can be made of others."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bentobatch.bundle.fetch import kept
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.bundle.policy import check_policy
from bentobatch.bundle.signatures import add_signatures
from bentobatch.bundle.staging import staged
from bentobatch.bundle.verify import remove_extras, verify_bundle
from bentobatch.errors import BundleError, OutputError, UsageError
from bentobatch.repository.entry import Entry
from bentobatch.tags import Tag

ORDERS = ("name", "created_at")
"""How ``list`` may order: by name, and each name's newest first; or the newest of all first."""


class Receiver(Protocol):
    """A repository that takes a bundle from whoever can fill a folder with it; LocalRepository is one."""

    def receive(
        self,
        fill: Callable[[Path], object],
        *,
        tag: Tag | None = None,
        digest: str | None = None,
        labels: Mapping[str, str] | None = None,
        check: Callable[[Path, Manifest], object] | None = None,
    ) -> Entry:
        """See LocalRepository.receive."""


class Repository(ABC):
    """Saved bundles by their tags. A tag is given as a Tag, or as text: NAME:VERSION, NAME:latest, or NAME for the latest.

    All verbs raise: UsageError for a malformed tag; NoInputError where there is no such bundle; UnavailableError and
    StorageError where the catalog, the storage or the server fail.
    """

    @property
    @abstractmethod
    def where(self) -> str:
        """The repository's place for messages, without secrets."""

    @abstractmethod
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
        """The saved bundles (of one name) whose labels the selector matches; see ORDERS for ``order_by``.

        ``ascending``: the oldest first instead of the newest. A bundle that is being pushed or deleted is not among them.
        """

    @abstractmethod
    def get(self, tag: Tag | str) -> Entry:
        """One saved bundle, with its signatures."""

    @abstractmethod
    def push(self, bundle: str | os.PathLike[str], *, labels: Mapping[str, str] | None = None) -> Entry:
        """Put the bundle in this folder into the repository under its own tag, whole or not at all.

        ``labels``: by default those that it was saved with. Where the same bundle is there already, nothing changes but
        that signatures are added.

        Raises:
            ConflictError: another bundle has the tag.
            BundleError: the folder's files are not those of its manifest.
        """

    @abstractmethod
    def delete(self, tag: Tag | str) -> None:
        """Remove one saved bundle. "latest" is refused: what it means may change in between."""

    @abstractmethod
    def set_labels(
        self, tag: Tag | str, labels: Mapping[str, str] | None = None, *, unset: Collection[str] = ()
    ) -> dict[str, str]:
        """Set some labels and remove others; the labels then. Removing one that is not there is no error."""

    @abstractmethod
    def fill(self, entry: Entry, folder: Path) -> None:
        """Copy the bundle of ``entry`` into ``folder``, which exists and is empty. The caller verifies what came."""

    def labels(self, tag: Tag | str) -> dict[str, str]:
        """The labels of one saved bundle."""
        return dict(self.get(tag).labels)

    def retrieve(self, tag: Tag | str, target: str | os.PathLike[str]) -> Path:
        """Copy a saved bundle to the folder ``target``, verified, whole or not at all; returns it.

        Raises:
            OutputError: something stands there, be it an empty folder.
            PolicyError, BundleError: the policy does not let it run here, or what came is not the bundle.
        """
        place = Path(os.path.abspath(os.fspath(target)))
        if os.path.lexists(place):
            raise OutputError(f"{str(place)!r} exists already, and is not overwritten: give another folder")
        entry = self._asked(tag)
        with staged(place) as folder:
            self.fill(entry, folder)
            manifest = verify_bundle(folder, digest=entry.digest, where=f"bundle {entry.tag} of {self.where}")
            self._check_tag(manifest, entry)
            remove_extras(folder, manifest)
            check_policy(folder, manifest)
        return place

    def pull(self, tag: Tag | str, into: Receiver) -> Entry:
        """Copy a saved bundle into another repository, with its labels, verified, whole or not at all.

        Raises:
            ConflictError: another bundle has the tag there.
            PolicyError, BundleError: as ``retrieve``.
        """
        entry = self._asked(tag)
        return into.receive(
            lambda folder: self.fill(entry, folder),
            tag=entry.tag,
            digest=entry.digest,
            labels=entry.labels,
            check=check_policy,
        )

    def find(self, tag: Tag | str) -> Path:
        """A folder of this machine that holds the saved bundle: the repository's own, or a verified copy in the cache."""
        entry = self._asked(tag)
        where = f"bundle {entry.tag} of {self.where}"
        folder = kept(entry.digest, lambda empty: self.fill(entry, empty), where=where)
        self._check_tag(read_manifest(folder), entry)
        if entry.signatures:  # the copy may be older than they are
            add_signatures(folder, entry.signatures)
        return folder

    def _asked(self, tag: Tag | str) -> Entry:
        """The entry of ``tag``, which is what was asked for: a repository may be somebody else's server."""
        wanted, entry = parsed_tag(tag), self.get(tag)
        if entry.name != wanted.name or (entry.version != wanted.version and not wanted.is_latest):
            raise BundleError(f"the repository {self.where} answers {entry.tag}, and {wanted} was asked for")
        return entry

    def _check_tag(self, manifest: Manifest, entry: Entry) -> None:
        if manifest.tag != str(entry.tag):
            raise BundleError(
                f"the repository {self.where} has {manifest.tag} under the tag {entry.tag}; do not use this repository"
            )


def parsed_tag(tag: Tag | str) -> Tag:
    """A tag, given as one or as text."""
    return tag if isinstance(tag, Tag) else Tag.parse(tag)


def one_version(tag: Tag | str, verb: str) -> Tag:
    """A tag that names a version.

    Raises:
        UsageError: it asks for the latest, or names no version.
    """
    parsed = parsed_tag(tag)
    if parsed.is_latest:
        raise UsageError(f"{verb} needs a version: write {parsed.name}:VERSION, as `bentobatch list` shows it")
    return parsed


def check_page(limit: int | None, offset: int, order_by: str) -> None:
    """Raise UsageError for arguments of ``list`` that make no sense."""
    if order_by not in ORDERS:
        raise UsageError(f"a list cannot be ordered by {order_by!r}: choose {' or '.join(ORDERS)}")
    if (limit is not None and limit < 0) or offset < 0:
        raise UsageError("limit and offset must not be negative")
