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

import importlib
import logging
import os
import random
import re
import threading
import time
from typing import Any

from bentobatch.errors import BentobatchError, DeadlineError, OverloadedError, UnavailableError
from bentobatch.scorer import Scorer
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore
from bentobatch.serving.access import allowed_origin, check_access
from bentobatch.serving.answers import accepted, written
from bentobatch.serving.bodies import content_of
from bentobatch.serving.call import Call, Reply, RequestError, too_large
from bentobatch.serving.columns import Rows
from bentobatch.serving.combining import CombiningMicroBatcher
from bentobatch.serving.counts import Counts
from bentobatch.serving.instances import predictions_of, rows_of_instances
from bentobatch.serving.microbatch import Batcher
from bentobatch.serving.options import ServingOptions
from bentobatch.serving.problems import detail_of, problem_of
from bentobatch.serving.reading import Reader
from bentobatch.serving.refusals import refusal_of, with_results
from bentobatch.serving.scoring import Answer

__all__ = ["Call", "Endpoint", "Reply", "RequestError", "ServedService", "request_id_of", "too_large"]

_log = logging.getLogger("bentobatch.serving")
_access = logging.getLogger("bentobatch.serving.access")
_ID = re.compile(r"[A-Za-z0-9._:@=+/-]{1,128}")
_TIMEOUT = "x-request-timeout"
_ids = random.Random()  # noqa: S311 - told to everybody, so no secrets; its own, since an api may seed the module's
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)
_ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_SAGEMAKER = "invocations"


class ServedService:
    """The apis of a loaded service. ``driver`` is the class of their batchers: CombiningMicroBatcher for threads,
    LoopMicroBatcher for an event loop. Batchers are made when they are first asked for, so after any fork.

    ``draining`` is set by the server when it is told to stop: then it is not ready any more, and answers what it has.
    """

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
        self.counts = Counts([api.name for api in service.inference_apis], self.options.metrics_folder)
        self.apis = [ScoredApi(self, api) for api in service.inference_apis]
        for module in {name for api in service.inference_apis for name in api.input.late_modules}:
            importlib.import_module(
                module
            )  # now, before any fork: else the first request would wait a second for pandas
        self.endpoints: dict[str, Endpoint] = {each.api.route.strip("/"): Endpoint(each) for each in self.apis}
        if self.apis:
            first = next((each for each in self.apis if each.api.name == "predict"), self.apis[0])
            self.endpoints.setdefault(_SAGEMAKER, Endpoint(first, route=_SAGEMAKER))
            if self.options.predict_route is not None:
                route = self.options.predict_route.strip("/")
                self.endpoints[route] = InstancesEndpoint(first, route=route)

    def endpoint(self, path: str) -> Endpoint | None:
        """The api at a path, with or without the slash before it; None where there is none."""
        return self.endpoints.get(path[1:] if path.startswith("/") else path)


class ScoredApi:
    """One api with its batcher, which all its endpoints share."""

    def __init__(self, served: ServedService, api: InferenceAPI) -> None:
        self.served = served
        self.api = api
        self.scorer = Scorer(served.service, api, output_schema=api.output_schema)
        self._lock = threading.Lock()
        self._batcher: Any = None
        self._reader: Reader | None = None

    @property
    def batcher(self) -> Any:
        """The api's batcher, of the driver's class."""
        if self._batcher is None:
            with self._lock:
                if self._batcher is None:
                    self._batcher = self._new_batcher()
        return self._batcher

    def _new_batcher(self) -> Batcher:
        options = self.served.options
        return self.served.driver(
            self.scorer,
            max_batch_size=options.max_batch_size,
            max_latency_ms=options.max_latency_ms,
            max_queue_rows=options.max_queue_rows,
            max_wait_ms=options.max_wait_ms,
            statistics=self.served.counts.apis[self.api.name].statistics,
        )

    @property
    def reader(self) -> Reader:
        """Reads the api's requests."""
        if self._reader is None:
            self._reader = Reader(self.api, self.batcher.columns, self.served.options)
        return self._reader


class Endpoint:
    """One api at one path."""

    def __init__(self, scored: ScoredApi, *, route: str | None = None) -> None:
        self.scored = scored
        self.api = scored.api
        self.route = (scored.api.route if route is None else route).strip("/")
        self.options = scored.served.options
        self._orient = getattr(scored.api.output, "output_orient", "records")

    @property
    def batcher(self) -> Any:
        """The api's batcher, of the driver's class."""
        return self.scored.batcher

    @property
    def media_types(self) -> tuple[str, ...]:
        """What bodies may be."""
        return self.scored.reader.media_types

    def read(self, call: Call) -> Rows:
        """The rows of a request, for ``batcher.submit``.

        Raises:
            RequestError, DataError: it cannot be answered; ``problem`` tells the client.
        """
        check_access(call.headers, self.options, method="POST")
        rows = self._rows(call)
        if self.api.wants_tasks:
            rows.headers = call.headers
        return rows

    def _rows(self, call: Call) -> Rows:
        accepted(call.headers.get("accept"))
        return self.scored.reader.rows(call, content_of(call, self.options))

    def deadline(self, call: Call) -> float | None:
        """The time of time.monotonic() by which the request is not worth scoring any more.

        Raises:
            RequestError: X-Request-Timeout is no number of seconds.
        """
        seconds = self.options.timeout
        asked = call.headers.get(_TIMEOUT)
        if asked is not None:
            seconds = min(seconds, _seconds(asked))
        return (call.received_at or time.monotonic()) + seconds

    def reply(self, answer: Answer, call: Call) -> Reply:
        """The reply with an Answer. Never raises."""
        try:
            reply = self._refusal(answer, call) if answer.bad else self._reply(answer, call)
        except Exception as error:  # noqa: BLE001 - a server cannot do without a reply
            return self.problem(error, call)
        return self._counted(reply, call)

    def _refusal(self, answer: Answer, call: Call) -> Reply:
        reply = refusal_of(answer, call)
        if reply.status >= 500:
            first = answer.bad[0]
            told = f"{first.error_type}: {first.error} (row {first.index}; {len(answer.bad)} of {answer.rows} rows)"
            _log.warning("request %s: POST /%s: %s", call.request_id, self.route, told)
        return reply

    def _reply(self, answer: Answer, call: Call) -> Reply:
        media = accepted(call.headers.get("accept"))
        single = self.scored.reader.is_single(call)
        content_type, body = written(answer, media, orient=self._orient, single=single)
        reply = Reply(200, (("Content-Type", content_type),), body)
        return with_results(reply, answer) if answer.results else reply

    def problem(self, error: BaseException, call: Call) -> Reply:
        """The reply that an error makes, of ``read``, of the batcher or of anything else. Never raises."""
        reply = problem_of(error, call.request_id)
        if reply.status == 500:
            foreseen = isinstance(error, BentobatchError)
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            _log.error(
                "request %s: POST /%s: %s", call.request_id, self.route, told, exc_info=None if foreseen else error
            )
        elif isinstance(error, UnavailableError) and not isinstance(error, (OverloadedError, DeadlineError)):
            _log.warning("request %s: POST /%s: %s", call.request_id, self.route, detail_of(error))
        return self._counted(reply, call)

    def gone(self, call: Call) -> None:
        """The client left before it had its reply."""
        self._count(499, call)

    def _counted(self, reply: Reply, call: Call) -> Reply:
        self._count(reply.status, call)
        headers = (*reply.headers, ("X-Request-Id", call.request_id), *_ALWAYS)
        if self.options.cors_origins:
            headers = (*headers, *cors_headers(call, self.options))
        return Reply(reply.status, headers, reply.body, reply.close)

    def _count(self, status: int, call: Call) -> None:
        seconds = time.monotonic() - call.received_at if call.received_at else 0.0
        self.scored.served.counts.apis[self.api.name].requests.add(status, seconds)
        if _access.isEnabledFor(logging.INFO):
            log_access(call.request_id, "POST", f"/{self.route}", status, seconds)


class InstancesEndpoint(Endpoint):
    """An api in Vertex AI's form: ``{"instances": […]}`` in, ``{"predictions": […]}`` out."""

    def _rows(self, call: Call) -> Rows:
        content = content_of(call, self.options)
        return rows_of_instances(content, call, self.api.input, self.batcher.columns, self.options.max_rows)

    def _reply(self, answer: Answer, call: Call) -> Reply:  # noqa: ARG002 - it is always JSON
        return Reply(200, (("Content-Type", "application/json"),), predictions_of(answer))


def cors_headers(call: Call, options: ServingOptions) -> tuple[tuple[str, str], ...]:
    """What lets pages of other sites read the reply, where the options say so."""
    origin = allowed_origin(call.headers, options)
    found: tuple[tuple[str, str], ...] = (("Vary", "Origin"),)
    if origin is not None:
        found += (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "X-Request-Id, Retry-After"),
        )
    return found


def log_access(request_id: str, method: str, path: str, status: int, seconds: float) -> None:
    """One line for each request, where the logger bentobatch.serving.access is at INFO."""
    shown = path if path.isprintable() else repr(path)
    _access.info("%s %s %s %d %.1f ms", request_id, method, shown, status, seconds * 1000)


def request_id_of(given: str | None) -> str:
    """The id of a request: the one that it came with in X-Request-Id, where that is harmless, else a new one."""
    if given is not None and _ID.fullmatch(given):
        return given
    return f"{_ids.getrandbits(128):032x}"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise RequestError(400, f"X-Request-Timeout is a number of seconds above 0, not {text[:40]!r}")
    return seconds
