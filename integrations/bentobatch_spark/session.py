"""This module starts the Spark session of a run that was given none, and tells what a session offers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from bentobatch.errors import MissingDependencyError, UnavailableError, UsageError

_LOCAL = re.compile(r"local(?:\[(?P<cores>\d+|\*)\])?")
_TASK_TRIES = 4
"""As on a cluster. A local master gives up with the first lost worker unless it is told otherwise."""
_QUIET = {
    "spark.app.name": "bentobatch",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_LOOPBACK = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
_LOOPBACK_ADDRESS = {"SPARK_LOCAL_IP": "127.0.0.1"}
_CORES = "SELECT count(DISTINCT part) FROM (SELECT spark_partition_id() AS part FROM range(65536))"
_CONNECT_SECONDS = 20.0
"""Spark Connect's own client tries for ten minutes to reach a server."""


def is_connect(session: Any) -> bool:
    """Whether it is a client of Spark Connect, which has no SparkContext."""
    return type(session).__module__.startswith("pyspark.sql.connect.")


def start_session(master: str | None, workers: int | None) -> Any:
    """A new session on ``master``, by default on this machine's cores, or on ``workers`` of them.

    Raises:
        MissingDependencyError: no Java, or no library for Spark Connect.
        UnavailableError: the master does not answer.
        UsageError: this process has a session of another master already.
    """
    if master is not None and master.startswith("sc://"):
        return _connect(master)
    return _start(settled_master(master, workers), workers)


def settled_master(master: str | None, workers: int | None) -> str:
    """``local[2]`` becomes ``local[2,4]``: four tries for a task whose worker is lost, as on a cluster."""
    match = _LOCAL.fullmatch("local[*]" if master is None else master)
    if match is None:
        assert master is not None
        return master
    cores = match["cores"] or "1"
    return f"local[{workers if workers is not None and master is None else cores},{_TASK_TRIES}]"


def concurrent_tasks(session: Any) -> int:
    """How many tasks the session's executors run at the same time, as far as they are known to it now."""
    if is_connect(session):
        return int(session.sql(_CORES).collect()[0][0])
    return int(session.sparkContext.defaultParallelism)


def is_local(session: Any) -> bool:
    """Whether its executors are threads of the driver's Java process."""
    return not is_connect(session) and session.sparkContext.master.startswith("local")


def one_line(error: BaseException) -> str:
    """What Spark said, without its stack traces."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() if java is not None else error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    missing = re.search(r"ModuleNotFoundError: (No module named '[\w.]+')", text)
    if missing is not None:
        return f"{missing[1]} on the executors: install bentobatch and what the bundle needs there too"
    return first if len(first) <= 500 else first[:499] + "…"


def _start(master: str, workers: int | None) -> Any:
    running = SparkSession.getActiveSession()
    if running is not None:
        raise UsageError(
            f"this process has a Spark session already, on {running.sparkContext.master}: give it as `session`, or stop it"
        )
    _check_java()
    builder = SparkSession.builder.master(master)
    for name, value in {**_QUIET, **(_LOOPBACK if _on_this_machine(master) else {})}.items():
        builder = builder.config(name, value)
    if workers is not None and not master.startswith("local"):
        builder = builder.config("spark.cores.max", str(workers))
    variables = {"PYSPARK_PYTHON": sys.executable, **(_LOOPBACK_ADDRESS if _on_this_machine(master) else {})}
    try:
        with _environment(variables), warnings.catch_warnings():
            # merely starting, Spark warns of pandas 3, which no run over files hands it
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
            return _off_the_main_thread(builder.getOrCreate)
    except Exception as error:  # Spark raises what it likes here: its own errors, py4j's, RuntimeError, OSError
        reason = one_line(error)
        raise UnavailableError(
            f"Spark could not be started on {master}: {reason}; is the master's address right, and Java 17 or later?"
        ) from error


def _connect(master: str) -> Any:
    try:
        import grpc  # type: ignore[import-untyped]  # its types are a distribution of their own
        from pyspark.sql.connect.client import DefaultChannelBuilder
        from pyspark.sql.connect.session import SparkSession as ConnectSession
    except ImportError as error:
        raise MissingDependencyError(
            f"{master} is an address of Spark Connect, whose client is not installed ({one_line(error)}): "
            "pip install bentobatch[spark-connect]"
        ) from error
    try:
        with DefaultChannelBuilder(master).toChannel() as channel:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
        return ConnectSession.builder.remote(master).create()
    except (PySparkException, grpc.FutureTimeoutError, grpc.RpcError) as error:
        place = master.partition(";")[0]  # a token may follow
        raise UnavailableError(
            f"no Spark Connect server answers at {place} ({one_line(error)}): start it, or correct the address"
        ) from error


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which(os.path.join(home, "bin", "java") if home else "java") is None:
        where = f"below JAVA_HOME ({home})" if home else "in PATH, and JAVA_HOME is not set"
        raise MissingDependencyError(
            f"Spark needs Java 17 or later, and there is none {where}: on Debian and Ubuntu, apt-get install "
            "openjdk-17-jre-headless; or set JAVA_HOME"
        )


def _on_this_machine(master: str) -> bool:
    return re.fullmatch(r"local\b.*|spark://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", master) is not None


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside, these variables are set, but those that were set before. Python workers are then started with this
    interpreter: Spark's own default is the first python3 in PATH, which lacks the libraries of this environment."""
    added = {name: value for name, value in variables.items() if not os.environ.get(name)}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _off_the_main_thread(start: Callable[[], Any]) -> Any:
    """What ``start`` returns, called in another thread: in the main one, a SparkContext would put a Ctrl-C handler of
    its own in the place of the program's, which can interrupt the wait here."""
    outcome: Future[Any] = Future()

    def body() -> None:
        try:
            outcome.set_result(start())
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that asked
            outcome.set_exception(error)

    threading.Thread(target=body, name="bentobatch-spark-start", daemon=True).start()
    return outcome.result()
