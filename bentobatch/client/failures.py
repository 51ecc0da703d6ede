"""This module makes an error of ours of an answer that is none: by its status, and what its problem document says."""

from __future__ import annotations

from typing import Any

import orjson

from bentobatch.bundle.urls import shown
from bentobatch.client.connections import Answer
from bentobatch.errors import (
    BentobatchError,
    DataError,
    DeadlineError,
    ModelError,
    OverloadedError,
    Retryable,
    UnavailableError,
    UsageError,
)

_USAGE = (401, 403, 404, 405, 406, 415)
_LATER = (408, 425, 429, 502, 503)
_MOST_SHOWN = 2_000


def failure_of(answer: Answer, *, where: str, request_id: str, chunk: str = "") -> BentobatchError:
    """The error that an answer other than 2xx means. What the server says is shown as one line, and trusted for nothing.

    ``chunk`` says of which rows the request was, where they are not all.
    """
    document = problem_of(answer)
    status = answer.status
    kind = str(document.get("kind", ""))
    said = _line(str(document["detail"])) if "detail" in document else ""
    known = str(document.get("request_id", answer.headers.get("x-request-id", request_id)))
    which = f" (request {_line(known)[:128]})"
    if 300 <= status < 400:
        location = answer.headers.get("location")
        there = f" to {shown(location)}" if location else ""
        return UsageError(f"{where} leads on{there}: if you trust that, give its own URL{which}")
    if not document:
        return _unexplained(status, where, which)
    message = f"{where} says {status}: {chunk}{said}{which}"
    if status in _USAGE:
        return UsageError(message)
    if status == 504:
        return DeadlineError(message)
    if status in _LATER:
        return _later(answer, kind, message)
    return ModelError(message) if status >= 500 else DataError(message)


def problem_of(answer: Answer) -> dict[str, Any]:
    """The problem document (RFC 9457) of an answer; empty where it has none."""
    if not answer.headers.get("content-type", "").lower().startswith("application/problem+json"):
        return {}
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _later(answer: Answer, kind: str, message: str) -> BentobatchError:
    if kind == "OverloadedError":
        after = answer.headers.get("retry-after", "")
        return OverloadedError(message, retry_after=float(after) if after.isdecimal() else 1.0)
    return Retryable(message) if kind == "Retryable" else UnavailableError(message)


def _unexplained(status: int, where: str, which: str) -> BentobatchError:
    if status in _LATER or status == 504:
        return UnavailableError(f"{where} says {status}; try again later{which}")
    if status == 413:
        return DataError(f"{where} says {status}: the request is too large for a server before it{which}")
    return UsageError(f"{where} says {status}, and not as a server of bentobatch does: check the URL{which}")


def _line(text: str) -> str:
    text = " ".join(text.split())[:_MOST_SHOWN]
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
