"""This module is the smallest scheduler: worker processes of this machine that know nothing but a kept plan's place."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from bentobatch.engine.crew import Outcome
from bentobatch.engine.remote import KeptPlan, outcome_from_json, score_split
from bentobatch.engine.scheduler import Scheduler


class PoolScheduler(Scheduler):
    """concurrent.futures as a cluster; it shows what the interface asks of the real ones."""

    name = "pool"

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self._futures: set[Future[dict[str, Any]]] = set()

    def open(self, kept: KeptPlan, *, splits: int, split_timeout: float | None) -> int:
        self._kept, self._split_timeout = kept.to_json(), split_timeout
        self._pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
        return self.workers

    def submit(self, index: int) -> None:
        self._futures.add(self._pool.submit(score_split, self._kept, index, split_timeout=self._split_timeout))

    def poll(self, timeout: float) -> list[Outcome]:
        done, self._futures = wait(self._futures, timeout, return_when=FIRST_COMPLETED)
        return [outcome_from_json(future.result()) for future in done]

    def cancel(self) -> None:
        for future in self._futures:
            future.cancel()
        self._futures.clear()

    def close(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.shutdown(wait=True, cancel_futures=True)
