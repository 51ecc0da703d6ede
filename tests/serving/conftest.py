"""What the tests of serving share: a scorer over one function, and the three drivers behind one face."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.scorer import Scorer
from bentobatch.service.core import ServiceCore
from bentobatch.serving.combining import CombiningMicroBatcher
from bentobatch.serving.event_loop import LoopMicroBatcher
from bentobatch.serving.measures import Statistics
from bentobatch.serving.microbatch import MicroBatcher
from tests.serving.ways import WAYS, Way, save_served


def make_scorer(function: Callable[..., Any], *, input: Any = None, batch: bool = True, **options: Any) -> Scorer:
    """A scorer over a service with the one api ``function``, which takes a frame with the column x."""
    adapter = input or DataframeInput(columns=["x"])
    declared = bentobatch.api(input=adapter, batch=batch, api_name="predict", **options)(function)
    service = type("Service", (ServiceCore,), {"predict": declared})()
    api = service.get_inference_api("predict")
    return Scorer(service, api, output_schema=api.output_schema)


class Threaded:
    """A driver for threads; somebody waits for every Future, as in a server with a thread for each request."""

    def __init__(self, batcher: Any) -> None:
        self.batcher = batcher
        self.waiters = ThreadPoolExecutor(200)

    def submit(self, rows: Any, *, deadline: float | None = None) -> Future[Any]:
        future = self.batcher.submit(rows, deadline=deadline)
        if isinstance(self.batcher, CombiningMicroBatcher):
            self.waiters.submit(future.exception)
        return future

    def statistics(self) -> Statistics:
        return self.batcher.statistics()

    def close(self, *, drain: bool = True) -> None:
        self.batcher.close(drain=drain)
        self.waiters.shutdown()


class Looped:
    """The event loop's driver, with its loop in a thread; what submit raises comes out of the Future."""

    def __init__(self, scorer: Scorer, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.batcher = LoopMicroBatcher(scorer, **options)

    def submit(self, rows: Any, *, deadline: float | None = None) -> Future[Any]:
        async def ask() -> Any:
            return await self.batcher.submit(rows, deadline=deadline)

        return asyncio.run_coroutine_threadsafe(ask(), self.loop)

    def statistics(self) -> Statistics:
        async def ask() -> Statistics:
            return self.batcher.statistics()

        return asyncio.run_coroutine_threadsafe(ask(), self.loop).result(30)

    def close(self, *, drain: bool = True) -> None:
        if self.loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self.batcher.close(drain=drain), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()


def make_driver(kind: str, scorer: Scorer, **options: Any) -> Any:
    if kind == "loop":
        return Looped(scorer, **options)
    return Threaded((MicroBatcher if kind == "thread" else CombiningMicroBatcher)(scorer, **options))


@pytest.fixture
def scorer_of() -> Callable[..., Scorer]:
    """See make_scorer."""
    return make_scorer


@pytest.fixture(params=["thread", "combining", "loop"])
def open_driver(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a driver over a scorer, or over a function; they are closed at the end. Each test runs on all three."""
    opened: list[Any] = []

    def opener(served: Any, *, input: Any = None, api: dict[str, Any] | None = None, **options: Any) -> Any:
        scorer = served if isinstance(served, Scorer) else make_scorer(served, input=input, **(api or {}))
        opened.append(make_driver(request.param, scorer, **options))
        return opened[-1]

    yield opener
    for driver in opened:
        driver.close()


class Gate:
    """Holds a model's calls until it is opened, so that requests pile up behind the first one."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.opened.wait(30)

    def pile_up(self, driver: Any, first: Any, others: list[Any], **options: Any) -> list[Future[Any]]:
        """``first`` is with the model and the others wait behind it, in their order."""
        futures = [driver.submit(first)]
        assert self.entered.wait(30)
        for count, rows in enumerate(others, start=1):
            futures.append(driver.submit(rows, **options))
            until(lambda: driver.statistics().admitted > count)  # noqa: B023 - called here and now
        return futures


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open at the end at the latest."""
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture(scope="session")
def served_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of the service in served_service.py."""
    return save_served(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session", params=list(WAYS))
def way(request: pytest.FixtureRequest, served_bundle: str) -> Iterator[Way]:
    """Each way to serve that bundle, with the options as they are by default."""
    with WAYS[request.param](served_bundle, {}) as opened:
        yield opened


@pytest.fixture(scope="session")
def client(served_bundle: str) -> Iterator[Way]:
    """That bundle served in this process."""
    with WAYS["client"](served_bundle, {}) as opened:
        yield opened
