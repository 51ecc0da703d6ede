"""This module tests what a server takes at most, over real connections, and that it never reads what it refuses."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.serving.served_service import SLOW
from tests.serving.ways import SOCKETS, WAYS, Way


@pytest.fixture(scope="module", params=SOCKETS)
def small(request: pytest.FixtureRequest, served_bundle: str) -> Iterator[Way]:
    """A server with small limits, in each way that has a socket."""
    names = {"max_body_bytes": "max_body_size", "max_inflated_bytes": "max_inflated_size"}
    options = {"max_body_bytes": 10_000, "max_inflated_bytes": 50_000, "max_rows": 100, "max_queue_rows": 200}
    if request.param != "gthread":
        options = {names.get(name, name): value for name, value in options.items()}
    with WAYS[request.param](served_bundle, options) as opened:
        yield opened


def exchange(port: int, *pieces: bytes) -> bytes:
    """Send the pieces, and read until the server ends the connection or says nothing for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.settimeout(5)
        told = b""
        try:
            while piece := connection.recv(65536):
                told += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return told


HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def test_a_body_that_says_it_is_too_long_is_413_before_it_is_read(small: Way) -> None:
    """Row 4 and S29: 100 MB are promised and not sent; the answer comes at once and the connection ends."""
    told = exchange(small.port, HEAD + b"Content-Length: 104857600\r\n\r\n")
    assert told.startswith((b"HTTP/1.1 413", b"HTTP/1.0 413"))
    assert b"connection: close" in told.lower()
    assert b"10,000 bytes" in told


def test_a_chunked_body_that_grows_too_long_is_413(small: Way) -> None:
    """Row 4: no more of it is read than the limit."""
    chunk = b"3e8\r\n" + b" " * 1_000 + b"\r\n"
    told = exchange(small.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk * 12, b"0\r\n\r\n")
    assert told.startswith((b"HTTP/1.1 413", b"HTTP/1.0 413"))


def test_a_chunked_body_is_taken(small: Way) -> None:
    """Row 18."""
    told = exchange(
        small.port,
        HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\n[[1,2\r\n",
        b"4\r\n,3]]\r\n0\r\n\r\n",
    )
    assert told.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
    assert told.endswith(b"[6.0]\n")


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n0\r\n\r\n", b"-5\r\nabc\r\n0\r\n\r\n"])
def test_malformed_chunks_are_400(small: Way, chunks: bytes) -> None:
    """And the connection ends."""
    told = exchange(small.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunks)
    assert told.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))


def test_a_gzip_bomb_is_413(small: Way) -> None:
    """S29: of 1000 to 1; it is inflated to the limit only."""
    bomb = gzip.compress(b" " * 5_000_000)
    assert len(bomb) < 10_000
    assert small.post("/predict", bomb, Content_Encoding="gzip").status == 413


def test_too_many_rows_are_413(small: Way) -> None:
    """Whatever form they come in."""
    assert small.post("/predict", json.dumps([[1, 2, 3]] * 101).encode()).status == 413
    assert small.post("/predict", b"a,b,c\n" + b"1,2,3\n" * 101, "text/csv").status == 413
    assert small.post("/echo", b"1\n" * 101, "application/x-ndjson").status == 413
    assert small.post("/predict", json.dumps([[1, 2, 3]] * 100).encode()).status == 200


def test_more_than_may_wait_is_503_with_retry_after_at_once(small: Way) -> None:
    """Row 11: the queue is bounded in rows, and who is refused is told when to come again."""
    with ThreadPoolExecutor(8) as threads:
        slow = threads.submit(small.post, "/predict", json.dumps([[SLOW, 1.5, 0]]).encode())
        time.sleep(0.4)
        some = [threads.submit(small.post, "/predict", json.dumps([[1, 2, 3]] * 90).encode()) for _ in range(5)]
        answers = [each.result() for each in some]
        assert slow.result().status == 200
    refused = [answer for answer in answers if answer.status == 503]
    assert len(refused) >= 2
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert sum(answer.status == 200 for answer in answers) == 5 - len(refused)


def test_a_body_that_is_cut_off_is_no_request(small: Way) -> None:
    """The client goes away in the middle; the next one is served."""
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: 500\r\n\r\n[[1,")
    assert small.post("/predict", b"[[1,2,3]]").status == 200


def test_one_at_a_time_is_what_a_batch_size_of_one_means(served_bundle: str) -> None:
    """--mb-max-batch-size 1 turns micro-batching off."""
    with WAYS["client"](served_bundle, {"max_batch_size": 1}) as way:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda at: way.post("/predict", json.dumps([[at, 1, 1]]).encode()), range(64)))
        text = way.get("/metrics").body.decode()
    assert 'bentobatch_batch_requests_bucket{api="predict",le="1"} 64' in text
    assert 'bentobatch_batch_requests_count{api="predict"} 64' in text


def test_waiting_requests_are_joined(served_bundle: str) -> None:
    """Behind a slow call the others go together."""
    with WAYS["client"](served_bundle, {}) as way:
        first = threading.Thread(target=way.post, args=("/predict", json.dumps([[SLOW, 0.8, 0]]).encode()))
        calls: list[Callable[[], Any]] = [
            lambda at=at: way.post("/predict", json.dumps([[at, 1, 1]]).encode()) for at in range(16)
        ]
        way.post("/predict", b"[[1,2,3]]")  # the first call of a model tells nothing of its cost
        first.start()
        time.sleep(0.3)
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda call: call(), calls))
        first.join()
        text = way.get("/metrics").body.decode()
    assert [json.loads(answer.body) for answer in answers] == [[at + 2.0] for at in range(16)]
    count = next(
        line for line in text.splitlines() if line.startswith('bentobatch_batch_requests_count{api="predict"}')
    )
    assert int(count.split()[-1]) < 12
