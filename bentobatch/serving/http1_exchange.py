"""This module holds one request over HTTP/1.1 and the bytes of its answer, and the limits that a worker sets to both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from bentobatch.serving.call import Reply
from bentobatch.serving.problems import problem_of, title_of

if TYPE_CHECKING:
    from bentobatch.serving.http1 import Connection

logger = logging.getLogger(__name__)

_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True)
class HttpLimits:
    """What a client may ask of a worker: sizes in bytes, times in seconds.

    ``body_bytes``: of one request; ``all_body_bytes``: of all requests that the worker holds at one time. ``head_bytes``:
    names and values of the header's fields together. ``head_seconds``: from a request's first byte, or the connection's
    beginning, to the end of the header. After ``body_seconds`` a body must have come with ``body_rate`` bytes a second.
    ``idle_seconds``: between two requests. ``write_seconds``: how long a client may take nothing of its answer.
    ``linger_…``: what is still read, and thrown away, after an answer that ends the connection, so that the client sees
    the answer and not a reset. ``pipelined``: so many requests of one connection are at work at one time.
    """

    body_bytes: int = 20 << 20
    all_body_bytes: int = 512 << 20
    head_bytes: int = 32 << 10
    head_fields: int = 100
    target_bytes: int = 8 << 10
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: float = 4096.0
    idle_seconds: float = 75.0
    write_seconds: float = 60.0
    linger_seconds: float = 2.0
    linger_bytes: int = 1 << 20
    pipelined: int = 32
    connections: int = 20_000


class Exchange:
    """One request, and in time its answer.

    ``headers`` are in the order of arrival, the names in small letters. ``path`` is percent-decoded; ``target`` is what
    stood in the first line. Whoever serves the request calls ``answer`` once, in the loop's thread. ``on_gone`` is called
    if the client leaves first. ``short``: what the front's ``short_way`` made of it.
    """

    __slots__ = (
        "body",
        "connection",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "on_gone",
        "path",
        "query",
        "received_at",
        "short",
        "target",
        "version",
        "wire",
    )

    def __init__(self, connection: Connection, method: str, target: bytes, version: str) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.version = version
        self.path, self.query = _path_and_query(target)
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.received_at = 0.0
        self.keep_alive = True
        self.gone = False
        self.on_gone: Callable[[], object] | None = None
        self.short: Any = None
        self.wire: bytes | None = None

    def header(self, name: bytes) -> bytes | None:
        """The value of the first field of this name (in small letters)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def answer(self, reply: Reply, *, length: int | None = None) -> None:
        """Send the answer when its turn has come; nothing where the client is gone. ``length``: of the body that the answer
        to a HEAD has not.
        """
        if self.gone:
            return
        try:
            self.prepare(reply, length)
        except ValueError as error:  # an api or an application put it there
            logger.error("%s %r: %s", self.method, self.target, error)
            self.prepare(problem_of(error, ""))
        self.connection.flush()

    def prepare(self, reply: Reply, length: int | None = None) -> None:
        """Make the bytes of the answer, and settle whether the connection stays open after it.

        Raises:
            ValueError: a header has a line end in it, or other characters than latin-1.
        """
        status, body = reply.status, reply.body
        fields = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
        if fields.count("\n") != len(reply.headers):
            raise ValueError(f"a header of the reply has a line end in it: {reply.headers!r}")
        if reply.close:
            self.keep_alive = False
        connection = self.connection
        keeps = connection.keeps_open_after(self)
        self.keep_alive = keeps
        if keeps:
            last = b"\r\n" if self.version == "1.1" else b"Connection: keep-alive\r\n\r\n"
        else:
            last = b"Connection: close\r\n\r\n"
        if status in _NO_BODY:
            self.wire = b"%b%b%b" % (connection.server.start_of(status), fields.encode("latin-1"), last)
        else:
            self.wire = b"%b%bContent-Length: %d\r\n%b%b" % (
                connection.server.start_of(status),
                fields.encode("latin-1"),
                len(body) if length is None else length,
                last,
                b"" if self.method == "HEAD" else body,
            )


def start_of(status: int) -> bytes:
    """The first lines of an answer of now: the status, and the date."""
    return f"HTTP/1.1 {status} {title_of(status)}\r\nDate: {formatdate(usegmt=True)}\r\n".encode("ascii")


@lru_cache(maxsize=128)
def _path_and_query(target: bytes) -> tuple[bytes, bytes]:
    """The decoded path and the raw query, of the origin form, the absolute form, or ``*``."""
    if not target.startswith(b"/") and target != b"*":
        parts = urlsplit(target)
        return unquote_to_bytes(parts.path or b"/"), parts.query
    path, _, query = target.partition(b"?")
    return (unquote_to_bytes(path) if b"%" in path else path), query
