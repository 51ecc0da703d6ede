"""This module holds what a task leaves in XCom, in asset events and for OpenLineage: counts, ids and URIs, never rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch.engine.job import BatchJob
    from bentobatch.engine.report import RunReport

COUNTS = ("rows", "rejected", "discarded")


def of_run(report: RunReport) -> dict[str, Any]:
    """The small report of a whole run."""
    names = ("plan_id", "bundle", "api", "output", "rejects_file", "rows", "rejected", "discarded")
    return {
        **{name: getattr(report, name) for name in names},
        "splits": report.splits,
        "splits_reused": report.splits_reused,
        "already_done": report.already_done,
        "executor": report.executor,
        "seconds": report.seconds.get("total", 0.0),
    }


def of_commit(job: BatchJob, record: Mapping[str, Any], *, executor: str, already_done: bool) -> dict[str, Any]:
    """The same from the record of a commit whose splits were scored by other tasks. ``seconds`` are those of reading,
    scoring and writing, summed over all splits."""
    return {
        "plan_id": record["plan_id"],
        "bundle": job.bundle_tag,
        "api": job.api,
        "output": job.output_file,
        "rejects_file": record["rejects_file"],
        **{name: record[name] for name in COUNTS},
        "splits": len(record["parts"]),
        "splits_reused": len(record["parts"]) if already_done else 0,
        "already_done": already_done,
        "executor": executor,
        "seconds": round(sum(record["seconds"].values()), 3),
    }
