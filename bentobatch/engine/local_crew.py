"""This module runs a job in the caller's own process: inline, one split after the other, or on threads.

There is no guard here: a model that ends the process ends the caller. The command line uses ProcessCrew instead.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bentobatch.engine.crew import Crew, OnRows, Outcome, PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.overhead import collected
from bentobatch.engine.session import Session
from bentobatch.errors import BentobatchError, ModelError


class LocalCrew(Crew):
    """Executors "inline" and "threads" without child processes."""

    def __init__(self, *, storage_options: Mapping[str, Any] | None = None, on_rows: OnRows | None = None) -> None:
        self._storage_options = storage_options
        self._on_rows = on_rows
        self._session: Session | None = None
        self._waiting: deque[int] = deque()
        self._ended: queue.Queue[Outcome] = queue.Queue()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def session(self) -> Session:
        """The open job."""
        assert self._session is not None, "plan first"
        return self._session

    def plan(self, job: BatchJob, *, restart: bool = False, keep: bool = True) -> PlanSummary:
        self._session = Session(job, storage_options=self._storage_options)
        return self._session.make_plan(restart=restart, keep=keep)

    def start(self, executor: str, workers: int) -> int:
        if executor == "threads":
            self._pool = ThreadPoolExecutor(workers, thread_name_prefix="bentobatch-score")
        return workers

    def submit(self, index: int) -> None:
        if self._pool is None:
            self._waiting.append(index)
        else:
            self._pool.submit(self._run_into_queue, index)

    def poll(self, timeout: float) -> list[Outcome]:
        if self._pool is None:
            return [self._run(self._waiting.popleft())] if self._waiting else []
        found: list[Outcome] = []
        try:
            found.append(self._ended.get(timeout=timeout))
            while True:
                found.append(self._ended.get_nowait())
        except queue.Empty:
            return found

    def cancel(self) -> None:
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def commit(self, owner: str | None = None) -> dict[str, Any]:
        return self.session.commit(owner)

    def write_rejects(self, owner: str | None = None) -> None:
        self.session.write_rejects(owner)

    def close(self) -> None:
        self.cancel()

    def _run_into_queue(self, index: int) -> None:
        self._ended.put(self._run(index))

    def _run(self, index: int) -> Outcome:
        def on_step(start: int, stop: int) -> None:
            if self._on_rows is not None:
                self._on_rows(stop - start)

        try:
            with collected() as own:
                receipt = self.session.run_split(index, on_step=on_step)
        except BentobatchError as error:
            return Outcome(index, error=error)
        except Exception as error:  # noqa: BLE001 - the border between a worker thread and its driver
            failure = ModelError(f"split {index} failed: {type(error).__name__}: {' '.join(str(error).split())}")
            failure.__cause__ = error
            return Outcome(index, error=failure)
        return Outcome(index, counts={"rejected": receipt.rejected, "discarded": receipt.discarded}, own=own)
