"""This module is what all servers share: the apis of a service as HTTP sees them, from a request's bytes to its reply's.

A server finds the ``Endpoint`` of a path, reads a Call, and does::

    try:
        rows = endpoint.read(call)                                    # also: who may come in
        answer = await endpoint.batcher.submit(rows, deadline=endpoint.deadline(call))
        reply = endpoint.reply(answer, call)
    except Exception as error:
        reply = endpoint.problem(error, call)

``reply`` and ``problem`` do not raise, and count the request; ``gone`` counts one whose client left.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import replace
from functools import cached_property
from typing import Any

from bentobatch.errors import BentobatchError
from bentobatch.scorer import Scorer
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore
from bentobatch.serving.access import check_access
from bentobatch.serving.answers import accepted, written
from bentobatch.serving.bodies import content_of
from bentobatch.serving.call import Call, Reply, RequestError, too_large
from bentobatch.serving.columns import Rows
from bentobatch.serving.microbatch import Batcher, CombiningMicroBatcher
from bentobatch.serving.options import ServingOptions
from bentobatch.serving.problems import problem_of
from bentobatch.serving.reading import Reader
from bentobatch.serving.refusals import refusal_of, with_results

__all__ = ["Call", "Endpoint", "Reply", "RequestError", "ServedService", "request_id_of", "too_large"]

_log = logging.getLogger("bentobatch.serving")
_ID = re.compile(r"[A-Za-z0-9._:@=+/-]{1,128}")
_TIMEOUT = "x-request-timeout"


class ServedService:
    """The apis of a loaded service. ``driver`` is the class of their batchers: CombiningMicroBatcher for threads,
    LoopMicroBatcher for an event loop. Batchers are made when they are first asked for, so after any fork."""

    def __init__(
        self,
        service: ServiceCore,
        options: ServingOptions | None = None,
        *,
        driver: type[Batcher] = CombiningMicroBatcher,
    ) -> None:
        self.service = service
        self.options = options or ServingOptions()
        self.driver = driver
        self.draining = False
        self.endpoints: dict[str, Endpoint] = {}
        for api in service.inference_apis:
            self.endpoints[api.route.strip("/")] = Endpoint(self, api)

    def endpoint(self, route: str) -> Endpoint | None:
        """The api at a path (with or without slashes at its ends), None where there is none."""
        return self.endpoints.get(route.strip("/"))


class Endpoint:
    """One api at one route."""

    def __init__(self, served: ServedService, api: InferenceAPI) -> None:
        self.served = served
        self.api = api
        self.name = api.name
        self.route = api.route.strip("/")
        self.options = served.options
        self.scorer = Scorer(served.service, api, output_schema=api.output_schema)
        self._orient = getattr(api.output, "output_orient", "records")

    @cached_property
    def batcher(self) -> Any:
        """The api's batcher, of the driver's class."""
        options = self.options
        return self.served.driver(
            self.scorer,
            max_batch_size=options.max_batch_size,
            max_latency_ms=options.max_latency_ms,
            max_queue_rows=options.max_queue_rows,
            max_wait_ms=options.max_wait_ms,
        )

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.api, self.batcher.columns, self.options)

    def read(self, call: Call) -> Rows:
        """The rows of a request, for ``batcher.submit``.

        Raises:
            RequestError, DataError: it cannot be answered; ``problem`` tells the client.
        """
        check_access(call.headers, self.options, method="POST")
        accepted(call.headers.get("accept"))
        rows = self._reader.rows(call, content_of(call, self.options))
        if self.api.wants_tasks:
            rows.headers = call.headers
        return rows

    def deadline(self, call: Call) -> float | None:
        """The time of time.monotonic() by which the request is not worth scoring any more."""
        seconds = self.options.timeout
        asked = call.headers.get(_TIMEOUT)
        if asked is not None:
            seconds = min(seconds, _seconds(asked))
        return (call.received_at or time.monotonic()) + seconds

    def reply(self, answer: Any, call: Call) -> Reply:
        """The reply with an Answer. Never raises."""
        try:
            return self._counted(self._reply(answer, call), call)
        except Exception as error:  # noqa: BLE001 - a server cannot do without a reply
            return self.problem(error, call)

    def _reply(self, answer: Any, call: Call) -> Reply:
        if answer.bad:
            return refusal_of(answer, call)
        single = self._reader.is_single(call)
        content_type, body = written(answer, accepted(call.headers.get("accept")), orient=self._orient, single=single)
        reply = Reply(200, (("Content-Type", content_type),), body)
        return with_results(reply, answer) if answer.results else reply

    def problem(self, error: BaseException, call: Call) -> Reply:
        """The reply that an error makes, of ``read``, of the batcher or of anything else. Never raises."""
        reply = problem_of(error, call.request_id)
        if reply.status >= 500 and reply.status not in (503, 504):
            _log.error(
                "request %s: POST /%s: %s: %s", call.request_id, call.route, type(error).__name__, error,
                exc_info=None if isinstance(error, BentobatchError) else error,
            )  # fmt: skip
        return self._counted(reply, call)

    def gone(self, call: Call) -> None:
        """The client left before its reply was made."""

    def _counted(self, reply: Reply, call: Call) -> Reply:
        headers = (*reply.headers, ("X-Request-Id", call.request_id), *_ALWAYS)
        return replace(reply, headers=headers)


_ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


def request_id_of(given: str | None) -> str:
    """The id of a request: the one that it came with in X-Request-Id, where that is harmless, else a new one."""
    if given is not None and _ID.fullmatch(given):
        return given
    return secrets.token_hex(16)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise RequestError(400, f"X-Request-Timeout is a number of seconds above 0, not {text[:40]!r}")
    return seconds
