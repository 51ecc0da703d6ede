"""This module lets a run be seen from outside: events in the log, a Prometheus textfile, StatsD, OpenTelemetry's spans.

The driver tells it what happens, from what it hears of its crew, so that names and fields are the same on every executor.
Nothing of it can fail a run. OpenTelemetry is imported only where it is configured.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from bentobatch.engine.crew import Outcome, PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.metrics import METRICS_FILE, StatsD, Tally, check_metrics_file, statsd_of, write_metrics
from bentobatch.engine.report import RunReport
from bentobatch.engine.stop import Stopped
from bentobatch.engine.tracing import Moment, Spans, spans_of
from bentobatch.errors import BentobatchError, StorageError

_LOG = logging.getLogger("bentobatch")
_SPANNED = ("plan", "commit")
_STAGES = ("total", "plan", "score", "read", "model", "write", "commit")
"""What the numbers of a run are told of; its report may have finer ones."""


@dataclass
class _Open:
    """A split that was handed out and has not ended: since when (monotonic and in ns since 1970), and what befell it."""

    since: float = field(default_factory=time.monotonic)
    start: int = field(default_factory=time.time_ns)
    moments: list[Moment] = field(default_factory=list)


class Telemetry:
    """One run, as it is told to the outside; a context around it.

    ``metrics_file`` comes before the environment's BENTOBATCH_METRICS_FILE.

    Raises:
        OutputError: ``metrics_file`` could not be written.
    """

    def __init__(
        self,
        job: BatchJob,
        *,
        executor: str,
        metrics_file: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._metrics_file = metrics_file or self._environ.get(METRICS_FILE) or None
        if metrics_file:
            check_metrics_file(metrics_file)
        self._job = job
        self.tally = Tally(bundle=job.bundle_tag, api=job.api, executor=executor)
        self.plan_id: str | None = None
        self._stage = "plan"
        self._splits = 0
        self._began = 0.0
        self._open: dict[int, _Open] = {}
        self._statsd: StatsD | None = None
        self._spans: Spans | None = None

    def __enter__(self) -> Telemetry:
        self._began = time.monotonic()
        tags = {"bundle": self.tally.bundle, "api": self.tally.api, "executor": self.tally.executor}
        try:
            self._statsd = statsd_of(tags, self._environ)
        except ValueError as error:
            _LOG.warning("%s; nothing is sent", error)
        self._spans = spans_of(self._environ)
        if self._spans is not None:
            self._spans.begin("bentobatch.job", self._attributes())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tally.ended = time.time()
        if error is not None:
            self._failed(error)
        if self._metrics_file is not None:
            try:
                write_metrics(self._metrics_file, self.tally)
            except (BentobatchError, OSError) as problem:
                _LOG.warning("the metrics file was not written: %s", problem)
        if self._statsd is not None:
            self._statsd.run_ended(self.tally)
            self._statsd.close()
            if self._statsd.problem is not None:
                _LOG.warning("StatsD was not told of this run: %s", self._statsd.problem)
        if self._spans is not None:
            tally = self.tally
            counts = {**tally.rows, "splits": self._splits, "exit_code": tally.exit_code}
            self._spans.end({**self._attributes(), **_named(counts)}, error)

    # -- stages

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Around planning ("plan"), scoring ("score") or the commit ("commit")."""
        since, start = time.monotonic(), time.time_ns()
        self._stage = name
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.tally.seconds[name] = round(time.monotonic() - since, 3)
            if self._spans is not None and name in _SPANNED:
                self._spans.child(f"bentobatch.{name}", start, self._attributes(), error=error)

    def planned(self, summary: PlanSummary) -> None:
        """The job has a plan."""
        self.plan_id, self._splits = summary.plan_id, len(summary.takes)
        done = self._splits if summary.record is not None else len(summary.done)
        self._event(
            logging.INFO, "plan", f"plan {summary.plan_id}: {summary.rows:,} rows in {self._splits:,} splits, {done:,} done",
            rows=summary.rows, splits=self._splits, splits_reused=done, already_done=summary.record is not None,
            seconds=self.tally.seconds.get("plan"),
        )  # fmt: skip
        if summary.record is not None:
            return
        for index, lost in summary.done.items():
            self._add(summary.takes[index], lost)
            self.tally.rows_reused += summary.takes[index]
            self.tally.splits_reused += 1

    def committed(self, record: Mapping[str, Any]) -> None:
        """The output is there. A commit whose splits were scored unseen counts their rows here."""
        if not sum(self.tally.rows.values()):
            self.tally.rejected, self.tally.discarded = record["rejected"], record["discarded"]
            self.tally.scored = record["rows"] - record["rejected"] - record["discarded"]
        self._event(
            logging.INFO, "commit", f"committed {record['rows']:,} rows",
            rows=record["rows"], rejected=record["rejected"], discarded=record["discarded"],
            seconds=self.tally.seconds.get("commit"),
        )  # fmt: skip

    def reported(self, report: RunReport) -> None:
        """The run is over, and this came of it."""
        tally = self.tally
        tally.executor = report.executor
        tally.scored, tally.rejected, tally.discarded = report.scored, report.rejected, report.discarded
        tally.rows_reused, tally.splits_reused = report.rows_reused, report.splits_reused
        told = {**tally.seconds, **report.seconds}
        tally.seconds = {stage: told[stage] for stage in _STAGES if stage in told}
        self._event(logging.INFO, "report", report.lines()[0], **report.event_fields())

    def _failed(self, error: BaseException) -> None:
        tally = self.tally
        tally.exit_code = exit_code_of(error)
        tally.seconds["total"] = round(time.monotonic() - self._began, 3)
        self._event(
            logging.INFO, "run_failed", f"failed: {str(error) or type(error).__name__}",
            stage=self._stage, exit_code=tally.exit_code, error_type=type(error).__name__, rejected=tally.rejected,
            discarded=tally.discarded, rows=sum(tally.rows.values()), seconds=tally.seconds["total"],
        )  # fmt: skip

    # -- splits

    def submitted(self, index: int) -> None:
        """A split was handed out, for the first time or once more."""
        self._open.setdefault(index, _Open())

    def finished(self, outcome: Outcome, rows: int) -> None:
        """A split of so many rows is scored."""
        counts = outcome.counts or {}
        lost = (counts["rejected"], counts["discarded"])
        self._add(rows, lost)
        self.tally.splits_scored += 1
        more = {"rows": rows, "rejected": lost[0], "discarded": lost[1]}
        seconds = self._close(outcome.index, more)
        self._count("finished")
        if self._statsd is not None:
            self._statsd.timing("split.time", seconds)
        if _LOG.isEnabledFor(logging.DEBUG):
            text = f"split {outcome.index}: {rows:,} rows, {lost[0]:,} rejected, {lost[1]:,} discarded, {seconds:g} s"
            self._event(
                logging.DEBUG, "split_finished", text, machines=False, split=outcome.index, **more, seconds=seconds
            )

    def failed(self, index: int, error: BaseException) -> None:
        """A split cannot be scored, which ends the run."""
        seconds = self._close(index, {}, error)
        self._count("failed")
        # no warning: the error itself is raised, and whoever catches it says so
        text = f"split {index} failed: {error}"
        self._event(
            logging.INFO, "split_failed", text, split=index, error_type=type(error).__name__, seconds=seconds
        )  # fmt: skip

    def retried(self, index: int, error: BaseException) -> dict[str, Any]:
        """A split will be tried again; the fields of the event, which the driver logs."""
        self.tally.retries += 1
        self._count("retried")
        self._befell(index, "retried", str(error))
        return self.fields("split_retried", split=index, error_type=type(error).__name__, seconds=self._spent(index))

    def died(self, index: int, death: str) -> dict[str, Any]:
        """A split's worker process ended; the fields of the event, which ``count_death`` logs."""
        self.tally.deaths += 1
        self._count("died")
        self._befell(index, "died", death)
        return self.fields("split_died", split=index, death=death, seconds=self._spent(index))

    def died_elsewhere(self, outcome: Outcome) -> None:
        """Deaths that a scheduler's worker has counted by itself, and logged where nobody may look."""
        for death in outcome.deaths:
            fields = self.died(outcome.index, death)
            self._log(logging.WARNING, f"split {outcome.index}: {death}", fields, machines=True)

    def _close(self, index: int, counts: Mapping[str, Any], error: BaseException | None = None) -> float:
        split = self._open.pop(index, None) or _Open()
        if self._spans is not None:
            attributes = {**self._attributes(), **_named({"split": index, **counts})}
            self._spans.child("bentobatch.split", split.start, attributes, error=error, moments=split.moments)
        return round(time.monotonic() - split.since, 3)

    def _spent(self, index: int) -> float:
        split = self._open.get(index)
        return 0.0 if split is None else round(time.monotonic() - split.since, 3)

    def _befell(self, index: int, name: str, text: str) -> None:
        split = self._open.get(index)
        if self._spans is not None and split is not None:
            split.moments.append((name, time.time_ns(), text))

    def _add(self, rows: int, lost: tuple[int, int]) -> None:
        self.tally.scored += rows - lost[0] - lost[1]
        self.tally.rejected += lost[0]
        self.tally.discarded += lost[1]

    def _count(self, what: str) -> None:
        if self._statsd is not None:
            self._statsd.count(f"split.{what}")

    # -- events

    def fields(self, event: str, **more: Any) -> dict[str, Any]:
        """The fields of an event: those that all have, and its own."""
        return {**event_fields(event, self._job, self.plan_id), "executor": self.tally.executor, **more}

    def _event(self, level: int, event: str, text: str, *, machines: bool = True, **fields: Any) -> None:
        self._log(level, text, self.fields(event, **fields), machines=machines)

    def _log(self, level: int, text: str, fields: Mapping[str, Any], *, machines: bool) -> None:
        """``machines``: people are told in other words, by the progress and the report."""
        _LOG.log(level, "%s", text, extra={"fields": fields, "for_machines": machines})

    def _attributes(self) -> dict[str, Any]:
        own = {"plan_id": self.plan_id or "", "bundle": self.tally.bundle, "bundle_digest": self._job.bundle_digest}
        return _named({**own, "api": self.tally.api, "executor": self.tally.executor})


def event_fields(event: str, job: BatchJob, plan_id: str | None) -> dict[str, Any]:
    """The fields that every event of a job has, whoever logs it."""
    return {"event": event, "plan_id": plan_id, "bundle": job.bundle_tag, "api": job.api}


def exit_code_of(error: BaseException) -> int:
    """What the command line exits with for it."""
    if isinstance(error, BentobatchError):
        return error.exit_code
    if isinstance(error, Stopped):
        return 128 + error.signum
    if isinstance(error, KeyboardInterrupt):
        return 130
    return StorageError.exit_code if isinstance(error, OSError) else BentobatchError.exit_code


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"bentobatch.{name}": value for name, value in values.items()}
