"""This module is the client of an online server: predictions for frames, tables, rows and files, from Python."""

from __future__ import annotations

import email.utils
import random
import re
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from bentobatch.bundle.urls import shown
from bentobatch.client.connections import Answer, Connections
from bentobatch.client.failures import failure_of
from bentobatch.client.payloads import JSON, Payload, json_of, payload_of
from bentobatch.errors import BentobatchError, UnavailableError, UsageError

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MOST_ROWS = 100_000
_MOST_BODY = 16 << 20


class Client:
    """A server of ``bentobatch serve`` or ``serve-gunicorn`` at ``url``, which threads may share; ``token`` is what it lets
    in.

    ``timeout`` is the seconds that one request may take, its retries included; the server scores none that has waited
    longer. ``retries``: how often a request is sent again that the server had no room for (503), after the time that it
    asks for. ``max_rows`` and ``max_body_bytes`` bound the requests into which large tables are cut: the server's own
    limits, by default. ``context`` says which certificates are trusted; by default the system's. No proxy is used.

    Raises:
        UsageError: ``url`` is no http or https URL, or has a user's name, a query or a fragment in it.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 3,
        max_rows: int = _MOST_ROWS,
        max_body_bytes: int = _MOST_BODY,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{shown(url)!r} has a port that is none") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
            raise UsageError(f"{shown(url)!r} is no URL of a server: write http://HOST:PORT or https://HOST")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError(
                f"{shown(url)}: the URL of a server has no user, query or fragment; a token is given apart"
            )
        if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
            raise UsageError("the token is no word of ASCII characters")
        if not (timeout > 0 and retries >= 0 and max_rows >= 1 and max_body_bytes >= 1):
            raise UsageError("timeout, max_rows and max_body_bytes must be above 0, and retries no less than 0")
        secure = parts.scheme == "https"
        self._connections = Connections(
            parts.hostname,
            port if port is not None else 443 if secure else 80,
            context=(context or ssl.create_default_context()) if secure else None,
        )
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._retries = retries
        self._most_rows = max_rows
        self._most_bytes = max_body_bytes

    def __repr__(self) -> str:
        return f"Client({self._connections.where + self._prefix!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the kept connections. The client may be used again."""
        self._connections.close()

    def predict(
        self,
        data: Any,
        *,
        api: str = "predict",
        media_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """What the api at the route ``api`` makes of ``data``.

        A DataFrame of pandas gives a DataFrame with the same index; a Table or RecordBatch of pyarrow, and what else has
        ``__arrow_c_stream__`` (polars), a Table or RecordBatch; an array of numpy an array. They are sent in chunks where
        the server takes no more at once, one after another; the answers are joined in the input's order. Bytes, paths
        and open files are sent as a file, texts as text, dicts with files in them as multipart forms, everything else
        as JSON; the answer is what its JSON says. ``media_type`` overrides the Content-Type of bytes, texts and files:
        ``predict(csv_text, media_type="text/csv")``. ``headers`` are sent along.

        Raises:
            DataError: the server takes no such data; the message names the row or the column where it can.
            UsageError: no such api, a wrong token or URL, or data that cannot be sent.
            ModelError: the api failed, or broke its contract.
            OverloadedError, DeadlineError, UnavailableError: try again later.
        """
        if not api.strip("/"):
            raise UsageError("the name of the api is empty")
        for name, value in (headers or {}).items():
            if not (value.isascii() and value.isprintable() and _NAME.fullmatch(name)):
                raise UsageError(f"{name!r} cannot be sent as a header: ASCII characters only, in one line")
        payload = payload_of(data, media_type)
        target = f"/{quote(api.strip('/'), safe='/')}"
        return payload.joined(list(self._parts(payload, target, headers or {})))

    def ready(self) -> bool:
        """Whether the server can be reached, has loaded its bundle, and is not about to stop."""
        try:
            return self._ask("GET", "/readyz", {"Accept": JSON}, b"", secrets.token_hex(16), retries=0).status == 200
        except UnavailableError:
            return False

    def metadata(self) -> dict[str, Any]:
        """What is served: name, version, apis, artifacts.

        Raises:
            BentobatchError: see ``predict``.
        """
        request_id = secrets.token_hex(16)
        answer = self._ask("GET", "/metadata", {"Accept": JSON}, b"", request_id, retries=self._retries)
        found = json_of(self._good(answer, request_id, JSON))
        if not isinstance(found, dict):
            raise self._strange("its metadata is no object", request_id)
        return found

    # -- requests -----------------------------------------------------------------------------------------------------

    def _parts(self, payload: Payload, target: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """The answers to the payload's chunks. A chunk that is too large, for us or the server, is halved."""
        rows = payload.rows
        if rows is None:
            yield payload.part(self._post(payload, target, headers, payload.body(0, 0), ""), 0)
            return
        most = max(1, min(self._most_rows, int(self._most_bytes / max(1.0, payload.row_bytes))))
        start = 0
        while start < rows or not rows:
            stop = min(rows, start + most)
            body = payload.body(start, stop)
            if len(body) > self._most_bytes and stop - start > 1:
                most = (stop - start) // 2
                continue
            chunk = f"rows {start:,} to {stop - 1:,}: in these, " if stop - start < rows else ""
            try:
                answered = self._post(payload, target, headers, body, chunk)
            except _TooLargeError as error:
                if stop - start <= 1:
                    raise error.failure from None
                most = (stop - start) // 2
                continue
            yield payload.part(answered, stop - start)
            start = stop
            if not rows:
                return

    def _post(self, payload: Payload, target: str, headers: Mapping[str, str], body: bytes, chunk: str) -> bytes:
        request_id = secrets.token_hex(16)
        sent = {**headers, "Content-Type": payload.content_type, "Accept": payload.accept}
        answer = self._ask("POST", target, sent, body, request_id, retries=self._retries)
        if answer.status == 413 and payload.rows is not None:
            raise _TooLargeError(self._failure(answer, request_id, chunk))
        return self._good(answer, request_id, payload.accept, chunk)

    def _ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, request_id: str, *, retries: int
    ) -> Answer:
        until = time.monotonic() + self._timeout
        sent = {**headers, "X-Request-Id": request_id, "User-Agent": "bentobatch"}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        for turn in range(retries + 1):
            if method == "POST":
                sent["X-Request-Timeout"] = f"{max(0.001, until - time.monotonic()):.3f}"
            answer = self._connections.exchange(method, self._prefix + target, sent, body, until=until)
            wait = _wait(answer)
            if wait is None or turn == retries or time.monotonic() + wait >= until:
                break
            time.sleep(wait)
        return answer

    def _good(self, answer: Answer, request_id: str, accept: str, chunk: str = "") -> bytes:
        """The body of an answer that is one, of the media type that was asked for."""
        if not 200 <= answer.status < 300:
            raise self._failure(answer, request_id, chunk)
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != accept:
            raise self._strange(f"its answer is {media or 'of no type'} and not {accept}", request_id)
        return answer.body

    def _failure(self, answer: Answer, request_id: str, chunk: str) -> BentobatchError:
        return failure_of(answer, where=self._connections.where, request_id=request_id, chunk=chunk)

    def _strange(self, what: str, request_id: str) -> UsageError:
        told = "".join(char if char.isprintable() else "?" for char in what[:200])
        return UsageError(
            f"{self._connections.where} is no server of bentobatch: {told}; check the URL (request {request_id})"
        )


class _TooLargeError(Exception):
    """The server takes no request of so many rows or bytes."""

    def __init__(self, failure: BentobatchError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def _wait(answer: Answer) -> float | None:
    """The seconds after which a request that was not taken may be sent again; None where it was, or it does not say.

    A quarter is added at random, so that clients which were refused together do not come back together.
    """
    after = answer.headers.get("retry-after", "").strip()
    if answer.status != 503 or not after:
        return None
    if after.isdecimal():
        seconds = float(after[:9])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
