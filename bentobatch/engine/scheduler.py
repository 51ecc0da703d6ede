"""This module says what a scheduler is to the engine: something that scores splits of a kept plan, somewhere else.

A run on a scheduler is driven like a local one. Planning and the commit happen in a child process of the leader; the
scheduler's workers find plan, bundle and output by themselves (see engine.remote), so nothing but numbers is sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from bentobatch.engine.bundle_copy import put_bundle
from bentobatch.engine.crew import Crew, Outcome, PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.place import place_of
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.engine.remote import KeptPlan
from bentobatch.engine.store import store_at


class Scheduler(ABC):
    """A cluster that scores splits with ``remote.score_split``. A worker that is lost is the scheduler's to replace; a
    split that it gives up becomes an Outcome with an UnavailableError, which the driver tries again."""

    name: ClassVar[str]
    """As given to --executor."""
    storage_options: Mapping[str, Any] | None = None
    """The run's own, for a scheduler whose leader looks at the state itself; they must not travel."""

    @abstractmethod
    def open(self, kept: KeptPlan, *, splits: int, split_timeout: float | None) -> int:
        """Get ready to score this plan, of which ``splits`` are to be scored; how many splits the cluster scores at the
        same time, as far as that is known. ``split_timeout`` goes to ``score_split``.

        Raises:
            UnavailableError: the cluster does not answer.
        """

    @abstractmethod
    def submit(self, index: int) -> None:
        """Score a split, some time."""

    @abstractmethod
    def poll(self, timeout: float) -> list[Outcome]:
        """What ended since the last call; waits up to ``timeout`` seconds for the first."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop scoring what was submitted; what runs already may end."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the cluster, and end it if this object has started it."""


class SchedulerCrew(Crew):
    """A scheduler, and a local child process for what only one may do: to plan and to commit."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        storage_options: Mapping[str, Any] | None = None,
        split_timeout: float | None = None,
    ) -> None:
        self.scheduler = scheduler
        if storage_options is not None:
            scheduler.storage_options = storage_options
        self._storage_options = storage_options
        self._split_timeout = split_timeout
        self._local = ProcessCrew(storage_options=storage_options, split_timeout=split_timeout)
        self._job: BatchJob | None = None
        self._summary: PlanSummary | None = None

    def plan(self, job: BatchJob, *, restart: bool = False, keep: bool = True) -> PlanSummary:
        self._job = job
        self._summary = self._local.plan(job, restart=restart, keep=keep)
        return self._summary

    def start(self, executor: str, workers: int) -> int:  # noqa: ARG002 - the scheduler was made with its workers
        assert self._job is not None, "plan first"
        assert self._summary is not None, "plan first"
        self._local.start("inline", 1)
        state = place_of(self._job).state
        plan_id = self._summary.plan_id
        put_bundle(self._job, store_at(state, self._storage_options), plan_id)
        pending = len(self._summary.takes) - len(self._summary.done)
        return self.scheduler.open(KeptPlan(state, plan_id), splits=pending, split_timeout=self._split_timeout)

    def submit(self, index: int) -> None:
        self.scheduler.submit(index)

    def poll(self, timeout: float) -> list[Outcome]:
        return self.scheduler.poll(timeout)

    def cancel(self) -> None:
        self.scheduler.cancel()

    def commit(self, owner: str | None = None) -> dict[str, Any]:
        return self._local.commit(owner)

    def write_rejects(self, owner: str | None = None) -> None:
        self._local.write_rejects(owner)

    def close(self) -> None:
        self._local.close()
        self.scheduler.close()
