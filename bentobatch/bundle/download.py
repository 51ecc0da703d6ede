"""This module copies bytes from a URL to the disk: streamed, bounded, and with no secret in any message.

http and https are read by web.py, every other scheme by fsspec.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from bentobatch.bundle.urls import reason, shown
from bentobatch.errors import BentobatchError, BundleError, NoInputError, StorageError, UnavailableError

_BLOCK = 1 << 20


def download(url: str, target: BinaryIO, *, most: int) -> int:
    """Copy what stands at ``url`` into ``target``; returns how many bytes came, which are ``most`` at most.

    Raises:
        NoInputError: nothing stands there.
        BundleError: it has more than ``most`` bytes; no more than one block of them was read.
        UnavailableError: the server did not answer, or stopped in the middle.
        StorageError: it cannot be read for another reason; no message has credentials in it.
    """
    with _errors(url), _opened(url) as (stream, length):
        if length is not None and length > most:
            raise _too_long(url, most)
        count = 0
        while block := stream.read(min(_BLOCK, most + 1 - count)):  # one byte more than allowed tells that it is more
            count += len(block)
            if count > most:
                raise _too_long(url, most)
            target.write(block)
        if length is not None and count != length:
            raise UnavailableError(f"{shown(url)} was cut off after {count:,} of {length:,} bytes; try again")
        return count


def _too_long(url: str, most: int) -> BundleError:
    return BundleError(f"{shown(url)} has more than {most:,} bytes, the most that is fetched of it; nothing was kept")


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, int | None]]:
    """A stream of the bytes at ``url``, and how many there are, where that is known."""
    if urlsplit(url).scheme.lower() in ("http", "https"):
        from bentobatch.bundle.web import web_stream  # Python's http client is slow to import, and seldom needed

        with web_stream(url) as opened:
            yield opened
        return
    from bentobatch.formats.source import filesystem_of  # imports pyarrow, which a bundle from the web does without

    fs, path = filesystem_of(url)
    with fs.open(path, "rb", cache_type="readahead") as stream:
        yield stream, None


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Turns what a library says about ``url`` into one line of ours. The cause is dropped: its text may hold secrets."""
    try:
        yield
    except (BentobatchError, MemoryError):
        raise
    except FileNotFoundError:
        raise NoInputError(f"{shown(url)}: nothing is there; check the URL") from None
    except (ConnectionError, TimeoutError) as error:
        raise UnavailableError(f"cannot fetch {shown(url)}: {reason(error, url)}; try again") from None
    except OSError as error:
        raise StorageError(f"cannot fetch {shown(url)}: {reason(error, url)}") from None
    except Exception as error:  # noqa: BLE001 - the libraries behind fsspec have exceptions of their own
        raise StorageError(f"cannot fetch {shown(url)}: {type(error).__name__}: {reason(error, url)}") from None
