"""This module keeps connections to one HTTP server, for any number of threads, and sends requests over them.

A kept connection that the server has ended is found out before it is used. Where it is cut off before a byte of the
answer came, the request is sent once more, over a new one: who asks must let a request be answered twice, as apis must
anyway, since a server may score rows again to find a bad one among them. Redirects are answers like any other.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bentobatch.bundle.urls import reason
from bentobatch.errors import UnavailableError

MOST_IDLE = 32
MOST_BYTES = 1 << 30
"""Of an answer: a longer one is not read to its end."""


@dataclass(frozen=True)
class Answer:
    """``headers`` have their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CutOffError(Exception):
    """The connection ended before a byte of the answer came."""


class Connections:
    """Connections to ``host``:``port``, with TLS where there is a ``context``."""

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.opened = 0

    @property
    def where(self) -> str:
        """The server, for messages."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._context is None else 'https'}://{host}:{self._port}"

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes, *, until: float) -> Answer:
        """Send a request and read its answer, by the time ``until`` of time.monotonic().

        Raises:
            UnavailableError: the server cannot be reached, ends the connection, is silent for too long, or speaks no HTTP.
        """
        try:
            kept = self._kept()
            if kept is not None:
                try:
                    return self._over(kept, method, target, headers, body, until)
                except CutOffError:  # it had ended it, or was about to, when the request was sent
                    pass
            return self._over(self._new(until), method, target, headers, body, until)
        except CutOffError as error:
            raise self._unavailable(error.__cause__ or error) from error.__cause__
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.where} did not answer in time; try again, or allow a longer timeout"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """End the connections that no request is on; the others end with theirs."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _over(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        until: float,
    ) -> Answer:
        kept = False
        try:
            if connection.sock is not None:
                connection.sock.settimeout(_left(until))
            with _response(connection, method, target, headers, body) as response:
                content = response.read(MOST_BYTES + 1)
                if len(content) > MOST_BYTES:
                    raise http.client.HTTPException(f"its answer has more than {MOST_BYTES:,} bytes")
                if response.length:
                    raise http.client.HTTPException("its answer was cut off")
                kept = response.isclosed() and not response.will_close
        finally:
            if kept:
                self._keep(connection)
            else:
                connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, content)

    def _new(self, until: float) -> http.client.HTTPConnection:
        self.opened += 1
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=_left(until))
        return http.client.HTTPSConnection(self._host, self._port, timeout=_left(until), context=self._context)

    def _kept(self) -> http.client.HTTPConnection | None:
        """A connection that the server has not ended, the one that was used last."""
        while True:
            with self._lock:
                if self._process != os.getpid():  # a fork's child must not speak over its parent's connections
                    self._idle, self._process = [], os.getpid()
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _is_readable(connection):
                return connection
            connection.close()

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if self._process == os.getpid() and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _unavailable(self, error: BaseException) -> UnavailableError:
        what = f"{type(error).__name__} {reason(error, self.where)}"
        return UnavailableError(f"the server at {self.where} does not answer: {what}; try again")


def _response(
    connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> http.client.HTTPResponse:
    if connection.sock is None:
        connection.connect()
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have refused the body half-way
            connection.request(method, target, body=body or None, headers=dict(headers))
        return connection.getresponse()
    except (ConnectionError, http.client.RemoteDisconnected) as error:
        raise CutOffError from error


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has said something that nobody asked for: that it ends the connection."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
