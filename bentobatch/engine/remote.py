"""This module scores splits of a kept plan for a scheduler's worker process: all it is told is where the plan lies, the
plan's id and a split's number.

The user's code and the native readers run in a child interpreter of the worker process, which loads the bundle once and
stays. A crash, an exit or a hang there costs the scheduler no worker; it is counted beside the output, and a split that
keeps ending its process is bisected, as under every executor.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.crew import Outcome
from bentobatch.engine.deaths import count_death
from bentobatch.engine.job import BatchJob
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.engine.store import Store, store_at
from bentobatch.engine.telemetry import event_fields
from bentobatch.engine.wire import error_from_json, error_to_json
from bentobatch.errors import BentobatchError, UsageError

STORAGE_OPTIONS = "BENTOBATCH_STORAGE_OPTIONS"
"""Environment variable of a worker: a JSON object of fsspec options. Credentials never travel with a task."""
ROOTS = "BENTOBATCH_WORKER_ROOTS"
"""Environment variable of a worker: paths and URLs, one a line; a plan that lies below none of them is refused."""
MOST_PLANS = 4
"""Plans whose children one worker process keeps; the one that was used longest ago is closed first."""
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class KeptPlan:
    """Where a plan is kept: all that a task on a scheduler carries, beside the number of a split."""

    state: str
    plan_id: str

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return asdict(self)


def worker_storage_options(environ: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The fsspec options that this worker's environment holds.

    Raises:
        UsageError: the variable is no JSON object.
    """
    text = (os.environ if environ is None else environ).get(STORAGE_OPTIONS)
    if not text:
        return None
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UsageError(f"{STORAGE_OPTIONS} must be a JSON object of fsspec options")  # its text may be a secret
    return options


def check_root(state: str, environ: Mapping[str, str] | None = None) -> None:
    """Refuse a plan that lies where this worker takes none from.

    Raises:
        UsageError: the worker names its roots, and ``state`` lies below none of them.
    """
    roots = (os.environ if environ is None else environ).get(ROOTS, "").split("\n")
    wanted = [root.strip().rstrip("/") for root in roots if root.strip()]
    if not wanted:
        return
    remote = "://" in state
    place = state if remote else os.path.realpath(state)
    known = [root if "://" in root else os.path.realpath(root) for root in wanted]
    if (remote and "/.." in state) or not any(place.startswith(f"{root}/") for root in known):
        raise UsageError(f"this worker takes plans below {', '.join(wanted)} only ({ROOTS}), not {state}")


def check_env_root(env: str | None, environ: Mapping[str, str] | None = None) -> None:
    """Refuse an interpreter or archive that a plan names, where this worker takes none from there.

    Raises:
        UsageError: as ``check_root``.
    """
    path = None if env is None else env.removeprefix("bundle").removeprefix(":")
    if path and os.sep in path:  # that of an interpreter is often a link, which leads to where its kind is installed
        check_root(os.path.join(os.path.realpath(os.path.dirname(path)), "environment"), environ)


class PlanServer:
    """One plan in one worker process. Any number of threads may score splits of it at a time, each in a child of its
    own, which is kept for the next."""

    def __init__(self, kept: KeptPlan, *, storage_options: Mapping[str, Any] | None = None) -> None:
        """``storage_options``: by default those of the worker's environment."""
        check_root(kept.state)
        self.kept = kept
        self.storage_options = worker_storage_options() if storage_options is None else storage_options
        self.store: Store = store_at(kept.state, self.storage_options)
        data = self.store.read(parts.plan_name(kept.plan_id))
        if data is None:
            raise UsageError(f"no plan {kept.plan_id} is kept in {kept.state}, as this worker sees it")
        plan = json.loads(data)
        check_env_root(plan["job"].get("env"))
        self.keys: list[str] = plan["splits"]["key"]
        job = BatchJob.from_json(plan["job"])
        self.job = replace(job, bundle=str(_bundle(job, self.store, kept.plan_id)))
        self._idle: list[ProcessCrew] = []
        self._closed = False
        self._lock = threading.Lock()

    def score(self, index: int, *, split_timeout: float | None = None) -> dict[str, Any]:
        """Score one split, however many children that takes; {"index", "counts"} or {"index", "error"}, and "deaths"
        where children ended on the way."""
        deaths: list[str] = []
        try:
            if not 0 <= index < len(self.keys):
                raise UsageError(f"plan {self.kept.plan_id} has splits 0 to {len(self.keys) - 1}, not {index}")
            finished = parts.read_receipt(self.store, self.kept.plan_id, self.keys[index])
            if finished is not None:
                return {"index": index, "counts": {"rejected": finished.rejected, "discarded": finished.discarded}}
            with self._crew(split_timeout) as crew:
                answer = {"index": index, "counts": self._score(crew, index, deaths)}
        except BentobatchError as error:
            answer = {"index": index, "error": error_to_json(error)}
        return {**answer, "deaths": deaths} if deaths else answer

    def _score(self, crew: ProcessCrew, index: int, deaths: list[str]) -> dict[str, Any]:
        crew.submit(index)
        while True:
            for outcome in crew.poll(_POLL_SECONDS):
                if outcome.counts is not None:
                    return dict(outcome.counts)
                if outcome.error is not None:
                    raise outcome.error
                deaths.append(outcome.death or "")
                fields = event_fields("split_died", self.job, self.kept.plan_id)
                count_death(self.store, self.kept.plan_id, self.keys[index], outcome, fields={**fields, "split": index})
                crew.submit(index)

    @contextlib.contextmanager
    def _crew(self, split_timeout: float | None) -> Iterator[ProcessCrew]:
        with self._lock:
            crew = self._idle.pop() if self._idle else None
        if crew is None:
            crew = ProcessCrew(storage_options=self.storage_options)
            crew.attach(self.job, self.kept.plan_id)
        crew.split_timeout = split_timeout
        try:
            yield crew
        except BaseException:
            crew.cancel()
            raise
        finally:
            with self._lock:
                closed = self._closed
                if not closed:
                    self._idle.append(crew)
            if closed:  # while it scored: nobody would ever end it
                crew.close()

    def open(self) -> None:
        """Load the bundle into a child now rather than with the first split."""
        with self._crew(None) as crew:
            crew.warm()

    def close(self) -> None:
        """End the children that score nothing at present; the others end with their splits."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for crew in idle:
            crew.close()


_SERVERS: OrderedDict[KeptPlan, PlanServer] = OrderedDict()
_SERVERS_LOCK = threading.Lock()


def server_of(kept: Mapping[str, str]) -> PlanServer:
    """This process's server of a plan, made at first use.

    Raises:
        BentobatchError: the plan or its bundle cannot be had on this machine.
    """
    key = KeptPlan(**kept)
    with _SERVERS_LOCK:
        server = _SERVERS.get(key)
        if server is None:
            server = _SERVERS[key] = PlanServer(key)
        _SERVERS.move_to_end(key)
        while len(_SERVERS) > MOST_PLANS:
            _SERVERS.popitem(last=False)[1].close()
    return server


def score_split(kept: Mapping[str, str], index: int, *, split_timeout: float | None = None) -> dict[str, Any]:
    """Score one split of a kept plan in this worker process: JSON values for ``outcome_from_json``. Errors are part of
    them: nothing but a bug is raised, so that a scheduler's own retries are left to lost workers.

    ``kept`` is ``KeptPlan.to_json()``, ``split_timeout`` is in seconds. A finished split is not scored again.
    """
    try:
        server = server_of(kept)
    except BentobatchError as error:
        return {"index": index, "error": error_to_json(error)}
    return server.score(index, split_timeout=split_timeout)


def close_server(kept: Mapping[str, str]) -> None:
    """End this process's children that serve one plan, if there are any; its next split starts new ones."""
    with _SERVERS_LOCK:
        server = _SERVERS.pop(KeptPlan(**kept), None)
    if server is not None:
        server.close()


def close_servers() -> None:
    """End this process's children; the next split starts new ones."""
    with _SERVERS_LOCK:
        servers = list(_SERVERS.values())
        _SERVERS.clear()
    for server in servers:
        server.close()


def outcome_from_json(data: Mapping[str, Any]) -> Outcome:
    """What ``score_split`` returned, as the driver takes it."""
    error = error_from_json(data["error"]) if "error" in data else None
    return Outcome(data["index"], counts=data.get("counts"), error=error, deaths=tuple(data.get("deaths", ())))


def _bundle(job: BatchJob, store: Store, plan_id: str) -> Any:
    # here and not above: it brings in what a worker that has the folder never needs
    from bentobatch.engine.bundle_copy import find_bundle

    return find_bundle(job, store, plan_id)
