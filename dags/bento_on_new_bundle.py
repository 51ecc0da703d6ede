"""This module is a DAG that runs whenever a new bundle is saved into the repository, and scores the events with it.

An asset watcher in the triggerer looks into the repository; the new bundle's tag comes with the event. Started by hand, it
takes the parameter ``bundle``; a tag such as NAME:latest is understood once in each DAG run, and its retries keep to it.
Try it as it is: ``airflow dags test bento_on_new_bundle``.

``folder`` (a parameter, or the Variable ``bentobatch_folder``) is where events lie and scores go.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from bentobatch_airflow import BentoInferenceOperator, NewBundleTrigger

NAME = "ExampleScorer"
HOME = os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow"))
FOLDER = f"{{{{ params.folder or var.value.get('bentobatch_folder', '{HOME}/bentobatch-example') }}}}"

new_bundle = Asset(
    f"bentobatch_bundle_{NAME}", watchers=[AssetWatcher(name="saved", trigger=NewBundleTrigger(name=NAME))]
)

with DAG(
    "bento_on_new_bundle",
    schedule=[new_bundle],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    params={"folder": "", "day": "2026-01-01", "bundle": f"{NAME}:latest"},
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["bentobatch"],
    doc_md=__doc__,
) as dag:

    @task
    def example(folder: str, day: str) -> str:
        """Stands in for what brings your events, and for whoever saves the first bundle."""
        from example_service import events_for, save_first

        save_first()
        return events_for(folder, day)

    @task
    def saved(params: Any = None, triggering_asset_events: Any = None) -> str:
        """The bundle that the event tells of, the parameter's without one."""
        events = [event for several in (triggering_asset_events or {}).values() for event in several]
        told = [event.extra.get("payload", {}).get("bundle") for event in events]
        return str(next((bundle for bundle in reversed(told) if bundle), params["bundle"]))

    made = example(FOLDER, "{{ params.day }}")
    bundle = saved()
    score = BentoInferenceOperator(
        task_id="score",
        bundle=bundle,
        input_file=made,
        output_file=f"{FOLDER}/scores/newest_bundle.parquet",
        keep=["id"],
        executor="auto",
        outlets=[Asset("bentobatch_newest_scores")],
    )
    made >> bundle
