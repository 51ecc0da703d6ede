"""A run over files on Spark: the same output as on this machine, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine.crew import Outcome
from bentobatch.engine.place import place_of
from bentobatch.engine.remote import KeptPlan
from bentobatch.errors import MissingDependencyError, UnavailableError, UsageError
from bentobatch.runs import make_job
from bentobatch_spark import SparkScheduler, run_job
from bentobatch_spark.executor import _JobEnd
from bentobatch_spark.session import one_line, settled_master, start_session
from tests.conftest import feature_frame
from tests.integrations.spark.waiting import DEADLINE, lines, wait_for

pytestmark = pytest.mark.xdist_group("schedulers")


def write_input(path: Path, rows: int, **replaced: Any) -> Path:
    frame = feature_frame(rows).assign(id=range(rows), **replaced)
    frame.to_parquet(path, row_group_size=max(rows // 10, 1))
    return path


class Background:
    """A run in a thread of its own, while the test does something to it."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.result: Any = None

        def body() -> None:
            try:
                self.result = run()
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=body)
        self._thread.start()

    def meanwhile(self, condition: Callable[[], Any]) -> Any:
        """What ``condition`` returns once it is true, which is before the run ends."""
        found = wait_for(lambda: condition() or (not self._thread.is_alive() and "over"))
        assert found != "over", self.end()
        return found

    def end(self) -> Any:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the run does not end"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def job_of(watched: Path, tmp_path: Path) -> Callable[..., Any]:
    """Jobs of ten splits for the bundle ``watched``."""

    def make(**options: Any) -> bentobatch.BatchJob:
        write_input(tmp_path / "in.parquet", 1000)
        return make_job(
            watched / "bundle",
            input_file=tmp_path / "in.parquet",
            output_file=tmp_path / "out.parquet",
            split_rows=100,
            **options,
        )

    return make


def test_the_output_and_the_report_are_those_of_a_local_run(spark: Any, bundles: Path, tmp_path: Path) -> None:
    """Value for value, rejects included; a row that makes the model raise, and one that ends its process, cost
    themselves alone."""
    frame = feature_frame(100)
    frame.loc[23, "x0"] = -1
    frame.loc[77, "x0"] = -2
    frame.assign(id=range(100)).to_parquet(tmp_path / "in.parquet", row_group_size=10)
    options: dict[str, Any] = {
        "input_file": tmp_path / "in.parquet",
        "split_rows": 10,
        "keep": ["id"],
        "status_column": "status",
        "max_rejects": 2,
    }
    local = bentobatch.run(
        bundles / "picky", output_file=tmp_path / "local.parquet", executor="processes", workers=2, **options
    )
    report = run_job(spark, bundles / "picky", output_file=tmp_path / "spark.parquet", **options)
    for name in (
        "rows",
        "scored",
        "rejected",
        "discarded",
        "files",
        "splits",
        "features",
        "feature_rule",
        "bundle_digest",
    ):
        assert getattr(report, name) == getattr(local, name), name
    assert (report.executor, report.workers, report.rejected) == ("spark", 2, 2)
    for name in ("{}.parquet", "{}.parquet.rejects.parquet"):
        assert pq.read_table(tmp_path / name.format("spark")).equals(pq.read_table(tmp_path / name.format("local")))


def test_each_worker_loads_the_bundle_once_and_few_jobs_are_started(
    spark: Any, watched: Path, job_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten splits on two cores: four of them and then two go with each job. (A task that starts before the Python worker
    of the one before is let go gets a new worker, so there may be more than two of them.)"""
    (watched / "loads").unlink(missing_ok=True)
    groups: list[int] = []
    run_classic = SparkScheduler._run_classic

    def counted(self: SparkScheduler, group: list[int]) -> Any:
        groups.append(len(group))
        return run_classic(self, group)

    monkeypatch.setattr(SparkScheduler, "_run_classic", counted)
    report = run_job(spark, job_of())
    assert sum(groups) == 10
    assert len(groups) <= 4
    assert (report.rows, report.splits) == (1000, 10)
    loaded = [child for child, _ in lines(watched / "loads")]
    assert len(set(loaded)) == len(loaded) < 6


@pytest.mark.parametrize("victim", ["child", "python worker", "spark job"])
def test_what_is_killed_in_the_middle_of_a_split_is_replaced(
    spark: Any, watched: Path, hold: Path, tmp_path: Path, job_of: Callable[..., Any], victim: str
) -> None:
    """The process that has the model, the Python worker above it, a whole Spark job: the run ends as if undisturbed."""
    job = job_of()
    run = Background(lambda: run_job(spark, job))
    child, parent = run.meanwhile(lambda: lines(watched / "held"))[0]
    if victim == "spark job":
        spark.sparkContext.cancelAllJobs()
        run.meanwhile(lambda: not psutil.pid_exists(child))
    else:
        os.kill(child if victim == "child" else parent, signal.SIGKILL)
    hold.unlink()
    report = run.end()
    assert (report.rows, report.rejected) == (1000, 0)
    expected = pa.array(feature_frame(1000)["x0"] * 2)
    assert pq.read_table(tmp_path / "out.parquet").column("prediction").combine_chunks().equals(expected)


def test_cancelling_ends_the_processes_that_score(
    spark: Any, watched: Path, hold: Path, job_of: Callable[..., Any]
) -> None:
    """A run that stops leaves no task behind, and the given session goes on."""
    job = job_of()
    plan = bentobatch.plan(job)
    scheduler = SparkScheduler(session=spark)
    assert scheduler.open(KeptPlan(place_of(job).state, plan.plan_id), splits=10, split_timeout=None) == 2
    for index in range(4):
        scheduler.submit(index)
    assert scheduler.poll(0.1) == []
    children = {child for child, _ in wait_for(lambda: len(lines(watched / "held")) == 2 and lines(watched / "held"))}
    scheduler.close()
    wait_for(lambda: not any(psutil.pid_exists(child) for child in children))
    assert spark.range(3).count() == 3


def test_a_run_that_began_elsewhere_is_finished(spark: Any, job_of: Callable[..., Any]) -> None:
    """All state is beside the output."""
    plan = bentobatch.plan(job_of())
    for index in (0, 1, 5):
        bentobatch.run_split(plan, index)
    report = run_job(spark, plan.job)
    assert (report.rows, report.splits_reused) == (1000, 3)


def test_a_split_that_spark_gave_up_is_told_as_unavailable_and_costs_no_other() -> None:
    """One lost task ends its job: the other splits of it are tried alone, and are not to blame."""
    scheduler = SparkScheduler()
    scheduler._running = {3, 4, 5}
    assert scheduler._settle('{"index": 4, "counts": {"rejected": 1, "discarded": 0}}') == [
        Outcome(4, counts={"rejected": 1, "discarded": 0})
    ]
    assert scheduler._settle(_JobEnd([3, 4, 5], "Lost task 0.3 in stage 1.0")) == []
    assert (scheduler._alone, scheduler._running) == ([3, 5], set())
    scheduler._running = {3}
    (outcome,) = scheduler._settle(_JobEnd([3], "Lost task 0.3 in stage 2.0"))
    assert isinstance(outcome.error, UnavailableError)
    assert "Lost task 0.3 in stage 2.0" in str(outcome.error)
    assert scheduler._settle(_JobEnd([3], "told already")) == []


def test_a_local_master_gets_the_retries_that_a_cluster_has() -> None:
    """``local[2]`` alone gives a whole job up with the first lost Python worker."""
    assert settled_master(None, None) == "local[*,4]"
    assert settled_master(None, 3) == "local[3,4]"
    assert settled_master("local", None) == "local[1,4]"
    assert settled_master("local[2]", 7) == "local[2,4]"
    assert settled_master("local[2,1]", None) == "local[2,1]"
    assert settled_master("spark://host:7077", 4) == "spark://host:7077"


def test_the_session_is_shut_off_from_the_network(spark: Any) -> None:
    """No web page, and every port that its Java process listens on belongs to the loopback interface."""
    assert spark.sparkContext.uiWebUrl is None
    java = [process for process in psutil.Process().children(recursive=True) if process.name() == "java"]
    assert java
    ports = [each.laddr for process in java for each in process.net_connections("inet") if each.status == "LISTEN"]
    assert ports
    assert {address.ip.removeprefix("::ffff:") for address in ports} == {"127.0.0.1"}


def test_the_program_keeps_its_own_way_with_ctrl_c(spark: Any) -> None:
    """A SparkContext would put a handler of its own in the place of the command line's."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_python_workers_run_this_interpreter(spark: Any) -> None:
    """Spark's default is the first python3 in PATH; the environment of this process is not changed for good."""
    assert spark.sparkContext.pythonExec == sys.executable
    assert "PYSPARK_PYTHON" not in os.environ


def test_a_second_session_in_one_process_is_refused(spark: Any) -> None:
    """Spark would give back the first one, on another master than was asked for."""
    with pytest.raises(UsageError, match="has a Spark session already, on local"):
        start_session("local[1]", None)


def test_without_java_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether PATH or JAVA_HOME should have shown it."""
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingDependencyError, match=r"none in PATH.*openjdk-17-jre-headless"):
        start_session(None, None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"none below JAVA_HOME.*openjdk-17-jre-headless"):
        start_session(None, None)


def test_a_spark_error_is_told_in_one_line() -> None:
    """Spark's own messages go on for pages of Java; what is missing on the executors is buried in them."""
    assert one_line(ValueError("first\n\tat org.apache.spark.Some.method\n")) == "first"
    assert len(one_line(ValueError("x" * 5000))) == 500
    assert one_line(ValueError()) == "ValueError"
    lost = ValueError("Job aborted\nTraceback …\nModuleNotFoundError: No module named 'bentobatch_spark'\n at org…")
    assert "No module named 'bentobatch_spark' on the executors: install bentobatch" in one_line(lost)


def test_the_command_line_runs_on_a_session_of_its_own(bundles: Path, tmp_path: Path) -> None:
    """``--executor spark --spark-master local[2]`` as a process, whose output is that of a local run."""
    write_input(tmp_path / "in.parquet", 1000)
    bentobatch.run(
        bundles / "linear", input_file=tmp_path / "in.parquet", output_file=tmp_path / "l.parquet", split_rows=100
    )
    arguments = [
        "--input-file",
        "in.parquet",
        "--output-file",
        "s.parquet",
        "--split-rows",
        "100",
        "--executor",
        "spark",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bentobatch", "run", str(bundles / "linear"), *arguments, "--spark-master", "local[2]"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "executor spark" in done.stderr
    assert done.stdout == ""
    assert pq.read_table(tmp_path / "s.parquet").equals(pq.read_table(tmp_path / "l.parquet"))
