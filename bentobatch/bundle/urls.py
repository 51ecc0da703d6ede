"""This module says in a message where something is on the network, and what went wrong there, without a secret in it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit


def shown(url: str) -> str:
    """``url`` for a message: without what may be a secret in it (user, password, query, fragment), printable."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if "@" in place:
        place = f"***@{place.rpartition('@')[2]}"
    path, mark, _ = re.sub(r"[?#].*", "?", path, flags=re.DOTALL).partition("?")
    place, mark = (place, mark) if "?" not in place else (place.partition("?")[0], "?")
    text = f"{scheme}{separator}{place}{slash}{path}{'?***' if mark else ''}"
    return text if text.isprintable() else ascii(text)[1:-1]


def reason(error: BaseException, url: str) -> str:
    """What went wrong, in one line, without the parts of ``url`` that may be secret."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.replace(url, shown(url))
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    for secret in (user, *user.split(":", 1), *(unquote(part) for part in user.split(":", 1)), parts.query):
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:300] or type(error).__name__
