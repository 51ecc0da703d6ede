"""This module is the server of ``bentobatch serve``: one process, a thread for each request, nothing to set up.

It is Werkzeug's, without its debugger and its reloader, and each request has a connection of its own. For production
there is ``bentobatch serve-gunicorn``.
"""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from bentobatch.errors import UnavailableError, UsageError
from bentobatch.serving.site import Site

GRACE = 30.0
"""Seconds that requests which are under way have to end when the server is told to stop."""
_SILENCE = 60
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class DevelopmentServer:
    """Listens at once (port 0 is one that is free), and serves when ``serve`` is called.

    Raises:
        UnavailableError, UsageError: the port is taken, or the host no address of this machine.
    """

    def __init__(self, app: Any, site: Site, host: str, port: int) -> None:
        self._site = site
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            listener = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=256
            )
        except socket.gaierror as error:
            raise UsageError(f"{host!r} is no address of this machine: {error.strerror}") from error
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        with listener:  # the server takes a copy of it
            self.port: int = listener.getsockname()[1]
            self._server = _Server(host, self.port, app, handler=_Handler, fd=listener.fileno())

    def serve(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP; then what is under way is answered, within GRACE seconds."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        try:
            self._server.serve_forever()
            self._server.socket.close()  # who comes now is refused at once
            self._server.await_requests(GRACE)
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        self._site.drain()
        threading.Thread(target=self._server.shutdown, daemon=True).start()


class _Server(ThreadedWSGIServer):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._active = 0
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._active += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def await_requests(self, seconds: float) -> bool:
        """Whether all requests ended in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._active, seconds)


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE
    server_version = "bentobatch"
    sys_version = ""

    def version_string(self) -> str:
        """What the Server header says."""
        return self.server_version

    def log(self, type: str, message: str, *args: Any) -> None:
        """Requests are logged by the application."""
