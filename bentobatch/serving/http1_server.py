"""This module takes connections from listening sockets, keeps watch over them, and stops without losing a request.

It accepts by itself rather than by asyncio's server: when descriptors run out it waits and frees idle connections, and
when it stops it first takes those that the kernel has accepted already, whose requests would be lost otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections.abc import Sequence

from bentobatch.serving.http1 import Connection, Front
from bentobatch.serving.http1_exchange import HttpLimits, start_of

_BUFFER = 128 << 10
_AT_ONCE = 64
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
logger = logging.getLogger(__name__)


class HttpServer:
    """Serves ``front`` to the clients of ``listeners``. All methods belong to the loop's thread.

    ``watch`` must be called about once a second: it is what ends slow and idle connections, and there is no other timer.
    ``held``: bytes of bodies in memory.
    """

    def __init__(self, front: Front, limits: HttpLimits, *, tls: ssl.SSLContext | None = None) -> None:
        self.front = front
        self.limits = limits
        self.buffer = memoryview(bytearray(_BUFFER))
        self.held = 0
        self.draining = False
        self.accepted = 0
        self._tls = tls
        self._starts: dict[int, bytes] = {}
        self._listeners: list[socket.socket] = []
        self._accepting = False
        self._opening: set[asyncio.Task[object]] = set()
        self._connections: set[Connection] = set()
        self._emptied: asyncio.Event = asyncio.Event()

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Begin to take connections."""
        self._listeners = list(listeners)
        for listener in self._listeners:
            listener.setblocking(False)
        self._set_accepting(True)

    def start_of(self, status: int) -> bytes:
        """The first lines of an answer, kept from one call of ``watch`` to the next."""
        start = self._starts.get(status)
        if start is None:
            start = self._starts[status] = start_of(status)
        return start

    def opened(self, connection: Connection) -> None:
        """A connection is ready."""
        self._connections.add(connection)
        if len(self._connections) + len(self._opening) >= self.limits.connections:
            self._set_accepting(False)

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def watch(self) -> None:
        """Let time pass: end what takes too long, and accept again where that was stopped."""
        now = time.monotonic()
        self._starts.clear()
        for connection in list(self._connections):
            connection.watch(now)
        if not self._accepting and self._listeners and len(self._connections) < self.limits.connections:
            self._set_accepting(True)

    async def drain(self, *, last_call: float = 1.0) -> None:
        """Take no more connections, answer the requests that are here, and return when all connections have ended.

        Idle ones end after ``last_call`` seconds: a request may be on its way.
        """
        self.draining = True
        loop = asyncio.get_running_loop()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            if self._accepting:
                loop.remove_reader(listener)
            self._accept(listener, most=1 << 16)
            listener.close()
        self._accepting = False
        while self._opening:
            await asyncio.wait(self._opening)
        end = time.monotonic() + last_call
        while self._connections:
            if time.monotonic() >= end:
                for connection in [each for each in self._connections if each.idle]:
                    connection.close()
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), 0.1)
            except asyncio.TimeoutError:
                continue

    def _set_accepting(self, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        self._accepting = wanted
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            if wanted:
                loop.add_reader(listener, self._accept, listener)
            else:
                loop.remove_reader(listener)

    def _accept(self, listener: socket.socket, most: int = _AT_ONCE) -> None:
        for _ in range(most):
            try:
                client, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._make_room(error)
                return
            self.accepted += 1
            client.setblocking(False)
            opening = asyncio.get_running_loop().create_task(self._open(client))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self), client, ssl=self._tls)
        except (OSError, ssl.SSLError):  # the client left, or speaks no TLS
            client.close()

    def _make_room(self, error: OSError) -> None:
        """There are no descriptors left: let those go who do nothing, and try again with the next ``watch``."""
        idle = [connection for connection in self._connections if connection.idle]
        logger.warning(
            "no connection can be accepted: %s; there are %d, of which %d are idle and closed now; raise `ulimit -n`",
            error.strerror,
            len(self._connections),
            len(idle),
        )
        for connection in idle:
            connection.close()
        self._set_accepting(False)
