"""This module holds what a run tells its caller: progress while it goes on, and a report at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where a run stands. ``rows_total`` is None until planning is done; ``stage`` is plan, score or commit."""

    stage: str
    rows_done: int = 0
    rows_total: int | None = None
    rejected: int = 0
    discarded: int = 0
    splits_done: int = 0
    splits_total: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class RunReport:
    """What a run did. Counts are rows; ``seconds`` has total, plan, read, model, write and commit, where read, model
    and write are summed over all workers; so are checksum, fsync, receipts and rejects, what the promises cost, as far
    as the workers told it. ``splits_reused`` were finished by an earlier run and not scored again.
    ``already_done``: this very plan had committed this output before, and nothing was written.
    ``environment``: for a run with an ``env``, that text, and what was installed there ("python", "packages")."""

    plan_id: str
    bundle: str
    bundle_digest: str
    api: str
    executor: str
    executor_reason: str
    workers: int
    output: str | None
    rejects_file: str | None
    rows: int
    scored: int
    rejected: int
    discarded: int
    files: int
    splits: int
    splits_reused: int
    rows_reused: int
    features: tuple[str, ...]
    feature_rule: str
    seconds: dict[str, float] = field(default_factory=dict)
    already_done: bool = False
    version: str = ""
    environment: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def event_fields(self) -> dict[str, Any]:
        """The fields of the log's event ``report``: ``seconds`` is a number there, as in every event, since a log's index
        takes one type for a name; ``stages`` has its parts."""
        values = self.to_json()
        return {**values, "seconds": self.seconds.get("total"), "stages": values["seconds"]}

    def lines(self) -> tuple[str, str, str]:
        """The report for people: rows with rejects and discards, seconds by stage, output."""
        took = self.seconds
        total = took.get("total", 0.0)
        pace = f", {(self.rows - self.rows_reused) / total:,.0f} rows/s" if total > 0 and not self.already_done else ""
        reused = f" ({self.rows_reused:,} of them scored by an earlier run)" if self.rows_reused else ""
        first = f"rows {self.rows:,}{reused}, rejected {self.rejected:,}, discarded {self.discarded:,}"
        if self.rejects_file:
            first += f" (see {self.rejects_file})"
        second = f"seconds {total:.1f}{pace}: " + ", ".join(
            f"{stage} {took.get(stage, 0.0):.1f}" for stage in ("plan", "read", "model", "write", "commit")
        )
        done = "already done: " if self.already_done else ""
        third = f"{done}output {self.output or '(printed)'}, plan {self.plan_id}, executor {self.executor}"
        third += f" ({self.executor_reason})" if self.executor_reason else ""
        if self.environment is not None:
            third += f", environment {self.environment['env']} (Python {self.environment['python']})"
        return first, second, third
