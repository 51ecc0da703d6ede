"""This module chooses how a job is planned, scored and committed: as a whole, as one of two, as an addition, as a redrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bentobatch.engine.commits import Commit
from bentobatch.engine.job import BatchJob
from bentobatch.engine.lease import Fence
from bentobatch.engine.only_new import OnlyNewCommit, OnlyNewPlanner
from bentobatch.engine.plan import Plan
from bentobatch.engine.planning import Planner
from bentobatch.engine.redrive import RedriveCommit, RedriveRun
from bentobatch.engine.redrive_plan import RedrivePlanner
from bentobatch.engine.shared_reading import SharedPlanner, SharedRun
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
    plain = Planner if job.reading is None else SharedPlanner
    kind = RedrivePlanner if job.redrive is not None else OnlyNewPlanner if job.only_new else plain
    return kind(job, service, storage_options=storage_options, doing=doing)


def split_run_of(plan: Plan) -> type[SplitRun]:
    """What scores a split of a plan."""
    plain = SplitRun if plan.job.reading is None else SharedRun
    return plain if plan.job.redrive is None else RedriveRun


def commit_of(plan: Plan, *, storage_options: Mapping[str, Any] | None = None, lease: Fence | None = None) -> Commit:
    """The commit of a plan."""
    kind = RedriveCommit if plan.job.redrive is not None else Commit if plan.parent is None else OnlyNewCommit
    return kind(plan, storage_options=storage_options, lease=lease)
