"""This module plans and commits in a child process, so that the bundle's code and the readers of files never run in a
worker's or a caller's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bentobatch.engine.bundle_copy import put_bundle
from bentobatch.engine.crew import PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.lease import take_lease
from bentobatch.engine.place import place_of
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.engine.publish import check_place
from bentobatch.engine.remote import KeptPlan, PlanServer
from bentobatch.engine.telemetry import Telemetry
from bentobatch_celery.state import JobState, RunRecord


def plan_job(
    job: BatchJob,
    *,
    storage_options: Mapping[str, Any] | None = None,
    split_timeout: float | None = None,
    restart: bool = False,
    break_lock: bool = False,
    queue: str | None = None,
) -> tuple[JobState, RunRecord, PlanSummary]:
    """Keep the plan, a copy of the bundle and the record of a new run beside the output.

    Raises:
        LockedError: another run works on this output.
        BentobatchError: as ``bentobatch.run``.
    """
    place = place_of(job)
    if not place.remote:
        check_place(place, overwrite=True)  # the output's folder must be there before a state folder is put beside it
    began = time.time()
    crew = ProcessCrew(storage_options=storage_options, split_timeout=split_timeout)
    try:
        with take_lease(place, storage_options, break_lock=break_lock) as lease:
            summary = crew.plan(job, restart=restart)
            state = JobState(KeptPlan(place.state, summary.plan_id), storage_options)
            stale = None
            if summary.record is not None:
                crew.commit(lease.owner)  # removes what a task that was lost after its commit has left
            else:
                overwrite = job.overwrite or job.builds_on_output
                check_place(place, overwrite=overwrite, storage_options=storage_options)
                put_bundle(job, state.store, summary.plan_id)
                last = state.last_commit()
                stale = None if last is None else last["time"]
            run = RunRecord(
                began=began,
                splits=len(summary.takes),
                stale=stale,
                split_timeout=split_timeout,
                queue=queue,
                report=_told(summary, time.time() - began),
            )
            state.begin(run)
            return state, run, summary
    finally:
        crew.close()


def _told(summary: PlanSummary, seconds: float) -> dict[str, Any]:
    """What a report tells of the planning."""
    return {
        "files": summary.files,
        "splits_reused": len(summary.done),
        "rows_reused": sum(summary.takes[index] for index in summary.done),
        "features": list(summary.features),
        "feature_rule": summary.feature_rule,
        "plan_seconds": round(seconds, 3),
    }


def commit_plan(state: JobState, run: RunRecord) -> dict[str, Any]:
    """Publish the output of a plan whose splits are all finished; the record of the commit.

    Raises:
        LockedError: another run works on this output.
        BentobatchError: as ``bentobatch.commit``.
    """
    server = PlanServer(state.kept)  # a new one: the limits are those of the plan as it is kept now
    crew = ProcessCrew(storage_options=server.storage_options)
    crew.attach(server.job, state.kept.plan_id)
    try:
        with take_lease(place_of(server.job), server.storage_options) as lease:
            record = state.committed(run)  # by whoever held the lease a moment ago
            return record or _committed(server.job, state, crew, lease.owner)
    finally:
        crew.close()


def _committed(job: BatchJob, state: JobState, crew: ProcessCrew, owner: str) -> dict[str, Any]:
    """The commit, and what is told of the run to the outside: its splits were scored by workers that nobody watched."""
    telemetry = Telemetry(job, executor="celery")
    telemetry.plan_id = state.kept.plan_id
    with telemetry:
        with telemetry.stage("commit"):
            record = crew.commit(owner)
        telemetry.committed(record)
    return record
