"""This module is a web server for tests: it serves what a dict holds and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class WebServer:
    """``files``: path -> content, or a function that is given the request's handler and answers by itself."""

    url: str
    files: dict[str, bytes | Callable[[Any], None]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Each request's path, and its Authorization."""

    def with_user(self, user: str) -> str:
        """The URL with ``user`` (NAME:PASSWORD) in it."""
        return self.url.replace("://", f"://{user}@")


@contextmanager
def web_server(host: str = "127.0.0.1") -> Iterator[WebServer]:
    """A server on a free port of ``host``, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Authorization")))
            path = self.path.partition("?")[0]
            content = server.files.get(path, server.files.get(unquote(path)))
            if callable(content):
                content(self)
                return
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_args: Any) -> None:
            """Nothing: pytest's output is for the tests."""

    with ThreadingHTTPServer((host, 0), Handler) as listening:
        server = WebServer(f"http://{host}:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def redirect(url: str) -> Callable[[Any], None]:
    """An answer that leads on to ``url``."""

    def answer(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer
