"""This module runs jobs over files on a Spark session that is open already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bentobatch import runs
from bentobatch.engine.job import BatchJob
from bentobatch.engine.report import RunReport
from bentobatch_spark.executor import SparkScheduler


def run_job(
    spark: Any, job: BatchJob | str | Path, api: str = "predict", *, workers: int | None = None, **options: Any
) -> RunReport:
    """Score what a job says, its splits as tasks of the session ``spark``, which stays open.

    ``job`` is a BatchJob, with the keywords of ``bentobatch.runs.run_job``; or a bundle, with those of
    ``bentobatch.run``. Input and output have to be reachable from the executors by the same paths or URLs. ``workers`` is
    how many splits are scored at the same time (default: as many as the executors have cores).

    Raises:
        BentobatchError: as from ``bentobatch.run``.
    """
    scheduler = SparkScheduler(workers, session=spark)
    if isinstance(job, BatchJob):
        return runs.run_job(job, executor=scheduler, workers=workers, **options)
    return runs.run(job, api, executor=scheduler, workers=workers, **options)
