"""This module keeps the two sides of a comparison close together, so that what one has read need not be kept for long."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from bentobatch.engine.child import Child
from bentobatch.engine.crew import Outcome, PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.errors import BentobatchError

_MOMENT = 0.1
"""How soon it is looked again whether a split that was held back may begin."""


class Pace:
    """How far each side has come; ``room`` is how many splits one may begin beyond the first that the other has not ended."""

    def __init__(self, sides: tuple[str, ...], room: int) -> None:
        self._room = room
        self._ended: dict[str, set[int]] = {side: set() for side in sides}
        self._first: dict[str, float] = dict.fromkeys(sides, 0)
        self._changed = threading.Condition()

    def may(self, side: str, index: int) -> bool:
        """Whether a side may begin a split."""
        return all(index < first + self._room for other, first in self._first.items() if other != side)

    def ended(self, side: str, index: int) -> None:
        """A side has scored a split."""
        with self._changed:
            ended = self._ended[side]
            ended.add(index)
            while self._first[side] in ended:
                ended.remove(int(self._first[side]))
                self._first[side] += 1
            self._changed.notify_all()

    def finished(self, side: str) -> None:
        """A side has nothing left to do."""
        with self._changed:
            self._first[side] = float("inf")
            self._changed.notify_all()

    def wait(self, side: str, index: int, timeout: float) -> None:
        """Wait until the side may begin the split."""
        with self._changed:
            self._changed.wait_for(lambda: self.may(side, index), timeout)


class StoppedError(BentobatchError):
    """The comparison is over for another reason than this side's."""


class PacedCrew(ProcessCrew):
    """A side's crew, which lets splits begin only when the other side has come near. Once it is closed it starts nothing
    more: a run would take processes that were ended for lost, and begin others."""

    def __init__(
        self,
        pace: Pace,
        side: str,
        *,
        storage_options: Mapping[str, Any] | None = None,
        split_timeout: float | None = None,
    ) -> None:
        super().__init__(storage_options=storage_options, split_timeout=split_timeout)
        self._pace = pace
        self._side = side
        self._held: int | None = None
        self._closed = False

    def plan(self, job: BatchJob, *, restart: bool = False, keep: bool = True) -> PlanSummary:
        summary = super().plan(job, restart=restart, keep=keep)
        for index in summary.done:
            self._pace.ended(self._side, index)
        return summary

    def may(self, index: int) -> bool:
        self._check()
        allowed = self._pace.may(self._side, index)
        self._held = None if allowed else index
        return allowed

    def rest(self, timeout: float) -> None:
        self._check()
        if self._held is None:
            super().rest(timeout)
        else:
            self._pace.wait(self._side, self._held, timeout)

    def poll(self, timeout: float) -> list[Outcome]:
        outcomes = super().poll(timeout if self._held is None else min(timeout, _MOMENT))
        self._check()
        for outcome in outcomes:
            if outcome.counts is not None:
                self._pace.ended(self._side, outcome.index)
        return outcomes

    def commit(self, owner: str | None = None) -> dict[str, Any]:
        self._pace.finished(self._side)
        return super().commit(owner)

    def close(self) -> None:
        self._closed = True
        super().close()

    def _child(self) -> Child:
        self._check()
        return super()._child()

    def _ask(self, child: Child, message: dict[str, Any], *, doing: str) -> Any:
        try:
            return super()._ask(child, message, doing=doing)
        finally:
            self._check()

    def _check(self) -> None:
        if self._closed:
            raise StoppedError("the comparison was stopped")
