"""Spark Connect has no SparkContext: the same functions work through its client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine.place import place_of
from bentobatch.engine.remote import KeptPlan
from bentobatch.errors import UnavailableError
from bentobatch.runs import make_job
from bentobatch_spark import SparkScheduler, predict, register_udf, run_job, session
from bentobatch_spark.session import concurrent_tasks, is_connect, start_session
from tests.conftest import feature_frame
from tests.integrations.spark.waiting import lines, wait_for

pytestmark = [
    pytest.mark.xdist_group("schedulers"),
    # as in test_frames
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]


@pytest.fixture(scope="module")
def connect(spark: Any, connect_port: int) -> Iterator[Any]:
    pytest.importorskip("grpc", reason="pip install bentobatch[spark-connect]")
    session = start_session(f"sc://127.0.0.1:{connect_port}", None)
    yield session
    session.stop()


def test_dataframes_are_scored(connect: Any, spark: Any, bundles: Path) -> None:
    """The bundle goes to the server as an artifact of the session."""
    assert is_connect(connect)
    assert not is_connect(spark)
    frame = feature_frame(100).assign(id=range(100))
    local = predict(spark.createDataFrame(frame), bundle=bundles / "linear", keep=["id"])
    remote = predict(connect.createDataFrame(frame), bundle=bundles / "linear", keep=["id"])
    assert remote.schema == local.schema
    assert remote.toArrow().sort_by("id").equals(local.toArrow().sort_by("id"))


def test_sql_has_the_function(connect: Any, bundles: Path) -> None:
    """Registered in the client's session on the server."""
    register_udf(connect, "linear_by_connect", bundle=bundles / "linear")
    rows = connect.sql("SELECT linear_by_connect(id * 1.0D, 0, 2) AS p FROM range(3)").toArrow()
    assert sorted(rows.column("p").to_pylist()) == [1.0, 2.0, 3.0]


def test_files_are_scored(connect: Any, bundles: Path, tmp_path: Path) -> None:
    """Each split is a query of its own, since a query tells nothing before its end."""
    assert concurrent_tasks(connect) == 2
    feature_frame(1000).to_parquet(tmp_path / "in.parquet", row_group_size=100)
    options: dict[str, Any] = {"input_file": tmp_path / "in.parquet", "split_rows": 250}
    bentobatch.run(bundles / "linear", output_file=tmp_path / "local.parquet", **options)
    report = run_job(connect, bundles / "linear", output_file=tmp_path / "spark.parquet", **options)
    assert (report.executor, report.workers, report.rows) == ("spark", 2, 1000)
    assert pq.read_table(tmp_path / "spark.parquet").equals(pq.read_table(tmp_path / "local.parquet"))


def test_the_command_line_takes_the_address(connect: Any, connect_port: int, bundles: Path, tmp_path: Path) -> None:
    """``--spark-master sc://…``, in a process without any Java of its own."""
    feature_frame(100).to_parquet(tmp_path / "in.parquet")
    arguments = ["--input-file", "in.parquet", "--output-file", "out.parquet"]
    arguments += ["--spark-master", f"sc://127.0.0.1:{connect_port}"]
    done = subprocess.run(
        [sys.executable, "-m", "bentobatch", "run", str(bundles / "linear"), *arguments, "--executor", "spark"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 100


def test_cancelling_ends_the_processes_that_score(connect: Any, watched: Path, hold: Path, tmp_path: Path) -> None:
    """Queries in other threads, known by their tag."""
    feature_frame(100).to_parquet(tmp_path / "in.parquet", row_group_size=10)
    job = make_job(
        watched / "bundle", input_file=tmp_path / "in.parquet", output_file=tmp_path / "out.parquet", split_rows=10
    )
    plan = bentobatch.plan(job)
    scheduler = SparkScheduler(session=connect)
    assert scheduler.open(KeptPlan(place_of(job).state, plan.plan_id), splits=10, split_timeout=None) == 2
    scheduler.submit(0)
    assert scheduler.poll(0.1) == []
    (child, _) = wait_for(lambda: lines(watched / "held"))[0]
    scheduler.close()
    wait_for(lambda: not psutil.pid_exists(child))
    assert connect.range(3).count() == 3


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that names its address, without the token, and not after ten minutes."""
    pytest.importorskip("grpc", reason="pip install bentobatch[spark-connect]")
    monkeypatch.setattr(session, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(UnavailableError, match=r"no Spark Connect server answers at sc://127\.0\.0\.1:9/ \("):
        start_session("sc://127.0.0.1:9/;user_id=u", None)
