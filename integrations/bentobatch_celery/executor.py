"""This module is the executor "celery": the splits of a run become tasks of Celery's workers.

The run's leader waits for outcomes beside the plan, so no result backend is needed.
"""

from __future__ import annotations

import time
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.utils.imports import cwd_in_path

from bentobatch.engine.crew import Outcome
from bentobatch.engine.remote import KeptPlan, outcome_from_json, worker_storage_options
from bentobatch.engine.scheduler import Scheduler
from bentobatch.errors import UnavailableError, UsageError
from bentobatch_celery.app import make_app
from bentobatch_celery.broker import reaching, slots, workers_answer
from bentobatch_celery.state import JobState, RunRecord
from bentobatch_celery.tasks import SCORE_SPLIT, check_json

LOST_SECONDS = 60.0
"""Where nothing ended for so long, the workers are asked whether they are there."""
_SHORTEST, _LONGEST = 0.02, 0.5
"""Seconds between two looks for outcomes; the longer nothing came, the longer."""


class CeleryScheduler(Scheduler):
    """Scores splits on the workers of ``app`` (a Celery app, or "module:name"), else on those that listen at ``broker``
    (by default CELERY_BROKER_URL) to the queue of ``bentobatch_celery.app``.

    ``workers`` says how many splits to count on being scored at a time, by default all processes or threads of the
    workers that answer at the start.

    Raises:
        UsageError: both of ``broker`` and ``app``, or no such app.
    """

    name = "celery"

    def __init__(
        self, workers: int | None = None, *, broker: str | None = None, app: Celery | str | None = None
    ) -> None:
        if broker is not None and app is not None:
            raise UsageError("give one of broker and app, not both: the app knows its broker")
        self.workers = workers
        self.app: Celery = _found(app) if isinstance(app, str) else make_app(broker) if app is None else app
        check_json(self.app)
        self._state: JobState | None = None
        self._running: set[int] = set()
        self._asked = 0.0

    def open(self, kept: KeptPlan, *, splits: int, split_timeout: float | None) -> int:
        with reaching(self.app):
            count = slots(self.app, SCORE_SPLIT)
        options = self.storage_options if self.storage_options is not None else worker_storage_options()
        state = JobState(kept, options)
        last = state.last_commit()
        stale = None if last is None else last["time"]
        state.begin(RunRecord(began=time.time(), splits=splits, stale=stale, split_timeout=split_timeout))
        self._state = state
        self._asked = time.monotonic()
        return self.workers or count

    def submit(self, index: int) -> None:
        state = self._opened()
        state.store.delete(state.name("outcomes", str(index)))  # that of an earlier try
        with reaching(self.app, try_first=False):
            self.app.send_task(SCORE_SPLIT, args=[state.kept.to_json(), index])
        self._running.add(index)

    def poll(self, timeout: float) -> list[Outcome]:
        deadline = time.monotonic() + timeout
        pause = _SHORTEST
        while True:
            outcomes = self._ended()
            now = time.monotonic()
            if outcomes:
                self._asked = now
            if outcomes or now >= deadline:
                self._check_workers(now)
                return outcomes
            time.sleep(min(pause, deadline - now))
            pause = min(2 * pause, _LONGEST)

    def cancel(self) -> None:
        if self._state is not None and self._running:
            self._state.stop(None)
        self._running.clear()

    def close(self) -> None:
        if self._state is not None:
            self._state.clear()
        self._state = None

    def _opened(self) -> JobState:
        assert self._state is not None, "open first"
        return self._state

    def _ended(self) -> list[Outcome]:
        state = self._opened()
        outcomes = []
        for name in state.store.names(state.name("outcomes")):
            if not name.isdigit() or int(name) not in self._running:
                continue
            data: Any = state.read("outcomes", name)
            if data is not None:
                self._running.discard(int(name))
                outcomes.append(outcome_from_json(data))
        return outcomes

    def _check_workers(self, now: float) -> None:
        """
        Raises:
            UnavailableError: all workers are gone.
        """
        if not self._running or now - self._asked < LOST_SECONDS:
            return
        self._asked = now
        with reaching(self.app):
            there = workers_answer(self.app)
        if not there:
            raise UnavailableError(
                f"no Celery worker answers any more, and {len(self._running)} splits are queued: start workers, then run the"
                " same command, which goes on"
            )


def _found(name: str) -> Celery:
    """The app "module:name", as ``celery -A`` finds it.

    Raises:
        UsageError: there is none.
    """
    try:
        with cwd_in_path():
            app = find_app(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--celery-app {name}: {error}; give MODULE:NAME of a Celery app, as to celery -A") from error
    if not isinstance(app, Celery):
        raise UsageError(f"--celery-app {name} is no Celery app but {type(app).__name__}; give MODULE:NAME of one")
    return app
