"""The example DAGs: whole, quick to parse, and running as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.engine.test_promises import write_input
from tests.integrations.airflow.dag_runs import DAGS, Ran, load

# Airflow itself compiles .airflowignore with a name that its library pathspec has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
IDS = ["bento_daily", "bento_mapped", "bento_on_new_bundle"]


@pytest.fixture
def folder(airflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the examples work; Airflow finds their module beside them."""
    monkeypatch.setenv("AIRFLOW_VAR_BENTOBATCH_FOLDER", str(tmp_path / "work"))
    monkeypatch.syspath_prepend(str(DAGS))
    yield tmp_path / "work"
    for name in (*IDS, "example_service"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("airflow")
def test_the_examples_are_whole() -> None:
    """No import error, no cycle; each has retries, an owner's text and an asset as its outlet."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(DAGS))
    assert bag.import_errors == {}
    assert sorted(bag.dags) == IDS
    for dag in bag.dags.values():
        assert dag.doc_md
        assert all(task.retries == 3 for task in dag.tasks)
        assert any(task.outlets for task in dag.tasks)


def test_parsing_the_examples_imports_nothing_heavy() -> None:
    """A DAG processor parses every file again and again: beside Airflow it imports neither the engine nor its libraries."""
    script = (
        "import sys, runpy\n"
        "from airflow.sdk import DAG, Asset, AssetWatcher, CronDataIntervalTimetable, task\n"
        "from airflow.triggers.base import BaseEventTrigger\n"
        "before = set(sys.modules)\n"
        f"[runpy.run_path(f'{DAGS}/{{name}}.py') for name in {IDS!r}]\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "bentobatch_airflow.inference" in loaded
    for heavy in ("pandas", "pyarrow", "numpy", "dask", "celery", "pyspark", "bentobatch.runs", "bentobatch.scorer"):
        assert not any(name == heavy or name.startswith(f"{heavy}.") for name in loaded), heavy
    assert {name for name in loaded if name.startswith("bentobatch.engine")} <= {
        "bentobatch.engine",
        "bentobatch.engine.stop",
    }


def test_the_daily_example_runs(folder: Path) -> None:
    """It scores the day of its data interval."""
    import datetime

    ran = Ran(
        load(DAGS / "bento_daily.py").test(logical_date=datetime.datetime(2026, 3, 2, 6, tzinfo=datetime.timezone.utc))
    )
    assert ran.state == "success"
    assert ran.xcom("score")["output"] == str(folder / "scores/2026-03-01.parquet")
    assert pq.read_table(folder / "scores/2026-03-01.parquet").num_rows == 1000


def test_the_mapped_example_runs(folder: Path) -> None:
    """Six files in three groups; every row comes once."""
    ran = Ran(load(DAGS / "bento_mapped.py").test())
    assert ran.state == "success"
    assert ran.xcom("plan") == ["0-1", "2-3", "4-5"]
    assert pq.read_table(folder / "mapped/scores").num_rows == ran.xcom("commit")["rows"] == 6000


def test_the_example_on_new_bundles_runs(folder: Path) -> None:
    """Without an event it takes the newest bundle of the repository, and saves one where there is none."""
    ran = Ran(load(DAGS / "bento_on_new_bundle.py").test())
    assert ran.state == "success"
    assert ran.xcom("saved") == "ExampleScorer:latest"
    assert ran.xcom("score")["bundle"].startswith("ExampleScorer:2")
    assert pq.read_table(folder / "scores/newest_bundle.parquet").num_rows == 1000


def test_the_lines_of_the_documentation_work(
    airflow: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of docs/airflow.md is a DAG file; run on the paths of a test, each scores what it says."""
    services = sys.modules["bentobatch_test_services"]
    service = services.Linear()
    service.pack("model", services.LinearModel())
    service.save()
    (tmp_path / "flowers").mkdir()
    (tmp_path / "scores").mkdir()
    write_input(tmp_path / "flowers/in.parquet", 300)
    blocks = re.findall(r"```python\n(.*?)```", (DAGS.parent / "docs/airflow.md").read_text(), re.DOTALL)
    outputs = []
    for number, block in enumerate(blocks):
        path = airflow / f"documented_{number}.py"
        path.write_text(block.replace("/data/", f"{tmp_path}/").replace("IrisClassifier", "Linear"))
        try:
            ran = Ran(load(path).test())
        finally:
            path.unlink()
        assert ran.state == "success", block
        outputs.append(ran.xcom("commit" if "Commit" in block else "score")["output"])
    assert len(outputs) == 3
    assert [pq.read_table(output).num_rows for output in outputs] == [300] * 3


@pytest.mark.slow
def test_airflow_dags_test_runs_an_example_as_a_process(airflow: Path, tmp_path: Path) -> None:
    """The command that the examples' texts give, with nothing prepared but Airflow's database."""
    environ = {**os.environ, "AIRFLOW_VAR_BENTOBATCH_FOLDER": str(tmp_path / "work")}
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "bento_daily", "2026-03-02T06:00:00+00:00"],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "work/scores/2026-03-01.parquet").num_rows == 1000
