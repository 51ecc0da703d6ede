"""This module tells a client what went wrong, as a problem document (RFC 9457), and which status that is.

Titles are those of the statuses; ``kind`` is the name of our error class, ``detail`` its one line, ``rows`` the rows that
could not be scored. A traceback is in none of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson

from bentobatch.errors import (
    BentobatchError,
    DataError,
    DeadlineError,
    OverloadedError,
    Retryable,
    UnavailableError,
)
from bentobatch.rows import BadRow
from bentobatch.serving.call import Reply, RequestError

PROBLEM = "application/problem+json"
SHOWN_ROWS = 100
"""So many bad rows are listed; ``bad_rows`` counts them all."""

_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (DataError, 400),
    (DeadlineError, 504),
    (UnavailableError, 503),
    (Retryable, 503),
)
_RETRY = 1
_RENAMED = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def status_of(error: BaseException) -> int:
    """The HTTP status of an error."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def detail_of(error: BaseException) -> str:
    """What the client is told of an error, in one line. Of one that nobody foresaw it is told nothing."""
    if isinstance(error, BentobatchError):
        return " ".join(str(error).split())
    return "the server failed; its log tells more under this request_id"


def problem(
    status: int,
    detail: str,
    *,
    kind: str,
    request_id: str,
    rows: Sequence[BadRow] = (),
    more: Mapping[str, Any] | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    close: bool = False,
) -> Reply:
    """The reply with that status and a problem document."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "kind": kind,
        "request_id": request_id,
        **(more or {}),
    }
    if rows:
        document["bad_rows"] = len(rows)
        document["rows"] = [
            {"row": bad.index, "stage": bad.stage, "error_type": bad.error_type, "error": bad.error}
            for bad in rows[:SHOWN_ROWS]
        ]
    body = orjson.dumps(_printable(document)) + b"\n"
    return Reply(status, (("Content-Type", PROBLEM), *headers), body, close)


def problem_of(error: BaseException, request_id: str) -> Reply:
    """The reply that an error makes."""
    status = status_of(error)
    headers: tuple[tuple[str, str], ...] = error.headers if isinstance(error, RequestError) else ()
    if status == 503:
        wait = error.retry_after if isinstance(error, OverloadedError) else _RETRY
        headers = (*headers, ("Retry-After", str(max(1, math.ceil(wait)))))
    kind = type(error).__name__ if isinstance(error, BentobatchError) else "InternalError"
    close = isinstance(error, RequestError) and error.close
    return problem(status, detail_of(error), kind=kind, request_id=request_id, headers=headers, close=close)


def title_of(status: int) -> str:
    """The status in words, those of RFC 9110, which Python has learned with 3.13 only."""
    if status in _RENAMED:
        return _RENAMED[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _printable(value: Any) -> Any:
    """What orjson takes: a lone surrogate in a message or a column's name becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value
