"""This module joins the requests of many callers into few calls of an api, and gives each caller its own answer.

Three drivers share one queue (waiting.py) and one way to score (scoring.py): ``MicroBatcher`` has a thread of its own,
``CombiningMicroBatcher`` (combining.py) borrows the threads that wait, ``LoopMicroBatcher`` (event_loop.py) lives in an
asyncio event loop. None of them polls: at rest they cost no processor time.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import pyarrow as pa

from bentobatch.errors import ModelError, UnavailableError, UsageError
from bentobatch.scorer import Scorer
from bentobatch.serving.columns import RequestColumns, Rows
from bentobatch.serving.measures import Statistics
from bentobatch.serving.scoring import Answer, JoinedScorer, Outcome, late
from bentobatch.serving.waiting import Batch, Request, Waiting

_Driver = TypeVar("_Driver", bound="ThreadedBatcher")


class Batcher:
    """What the drivers share.

    ``scorer``: of the api, as a batch run would use it; its output schema, where it has one, holds for all answers.
    ``max_batch_size`` is in rows, and 1 means that requests are neither joined nor cut. ``max_latency_ms`` is meant for a
    request: half of it for the call that it has to wait for, half for its own; a request that others, as far as one can
    tell, will keep waiting for longer than all of it is refused at once. Both are the api's own (``mb_max_…``) where they
    are None. ``max_queue_rows`` may wait (None: four full batches, or 1,000), and no request may have more.
    ``max_wait_ms``: how long the first request may wait for others, though never more than a tenth of a call, nor 5 ms.
    ``types``: see RequestColumns. ``statistics``: where to count, by default in a place of its own. Requests to an api
    that declares row_independent=False are not joined either.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_batch_size: int | None = None,
        max_latency_ms: float | None = None,
        max_queue_rows: int | None = None,
        max_wait_ms: float = 0.0,
        types: Mapping[str, pa.DataType] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        api = scorer.api
        size = api.mb_max_batch_size if max_batch_size is None else max_batch_size
        latency = api.mb_max_latency if max_latency_ms is None else max_latency_ms
        room = max(4 * size, 1_000) if max_queue_rows is None else max_queue_rows
        if size < 1 or latency <= 0 or room < 1 or max_wait_ms < 0:
            raise UsageError(
                f"api {api.name!r}: max_batch_size={size}, max_latency_ms={latency} and max_queue_rows={room} must be"
                f" above 0, max_wait_ms={max_wait_ms} not below"
            )
        self.columns = RequestColumns(scorer, types=types)
        self._scoring = JoinedScorer(scorer)
        self._waiting = Waiting(
            max_batch_rows=size,
            objective=latency / 2000,
            max_queue_rows=room,
            pause=max_wait_ms / 1000,
            patience=latency / 1000,
            joins=api.row_independent and size > 1,
            statistics=statistics,
        )

    def settle(self, rows: pa.RecordBatch | pa.Table) -> Rows:
        """``rows`` in the columns and types of the api; see RequestColumns.settle.

        Raises:
            DataError: they do not fit; the message names the column.
        """
        return self.columns.settle(rows)

    def _settled(self, rows: Rows | pa.RecordBatch | pa.Table) -> Rows:
        return rows if isinstance(rows, Rows) else self.columns.settle(rows)

    def _score(self, batch: Batch) -> tuple[list[Outcome], float, BaseException | None]:
        """The outcomes, the seconds, and what must be raised once they are handed over (a KeyboardInterrupt)."""
        started = time.perf_counter()
        interrupt: BaseException | None = None
        try:
            outcomes = self._scoring.score(batch.pieces, batch.deadlines)
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            failure = ModelError(f"the rows could not be scored: {type(error).__name__}: {error}")
            failure.__cause__ = error
            outcomes = [failure for _ in batch.requests]
            interrupt = None if isinstance(error, Exception) else error
        return outcomes, time.perf_counter() - started, interrupt


class _FutureRequest(Request):
    def __init__(self, rows: Rows, deadline: float | None, future: Future[Answer]) -> None:
        super().__init__(rows, deadline)
        self.future = future

    def claim(self) -> bool:
        return self.taken > 0 or self.future.set_running_or_notify_cancel()

    def resolve(self, outcome: Outcome) -> None:
        if not self.taken and not self.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Answer):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)


class ThreadedBatcher(Batcher, ABC):
    """What the drivers for threads share: one lock around the queue, and Futures."""

    def __init__(self, scorer: Scorer, **options: Any) -> None:
        super().__init__(scorer, **options)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def submit(self, rows: Rows | pa.RecordBatch | pa.Table, *, deadline: float | None = None) -> Future[Answer]:
        """Let a request of one or more rows wait for its turn. ``deadline``: a time of ``time.monotonic()``.

        The Future's result is an Answer; its exception a BentobatchError, such as a ModelError where the api broke its
        contract on these rows, an UnavailableError where it asks for a retry, a DeadlineError. ``cancel()`` works until
        the rows go to the api.

        Raises:
            DataError: the rows do not fit the api; see RequestColumns.settle.
            OverloadedError: too much is waiting; try again after its ``retry_after`` seconds.
            UnavailableError: the batcher is closed.
        """
        settled = self._settled(rows)
        future = self._future()
        if not len(settled):
            future.set_result(self._scoring.nothing())
            return future
        request = _FutureRequest(settled, deadline, future)
        with self._lock:
            self._waiting.admit(request, time.monotonic())
            self._admitted()
        future.add_done_callback(lambda done: self._gone(request) if done.cancelled() else None)
        return future

    def answer(self, rows: Rows | pa.RecordBatch | pa.Table, *, deadline: float | None = None) -> Answer:
        """The result of ``submit``; this thread waits for it.

        Raises: what ``submit`` raises, or the exception of its Future.
        """
        return self.submit(rows, deadline=deadline).result()

    def _future(self) -> Future[Answer]:
        return Future()

    def _admitted(self) -> None:
        """Tell whoever sleeps in ``_next``; the lock is held."""
        self._changed.notify()

    def _gone(self, request: Request) -> None:
        with self._lock:
            self._waiting.drop(request)
            self._changed.notify()

    def statistics(self) -> Statistics:
        """The counts as they are now."""
        with self._lock:
            return self._waiting.statistics()

    def _next(self) -> Batch | None:
        """Sleeps until there is a batch; None when there is none left and there will be none. The lock is held."""
        while True:
            now = time.monotonic()
            ready = self._waiting.ready_at(now)
            if ready is None:
                if self._nothing_will_come():
                    return None
                self._changed.wait()
            elif ready > now:
                self._changed.wait(ready - now)
            else:
                batch = self._waiting.take(now)
                self._leaving(batch.late)
                return batch

    def _nothing_will_come(self) -> bool:
        """Whether ``_next`` shall not sleep while the queue is empty."""
        return self._waiting.closed

    def _run(self, batch: Batch) -> None:
        for request in batch.late:
            request.resolve(late())
        if not batch.requests:
            return
        outcomes, seconds, interrupt = self._score(batch)
        with self._lock:
            told = self._waiting.finished(outcomes, seconds)
            self._leaving(request for request, _ in told)
            self._changed.notify_all()
        self._resolve(told)
        if interrupt is not None:
            raise interrupt

    def _resolve(self, told: list[tuple[Request, Outcome]]) -> None:
        """Hand over the outcomes; the lock is not held."""
        for request, outcome in told:
            request.resolve(outcome)

    def _leaving(self, requests: Iterable[Request]) -> None:
        """These requests are about to be answered; the lock is held."""

    @abstractmethod
    def close(self, *, drain: bool = True, timeout: float | None = None) -> bool:
        """Take no more requests, and answer those that wait (without ``drain``: fail them).

        Whether that was done within ``timeout`` seconds: a call of the api cannot be cut short.
        """

    def __enter__(self: _Driver) -> _Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _stop(self, *, drain: bool) -> None:
        with self._lock:
            left = self._waiting.close(drain=drain)
            self._leaving(left)
            self._changed.notify_all()
        for request in left:
            request.resolve(closed())


class MicroBatcher(ThreadedBatcher):
    """Scores on one thread of its own, which starts with the first request (so after any fork of the process)."""

    _thread: threading.Thread | None = None

    def _admitted(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            name = f"bentobatch-{self.columns.api.name}"
            self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._thread.start()
        self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._lock:
                batch = self._next()
            if batch is None:
                return
            self._run(batch)

    def close(self, *, drain: bool = True, timeout: float | None = None) -> bool:
        """As ThreadedBatcher.close; the thread ends."""
        self._stop(drain=drain)
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()


def closed() -> UnavailableError:
    """What a request gets that was waiting when the batcher was closed without draining."""
    return UnavailableError("this server is stopping; the request was not scored, send it again, to another one")
