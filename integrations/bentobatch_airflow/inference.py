"""This module is the operator that scores an input in one task: plan, splits and commit, as ``bentobatch.run`` does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentobatch_airflow import reports
from bentobatch_airflow.assets import tell_assets
from bentobatch_airflow.job import BentoJobTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bentobatch.engine.job import BatchJob
    from bentobatch.engine.report import Progress

LOCAL = ("auto", "inline", "threads", "processes")
TELL_SECONDS = 30.0
"""So often a line about the progress goes to the task's log."""


class BentoInferenceOperator(BentoJobTask):
    """Score ``input_file`` with a bundle into ``output_file``; the small report goes to XCom.

    ``executor`` is one of bentobatch's: auto, inline, threads, processes (all in child processes of this task), or a
    scheduler by its name (dask, spark, celery) with ``executor_options``. Airflow's own keyword of that name, its
    executor for this task, is meant by ``executor`` where ``bento_executor`` is given as well.
    ``workers`` is how many splits are scored at a time. ``deferrable`` (for a scheduler) leaves the worker while the
    splits are scored: a trigger hands them out and looks every ``poll_interval`` seconds; the plan and the commit are
    made on a worker. ``metrics_file`` gets the run's metrics in Prometheus' text format (not of a deferred run).

    A retry, and a run after a kill, go on from the splits that are scored: the plan's id depends on bundle, input and
    options, never on the try. ``restart`` and ``break_lock`` are thus no keywords here.
    """

    template_fields: Sequence[str] = (*BentoJobTask.template_fields, "metrics_file")
    ui_color = "#f4e3c1"

    def __init__(
        self,
        *,
        executor: str | None = None,
        bento_executor: str | None = None,
        executor_options: Mapping[str, Any] | None = None,
        workers: int | None = None,
        deferrable: bool = False,
        poll_interval: float = 10.0,
        metrics_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(executor=executor if bento_executor else None, **kwargs)
        self.bento_executor = bento_executor or executor or "auto"
        self.executor_options = executor_options
        self.workers = workers
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.metrics_file = metrics_file
        self.report: dict[str, Any] | None = None
        self._told = 0.0
        if deferrable:
            self._check_deferrable()

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's; a mapped task would else take ``executor`` for Airflow's."""
        if "bento_executor" not in kwargs:
            kwargs["bento_executor"] = kwargs.pop("executor", "auto")
        return super().partial(**kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Score, or start to and leave the worker."""
        with self.guarded():
            job = self.make_job(context)
            if self.deferrable:
                return self._defer(job, context)
            from bentobatch.runs import run_job  # here: a DAG file is parsed without the engine

            report = run_job(
                job,
                executor=self.bento_executor,
                executor_options=self.executor_options,
                workers=self.workers,
                split_timeout=self.split_timeout,
                storage_options=self.storage_options(),
                isolated=True,
                on_progress=self._tell,
                metrics_file=self.metrics_file,
            )
            return self._finish(reports.of_run(report), context)

    def _check_deferrable(self) -> None:
        """Refuse, while the DAG is parsed, what would have the triggerer do the work.

        Raises:
            ValueError: the executor scores in the task, or would in the triggerer.
        """
        if self.bento_executor in (*LOCAL, "spark"):
            raise ValueError(
                f"task {self.task_id}: deferrable=True needs executor='celery' or 'dask': with {self.bento_executor!r} the"
                " process that hands out the splits does the work, or a part of it"
            )
        if self.bento_executor == "dask" and not self.executor_options:
            raise ValueError(
                f"task {self.task_id}: deferrable=True on Dask needs executor_options={{'address': 'tcp://host:8786'}}:"
                " without an address the triggerer would start workers of its own"
            )

    def _defer(self, job: BatchJob, context: Context) -> dict[str, Any]:
        from bentobatch_airflow.splits_trigger import BentoSplitsTrigger
        from bentobatch_airflow.steps import commit_plan, plan_job

        options = self.storage_options()
        planned = plan_job(job, storage_options=options, split_timeout=self.split_timeout)
        if not planned.pending:
            report = commit_plan(planned.kept, executor=self.bento_executor, storage_options=options)
            return self._finish(report, context)
        trigger = BentoSplitsTrigger(
            plan=planned.kept.to_json(),
            executor=self.bento_executor,
            executor_options=dict(self.executor_options or {}),
            workers=self.workers,
            split_timeout=self.split_timeout,
            poll_interval=self.poll_interval,
            conn_id=self.conn_id,
        )
        self.log.info("plan %s: %d splits are left to %s", planned.kept.plan_id, len(planned.pending), trigger.executor)
        self.defer(trigger=trigger, method_name="finish_deferred", timeout=self.execution_timeout)
        return {}  # never reached: defer raises

    def finish_deferred(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Where a deferred task goes on: commit what was scored, or fail with what the trigger saw."""
        from bentobatch.engine.remote import KeptPlan
        from bentobatch.engine.wire import error_from_json
        from bentobatch_airflow.steps import commit_plan

        with self.guarded():
            if event["error"] is not None:
                raise error_from_json(event["error"])
            report = commit_plan(
                KeptPlan(**event["plan"]), executor=self.bento_executor, storage_options=self.storage_options()
            )
            return self._finish({**report, "splits_reused": event["splits_reused"]}, context)

    def _finish(self, report: dict[str, Any], context: Context) -> dict[str, Any]:
        self.report = report
        tell_assets(self.outlets, report, context)
        self.log.info("%s", report)
        return report

    def _tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.splits_total is not None and now - self._told >= TELL_SECONDS:
            self._told = now
            self.log.info(
                "%s: %d of %d splits, %d of %d rows",
                *(progress.stage, progress.splits_done, progress.splits_total, progress.rows_done, progress.rows_total),
            )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - the provider's signature
        """Input, output and counts; only Airflow's OpenLineage provider calls this."""
        from bentobatch_airflow.lineage import lineage_of

        return None if self.report is None else lineage_of(self.report, self.input_file)
