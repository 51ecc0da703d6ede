"""This module puts load on a server that runs on this machine, and checks what it answers: by wrk where it is installed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bentobench.online_servers import ONLINE, Running, Server

HOST = "127.0.0.1"
PATH = "/predict"
SAMPLES_A_SECOND = 20
WITHOUT_WRK = (
    "wrk is not installed (on Debian and Ubuntu: apt-get install -y wrk), so a slower generator in Python is used"
)


class Wrong(Exception):
    """A server does not start, answers wrongly, or not at all; the text is what it did."""


@dataclass(frozen=True)
class Sample:
    """Rows, each a request of its own, and the classes that they have."""

    rows: list[list[float]]
    classes: list[int]


@dataclass(frozen=True)
class Window:
    """What was seen in some seconds of load. ``rate``: requests a second; latencies in ms; ``cpu_us``: CPU of the server's
    process tree for each request, in µs; ``failed``: answers other than 2xx, ``cut_off``: connections that ended or timed
    out; ``checked``: answers that were compared with the model's."""

    rate: float
    p50: float
    p99: float
    cpu_us: float
    failed: int
    cut_off: int
    checked: int


def generator() -> str:
    """What makes the load."""
    return "wrk" if shutil.which("wrk") else "load.py"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def await_ready(server: Server, run: Running, sample: Sample, seconds: float = 90.0) -> None:
    """Wait until a first request is answered, and check some answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            ask(server, run.port, sample, 0)
            break
        except (OSError, http.client.HTTPException, Wrong) as error:
            if run.process.poll() is not None:
                raise Wrong(f"it ended with exit code {run.process.returncode}") from error
            if time.monotonic() > end:
                raise Wrong(f"it was not ready after {seconds:g} s: {error}") from error
            time.sleep(0.1)
    for number in range(8):
        ask(server, run.port, sample, number)


def ask(
    server: Server, port: int, sample: Sample, number: int, connection: http.client.HTTPConnection | None = None
) -> None:
    """Ask for one row, and compare the answer.

    Raises:
        Wrong: it is another than the model's.
    """
    mine = connection or http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        row = number % len(sample.rows)
        mine.request("POST", PATH, server.body([sample.rows[row]]), {"Content-Type": "application/json"})
        response = mine.getresponse()
        content = response.read()
    finally:
        if connection is None:
            mine.close()
    if response.status != 200:
        raise Wrong(f"it answers {response.status}: {content[:200].decode('utf-8', 'replace')}")
    if json.loads(content) != [sample.classes[row]]:
        raise Wrong(f"row {row} is [{sample.classes[row]}], and it answers {content[:200].decode('utf-8', 'replace')}")


def window(server: Server, run: Running, sample: Sample, *, connections: int, seconds: float, folder: Path) -> Window:
    """Load it for so long over so many connections. Where these are many, one more asks for known rows meanwhile.

    Raises:
        Wrong: an answer is wrong, or the load failed.
    """
    body = folder / "body.json"
    body.write_bytes(server.body(sample.rows[:1]))
    checker = _Checker(server, run.port, sample) if connections > 1 else None
    cpu, started = run.cpu_seconds(), time.perf_counter()
    done = subprocess.run(
        _command(run.port, body, connections, seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        env={**os.environ, "BODY": str(body)},
    )
    cpu, took = run.cpu_seconds() - cpu, time.perf_counter() - started
    checked = checker.stop() if checker else 0
    found = _result(done)
    if not found["requests"]:
        raise Wrong(f"not one of {connections} connections was answered in {took:.0f} s")
    return Window(
        found["requests"] / found["seconds"],
        found["p50_us"] / 1000,
        found["p99_us"] / 1000,
        cpu / (found["requests"] + checked) * 1e6,
        int(found["failed"]),
        int(found["cut_off"]),
        checked,
    )


def settle(run: Running, seconds: float = 10.0) -> None:
    """Wait until the server has done with what the last window left in its queue, so long at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = run.cpu_seconds()
        time.sleep(0.25)
        if run.cpu_seconds() - before < 0.05:
            return


def _command(port: int, body: Path, connections: int, seconds: float) -> Sequence[str]:
    wrk = shutil.which("wrk")
    if wrk is None:
        words = (HOST, port, PATH, body, connections, seconds)
        return [sys.executable, str(ONLINE / "load.py"), *map(str, words)]
    url = f"http://{HOST}:{port}{PATH}"
    settings = ("-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s")
    return [wrk, *settings, "-s", str(ONLINE / "post.lua"), url]


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode or line is None:
        raise Wrong(f"the load generator failed: {(done.stderr or done.stdout).strip()[-300:]}")
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


class _Checker:
    """A thread that asks for known rows, one after another, and keeps the first wrong answer."""

    def __init__(self, server: Server, port: int, sample: Sample) -> None:
        self.checked = 0
        self._wrong: Exception | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._check, args=(server, port, sample), daemon=True)
        self._thread.start()

    def _check(self, server: Server, port: int, sample: Sample) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        try:
            while not self._done.wait(1 / SAMPLES_A_SECOND):
                ask(server, port, sample, self.checked, connection)
                self.checked += 1
        except (OSError, http.client.HTTPException, Wrong) as error:
            self._wrong = error
        finally:
            connection.close()

    def stop(self) -> int:
        """How many were right.

        Raises:
            Wrong: one was not.
        """
        self._done.set()
        self._thread.join(60)
        if self._wrong is not None:
            raise Wrong(f"under load: {self._wrong}") from self._wrong
        return self.checked
