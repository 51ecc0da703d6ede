"""This module holds what all views of one server share: its repository, its options, and who may use it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flask import request

from bentobatch.bundle.unpacking import LIMITS
from bentobatch.errors import UsageError
from bentobatch.loopback import LOOPBACK_NAMES, is_loopback
from bentobatch.repository.catalogued import LocalRepository
from bentobatch.repository.server.auth import SHORTEST, Sessions, Tokens
from bentobatch.repository.server.metrics import Metrics

HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Options:
    """How a server behaves.

    ``tokens``: None lets everybody read and write. ``hosts``: the names that it may be called by in a request's Host, None
    for any. ``public_url``: how its users reach it, where that is another address than its own. ``most_bytes``: of an
    archive that is pushed. ``secret``: see auth.Sessions.
    """

    tokens: Tokens | None = None
    ui: bool = True
    hosts: frozenset[str] | None = LOOPBACK_NAMES
    public_url: str | None = None
    most_bytes: int = LIMITS.bytes
    secret: bytes | None = field(default=None, repr=False)


class State:
    """One server process: options, sessions, counts, and the repository."""

    def __init__(self, repository: LocalRepository, options: Options) -> None:
        self.repository = repository
        self.options = options
        self.sessions = Sessions(options.secret)
        self.metrics = Metrics()

    @property
    def base_url(self) -> str:
        """The server's URL as its users know it, without a final slash; the request's Host was checked."""
        return self.options.public_url or request.host_url.rstrip("/")

    @property
    def is_https(self) -> bool:
        """Whether browsers reach it by https, by itself or through a proxy."""
        return self.base_url.startswith("https://")


def options_for(
    host: str,
    *,
    tokens: Tokens | None,
    public_url: str | None = None,
    ui: bool = True,
    most_bytes: int = LIMITS.bytes,
    secret: bytes | None = None,
) -> Options:
    """The options of a server that listens on ``host``.

    Raises:
        UsageError: others than this machine's users reach it, and there are no tokens; or a value is malformed.
    """
    found = None if tokens is None else tokens.current()
    loopback = is_loopback(host)
    if tokens is not None and not found:
        raise UsageError(
            "there is no token, so nobody could come in: make one with `bentobatch repository-server token`"
        )
    if not loopback and not found:
        raise UsageError(
            f"others reach this server at {host!r}, so it needs tokens: make them with `bentobatch repository-server "
            "token`, and give --token-file or BENTOBATCH_SERVER_TOKENS; without tokens it serves 127.0.0.1 only"
        )
    if secret is not None and len(secret) < SHORTEST:
        raise UsageError(f"the server's secret is too short: give {SHORTEST} random characters or more")
    if public_url is not None:
        public_url = _public(public_url)
    hosts = LOOPBACK_NAMES | {host} if loopback else None
    if public_url is not None:
        hosts = LOOPBACK_NAMES | {host, str(urlsplit(public_url).hostname)}
    return Options(tokens, ui, hosts, public_url, most_bytes, secret)


def _public(url: str) -> str:
    parts = urlsplit(url)
    host = HOST.fullmatch(parts.netloc)
    if parts.scheme not in ("http", "https") or host is None or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no address of a server: write https://HOST or http://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc.lower()}"
