"""This module finds bundles by the folders they lie in, NAME/VERSION: all that a run by tag needs, and quick to import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bentobatch.bundle.layout import is_bundle
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.errors import NoInputError, UsageError
from bentobatch.tags import Tag

_SHOWN = 10


@dataclass(frozen=True)
class SavedBundle:
    """One bundle of the repository: where it is, and what its manifest says."""

    path: Path
    manifest: Manifest


class BundleFolder:
    """The bundles below one folder, which need not exist yet. Other things in the folder are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        saved = [SavedBundle(path, read_manifest(path)) for path in self.paths(name)]
        saved.sort(key=lambda one: (one.manifest.created_at, one.path.name), reverse=True)
        return sorted(saved, key=lambda one: one.path.parent.name)

    def paths(self, name: str | None = None) -> Iterator[Path]:
        """The folders of the saved bundles (of one name), in no order; names that begin with a dot are no bundles yet."""
        for folder in self.folder.glob("*") if name is None else [self.folder / name]:
            if not folder.name.startswith("."):
                yield from (path for path in folder.glob("*") if not path.name.startswith(".") and is_bundle(path))

    def _what_is_there(self, name: str) -> str:
        """Names only, read from the folders: a damaged manifest elsewhere must not hide the answer."""
        there = sorted(f"{path.parent.name}:{path.name}" for path in self.paths())
        same = [tag for tag in there if tag.partition(":")[0] == name]
        shown = same or sorted({tag.partition(":")[0] + ":latest" for tag in there})
        if not shown:
            return "it is empty; save a service with svc.save()"
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return f"there are {', '.join(shown[:_SHOWN])}{more}"
