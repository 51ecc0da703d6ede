"""This module makes the report of a run on Celery from what is kept beside its plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bentobatch
from bentobatch.engine import parts
from bentobatch.engine.job import BatchJob
from bentobatch.engine.report import RunReport
from bentobatch.errors import UsageError
from bentobatch_celery.state import JobState, RunRecord

EXECUTOR = "celery"


def report_of(state: JobState, run: RunRecord, record: Mapping[str, Any]) -> RunReport:
    """What ``bentobatch.run`` would have returned. ``workers`` is 0: they come and go.

    Raises:
        UsageError: the plan was removed.
    """
    data = state.store.read(parts.plan_name(state.kept.plan_id))
    if data is None:
        raise UsageError(f"the plan {state.kept.plan_id} was removed from {state.kept.state}")
    job = BatchJob.from_json(json.loads(data)["job"])
    told = run.report
    already_done = record["time"] < run.began
    spent = {} if already_done else record["seconds"]
    total = told["plan_seconds"] if already_done else round(record["time"] - run.began, 3)
    held = record.get("rows_held", 0) + told["rows_reused"]
    return RunReport(
        plan_id=record["plan_id"],
        bundle=job.bundle_tag,
        bundle_digest=job.bundle_digest,
        api=job.api,
        executor="none" if already_done else EXECUTOR,
        executor_reason="already done" if already_done else "as asked",
        workers=0,
        output=job.output_file,
        rejects_file=record["rejects_file"],
        rows=record["rows"],
        scored=record["rows"] - record["rejected"] - record["discarded"],
        rejected=record["rejected"],
        discarded=record["discarded"],
        files=told["files"],
        splits=run.splits,
        splits_reused=run.splits if already_done else told["splits_reused"],
        rows_reused=record["rows"] if already_done else held,
        features=tuple(told["features"]),
        feature_rule=told["feature_rule"],
        seconds={"total": total, "plan": told["plan_seconds"], **spent},
        already_done=already_done,
        version=bentobatch.__version__,
    )
