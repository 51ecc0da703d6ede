"""Tests of how the client treats connections, refusals and answers, over a server that says what the test wrote down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bentobatch.client import Client
from bentobatch.errors import (
    BentobatchError,
    DataError,
    DeadlineError,
    ModelError,
    OverloadedError,
    Retryable,
    UnavailableError,
    UsageError,
)
from tests.client.conftest import Scripted, answer, json_answer, problem_answer

Start = Callable[[list[bytes]], Scripted]
BUSY = b'{"status": 503, "kind": "OverloadedError", "detail": "too much is waiting", "request_id": "one"}'


def arrow_answer(table: pa.Table) -> bytes:
    """200 with a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return answer("200 OK", sink.getvalue().to_pybytes(), Content_Type="application/vnd.apache.arrow.stream")


def test_a_request_says_what_the_server_needs(scripted: Start) -> None:
    """The token, an id, the time that is left, what the body is and what the answer shall be, below the URL's own path."""
    server = scripted([json_answer()])
    with Client(f"{server.url}/behind/a/proxy/", "secret-token") as client:
        assert client.predict([[1]], api="v1/predict") == [1]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert head.startswith(b"POST /behind/a/proxy/v1/predict HTTP/1.1\r\n")
    assert (lines[b"Authorization"], lines[b"Content-Type"], body) == (
        b"Bearer secret-token",
        b"application/json",
        b"[[1]]",
    )
    assert (lines[b"Accept"], len(lines[b"X-Request-Id"])) == (b"application/json", 32)
    assert 59 < float(lines[b"X-Request-Timeout"]) <= 60


def test_a_connection_serves_one_request_after_the_other(scripted: Start) -> None:
    """It is kept, unless the server says that it ends it."""
    last = answer("200 OK", b"[2]", Content_Type="application/json", Connection="close")
    server = scripted([json_answer(), json_answer(), last, json_answer()])
    with Client(server.url) as client:
        assert [client.predict([1]) for _ in range(4)] == [[1], [1], [2], [1]]
    assert server.connections == 2


def test_a_connection_that_was_ended_while_idle_is_replaced(scripted: Start) -> None:
    """The end is seen before the request is sent, so that nothing is asked twice."""
    server = scripted([json_answer(), json_answer()])
    with Client(server.url) as client:
        client.predict([1])
        server.end_connections()
        time.sleep(0.05)
        assert client.predict([2]) == [1]
    assert (server.connections, len(server.requests)) == (2, 2)


def test_a_kept_connection_that_is_cut_off_is_tried_once_more(scripted: Start) -> None:
    """Where the server ends it just as the request is sent. Over a new connection the same end is an error: a server that
    falls over a request is not asked twice."""
    server = scripted([json_answer(), b"", json_answer()])
    with Client(server.url) as client:
        client.predict([1])
        assert client.predict([2]) == [1]
    assert len(server.requests) == 3
    ending = scripted([b"", json_answer()])
    with Client(ending.url) as client, pytest.raises(UnavailableError, match="does not answer: RemoteDisconnected"):
        client.predict([1])
    assert len(ending.requests) == 1


def test_a_refused_request_is_sent_again_when_the_server_says(scripted: Start) -> None:
    """503 with Retry-After: nothing was scored, so the same request, with the same id, is sent again."""
    refusal = problem_answer("503 x", BUSY, Retry_After="0")
    server = scripted([refusal, refusal, json_answer()])
    with Client(server.url) as client:
        assert client.predict([1]) == [1]
    ids = {line for request in server.requests for line in request.split(b"\r\n") if line.startswith(b"X-Request-Id")}
    assert (len(server.requests), len(ids)) == (3, 1)


@pytest.mark.parametrize(
    ("refusal", "options"),
    [
        (problem_answer("503 x", BUSY), {}),
        (problem_answer("503 x", BUSY, Retry_After="soon"), {}),
        (problem_answer("503 x", BUSY, Retry_After="3600"), {}),
        (problem_answer("503 x", BUSY, Retry_After="0"), {"retries": 0}),
        (problem_answer("500 x", BUSY, Retry_After="0"), {}),
    ],
)
def test_a_refused_request_is_not_sent_again_otherwise(scripted: Start, refusal: bytes, options: Any) -> None:
    """Not where the server does not say when, says a time after ours, or has begun to score it."""
    server = scripted([refusal, json_answer()])
    said = r"too much is waiting \(request one\)"
    with Client(server.url, **options) as client, pytest.raises(BentobatchError, match=said):
        client.predict([1])
    assert len(server.requests) == 1


def test_a_date_is_a_time_to_wait_too(scripted: Start) -> None:
    """RFC 9110, 10.2.3: Retry-After is seconds or a date."""
    past = problem_answer("503 x", BUSY, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")
    server = scripted([past, json_answer()])
    with Client(server.url) as client:
        assert client.predict([1]) == [1]


def test_a_redirect_is_an_error_and_gets_no_token(scripted: Start) -> None:
    """Whoever the server names is not asked."""
    other = scripted([json_answer()])
    server = scripted([answer("307 Temporary Redirect", Location=f"{other.url}/predict?secret=1")])
    with Client(server.url, "secret-token") as client, pytest.raises(UsageError, match="leads on to") as caught:
        client.predict([1])
    assert not other.requests
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (problem_answer("400 x", b'{"detail": "no"}'), DataError),
        (problem_answer("422 x", b'{"detail": "no", "kind": "UsageError"}'), DataError),
        (problem_answer("401 x", b'{"detail": "no"}'), UsageError),
        (problem_answer("500 x", b'{"detail": "no"}'), ModelError),
        (problem_answer("503 x", b'{"detail": "no"}'), UnavailableError),
        (problem_answer("503 x", b'{"detail": "no", "kind": "OverloadedError"}'), OverloadedError),
        (problem_answer("503 x", b'{"detail": "no", "kind": "Retryable"}'), Retryable),
        (problem_answer("504 x", b'{"detail": "no"}'), DeadlineError),
        (problem_answer("400 x", b"no JSON"), UsageError),
        (problem_answer("400 x", b"[1]"), UsageError),
        (answer("404 x", b"<html>"), UsageError),
        (answer("413 x", b"<html>"), DataError),
        (answer("502 x", b"<html>"), UnavailableError),
        (answer("200 OK", b"<html>", Content_Type="text/html"), UsageError),
        (json_answer(b"{"), ModelError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n[1]", UnavailableError),
        (b"nonsense\r\n\r\n", UnavailableError),
    ],
)
def test_every_answer_is_a_value_or_an_error_of_ours(scripted: Start, said: bytes, kind: type) -> None:
    """By the status; what the server says decides between neighbours only."""
    server = scripted([said])
    with Client(server.url) as client, pytest.raises(kind) as caught:
        client.predict([1])
    assert type(caught.value) is kind


def test_what_the_server_says_is_one_printable_line(scripted: Start) -> None:
    """A server may be anybody's: no control characters reach a terminal, and no novel."""
    detail = b'{"detail": "first\\nsecond \\u001b[31mred ' + b"x" * 10_000 + b'"}'
    server = scripted([problem_answer("400 x", detail)])
    with Client(server.url) as client, pytest.raises(DataError, match="first second") as caught:
        client.predict([1])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_answer_of_another_number_of_rows_is_refused(scripted: Start, rows: int) -> None:
    """Else predictions would stand beside rows of others."""
    server = scripted([arrow_answer(pa.table({"p": [1.0] * rows})), json_answer(b"[%s]" % b",".join([b"1"] * rows))])
    with Client(server.url) as client:
        with pytest.raises(ModelError, match=f"answered {rows} rows to 2"):
            client.predict(pd.DataFrame({"a": [1, 2]}))
        with pytest.raises(ModelError, match=f"answered {rows} rows to 2"):
            client.predict(np.ones((2, 2)))


def test_chunks_of_other_types_are_joined_where_that_loses_nothing(scripted: Start) -> None:
    """A chunk of nulls takes the others' type; a number and a text have none in common."""
    tables = [pa.table({"p": pa.nulls(1)}), pa.table({"p": [2]}), pa.table({"p": [0.5]}), pa.table({"p": ["x"]})]
    server = scripted([*map(arrow_answer, tables[:3]), *map(arrow_answer, tables[2:])])
    with Client(server.url, max_rows=1) as client:
        found = client.predict(pa.table({"a": [1, 2, 3]}))
        assert found["p"].to_pylist() == [None, 2.0, 0.5]
        with pytest.raises(ModelError, match="other types in another chunk"):
            client.predict(pa.table({"a": [1, 2]}))


def test_a_silent_server_is_given_up_in_time(scripted: Start) -> None:
    """The time-out is the request's."""
    server = scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"])
    with Client(server.url, timeout=0.2) as client, pytest.raises(UnavailableError, match="did not answer in time"):
        client.predict([1])


def test_a_server_that_is_not_there_is_not_ready() -> None:
    """Nothing listens: ready is false, a prediction is an error."""
    with Client("http://127.0.0.1:9") as client:
        assert not client.ready()
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 does not answer: ConnectionRefusedError"):
            client.predict([1])


def test_a_forked_child_takes_no_connection_of_its_parent(scripted: Start) -> None:
    """Two processes on one connection would get each other's answers."""
    server = scripted([json_answer(), json_answer()])
    client = Client(server.url)
    client.predict([1])
    parents = list(client._connections._idle)
    client._connections._process += 1  # as a fork's child sees it
    assert client.predict([1]) == [1]
    for connection in parents:
        connection.close()
    assert server.connections == 2
    client.close()


@pytest.mark.parametrize(
    "url", ["ftp://host", "host:5000", "http://", "http://user:secret@host", "http://host/?secret=1", "http://host:x"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """With what is wrong, and without what may be a secret in it."""
    with pytest.raises(UsageError, match=r"URL|port") as caught:
        Client(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"retries": -1}, {"max_rows": 0}, {"max_body_bytes": 0}])
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    """Before anything is sent; so are tokens and headers that no request can carry."""
    with pytest.raises(UsageError):
        Client("http://127.0.0.1:9", **options)
    with pytest.raises(UsageError, match="token"):
        Client("http://127.0.0.1:9", "two words")
    with pytest.raises(UsageError, match="header"):
        Client("http://127.0.0.1:9").predict([1], headers={"X-A": "b\r\nX-C: d"})
