"""This module serves a small site over HTTP/1.1 in a thread, and talks to it in raw bytes."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bentobatch.serving.call import Reply, RequestError
from bentobatch.serving.http1_exchange import Exchange, HttpLimits
from bentobatch.serving.http1_server import HttpServer
from bentobatch.serving.http1_wsgi import WsgiThreads
from bentobatch.serving.problems import problem_of

HOST = b"Host: here\r\n"


class Front:
    """POST /short is answered in the loop, with its body; POST /held when ``release`` is called, in the other order; the
    rest goes to a WSGI application, which tells what it got."""

    def __init__(self) -> None:
        self.threads = WsgiThreads(self.wsgi, threads=4)
        self.held: list[Exchange] = []
        self.served: list[str] = []
        self.gone: list[Exchange] = []
        self.refused: list[int] = []
        self.gate = threading.Event()

    def short_way(self, exchange: Exchange) -> object | None:
        return exchange.path if exchange.method == "POST" and exchange.path in (b"/short", b"/held") else None

    def serve(self, exchange: Exchange) -> None:
        self.served.append(f"{exchange.method} {exchange.path.decode('latin-1')}")
        if exchange.short is None:
            self.threads.serve(exchange, "test")
        elif exchange.short == b"/short":
            exchange.answer(Reply(200, (("Content-Type", "text/plain"),), exchange.body))
        else:
            self.held.append(exchange)
            exchange.on_gone = lambda: self.gone.append(exchange)

    def refuse(self, exchange: Exchange, error: RequestError) -> Reply:
        self.refused.append(error.status)
        return problem_of(error, "test")

    def release(self) -> None:
        """Answer what is held, the newest first."""
        while self.held:
            exchange = self.held.pop()
            exchange.answer(Reply(200, (), exchange.body))

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/wait":
            assert self.gate.wait(30)
        elif path == "/raise":
            raise RuntimeError("the application is broken")
        elif path == "/large":
            if environ["REQUEST_METHOD"] == "HEAD":
                start_response("200 OK", [("Content-Length", str(8 << 20))])
                return []
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
            return [b"x" * (8 << 20)]
        body = environ["wsgi.input"].read()
        told = {key: environ.get(key, "") for key in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH")}
        told["fields"] = " ".join(sorted(key for key in environ if key.startswith("HTTP_")))
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", path), ("Connection", "x")])
        return [repr(told).encode(), b"\n", body]


class Served:
    """A server of the site on a free port, with its loop in a thread. ``every``: seconds from one ``watch`` to the next."""

    def __init__(self, limits: HttpLimits, every: float = 0.05) -> None:
        self.front = Front()
        self.loop = asyncio.new_event_loop()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.server: HttpServer = None  # type: ignore[assignment]
        self._every = every
        self._limits = limits
        self._stopping = asyncio.Event()
        self._drained: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    async def _run(self) -> None:
        self.server = HttpServer(self.front, self._limits)
        self.server.listen([self.listener])
        self._ready.set()
        while not self._stopping.is_set():
            self.server.watch()
            try:
                await asyncio.wait_for(self._stopping.wait(), self._every)
            except asyncio.TimeoutError:
                continue
        await self.server.drain()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call it in the loop's thread."""

        async def ask() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(ask(), self.loop).result(30)

    def stop(self) -> None:
        """Begin to drain."""
        self.loop.call_soon_threadsafe(self._stopping.set)

    def close(self) -> None:
        self.front.gate.set()
        self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.front.threads.close()
        self.loop.close()

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        """A connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            yield client

    def said(self, data: bytes, *, part: int | None = None) -> bytes:
        """All that the server says to these bytes until it ends the connection, which it must."""
        with self.client() as client:
            try:
                for start in range(0, len(data), part or len(data)):
                    client.sendall(data[start : start + (part or len(data))])
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have ended it in the middle
            return everything(client)


def everything(client: socket.socket) -> bytes:
    """All that comes until the end of the connection."""
    found = b""
    while True:
        try:
            data = client.recv(1 << 16)
        except ConnectionResetError:
            return found
        if not data:
            return found
        found += data


def answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer that has a Content-Length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            raise EOFError(head)
        head += byte
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = b""
    while len(body) < int(fields.get("content-length", "0")):
        body += client.recv(int(fields["content-length"]) - len(body))
    return int(lines[0].split()[1]), fields, body


def request(path: bytes = b"/short", body: bytes = b"", method: bytes = b"POST", fields: bytes = b"") -> bytes:
    """A request with a Content-Length."""
    return b"%b %b HTTP/1.1\r\nHost: here\r\n%bContent-Length: %d\r\n\r\n%b" % (method, path, fields, len(body), body)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server with small limits of size and long ones of time."""
    server = Served(HttpLimits(body_bytes=1 << 20, head_bytes=4096, head_fields=20, target_bytes=1024))
    yield server
    server.close()
