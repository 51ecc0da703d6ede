"""This module chooses the executor of a run: as asked, or by what is known of the api and seen of its first splits."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bentobatch.engine.clocks import Clock, wait_for_each_other
from bentobatch.engine.crew import Crew, Outcome, PlanSummary
from bentobatch.engine.executors import LOCAL


@dataclass(frozen=True)
class Choice:
    """The executor of a run, its workers, and why. ``open``: what the first splits show may still change it."""

    executor: str
    workers: int
    reason: str
    open: bool = False


def choose(executor: str, workers: int | None, summary: PlanSummary, *, crew: Crew) -> Choice:
    """What "auto" means for this plan and crew; an executor that was asked for is kept."""
    pending = len(summary.takes) - len(summary.done)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, min(workers or cores, max(pending, 1)))
    if executor not in LOCAL:
        return Choice(executor, workers or 0, "as asked")
    if executor != "auto":
        return Choice(executor, 1 if executor == "inline" else count, "as asked")
    if count == 1:
        return Choice("inline", 1, "auto: nothing to share out")
    if summary.interpreted is False:
        return Choice("threads", count, "auto: two threads did not wait for each other on the first rows", crew.forks)
    if summary.table and not summary.interpreted:
        reason = "auto: the api takes whole tables, which libraries score outside the interpreter"
        return Choice("threads", count, reason, crew.forks)
    if not crew.forks:
        return Choice("inline", 1, "auto: threads would wait for each other, and this run has no processes of its own")
    if summary.interpreted:
        return Choice("processes", count, "auto: two threads waited for each other on the first rows")
    return Choice("processes", count, "auto: the api takes Python values, which keep the interpreter busy")


_WORTH_IT = 0.3
"""Where the api takes a smaller part of the time, another process would not make a run much faster."""


class Watch:
    """Looks at how splits on threads spend their time, and goes on with processes where threads hold each other up."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._clocks: list[Clock] = []
        self._took = 0.0

    def add(self, outcome: Outcome) -> None:
        """Take note of a split that ended."""
        if outcome.clock is not None:
            self._clocks.append(Clock(*outcome.clock))
            self._took += outcome.took

    def advise(self, choice: Choice, *, pending: int) -> Choice:
        """The choice to go on with, when each thread has finished a split; ``pending`` splits are not handed out yet."""
        if not choice.open or len(self._clocks) < choice.workers:
            return choice
        clocks, self._clocks = self._clocks, []
        took, self._took = self._took, 0.0
        if sum(clock.wall for clock in clocks) < _WORTH_IT * took:
            return choice
        if pending < choice.workers or not wait_for_each_other(clocks):
            return choice
        blocked = 1 - sum(clock.cpu + clock.queued for clock in clocks) / sum(clock.wall for clock in clocks)
        reason = f"auto: the first splits on threads waited for each other {blocked:.0%} of the time"
        return Choice("processes", self._crew.start("processes", choice.workers), reason)
