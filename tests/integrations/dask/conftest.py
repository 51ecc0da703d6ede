"""One Dask cluster of two worker processes for all tests of this folder, and a plan's input."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster

from tests.conftest import feature_frame

WORKERS = 2


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two worker processes of one thread each, on loopback; their nannies replace one that dies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOBATCH_HOME", str(tmp_path_factory.mktemp("workers-home")))
        with LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.WARNING,
        ) as cluster:
            yield cluster


@pytest.fixture(scope="session")
def session_client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(cluster: LocalCluster, session_client: Client) -> Client:
    """The cluster's client, with as many workers as at the start, however the test before treated them.

    A nanny that fails to start a worker again leaves it at that, and the log (shown where a test fails) says why. The
    tests that follow are not to fail for it, so the cluster is given new ones.
    """
    try:
        session_client.wait_for_workers(WORKERS, timeout=60)
    except TimeoutError:
        logging.getLogger("tests").exception("the cluster did not get its workers back")
        cluster.scale(0)
        session_client.wait_for_workers(0, timeout=60)
        cluster.scale(WORKERS)
        session_client.wait_for_workers(WORKERS, timeout=120)
    return session_client


@pytest.fixture
def environment(client: Client) -> Iterator[Callable[..., None]]:
    """Sets environment variables in the worker processes, whose children inherit them, until the test ends."""
    names: list[str] = []

    def update(**variables: str) -> None:
        names.extend(variables)
        client.run(_update_environment, variables)

    yield update
    client.run(_update_environment, dict.fromkeys(names))


def _update_environment(variables: dict[str, str | None]) -> None:
    import os

    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A Parquet file of 1,000 rows in ten row groups: id, x0, x1, x2."""
    frame = feature_frame(1000)
    frame.insert(0, "id", range(1000))
    frame.to_parquet(tmp_path / "in.parquet", index=False, row_group_size=100)
    return tmp_path / "in.parquet"


def scoring_children(client: Client) -> list[psutil.Process]:
    """The child interpreters of the cluster's workers, which score."""
    found = []
    for pid in client.run(_pid).values():
        children = psutil.Process(pid).children(recursive=True)
        found += [child for child in children if "bentobatch.engine.worker" in " ".join(_command(child))]
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _pid() -> int:
    import os

    return os.getpid()


def plugins_of(client: Client) -> dict[str, list[str]]:
    """The names of bentobatch's plugins in each worker."""

    def named(dask_worker: Any) -> list[str]:
        return [name for name in dask_worker.plugins if name.startswith("bentobatch-")]

    found: dict[str, list[str]] = client.run(named)
    return found
