"""This module drives a run from its plan to its commit: it hands out splits, retries, watches limits and reports."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentobatch
from bentobatch.engine.choice import Choice, Watch, choose
from bentobatch.engine.crew import Crew, Outcome, PlanSummary
from bentobatch.engine.deaths import count_death
from bentobatch.engine.job import BatchJob, allowed_rows
from bentobatch.engine.lease import Lease, take_lease
from bentobatch.engine.limits import over_limits
from bentobatch.engine.place import Place, place_of
from bentobatch.engine.publish import check_place
from bentobatch.engine.report import Progress, RunReport
from bentobatch.engine.store import Store, store_at
from bentobatch.engine.telemetry import Telemetry
from bentobatch.errors import BentobatchError, StorageError, TooManyRejectsError, UnavailableError

_LOG = logging.getLogger("bentobatch")
MOST_RETRIES = 3
BACKOFF_SECONDS = 1.0
EARLY_REJECTS = 1_000
"""A run is stopped before its end only past so many rejects, so that a small limit still shows all of them."""
_POLL_SECONDS = 0.5

OnProgress = Callable[[Progress], None]


class Run:
    """One run of a job by a crew."""

    def __init__(
        self,
        job: BatchJob,
        crew: Crew,
        *,
        executor: str = "auto",
        workers: int | None = None,
        restart: bool = False,
        on_progress: OnProgress | None = None,
        store: Store | None = None,
        storage_options: Mapping[str, Any] | None = None,
        break_lock: bool = False,
        metrics_file: str | Path | None = None,
    ) -> None:
        self.job = job
        self.crew = crew
        self.executor = executor
        self.workers = workers
        self.restart = restart
        self.on_progress = on_progress
        self.storage_options = storage_options
        self.break_lock = break_lock
        self.place: Place = place_of(job)
        self.store = store or store_at(self.place.state, storage_options)
        self.telemetry = Telemetry(job, executor=executor, metrics_file=metrics_file)
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.own: dict[str, float] = {}
        self.rows_done = 0
        self.lost = [0, 0]
        self.splits_done = 0
        self.partial = 0
        self.solo: deque[int] = deque()
        self.retries: dict[int, int] = {}
        self.later: list[tuple[float, int]] = []

    def run(self) -> RunReport:
        """Plan, score, commit."""
        with self.telemetry:
            report = self._run()
            self.telemetry.reported(report)
            return report

    def _run(self) -> RunReport:
        self._tell("plan", None)
        self._check_parent()
        with take_lease(self.place, self.storage_options, break_lock=self.break_lock) as lease:
            with self.telemetry.stage("plan"):
                summary = self.crew.plan(self.job, restart=self.restart)
            self._lap("plan")
            self.telemetry.planned(summary)
            if summary.record is not None:
                self.crew.commit(lease.owner)  # removes what a run that was killed after its commit has left
                return self._report(summary, Choice("none", 0, "already done"), summary.record, already_done=True)
            overwrite = self.job.overwrite or self.job.builds_on_output
            check_place(self.place, overwrite=overwrite, storage_options=self.storage_options)
            choice = choose(self.executor, self.workers, summary, crew=self.crew)
            self.telemetry.tally.executor = choice.executor
            try:
                with self.telemetry.stage("score"):
                    choice = self._score(summary, choice, lease)
                self._lap("score")
                self._tell("commit", summary)
                with self.telemetry.stage("commit"):
                    lease.check()
                    record = self.crew.commit(lease.owner)
            except BaseException as error:
                self.crew.cancel()
                if isinstance(error, StorageError):
                    with contextlib.suppress(StorageError):  # of two the first is told
                        lease.check()  # another run that took over has removed what this one looked for
                raise
            self._lap("commit")
            self.telemetry.committed(record)
            return self._report(summary, choice, record, already_done=False)

    def _check_parent(self) -> None:
        """The output's folder must be there before a state folder is put into it."""
        if not self.place.remote:
            check_place(self.place, overwrite=True)

    # -- scoring

    def _score(self, summary: PlanSummary, choice: Choice, lease: Lease) -> Choice:
        pending = deque(index for index in range(len(summary.takes)) if index not in summary.done)
        for index, lost in summary.done.items():
            self._count(summary, index, lost)
        self._tell("score", summary)
        if not pending:
            return choice
        choice = replace(choice, workers=self.crew.start(choice.executor, choice.workers))
        room = choice.workers * 2
        running: set[int] = set()
        watch = Watch(self.crew)
        while pending or running or self.solo or self.later:
            if lease.lost:
                lease.check()
            self._due(pending)
            while pending and len(running) < room and not self.solo and self.crew.may(pending[0]):
                index = pending.popleft()
                running.add(index)
                self._submit(index)
            if self.solo and not running:
                # a split that took its worker with it runs alone, so that no other is blamed for its death
                index = self.solo.popleft()
                running.add(index)
                self._submit(index)
            if not running:
                self.crew.rest(0.05)
                continue
            for outcome in self.crew.poll(_POLL_SECONDS):
                running.discard(outcome.index)
                self._settle(summary, outcome, lease)
                watch.add(outcome)
            choice = watch.advise(choice, pending=len(pending))
            self._tell("score", summary)
        return choice

    def _submit(self, index: int) -> None:
        self.telemetry.submitted(index)
        self.crew.submit(index)

    def _due(self, pending: deque[int]) -> None:
        now = time.monotonic()
        for due, index in [item for item in self.later if item[0] <= now]:
            self.later.remove((due, index))
            pending.appendleft(index)

    def _settle(self, summary: PlanSummary, outcome: Outcome, lease: Lease) -> None:
        self.telemetry.died_elsewhere(outcome)
        if outcome.death is not None:
            self._died(summary, outcome)
        elif outcome.error is not None:
            self._failed(outcome)
        else:
            assert outcome.counts is not None
            for name, took in outcome.own.items():
                self.own[name] = self.own.get(name, 0.0) + took
            self.telemetry.finished(outcome, summary.takes[outcome.index])
            self._count(summary, outcome.index, (outcome.counts["rejected"], outcome.counts["discarded"]))
            self._check_limits(summary, lease)

    def _failed(self, outcome: Outcome) -> None:
        error = outcome.error
        assert error is not None
        tries = self.retries.get(outcome.index, 0)
        if not isinstance(error, UnavailableError) or tries >= MOST_RETRIES:
            self.telemetry.failed(outcome.index, error)
            raise error
        self.retries[outcome.index] = tries + 1
        wait = BACKOFF_SECONDS * 2**tries
        fields = {**self.telemetry.retried(outcome.index, error), "wait_seconds": wait}
        _LOG.warning("split %d: %s; trying again in %g s", outcome.index, error, wait, extra={"fields": fields})
        self.later.append((time.monotonic() + wait, outcome.index))

    def _died(self, summary: PlanSummary, outcome: Outcome) -> None:
        fields = self.telemetry.died(outcome.index, outcome.death or "")
        try:
            count_death(self.store, summary.plan_id, summary.keys[outcome.index], outcome, fields=fields)
        except BentobatchError as error:
            self.telemetry.failed(outcome.index, error)
            raise
        self.solo.append(outcome.index)

    def _count(self, summary: PlanSummary, index: int, lost: tuple[int, int]) -> None:
        self.splits_done += 1
        self.rows_done += summary.takes[index]
        self.lost[0] += lost[0]
        self.lost[1] += lost[1]

    def _check_limits(self, summary: PlanSummary, lease: Lease) -> None:
        """Stop early where the rejects have passed the larger of the limit and a thousand."""
        for count, limit, flag in (
            (self.lost[0], self.job.max_rejects, "max-rejects"),
            (self.lost[1], self.job.max_discards, "max-discards"),
        ):
            allowed = allowed_rows(limit, summary.rows, option=flag)
            if allowed is not None and count > max(allowed, EARLY_REJECTS):
                message = over_limits(
                    self.job.max_rejects,
                    self.job.max_discards,
                    summary.rows,
                    self.lost[0],
                    self.lost[1],
                    self.place.rejects,
                )
                self.crew.cancel()
                self.crew.write_rejects(lease.owner)
                raise TooManyRejectsError(f"{message} (stopped after {self.rows_done:,} rows)")

    # -- telling

    def _lap(self, stage: str) -> None:
        now = time.monotonic() - self.started
        self.seconds[stage] = round(now - sum(self.seconds.values()), 3)

    def _tell(self, stage: str, summary: PlanSummary | None) -> None:
        if self.on_progress is None:
            return
        self.on_progress(
            Progress(
                stage=stage,
                rows_done=self.rows_done,
                rows_total=summary.rows if summary else None,
                rejected=self.lost[0],
                discarded=self.lost[1],
                splits_done=self.splits_done,
                splits_total=len(summary.takes) if summary else None,
                seconds=time.monotonic() - self.started,
            )
        )

    def _report(
        self, summary: PlanSummary, choice: Choice, record: Mapping[str, Any], *, already_done: bool
    ) -> RunReport:
        scored = record["rows"] - record["rejected"] - record["discarded"]
        total = round(time.monotonic() - self.started, 3)
        spent = {} if already_done else record["seconds"]
        done = sum(summary.takes[index] for index in summary.done)
        return RunReport(
            plan_id=summary.plan_id,
            bundle=self.job.bundle_tag,
            bundle_digest=self.job.bundle_digest,
            api=self.job.api,
            executor=choice.executor,
            executor_reason=choice.reason,
            workers=choice.workers,
            output=self.job.output_file,
            rejects_file=record["rejects_file"],
            rows=record["rows"],
            scored=scored,
            rejected=record["rejected"],
            discarded=record["discarded"],
            files=summary.files,
            splits=len(summary.takes),
            splits_reused=len(summary.takes) if already_done else len(summary.done),
            rows_reused=record["rows"] if already_done else record.get("rows_held", 0) + done,
            features=summary.features,
            feature_rule=summary.feature_rule,
            seconds={
                "total": total,
                **self.seconds,
                **spent,
                **{name: round(took, 6) for name, took in self.own.items()},
            },
            already_done=already_done,
            version=bentobatch.__version__,
            environment=None if summary.environment is None else {"env": self.job.env, **summary.environment},
        )
