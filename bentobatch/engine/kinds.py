"""This module chooses how a job is planned, scored and committed: as a whole, as one of two, as an addition, as a redrive.

All but the first are imported where they are asked for: most workers start sooner without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bentobatch.engine.commits import Commit
from bentobatch.engine.job import BatchJob
from bentobatch.engine.lease import Fence
from bentobatch.engine.plan import Plan
from bentobatch.engine.planning import Planner
from bentobatch.engine.split_run import SplitRun
from bentobatch.service.core import ServiceCore


def planner_of(
    job: BatchJob,
    service: ServiceCore,
    *,
    storage_options: Mapping[str, Any] | None = None,
    doing: Callable[[str], None] | None = None,
) -> Planner:
    """The planner of a job."""
    return _planner_type(job)(job, service, storage_options=storage_options, doing=doing)


def _planner_type(job: BatchJob) -> type[Planner]:
    if job.redrive is not None:
        from bentobatch.engine.redrive_plan import RedrivePlanner

        return RedrivePlanner
    if job.only_new:
        from bentobatch.engine.only_new import OnlyNewPlanner

        return OnlyNewPlanner
    if job.reading is not None:
        from bentobatch.engine.shared_reading import SharedPlanner

        return SharedPlanner
    return Planner


def split_run_of(plan: Plan) -> type[SplitRun]:
    """What scores a split of a plan."""
    if plan.job.redrive is not None:
        from bentobatch.engine.redrive import RedriveRun

        return RedriveRun
    if plan.job.reading is not None:
        from bentobatch.engine.shared_reading import SharedRun

        return SharedRun
    return SplitRun


def commit_of(plan: Plan, *, storage_options: Mapping[str, Any] | None = None, lease: Fence | None = None) -> Commit:
    """The commit of a plan."""
    return _commit_type(plan)(plan, storage_options=storage_options, lease=lease)


def _commit_type(plan: Plan) -> type[Commit]:
    if plan.job.redrive is not None:
        from bentobatch.engine.redrive import RedriveCommit

        return RedriveCommit
    if plan.parent is not None:
        from bentobatch.engine.only_new import OnlyNewCommit

        return OnlyNewCommit
    return Commit
