"""The ways to serve one bundle that must all answer alike: each is a function that opens a Way, registered in WAYS."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bentobatch.serving import create_app
from tests.serving.served_service import HELD, gate_of

HERE = Path(__file__).parent


class Answer(NamedTuple):
    """``headers`` by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Way:
    """A server at work. ``request`` opens a connection of its own. ``port`` is 0 where there is no socket."""

    name: str
    request: Callable[..., Answer]
    port: int = 0
    process: int = 0
    output: list[str] = field(default_factory=list)

    def post(self, path: str, body: bytes, media: str = "application/json", **headers: str) -> Answer:
        """A POST; names of ``headers`` are written with _ for -."""
        return self.request(
            "POST",
            path,
            {"Content-Type": media, **{name.replace("_", "-"): text for name, text in headers.items()}},
            body,
        )

    def get(self, path: str) -> Answer:
        """A GET."""
        return self.request("GET", path, {}, b"")

    def metrics(self) -> dict[str, float]:
        """The server's counts by their names and labels, without bentobatch_ before them."""
        answer = self.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        pairs = (line.rsplit(" ", 1) for line in lines)
        return {name.removeprefix("bentobatch_"): float(value) for name, value in pairs}


@contextlib.contextmanager
def held(way: Way) -> Iterator[Callable[[], Answer]]:
    """A request that the api is at work on from here to the end of the block; or until the function that this gives is
    called, which lets it go and returns its answer."""
    number = secrets.randbelow(2**31)
    gate = Path(gate_of(number))
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(way.post, "/predict", f"[[{HELD}, {number}, 0]]".encode())
        try:
            until(lambda: way.metrics()['in_flight{api="predict"}'] and not way.metrics()['queue_rows{api="predict"}'])

            def let_go() -> Answer:
                gate.touch()
                return future.result(60)

            yield let_go
        finally:
            gate.touch()
            future.result(60)
            gate.unlink()


def until(condition: Callable[[], Any]) -> None:
    """Wait for what a server is about to do."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextlib.contextmanager
def client_way(bundle: str, options: Mapping[str, Any]) -> Iterator[Way]:
    """Flask's test client, in this process."""
    app = create_app(bundle, **options)

    def request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        found = app.test_client().open(path, method=method, headers=dict(headers), data=body)
        return Answer(found.status_code, {name.lower(): text for name, text in found.headers.items()}, found.data)

    yield Way("client", request)


@contextlib.contextmanager
def gthread_way(bundle: str, options: Mapping[str, Any]) -> Iterator[Way]:
    """gunicorn's own worker with threads."""
    arguments = ", ".join([repr(bundle), *(f"{name}={value!r}" for name, value in options.items())])
    command = [sys.executable, "-m", "gunicorn", f"bentobatch.serving:create_app({arguments})", "--bind", "127.0.0.1:0"]
    command += ["--worker-class", "gthread", "--threads", "32", "--no-control-socket"]
    with process_way("gthread", command, r"Listening at: http://127\.0\.0\.1:(\d+)") as way:
        way.get("/livez")  # gunicorn listens before it has loaded the bundle
        yield way


@contextlib.contextmanager
def serve_way(bundle: str, options: Mapping[str, Any]) -> Iterator[Way]:
    """``bentobatch serve``."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "bentobatch", "serve", bundle, "--port", "0", *flags]
    with process_way("serve", command, r"http://127\.0\.0\.1:(\d+)") as way:
        yield way


@contextlib.contextmanager
def worker_way(bundle: str, options: Mapping[str, Any]) -> Iterator[Way]:
    """``bentobatch serve-gunicorn``, with its own worker."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "bentobatch", "serve-gunicorn", bundle, "--port", "0", *flags]
    with process_way("worker", command, r"http://127\.0\.0\.1:(\d+)") as way:
        assert way.get("/readyz").status == 200  # the URL is told when there is something to answer with
        yield way


WAYS: dict[str, Callable[[str, Mapping[str, Any]], AbstractContextManager[Way]]] = {
    "client": client_way,
    "gthread": gthread_way,
    "serve": serve_way,
    "worker": worker_way,
}
SOCKETS = [name for name in WAYS if name != "client"]


@contextlib.contextmanager
def process_way(name: str, command: list[str], pattern: str) -> Iterator[Way]:
    """A server process, from the moment when it says on which port it listens; it is stopped at the end."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith(("BENTOBATCH_", "AIP_"))}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    output: list[str] = []
    port = 0
    for line in process.stdout:
        output.append(line)
        if found := re.search(pattern, line):
            port = int(found[1])
            break
    assert port, "".join(output)
    reading = threading.Thread(target=output.extend, args=(process.stdout,), daemon=True)
    reading.start()

    def request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return http_request(port, method, path, headers, body)

    try:
        yield Way(name, request, port, process.pid, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            reading.join(10)
            process.stdout.close()


def http_request(port: int, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body=body or None, headers=dict(headers))
        found = connection.getresponse()
        content = found.read()
        return Answer(found.status, {name.lower(): text for name, text in found.getheaders()}, content)
    finally:
        connection.close()


def save_served(folder: Path) -> str:
    """A bundle of ServedService."""
    sys.path.insert(0, str(HERE))
    try:
        module = importlib.import_module("served_service")
    finally:
        sys.path.remove(str(HERE))
    service = module.ServedService()
    service.pack("factor", 3)
    return str(service.save_to_dir(str(folder / "served")))
