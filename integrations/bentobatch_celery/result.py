"""This module is what ``submit`` returns: a job on its way, looked at from anywhere that sees its output."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeoutError

from bentobatch.engine.remote import KeptPlan
from bentobatch_celery.reports import report_of
from bentobatch_celery.split_tasks import send_commit
from bentobatch_celery.state import JobState

INTERVAL_SECONDS = 0.5
NUDGE_SECONDS = 60.0
"""Where every split has its receipt for so long and no commit came, the commit is sent once more."""


class BentoResult:
    """A submitted job. ``kept`` tells where its plan is; ``BentoResult(app, kept.to_json())`` in another process is the
    same one. Nothing is asked of a result backend; where there is one, ``app.AsyncResult(result.id)`` has the run's progress
    (state PROGRESS with splits_done and splits_total) and in the end its report or its error."""

    def __init__(
        self,
        app: Celery,
        kept: Mapping[str, str] | KeptPlan,
        *,
        id: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """``id``: by default that of the plan's last run."""
        self.app = app
        self.kept = kept if isinstance(kept, KeptPlan) else KeptPlan(**kept)
        self._state = JobState(self.kept, storage_options)
        self.id = id or self._state.run().id

    @property
    def state(self) -> str:
        """PENDING, PROGRESS (a split is finished), SUCCESS, FAILURE or REVOKED."""
        run = self._state.run()
        if self._state.committed(run) is not None:
            return "SUCCESS"
        if self._state.stopped() is not None:
            return "REVOKED" if self._state.revoked() else "FAILURE"
        return "PROGRESS" if self._state.finished() else "PENDING"

    def ready(self) -> bool:
        """Whether the run has ended."""
        return self.state not in ("PENDING", "PROGRESS")

    def progress(self) -> dict[str, int]:
        """splits_done and splits_total; receipts are counted, whoever wrote them."""
        run = self._state.run()
        done = run.splits if self._state.committed(run) is not None else self._state.finished()
        return {"splits_done": done, "splits_total": run.splits}

    def get(self, timeout: float | None = None, *, interval: float = INTERVAL_SECONDS) -> dict[str, Any]:
        """Wait for the end, and return the report (``bentobatch.RunReport.to_json``).

        Raises:
            celery.exceptions.TimeoutError: no end after ``timeout`` seconds; the run goes on.
            BentobatchError: what stopped the run.
            UsageError: the plan is gone, since another run has written this output.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        nudge = time.monotonic() + NUDGE_SECONDS
        while True:
            run = self._state.run()
            record = self._state.committed(run)
            if record is not None:
                return report_of(self._state, run, record).to_json()
            error = self._state.stopped()
            if error is not None:
                raise error
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise CeleryTimeoutError(
                    f"plan {self.kept.plan_id} has not ended after {timeout:g} s: {self.progress()}"
                )
            if now >= nudge:
                nudge = now + NUDGE_SECONDS
                if self._state.finished() >= run.splits:
                    send_commit(self.app, self._state, run)
            time.sleep(interval if deadline is None else min(interval, deadline - now))

    def revoke(self) -> None:
        """Stop the run: splits in progress end and count, what is still queued does nothing. The same job submitted again
        goes on."""
        if not self.ready():
            self._state.stop(None)
