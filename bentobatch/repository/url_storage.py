"""This module keeps bundles behind any URL that fsspec knows, such as s3://bucket/prefix.

No bucket can rename, so each push uploads to a place of its own, NAME/VERSION/TOKEN, and only the catalog's entry makes a
bundle of it. What no entry names is left over from a push or a deletion that was cut off.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from bentobatch.bundle import layout
from bentobatch.bundle.manifest import Manifest, parse_manifest
from bentobatch.bundle.signatures import Signature, merged, parse_signatures
from bentobatch.bundle.unpacking import LIMITS, Unpacked
from bentobatch.bundle.urls import reason, shown
from bentobatch.bundle.verify import COVERED
from bentobatch.errors import BentobatchError, BundleError, StorageError, UnavailableError, UsageError
from bentobatch.formats.source import filesystem_of
from bentobatch.repository.storage import Incoming, Leftover, Storage, read_whole
from bentobatch.tags import Tag

_OURS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*/[0-9a-f]{32})/.+")
_SMALL = 5 << 20
_BLOCK = 1 << 20
_UPLOADERS = 8


class UrlStorage(Storage):
    """The objects below ``url``. ``storage_options`` go to fsspec and appear nowhere."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self.where = shown(self.url)
        with self.errors():
            self.fs, root = filesystem_of(self.url, storage_options)
        self.root = root.rstrip("/")

    def uri(self, location: str) -> str:
        """The URL, as it may be shown."""
        return f"{self.where}/{location}"

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A temporary folder of this machine, which is uploaded by ``store``."""
        with tempfile.TemporaryDirectory(prefix="bentobatch-") as scratch:
            folder = Path(scratch) / "bundle"
            folder.mkdir()
            uploaded = _Uploaded(self, folder)
            try:
                yield uploaded
            finally:
                if not uploaded.published and uploaded.location:
                    with suppress(BentobatchError):  # gc finds it again; the error that led here is the one to tell
                        self._remove(uploaded.location)

    def hide(self, location: str) -> None:
        """Nothing to do: without its entry in the catalog it is no bundle."""

    def remove(self, location: str) -> None:
        """Every object of it."""
        self._remove(location)

    def _remove(self, location: str) -> None:
        with self.errors():
            for path in self.sizes(location):
                with suppress(FileNotFoundError):
                    self.fs.rm_file(self.path(location, path))

    def manifest(self, location: str) -> Manifest:
        """By its bytes alone."""
        return parse_manifest(self._manifest_bytes(location), self.uri(location))

    def check_kind(self, manifest: Manifest) -> None:
        """A manifest that lists no files, as BentoML's does, is worth nothing without its folder."""
        if manifest.written_by is not None:
            raise UsageError(
                f"{manifest.tag} was saved by BentoML {manifest.written_by}, and {self.where} keeps bundles of bentobatch "
                "only: make it one with `bentobatch migrate`"
            )

    def _manifest_bytes(self, location: str) -> bytes:
        what = f"bundle {self.uri(location)}: its {layout.MANIFEST}"
        return read_whole(self.open(location, layout.MANIFEST), _SMALL, what)

    def fill(self, location: str, folder: Path) -> None:
        """What the manifest lists, each file of the size that it says."""
        where, data = f"bundle {self.uri(location)}", self._manifest_bytes(location)
        manifest = parse_manifest(data, self.uri(location))
        signatures = self._signatures(location)
        with Unpacked(folder, where, allowed=LIMITS.bytes, members=LIMITS.members) as target:
            target.add_file(layout.MANIFEST, [data])
            if signatures is not None:
                target.add_file(layout.SIGNATURES, [signatures])
            for path in sorted(manifest.files.keys() - COVERED):
                with self.open(location, path) as stream, target.new_file(path) as file, self.errors():
                    shutil.copyfileobj(stream, file, _BLOCK)

    def open(self, location: str, path: str) -> BinaryIO:
        """Read ahead, not as a whole."""
        fault = layout.path_fault(path)
        if fault:
            raise BundleError(f"bundle {self.uri(location)}: a file {path!r} {fault}; do not use this bundle")
        try:
            with self.errors():
                return cast(BinaryIO, self.fs.open(self.path(location, path), "rb", cache_type="readahead"))
        except FileNotFoundError as error:
            raise BundleError(f"bundle {self.uri(location)}: the file {path} is missing; push it again") from error

    def sizes(self, location: str) -> Mapping[str, int]:
        """By one listing."""
        return {path: int(info["size"]) for path, info in self._below(location).items()}

    def leftovers(self, owned: set[str]) -> Iterator[Leftover]:
        """Places of pushes, each as one; and single objects that no push has made, which are never removed."""
        ages: dict[str, float] = {}
        for path, info in self._below("").items():
            match = _OURS.fullmatch(path)
            place = path if match is None else match[1]
            if place not in owned:
                ages[place] = min(_age(info), ages.get(place, float("inf")))
        for place, age in sorted(ages.items()):
            yield Leftover(place, age, _OURS.fullmatch(f"{place}/-") is not None)

    def clear(self, leftover: Leftover) -> None:
        """Every object of it."""
        if leftover.ours:
            self._remove(leftover.path)

    def add_signatures(self, location: str, signatures: Sequence[Signature]) -> None:
        """One object, which is replaced at once."""
        data = self._signatures(location)
        here = [] if data is None else parse_signatures(data, self.uri(location))
        with self.errors():
            self.fs.pipe_file(self.path(location, layout.SIGNATURES), merged(here, signatures))

    def _signatures(self, location: str) -> bytes | None:
        place = self.path(location, layout.SIGNATURES)
        with self.errors():
            if not self.fs.exists(place):
                return None
            return read_whole(self.open(location, layout.SIGNATURES), _SMALL, f"{self.uri(location)}/signatures")

    def _below(self, location: str) -> dict[str, dict[str, Any]]:
        """The objects below a location by their relative paths, as they are now."""
        root = self.path(location).rstrip("/")
        with self.errors():
            self.fs.invalidate_cache()
            try:
                found = self.fs.find(root, detail=True)
            except FileNotFoundError:
                return {}
        return {path.removeprefix(f"{root}/"): info for path, info in found.items() if path != root}

    def path(self, *parts: str) -> str:
        """A path as the file system has it."""
        return "/".join((self.root, *parts))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns what the library says into one line of ours, without the credentials that its text may hold."""
        try:
            yield
        except (BentobatchError, MemoryError, FileNotFoundError):
            raise
        except (ConnectionError, TimeoutError) as error:
            raise UnavailableError(f"the storage {self.where} does not answer: {reason(error, self.url)}") from None
        except Exception as error:  # noqa: BLE001 - the libraries behind fsspec have exceptions of their own
            what = f"{type(error).__name__}: {reason(error, self.url)}"
            raise StorageError(f"the storage {self.where} cannot be used: {what}") from None


class _Uploaded(Incoming):
    def __init__(self, storage: UrlStorage, folder: Path) -> None:
        self.folder = folder
        self.location = ""
        self.published = False
        self._storage = storage

    def store(self, tag: Tag) -> None:
        """Upload every file to a place of its own, and read each one back."""
        self.location = f"{tag.name}/{tag.version}/{secrets.token_hex(16)}"
        paths = list(layout.files_below(self.folder))
        with ThreadPoolExecutor(_UPLOADERS) as pool:
            for done in [pool.submit(self._put, path) for path in paths]:
                done.result()

    def _put(self, path: str) -> None:
        storage, place = self._storage, self._storage.path(self.location, path)
        with storage.errors():
            with suppress(NotImplementedError):  # of a store that knows no folders
                storage.fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            storage.fs.put_file(str(self.folder / path), place)
            with (self.folder / path).open("rb") as mine, storage.open(self.location, path) as there:
                same = _digest(mine) == _digest(there)
        if not same:
            raise StorageError(f"{storage.uri(self.location)}/{path} is not what was uploaded; try again")

    def publish(self) -> str:
        """Nothing moves: the entry that the caller makes is what counts."""
        self.published = True
        return self.location


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _age(info: Mapping[str, Any]) -> float:
    """Seconds since the object was written, 0 where that is not known."""
    for key in ("LastModified", "updated", "mtime", "last_modified", "created"):
        value = info.get(key)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, (int, float)):
            value = datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        if isinstance(value, datetime.datetime):
            zone = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
            return (datetime.datetime.now(datetime.timezone.utc) - zone).total_seconds()
    return 0.0
