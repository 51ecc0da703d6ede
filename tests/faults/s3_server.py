"""This module is moto's S3 server on a free port, with faults put in front of it: the k-th request fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Fault = Callable[[int, str, str], str | None]
"""From the number of a request (from 0), its method and its path with query, to None (serve it), "error" (answer 500),
"reset" (end the connection) or "lost" (serve it, and end the connection instead of answering)."""


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class S3Server:
    """A server in a thread of this process; ``url`` is its endpoint."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._fault: Fault | None = None
        self._count = 0
        self._lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Silent)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @contextmanager
    def faults(self, fault: Fault | None) -> Iterator[list[tuple[str, str]]]:
        """Count requests from 0, and let ``fault`` decide on each; the requests so far."""
        with self._lock:
            self._count, self._fault, self.calls = 0, fault, []
        try:
            yield self.calls
        finally:
            with self._lock:
                self._fault = None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        method, path = environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}{query}"
        with self._lock:
            number, self._count = self._count, self._count + 1
            self.calls.append((method, path))
            fault = self._fault
        what = fault(number, method, path) if fault else None
        if what is None:
            return self._app(environ, start)  # type: ignore[no-any-return]
        # the body must be read, or closing the connection discards what is still on its way
        if what == "lost":
            b"".join(self._app(environ, lambda *_: lambda _: None))
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if what == "error":
            body = b"<Error><Code>InternalError</Code><Message>made to fail</Message></Error>"
            start(
                "500 Internal Server Error", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            )
            return [] if method == "HEAD" else [body]
        environ["werkzeug.socket"].shutdown(2)
        raise ConnectionResetError  # werkzeug takes it for a client that has left
