"""This module brings requests from the event loop to the apis: straight to the batcher, or through the Flask app.

A POST to an api's path never meets WSGI: it is read, joined with others, scored and answered here, by the same Endpoint
that the Flask app uses, so that the answers are the same. What would hold up the loop for long, because its body or its
answer is large or has to be unpacked, is read and written on a thread beside it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bentobatch.errors import UnavailableError
from bentobatch.serving.call import Call, Reply, RequestError
from bentobatch.serving.columns import Rows
from bentobatch.serving.counts import OTHERS
from bentobatch.serving.event_loop import CALLS_BESIDE, LoopMicroBatcher
from bentobatch.serving.exchange import Endpoint, request_id_of
from bentobatch.serving.http1_exchange import Exchange
from bentobatch.serving.http1_wsgi import WsgiThreads
from bentobatch.serving.problems import problem_of
from bentobatch.serving.scoring import Answer, Outcome
from bentobatch.serving.site import Site
from bentobatch.serving.waiting import Request

SMALL_BYTES = 64 << 10
SMALL_ROWS = 1_000
_QUICK = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})

logger = logging.getLogger(__name__)


class ApiFront:
    """Answers the requests of a worker: see http1.Front. ``site`` is that of the Flask app, None for any other app.
    ``inline``: see LoopMicroBatcher."""

    def __init__(self, site: Site | None, threads: WsgiThreads, *, inline: bool = True) -> None:
        self._site = site
        self._inline = inline
        self._threads = threads
        self._ways: dict[bytes, Endpoint] | None = None if site is not None else {}
        self._beside: ThreadPoolExecutor | None = None
        self._reading = 0
        self.requests = 0

    def short_way(self, exchange: Exchange) -> Endpoint | None:
        """The api that the request is for."""
        self.requests += 1
        if exchange.method != "POST":
            return None
        return (self._ways or self._find_ways()).get(exchange.path)

    def _find_ways(self) -> dict[bytes, Endpoint]:
        if self._ways is None and self._site is not None and self._site.is_loaded:
            served = self._site.served
            served.driver = LoopMicroBatcher  # no request got past _not_yet, so no batcher has been made
            for scored in served.apis:
                scored.batcher.inline = self._inline
                scored.batcher.beside = CALLS_BESIDE  # a slow one among the first would keep the health from answering
            self._ways = {b"/" + route.encode(): endpoint for route, endpoint in served.endpoints.items()}
        return self._ways or {}

    def serve(self, exchange: Exchange) -> None:
        """Answer it, now or later."""
        endpoint: Endpoint | None = exchange.short
        if endpoint is None:
            if exchange.method == "POST" and self._ways is None:
                exchange.answer(self._not_yet(exchange))
            else:
                self._threads.serve(exchange, _request_id(exchange))
            return
        call = _call(endpoint, exchange)
        headers = call.headers
        plain = headers.get("content-type") in _QUICK and "content-encoding" not in headers
        if plain and len(exchange.body) <= SMALL_BYTES:
            self._submit(endpoint, exchange, call, lambda: endpoint.read(call))
        else:
            self._read_beside(endpoint, exchange, call)

    def refuse(self, exchange: Exchange, error: RequestError) -> Reply:
        """The answer to what could not be read as a request."""
        endpoint = self._find_ways().get(exchange.path) if exchange.method == "POST" else None
        if endpoint is not None:
            return endpoint.problem(error, _call(endpoint, exchange))
        if self._ways:
            assert self._site is not None
            self._site.served.counts.apis[OTHERS].requests.add(error.status, 0.0)
        return _problem(error, exchange)

    def _not_yet(self, exchange: Exchange) -> Reply:
        assert self._site is not None
        try:
            self._site.served  # noqa: B018 - for what it raises
        except UnavailableError as error:
            return _problem(error, exchange)
        return _problem(UnavailableError("the bundle was loaded just now; send the request again"), exchange)

    def _read_beside(self, endpoint: Endpoint, exchange: Exchange, call: Call) -> None:
        exchange.on_gone = lambda: endpoint.gone(call)
        self._on_thread(
            lambda: endpoint.read(call),
            lambda read: None if exchange.gone else self._submit(endpoint, exchange, call, read),
        )

    def _submit(self, endpoint: Endpoint, exchange: Exchange, call: Call, read: Callable[[], Rows]) -> None:
        """Put the rows in the queue; whatever is wrong with them is answered."""
        try:
            rows = read()
            batcher = endpoint.batcher
            if not len(rows):
                exchange.answer(endpoint.reply(batcher.submit(rows).result(), call))
                return
            request = _ApiRequest(rows, endpoint.deadline(call), exchange, endpoint, call, self)
            batcher.enqueue(request)
        except Exception as error:  # noqa: BLE001 - it is this request's, and is answered
            exchange.answer(endpoint.problem(error, call))
            return
        exchange.on_gone = request.gone

    def write_beside(self, write: Callable[[], Reply], exchange: Exchange) -> None:
        """Make an answer on a thread, and send it."""
        self._on_thread(write, lambda made: exchange.answer(made()))

    def _on_thread(self, work: Callable[[], Any], then: Callable[[Callable[[], Any]], object]) -> None:
        """``then`` is called in the loop, with a function that returns what ``work`` returned, or raises what it raised."""
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, thread_name_prefix="bentobatch-bodies")
        loop = asyncio.get_running_loop()
        self._reading += 1

        def done(result: Callable[[], Any]) -> None:
            self._reading -= 1
            then(result)

        self._beside.submit(work).add_done_callback(lambda made: loop.call_soon_threadsafe(done, made.result))

    def stuck(self, seconds: float) -> list[str]:
        """The apis whose present call has taken longer than that."""
        if not self._ways or self._site is None:
            return []
        now = time.monotonic()
        return [
            scored.api.name
            for scored in self._site.served.apis
            if (started := scored.batcher.running_since) is not None and now - started > seconds
        ]

    @property
    def busy(self) -> bool:
        """Whether a thread is at work."""
        return self._threads.waiting > 0 or self._reading > 0 or bool(self.stuck(0.0))

    async def close(self) -> None:
        """Answer what still waits, and let all threads go."""
        if self._ways and self._site is not None:
            for scored in self._site.served.apis:
                await scored.batcher.close()
        self._threads.close()
        if self._beside is not None:
            self._beside.shutdown(wait=False)


class _ApiRequest(Request):
    """A request in the batcher's queue, which answers its exchange where it is resolved."""

    def __init__(
        self, rows: Rows, deadline: float | None, exchange: Exchange, endpoint: Endpoint, call: Call, front: ApiFront
    ) -> None:
        super().__init__(rows, deadline)
        self._exchange = exchange
        self._endpoint = endpoint
        self._call = call
        self._site = front

    def claim(self) -> bool:
        return not self._exchange.gone

    def resolve(self, outcome: Outcome) -> None:
        if self._exchange.gone:
            return
        if not isinstance(outcome, Answer):
            self._exchange.answer(self._endpoint.problem(outcome, self._call))
        elif outcome.rows <= SMALL_ROWS:
            self._exchange.answer(self._endpoint.reply(outcome, self._call))
        else:
            self._site.write_beside(lambda: self._endpoint.reply(outcome, self._call), self._exchange)

    def gone(self) -> None:
        """The client has left."""
        self._endpoint.batcher.drop(self)
        self._endpoint.gone(self._call)


def _call(endpoint: Endpoint, exchange: Exchange) -> Call:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers}
    if len(headers) < len(exchange.headers):
        headers = {}
        for name, value in exchange.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
    return Call(
        endpoint.route,
        headers,
        exchange.body,
        exchange.query.decode("latin-1"),
        request_id_of(headers.get("x-request-id")),
        exchange.received_at,
    )


def _problem(error: Exception, exchange: Exchange) -> Reply:
    request_id = _request_id(exchange)
    reply = problem_of(error, request_id)
    headers = (*reply.headers, ("X-Request-Id", request_id), ("Cache-Control", "no-store"))
    return Reply(reply.status, headers, reply.body, reply.close)


def _request_id(exchange: Exchange) -> str:
    given = exchange.header(b"x-request-id")
    return request_id_of(None if given is None else given.decode("latin-1"))
