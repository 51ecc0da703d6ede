"""This module is a job opened in one process: its bundle loaded once, its plan at hand, its splits scored on demand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController

from bentobatch.bundle.load import load
from bentobatch.devices import on_device
from bentobatch.engine import parts
from bentobatch.engine.clocks import Clock
from bentobatch.engine.commits import Commit, committed
from bentobatch.engine.cost import kept_name
from bentobatch.engine.crew import PlanSummary
from bentobatch.engine.job import BatchJob
from bentobatch.engine.kinds import commit_of, planner_of, split_run_of
from bentobatch.engine.lease import fence_for
from bentobatch.engine.model_devices import check_devices
from bentobatch.engine.parts import Receipt
from bentobatch.engine.place import place_of
from bentobatch.engine.plan import Plan
from bentobatch.engine.reuse import adopt
from bentobatch.engine.split_run import OnFile, OnStep
from bentobatch.engine.store import Store, store_at
from bentobatch.environments.installed import difference, installed
from bentobatch.errors import BentobatchError, UsageError
from bentobatch.formats.base import InputFile
from bentobatch.scorer import Scorer
from bentobatch.service.core import ServiceCore


class Session:
    """One process's view of a job. Threads may run splits of it at the same time."""

    def __init__(
        self,
        job: BatchJob,
        *,
        storage_options: Mapping[str, Any] | None = None,
        model_python: str | None = None,
    ) -> None:
        """``model_python``: the interpreter of an older Python that holds the models (see frameworks.hosted_models)."""
        self.job = job
        self.storage_options = storage_options
        self.store: Store = store_at(place_of(job).state, storage_options)
        self.service: ServiceCore = loaded(job.bundle, job.bundle_digest, job.allow_pickle, job.device, model_python)
        self.environment = None if job.env is None else installed(model_python)
        self._plan: Plan | None = None
        self._scorer: Scorer | None = None

    @property
    def plan(self) -> Plan:
        """The plan that ``make_plan`` made or ``use_plan`` was given."""
        if self._plan is None:
            raise UsageError("this session has no plan yet")
        return self._plan

    def make_plan(
        self,
        *,
        restart: bool = False,
        keep: bool = True,
        doing: Callable[[str], None] | None = None,
        probe_deaths: int = 0,
    ) -> PlanSummary:
        """Plan the job and take over what earlier runs scored; ``doing`` is told of each step before it is taken.

        ``probe_deaths``: how often planning this job has ended its process while the first rows were scored.
        """
        planner = planner_of(self.job, self.service, storage_options=self.storage_options, doing=doing)
        planner.probe_deaths = probe_deaths
        planner.environment = self.environment
        self.use_plan(planner.plan())
        plan = self.plan
        record = committed(plan, place_of(plan.job), self.store, self.storage_options)
        table = self.service.get_inference_api(plan.job.api).input.batch_only
        if not keep:
            return summary(plan, self.store, record, table=table, details=details(plan))
        nothing_to_do = self.job.builds_on_output and record is not None
        if restart and not nothing_to_do:
            record = None
            self.store.delete(plan.plan_id)
            self.store.delete(parts.commit_name(plan.plan_id))
        if record is None:
            save_plan(plan, self.store)
            if planner.cost is not None:
                self.store.write(kept_name(plan.job), json.dumps(planner.cost).encode())
            if not restart:
                adopt(plan, self.store, self.storage_options)
        return replace(summary(plan, self.store, record, table=table), interpreted=planner.interpreted)

    def use_plan(self, plan: Plan) -> None:
        """Go on with a plan that was made elsewhere; the limits are those of this session's job.

        Raises:
            UsageError: the plan is of another environment or kind of device, which may give other values.
        """
        self._check_environment(plan)
        check_devices(plan.plan_id, plan.devices, self.service)
        self._plan = replace(plan, job=replace(self.job, device=plan.job.device))
        api = self.service.get_inference_api(plan.job.api)
        self._scorer = Scorer(
            self.service,
            api,
            output_column=plan.job.output_column,
            output_schema=plan.prediction_schema,
            every_row_may_fail=plan.job.redrive is not None,
        )
        limit_native_threads()

    def _check_environment(self, plan: Plan) -> None:
        differs = "" if plan.environment is None else difference(plan.environment, self.environment or installed())
        if differs:
            raise UsageError(
                f"plan {plan.plan_id} was made in another environment than this worker's, which has {differs}: use one "
                "archive everywhere (bentobatch env build), or pin what the bundle requires"
            )

    def run_split(
        self,
        index: int,
        *,
        on_step: OnStep | None = None,
        on_file: OnFile | None = None,
        clock: Clock | None = None,
    ) -> Receipt:
        """Score one split of the plan; ``clock`` is given the thread's time in the api."""
        plan = self.plan
        if not 0 <= index < len(plan.splits):
            raise UsageError(f"plan {plan.plan_id} has splits 0 to {len(plan.splits) - 1}, not {index}")
        assert self._scorer is not None
        run = split_run_of(plan)(
            plan,
            plan.splits[index],
            self._scorer,
            self.store,
            storage_options=self.storage_options,
            on_step=on_step,
            on_file=on_file,
            clock=clock,
        )
        return run.run()

    def commit(self, owner: str | None = None) -> dict[str, Any]:
        """Publish the output, while ``owner`` holds the lease."""
        return self._commit(owner).run()

    def write_rejects(self, owner: str | None = None) -> None:
        """Publish the rejects of the finished splits, while ``owner`` holds the lease."""
        self._commit(owner).write_rejects()

    def _commit(self, owner: str | None) -> Commit:
        fence = fence_for(place_of(self.plan.job), owner, self.storage_options)
        return commit_of(self.plan, storage_options=self.storage_options, lease=fence)


@lru_cache(maxsize=4)
def loaded(
    bundle: str, digest: str, allow_pickle: bool, device: str | None = None, model_python: str | None = None
) -> ServiceCore:
    """The service of a bundle, loaded once per process (and device that is asked for)."""
    with on_device(device):
        service: ServiceCore = load(bundle, digest=digest, allow_pickle=allow_pickle, model_python=model_python)
    return service


def limit_native_threads() -> None:
    """One thread for each native thread pool (BLAS, OpenMP) of this process, for good.

    Scoring threads and processes already keep the cores busy; pools that spin beside them cost more than they give, and
    one thread everywhere makes every executor's sums round alike.
    """
    ThreadpoolController().limit(limits=1)


def save_plan(plan: Plan, store: Store) -> None:
    """Keep the plan in the state folder; an equal one there is left as it is."""
    data = json.dumps(plan.to_json()).encode()
    name = parts.plan_name(plan.plan_id)
    if store.read(name) != data:
        store.write(name, data)


def load_plan(plan_id: str, store: Store) -> Plan:
    """The plan that ``save_plan`` kept."""
    data = store.read(parts.plan_name(plan_id))
    if data is None:
        raise BentobatchError(f"no plan {plan_id} is kept in {store.uri('')}; plan the job again")
    return Plan.from_json(json.loads(data))


def summary(
    plan: Plan,
    store: Store,
    record: Mapping[str, Any] | None,
    *,
    table: bool,
    details: Mapping[str, Any] | None = None,
) -> PlanSummary:
    """The plan in a few words, with what is finished of it."""
    names = set(store.names(f"{plan.plan_id}/receipts"))
    done: dict[int, tuple[int, int]] = {}
    for split in plan.splits:
        if split.key in names:
            receipt = parts.read_receipt(store, plan.plan_id, split.key)
            if receipt is not None:
                done[split.index] = (receipt.rejected, receipt.discarded)
    return PlanSummary(
        plan_id=plan.plan_id,
        rows=plan.rows,
        takes=tuple(split.take for split in plan.splits),
        keys=tuple(split.key for split in plan.splits),
        files=plan.file_count,
        done=done,
        features=plan.features,
        feature_rule=plan.feature_rule,
        table=table,
        record=record,
        details=details or {},
        environment=plan.environment,
    )


def details(plan: Plan) -> dict[str, Any]:
    """What a dry run shows of a plan."""
    place = place_of(plan.job)
    return {
        "files": _file_details(plan),
        "columns_read": {item.name: str(item.type) for item in plan.read_schema},
        "kept": list(plan.kept),
        "environment": None if plan.environment is None else dict(plan.environment),
        "output": place.output,
        "output_format": place.format,
        "output_schema": {item.name: str(item.type) for item in plan.output_schema},
        "rejects_file": place.rejects,
        "state": place.state,
    }


def _file_details(plan: Plan) -> list[dict[str, Any]]:
    """The files of a plan; those that share a split each with it."""
    splits = Counter(split.file for split in plan.splits)
    rows: Counter[int] = Counter()
    for split in plan.splits:
        rows[split.file] += split.take
    found: list[dict[str, Any]] = []
    for number, file in enumerate(plan.files):
        left = rows[number]
        for each, path, held in _members(plan, file, left):
            facts = {"path": path, "bytes": each.size, "format": each.format, "rows": min(held, left)}
            found.append({**facts, "splits": splits[number]})
            left -= min(held, left)
    return found


def _members(plan: Plan, file: InputFile, rows: int) -> list[tuple[InputFile, str, int]]:
    """The files that ``file`` stands for: each with its path and rows."""
    members = plan.groups.get(file.uri)
    if members is None:
        return [(file, plan.label(file), rows)]
    return [(member.file, member.file.uri, member.rows) for member in members]
