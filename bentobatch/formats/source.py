"""This module opens input files: local paths as they are, URLs through fsspec, with errors that name the file.

A local path is never parsed as a URL, so any name that the file system allows can be read, bytes that are no UTF-8
included (they stand in a ``uri`` as os.fsdecode leaves them; ``printable`` makes them fit for a message).
Storage options may be credentials: they appear in no message and in no chained exception.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow as pa

from bentobatch.errors import (
    BentobatchError,
    DataError,
    MissingDependencyError,
    NoInputError,
    StorageError,
    UsageError,
)
from bentobatch.formats.base import InputFile

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""URL scheme -> the extra of this distribution that brings its library."""

_URL = re.compile(r"(?P<wrappers>(?:[A-Za-z][\w+.-]*::)*)(?P<scheme>[A-Za-z][\w+.-]*)://", re.ASCII)
_BUFFER = 1 << 20


def is_url(uri: str) -> bool:
    """Whether ``uri`` is a URL (it starts with ``scheme://``, or ``cache::scheme://``) and not a local path."""
    return _URL.match(uri) is not None


def printable(uri: str) -> str:
    """``uri`` for a message: one line of printable text, without what may be a secret in a URL.

    Bytes that are no UTF-8 become ``\\xff``, control characters their escapes; the user:password part of a URL and the
    query of an http URL (a signature, often) become ``***``.
    """
    if is_url(uri):
        uri = re.sub(r"://[^/]*@", "://***@", uri)
        uri = re.sub(r"(https?://[^?]*\?).*", r"\1***", uri, flags=re.DOTALL)
    if uri.isprintable():
        return uri
    return "".join(char if char.isprintable() else _escaped(char) for char in uri)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(char)[1:-1]


def split_chain(url: str) -> tuple[str, str]:
    """``zip://a.csv::s3://b/c.zip`` as its inner URL and the rest (from ``::`` on), which is empty for a plain one."""
    cut = url.find("::", url.index("://"))
    return (url, "") if cut < 0 else (url[:cut], url[cut:])


def base_name(uri: str) -> str:
    """The last part of the path, as it is; of a URL without query. ``printable`` makes it fit for a message."""
    if is_url(uri):
        uri = split_chain(uri)[0]
        if re.match(r"(\w+::)*https?://", uri):
            uri = uri.partition("?")[0].partition("#")[0]
    return uri.rstrip("/").rpartition("/")[2]


def storage_error(error: Exception, uri: str, storage_options: Mapping[str, Any] | None = None) -> BentobatchError:
    """The error to raise for ``error``, which came up while ``uri`` was opened or read: one line, without secrets."""
    if isinstance(error, FileNotFoundError):
        return NoInputError(f"No such file or directory: {printable(uri)}")
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = next((line.strip() for line in text.splitlines() if line.strip()), "") or type(error).__name__
    for secret in _values(storage_options or {}):
        reason = reason.replace(secret, "***")
    if not isinstance(error, OSError):
        reason = f"{type(error).__name__}: {reason}"
    return StorageError(f"cannot read {printable(uri)}: {reason}")


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    for value in options.values():
        if isinstance(value, Mapping):
            yield from _values(value)
        elif len(str(value)) > 3 and not isinstance(value, bool):  # shorter ones would only mangle the message
            yield str(value)


@contextmanager
def storage_errors(uri: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Turns what opening or reading ``uri`` raises into StorageError, or NoInputError where nothing is there.

    For a local path only OSError is turned; the libraries behind a URL have exceptions of their own, so all are.
    """
    try:
        yield
    except (BentobatchError, MemoryError):
        raise
    except OSError as error:
        raise storage_error(error, uri, storage_options) from (None if storage_options else error)
    except Exception as error:
        if not is_url(uri):
            raise
        raise storage_error(error, uri, storage_options) from (None if storage_options else error)


@contextmanager
def arrow_errors(file: InputFile, kind: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Turns what pyarrow raises over the content of ``file`` into DataError, and what the disk says into StorageError.

    ``kind`` is the format's name in a sentence. pyarrow raises OSError for both; only the disk's has an errno. A file
    that asks for more memory at once than the machine has is broken, whatever else runs here; less is a MemoryError.
    """
    try:
        yield
    except BentobatchError:
        raise
    except MemoryError as error:
        asked = re.search(r"size (\d+)", str(error))
        if asked is not None and int(asked[1]) > _physical_memory():
            what = f"it asks for {int(asked[1]) >> 30} GiB of memory at once"
            raise DataError(f"{printable(file.uri)}: broken {kind} file: {what}") from error
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and (error.errno is not None or isinstance(error, FileNotFoundError)):
            raise storage_error(error, file.uri, storage_options) from (None if storage_options else error)
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DataError(f"{printable(file.uri)}: broken {kind} file: {printable(reason)}") from error


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def filesystem_of(uri: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec file system that holds ``uri`` (a path or a URL), and the path of it there.

    Raises:
        UsageError: no file system is known for the URL's scheme.
        MissingDependencyError: one is known, but its library is not installed.
        StorageError: it cannot be set up (wrong options, no network).
    """
    import fsspec  # not at the top: local jobs do without it, and start sooner

    match = _URL.match(uri)
    if match is None:
        return fsspec.filesystem("file"), os.path.abspath(uri)
    schemes = [*match["wrappers"].split("::")[:-1], match["scheme"]]
    for scheme in schemes:
        _check_scheme(scheme, uri)
    with storage_errors(uri, storage_options):
        fs, path = fsspec.core.url_to_fs(uri, **(storage_options or {}))
    return fs, str(path)


def _check_scheme(scheme: str, uri: str) -> None:
    import fsspec  # as above
    from fsspec.registry import known_implementations

    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError as error:
        raise UsageError(
            f"unknown scheme {scheme!r} in {printable(uri)}: use a path or a URL such as s3://bucket/key"
        ) from error
    except ImportError as error:
        if scheme in EXTRAS:
            cure = f"pip install bentobatch[{EXTRAS[scheme]}]"
        else:
            cure = str(known_implementations.get(scheme, {}).get("err") or error)
        raise MissingDependencyError(
            f"reading {scheme}:// needs a library that is not installed: {cure} (for {printable(uri)})"
        ) from error


class _Guarded(io.RawIOBase):
    """A readable, seekable raw file around another one: whatever that raises becomes a StorageError."""

    def __init__(self, inner: Any, uri: str, storage_options: Mapping[str, Any] | None) -> None:
        self._inner = inner
        self._uri = uri
        self._options = storage_options

    def read(self, size: int | None = -1, /) -> bytes:
        with storage_errors(self._uri, self._options):
            return cast(bytes, self._inner.read(-1 if size is None else size))

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: Any, /) -> int:
        data = memoryview(buffer).cast("B")
        with storage_errors(self._uri, self._options):
            if hasattr(self._inner, "readinto"):
                return int(self._inner.readinto(data) or 0)
            block = self._inner.read(len(data))
        data[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with storage_errors(self._uri, self._options):
            return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


def _open_url(uri: str, storage_options: Mapping[str, Any] | None, cache: str) -> _Guarded:
    fs, path = filesystem_of(uri, storage_options)
    with storage_errors(uri, storage_options):
        inner = fs.open(path, "rb", cache_type=cache)
        # a web server without ranges: the whole file comes in one stream anyway
        if not inner.seekable() or getattr(inner, "size", 0) is None:
            inner = _spooled(inner)
    return _Guarded(inner, uri, storage_options)


def _spooled(stream: Any) -> BinaryIO:
    copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    with stream:
        while block := stream.read(_BUFFER):
            copy.write(block)
    copy.seek(0)
    return copy


def open_binary(file: InputFile, storage_options: Mapping[str, Any] | None = None) -> BinaryIO:
    """The bytes of ``file`` as stored (a compressed file stays compressed), buffered and seekable.

    Raises:
        NoInputError: it is not there any more.
        StorageError: it cannot be opened; later, from its methods: it cannot be read.
    """
    if is_url(file.uri):
        raw = _open_url(file.uri, storage_options, "readahead")
    else:
        with storage_errors(file.uri):
            raw = _Guarded(io.FileIO(file.uri), file.uri, None)
    return cast(BinaryIO, io.BufferedReader(raw, _BUFFER))


def open_arrow(file: InputFile, storage_options: Mapping[str, Any] | None = None, *, cache: str = "readahead") -> Any:
    """The bytes of ``file`` as a pyarrow.NativeFile. Local files are read, not mapped: a mapped file that shrinks
    while it is read kills the process (SIGBUS). ``cache`` is fsspec's name of the way to read a URL ahead; "none" suits
    readers that ask for large pieces here and there.

    Raises:
        NoInputError, StorageError: see ``open_binary``.
        DataError: the file is empty, or its size is not that of the plan any more.
    """
    if is_url(file.uri):
        stream: Any = pa.PythonFile(_open_url(file.uri, storage_options, cache), mode="r")
    else:
        path: Any = os.fsencode(file.uri)  # pyarrow takes bytes, and only those for a name that is no UTF-8
        with storage_errors(file.uri):
            stream = pa.OSFile(path, "rb")
    with storage_errors(file.uri, storage_options):
        size = stream.size()
    if size == 0 or size != file.size:
        stream.close()
        what = "empty file (size 0)" if size == 0 else f"changed while it was read ({file.size} bytes, now {size})"
        raise DataError(f"{printable(file.uri)}: {what}")
    return stream
