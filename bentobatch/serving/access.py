"""This module decides who may come in: by the token, and where a browser sends a request from, by Host and Origin."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from bentobatch.serving.call import RequestError
from bentobatch.serving.options import ServingOptions

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def check_access(headers: Mapping[str, str], options: ServingOptions, *, method: str, public: bool = False) -> None:
    """Let a request in. ``public``: it needs no token.

    Raises:
        RequestError: 401 no token or a wrong one, 403 a foreign Host or Origin.
    """
    if options.local or options.hosts:
        _check_host(headers, options)
    origin = headers.get("origin")
    if origin is not None and method not in _SAFE and not _is_own(origin, headers, options):
        raise RequestError(403, "the request comes from another site's page (Origin)")
    if options.token is not None and not public and not _has_token(headers, options.token):
        raise RequestError(
            401, "this server asks for a token: send Authorization: Bearer TOKEN",
            headers=(("WWW-Authenticate", 'Bearer realm="bentobatch", Basic realm="bentobatch"'),),
        )  # fmt: skip


def allowed_origin(headers: Mapping[str, str], options: ServingOptions) -> str | None:
    """What Access-Control-Allow-Origin says, None where it says nothing."""
    origin = headers.get("origin")
    if origin is None or not options.cors_origins:
        return None
    if "*" in options.cors_origins:
        return "*"
    return origin if origin in options.cors_origins else None


def _has_token(headers: Mapping[str, str], token: str) -> bool:
    """Programs send it as a bearer token; a browser asks its user, and sends it as the password of whatever user. Pages of
    other sites gain nothing by that, since what they send is told by its Origin."""
    scheme, _, presented = headers.get("authorization", "").partition(" ")
    sent = presented.strip().encode("utf-8", "surrogateescape")
    kind = scheme.lower()
    if kind == "basic":
        try:
            sent = base64.b64decode(sent, validate=True).partition(b":")[2]
        except (ValueError, binascii.Error):
            return False
    return hmac.compare_digest(sent, token.encode()) and kind in ("bearer", "basic")


def _check_host(headers: Mapping[str, str], options: ServingOptions) -> None:
    name = _host_name(headers.get("host", ""))
    if name in options.hosts or (options.local and name in _LOCAL):
        return
    raise RequestError(403, "the request names a Host that this server is not known by")


def _is_own(origin: str, headers: Mapping[str, str], options: ServingOptions) -> bool:
    if allowed_origin(headers, options) is not None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").strip().lower() != ""
    except ValueError:
        return False


@lru_cache(maxsize=64)
def _host_name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
