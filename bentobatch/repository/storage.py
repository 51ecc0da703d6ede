"""This module keeps the files of bundles: what a storage does, and the one that is a folder on this machine.

A storage knows bundles by their location, a relative path below its root that its own ``publish`` gave out.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bentobatch.bundle import layout
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.bundle.signatures import Signature, merged, read_signatures
from bentobatch.bundle.staging import PREFIX, sync_folder, sync_path, write_at_once
from bentobatch.bundle.verify import copy_bundle
from bentobatch.errors import BundleError, ConflictError, StorageError, UsageError
from bentobatch.repository.folder import BundleFolder
from bentobatch.tags import Tag, check_version

CATALOG_FILE = ".catalog.db"
"""The catalog of a folder that is given by its path alone; it lies in the folder."""
_DELETED = f"{PREFIX}deleted-"


@dataclass(frozen=True)
class Leftover:
    """Something in the storage that belongs to no bundle: its path below the root, and its age in seconds.

    ``ours``: it was made by a push, a save or a deletion, so nobody else misses it.
    """

    path: str
    age: float
    ours: bool


class Incoming(ABC):
    """A bundle on its way into the storage: ``folder`` is filled and verified, then ``store``, then ``publish``."""

    folder: Path

    @abstractmethod
    def store(self, tag: Tag) -> None:
        """Bring the files to where they will be safe, under a temporary name, and see that they came whole."""

    @abstractmethod
    def publish(self) -> str:
        """Make them the bundle of the tag, at once; returns the location. It is called while the tag is locked.

        Raises:
            ConflictError: something else stands in the place.
        """


class Storage(ABC):
    """Where the files of bundles lie. All errors are of bentobatch.errors; no message has a secret in it."""

    where: str
    """The root for messages."""

    @abstractmethod
    def uri(self, location: str) -> str:
        """The path or URL of the bundle at ``location``."""

    @abstractmethod
    def incoming(self) -> AbstractContextManager[Incoming]:
        """A place for a new bundle; what was not published is removed at the end."""

    @abstractmethod
    def hide(self, location: str) -> None:
        """Make the bundle unreadable at its location, at once where the storage can; one that is gone is no error."""

    @abstractmethod
    def remove(self, location: str) -> None:
        """Remove the files of a hidden bundle."""

    @abstractmethod
    def manifest(self, location: str) -> Manifest:
        """The manifest of the bundle at ``location``; its other files are not looked at.

        Raises:
            BundleError: it is damaged, or not there.
        """

    def check_kind(self, manifest: Manifest) -> None:
        """Raise UsageError for a bundle that cannot be kept here."""
        del manifest

    @abstractmethod
    def fill(self, location: str, folder: Path) -> None:
        """Copy the files that the bundle's manifest lists, and its signatures, into an empty folder, unverified."""

    @abstractmethod
    def open(self, location: str, path: str) -> BinaryIO:
        """One file of a bundle, to be read.

        Raises:
            BundleError: it is not there.
        """

    @abstractmethod
    def sizes(self, location: str) -> Mapping[str, int]:
        """The files of the bundle at ``location``, and their sizes; empty where nothing is."""

    @abstractmethod
    def leftovers(self, owned: set[str]) -> Iterator[Leftover]:
        """What is in the storage and belongs to none of the locations ``owned``."""

    @abstractmethod
    def clear(self, leftover: Leftover) -> None:
        """Remove a leftover that is ours."""

    @abstractmethod
    def add_signatures(self, location: str, signatures: Sequence[Signature]) -> None:
        """Add to those beside the bundle; called while the tag is locked."""

    def unknown(self, known: set[str]) -> Iterator[Tag]:
        """Bundles that were saved into the storage without the catalog, and are not at the locations ``known``."""
        del known
        return iter(())

    def is_deleted(self, location: str) -> bool:
        """Whether the bundle at ``location`` is gone because somebody deleted it, rather than lost."""
        del location
        return False


class FolderStorage(Storage):
    """A folder on this machine, with a folder NAME/VERSION for each bundle: that is its location.

    What is there under such a name is whole, since it was renamed there: it needs no catalog to be a saved bundle.
    A deletion renames it to a hidden name that tells the version, so that a lost bundle is never taken for a deleted one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)

    def uri(self, location: str) -> str:
        """The folder."""
        return str(self.root / location)

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A folder of mode 0700 beside the names, on the same file system."""
        with _disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.root))
        try:
            with _disk_errors(self.root):
                (staging / "bundle").mkdir()
                yield _Staged(self, staging / "bundle")
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def hide(self, location: str) -> None:
        """Rename the folder to a hidden one."""
        place = self.root / location
        with _disk_errors(self.root):
            try:
                os.rename(place, place.with_name(f"{_DELETED}{secrets.token_hex(4)}-{place.name}"))
                sync_path(place.parent)
            except FileNotFoundError:
                return

    def remove(self, location: str) -> None:
        """Remove what ``hide`` has renamed, and the name's folder if it was its last version."""
        name = (self.root / location).parent
        for hidden in self._hidden(location):
            shutil.rmtree(hidden, ignore_errors=True)
        try:
            name.rmdir()
        except OSError:
            return  # other versions are there

    def _hidden(self, location: str) -> list[Path]:
        place = self.root / location
        hidden = place.parent.glob(f"{_DELETED}????????-*")
        return [path for path in hidden if path.name[len(_DELETED) + 9 :] == place.name]

    def is_deleted(self, location: str) -> bool:
        """By the hidden folder, which stays until the catalog knows."""
        return not os.path.lexists(self.root / location) and bool(self._hidden(location))

    def manifest(self, location: str) -> Manifest:
        """As any folder's."""
        return read_manifest(self.root / location)

    def fill(self, location: str, folder: Path) -> None:
        """Copied file by file."""
        copy_bundle(self.root / location, folder)

    def open(self, location: str, path: str) -> BinaryIO:
        """Without following a link."""
        return layout.open_member(self.root / location, path)

    def sizes(self, location: str) -> Mapping[str, int]:
        """Of everything in the folder, links too."""
        folder = self.root / location
        return {path: (folder / path).lstat().st_size for path in layout.files_below(folder)}

    def unknown(self, known: set[str]) -> Iterator[Tag]:
        """Folders with a manifest: ``svc.save()`` needs no catalog, and copying a folder there is allowed."""
        for path in BundleFolder(self.root).paths():
            if f"{path.parent.name}/{path.name}" not in known:
                with suppress(UsageError):  # such a name is no tag, and nobody can ask for it: `check` tells
                    yield Tag(path.parent.name, check_version(path.name))

    def leftovers(self, owned: set[str]) -> Iterator[Leftover]:
        """Hidden folders of ours at both levels, and whatever else somebody has put there."""
        for path in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            if path.name.startswith(CATALOG_FILE):  # and SQLite's own files beside it
                continue
            names = path.is_dir() and not path.is_symlink() and not _is_ours(path)
            for one in sorted(path.iterdir()) if names else [path]:
                if f"{path.name}/{one.name}" not in owned:
                    with suppress(FileNotFoundError):  # somebody was quicker
                        age = time.time() - one.lstat().st_mtime
                        yield Leftover(str(one.relative_to(self.root)), age, _is_ours(one))

    def clear(self, leftover: Leftover) -> None:
        """Remove the hidden folder."""
        if leftover.ours:
            shutil.rmtree(self.root / leftover.path, ignore_errors=True)

    def add_signatures(self, location: str, signatures: Sequence[Signature]) -> None:
        """Write the file anew."""
        folder = self.root / location
        with _disk_errors(self.root):
            write_at_once(folder / layout.SIGNATURES, merged(read_signatures(folder), signatures))


class _Staged(Incoming):
    def __init__(self, storage: FolderStorage, folder: Path) -> None:
        self.folder = folder
        self._storage = storage
        self._tag: Tag | None = None

    def store(self, tag: Tag) -> None:
        """It is here already; it needs to be on the disk."""
        self._tag = tag
        sync_folder(self.folder)

    def publish(self) -> str:
        """Rename it into place."""
        assert self._tag is not None
        tag, storage = self._tag, self._storage
        location = f"{tag.name}/{tag.version}"
        target = storage.root / location
        target.parent.mkdir(exist_ok=True)
        for hidden in storage._hidden(location):  # of an earlier bundle of the tag; what is lost later is not deleted
            shutil.rmtree(hidden, ignore_errors=True)
        try:
            os.rename(self.folder, target)
        except OSError as error:
            raise ConflictError(
                f"cannot put {tag} into its place {str(target)!r}: {error.strerror}; see what stands there"
            ) from error
        sync_path(target.parent)
        sync_path(storage.root)
        return location


def _is_ours(path: Path) -> bool:
    return path.name.startswith(PREFIX)


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write into the repository {str(root)!r}: {error.strerror or error}; make room there, or check its rights"
        ) from error


def read_whole(stream: BinaryIO, most: int, what: str) -> bytes:
    """All bytes of a small file, and its end.

    Raises:
        BundleError: it has more than ``most`` bytes.
    """
    with stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise BundleError(f"{what} has more than {most:,} bytes; do not use this bundle")
    return data
