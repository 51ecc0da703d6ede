"""This module submits a job to Celery: it is planned here, scored and committed by workers, and nobody has to wait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery

from bentobatch.engine.job import BatchJob
from bentobatch.errors import UsageError
from bentobatch.runs import make_job
from bentobatch_celery.broker import reaching
from bentobatch_celery.committing import plan_job
from bentobatch_celery.numbers import shared_out
from bentobatch_celery.result import BentoResult
from bentobatch_celery.split_tasks import send_commit
from bentobatch_celery.tasks import SCORE_SPLITS, check_json

MOST_MESSAGES = 1_000
"""So many messages a job has in the queue at a time, each with a share of its splits: so many splits are scored at a time,
at most, and a job of 100,000 splits does not flood the broker."""


def submit(
    app: Celery,
    job_or_bundle: BatchJob | str | Path,
    api: str = "predict",
    *,
    split_timeout: float | None = None,
    restart: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    break_lock: bool = False,
    queue: str | None = None,
    **options: Any,
) -> BentoResult:
    """Score a job, or an input with a bundle, on the workers of ``app``; keywords as of ``bentobatch.run``.

    The job is planned before this returns, in a child process. A job that was submitted before goes on from its finished
    splits; one that is committed already is left as it is. ``queue`` is where its tasks go, by default where the app
    routes them. The limits on rejects are checked at the commit.

    Raises:
        BentobatchError: it cannot be planned; see ``bentobatch.run``.
        LockedError: another run works on this output.
        UnavailableError: the broker does not answer.
    """
    check_json(app)
    job = _job(job_or_bundle, api, options)
    if job.output_file is None:
        raise UsageError("a job on Celery needs an output_file: its parts are kept beside it")
    with reaching(app):
        pass  # before anything is planned for nobody
    state, run, summary = plan_job(
        job,
        storage_options=storage_options,
        split_timeout=split_timeout,
        restart=restart,
        break_lock=break_lock,
        queue=queue,
    )
    result = BentoResult(app, state.kept, id=run.id, storage_options=storage_options)
    if summary.record is not None:
        return result
    pending = [index for index in range(len(summary.takes)) if index not in summary.done]
    with reaching(app, try_first=False):
        for splits in shared_out(pending, MOST_MESSAGES):
            app.send_task(SCORE_SPLITS, args=[state.kept.to_json(), splits], queue=queue)
        if not pending:
            send_commit(app, state, run)
    return result


def _job(job_or_bundle: BatchJob | str | Path, api: str, options: Mapping[str, Any]) -> BatchJob:
    for name in ("executor", "executor_options", "workers", "isolated", "print_to", "on_progress"):
        if name in options:
            raise UsageError(f"{name} is no keyword here: the workers of the Celery app do the work")
    if not isinstance(job_or_bundle, BatchJob):
        return make_job(job_or_bundle, api, **options)
    if options:
        raise UsageError(f"a BatchJob has its options already: {', '.join(options)}")
    if job_or_bundle.api != api and api != "predict":
        raise UsageError(f"the job is of the api {job_or_bundle.api!r}, not {api!r}")
    return job_or_bundle
