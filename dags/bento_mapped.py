"""This module is a DAG for an input that is too large for one task: plan it, score groups of its splits in mapped tasks on
as many workers as Airflow has, commit.

What travels between the tasks is where the plan is kept and split numbers. When a group fails, only its own unfinished
splits are scored again; the output appears at once, at the end. Try it as it is: ``airflow dags test bento_mapped``.

``folder`` (a parameter, or the Variable ``bentobatch_folder``) is where events lie and scores go.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, task

from bentobatch_airflow import BentoCommitOperator, BentoPlanOperator, BentoSplitOperator

HOME = os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow"))
FOLDER = f"{{{{ params.folder or var.value.get('bentobatch_folder', '{HOME}/bentobatch-example') }}}}"

with DAG(
    "bento_mapped",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    max_active_runs=1,
    params={"folder": "", "day": "2026-01-01"},
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["bentobatch"],
    doc_md=__doc__,
) as dag:

    @task
    def example(folder: str, day: str) -> dict[str, str]:
        """Stands in for what brings your events; yours needs only the operators below."""
        from example_service import bundle_for, events_for

        return {"input": events_for(f"{folder}/mapped", day, files=6), "bundle": bundle_for(folder)}

    made = example(FOLDER, "{{ params.day }}")
    plan = BentoPlanOperator(
        task_id="plan",
        bundle=made["bundle"],
        input_file=made["input"],
        output_file=f"{FOLDER}/mapped/scores/",
        keep=["id"],
        max_groups=3,
    )
    split = BentoSplitOperator.partial(task_id="split", plan=plan.output["plan"]).expand(splits=plan.output)
    commit = BentoCommitOperator(
        task_id="commit", plan=plan.output["plan"], outlets=[Asset("bentobatch_mapped_scores")]
    )
    split >> commit
