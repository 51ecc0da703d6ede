"""This module does the steps of a job that a task runs in its own process: to plan, and to commit.

The bundle's code runs in a child process of the task, so a crash in it becomes an error, and ``on_kill`` ends it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bentobatch.engine.bundle_copy import put_bundle
from bentobatch.engine.crew import PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.lease import take_lease
from bentobatch.engine.place import place_of
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.engine.publish import check_place
from bentobatch.engine.remote import KeptPlan, PlanServer
from bentobatch.engine.store import store_at
from bentobatch.engine.telemetry import Telemetry
from bentobatch_airflow.reports import of_commit


@dataclass(frozen=True)
class Planned:
    """A plan that is kept beside the output, and the splits that are still to be scored."""

    kept: KeptPlan
    summary: PlanSummary

    @property
    def pending(self) -> list[int]:
        """Numbers of the splits without a receipt, ascending; none where the output is committed."""
        if self.summary.record is not None:
            return []
        return [index for index in range(len(self.summary.takes)) if index not in self.summary.done]


def plan_job(
    job: BatchJob, *, storage_options: Mapping[str, Any] | None = None, split_timeout: float | None = None
) -> Planned:
    """Plan a job, keep the plan and a copy of the bundle beside the output, and take over what was scored before.

    Raises:
        LockedError: another run works on this output.
        BentobatchError: as ``bentobatch.run``.
    """
    place = place_of(job)
    if not place.remote:
        check_place(place, overwrite=True)  # the output's folder must be there before a state folder is put beside it
    crew = ProcessCrew(storage_options=storage_options, split_timeout=split_timeout)
    try:
        with take_lease(place, storage_options) as lease:
            summary = crew.plan(job)
            planned = Planned(KeptPlan(place.state, summary.plan_id), summary)
            if summary.record is not None:
                crew.commit(lease.owner)  # removes what a task that was killed after its commit has left
                return planned
            overwrite = job.overwrite or job.builds_on_output
            check_place(place, overwrite=overwrite, storage_options=storage_options)
            put_bundle(job, store_at(place.state, storage_options), summary.plan_id)
            return planned
    finally:
        crew.close()


def commit_plan(kept: KeptPlan, *, executor: str, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Publish the output of a plan whose splits are all scored; the small report. A second time nothing happens.

    Raises:
        StorageError: a split is not finished.
        TooManyRejectsError, ExpectationError: the output is not what the job allows; the parts are kept.
        LockedError: another run works on this output.
    """
    started = time.time()
    server = PlanServer(kept, storage_options=storage_options)
    crew = ProcessCrew(storage_options=storage_options)
    crew.attach(server.job, kept.plan_id)
    telemetry = Telemetry(server.job, executor=executor)
    telemetry.plan_id = kept.plan_id
    try:
        with telemetry, take_lease(place_of(server.job), storage_options) as lease:
            with telemetry.stage("commit"):
                record = crew.commit(lease.owner)
            telemetry.committed(record)
    finally:
        crew.close()
    return of_commit(server.job, record, executor=executor, already_done=record["time"] < started)
