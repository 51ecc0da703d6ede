"""This module runs a job in child processes, so that nothing of the user's code or of a native reader can take the
leader down: a crash, an exit or a hang in a child becomes an outcome.

The leader itself stays light: it imports no pyarrow, no pandas and no bundle.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from bentobatch.engine.child import Child, Running, started
from bentobatch.engine.crew import PROBING, Crew, OnRows, Outcome, PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.wire import error_from_json
from bentobatch.environments import Interpreters
from bentobatch.errors import DataError, ModelError

_LOG = logging.getLogger("bentobatch")
MOST_PROBE_DEATHS = 4
"""A model that ended its process so often on the first rows, one of them at a time in the end, does so on every row."""


class _ProbeDiedError(ModelError):
    """The planning process ended while the model scored the first rows."""


class ProcessCrew(Crew):
    """Executors "inline", "threads" and "processes", each in child processes.

    ``split_timeout`` is in seconds; a worker that needs longer for one split is ended, as if it had died.
    """

    forks: ClassVar[bool] = True

    def __init__(
        self,
        *,
        storage_options: Mapping[str, Any] | None = None,
        on_rows: OnRows | None = None,
        split_timeout: float | None = None,
    ) -> None:
        self._storage_options = dict(storage_options or {})
        self._on_rows = on_rows
        self.split_timeout = split_timeout
        self._children: list[Child] = []
        self._job: BatchJob | None = None
        self._plan_id: str | None = None
        self._size = 0
        self._threads = 1
        self._waiting: deque[int] = deque()
        self._doing = ""

    def plan(self, job: BatchJob, *, restart: bool = False, keep: bool = True) -> PlanSummary:
        self._job = job
        deaths = 0
        while True:
            message = {"do": "plan", "restart": restart, "keep": keep, "probe_deaths": deaths}
            try:
                answer = self._ask(self._child(), message, doing="the job was being planned")
                break
            except _ProbeDiedError as error:
                self._doing = ""
                deaths += 1
                if deaths == MOST_PROBE_DEATHS:
                    raise
                _LOG.warning("%s; trying other rows", error)
        summary = PlanSummary.from_json(answer)
        self._plan_id = summary.plan_id
        return summary

    def attach(self, job: BatchJob, plan_id: str) -> None:
        """Serve a plan that was made elsewhere and is kept beside the output: one split at a time, in one child."""
        self._job, self._plan_id = job, plan_id
        self.start("inline", 1)

    def warm(self) -> None:
        """Load the bundle now, if it is not loaded yet."""
        self._ready()

    def start(self, executor: str, workers: int) -> int:
        self._size = workers if executor == "processes" else 1
        self._threads = workers if executor == "threads" else 1
        for child in self._children:
            if child.threads:  # threads were begun with: those that there are stay, and get no more than one split
                child.threads = min(child.threads, self._threads)
        return workers

    def submit(self, index: int) -> None:
        self._waiting.append(index)

    def poll(self, timeout: float) -> list[Outcome]:
        outcomes = self._hand_out()
        if outcomes:
            return outcomes
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                selector.register(child.wire.socket, selectors.EVENT_READ, child)
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                outcomes += self._hear(key.data)
        return outcomes + self._overdue()

    def cancel(self) -> None:
        self._waiting.clear()
        for child in list(self._children):
            if child.running:
                self._drop(child)

    def commit(self, owner: str | None = None) -> dict[str, Any]:
        message = {"do": "commit", "owner": owner}
        result: dict[str, Any] = self._ask(self._ready(), message, doing="the output was being committed")
        return result

    def write_rejects(self, owner: str | None = None) -> None:
        message = {"do": "write_rejects", "owner": owner}
        self._ask(self._ready(), message, doing="the rejects were being written")

    def close(self) -> None:
        for child in list(self._children):
            self._drop(child)

    # -- children

    def _child(self) -> Child:
        """A new worker process with the bundle loaded."""
        assert self._job is not None
        where = self._interpreters()
        child = started(where.worker)
        self._children.append(child)
        message = {
            "do": "open",
            "job": self._job.to_json(),
            "storage_options": self._storage_options,
            "model_python": where.models,
        }
        self._ask(child, message, doing="the bundle was being loaded")
        return child

    def _interpreters(self) -> Interpreters:
        """Those of the job's environment, which is built at first use."""
        assert self._job is not None
        if self._job.env is None:
            return Interpreters()
        from bentobatch.environments.choosing import interpreters_for  # most runs do without

        return interpreters_for(self._job.env, self._job.bundle, self._job.bundle_digest)

    def _ready(self) -> Child:
        """A worker process that knows the plan and runs nothing."""
        for child in list(self._children):
            if child.process.poll() is not None:
                self._drop(child)  # it was ended while nobody listened to it, for want of memory perhaps
            elif not child.running:
                return child
        child = self._child()
        self._start_child(child, fresh=True)
        return child

    def _start_child(self, child: Child, *, fresh: bool) -> None:
        message = {"do": "start", "threads": self._threads, "plan_id": self._plan_id if fresh else None}
        self._ask(child, message, doing="the plan was being opened")
        child.threads = self._threads

    def _ask(self, child: Child, message: dict[str, Any], *, doing: str) -> Any:
        """Send a request and wait for its answer."""
        with contextlib.suppress(BrokenPipeError):
            child.wire.send(message)  # a child that is gone is noticed by what it does not answer
        while True:
            # the first rows are scored during planning, so a hang on one of them is ended here like that of a split
            child.wire.socket.settimeout(self.split_timeout if self._doing == PROBING else None)
            try:
                answer = child.wire.receive()
            except TimeoutError:
                self._drop(child)
                raise _ProbeDiedError(
                    f"no end after --split-timeout {self.split_timeout:g} s while {PROBING}"
                ) from None
            if answer is None:
                end = child.end_of()
                self._drop(child)
                if self._doing.startswith("reading "):
                    raise DataError(f"reader crashed on {self._doing.removeprefix('reading ')}: {end}")
                kind = _ProbeDiedError if self._doing == PROBING else ModelError
                raise kind(f"{end} while {self._doing or doing}; look for a crash or an exit in the bundle's code")
            if "error" in answer:
                raise error_from_json(answer["error"])
            if "result" in answer:
                self._doing = ""
                return answer["result"]
            self._note(child, answer)

    def _hand_out(self) -> list[Outcome]:
        """Give waiting splits to children with a free thread, starting children as they are needed."""
        if not self._waiting:
            return []
        for child in self._children:
            if not child.threads:
                self._start_child(child, fresh=False)
        while self._waiting:
            free = [child for child in self._children if len(child.running) < child.threads]
            if not free:
                if len(self._children) >= self._size:
                    break
                fresh = self._child()
                self._start_child(fresh, fresh=True)
                free = [fresh]
            child = min(free, key=lambda item: len(item.running))
            index = self._waiting.popleft()
            child.running[index] = Running()
            try:
                child.wire.send({"do": "split", "index": index})
            except BrokenPipeError:
                return self._died(child)
        return []

    def _hear(self, child: Child) -> list[Outcome]:
        """What a child has said since."""
        alive = child.wire.fill()
        outcomes: list[Outcome] = []
        while (message := child.wire.next_buffered()) is not None:
            if "split" in message:
                index = message["split"]
                child.running.pop(index, None)
                error = error_from_json(message["error"]) if "error" in message else None
                clock = tuple(message["clock"]) if "clock" in message else None
                own = message.get("own", {})
                took = message.get("took", 0.0)
                outcomes.append(
                    Outcome(index, counts=message.get("counts"), error=error, clock=clock, took=took, own=own)
                )
            else:
                self._note(child, message)
        return outcomes if alive else outcomes + self._died(child)

    def _note(self, child: Child, message: dict[str, Any]) -> None:
        """Messages that need no answer: steps, log records, what a child is about to do."""
        if "step" in message:
            index, start, stop = message["step"]
            child.running[index].rows = (start, stop) if stop > start else None
            if self._on_rows is not None:
                self._on_rows(stop - start)
        elif "begin" in message:
            child.running[message["begin"]].file = message["file"]
        elif "log" in message:
            _LOG.log(message["log"], "%s", message["text"])
        elif "doing" in message:
            self._doing = message["doing"]

    def _died(self, child: Child, death: str | None = None) -> list[Outcome]:
        end = death or child.end_of()
        self._drop(child)
        return [
            Outcome(index, death=end, rows=running.rows, file=running.file) for index, running in child.running.items()
        ]

    def _overdue(self) -> list[Outcome]:
        if self.split_timeout is None:
            return []
        outcomes: list[Outcome] = []
        for child in list(self._children):
            late = [index for index, run in child.running.items() if time.monotonic() - run.since > self.split_timeout]
            if late:
                outcomes += self._died(child, f"no end after --split-timeout {self.split_timeout:g} s")
        return outcomes

    def _drop(self, child: Child) -> None:
        if child in self._children:
            self._children.remove(child)
        child.kill()
