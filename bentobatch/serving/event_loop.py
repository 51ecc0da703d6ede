"""This module drives micro-batching from an asyncio event loop, without a lock and mostly without a thread."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from bentobatch.scorer import Scorer
from bentobatch.serving.columns import Rows
from bentobatch.serving.measures import Statistics
from bentobatch.serving.microbatch import Batcher, closed
from bentobatch.serving.scoring import Answer, Outcome, late
from bentobatch.serving.waiting import Batch, Request

INLINE_SECONDS = 0.002
"""Calls below this are made in the loop itself: to hand them to a thread and back costs more than it frees."""

LONG_SECONDS = 0.05
CALLS_BESIDE = 1_000
"""So many calls go to the thread after one that took LONG_SECONDS, since the loop would stand still as long; twice as many
after each further one, up to ten times."""


class LoopMicroBatcher(Batcher):
    """Batches for the callers in one event loop. All methods belong to that loop's thread.

    What arrives in one turn of the loop is joined. Calls are made in the loop while they take less than INLINE_SECONDS
    (by the moving average, and for this number of rows), else on one thread beside it. The next ``beside`` calls are made
    there in any case, all of them where ``inline`` is False.
    """

    inline = True

    def __init__(self, scorer: Scorer, **options: Any) -> None:
        super().__init__(scorer, **options)
        self._executor: ThreadPoolExecutor | None = None
        self.beside = 0
        self._beside_next = CALLS_BESIDE
        self._turn: asyncio.Handle | None = None
        self._turn_at = 0.0
        self._emptied: asyncio.Future[None] | None = None

    def submit(
        self, rows: Rows | pa.RecordBatch | pa.Table, *, deadline: float | None = None
    ) -> asyncio.Future[Answer]:
        """A future of the Answer; cancel it, and the request is dropped unless its rows are with the api already.

        Outcomes and Raises: as MicroBatcher.submit.
        """
        settled = self._settled(rows)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if not len(settled):
            future.set_result(self._scoring.nothing())
            return future
        request = _LoopRequest(settled, deadline, future)
        self.enqueue(request)
        future.add_done_callback(lambda done: self.drop(request) if done.cancelled() else None)
        return future

    def enqueue(self, request: Request) -> None:
        """The same without a future, for a server that writes the answer where it is resolved.

        ``request.resolve`` is called in the loop and must not raise. The request has rows (an empty one needs no turn).

        Raises: as MicroBatcher.submit.
        """
        now = time.monotonic()
        self._waiting.admit(request, now)
        if self._turn is None or self._turn_at > now:
            self._plan_turn()

    def drop(self, request: Request) -> bool:
        """Forget a request whose caller is gone; False where it does not wait any more."""
        dropped = self._waiting.drop(request)
        self._tell_if_empty()
        return dropped

    def statistics(self) -> Statistics:
        """The counts as they are now."""
        return self._waiting.statistics()

    @property
    def running_since(self) -> float | None:
        """When the api was called that has not answered yet (by time.monotonic()); None where none is."""
        batch = self._waiting.running
        return None if batch is None else batch.started

    async def close(self, *, drain: bool = True) -> None:
        """Take no more requests; return when those that wait are answered (without ``drain``: failed)."""
        for request in self._waiting.close(drain=drain):
            request.resolve(closed())
        self._plan_turn()
        if len(self._waiting) or self._waiting.running:
            if self._emptied is None:
                self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    def _plan_turn(self) -> None:
        """See to it that the next batch is taken when it is ready."""
        now = time.monotonic()
        ready = self._waiting.ready_at(now)
        if ready is None or (self._turn is not None and self._turn_at <= ready):
            return
        if self._turn is not None:
            self._turn.cancel()
        loop = asyncio.get_running_loop()
        self._turn_at = ready
        self._turn = loop.call_later(ready - now, self._take_turn) if ready > now else loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if self._waiting.running is not None:
            return
        batch = self._waiting.take(time.monotonic())
        for request in batch.late:
            request.resolve(late())
        if not batch.requests:
            self._plan_turn()
            self._tell_if_empty()
        elif self._is_short(batch):
            self._tell(*self._score(batch))
        else:
            self._score_beside(batch)

    def _is_short(self, batch: Batch) -> bool:
        predict = self._waiting.predict
        if not self.inline or not predict.calls:
            return False
        if self.beside:
            self.beside -= 1
            return False
        return max(predict.average, predict.seconds(1, batch.rows)) < INLINE_SECONDS

    def _score_beside(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"bentobatch-{self.columns.api.name}")

        def back(done: Future[tuple[list[Outcome], float, BaseException | None]]) -> None:
            loop.call_soon_threadsafe(self._tell, *done.result())

        self._executor.submit(self._score, batch).add_done_callback(back)

    def _tell(self, outcomes: list[Outcome], seconds: float, interrupt: BaseException | None) -> None:
        told = self._waiting.finished(outcomes, seconds)
        if seconds > LONG_SECONDS and self._waiting.predict.calls:  # the first call of all tells nothing
            self.beside = max(self.beside, self._beside_next)
            self._beside_next = min(2 * self._beside_next, 10 * CALLS_BESIDE)
        for request, outcome in told:
            request.resolve(outcome)
        self._plan_turn()
        self._tell_if_empty()
        if interrupt is not None:
            raise interrupt

    def _tell_if_empty(self) -> None:
        empty = not len(self._waiting) and self._waiting.running is None
        if empty and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)


class _LoopRequest(Request):
    def __init__(self, rows: Rows, deadline: float | None, future: asyncio.Future[Answer]) -> None:
        super().__init__(rows, deadline)
        self.future = future

    def claim(self) -> bool:
        return not self.future.done()

    def resolve(self, outcome: Outcome) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Answer):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)
