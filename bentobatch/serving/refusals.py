"""This module tells a client of the rows that could not be scored, and heeds what the api says beside its values."""

from __future__ import annotations

import re

from bentobatch.rows import BadRow
from bentobatch.serving.call import Call, Reply
from bentobatch.serving.problems import problem
from bentobatch.serving.scoring import Answer
from bentobatch.tasks import InferenceResult

_BY_STAGE = {"read": 400, "convert": 400, "model": 500, "discard": 500}
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset(
    "connection content-length content-type date keep-alive server trailer transfer-encoding upgrade "  # noqa: SIM905
    "x-request-id cache-control x-content-type-options".split()
)


def refusal_of(answer: Answer, call: Call) -> Reply:
    """The reply to a request some of whose rows could not be scored: nothing of it is answered.

    The status is the first bad row's: what the api said of it (InferenceError, task.discard), else 400 where it is no
    value that the api takes, 500 where the api raised.
    """
    first = answer.bad[0]
    said = answer.results.get(first.index)
    count = len(answer.bad)
    told = f"row {first.index}: {_told(first)}" if answer.rows > 1 or not said else first.error
    more = f" ({count} of {answer.rows} rows could not be scored)" if answer.rows > 1 else ""
    kind = {"convert": "DataError", "read": "DataError", "discard": "Discarded"}.get(first.stage, first.error_type)
    reply = problem(
        _status(said, _BY_STAGE[first.stage]), told + more, kind=kind, request_id=call.request_id, rows=answer.bad
    )
    return reply._replace(headers=(*reply.headers, *_headers(said))) if said is not None else reply


def with_results(reply: Reply, answer: Answer) -> Reply:
    """The reply with the status and the headers that the api gave the one result, where it has one row."""
    if answer.rows != 1:
        return reply
    result = answer.results[0]
    return reply._replace(status=_status(result, 200, least=200), headers=(*reply.headers, *_headers(result)))


def _told(bad: BadRow) -> str:
    return bad.error if bad.stage in ("convert", "read", "discard") else f"{bad.error_type}: {bad.error}"


def _status(result: InferenceResult | None, otherwise: int, *, least: int = 400) -> int:
    status = otherwise if result is None else result.http_status
    return status if isinstance(status, int) and least <= status <= 599 else otherwise


def _headers(result: InferenceResult) -> tuple[tuple[str, str], ...]:
    """The api's headers, but for those that are the server's and those that are none."""
    return tuple(
        (name, str(value))
        for name, value in dict(result.http_headers or {}).items()
        if _NAME.fullmatch(name) and name.lower() not in _OURS and str(value).isprintable() and str(value).isascii()
    )
