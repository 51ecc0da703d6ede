"""This module is the repository on this machine: a folder NAME/VERSION below ``<home>/repository`` for each bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bentobatch.bundle.fetch import fetch, is_fetched
from bentobatch.bundle.layout import MANIFEST, is_bundle
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.errors import NoInputError, UsageError
from bentobatch.settings import read_settings
from bentobatch.tags import Tag

_SHOWN = 10


@dataclass(frozen=True)
class SavedBundle:
    """One bundle of the repository: where it is, and what its manifest says."""

    path: Path
    manifest: Manifest


class LocalRepository:
    """The bundles below one folder, which need not exist yet. Other things in the folder are left alone."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: by default the one that the settings name now."""
        self.folder = read_settings().repository if folder is None else folder

    def place(self, tag: Tag) -> Path:
        """Where the bundle of this tag is or would be.

        Raises:
            UsageError: the tag asks for the latest, which is no place.
        """
        if tag.is_latest:
            raise UsageError(f"{tag} is no place in a repository: name a version")
        return self.folder / tag.name / tag.version

    def find(self, tag: Tag) -> Path:
        """The folder of the saved bundle that the tag names.

        Raises:
            NoInputError: there is none; the message lists what is there.
            BundleError: a manifest that has to be read for it is damaged.
        """
        if tag.is_latest:
            found = self.bundles(tag.name)
            if found:
                return found[0].path
        elif is_bundle(self.place(tag)):
            return self.place(tag)
        raise NoInputError(f"no bundle {tag} in the repository {str(self.folder)!r}: {self._what_is_there(tag.name)}")

    def bundles(self, name: str | None = None) -> list[SavedBundle]:
        """The saved bundles (of one name), names in alphabetical order, the newest of each name first.

        The newest is the one saved last, by its manifest; of several saved at once, the last by its version's text.

        Raises:
            BundleError: a manifest is damaged.
        """
        found: list[SavedBundle] = []
        for folder in sorted(self.folder.glob("*")) if name is None else [self.folder / name]:
            versions = [path for path in folder.glob("*") if not path.name.startswith(".") and is_bundle(path)]
            saved = [SavedBundle(path, read_manifest(path)) for path in versions]
            found += sorted(saved, key=lambda one: (one.manifest.created_at, one.path.name), reverse=True)
        return found

    def _what_is_there(self, name: str) -> str:
        """Names only, read from the folders: a damaged manifest elsewhere must not hide the answer."""
        there = sorted(
            f"{path.parent.name}:{path.name}"
            for path in self.folder.glob("*/*")
            if is_bundle(path) and not path.name.startswith(".")
        )
        same = [tag for tag in there if tag.partition(":")[0] == name]
        shown = same or sorted({tag.partition(":")[0] + ":latest" for tag in there})
        if not shown:
            return "it is empty; save a service with svc.save()"
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return f"there are {', '.join(shown[:_SHOWN])}{more}"


def resolve(ref: str, *, trust: bool = False) -> Path:
    """The folder of the bundle that ``ref`` names: a path, or NAME:VERSION or NAME:latest of the local repository.

    What stands at the path comes first; nothing of a bundle is run, and its files are not verified yet. A URL or an
    archive is fetched into the cache, and verified there; see bundle/fetch.py, also for ``trust``.

    Raises:
        NoInputError: there is no such bundle.
        UsageError: ``ref`` is neither a path nor a tag, or a URL without a pinned digest and without ``trust``.
        BundleError: what was fetched is no sound bundle, or a manifest that has to be read for "latest" is damaged.
        UnavailableError, StorageError: a URL cannot be read, or the cache cannot be written.
    """
    if not ref or "\0" in ref:
        raise UsageError(f"{ref!r} names no bundle: give a bundle's folder, or NAME:VERSION or NAME:latest")
    path = Path(ref)
    if is_bundle(path):
        return path.resolve()
    if is_fetched(ref):
        return fetch(ref, trust=trust)
    name, colon, _ = ref.partition(":")
    if not colon or "/" in name:
        reason = f"the folder has no {MANIFEST}" if path.is_dir() else "there is no such folder"
        tag = f", or a tag: {ref}:latest" if not path.exists() and "/" not in ref else ""
        raise NoInputError(f"no bundle at {ref!r}: {reason}; give the folder of a bundle{tag}")
    return LocalRepository().find(Tag.parse(ref))
