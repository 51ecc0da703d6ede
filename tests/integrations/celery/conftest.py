"""Real Celery workers on a real Redis and a real RabbitMQ, one for each broker and test process, and what they serve."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import feature_frame

if importlib.util.find_spec("celery") is None and not os.environ.get("CI"):
    collect_ignore_glob = ["test_*.py"]

REDIS = os.environ.get("BENTOBATCH_TEST_REDIS", "redis://127.0.0.1:6379/11")
BROKERS = {
    "redis": REDIS,
    "rabbitmq": os.environ.get("BENTOBATCH_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
}
DEADLINE = 120.0

SERVICES = '''
import os
import signal
import time
from pathlib import Path

import bentobatch
from bentobatch.adapters import DataframeInput, JsonInput
from bentobatch.frameworks.pickle import PickleArtifact


@bentobatch.artifacts([PickleArtifact("weights")])
class Watched(bentobatch.BentoService):
    """Tells a folder what it scores, and does there what it is told: only in workers, which know the folder."""

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True)
    def predict(self, df):
        folder = os.environ.get("BENTOBATCH_TEST_CONTROL")
        if folder:
            self.obey(Path(folder), df)
        return df["x0"] * self.artifacts.weights["a"] + df["x1"]

    def obey(self, folder, df):
        with open(folder / "trace", "a") as file:
            file.write(f"{os.getpid()} {os.getppid()} {len(df)}\\n")
        if (folder / "sleep").exists():
            time.sleep(float((folder / "sleep").read_text()))
        if (df["x0"] == -1).any():
            raise ValueError("x0 is -1")
        if (df["x0"] == -5).any():
            raise bentobatch.Retryable("the feature store is down")
        if (df["x0"] == -10).any():  # the worker's own process, not only this child of it
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)

    @bentobatch.api(input=JsonInput(), batch=True)
    def double(self, values):
        return [value * 2 for value in values]
'''


@dataclass
class Workers:
    """A worker of two processes (or a pool of threads), as its tests see it. ``control``: see the service Watched."""

    broker: str
    queue: str
    control: Path
    app: Any
    process: subprocess.Popen[bytes]
    log: Path
    environ: dict[str, str]

    def trace(self) -> list[list[int]]:
        """Pid, parent and rows of each call of the api ``predict`` since ``calm`` was called."""
        path = self.control / "trace"
        return [[int(part) for part in line.split()] for line in path.read_text().splitlines()] if path.exists() else []

    def sleeps(self, seconds: float) -> None:
        (self.control / "sleep").write_text(str(seconds))

    def calm(self) -> None:
        for name in ("sleep", "trace"):
            (self.control / name).unlink(missing_ok=True)


def wait_for(condition: Callable[[], Any]) -> Any:
    """What ``condition`` returns once it is true."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


@contextmanager
def started(
    broker: str,
    folder: Path,
    *arguments: str,
    app: str = "bentobatch_celery.app",
    backend: str | None = None,
    **environ: str,
) -> Iterator[Workers]:
    """A worker process on a queue of its own, which is deleted at the end."""
    from bentobatch_celery.app import make_app

    (folder / "control").mkdir(parents=True)
    queue = f"bentobatch-test-{uuid.uuid4().hex[:12]}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    variables = {
        **inherited,
        "CELERY_BROKER_URL": BROKERS[broker],
        "BENTOBATCH_CELERY_QUEUE": queue,
        "BENTOBATCH_TEST_CONTROL": str(folder / "control"),
        "BENTOBATCH_HOME": str(folder / "home"),
        "BENTOBATCH_WORKER_ROOTS": str(folder.parents[0]),
        "PYTHONWARNINGS": "ignore",  # of Celery's own; the leader's are errors
        **({} if backend is None else {"CELERY_RESULT_BACKEND": backend}),
        **environ,
    }
    mine = make_app(BROKERS[broker])
    mine.conf.update(task_default_queue=queue, **({} if backend is None else {"result_backend": backend}))
    _reachable(mine, broker)
    options = ["--loglevel", "INFO", "--hostname", f"{queue}@%h", "--without-gossip", "--without-mingle", *arguments]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, "worker", *options],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        workers = Workers(broker, queue, folder / "control", mine, process, folder / "log", variables)
        try:
            wait_for(lambda: process.poll() is not None or b" ready." in workers.log.read_bytes())
            assert process.poll() is None, workers.log.read_text()
            yield workers
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with mine.connection_for_write() as connection:
                connection.default_channel.queue_delete(queue)
                if broker == "redis":
                    keys = (f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}")
                    connection.default_channel.client.delete(*keys)


def _reachable(app: Any, broker: str) -> None:
    from bentobatch.errors import UnavailableError
    from bentobatch_celery.broker import reaching

    try:
        with reaching(app):
            return
    except UnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{broker} is not here: {error}")


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Workers]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        known: dict[str, Workers] = {}

        def of(broker: str) -> Workers:
            if broker not in known:
                folder = tmp_path_factory.mktemp(broker)
                # leases short: what a lost worker held is taken over after three seconds
                backend = REDIS if broker == "redis" else None
                known[broker] = stack.enter_context(
                    started(
                        broker, folder / "worker", "-c", "2", backend=backend,
                        BENTOBATCH_LEASE_SECONDS="3", BENTOBATCH_WORKER_ROOTS=str(tmp_path_factory.getbasetemp()),
                    )
                )  # fmt: skip
            return known[broker]

        yield of


@pytest.fixture(params=["redis", "rabbitmq"])
def workers(request: pytest.FixtureRequest, _shared: Callable[[str], Workers]) -> Iterator[Workers]:
    """A worker of two processes; the one with Redis has a result backend, the one with RabbitMQ none."""
    found = _shared(request.param)
    found.calm()
    yield found
    found.calm()


@pytest.fixture(params=["rabbitmq"])
def rabbitmq(request: pytest.FixtureRequest, _shared: Callable[[str], Workers]) -> Iterator[Workers]:
    """The worker with RabbitMQ, for what is not the broker's matter."""
    found = _shared(request.param)
    found.calm()
    yield found
    found.calm()


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundle of the service Watched."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "bentobatch_celery_test_services.py").write_text(SERVICES)
    sys.path.insert(0, str(folder))
    try:
        service = importlib.import_module("bentobatch_celery_test_services").Watched()
        service.pack("weights", {"a": 3.0})
        service.save_to_dir(str(folder / "bundle"))
        yield folder / "bundle"
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("bentobatch_celery_test_services", None)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A Parquet file of 1,000 rows in ten row groups: id, x0, x1, x2."""
    frame = feature_frame(1000)
    frame.insert(0, "id", range(1000))
    frame.to_parquet(tmp_path / "in.parquet", index=False, row_group_size=100)
    return tmp_path / "in.parquet"


def with_x0(path: Path, row: int, value: float) -> None:
    """Change x0 of one row."""
    import pandas as pd

    frame = pd.read_parquet(path)
    frame.loc[row, "x0"] = value
    frame.to_parquet(path, index=False, row_group_size=100)


def bundles_variable(**bundles: Any) -> str:
    """The value of BENTOBATCH_CELERY_BUNDLES."""
    return json.dumps({name: str(entry) if isinstance(entry, Path) else entry for name, entry in bundles.items()})
