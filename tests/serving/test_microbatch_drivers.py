"""What each of the three drivers does in its own way."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from bentobatch.errors import DeadlineError, UsageError
from bentobatch.serving import combining, event_loop, waiting
from bentobatch.serving.combining import CombiningMicroBatcher
from bentobatch.serving.event_loop import LoopMicroBatcher
from bentobatch.serving.microbatch import MicroBatcher
from bentobatch.serving.scoring import Answer, Outcome
from bentobatch.serving.waiting import Request


def x(*values: float) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, pa.float64())], names=["x"])


def values_of(answer: Answer) -> list[Any]:
    return answer.columns.column("prediction").to_pylist()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


class Recorder:
    """An api that tells on which threads it was called, with how many rows, and takes its time where asked to."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.threads: list[str] = []
        self.sizes: list[int] = []

    def __call__(self, frame: pd.DataFrame) -> Any:
        self.threads.append(threading.current_thread().name)
        self.sizes.append(len(frame))
        time.sleep(self.seconds)
        return frame["x"]

    def api(self) -> Callable[..., Any]:
        return lambda service, df: self(df)


@pytest.mark.parametrize(
    "wrong", [{"max_batch_size": 0}, {"max_latency_ms": 0}, {"max_queue_rows": 0}, {"max_wait_ms": -1}]
)
def test_options_that_make_no_sense_are_refused(scorer_of: Any, wrong: dict[str, Any]) -> None:
    """By name, when the batcher is made."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        MicroBatcher(scorer_of(lambda self, df: df["x"]), **wrong)


def test_the_api_declares_the_limits(scorer_of: Any) -> None:
    """mb_max_batch_size in rows; of mb_max_latency a request has one half for the call before its own."""
    scorer = scorer_of(lambda self, df: df["x"], mb_max_batch_size=6, mb_max_latency=500)
    batcher = MicroBatcher(scorer)
    assert (batcher._waiting.cap.most, batcher._waiting.cap.objective) == (6, 0.25)
    assert batcher._waiting.max_queue_rows == 1000


def batcher_threads() -> int:
    return sum(thread.name == "bentobatch-predict" for thread in threading.enumerate())


def test_the_thread_starts_with_the_first_request_and_ends_with_the_batcher(scorer_of: Any) -> None:
    """So a process may fork before, and leaves nothing behind."""
    seen = Recorder()
    with MicroBatcher(scorer_of(seen.api())) as batcher:
        assert batcher_threads() == 0
        assert values_of(batcher.submit(x(1.0)).result(30)) == [1.0]
        assert batcher_threads() == 1
    assert batcher_threads() == 0
    assert seen.threads == ["bentobatch-predict"]
    assert batcher.close()
    assert MicroBatcher(scorer_of(seen.api())).close()


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # Python warns of a fork beside threads: that is the point here
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_gets_a_thread_of_its_own(scorer_of: Any) -> None:
    """A server that was used before it forked (a warm-up) works in its children."""
    with MicroBatcher(scorer_of(lambda self, df: df["x"])) as batcher:
        assert values_of(batcher.submit(x(1.0)).result(30)) == [1.0]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if values_of(batcher.submit(x(2.0)).result(30)) == [2.0] else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("driver", [MicroBatcher, CombiningMicroBatcher])
def test_a_close_tells_when_a_call_takes_longer(scorer_of: Any, gate: Any, driver: Any) -> None:
    """Nobody can cut a call short; the caller hears of it and may close again."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    batcher = driver(scorer_of(predict))
    future = batcher.submit(x(1.0))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(future.result)
        assert gate.entered.wait(30)
        assert not batcher.close(timeout=0.01)
        gate.opened.set()
        assert values_of(answer.result(30)) == [1.0]
    assert batcher.close(timeout=30)


def test_the_first_waiting_thread_scores_for_all(scorer_of: Any, gate: Any) -> None:
    """Flat combining: no thread of its own, and what piles up behind the first call is one call of another waiting thread."""
    seen = Recorder()

    def predict(self: Any, df: pd.DataFrame) -> Any:
        found = seen(df)
        gate()
        return found

    with CombiningMicroBatcher(scorer_of(predict)) as batcher, ThreadPoolExecutor(5, "caller") as pool:
        ask = lambda value: values_of(batcher.submit(x(value)).result(30))  # noqa: E731
        answers = [pool.submit(ask, 0.0)]
        assert gate.entered.wait(30)
        answers += [pool.submit(ask, float(value)) for value in range(1, 5)]
        until(lambda: batcher.statistics().waiting_requests == 4)
        gate.opened.set()
        assert [answer.result(30) for answer in answers] == [[float(value)] for value in range(5)]
    assert seen.sizes == [1, 4]
    assert all(name.startswith("caller") for name in seen.threads)


@pytest.mark.parametrize("size", [2, 100])
def test_threads_that_park_are_woken_one_by_the_other(scorer_of: Any, gate: Any, size: int) -> None:
    """``answer`` is submit and result: each thread has its own answer, the one whose deadline has passed its error."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    with CombiningMicroBatcher(scorer_of(predict), max_batch_size=size) as batcher, ThreadPoolExecutor(9) as pool:
        ask = lambda value, deadline=None: values_of(batcher.answer(x(value), deadline=deadline))  # noqa: E731
        answers = [pool.submit(ask, 0.0)]
        assert gate.entered.wait(30)
        deadline = time.monotonic() + 0.3
        answers += [pool.submit(ask, float(value)) for value in range(1, 4)]
        late = pool.submit(ask, 9.0, deadline)
        answers += [pool.submit(ask, float(value)) for value in range(4, 8)]
        until(lambda: batcher.statistics().waiting_requests == 8 and time.monotonic() > deadline)
        gate.opened.set()
        assert [answer.result(30) for answer in answers] == [[float(value)] for value in range(8)]
        assert isinstance(late.exception(30), DeadlineError)
    assert not batcher._sleepers


def test_a_parked_thread_that_is_interrupted_keeps_nobody_waiting(
    scorer_of: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request is forgotten, and the others have their answers."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    def park(request: Any) -> None:
        if request.rows.batch.column("x")[0].as_py() == 2.0:
            raise KeyboardInterrupt
        park_well(request)

    park_well = combining._ParkedRequest.park
    monkeypatch.setattr(combining._ParkedRequest, "park", park)
    with CombiningMicroBatcher(scorer_of(predict)) as batcher, ThreadPoolExecutor(5) as pool:
        ask = lambda value: values_of(batcher.answer(x(value)))  # noqa: E731
        first = pool.submit(ask, 0.0)
        assert gate.entered.wait(30)
        others = [pool.submit(ask, float(value)) for value in range(1, 5)]
        assert isinstance(others[1].exception(30), KeyboardInterrupt)
        until(lambda: batcher.statistics().waiting_requests == 3)
        gate.opened.set()
        assert [each.result(30) for each in (first, others[0], *others[2:])] == [[0.0], [1.0], [3.0], [4.0]]
        assert batcher.statistics().cancelled == 1


class HeldAtTheLock:
    """A lock that one thread, the one named "woken", gets its second time not before it is let in."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.times = 0
        self.there, self.let_in, self.gone = threading.Event(), threading.Event(), threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread().name == "woken":
            self.times += 1
            if self.times == 2:
                self.there.set()
                assert self.let_in.wait(30)
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()
        if threading.current_thread().name == "woken" and self.times == 2:
            self.gone.set()


@pytest.mark.parametrize("late", [False, True])
def test_no_wake_is_spent_on_a_thread_that_is_answered(
    scorer_of: Any, gate: Any, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A thread is woken to lead and does not get to the lock before another one did, for it too, so that its answer is on
    its way: it waits for that alone. As a sleeper it would be the next to be woken, and all others would sleep on."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    def told(name: str) -> Callable[..., None]:
        tell = getattr(CombiningMicroBatcher, name)

        def slowly(self: CombiningMicroBatcher, what: Any) -> None:
            if lock.there.is_set():
                lock.let_in.set()
                assert lock.gone.wait(30)
            tell(self, what)

        return slowly

    batcher = CombiningMicroBatcher(scorer_of(predict))
    lock: Any = HeldAtTheLock(batcher._lock)
    batcher._lock = lock
    monkeypatch.setattr(CombiningMicroBatcher, "_resolve", told("_resolve"))
    answers: dict[float, Any] = {}

    def ask(value: float) -> None:
        try:
            answers[value] = values_of(batcher.answer(x(value)))
        except DeadlineError:
            answers[value] = "late"

    leader = threading.Thread(target=ask, args=(1.0,), daemon=True)
    leader.start()
    assert gate.entered.wait(30)
    woken = threading.Thread(target=ask, args=(2.0,), name="woken", daemon=True)
    woken.start()
    until(lambda: batcher.statistics().waiting_requests == 1)
    gate.opened.set()
    assert lock.there.wait(30)
    if late:
        batcher._waiting.requests()[0].deadline = time.monotonic()
        monkeypatch.setattr(CombiningMicroBatcher, "_run", told("_run"))
    ask(3.0)
    for thread in (leader, woken):
        thread.join(30)
    assert answers == {1.0: [1.0], 2.0: "late" if late else [2.0], 3.0: [3.0]}
    assert not batcher._sleepers


def test_nobody_waits_for_ever_when_the_load_ends(scorer_of: Any) -> None:
    """Bursts of 64 threads, through calls that have room for a few of them: each burst comes to its end by itself."""
    bursts, started = 12, threading.Barrier(64)
    answers: list[list[float]] = []

    def ask(number: int) -> None:
        for burst in range(bursts):
            started.wait(30)
            answers.append(values_of(batcher.answer(x(float(number * bursts + burst)))))

    with CombiningMicroBatcher(scorer_of(lambda self, df: df["x"]), max_batch_size=5) as batcher:
        threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(64)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        end = time.monotonic() + 30
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        finally:
            sys.setswitchinterval(interval)
        assert sorted(answers) == [[float(value)] for value in range(64 * bursts)]
        assert not batcher._sleepers


def test_nothing_is_scored_that_nobody_waits_for(scorer_of: Any) -> None:
    """A Future that was never asked for its result waits, until another caller's thread, or close, takes it along."""
    seen = Recorder()
    batcher = CombiningMicroBatcher(scorer_of(seen.api()))
    first, second = batcher.submit(x(1.0)), batcher.submit(x(2.0))
    assert (seen.sizes, first.done()) == ([], False)
    assert values_of(second.result()) == [2.0]
    assert (seen.sizes, first.done(), second.exception()) == ([2], True, None)
    third = batcher.submit(x(3.0))
    assert batcher.close()
    assert values_of(third.result(0)) == [3.0]


def test_a_leader_that_gives_up_hands_over(scorer_of: Any, gate: Any) -> None:
    """A time-out of the thread that scores for others ends its waiting, not theirs."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    with CombiningMicroBatcher(scorer_of(predict), max_batch_size=1) as batcher, ThreadPoolExecutor(3) as pool:
        others = [batcher.submit(x(float(value))) for value in range(3)]
        mine = batcher.submit(x(9.0))
        leader = pool.submit(mine.result, 0.5)
        assert gate.entered.wait(30)
        answers = [pool.submit(other.result, 30) for other in others[1:]]
        time.sleep(0.6)
        gate.opened.set()
        with pytest.raises(NotInTime):
            leader.result(30)
        assert [values_of(answer.result(30)) for answer in answers] == [[1.0], [2.0]]
        assert values_of(mine.result(30)) == [9.0]


def test_a_sleeper_that_gives_up_hands_over(scorer_of: Any) -> None:
    """Threads come and go with short time-outs; nobody is forgotten, and nobody waits for ever."""
    seen = Recorder(0.001)
    with CombiningMicroBatcher(scorer_of(seen.api()), max_batch_size=2) as batcher, ThreadPoolExecutor(32) as pool:

        def ask(value: int) -> list[float]:
            if value % 3 == 0:
                return values_of(batcher.answer(x(float(value))))
            future = batcher.submit(x(float(value)))
            while True:
                try:
                    return values_of(future.result(0.002 if value % 2 else 30))
                except NotInTime:
                    continue

        assert list(pool.map(ask, range(600))) == [[float(value)] for value in range(600)]


def test_an_interrupt_in_the_leader_reaches_it_and_fails_its_batch(scorer_of: Any) -> None:
    """Ctrl-C is the caller's; those who were scored along get an error rather than silence, and others go on."""
    interrupts = [True]

    def predict(self: Any, df: pd.DataFrame) -> Any:
        if interrupts:
            interrupts.clear()
            raise KeyboardInterrupt
        return df["x"]

    batcher = CombiningMicroBatcher(scorer_of(predict))
    first, second = batcher.submit(x(1.0)), batcher.submit(x(2.0))
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert "KeyboardInterrupt" in str(second.exception(0))
    assert values_of(batcher.submit(x(3.0)).result()) == [3.0]


def test_the_loop_joins_what_arrives_in_one_turn_and_calls_quick_models_itself(scorer_of: Any) -> None:
    """The first calls go to a thread, since nobody knows yet what they cost; then the loop's own thread makes them."""
    seen = Recorder()

    async def serve() -> None:
        batcher = LoopMicroBatcher(scorer_of(seen.api()))
        for turn in range(3):
            answers = await asyncio.gather(*(batcher.submit(x(float(value))) for value in range(5)))
            assert [values_of(answer) for answer in answers] == [[float(value)] for value in range(5)]
            if turn == 1:
                predict = batcher._waiting.predict
                predict.average = predict._covariance = predict._slope = 0.0  # however slow this machine is
        await batcher.close()

    asyncio.run(serve())
    assert seen.sizes == [5, 5, 5]
    assert [name.startswith("bentobatch-predict") for name in seen.threads] == [True, True, False]
    assert seen.threads[2] == threading.current_thread().name


def test_a_slow_model_does_not_stop_the_loop(scorer_of: Any, gate: Any) -> None:
    """While a call lasts, the loop does other things, and takes requests."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    async def serve() -> None:
        batcher = LoopMicroBatcher(scorer_of(predict))
        first = batcher.submit(x(1.0))
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        second = batcher.submit(x(2.0))
        assert batcher.statistics().waiting_requests == batcher.statistics().running_requests == 1
        gate.opened.set()
        assert [values_of(await future) for future in (first, second)] == [[1.0], [2.0]]
        await batcher.close()

    asyncio.run(serve())


def test_a_slow_call_sends_the_next_ones_to_the_thread(scorer_of: Any) -> None:
    """The moving average decides anew for each batch."""
    seen = Recorder()

    async def serve() -> None:
        batcher = LoopMicroBatcher(scorer_of(seen.api()))
        for _ in range(3):
            await batcher.submit(x(1.0))
        batcher._waiting.predict.average = 0.0
        seen.seconds = 0.05
        for _ in range(2):
            await batcher.submit(x(1.0))
        await batcher.close()

    asyncio.run(serve())
    main = threading.current_thread().name
    assert [name == main for name in seen.threads[3:]] == [True, False]


def test_a_server_may_do_without_futures(scorer_of: Any) -> None:
    """enqueue: the request is resolved in the loop, and dropped when its client is gone."""
    told: list[Outcome] = []

    class Written(Request):
        def claim(self) -> bool:
            return True

        def resolve(self, outcome: Outcome) -> None:
            told.append(outcome)

    async def serve() -> None:
        batcher = LoopMicroBatcher(scorer_of(lambda self, df: df["x"]))
        first, second = (Written(batcher.settle(x(value))) for value in (1.0, 2.0))
        batcher.enqueue(first)
        batcher.enqueue(second)
        assert batcher.drop(first)
        assert not batcher.drop(first)
        await batcher.close()

    asyncio.run(serve())
    assert [values_of(answer) for answer in told] == [[2.0]]


def test_a_client_that_leaves_in_mid_batch_harms_nobody(scorer_of: Any, gate: Any) -> None:
    """A future that is cancelled while its rows are with the model is left alone; those beside it are answered."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    async def serve() -> None:
        batcher = LoopMicroBatcher(scorer_of(predict), max_batch_size=4)
        first, second, large = (batcher.submit(x(*values)) for values in ([1.0], [2.0], [3.0] * 9))
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        first.cancel()
        large.cancel()
        gate.opened.set()
        assert values_of(await second) == [2.0]
        await batcher.close()
        found = batcher.statistics()
        assert (found.answered, found.cancelled, found.waiting_rows) == (2, 1, 0)

    asyncio.run(serve())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()  # no future is left whose exception nobody looked at


def test_a_full_batch_ends_the_pause(scorer_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request waits for others, and no longer than until the row cap is reached: in the loop, on a thread, on
    those that wait."""
    monkeypatch.setattr(waiting, "LONGEST_PAUSE", 600.0)

    async def in_loop(batcher: LoopMicroBatcher) -> None:
        batcher._waiting.predict.average = 6000.0
        first = batcher.submit(x(1.0))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, *(batcher.submit(x(2.0)) for _ in range(7)))
        await batcher.close()

    seen = Recorder()
    asyncio.run(in_loop(LoopMicroBatcher(scorer_of(seen.api()), max_wait_ms=600_000)))
    with MicroBatcher(scorer_of(seen.api()), max_wait_ms=600_000) as batcher:
        batcher._waiting.predict.average = 6000.0
        for future in [batcher.submit(x(3.0)) for _ in range(8)]:
            assert values_of(future.result(30)) == [3.0]
    with ThreadPoolExecutor(8) as pool, CombiningMicroBatcher(scorer_of(seen.api()), max_wait_ms=600_000) as combined:
        combined._waiting.predict.average = 6000.0
        for answer in [pool.submit(combined.answer, x(4.0)) for _ in range(8)]:
            assert values_of(answer.result(10)) == [4.0]
    assert seen.sizes == [8, 8, 8]


def test_a_pause_ends_by_itself(scorer_of: Any) -> None:
    """max_wait_ms: nobody else comes, and the request is answered all the same; a drain does not wait for it."""

    async def in_loop() -> None:
        batcher = LoopMicroBatcher(scorer_of(Recorder(0.02).api()), max_wait_ms=5)
        for _ in range(3):
            assert values_of(await batcher.submit(x(1.0))) == [1.0]
        last = batcher.submit(x(2.0))
        await batcher.close()
        assert values_of(await last) == [2.0]

    asyncio.run(in_loop())
    with MicroBatcher(scorer_of(Recorder(0.02).api()), max_wait_ms=5) as batcher:
        for _ in range(3):
            assert values_of(batcher.submit(x(1.0)).result(30)) == [1.0]


def test_an_api_that_was_slow_once_is_called_on_the_thread_for_long(
    scorer_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would stand still for as long as the next such call. ``beside`` is also how a server puts it to the test."""
    monkeypatch.setattr(event_loop, "LONG_SECONDS", 0.5)  # more than a busy machine adds to a quick call
    seen = Recorder()

    async def serve() -> None:
        batcher = LoopMicroBatcher(scorer_of(seen.api()))
        batcher.beside = 1
        for seconds in (0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0):
            seen.seconds = seconds
            await batcher.submit(x(1.0))
            predict = batcher._waiting.predict
            predict.average = predict._covariance = predict._slope = 0.0  # however slow this machine is
        assert event_loop.CALLS_BESIDE - 5 < batcher.beside < event_loop.CALLS_BESIDE
        await batcher.close()

    asyncio.run(serve())
    beside = [name.startswith("bentobatch-predict") for name in seen.threads]
    assert beside == [True, True, True, False, False, True, True]
