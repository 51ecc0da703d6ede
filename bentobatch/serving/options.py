"""This module holds what may be set of an online server, with defaults that are safe."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bentobatch.errors import UsageError

SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_ORIGIN = re.compile(r"https?://[^\s/?#@]+")


@dataclass(frozen=True)
class ServingOptions:
    """``max_batch_size`` (rows), ``max_latency_ms``, ``max_queue_rows`` and ``max_wait_ms`` are those of the micro-batcher.

    ``max_body_bytes`` bounds a body as it is sent, ``max_inflated_bytes`` one that was compressed, ``max_rows`` the rows of
    a request, ``max_parts`` the parts of a multipart body. ``timeout`` is the seconds after which a request that still
    waits is not scored any more. ``token``: who sends it may come in; None lets everybody in. ``hosts``: names by which
    clients may reach the server; empty means any, ``local`` adds this machine's own. ``cors_origins``: whose pages may
    call it. ``predict_route`` and ``health_route`` are further paths, those of Vertex AI's variables, whose requests have
    the form ``{"instances": […]}``. ``metrics_folder``: where the counts of several workers lie together; None counts for
    this process alone.
    """

    max_batch_size: int | None = None
    max_latency_ms: float | None = None
    max_queue_rows: int | None = None
    max_wait_ms: float = 0.0
    max_body_bytes: int = 20 << 20
    max_inflated_bytes: int = 100 << 20
    max_rows: int = 100_000
    max_parts: int = 64
    timeout: float = 60.0
    token: str | None = None
    local: bool = False
    hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    predict_route: str | None = None
    health_route: str | None = None
    metrics_folder: str | None = None

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_inflated_bytes", "max_rows", "max_parts", "timeout"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.token is not None:
            check_token(self.token)
        for origin in self.cors_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise UsageError(f"{origin!r} is no origin: give one such as https://app.example.org, or *")


def check_token(token: str) -> None:
    """Pass a token that is worth something.

    Raises:
        UsageError: it is too short, or has characters that no header carries; the message does not show it.
    """
    if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"the token must have {SHORTEST_TOKEN} or more of the characters A-Z a-z 0-9 . _ ~ + / = -; make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
