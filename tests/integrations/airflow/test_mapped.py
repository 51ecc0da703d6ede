"""A large job as plan, mapped splits and commit; and a job whose splits a scheduler scores while the task is deferred."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch import plugins
from bentobatch.engine import remote
from bentobatch.engine.crew import Outcome
from bentobatch.engine.place import place_of
from bentobatch.engine.remote import KeptPlan, outcome_from_json, score_split
from bentobatch.engine.scheduler import Scheduler
from bentobatch.errors import UnavailableError
from bentobatch_airflow import handing_out
from tests.engine.test_promises import check_output, write_input
from tests.integrations.airflow.dag_runs import write_picky

RunDag = Callable[..., Any]
JOB = """bundle=<bundle>, input_file=<folder> + "/in.parquet", output_file=<folder> + "/out.parquet", split_rows=100,
    keep=["id"]"""
MAPPED = f"""
plan = BentoPlanOperator(task_id="plan", {JOB}, max_groups=3, max_rejects=<rejects>)
split = BentoSplitOperator.partial(task_id="split", plan=plan.output["plan"], retries=<retries>).expand(splits=plan.output)
commit = BentoCommitOperator(task_id="commit", plan=plan.output["plan"], outlets=[Asset("scores")])
split >> commit
"""


def test_mapped_splits_make_the_output_of_one_run(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """Ten splits in three groups; XCom carries the plan's place and numbers; a second run finds all done."""
    frame = write_input(tmp_path / "in.parquet", 1000)
    given: dict[str, Any] = {"bundle": bundles / "linear", "folder": tmp_path, "rejects": 0, "retries": 0}
    ran = run_dag(MAPPED, **given)
    assert ran.state == "success"
    assert ran.xcom("plan") == ["0-2", "3-5", "6-9"]
    assert set(ran.xcom("plan", "plan")) == {"state", "plan_id"}
    report = ran.xcom("commit")
    assert (report["rows"], report["splits"], report["already_done"]) == (1000, 10, False)
    assert ran.events() == {"scores": report}
    check_output(tmp_path / "out.parquet", frame)
    again = run_dag(MAPPED, **given)
    assert (again.state, again.xcom("plan")) == ("success", [])
    assert again.xcom("commit")["already_done"]
    assert again.xcom("commit")["plan_id"] == report["plan_id"]


def test_a_failed_group_is_gone_on_with(
    run_dag: RunDag, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Split 4 fails once: its group is tried again, and neither split 3 nor another group is scored twice."""
    monkeypatch.setenv("BENTOBATCH_TEST_FLAG", str(tmp_path / "flag"))
    write_picky(tmp_path, -9)
    scored: list[int] = []
    score = remote.PlanServer._score

    def counting(server: Any, crew: Any, index: int, deaths: list[str]) -> Any:
        scored.append(index)
        return score(server, crew, index, deaths)

    monkeypatch.setattr(remote.PlanServer, "_score", counting)
    ran = run_dag(MAPPED, bundle=bundles / "picky", folder=tmp_path, rejects=0, retries=1)
    assert ran.state == "success"
    assert ran.task("split", 1).try_number == 2
    assert sorted(scored) == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 1000


def test_too_many_rejects_stop_the_commit_and_are_accepted_later(
    run_dag: RunDag, bundles: Path, tmp_path: Path
) -> None:
    """The commit fails at once, whatever its retries; with a higher limit nothing is scored again."""
    write_picky(tmp_path, -1)
    ran = run_dag(MAPPED, bundle=bundles / "picky", folder=tmp_path, rejects=0, retries=2)
    assert (ran.state, ran.task("commit").state, ran.task("commit").try_number) == ("failed", "failed", 1)
    assert (tmp_path / "out.parquet.rejects.parquet").exists()
    ran = run_dag(MAPPED, bundle=bundles / "picky", folder=tmp_path, rejects=1, retries=0)
    assert (ran.state, ran.xcom("plan")) == ("success", [])
    assert ran.xcom("commit")["rejected"] == 1


def test_a_bucket_is_used_with_the_credentials_of_a_connection(
    run_dag: RunDag, airflow: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All three tasks read them when they run; the database, the files and the log hold none of them."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    from tests.faults.s3_server import S3Server

    server = S3Server()
    login, password = "AKIABUCKETLOGIN", "bucketpassword"
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    extra = {"endpoint_url": server.url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": login, "password": password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    fs = fsspec.filesystem(
        "s3", key=login, secret=password, endpoint_url=server.url, skip_instance_cache=True, use_listings_cache=False
    )
    try:
        fs.mkdir("mapped-bucket")
        write_input(airflow.parent / "in.parquet", 300)
        fs.put(str(airflow.parent / "in.parquet"), "mapped-bucket/in.parquet")
        body = MAPPED.replace("<folder>", '"s3://mapped-bucket"').replace('"plan", b', '"plan", conn_id="store", b')
        body = body.replace("retries=<retries>", 'conn_id="store"').replace(
            '"commit", p', '"commit", conn_id="store", p'
        )
        ran = run_dag(body, bundle=bundles / "linear", rejects=0)
        assert ran.state == "success"
        assert ran.xcom("commit")["rows"] == 300
        assert fs.exists("mapped-bucket/out.parquet")
        texts = [fs.cat_file(path).decode("latin-1") for path in fs.find("mapped-bucket")]
    finally:
        server.close()
    written = capfd.readouterr()
    texts += [written.out, written.err]
    texts += [path.read_bytes().decode("latin-1") for path in airflow.parent.rglob("*") if path.is_file()]
    for secret in (login, password):
        assert not any(secret in text for text in texts)


# -- deferred ----------------------------------------------------------------------------------------------------

DEFERRED = f"""
BentoInferenceOperator(
    task_id="score", {JOB}, executor="pool", workers=2, deferrable=True, poll_interval=0.05, retries=<retries>
)
"""


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor ``pool``: processes that know nothing but a kept plan's place, as those of a cluster."""
    plugin = plugins.Plugin("tests.conformance.pool_scheduler:PoolScheduler")
    monkeypatch.setitem(plugins.TABLES["executors"], "pool", plugin)


@pytest.mark.usefixtures("pool")
def test_a_deferred_task_ends_in_the_same_output(
    run_dag: RunDag, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger, which reads the connection by itself, has the splits scored elsewhere; the commit is made when the
    task comes back."""
    connection = {"conn_type": "generic", "extra": {"storage_options": {"auto_mkdir": False}}}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    seen: list[Any] = []
    store_at = handing_out.store_at
    monkeypatch.setattr(handing_out, "store_at", lambda *given: seen.append(given[1]) or store_at(*given))
    frame = write_input(tmp_path / "in.parquet", 1000)
    deferred = DEFERRED.replace("deferrable=True", "deferrable=True, conn_id='store'")
    ran = run_dag(deferred, bundle=bundles / "linear", folder=tmp_path, retries=0)
    assert seen == [{"auto_mkdir": False}]
    assert ran.state == "success"
    report = ran.xcom("score")
    assert (report["rows"], report["splits"], report["executor"]) == (1000, 10, "pool")
    check_output(tmp_path / "out.parquet", frame)
    again = run_dag(DEFERRED, bundle=bundles / "linear", folder=tmp_path, retries=0)
    assert again.xcom("score")["already_done"]


@pytest.mark.usefixtures("pool")
def test_a_deferred_job_that_fails_fails_its_task(
    run_dag: RunDag, bundles: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The model breaks its contract in a split: no retry is made, and the log says what happened."""
    write_picky(tmp_path, -8)
    ran = run_dag(DEFERRED, bundle=bundles / "picky", folder=tmp_path, retries=2)
    assert (ran.state, ran.task("score").state, ran.task("score").try_number) == ("failed", "failed", 1)
    written = capfd.readouterr()
    assert "ModelError" in written.out + written.err
    assert not (tmp_path / "out.parquet").exists()


def test_a_dask_cluster_scores_for_a_deferred_task(run_dag: RunDag, bundles: Path, tmp_path: Path) -> None:
    """By its name and address; the triggerer hands out, the cluster scores, a worker of Airflow commits."""
    if not os.environ.get("CI"):
        pytest.importorskip("distributed")
    from distributed import LocalCluster

    frame = write_input(tmp_path / "in.parquet", 1000)
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as cluster:
        body = DEFERRED.replace('"pool"', '"dask", executor_options={"address": <address>}')
        ran = run_dag(body, bundle=bundles / "linear", folder=tmp_path, retries=0, address=cluster.scheduler_address)
    assert ran.state == "success"
    assert (ran.xcom("score")["executor"], ran.xcom("score")["splits"]) == ("dask", 10)
    check_output(tmp_path / "out.parquet", frame)


def test_celery_workers_score_for_a_deferred_task(
    run_dag: RunDag, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the broker alone: the triggerer asks no result backend, and the messages hold no more than numbers."""
    if not os.environ.get("CI"):
        pytest.importorskip("celery")
    from tests.integrations.celery.conftest import BROKERS, started

    frame = write_input(tmp_path / "in.parquet", 1000)
    roots = str(tmp_path)
    with started("redis", tmp_path / "worker", "-c", "1", BENTOBATCH_WORKER_ROOTS=roots) as workers:
        monkeypatch.setenv("BENTOBATCH_CELERY_QUEUE", workers.queue)
        body = DEFERRED.replace('"pool"', '"celery", executor_options={"broker": <broker>}')
        ran = run_dag(body, bundle=bundles / "linear", folder=tmp_path, retries=0, broker=BROKERS["redis"])
    assert ran.state == "success"
    assert (ran.xcom("score")["executor"], ran.xcom("score")["splits"]) == ("celery", 10)
    check_output(tmp_path / "out.parquet", frame)


class HereScheduler(Scheduler):
    """Scores in this process when it is polled; ``stuck`` never ends anything, ``lossy`` loses each split once."""

    name = "here"
    made: list[HereScheduler]

    def __init__(self, workers: int | None = None, *, stuck: bool = False, lossy: bool = False) -> None:
        self.stuck, self.lossy = stuck, lossy
        self.queue: list[int] = []
        self.submitted: list[int] = []
        self.calls: list[str] = []
        self.made.append(self)

    def open(self, kept: KeptPlan, *, splits: int, split_timeout: float | None) -> int:
        self.kept = kept.to_json()
        return 1

    def submit(self, index: int) -> None:
        self.queue.append(index)
        self.submitted.append(index)

    def poll(self, timeout: float) -> list[Outcome]:
        if self.stuck or not self.queue:
            return []
        index = self.queue.pop(0)
        if self.lossy and self.submitted.count(index) == 1:
            return [Outcome(index, error=UnavailableError("the worker was lost"))]
        return [outcome_from_json(score_split(self.kept, index))]

    def cancel(self) -> None:
        self.calls.append("cancel")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HereScheduler]]:
    """The executor ``here``, and the schedulers that were made of it."""
    HereScheduler.made = []
    plugin = plugins.Plugin(f"{__name__}:HereScheduler")
    monkeypatch.setitem(plugins.TABLES["executors"], "here", plugin)
    monkeypatch.setattr("bentobatch_airflow.handing_out.BACKOFF_SECONDS", 0.01)
    yield HereScheduler
    remote.close_servers()


def kept_plan(bundle: Path, tmp_path: Path) -> dict[str, str]:
    """A plan over three splits."""
    write_input(tmp_path / "in.parquet", 300)
    plan = bentobatch.plan(
        bundle, input_file=tmp_path / "in.parquet", output_file=tmp_path / "out.parquet", split_rows=100
    )
    return KeptPlan(place_of(plan.job).state, plan.plan_id).to_json()


def trigger_of(plan: dict[str, str], **options: Any) -> Any:
    """A trigger as the triggerer makes it: from what ``serialize`` says."""
    from airflow.sdk.module_loading import import_string

    from bentobatch_airflow import BentoSplitsTrigger

    place, keywords = BentoSplitsTrigger(
        plan=plan, executor="here", executor_options=options, poll_interval=0.01
    ).serialize()
    return import_string(place)(**json.loads(json.dumps(keywords)))


@pytest.mark.usefixtures("airflow")
def test_a_trigger_goes_on_from_the_receipts(here: type[HereScheduler], bundles: Path, tmp_path: Path) -> None:
    """Another triggerer hands out what is not scored yet; a split whose worker was lost is handed out again."""
    plan = kept_plan(bundles / "linear", tmp_path)
    score_split(plan, 1)

    async def fired() -> Any:
        return await anext(trigger_of(plan, lossy=True).run())

    event = asyncio.run(fired())
    assert event.payload == {"plan": plan, "splits_reused": 1, "error": None}
    (scheduler,) = here.made
    assert sorted(scheduler.submitted) == [0, 0, 2, 2]
    assert scheduler.calls == ["close"]


@pytest.mark.usefixtures("airflow")
def test_a_trigger_cancels_only_when_its_task_is_killed(
    here: type[HereScheduler], bundles: Path, tmp_path: Path
) -> None:
    """A triggerer that shuts down lets go of the scheduler and leaves the splits in its queue."""
    plan = kept_plan(bundles / "linear", tmp_path)

    async def stopped(*, killed: bool) -> None:
        trigger = trigger_of(plan, stuck=True)
        waiting = asyncio.ensure_future(anext(trigger.run()))
        while not (here.made and here.made[-1].submitted):
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if killed:
            await trigger.on_kill()
        await trigger.cleanup()

    asyncio.run(stopped(killed=False))
    assert here.made[-1].calls == ["close"]
    here.made.clear()
    asyncio.run(stopped(killed=True))
    assert here.made[-1].calls == ["cancel", "close"]


@pytest.mark.usefixtures("airflow")
def test_a_trigger_tells_of_a_split_that_failed(here: type[HereScheduler], bundles: Path, tmp_path: Path) -> None:
    """It takes back what waits, and the event carries the error's class and line."""
    plan = kept_plan(bundles / "linear", tmp_path)
    (tmp_path / "in.parquet").unlink()

    async def fired() -> Any:
        return await anext(trigger_of(plan).run())

    error = asyncio.run(fired()).payload["error"]
    assert "in.parquet" in error["message"]
    assert here.made[-1].calls == ["cancel", "close"]
