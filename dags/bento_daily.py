"""This module is a DAG that scores, day by day, the events of that day into a file of that day.

A partition that failed is retried from the splits that are scored already; a partition that is run again (cleared, or
backfilled with ``airflow backfill create``) is left as it is when nothing changed, and replaced at once when its input or
the bundle did. Try it as it is: ``airflow dags test bento_daily``.

``folder`` (a parameter, or the Variable ``bentobatch_folder``) is where events lie and scores go.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, task

from bentobatch_airflow import BentoInferenceOperator

HOME = os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow"))
FOLDER = f"{{{{ params.folder or var.value.get('bentobatch_folder', '{HOME}/bentobatch-example') }}}}"
DAY = "{{ data_interval_start | ds }}"

with DAG(
    "bento_daily",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    params={"folder": ""},
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    tags=["bentobatch"],
    doc_md=__doc__,
) as dag:

    @task
    def example(folder: str, day: str) -> dict[str, str]:
        """Stands in for what brings your events; yours needs only the operator below."""
        from example_service import bundle_for, events_for

        return {"input": events_for(folder, day), "bundle": bundle_for(folder)}

    made = example(FOLDER, DAY)
    score = BentoInferenceOperator(
        task_id="score",
        bundle=made["bundle"],
        input_file=made["input"],
        output_file=f"{FOLDER}/scores/{DAY}.parquet",
        keep=["id"],
        max_rejects="1%",
        executor="auto",
        outlets=[Asset("bentobatch_daily_scores")],
    )
