"""This module says what an executor is to the driver: something that plans, scores splits and commits, somewhere.

An executor offers submit, poll and cancel, no more; planning and committing need one process that may run the user's
code. What crosses is JSON-able.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bentobatch.engine.job import BatchJob
from bentobatch.errors import BentobatchError

PROBING = "the model scored the first rows"
"""What a planner says that it does while the output's columns are being found."""


@dataclass(frozen=True)
class Outcome:
    """What became of a submitted split: a receipt's counts, an error, or the death of its worker.

    ``clock`` is how the split's thread spent its time in the api (wall, computing, waiting for a core; seconds) of
    the ``took`` seconds in all, and ``own`` what of those the promises cost (see ``overhead``), where they are known.
    ``rows`` are those of the split that were being scored at a death (None: it was reading or writing), ``file`` the
    input that it worked on. ``deaths`` are those that a scheduler's worker has seen and counted before this end.
    """

    index: int
    counts: Mapping[str, Any] | None = None
    error: BentobatchError | None = None
    death: str | None = None
    clock: tuple[float, float, float] | None = None
    took: float = 0.0
    own: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[int, int] | None = None
    file: str = ""
    deaths: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanSummary:
    """What a driver needs to know of a plan. ``takes`` and ``keys`` run over the splits; ``done`` maps the index of each
    finished one to (rejected, discarded). ``table`` tells whether the api takes whole tables (its work then leaves the
    interpreter, and threads serve it); ``interpreted`` whether calls in two threads were seen to wait for each other (None:
    not looked at). ``record`` is that of the commit, where the plan is committed already.
    ``environment``: see Plan."""

    plan_id: str
    rows: int
    takes: tuple[int, ...]
    keys: tuple[str, ...]
    files: int
    done: Mapping[int, tuple[int, int]]
    features: tuple[str, ...]
    feature_rule: str
    table: bool
    record: Mapping[str, Any] | None = None
    interpreted: bool | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {**vars(self), "done": {str(index): lost for index, lost in self.done.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlanSummary:
        """The summary that ``to_json`` wrote."""
        values = dict(data)
        values["done"] = {int(index): (lost[0], lost[1]) for index, lost in data["done"].items()}
        for name in ("takes", "keys", "features"):
            values[name] = tuple(data[name])
        return cls(**values)


OnRows = Callable[[int], None]
"""Told of rows as they are being scored, for progress."""


class Crew(ABC):
    """The processes or threads that serve one run."""

    forks: ClassVar[bool] = False
    """Whether it can go on with more processes."""

    @abstractmethod
    def plan(self, job: BatchJob, *, restart: bool = False, keep: bool = True) -> PlanSummary:
        """Plan the job; with ``restart`` forget what earlier runs scored. ``keep`` False leaves no trace (a dry run)."""

    @abstractmethod
    def start(self, executor: str, workers: int) -> int:
        """Get ready to score with "inline", "threads", "processes" or a scheduler; how many splits will be scored at the
        same time, which only a scheduler knows better than ``workers``."""

    @abstractmethod
    def submit(self, index: int) -> None:
        """Score a split, some time."""

    def may(self, index: int) -> bool:
        """Whether a split that waits for its first try may be submitted now; what was once allowed stays so."""
        del index
        return True

    def rest(self, timeout: float) -> None:
        """Wait a little: nothing is being scored, and nothing may be yet."""
        time.sleep(timeout)

    @abstractmethod
    def poll(self, timeout: float) -> list[Outcome]:
        """What ended since the last call; waits up to ``timeout`` seconds for the first."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop scoring now; what is unfinished may be scored again later."""

    @abstractmethod
    def commit(self, owner: str | None = None) -> dict[str, Any]:
        """Commit the planned job. ``owner`` holds the lease; the commit goes through only while it does."""

    @abstractmethod
    def write_rejects(self, owner: str | None = None) -> None:
        """Publish the rejects so far, for a run that stops because of them; ``owner`` as in ``commit``."""

    @abstractmethod
    def close(self) -> None:
        """End every process and thread."""
