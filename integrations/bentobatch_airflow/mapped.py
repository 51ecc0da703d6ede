"""This module is a large job as three tasks: plan it, score groups of its splits in mapped tasks, commit.

    plan = BentoPlanOperator(task_id="plan", bundle=…, input_file=…, output_file=…)
    split = BentoSplitOperator.partial(task_id="split", plan=plan.output["plan"]).expand(splits=plan.output)
    commit = BentoCommitOperator(task_id="commit", plan=plan.output["plan"])
    split >> commit

What passes between them is where the plan is kept, its id, and split numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentobatch.errors import UsageError
from bentobatch_airflow.assets import tell_assets
from bentobatch_airflow.groups import MOST_GROUPS, from_text, grouped
from bentobatch_airflow.job import BentoJobTask
from bentobatch_airflow.task import BentoTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bentobatch.engine.remote import KeptPlan

PLAN = "plan"
"""XCom key under which a plan's place is found: {"state": …, "plan_id": …}."""
LABEL = "{{ (task.splits | string)[:100] }}"
"""A mapped task's name in Airflow's views, which has room for 250 characters."""
EXECUTOR = "airflow"
"""What the report says scored the splits."""


class BentoPlanOperator(BentoJobTask):
    """Plan a job and keep the plan beside its output. Returns the splits that are still to be scored, as at most
    ``max_groups`` texts such as "0-4095" for ``expand(splits=plan.output)``; ``output["plan"]`` is where the plan is.

    The output's asset belongs to the task that commits; this one has none.
    """

    def __init__(self, *, max_groups: int = MOST_GROUPS, outlets: Any = (), **kwargs: Any) -> None:
        super().__init__(outlets=outlets, **kwargs)
        self.max_groups = max_groups

    def execute(self, context: Context) -> list[str]:
        """Plan; what earlier tries and runs have scored is left out."""
        with self.guarded():
            from bentobatch_airflow.steps import plan_job  # here: a DAG file is parsed without the engine

            job = self.make_job(context)
            planned = plan_job(job, storage_options=self.storage_options(), split_timeout=self.split_timeout)
            groups = grouped(planned.pending, self.max_groups)
            context["ti"].xcom_push(PLAN, planned.kept.to_json())
            self.log.info(
                "plan %s: %d of %d splits to score, in %d groups",
                *(planned.kept.plan_id, len(planned.pending), len(planned.summary.takes), len(groups)),
            )
            return groups


class BentoSplitOperator(BentoTask):
    """Score some splits of a plan, one after the other, in a child process that loads the bundle once.

    ``plan`` is what BentoPlanOperator has left, ``splits`` a text such as "0-3,7" or numbers; ``split_timeout`` is in
    seconds. A split that is scored already is passed over, so a retry goes on where the last try stopped.
    """

    template_fields: Sequence[str] = ("plan", "splits", "conn_id")
    ui_color = "#f4e3c1"

    def __init__(
        self,
        *,
        plan: Any,
        splits: Any,
        split_timeout: float | None = None,
        map_index_template: str | None = LABEL,
        **kwargs: Any,
    ) -> None:
        super().__init__(map_index_template=map_index_template, **kwargs)
        self.plan = plan
        self.splits = splits
        self.split_timeout = split_timeout

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - Airflow's signature
        """Score; returns how many splits, and how many of their rows were lost."""
        with self.guarded():
            from bentobatch.engine.remote import PlanServer  # here: a DAG file is parsed without the engine
            from bentobatch.engine.wire import error_from_json

            numbers = from_text(self.splits) if isinstance(self.splits, str) else [int(each) for each in self.splits]
            lost = {"rejected": 0, "discarded": 0}
            server = PlanServer(kept_plan(self.plan), storage_options=self.storage_options())
            try:
                for number in numbers:
                    result = server.score(number, split_timeout=self.split_timeout)
                    if "error" in result:
                        raise error_from_json(result["error"])
                    for name in lost:
                        lost[name] += result["counts"][name]
            finally:
                server.close()
            return {"splits": len(numbers), **lost}


class BentoCommitOperator(BentoTask):
    """Publish the output of a plan whose splits are all scored, at once; returns the small report.

    It runs where the mapped tasks were skipped as well, because nothing was left to score (``none_failed``). Give it
    the output's asset in ``outlets``.
    """

    template_fields: Sequence[str] = ("plan", "conn_id")

    def __init__(self, *, plan: Any, trigger_rule: str = "none_failed", **kwargs: Any) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        self.plan = plan
        self.report: dict[str, Any] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Commit; once more changes nothing."""
        with self.guarded():
            from bentobatch_airflow.steps import commit_plan  # here: a DAG file is parsed without the engine

            kept = kept_plan(self.plan)
            self.report = commit_plan(kept, executor=EXECUTOR, storage_options=self.storage_options())
            tell_assets(self.outlets, self.report, context)
            self.log.info("%s", self.report)
            return self.report

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - the provider's signature
        """Output and counts; only Airflow's OpenLineage provider calls this."""
        from bentobatch_airflow.lineage import lineage_of

        return None if self.report is None else lineage_of(self.report, None)


def kept_plan(plan: Any) -> KeptPlan:
    """The plan that another task has left.

    Raises:
        UsageError: it is none.
    """
    from bentobatch.engine.remote import KeptPlan  # as above

    if not isinstance(plan, Mapping) or not {"state", "plan_id"} <= plan.keys():
        raise UsageError(f"plan= takes what BentoPlanOperator left under output[{PLAN!r}], not {plan!r}")
    return KeptPlan(str(plan["state"]), str(plan["plan_id"]))
