"""Every executor, each started once for all tests that compare them, and only if one of these asks for it."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conformance.pool_scheduler import PoolScheduler
from tests.integrations.fleets import SERVICES, Fleet, Gate, free_port, need

KEY, SECRET = "AKIACONFORMANCE", "averysecretconformance"
_NO_JAVA = "there is no Java: on Debian and Ubuntu, apt-get install openjdk-17-jre-headless"


@pytest.fixture(scope="session")
def session_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gated")
    (folder / "bentobatch_gated_services.py").write_text(SERVICES)
    sys.path.insert(0, str(folder))
    try:
        service = importlib.import_module("bentobatch_gated_services").Gated()
        service.pack("options", {"folder": str(folder)})
        service.save_to_dir(str(folder / "bundle"))
        gate = Gate(folder, folder / "bundle")
        yield gate
        gate.release()
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("bentobatch_gated_services", None)


@pytest.fixture
def gate(session_gate: Gate) -> Iterator[Gate]:
    """The bundle that all these runs score with; it lets every call through, until the test shuts it."""
    session_gate.open()
    yield session_gate
    session_gate.open()


@pytest.fixture
def fleet_of(request: pytest.FixtureRequest) -> Callable[[str], Fleet]:
    """The executor of a name; what it needs is started when it is asked for first."""

    def found(name: str) -> Fleet:
        fleet: Fleet = request.getfixturevalue(f"_{name}_fleet")
        return fleet

    return found


@pytest.fixture(scope="session")
def _inline_fleet() -> Fleet:
    return Fleet("inline", lambda: "inline", {"executor": "inline"})


@pytest.fixture(scope="session")
def _threads_fleet() -> Fleet:
    return Fleet("threads", lambda: "threads", {"executor": "threads", "workers": 2})


@pytest.fixture(scope="session")
def _processes_fleet() -> Fleet:
    return Fleet("processes", lambda: "processes", {"executor": "processes", "workers": 2})


@pytest.fixture(scope="session")
def _pool_fleet() -> Fleet:
    return Fleet("pool", lambda: PoolScheduler(2), {"executor": "pool"})


@pytest.fixture(scope="session")
def _dask_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two worker processes, whose nannies replace one that dies."""
    need("distributed", extra="dask")
    from distributed import Client, LocalCluster

    from bentobatch_dask import DaskScheduler
    from tests.integrations.dask.conftest import _update_environment

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOBATCH_HOME", str(tmp_path_factory.mktemp("dask-home")))
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster, set_as_default=False) as client:

        @contextmanager
        def with_storage(options: Mapping[str, Any]) -> Iterator[None]:
            client.run(_update_environment, {"BENTOBATCH_STORAGE_OPTIONS": json.dumps(options)})
            try:
                yield
            finally:
                client.run(_update_environment, {"BENTOBATCH_STORAGE_OPTIONS": None})

        def made() -> DaskScheduler:
            client.wait_for_workers(2, timeout=120)  # the test before may have killed one
            return DaskScheduler(client=client)

        options = {"address": cluster.scheduler_address}
        yield Fleet("dask", made, {"executor": "dask", "executor_options": options}, with_storage, outlives=True)


@pytest.fixture(scope="session")
def connect_port() -> int:
    """The port of the Spark session's server for Spark Connect."""
    return free_port()


@pytest.fixture(scope="session")
def spark(connect_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session on two cores that the scheduler's own code has started; the same Java process serves Spark Connect."""
    need("pyspark", extra="spark")
    java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else "java"
    if shutil.which(java) is None:
        if os.environ.get("CI"):
            pytest.fail(_NO_JAVA)
        pytest.skip(_NO_JAVA)
    folder = tmp_path_factory.mktemp("spark")
    options = {
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": connect_port,
        "spark.sql.shuffle.partitions": 2,
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.local.dir": folder / "local",
    }
    arguments = " ".join(f"--conf {name}={value}" for name, value in options.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"{arguments} pyspark-shell")
        patch.setenv("BENTOBATCH_HOME", str(folder / "home"))  # that of the Python workers
        from bentobatch_spark.session import start_session

        with warnings.catch_warnings():
            # py4j and subprocess leave what their garbage collector ends
            warnings.simplefilter("ignore", ResourceWarning)
            session = start_session("local[2,2]", None)  # two tries, so that what must fail does so soon
    yield session
    session.stop()


@pytest.fixture(scope="session")
def _spark_fleet(spark: Any) -> Fleet:
    from bentobatch_spark import SparkScheduler

    # a leader that is to be killed takes its Java process along, so it has one of its own
    leader = {"executor": "spark", "workers": 2}
    return Fleet("spark", lambda: SparkScheduler(session=spark), leader)


@pytest.fixture(scope="session")
def _celery_fleet(tmp_path_factory: pytest.TempPathFactory, storage_server: Mapping[str, Any]) -> Iterator[Fleet]:
    """A worker of two processes on Redis, whose environment has the credentials of the test's bucket."""
    need("celery", extra="celery")
    from bentobatch_celery import CeleryScheduler
    from tests.integrations.celery.conftest import BROKERS, started

    variables = {
        "BENTOBATCH_WORKER_ROOTS": f"{tmp_path_factory.getbasetemp()}\ns3://conformance-celery",
        "BENTOBATCH_STORAGE_OPTIONS": json.dumps(storage_server),
    }
    with started("redis", tmp_path_factory.mktemp("celery") / "worker", "-c", "2", **variables) as workers:
        leader = {
            "executor": "celery",
            "executor_options": {"broker": BROKERS["redis"]},
            "environ": {"BENTOBATCH_CELERY_QUEUE": workers.queue},
        }
        yield Fleet("celery", lambda: CeleryScheduler(app=workers.app), leader, outlives=True)


@pytest.fixture(scope="session")
def storage_server() -> Iterator[Mapping[str, Any]]:
    """The storage options of an S3 server of this process's own."""
    from tests.faults.s3_server import S3Server

    server = S3Server()
    yield {"key": KEY, "secret": SECRET, "client_kwargs": {"endpoint_url": server.url, "region_name": "us-east-1"}}
    server.close()
