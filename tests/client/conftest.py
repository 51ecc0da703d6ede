"""What the tests of the client share: real servers of one bundle, and a server that says what a test wrote down."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bentobatch.client import Client
from tests.serving.ways import Way, process_way, save_served

TOKEN = "a-token-of-the-tests-0123456789"
MOST_ROWS = 50


@contextlib.contextmanager
def served_by(command: str, bundle: str, options: Mapping[str, str]) -> Iterator[Way]:
    """``bentobatch serve`` or ``serve-gunicorn`` on a free port."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    words = [sys.executable, "-m", "bentobatch", command, bundle, "--port", "0", *flags]
    with process_way(command, words, r"https?://127\.0\.0\.1:(\d+)") as way:
        yield way


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of the service in tests/serving/served_service.py."""
    return save_served(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module", params=["serve", "serve-gunicorn"])
def url(request: pytest.FixtureRequest, bundle: str) -> Iterator[str]:
    """Each server, which asks for a token and takes few rows at a time."""
    with served_by(request.param, bundle, {"token": TOKEN, "max-rows": str(MOST_ROWS)}) as way:
        yield f"http://127.0.0.1:{way.port}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of it."""
    with Client(url, TOKEN) as opened:
        yield opened


class Scripted:
    """A server that answers each request with the next of ``answers``: bytes, sent as they are; a connection is kept as
    long as these are not empty, which ends it without an answer. ``requests`` are heads and bodies as they came."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = lines.readline()
                    if not line:
                        return
                    head += line
                length = next((int(line[15:]) for line in head.splitlines() if line.startswith(b"Content-Length:")), 0)
                self.requests.append(head + lines.read(length))
                answer = self.answers.pop(0) if self.answers else b""
                if not answer:
                    return
                connection.sendall(answer)
                if b"connection: close" in answer.lower():
                    return

    def end_connections(self) -> None:
        """End those that lie idle, as a server does after some time."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.end_connections()
        self._thread.join(10)


def answer(status: str, body: bytes = b"", **headers: Any) -> bytes:
    """An answer; names of ``headers`` are written with _ for -."""
    fields = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def json_answer(body: bytes = b"[1]") -> bytes:
    """200 with JSON."""
    return answer("200 OK", body, Content_Type="application/json")


def problem_answer(status: str, body: bytes, **headers: Any) -> bytes:
    """A problem document."""
    return answer(status, body, Content_Type="application/problem+json", **headers)


@pytest.fixture
def scripted() -> Iterator[Callable[[list[bytes]], Scripted]]:
    """Starts servers that say what a test wrote down."""
    started: list[Scripted] = []

    def start(answers: list[bytes]) -> Scripted:
        started.append(Scripted(answers))
        return started[-1]

    yield start
    for one in started:
        one.close()
