"""This module is one HTTP request to an api and its reply as plain data, the same for every server that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from bentobatch.errors import DataError


class Call(NamedTuple):  # and no frozen dataclass, which costs four times as much to make
    """A request whose body was read. ``route`` has no slash at its ends; names of ``headers`` are in lower case, and where
    a header came twice its values are joined by a comma. ``query`` is what follows the question mark. ``request_id`` is
    of ``request_id_of``; ``received_at`` is a time of time.monotonic(). ``body`` is as it was sent, still compressed."""

    route: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    query: str = ""
    request_id: str = ""
    received_at: float = 0.0


class Reply(NamedTuple):
    """What goes back. ``headers`` have neither Content-Length nor Connection: these are the server's own. With ``close``
    the server ends the connection, since the rest of the request was not read."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    close: bool = False


class RequestError(DataError):
    """A request that cannot be answered with ``status``, for a reason that is the client's to mend. ``headers`` go into
    the reply. With ``close`` the rest of the request is not read."""

    travels = False

    def __init__(
        self, status: int, message: str, *, headers: tuple[tuple[str, str], ...] = (), close: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.close = close


def too_large(most: int) -> RequestError:
    """The request has a longer body than is taken; a server answers so before it has read the body."""
    return RequestError(413, f"the request's body is longer than the {most:,} bytes that are taken", close=True)
