"""This module decides which requests wait and which are scored next. It knows no threads and no event loop.

Whoever drives it passes the time (``time.monotonic()``), and keeps two calls from overlapping: threads by a lock, an
event loop by being one. One batch is out at a time: ``admit`` … ``ready_at``, ``take``, (score), ``finished``, again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from bentobatch.errors import BentobatchError, DataError, DeadlineError, ModelError, OverloadedError, UnavailableError
from bentobatch.serving.columns import Rows
from bentobatch.serving.measures import PredictTime, RowCap, Statistics
from bentobatch.serving.scoring import Answer, Outcome, join_answers, late, passed

LONGEST_PAUSE = 0.005
LOOK_AHEAD = 1_000
"""So many requests of other kinds are passed over in search of those that can join the first one."""


class Request(ABC):
    """One request from its submission to its outcome; drivers say how it is claimed and answered.

    ``deadline`` is a time of time.monotonic(). ``taken`` counts the rows that went to the api already.
    """

    def __init__(self, rows: Rows, deadline: float | None = None) -> None:
        self.rows = rows
        self.size = len(rows)
        self.deadline = deadline
        self.arrived = 0.0
        self.taken = 0
        self.parts: list[Answer] = []

    @property
    def left(self) -> int:
        """How many of its rows have not gone to the api yet."""
        return self.size - self.taken

    @abstractmethod
    def claim(self) -> bool:
        """Whether somebody still wants the answer; asked each time before rows of it go to the api."""

    @abstractmethod
    def resolve(self, outcome: Outcome) -> None:
        """Hand over the answer or the error. Called once at most, and not for a request that was dropped."""


@dataclass
class Batch:
    """What is scored next: ``pieces`` are the rows of ``requests``, one for one. ``late``: requests whose deadline
    passed while they waited. ``full``: there was more than the row cap allows."""

    requests: list[Request]
    pieces: list[Rows]
    late: list[Request]
    started: float
    rows: int = 0
    full: bool = False

    @property
    def deadlines(self) -> list[float | None]:
        """The deadlines of its requests."""
        return [request.deadline for request in self.requests]


class Waiting:
    """The queue of one api, first in, first out.

    ``objective`` is the longest that one call shall take, ``pause`` the longest that the first request waits for others
    to join it (both in seconds). ``patience``: the longest that a request may have to wait for those before it, as far as
    one can tell (None: for ever). ``joins=False``: each request goes alone, whole, however large. ``statistics``: where to
    count.
    """

    def __init__(
        self,
        *,
        max_batch_rows: int,
        objective: float,
        max_queue_rows: int,
        pause: float = 0.0,
        patience: float | None = None,
        joins: bool = True,
        statistics: Statistics | None = None,
    ) -> None:
        self.cap = RowCap(max_batch_rows, objective)
        self.max_queue_rows = max_queue_rows
        self.pause = pause
        self.patience = patience
        self.joins = joins
        self.closed = False
        self.rows = 0
        self.running: Batch | None = None
        self.predict = PredictTime()
        self._requests: OrderedDict[Request, None] = OrderedDict()  # a dict would look through its holes for the first
        self._statistics = statistics or Statistics()

    def __len__(self) -> int:
        return len(self._requests)

    def requests(self) -> list[Request]:
        """Those that wait, the oldest first."""
        return list(self._requests)

    def admit(self, request: Request, now: float) -> None:
        """Let a request wait for its turn.

        Raises:
            OverloadedError: the queue is full, or too long for the request's deadline or anybody's patience.
            DeadlineError: the deadline has passed already.
            DataError: the request has more rows than may ever wait.
            UnavailableError: the queue is closed.
        """
        size = request.size
        if self.closed:
            raise UnavailableError("this server is stopping and takes no more requests; send it again, to another one")
        if size > self.max_queue_rows:
            raise DataError(
                f"the request has {size} rows, more than the {self.max_queue_rows} that may wait; send fewer at a time"
            )
        if self.rows + size > self.max_queue_rows:
            self._statistics.shed_full += 1
            excess = self.rows + size - self.max_queue_rows
            raise OverloadedError(
                f"{self.rows} rows are waiting and no more than {self.max_queue_rows} may; try again later",
                retry_after=self._needed(min(excess, self.rows) - self.rows, now),
            )
        if passed(request.deadline, now):
            self._statistics.shed_deadline += 1
            raise late()
        # an idle api takes whatever comes, else an estimate that is too high would never be found out
        if self._requests or self.running:
            self._refuse_what_is_too_late(request, size, now)
        request.arrived = now
        self._requests[request] = None
        self.rows += size
        found = self._statistics
        found.admitted += 1
        found.waiting_requests, found.waiting_rows = len(self._requests), self.rows

    def _refuse_what_is_too_late(self, request: Request, size: int, now: float) -> None:
        """Raise OverloadedError where others that wait will take too long. A call that is slow by itself is no reason."""
        needed = self._needed(size, now)
        over = now + needed - request.deadline if request.deadline is not None else 0.0
        if over > 0:
            self._statistics.shed_deadline += 1
            raise OverloadedError(
                f"{self.rows} rows are waiting, too many to answer before the request's deadline; try again later",
                retry_after=over,
            )
        if self.patience is None or not self._requests:
            return
        own = self.predict.seconds(1, min(self.rows + size, self.cap.rows) if self.joins else size)
        over = needed - own - self.patience
        if over > 0:
            self._statistics.shed_deadline += 1
            raise OverloadedError(
                f"{self.rows} rows are waiting, which will take longer than mb_max_latency allows; try again later",
                retry_after=over,
            )

    def _needed(self, more: int, now: float) -> float:
        """Seconds until all that waits now, and ``more`` rows, will be answered, as far as one can tell."""
        left = 0.0
        if self.running is not None:
            left = max(0.0, self.predict.seconds(1, self.running.rows) - (now - self.running.started))
        rows = self.rows + more
        calls = -(-rows // self.cap.rows) if self.joins else len(self._requests) + (more > 0)
        return left + self.predict.seconds(calls, rows)

    def drop(self, request: Request) -> bool:
        """Forget a request that nobody wants any more; False where it does not wait (any more)."""
        if request not in self._requests:
            return False
        self._forget(request)
        self._statistics.cancelled += 1
        self._note()
        return True

    def close(self, *, drain: bool) -> list[Request]:
        """Admit nothing more. Without ``drain`` forget all that waits, too; they are returned, for an error each."""
        self.closed = True
        left = [] if drain else self.requests()
        for request in left:
            self._forget(request)
        self._statistics.failed += len(left)
        return left

    def ready_at(self, now: float) -> float | None:
        """When the next batch shall be taken: now, a little later so that others may join, or not yet known (None)."""
        if not self._requests or self.running is not None:
            return None
        if not self.pause or self.closed or not self.joins or self.rows >= self.cap.rows:
            return now
        oldest = next(iter(self._requests))
        return max(now, oldest.arrived + min(self.pause, LONGEST_PAUSE, self.predict.average / 10))

    def take(self, now: float) -> Batch:
        """The oldest request, and those after it that can be joined to it, in order, up to the row cap.

        A request of more rows goes alone, as many of its rows at a time as the cap allows; it stays the oldest until the
        last of them went. No requests are in the batch where those that waited are late or gone: ``finished`` is not due.
        """
        batch = Batch([], [], [], started=now)
        for request in list(islice(self._requests, self.cap.rows + LOOK_AHEAD)):
            if passed(request.deadline, now):
                self._forget(request)
                self._statistics.expired += 1
                batch.late.append(request)
            elif batch.requests and not request.rows.joins(batch.pieces[0]):
                continue
            elif batch.requests and batch.rows + request.left > self.cap.rows:
                batch.full = True
                break
            elif not request.claim():
                self.drop(request)
            elif self._put(request, batch):
                break
        if batch.requests:
            self.running = batch
            self._statistics.started([now - request.arrived for request in batch.requests], batch.rows)
        self._note()
        return batch

    def _put(self, request: Request, batch: Batch) -> bool:
        """Whether nothing may be added to the batch after this."""
        size = min(request.left, self.cap.rows) if self.joins else request.left
        whole = size == request.size
        alone = not self.joins or request.rows.kind is None or not whole
        batch.requests.append(request)
        batch.pieces.append(request.rows if whole else request.rows.part(request.taken, request.taken + size))
        batch.rows += size
        batch.full = batch.rows >= self.cap.rows
        request.taken += size
        self.rows -= size
        if not request.left:
            del self._requests[request]
        return alone or batch.full

    def finished(self, outcomes: list[Outcome], seconds: float) -> list[tuple[Request, Outcome]]:
        """The batch that is out was scored within ``seconds``. Returns what to tell to whom."""
        batch, self.running = self.running, None
        assert batch is not None
        self._statistics.predict_seconds.add(seconds)
        if self._statistics.predict_seconds.count > 1:  # the first call of a model may also load and compile things
            self.predict.learn(batch.rows, seconds)
            self.cap.learn(seconds, full=batch.full)
        told = []
        for request, outcome in zip(batch.requests, outcomes, strict=True):
            whole = self._whole(request, outcome)
            if whole is not None:
                self._count(whole)
                told.append((request, whole))
        self._note()
        return told

    def _whole(self, request: Request, outcome: Outcome) -> Outcome | None:
        """The outcome of all rows of a request; None where the rest of them is to come, or nobody waits for it."""
        if request.left:
            if request not in self._requests:
                return None
            if isinstance(outcome, Answer):
                request.parts.append(outcome)
                return None
            self._forget(request)
        if isinstance(outcome, BentobatchError) or not request.parts:
            return outcome
        try:
            return join_answers([*request.parts, outcome])
        except BentobatchError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, no request of the batch may wait for ever
            failure = ModelError(f"the parts of the answer could not be joined: {type(error).__name__}: {error}")
            failure.__cause__ = error
            return failure

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, Answer):
            self._statistics.answered += 1
            if outcome.bad:
                self._statistics.bad_rows += len(outcome.bad)
        elif isinstance(outcome, DeadlineError):
            self._statistics.expired += 1
        else:
            self._statistics.failed += 1

    def _forget(self, request: Request) -> None:
        del self._requests[request]
        self.rows -= request.left

    def statistics(self) -> Statistics:
        """A copy of the counts as they are now."""
        self._note()
        return self._statistics.copy()

    def _note(self) -> None:
        """What waits and runs, where others may read it."""
        found = self._statistics
        found.waiting_requests, found.waiting_rows = len(self._requests), self.rows
        found.running_requests = len(self.running.requests) if self.running else 0
        found.row_cap = self.cap.rows
