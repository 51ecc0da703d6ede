"""This module keeps a job's state beside its output: small files and parts that appear whole or not at all.

On a local disk a write is a temporary name, fsync, rename, fsync of the directory. In a bucket a put is atomic by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from bentobatch.engine.objects import objects_of
from bentobatch.engine.overhead import spending
from bentobatch.errors import BentobatchError, OutputError, StorageError, UsageError

TEMPORARY = ".tmp-"
"""Every file that is not whole yet begins so; a crash may leave one, and nothing ever reads it."""


LAZY_BYTES = 1 << 20
"""A file that is written lazily and has fewer bytes is left to the system to write out. Thousands of small files would
take longer to sync than to score."""

_MANY_FILES, _REMOVERS = 256, 8


class Store(ABC):
    """A folder for state. Names are relative, with '/' between levels."""

    @abstractmethod
    def uri(self, name: str) -> str:
        """The local path or the URL of a file."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or None if there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes, *, lazily: bool = False) -> None:
        """Put a file in place at once, durably."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names (not paths) in a folder, temporary ones left out, sorted; empty if it does not exist."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file or a folder with all it holds; it is no error if it is gone."""

    @abstractmethod
    def create(self, name: str, *, lazily: bool = False) -> contextlib.AbstractContextManager[BinaryIO]:
        """A new file to write to; it appears under its name when the context ends without an error. ``lazily``: if it is
        small, it need not outlive a power cut yet (see parts.Receipt)."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """An existing file to read."""

    @abstractmethod
    def copy(self, source: str, name: str) -> None:
        """A second name for an immutable file, or a copy of it."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file."""


class LocalStore(Store):
    """A folder on a local disk."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.root / name if name else self.root

    def uri(self, name: str) -> str:
        return str(self.path(name))

    def _at(self, name: str) -> str:
        """``path`` as text: a commit asks for every receipt and part of what may be a million splits."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes | None:
        try:
            with open(self._at(name), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise storage_error("read", self.path(name), error) from error

    def write(self, name: str, data: bytes, *, lazily: bool = False) -> None:
        with self.create(name, lazily=lazily) as file:
            file.write(data)

    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.path(folder)) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith(TEMPORARY))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise storage_error("list", self.path(folder), error) from error

    def delete(self, name: str) -> None:
        remove(self.path(name))

    @contextlib.contextmanager
    def create(self, name: str, *, lazily: bool = False) -> Iterator[BinaryIO]:
        with whole_file(self.path(name), lazily=lazily) as file:
            yield file

    def open(self, name: str) -> BinaryIO:
        try:
            return self.path(name).open("rb")
        except OSError as error:
            raise storage_error("open", self.path(name), error) from error

    def copy(self, source: str, name: str) -> None:
        link_or_copy(self.path(source), self.path(name))

    def size(self, name: str) -> int:
        try:
            return os.stat(self._at(name)).st_size
        except OSError as error:
            raise storage_error("open", self.path(name), error) from error


class BucketStore(Store):
    """A prefix in a bucket, through fsspec. Parts are written to a local temporary file and uploaded whole."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self.options = storage_options
        self.fs, self.root = bucket(url, storage_options)

    def path(self, name: str) -> str:
        """The key of a file."""
        return f"{self.root}/{name}" if name else self.root

    def uri(self, name: str) -> str:
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes | None:
        with bucket_errors("read", self.path(name), self.options):
            self.fs.invalidate_cache()
            try:
                data: bytes = self.fs.cat_file(self.path(name))
            except FileNotFoundError:
                return None
            return data

    def write(self, name: str, data: bytes, *, lazily: bool = False) -> None:
        del lazily
        with bucket_errors("write", self.path(name), self.options):
            self.fs.pipe_file(self.path(name), data)

    def names(self, folder: str) -> list[str]:
        with bucket_errors("list", self.path(folder), self.options):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(self.path(folder), detail=False)
            except FileNotFoundError:
                return []
            names = (str(entry).rstrip("/").rpartition("/")[2] for entry in found)
            return sorted(name for name in names if name and not name.startswith(TEMPORARY))

    def delete(self, name: str) -> None:
        with bucket_errors("delete", self.path(name), self.options):
            remove_objects(self.fs, self.path(name))

    @contextlib.contextmanager
    def create(self, name: str, *, lazily: bool = False) -> Iterator[BinaryIO]:
        del lazily  # what a bucket has taken is durable
        with tempfile.NamedTemporaryFile(prefix="bentobatch-") as local:
            yield local  # type: ignore[misc]  # the wrapper has the methods of the file that it wraps
            local.flush()
            with bucket_errors("write", self.path(name), self.options):
                self.fs.put_file(local.name, self.path(name))

    def open(self, name: str) -> BinaryIO:
        with bucket_errors("open", self.path(name), self.options):
            file: BinaryIO = self.fs.open(self.path(name), "rb")
            return file

    def copy(self, source: str, name: str) -> None:
        with bucket_errors("copy", self.path(source), self.options):
            self.fs.cp_file(self.path(source), self.path(name))

    def size(self, name: str) -> int:
        with bucket_errors("open", self.path(name), self.options):
            self.fs.invalidate_cache()
            return int(self.fs.size(self.path(name)))


def bring(store: Store, name: str, target: Path) -> None:
    """A file of a store as a local one, that is never written to."""
    if isinstance(store, LocalStore):
        link_or_copy(store.path(name), target)
        return
    with store.open(name) as source, whole_file(target) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def end_uploads(store: Store) -> int:
    """End uploads into a store that a killed run has left unfinished; how many. The caller holds the lease."""
    if not isinstance(store, BucketStore):
        return 0
    with bucket_errors("list uploads to", store.root, store.options):
        return objects_of(store.fs).end_uploads(f"{store.root}/")


def is_url(path: str) -> bool:
    """Whether ``path`` names a place that fsspec knows by a scheme."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme.replace("+", "").isalnum()


def store_at(place: str, storage_options: Mapping[str, Any] | None = None) -> Store:
    """The store at a local path or a URL."""
    return BucketStore(place, storage_options) if is_url(place) else LocalStore(place)


def bucket(url: str, storage_options: Mapping[str, Any] | None) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it.

    Raises:
        UsageError: the scheme is unknown, or its library is not installed.
    """
    import fsspec  # not at the top: local jobs and --help do without it

    scheme = url.partition("://")[0]
    try:
        fs, path = fsspec.core.url_to_fs(url, **dict(storage_options or {}))
    except ImportError as error:
        raise UsageError(f"the scheme {scheme}:// needs a library: pip install 'bentobatch[{scheme}]'") from error
    except ValueError as error:
        raise UsageError(f"unknown scheme or protocol {scheme!r} in {url!r}") from error
    return fs, str(path).rstrip("/")


def remove_objects(fs: Any, path: str) -> None:
    """Remove an object, or all below a prefix; it is no error if there are none.

    fs.rm would take ``*`` and ``[`` in a key for a pattern, and remove what matches it.
    """
    fs.invalidate_cache()
    try:
        found = list(fs.find(path))
    except FileNotFoundError:
        return
    plain = [name for name in found if not any(mark in name for mark in "*?[")]
    with contextlib.suppress(FileNotFoundError):
        if plain:
            fs.rm(plain)
    for name in set(found).difference(plain):
        fs.rm_file(name)
    fs.invalidate_cache()


@contextlib.contextmanager
def bucket_errors(action: str, path: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[None]:
    """What a bucket's library raises, as a StorageError of one line; the values of ``storage_options`` may be secrets and
    appear neither in it nor in its cause."""
    try:
        yield
    except BentobatchError:
        raise
    except Exception as error:  # noqa: BLE001 - the libraries behind URLs have errors of their own
        raise _bucket_error(action, path, error, storage_options) from (None if storage_options else error)


def _bucket_error(
    action: str, path: str, error: Exception, storage_options: Mapping[str, Any] | None
) -> BentobatchError:
    from bentobatch.formats.source import printable, storage_error  # here: a leader does without pyarrow until it fails

    shown = printable(path)
    writing = action == "write"
    if isinstance(error, FileNotFoundError):
        kind = OutputError if writing else StorageError
        return kind(f"cannot {action} {shown}: there is no such bucket or object; create the bucket, or choose another")
    reason = str(storage_error(error, path, storage_options)).partition(f"{shown}: ")[2]
    if isinstance(error, PermissionError):
        kind = OutputError if writing else StorageError
        return kind(f"cannot {action} {shown}: {reason}; check the credentials and the bucket's policy")
    return StorageError(
        f"cannot {action} {shown}: {reason}; run the same command again, it goes on from the finished splits"
    )


@contextlib.contextmanager
def whole_file(path: Path, *, lazily: bool = False) -> Iterator[BinaryIO]:
    """A file that appears at ``path`` when the context ends well: temporary name, fsync, rename, fsync of the folder.

    ``lazily``: a small one is not synced; a crash of the process leaves it whole or absent all the same.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise storage_error("create", path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            synced = not lazily or file.tell() >= LAZY_BYTES
            if synced:
                with spending("fsync"):
                    os.fsync(file.fileno())
        os.replace(temporary, path)
        if synced:
            with spending("fsync"):
                sync_folder(path.parent)
    except OSError as error:
        raise storage_error("write", path, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the disk has them, else a whole copy."""
    try:
        try:
            os.link(source, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOTSUP}:
            raise storage_error("link", target, error) from error
        with whole_file(target) as file, source.open("rb") as original:
            shutil.copyfileobj(original, file, 1 << 20)


def remove(path: Path) -> None:
    """Remove a file or a tree; it is no error if it is gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            _remove_many(path)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error("remove", path, error) from error


def _remove_many(folder: Path) -> None:
    """Remove the files of a folder that holds very many, several at a time: each is a wait for the disk's journal."""
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries if not entry.is_dir(follow_symlinks=False)]
    if len(paths) < _MANY_FILES:
        return

    def unlink(first: int) -> None:
        for path in paths[first : first + _MANY_FILES]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    with ThreadPoolExecutor(_REMOVERS, thread_name_prefix="bentobatch-remove") as pool:
        for _ in pool.map(unlink, range(0, len(paths), _MANY_FILES)):
            pass


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_error(action: str, path: Path, error: OSError) -> BentobatchError:
    """An OSError as one of ours, in one line that says what to do."""
    reason = error.strerror or str(error)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return OutputError(f"cannot {action} {path}: {reason}; choose another place or mend its permissions")
    advice = ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        advice = "; free some space and run the same command again, it goes on from the finished splits"
    return StorageError(f"cannot {action} {path}: {reason}{advice}")
