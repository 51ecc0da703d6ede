"""This module drives micro-batching by the threads that wait for answers, for servers with a thread for each request.

Flat combining is of Hendler, Incze, Shavit and Tzafrir, "Flat Combining and the Synchronization-Parallelism Tradeoff"
(SPAA 2010).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol

import pyarrow as pa

from bentobatch.scorer import Scorer
from bentobatch.serving.columns import Rows
from bentobatch.serving.microbatch import ThreadedBatcher
from bentobatch.serving.scoring import Answer, Outcome
from bentobatch.serving.waiting import Request


class _Sleeper(Protocol):
    """A thread that waits for an answer, and may be told to lead."""

    def set(self) -> None:
        """Wake it."""


class CombiningMicroBatcher(ThreadedBatcher):
    """Scores on the threads that wait for answers: the first becomes the batcher, for all, until it has its own answer.

    Nothing is scored but while some thread waits in ``answer()``, in ``result()`` or ``exception()`` of a Future of this
    batcher, or in ``close``; ``concurrent.futures.wait`` does not count.

    What keeps anybody from waiting for ever: whenever requests wait whose threads do so too, one thread leads, or one is
    awake that has yet to look, under the lock, whether it must. In ``_sleepers`` are threads alone that look again when
    they are woken, none whose answer is on its way: a wake is spent on one of them only, and would be lost on another. The
    thread that was woken looks, or it was answered meanwhile: then another one led after the wake. Whoever ceases to lead,
    or to wait, wakes the next.
    """

    def __init__(self, scorer: Scorer, **options: Any) -> None:
        super().__init__(scorer, **options)
        self._led = False
        self._sleepers: OrderedDict[Any, None] = OrderedDict()

    def answer(self, rows: Rows | pa.RecordBatch | pa.Table, *, deadline: float | None = None) -> Answer:
        """As ThreadedBatcher.answer, without a Future: the lock is taken once where another thread leads."""
        settled = self._settled(rows)
        if not len(settled):
            return self._scoring.nothing()
        request = _ParkedRequest(settled, deadline)
        with self._lock:
            self._waiting.admit(request, time.monotonic())
            leads = self._leads_or_sleeps(request)
            if not leads and self._waiting.pause:
                self._admitted()  # the leader may sleep until the row cap is reached
        try:
            if leads:
                self._lead(request.has_outcome)
            while request.outcome is None:
                request.park()
                if request.outcome is None:  # woken, for nobody led
                    with self._lock:
                        leads = not request.leaving and self._leads_or_sleeps(request)
                    if leads:
                        self._lead(request.has_outcome)
        finally:
            if request.outcome is None:  # this thread is interrupted
                self._give_up(request)
            if request.following is not None:
                request.following.set()
        if isinstance(request.outcome, Answer):
            return request.outcome
        raise request.outcome

    def _leads_or_sleeps(self, sleeper: _Sleeper) -> bool:
        """Whether this thread leads now; else it is woken when it may have to. The lock is held."""
        if self._led:
            self._sleepers[sleeper] = None
            return False
        self._sleepers.pop(sleeper, None)
        self._led = True
        return True

    def _give_up(self, request: _ParkedRequest) -> None:
        with self._lock:
            request.given_up = request.outcome is None
            self._waiting.drop(request)
            self._sleepers.pop(request, None)
            self._changed.notify_all()
            self._wake_one()

    def _resolve(self, told: list[tuple[Request, Outcome]]) -> None:
        """Wake the first of the parked threads only; each wakes the next. Woken at once they would fight for the GIL."""
        first: _ParkedRequest | None = None
        others = []
        with self._lock:
            for request, outcome in reversed(told):
                if not isinstance(request, _ParkedRequest):
                    others.append((request, outcome))
                elif not request.given_up:
                    request.following, request.outcome = first, outcome
                    first = request
        if first is not None:
            first.set()
        super()._resolve(others)

    def _leaving(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if isinstance(request, _ParkedRequest):
                request.leaving = True
                self._sleepers.pop(request, None)

    def _future(self) -> Future[Answer]:
        return _WorkingFuture(self)

    def _nothing_will_come(self) -> bool:
        return True  # a thread that leads goes home then

    def work_for(self, future: Future[Answer], timeout: float | None) -> None:
        """Return when ``future`` is done or the time is over; score batches meanwhile, if no other thread does."""
        end = None if timeout is None else time.monotonic() + timeout
        wake = threading.Event()
        future.add_done_callback(lambda _: wake.set())

        def over() -> bool:
            return future.done() or (end is not None and time.monotonic() >= end)

        leads = False
        try:
            while not over():
                with self._lock:
                    leads = self._leads_or_sleeps(wake)
                if leads:
                    self._lead(over)
                wake.wait(None if end is None else max(0.0, end - time.monotonic()))
                if not future.done():
                    wake.clear()
        finally:
            with self._lock:
                self._sleepers.pop(wake, None)
                if not leads:
                    self._wake_one()  # it may have been this thread's turn to lead

    def _lead(self, over: Callable[[], bool]) -> None:
        """Score batches until it is over, or nothing waits."""
        try:
            while not over():
                with self._lock:
                    batch = self._next()
                if batch is None:
                    return
                self._run(batch)
        finally:
            with self._lock:
                self._led = False
                self._changed.notify_all()
                self._wake_one()

    def _wake_one(self) -> None:
        """See to it that somebody leads while requests wait; the lock is held."""
        if not self._led and len(self._waiting) and self._sleepers:
            wake, _ = self._sleepers.popitem(last=False)
            wake.set()

    def close(self, *, drain: bool = True, timeout: float | None = None) -> bool:
        """As ThreadedBatcher.close; requests are answered on this thread where no other waits for them."""
        end = None if timeout is None else time.monotonic() + timeout
        self._stop(drain=drain)
        while True:
            with self._lock:
                left = None if end is None else max(0.0, end - time.monotonic())
                if not self._changed.wait_for(lambda: not self._led, left):
                    return False
                if not len(self._waiting):
                    return True
                if left == 0.0:
                    return False
                self._led = True
            self._lead(lambda: end is not None and time.monotonic() >= end)


class _ParkedRequest(Request):
    """A request whose thread waits here for nothing else. Futures, conditions and events cost several times as much.

    ``leaving``: its outcome is on its way, and will wake its thread. ``following``: whose thread this one has to wake when
    it has its outcome. ``given_up``: nobody waits here any more.
    """

    def __init__(self, rows: Rows, deadline: float | None) -> None:
        super().__init__(rows, deadline)
        self.outcome: Outcome | None = None
        self.leaving = False
        self.following: _ParkedRequest | None = None
        self.given_up = False
        self._bell: SimpleQueue[None] = SimpleQueue()

    def has_outcome(self) -> bool:
        """Whether it was answered."""
        return self.outcome is not None

    def park(self) -> None:
        """Sleep until it is answered, or told to lead."""
        self._bell.get()

    def set(self) -> None:
        """Wake its thread."""
        self._bell.put(None)

    def claim(self) -> bool:
        """Somebody waits for as long as it is in the queue."""
        return True

    def resolve(self, outcome: Outcome) -> None:
        """Keep the outcome, and wake its thread."""
        self.outcome = outcome
        self._bell.put(None)


class _WorkingFuture(Future[Answer]):
    """A Future whose waiting thread may do the work."""

    def __init__(self, driver: CombiningMicroBatcher) -> None:
        super().__init__()
        self._driver = driver

    def result(self, timeout: float | None = None) -> Answer:
        """The answer; this thread may score batches meanwhile."""
        self._driver.work_for(self, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, or None; this thread may score batches meanwhile."""
        self._driver.work_for(self, timeout)
        return super().exception(0)
