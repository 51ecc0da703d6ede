"""One Airflow for a test process: a home of its own, sqlite, no examples; its variables stand before it is imported."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.airflow.dag_runs import DAGS, Ran, load

if importlib.util.find_spec("airflow") is None and not os.environ.get("CI"):
    collect_ignore_glob = ["test_*.py"]

HOME = Path(tempfile.mkdtemp(prefix="bentobatch-airflow-"))
SETTINGS = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
        [
            {
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(path)},
            }
            for name, path in (("tests", HOME / "dags"), ("examples", DAGS))
        ]
    ),
}
os.environ.update(SETTINGS)
atexit.register(shutil.rmtree, HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow() -> Path:
    """Airflow with its database made; the folder of test DAGs."""
    (HOME / "dags").mkdir(parents=True)
    from airflow.utils.db import initdb

    initdb()
    return HOME / "dags"


@pytest.fixture
def run_dag(airflow: Path) -> Iterator[Callable[..., Ran]]:
    """Runs a DAG that is given as the body of its ``with``; ``{names}`` in it are replaced by the keywords' repr."""
    written: list[Path] = []

    def run(body: str, **values: Any) -> Ran:
        dag_id = f"t{uuid.uuid4().hex}"
        for name, value in values.items():
            body = body.replace(f"<{name}>", repr(str(value) if isinstance(value, Path) else value))
        text = (
            "from datetime import timedelta\nfrom airflow.sdk import DAG, Asset, task\nfrom bentobatch_airflow import *\n"
            f"with DAG({dag_id!r}, default_args={{'retry_delay': timedelta(0)}}) as dag:\n"
            + textwrap.indent(textwrap.dedent(body).strip(), "    ")
        )
        path = airflow / f"{dag_id}.py"
        path.write_text(text)
        written.append(path)
        return Ran(load(path).test())

    yield run
    for path in written:
        path.unlink()
        sys.modules.pop(path.stem, None)
