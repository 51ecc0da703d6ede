"""This module is the trigger of a deferred task: it sees to it that a scheduler scores the splits of a kept plan.

All that it is given is where the plan lies; credentials come from the connection when it runs. A triggerer that is
restarted goes on from the receipts beside the output.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bentobatch.errors import BentobatchError
from bentobatch_airflow.storage import storage_options_async

if TYPE_CHECKING:
    from bentobatch_airflow.handing_out import HandingOut


class BentoSplitsTrigger(BaseTrigger):  # type: ignore[misc] # Airflow is not checked here
    """Fires once: when every split is scored, or when one has failed for good; see ``event`` for what it tells."""

    def __init__(
        self,
        *,
        plan: dict[str, str],
        executor: str,
        executor_options: dict[str, Any] | None = None,
        workers: int | None = None,
        split_timeout: float | None = None,
        poll_interval: float = 10.0,
        conn_id: str | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.executor = executor
        self.executor_options = executor_options
        self.workers = workers
        self.split_timeout = split_timeout
        self.poll_interval = poll_interval
        self.conn_id = conn_id
        self._work: HandingOut | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the class is, and its keywords."""
        names = ("plan", "executor", "executor_options", "workers", "split_timeout", "poll_interval", "conn_id")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Hand out the splits. The scheduler's calls may block for a moment, so they run in a thread."""
        try:
            storage_options = await storage_options_async(self.conn_id)
            self._work = work = await asyncio.to_thread(self._open, storage_options)
            while not work.finished:
                if not await asyncio.to_thread(work.step) and not work.finished:
                    await asyncio.sleep(self.poll_interval)
            await self.cleanup()
        except BentobatchError as error:
            await self.on_kill()
            await self.cleanup()
            yield self.event({"type": type(error).__name__, "message": str(error)}, reused=0)
            return
        yield self.event(None, reused=work.reused)

    def event(self, error: dict[str, str] | None, *, reused: int) -> TriggerEvent:
        """What the task is told: its plan, how many splits earlier runs had scored, and an error or None."""
        return TriggerEvent({"plan": self.plan, "splits_reused": reused, "error": error})

    async def on_kill(self) -> None:
        """Somebody has marked the task, or cleared it: take back the splits that wait."""
        if self._work is not None:
            await asyncio.to_thread(self._work.cancel)

    async def cleanup(self) -> None:
        """Let go of the scheduler, whatever the reason; the splits that are scored stay."""
        work, self._work = self._work, None
        if work is not None:
            await asyncio.to_thread(work.close)

    def _open(self, storage_options: dict[str, Any] | None) -> HandingOut:
        from bentobatch.engine.remote import KeptPlan  # here: a DAG file is parsed without the engine
        from bentobatch_airflow.handing_out import HandingOut

        return HandingOut(
            KeptPlan(**self.plan),
            self.executor,
            executor_options=self.executor_options,
            workers=self.workers,
            split_timeout=self.split_timeout,
            storage_options=storage_options,
        )
