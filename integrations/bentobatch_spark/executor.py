"""This module lets Spark score the splits of a run over files: ``--executor spark``.

Splits travel as numbers, in Spark jobs of many splits. A new job is started as soon as the tasks of the earlier ones
are no more than the cluster runs at a time: no core then waits for the last tasks of a wave, and there are no more jobs
than waves. Spark's own retries replace lost executors and Python workers.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from pyspark import InheritableThread

from bentobatch.engine.crew import Outcome
from bentobatch.engine.remote import KeptPlan, outcome_from_json
from bentobatch.engine.scheduler import Scheduler
from bentobatch.errors import UnavailableError
from bentobatch_spark.session import concurrent_tasks, is_connect, is_local, one_line, start_session
from bentobatch_spark.split_tasks import RESULT, News, score_batches, score_numbers

_LOG = logging.getLogger("bentobatch")
MOST_OFFERED = 1_000
"""Splits offered at a time to a cluster whose size only Spark knows: with dynamic allocation it grows with what waits."""
_JOIN_SECONDS = 10.0


class SparkScheduler(Scheduler):
    """Splits as tasks of Spark jobs.

    ``session`` is an open one (classic, or of Spark Connect), which stays open. Without it, a session is started on
    ``master`` (default: this machine) when a run needs it, and stopped with the run. ``workers`` is how many splits are
    scored at the same time (default: as many as the executors have cores).
    """

    name = "spark"

    def __init__(self, workers: int | None = None, master: str | None = None, session: Any = None) -> None:
        self._workers = workers
        self._master = master
        self._given = session
        self._session = session
        self._tag = f"bentobatch-{uuid.uuid4().hex}"
        self._waiting: list[int] = []
        self._alone: list[int] = []
        self._running: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._heard: queue.SimpleQueue[str | _JobEnd] = queue.SimpleQueue()

    def open(self, kept: KeptPlan, *, splits: int, split_timeout: float | None) -> int:
        if self._session is None:
            self._session = start_session(self._master, self._workers)
        self._kept, self._split_timeout = kept.to_json(), split_timeout
        self._plan = kept.plan_id
        self._connect = is_connect(self._session)
        if not self._connect:
            self._news = self._session.sparkContext.accumulator(self._heard, News())
        self._room = self._workers or self._capacity(splits)
        return self._room

    def submit(self, index: int) -> None:
        self._waiting.append(index)

    def poll(self, timeout: float) -> list[Outcome]:
        self._launch()
        deadline = time.monotonic() + timeout
        outcomes: list[Outcome] = []
        while not outcomes and (left := deadline - time.monotonic()) > 0:
            try:
                outcomes += self._settle(self._heard.get(timeout=left))
                while True:
                    outcomes += self._settle(self._heard.get_nowait())
            except queue.Empty:
                if not outcomes:
                    self._launch()  # splits of a job that failed wait for jobs of their own
        return outcomes

    def cancel(self) -> None:
        self._waiting.clear()
        self._alone.clear()
        if not self._running:
            return
        self._running.clear()
        try:
            if self._connect:
                self._session.interruptTag(self._tag)
            else:
                self._session.sparkContext.cancelJobsWithTag(self._tag)
        except Exception as error:  # noqa: BLE001 - of a session that died; what ended the run must not be hidden by it
            _LOG.warning("Spark could not be told to cancel its jobs: %s", one_line(error))

    def close(self) -> None:
        try:
            self.cancel()
        finally:
            for thread in self._threads:
                thread.join(_JOIN_SECONDS)
            if self._session is not None and self._given is None:
                self._session.stop()
                self._session = None

    # -- jobs

    def _capacity(self, splits: int) -> int:
        try:
            known = concurrent_tasks(self._session)
        except Exception as error:  # a session that died has errors of many kinds
            raise UnavailableError(f"Spark does not answer: {one_line(error)}") from error
        if self._connect or is_local(self._session):
            return known
        return max(known, min(splits, MOST_OFFERED))

    def _launch(self) -> None:
        """Start jobs for what waits, once no more is under way than runs at the same time."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        groups = [[index] for index in self._alone]
        self._alone.clear()
        if self._waiting and len(self._running) <= self._room:
            # Spark Connect tells nothing of a job before its end, so there each split is a job
            groups += [[index] for index in self._waiting] if self._connect else [self._waiting]
            self._waiting = []
        for group in groups:
            self._running.update(group)
            # a thread of Spark's own kind takes the session's scheduler pool along, and lets its Java thread go
            kind = threading.Thread if self._connect else InheritableThread
            thread = kind(target=self._run, args=(group,), name="bentobatch-spark-job", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, group: list[int]) -> None:
        """A thread's work: one Spark job."""
        try:
            results = self._run_connect(group) if self._connect else self._run_classic(group)
        except Exception as error:  # noqa: BLE001 - the border between this thread and the run; told by poll
            self._heard.put(_JobEnd(group, one_line(error)))
            return
        for result in results:
            self._heard.put(result)

    def _run_classic(self, group: list[int]) -> Sequence[str]:
        context = self._session.sparkContext
        context.addJobTag(self._tag)
        context.setInterruptOnCancel(True)
        context.setJobDescription(f"bentobatch: {len(group)} splits of plan {self._plan}")
        task = partial(score_numbers, kept=self._kept, split_timeout=self._split_timeout, news=self._news)
        results: Sequence[str] = context.parallelize(group, len(group)).mapPartitions(task).collect()
        return results

    def _run_connect(self, group: list[int]) -> Sequence[str]:
        self._session.addTag(self._tag)
        numbers = self._session.createDataFrame([(index,) for index in group], "split int")
        task = partial(score_batches, kept=self._kept, split_timeout=self._split_timeout)
        return [row[0] for row in numbers.mapInArrow(task, RESULT).collect()]

    def _settle(self, heard: str | _JobEnd) -> list[Outcome]:
        """What a message means; a result is heard twice, as it comes and with its job's end."""
        if isinstance(heard, str):
            outcome = outcome_from_json(json.loads(heard))
            if outcome.index not in self._running:
                return []
            self._running.discard(outcome.index)
            return [outcome]
        left = [index for index in heard.group if index in self._running]
        if len(heard.group) > 1:
            # one lost task ends the whole job: each split is tried alone, so that none is blamed for another
            self._running.difference_update(left)
            self._alone += left
            return []
        self._running.difference_update(left)
        return [Outcome(index, error=UnavailableError(f"Spark gave up: {heard.reason}")) for index in left]


class _JobEnd:
    """The end of a job that failed."""

    def __init__(self, group: list[int], reason: str) -> None:
        self.group = group
        self.reason = reason
