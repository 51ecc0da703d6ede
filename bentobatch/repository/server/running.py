"""This module runs the server under gunicorn: one process with threads, beside the one that starts it anew if it dies.

There is no other way to run it: Flask's own server is for developers, and bentobatch runs where gunicorn does. To serve
more, start further servers on the same catalog and storage.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentobatch.errors import MissingDependencyError, UnavailableError, UsageError

if TYPE_CHECKING:
    from bentobatch.repository.catalogued import LocalRepository
    from bentobatch.repository.server.state import Options

_BACKLOG = 256
_SILENCE = 60
"""Seconds without a byte after which a client is given up: it would hold one of the threads."""


def check_libraries() -> None:
    """Raise MissingDependencyError where one that the server needs is not installed."""
    for library in ("flask", "gunicorn", "sqlalchemy", "alembic"):
        if find_spec(library) is None:
            raise MissingDependencyError(
                f"the repository server needs the library {library}, which is not installed: "
                "pip install 'bentobatch[repository,server]'"
            )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is one that is free.

    Raises:
        UnavailableError, UsageError: it is taken, or no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise UsageError(f"{host!r} is no address of this machine: {error.strerror}") from error
    except OSError as error:
        raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    for option in (
        socket.SO_RCVTIMEO,
        socket.SO_SNDTIMEO,
    ):  # what is accepted inherits them; gunicorn itself waits forever
        listener.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", _SILENCE, 0))
    return listener


def serve(
    repository: Callable[[], LocalRepository],
    options: Options,
    *,
    listener: socket.socket,
    threads: int,
    certificate: tuple[Path, Path] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then requests that are under way have 30 seconds to end.

    ``repository`` opens it, in the process that serves: neither a database's nor a bucket's connections outlive a fork.
    ``certificate``: the files of a TLS certificate and its key.
    """
    from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]  # here and not above: --help must not pay for it

    def make() -> Any:
        from bentobatch.repository.server.app import create_app

        return create_app(repository(), options)

    Arbiter(_application(make, _settings(listener, threads, certificate))).run()


def _settings(listener: socket.socket, threads: int, certificate: tuple[Path, Path] | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bind": f"fd://{listener.fileno()}",
        "workers": 1,  # its counts and its ended sessions are those of all
        "worker_class": "gthread",
        "threads": threads,
        "graceful_timeout": 30,
        "loglevel": "warning",
        "control_socket_disable": True,  # no listener but the one that was asked for
        "forwarded_allow_ips": "",  # nobody may say by a header who or where he is
        "limit_request_line": 8190,
        "limit_request_field_size": 8190,
        "proc_name": "bentobatch-repository-server",
    }
    if certificate is not None:
        settings |= {"certfile": str(certificate[0]), "keyfile": str(certificate[1])}
    return settings


def _application(make: Callable[[], Any], settings: dict[str, Any]) -> Any:
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

    class Application(BaseApplication):  # type: ignore[misc]
        """Takes its settings from here alone: no file and no variable of gunicorn's is read."""

        def load_config(self) -> None:
            known = self.cfg.settings
            for name, value in settings.items():
                if name in known:  # older gunicorns have no control socket
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return make()

    return Application()
