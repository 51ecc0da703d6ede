"""This module hands the splits of a kept plan to a scheduler, step by step, for a trigger that must not block.

It is what engine.driver does for a run, without plan and commit: what is finished is read from the receipts, so that
another triggerer can take over at any time.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from bentobatch import plugins
from bentobatch.engine import parts
from bentobatch.engine.crew import Outcome
from bentobatch.engine.driver import BACKOFF_SECONDS, MOST_RETRIES
from bentobatch.engine.remote import KeptPlan
from bentobatch.engine.scheduler import Scheduler
from bentobatch.engine.store import store_at
from bentobatch.errors import UnavailableError, UsageError

_LOG = logging.getLogger("bentobatch")


class HandingOut:
    """The splits of one plan on their way; not for several threads at a time."""

    def __init__(
        self,
        kept: KeptPlan,
        executor: str,
        *,
        executor_options: Mapping[str, Any] | None = None,
        workers: int | None = None,
        split_timeout: float | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Raises:
            UsageError: no such executor, or no such plan.
            UnavailableError: the cluster does not answer.
        """
        store = store_at(kept.state, storage_options)
        data = store.read(parts.plan_name(kept.plan_id))
        if data is None:
            raise UsageError(f"no plan {kept.plan_id} is kept in {kept.state}, as the triggerer sees it")
        keys: list[str] = json.loads(data)["splits"]["key"]
        done = set(store.names(f"{kept.plan_id}/receipts"))
        self.pending = deque(index for index, key in enumerate(keys) if key not in done)
        self.reused = len(keys) - len(self.pending)
        self.running: set[int] = set()
        self._retries: dict[int, int] = {}
        self._later: list[tuple[float, int]] = []
        self._scheduler: Scheduler = plugins.find("executors", executor)(workers=workers, **(executor_options or {}))
        if storage_options is not None:
            self._scheduler.storage_options = storage_options
        try:
            at_once = self._scheduler.open(kept, splits=len(self.pending), split_timeout=split_timeout)
        except BaseException:
            self._scheduler.close()
            raise
        self._room = max(1, at_once) * 2

    @property
    def finished(self) -> bool:
        """Whether every split is scored."""
        return not (self.pending or self.running or self._later)

    def step(self) -> int:
        """Hand out what there is room for, and take what has ended; how many splits have ended.

        Raises:
            BentobatchError: a split failed for good.
        """
        now = time.monotonic()
        for due, index in [item for item in self._later if item[0] <= now]:
            self._later.remove((due, index))
            self.pending.appendleft(index)
        while self.pending and len(self.running) < self._room:
            index = self.pending.popleft()
            self.running.add(index)
            self._scheduler.submit(index)
        outcomes = self._scheduler.poll(0.0) if self.running else []
        for outcome in outcomes:
            self.running.discard(outcome.index)
            if outcome.counts is None:
                self._failed(outcome)
        return len(outcomes)

    def _failed(self, outcome: Outcome) -> None:
        error = outcome.error or UnavailableError(f"split {outcome.index}: its worker was lost")
        tries = self._retries.get(outcome.index, 0)
        if not isinstance(error, UnavailableError) or tries >= MOST_RETRIES:
            raise error
        self._retries[outcome.index] = tries + 1
        wait = BACKOFF_SECONDS * 2**tries
        _LOG.warning("split %d: %s; trying again in %g s", outcome.index, error, wait)
        self._later.append((time.monotonic() + wait, outcome.index))

    def cancel(self) -> None:
        """Take back what was handed out."""
        self._scheduler.cancel()

    def close(self) -> None:
        """Let go of the scheduler."""
        self._scheduler.close()
