"""This module reads from web servers: no scheme but http and https, and credentials that go to their own host only.

A redirect to another scheme, host or port is followed without the URL's user and password, and none leads from https to
http. Python's client is used handler by handler, since its usual set opens file:, ftp: and data: URLs as well.
"""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from bentobatch.bundle.urls import reason, shown
from bentobatch.errors import BentobatchError, NoInputError, StorageError, UnavailableError, UsageError

_SILENCE = 60
"""Seconds without a byte after which a server is given up."""
_MISSING = (404, 410)
_LATER = (408, 425, 429, 500, 502, 503, 504)
_HANDLERS = (
    request.ProxyHandler,
    request.HTTPHandler,
    request.HTTPSHandler,
    request.HTTPDefaultErrorHandler,
    request.HTTPErrorProcessor,
)


@contextmanager
def web_stream(url: str) -> Iterator[tuple[Any, int | None]]:
    """A stream of the bytes at an http or https URL, and how many there are, where the server says so.

    Raises, also while the stream is read:
        NoInputError, UnavailableError, StorageError: the server's answer; no message has credentials in it.
    """
    try:
        with _response(url) as response:
            length = response.headers.get("Content-Length", "")
            yield response, int(length) if length.isascii() and length.isdigit() else None
    except HTTPError as error:
        error.close()
        raise _refusal(url, error.code) from None
    except URLError as error:
        cause = error.reason if isinstance(error.reason, Exception) else error
        raise UnavailableError(f"cannot fetch {shown(url)}: {reason(cause, url)}; try again later") from None
    except http.client.HTTPException as error:
        what = f"{type(error).__name__} {reason(error, url)}"
        raise UnavailableError(f"cannot fetch {shown(url)}: {what}; try again later") from None


def _refusal(url: str, code: int) -> BentobatchError:
    said = f"{shown(url)}: the server says {code} {http.client.responses.get(code, '')}".rstrip()
    if code in _MISSING:
        return NoInputError(f"{said}; check the URL")
    if code in _LATER:
        return UnavailableError(f"{said}; try again later")
    return StorageError(f"{said}; check the URL and the credentials for it")


class _Redirects(request.HTTPRedirectHandler):
    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        """The request that follows, with the credentials only where it stays on the same scheme, host and port."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise UsageError(
                f"{shown(req.full_url)} leads on to {shown(newurl)}, which is not https: if you trust it, give that URL"
            )
        if "@" in new.netloc:
            raise UsageError(f"{shown(req.full_url)} leads on to a URL with a user's name in it; give the right URL")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        credentials = req.unredirected_hdrs.get("Authorization")  # urllib itself hands these on to nobody
        if made is not None and credentials and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            made.add_unredirected_header("Authorization", credentials)
        return made


def _response(url: str) -> Any:
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")  # a blank or an umlaut, as a browser takes them
    plain = request.Request(urlunsplit((parts.scheme.lower(), place, path, parts.query, "")))  # noqa: S310 - http(s)
    plain.add_header("User-Agent", "bentobatch")
    if at:
        name, _, password = user.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}".encode()
        plain.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}")
    opener = request.OpenerDirector()
    for handler in (*_HANDLERS, _Redirects):
        opener.add_handler(handler())
    return opener.open(plain, timeout=_SILENCE)
