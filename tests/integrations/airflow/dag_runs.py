"""This module is what tests of DAGs have in common: to load one from a file, and to look at a run of it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

DAGS = Path(__file__).parents[3] / "dags"


@dataclass
class Ran:
    """A DAG run that has ended."""

    run: Any

    @property
    def state(self) -> str:
        return str(self.run.state)

    def task(self, task_id: str, map_index: int = -1) -> Any:
        """A task instance, with its ``state`` and ``try_number``."""
        return next(ti for ti in self.run.get_task_instances() if (ti.task_id, ti.map_index) == (task_id, map_index))

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """What a task has left."""
        return self.task(task_id).xcom_pull(task_ids=task_id, key=key, run_id=self.run.run_id)

    def events(self) -> dict[str, Any]:
        """What the events of this run's assets tell, by the assets' URIs."""
        from airflow.models.asset import AssetEvent
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            found = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == self.run.run_id)).unique()
            return {event.uri: event.extra for event in found if event.source_dag_id == self.run.dag_id}


def load(path: Path) -> Any:
    """The DAG of a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.dag


def write_picky(folder: Path, bad: float) -> None:
    """A thousand rows, of which number 450 asks the service Picky to misbehave."""
    frame = pd.DataFrame({"id": range(1000), "x0": [float(i) for i in range(1000)], "x1": 1.0})
    frame.loc[450, "x0"] = bad
    frame.to_parquet(folder / "in.parquet")
