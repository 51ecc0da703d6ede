"""This module hands requests to a WSGI application (PEP 3333) on a few threads beside the event loop."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bentobatch.errors import OverloadedError
from bentobatch.serving.call import Reply
from bentobatch.serving.http1_exchange import Exchange
from bentobatch.serving.problems import problem_of

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_OWN_FIELDS = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"})
_MOST_WAITING = 1_000

logger = logging.getLogger(__name__)


class WsgiThreads:
    """Calls ``app`` for one exchange after the other on each of ``threads`` threads, which start with the first one (so
    after any fork). ``https``: what clients speak, with us or with a proxy before us."""

    def __init__(self, app: WsgiApp, *, threads: int, https: bool = False, more_processes: bool = False) -> None:
        self._app = app
        self._threads = threads
        self._fixed = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if https else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": more_processes,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "SCRIPT_NAME": "",
            "SERVER_SOFTWARE": "bentobatch",
        }
        self._executor: ThreadPoolExecutor | None = None
        self.waiting = 0

    def serve(self, exchange: Exchange, request_id: str) -> None:
        """Have the exchange answered by the application. ``request_id`` is for an answer that we give in its stead."""
        if self.waiting >= _MOST_WAITING:
            error = OverloadedError(f"{self.waiting} requests wait for a thread; try again later", retry_after=1.0)
            exchange.answer(problem_of(error, request_id))
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="bentobatch-wsgi")
        self.waiting += 1
        loop = asyncio.get_running_loop()
        environ = self._environ(exchange)

        def work() -> None:
            if exchange.gone:
                loop.call_soon_threadsafe(done, None)
                return
            length = None
            try:
                reply, told = called(self._app, environ)
                length = told if exchange.method == "HEAD" else None
            except Exception as error:
                logger.exception("request %s: the application failed", request_id)
                reply = problem_of(error, request_id)
            loop.call_soon_threadsafe(done, reply, length)

        def done(reply: Reply | None, length: int | None = None) -> None:
            self.waiting -= 1
            if reply is not None:
                exchange.answer(reply, length=length)

        self._executor.submit(work)

    def close(self) -> None:
        """Let the threads end when their work is done."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _environ(self, exchange: Exchange) -> dict[str, Any]:
        connection = exchange.connection
        server, client = connection.address, connection.peer
        environ = {
            **self._fixed,
            "REQUEST_METHOD": exchange.method,
            "PATH_INFO": exchange.path.decode("latin-1"),
            "QUERY_STRING": exchange.query.decode("latin-1"),
            "RAW_URI": exchange.target.decode("latin-1"),
            "REQUEST_URI": exchange.target.decode("latin-1"),
            "SERVER_PROTOCOL": f"HTTP/{exchange.version}",
            "SERVER_NAME": str(server[0]),
            "SERVER_PORT": str(server[1]),
            "REMOTE_ADDR": str(client[0]),
            "REMOTE_PORT": str(client[1]),
            "wsgi.input": io.BytesIO(exchange.body),
            "CONTENT_LENGTH": str(len(exchange.body)),
        }
        for name, value in exchange.headers:
            if b"_" in name or name in (b"content-length", b"transfer-encoding"):
                continue  # x_y and x-y would be one name here, and a client could bring what a proxy before us removes
            key = name.decode("latin-1").upper().replace("-", "_")
            key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        return environ


def called(app: WsgiApp, environ: dict[str, Any]) -> tuple[Reply, int | None]:
    """What the application answers, and the Content-Length that it says.

    Raises:
        Exception: whatever the application raises.
    """
    status = ""
    fields: list[tuple[str, str]] = []

    def start_response(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        nonlocal status
        if status and exc_info is None:
            raise AssertionError("start_response was called twice")
        status = line
        fields[:] = headers
        return written.append

    written: list[bytes] = []
    chunks = app(environ, start_response)
    try:
        written += chunks
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    kept = tuple((name, value) for name, value in fields if name.lower() not in _OWN_FIELDS)
    closes = any(name.lower() == "connection" and value.lower() == "close" for name, value in fields)
    length = next((value for name, value in fields if name.lower() == "content-length" and value.isdigit()), None)
    return Reply(int(status[:3]), kept, b"".join(written), closes), None if length is None else int(length)
