"""This module is what tasks find and leave beside a plan: the record of its run, how the run was stopped, and outcomes.

Beside the plan and not in a result backend: a run needs none, and whoever sees the output sees how far it is.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.remote import KeptPlan, check_root, worker_storage_options
from bentobatch.engine.store import Store, store_at
from bentobatch.engine.wire import RemoteTraceback, error_from_json, error_to_json
from bentobatch.errors import BentobatchError, StorageError, UnavailableError, UsageError

_LOG = logging.getLogger("bentobatch")
FOLDER = "celery"


@dataclass(frozen=True)
class RunRecord:
    """One run of a plan on Celery. ``id`` is the task id of its commit, ``began`` a time of time.time(), ``stale`` the
    time of a commit of this plan whose output is there no more. ``queue`` None is where the app routes tasks to.
    ``report`` holds what a report tells of the planning."""

    began: float
    splits: int
    stale: float | None = None
    split_timeout: float | None = None
    queue: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


class JobState:
    """What is kept beside one plan for and by its tasks."""

    def __init__(self, kept: KeptPlan, storage_options: Mapping[str, Any] | None = None) -> None:
        self.kept = kept
        self.store: Store = store_at(kept.state, storage_options)

    @classmethod
    def of_worker(cls, kept: Mapping[str, str]) -> JobState:
        """As a worker sees it, which is told by a message where the plan is.

        Raises:
            UsageError: the message is none of ours, or the worker takes no plans from there.
        """
        values = kept.values() if isinstance(kept, Mapping) else ()
        if not isinstance(kept, Mapping) or set(kept) != {"state", "plan_id"} or not all(map(_is_text, values)):
            raise UsageError("a task needs the place and the id of a plan")
        if not kept["plan_id"].isalnum():
            raise UsageError(f"{kept['plan_id'][:100]!r} is no id of a plan")
        check_root(kept["state"])
        return cls(KeptPlan(**kept), worker_storage_options())

    def name(self, *names: str) -> str:
        """The store's name of a file of ours."""
        return "/".join((self.kept.plan_id, FOLDER, *names))

    def read(self, *names: str) -> Any:
        """A JSON value, None where there is none."""
        data = self.store.read(self.name(*names))
        return None if data is None else json.loads(data)

    def write(self, value: Any, *names: str) -> None:
        """Keep a JSON value."""
        self.store.write(self.name(*names), json.dumps(value).encode())

    # -- the run

    def begin(self, record: RunRecord) -> None:
        """Start anew: what stopped an earlier run, and how often its tasks were delivered, is forgotten."""
        self.clear()
        self.write(asdict(record), "run.json")
        self.store.delete(self.name("stopped.json"))

    def clear(self) -> None:
        """Remove what only a run in progress needs."""
        for folder in ("deliveries", "outcomes"):
            try:
                self.store.delete(self.name(folder))
            except StorageError as error:  # a task in progress put something into the folder while it was being removed
                _LOG.info("%s", error)

    def run(self) -> RunRecord:
        """The record of the last run.

        Raises:
            UsageError: there is none.
        """
        data = self.read("run.json")
        if data is None:
            raise UsageError(
                f"no run of plan {self.kept.plan_id} is known in {self.kept.state}: it was removed, or another run has"
                " written this output"
            )
        return RunRecord(**data)

    def stop(self, error: BentobatchError | None) -> None:
        """Let tasks that are still to come do nothing. None: somebody revoked the run."""
        # a task that comes after another run has removed the plan must leave no folder behind
        if self.store.read(self.name("run.json")) is not None:
            self.write({} if error is None else {"error": to_json(error)}, "stopped.json")

    def stopped(self) -> BentobatchError | None:
        """Why tasks do nothing any more; None where they do."""
        data = self.read("stopped.json")
        if data is None:
            return None
        if "error" in data:
            return error_from_json(data["error"])
        return UnavailableError(
            f"the run of plan {self.kept.plan_id} was revoked; the same job goes on from its finished splits"
        )

    def revoked(self) -> bool:
        """Whether it was ``stop(None)`` that stopped the run."""
        return bool(self.read("stopped.json") == {})

    # -- what is finished

    def last_commit(self) -> dict[str, Any] | None:
        """The record of the plan's last commit that came through, whatever stands in the output's place now."""
        data = self.store.read(parts.commit_name(self.kept.plan_id))
        record: dict[str, Any] | None = None if data is None else json.loads(data)
        return None if record is None or record["identity"] is None else record

    def committed(self, run: RunRecord) -> dict[str, Any] | None:
        """The record of the commit, if this run or a later one has committed."""
        record = self.last_commit()
        return None if record is None or record["time"] == run.stale else record

    def finished(self) -> int:
        """How many splits have a receipt."""
        return len(self.store.names(f"{self.kept.plan_id}/receipts"))

    def all_finished(self, keys: Sequence[str]) -> bool:
        """Whether each split has its receipt."""
        return set(keys) <= set(self.store.names(f"{self.kept.plan_id}/receipts"))


def to_json(error: BentobatchError) -> dict[str, str]:
    """An error with the traceback of the process that it came from."""
    return error_to_json(error, str(error.__cause__) if isinstance(error.__cause__, RemoteTraceback) else "")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
