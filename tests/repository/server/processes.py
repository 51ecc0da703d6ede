"""This module is what other processes do in the server's tests: serve or push, and be killed at some instant of it."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401 - here, so that its import is none of the instants
import sqlalchemy.engine
import sqlalchemy.event
from werkzeug.serving import make_server

import bentobatch.repository.catalog  # noqa: F401 - as above
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.remote import RemoteRepository
from bentobatch.repository.server.app import create_app
from tests.repository.clients import FILE_EVENTS
from tests.repository.server.serving import Silent


def serve_until(environ: dict[str, str], instant: int, folder: str, said: str) -> None:
    """Serve, and be killed at the file operation or database statement of that number in the first push."""
    os.environ.update(environ)
    repository = LocalRepository(Path(folder))
    repository.list()
    app = create_app(repository)
    left, pushing = instant, False

    def count(*_: Any) -> None:
        nonlocal left
        left -= pushing
        if pushing and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(name: str, _arguments: Any) -> None:
        if name in FILE_EVENTS:
            count()

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, name, count)
    sys.addaudithook(audited)

    def watched(request: dict[str, Any], start: Any) -> Any:
        nonlocal pushing
        pushing = pushing or request["REQUEST_METHOD"] == "PUT"
        return app(request, start)

    server = make_server("127.0.0.1", 0, watched, threaded=True, request_handler=Silent)
    Path(f"{said}.new").write_text(str(server.server_port))
    os.rename(f"{said}.new", said)
    server.serve_forever()


def push_until(environ: dict[str, str], instant: int, url: str, bundle: str) -> None:
    """Push, and be killed when so many pieces have gone to the server."""
    os.environ.update(environ)
    plain, left = http.client.HTTPConnection.send, instant

    def send(self: http.client.HTTPConnection, data: Any) -> None:
        nonlocal left
        plain(self, data)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    http.client.HTTPConnection.send = send  # type: ignore[method-assign]
    RemoteRepository(url).push(bundle)
    os._exit(0)
