"""A run on Dask is a local run elsewhere: the same output and report, whatever becomes of workers, tasks and rows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import CancelledError, Client, LocalCluster
from distributed.comm import CommClosedError

import bentobatch
from bentobatch.engine.place import place_of
from bentobatch.engine.remote import KeptPlan
from bentobatch.errors import MissingDependencyError, UnavailableError, UsageError
from bentobatch.runs import make_job
from bentobatch_dask import DaskScheduler, executor, run_job
from tests.integrations.dask.conftest import WORKERS, plugins_of, scoring_children

SAME = (
    "plan_id",
    "bundle_digest",
    "rows",
    "scored",
    "rejected",
    "discarded",
    "files",
    "splits",
    "features",
    "feature_rule",
)


def planned(bundle: Path, input_file: Path, **options: Any) -> KeptPlan:
    """A plan of ten splits, kept beside its output."""
    output = input_file.parent / "planned.parquet"
    job = make_job(bundle, input_file=input_file, output_file=output, split_rows=100, **options)
    return KeptPlan(place_of(job).state, bentobatch.plan(job).plan_id)


@contextlib.contextmanager
def opened(scheduler: DaskScheduler, kept: KeptPlan) -> Iterator[int]:
    """An open scheduler, which is closed again."""
    try:
        yield scheduler.open(kept, splits=10, split_timeout=None)
    finally:
        scheduler.close()


def scored_lines(trace: Path) -> list[str]:
    """A line for each call of the api: the child's pid and the rows."""
    return trace.read_text().splitlines() if trace.exists() else []


def wait_until(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_output_and_report_are_those_of_a_local_run(bundles: Path, flowers: Path, client: Client) -> None:
    """Value for value; only executor, workers and seconds tell them apart. Nothing is left on the workers."""
    output = flowers.parent / "out.parquet"
    options: dict[str, Any] = {
        "input_file": flowers,
        "output_file": output,
        "split_rows": 100,
        "keep": ["id"],
        "status_column": "status",
    }
    local = bentobatch.run(bundles / "linear", executor="processes", workers=2, **options)
    expected = pq.read_table(output)
    report = run_job(bundles / "linear", client=client, overwrite=True, restart=True, **options)
    assert [getattr(report, name) for name in SAME] == [getattr(local, name) for name in SAME]
    assert (report.executor, report.workers, report.splits_reused) == ("dask", WORKERS, 0)
    assert pq.read_table(output).equals(expected)
    assert list(plugins_of(client).values()) == [[]] * WORKERS
    wait_until(lambda: not scoring_children(client))


def test_a_job_is_run_as_it_is(bundles: Path, flowers: Path, client: Client) -> None:
    """On the client that is open, without its being named; the job's own options hold."""
    job = make_job(bundles / "linear", "both", input_file=flowers, output_file=flowers.parent / "o", split_rows=500)
    with client.as_current():
        report = run_job(job)
    assert (report.api, report.executor, report.splits) == ("both", "dask", 2)
    assert run_job(job, client=client).already_done
    with pytest.raises(UsageError, match="of the api 'both'"):
        run_job(job, "arrow", client=client)
    with pytest.raises(UsageError, match="executor is no keyword"):
        run_job(job, client=client, executor="threads")


def test_a_worker_killed_in_mid_split_costs_its_split_only(
    bundles: Path, flowers: Path, client: Client, environment: Callable[..., None]
) -> None:
    """SIGKILL of the worker process while its child scores: Dask gives the split to another, no finished one is scored
    again, and the output is that of an undisturbed run."""
    trace = flowers.parent / "trace"
    environment(BENTOBATCH_TEST_TRACE=str(trace), BENTOBATCH_TEST_SLEEP="0.3")

    def kill() -> None:
        wait_until(lambda: len(scored_lines(trace)) >= 3)
        child = psutil.Process(int(scored_lines(trace)[-1].split()[0]))
        child.parent().kill()

    options: dict[str, Any] = {"input_file": flowers, "split_rows": 100, "keep": ["id"]}
    bentobatch.run(bundles / "linear", output_file=flowers.parent / "local.parquet", **options)
    killer = threading.Thread(target=kill)
    killer.start()
    report = run_job(bundles / "linear", client=client, output_file=flowers.parent / "dask.parquet", **options)
    killer.join()
    assert (report.rows, report.splits, report.rejected) == (1000, 10, 0)
    tables = [pq.read_table(flowers.parent / name) for name in ("dask.parquet", "local.parquet")]
    assert tables[0].equals(tables[1])
    # a replacement has not the variable, and writes no trace: what is there was scored before, or by the other worker
    assert len(scored_lines(trace)) <= 11


def test_a_cancelled_task_is_tried_again(
    bundles: Path, flowers: Path, client: Client, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Futures are lost when somebody cancels them, or the scheduler restarts."""
    environment(BENTOBATCH_TEST_SLEEP="0.2")
    scheduler = DaskScheduler(client=client)
    submitted: list[int] = []
    submit = scheduler.submit

    def submit_and_cancel(index: int) -> None:
        submit(index)
        submitted.append(index)
        if len(submitted) == 3:
            client.cancel(list(scheduler._running.values()))

    monkeypatch.setattr(scheduler, "submit", submit_and_cancel)
    output = flowers.parent / "out.parquet"
    report = bentobatch.run(
        bundles / "linear", input_file=flowers, output_file=output, split_rows=100, executor=scheduler
    )
    assert (report.rows, report.splits) == (1000, 10)
    assert len(submitted) == 13
    bentobatch.run(bundles / "linear", input_file=flowers, output_file=flowers.parent / "local.parquet", split_rows=100)
    assert pq.read_table(output).equals(pq.read_table(flowers.parent / "local.parquet"))


def test_a_task_that_dask_gives_up_is_unavailable(
    bundles: Path, flowers: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KilledWorker is no fault of the job: the driver tries again, up to its limit."""

    def set_allowed_failures(number: int, dask_scheduler: Any) -> int:
        old: int = dask_scheduler.allowed_failures
        dask_scheduler.allowed_failures = number
        return old

    allowed = client.run_on_scheduler(set_allowed_failures, 0)
    monkeypatch.setattr(executor, "score_split", exit_the_worker)
    try:
        scheduler = DaskScheduler(client=client)
        with opened(scheduler, planned(bundles / "linear", flowers)):
            scheduler.submit(4)
            outcomes: list[Any] = []
            wait_until(lambda: outcomes.extend(scheduler.poll(1.0)) or outcomes)
    finally:
        client.run_on_scheduler(set_allowed_failures, allowed)
    (outcome,) = outcomes
    assert outcome.index == 4
    assert isinstance(outcome.error, UnavailableError)
    assert "the Dask cluster gave up split 4 (KilledWorker" in str(outcome.error)


def exit_the_worker(kept: Any, index: int, *, split_timeout: float | None = None) -> None:
    os._exit(1)


def test_a_row_that_ends_its_process_costs_itself_alone(bundles: Path, flowers: Path, client: Client) -> None:
    """It is found by bisection in the worker's child; no worker is lost for it, and the rejects are those of a local run."""
    values = [float(row) for row in range(102)]
    values[101] = -2.0  # past the rows that planning scores
    table = pa.table({"x0": values, "x1": [1.0] * 102})
    with pq.ParquetWriter(flowers.parent / "poison.parquet", table.schema) as writer:
        writer.write_table(table[:100])
        writer.write_table(table[100:])
    workers = set(client.run(os.getpid).values())
    options: dict[str, Any] = {
        "input_file": flowers.parent / "poison.parquet",
        "split_rows": 100,
        "max_rejects": 1,
        "status_column": "status",
    }
    bentobatch.run(bundles / "picky", executor="processes", output_file=flowers.parent / "local.parquet", **options)
    report = run_job(bundles / "picky", client=client, output_file=flowers.parent / "dask.parquet", **options)
    assert (report.rejected, report.scored, report.splits) == (1, 101, 2)
    for suffix in ("", ".rejects.parquet"):
        tables = [pq.read_table(f"{flowers.parent}/{name}.parquet{suffix}") for name in ("local", "dask")]
        assert tables[0].equals(tables[1])
    assert set(client.run(os.getpid).values()) == workers


def test_errors_of_the_job_arrive_as_they_are(bundles: Path, flowers: Path, client: Client) -> None:
    """Their class and their line, after no retry of Dask's."""
    pq.write_table(pa.table({"x0": [float(row) for row in range(200)], "x1": [-1.0] * 200}), flowers)
    table = pq.read_table(flowers)
    bad = table.set_column(0, "x0", pa.array([1.0] * 150 + [-4.0] + [1.0] * 49))
    pq.write_table(bad, flowers)
    with pytest.raises(bentobatch.ModelError, match="returned 49 rows for 50"):
        run_job(
            bundles / "picky",
            client=client,
            input_file=flowers,
            output_file=flowers.parent / "o.parquet",
            batch_rows=50,
            split_rows=100,
        )
    assert list(plugins_of(client).values()) == [[]] * WORKERS


def test_a_worker_that_joins_later_opens_the_plan(
    bundles: Path, flowers: Path, cluster: LocalCluster, client: Client
) -> None:
    """Before its first split; all of it is undone at close, there too, and closing twice does nothing."""
    scheduler = DaskScheduler(client=client)
    with opened(scheduler, planned(bundles / "linear", flowers)) as threads:
        assert threads == WORKERS
        assert len(scoring_children(client)) == WORKERS
        cluster.scale(WORKERS + 1)
        client.wait_for_workers(WORKERS + 1, timeout=60)
        wait_until(lambda: len(scoring_children(client)) == WORKERS + 1)
        assert all(len(names) == 1 for names in plugins_of(client).values())
    scheduler.close()
    wait_until(lambda: not scoring_children(client))
    assert not any(plugins_of(client).values())
    cluster.scale(WORKERS)
    wait_until(lambda: len(client.nthreads()) == WORKERS)


def test_a_plan_that_a_worker_cannot_open_is_told_by_its_splits(bundles: Path, flowers: Path, client: Client) -> None:
    """The plugin refuses nothing: the run learns what is wrong as the split's error, and workers go on."""
    kept = planned(bundles / "linear", flowers)
    scheduler = DaskScheduler(client=client)
    with opened(scheduler, KeptPlan(kept.state, "0" * 16)):
        scheduler.submit(0)
        outcomes: list[Any] = []
        wait_until(lambda: outcomes.extend(scheduler.poll(1.0)) or outcomes)
    assert isinstance(outcomes[0].error, UsageError)
    assert "no plan" in str(outcomes[0].error)


def test_cancelling_forgets_what_was_submitted(
    bundles: Path, flowers: Path, client: Client, environment: Callable[..., None]
) -> None:
    """Nothing of it comes back, and the children that still score end with their split."""
    environment(BENTOBATCH_TEST_SLEEP="0.5")
    scheduler = DaskScheduler(client=client)
    with opened(scheduler, planned(bundles / "linear", flowers)):
        for index in range(4):
            scheduler.submit(index)
        wait_until(lambda: any(future.done() for future in scheduler._running.values()))
        scheduler.cancel()
        assert scheduler.poll(0.2) == []
    wait_until(lambda: not scoring_children(client))


class Gone:
    """A future whose result cannot be had."""

    status = "finished"

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.listeners = 0

    def result(self, timeout: float) -> None:
        raise self.error

    def add_done_callback(self, callback: Any) -> None:
        self.listeners += 1


def test_a_result_that_went_with_its_machine_is_waited_for_or_lost() -> None:
    """With its worker, Dask computes it again; with the scheduler, the driver tries the split again."""
    scheduler, late = DaskScheduler(address="tcp://h:1"), Gone(TimeoutError())
    assert scheduler._outcome(3, late) is None
    assert late.listeners == 1
    for error in (CommClosedError("in TCP"), CancelledError()):
        outcome = scheduler._outcome(3, Gone(error))
        assert outcome is not None
        assert isinstance(outcome.error, UnavailableError)
        assert f"Dask lost the task of split 3 ({type(error).__name__}" in str(outcome.error)


def test_a_cluster_that_goes_away_is_unavailable(bundles: Path, flowers: Path, cluster: LocalCluster) -> None:
    """Before the run, and in the middle of it."""
    kept = planned(bundles / "linear", flowers)
    with patched_timeout(), pytest.raises(UnavailableError, match=r"tcp://127.0.0.1:9 does not answer"):
        DaskScheduler(address="tcp://127.0.0.1:9").open(kept, splits=1, split_timeout=None)
    with pytest.raises(UsageError, match="'nonsense://x' is no address of a Dask scheduler"):
        DaskScheduler(address="nonsense://x").open(kept, splits=1, split_timeout=None)
    other = Client(cluster.scheduler_address, set_as_default=False)
    scheduler = DaskScheduler(client=other)
    with opened(scheduler, kept):
        scheduler.submit(0)
        other.close()
        for step in (lambda: scheduler.poll(0.1), lambda: scheduler.submit(1)):
            with pytest.raises(UnavailableError, match="went away"):
                step()


@contextlib.contextmanager
def patched_timeout() -> Iterator[None]:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        yield


def test_options_that_make_no_sense_are_refused(cluster: LocalCluster, client: Client) -> None:
    """Before anything is started; a worker's missing library is told as such."""
    with pytest.raises(UsageError, match="one of address and client"):
        DaskScheduler(address="tcp://h:1", client=client)
    scheduler = DaskScheduler(client=client)
    error = scheduler._error(3, ModuleNotFoundError("No module named 'bentobatch'", name="bentobatch"))
    assert isinstance(error, MissingDependencyError)
    with pytest.raises(ZeroDivisionError):
        scheduler._error(3, ZeroDivisionError())


def test_processes_of_ones_own_listen_on_loopback_only_and_end(bundles: Path, flowers: Path) -> None:
    """Only who holds the key of this run can give them tasks; after the run there are none."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    scheduler = DaskScheduler(1)
    with opened(scheduler, planned(bundles / "linear", flowers)) as threads:
        assert threads == 1
        assert str(scheduler.client.scheduler.address).startswith("tls://127.0.0.1:")
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [
            connection.laddr.ip
            for process in family
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 2
        # a Java process of tests before this one may be among them, which writes such an address as IPv6 does
        assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
        (ignored,) = scheduler.client.run(signal.getsignal, signal.SIGINT).values()
        assert ignored == signal.SIG_IGN  # a Ctrl-C is the leader's
        scheduler.submit(7)
        outcomes: list[Any] = []
        wait_until(lambda: outcomes.extend(scheduler.poll(1.0)) or outcomes)
        assert outcomes[0].counts == {"rejected": 0, "discarded": 0}
    started = [process for process in family[1:] if process.pid not in before]
    wait_until(lambda: not [p for p in started if p.is_running() and "spawn_main" in " ".join(_command(p))])


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def test_the_command_line_runs_on_dask(bundles: Path, flowers: Path) -> None:
    """With processes of its own; stdout is the output's alone."""
    arguments = ["run", str(bundles / "linear"), "predict", "--input-file", str(flowers), "--split-rows", "500"]
    done = subprocess.run(
        [sys.executable, "-m", "bentobatch", *arguments, "--executor", "dask", "--workers", "2", "--keep", "id"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == list(range(1000))
    assert "executor dask" in done.stderr
    assert "Traceback" not in done.stderr
