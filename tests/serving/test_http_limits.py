"""This module tests what a server takes at most, over real connections, and that it never reads what it refuses."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.ways import SOCKETS, WAYS, Way, held, until


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


def test_more_than_may_wait_is_503_with_retry_after(small: Way) -> None:
    """Row 11: the queue is bounded in rows, and who is refused is told at once when to come again."""
    with held(small) as let_go, ThreadPoolExecutor(5) as threads:
        some = [threads.submit(small.post, "/predict", json.dumps([[1, 2, 3]] * 90).encode()) for _ in range(5)]
        until(lambda: sum(each.done() for each in some) == 3)
        refused = [each.result() for each in some if each.done()]
        assert let_go().status == 200
        answers = [each.result() for each in some]
    assert [answer.status for answer in refused] == [503] * 3
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert sorted(answer.status for answer in answers) == [200, 200, 503, 503, 503]


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
    """Behind a call that is under way the others go together."""
    with WAYS["client"](served_bundle, {}) as way:
        with held(way) as let_go, ThreadPoolExecutor(8) as threads:
            futures = [threads.submit(way.post, "/predict", json.dumps([[at, 1, 1]]).encode()) for at in range(8)]
            until(lambda: way.metrics()['queue_rows{api="predict"}'] == 8)
            let_go()
            answers = [json.loads(future.result().body) for future in futures]
        assert answers == [[at + 2.0] for at in range(8)]
        assert way.metrics()['batch_requests_count{api="predict"}'] == 2
