"""This module tests that no client makes the worker read one request as two, or hold it up (S29, S30, S33)."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest

from bentobatch.serving.http1_exchange import HttpLimits
from tests.serving.http1_serving import HOST, Served, answer, request, served, until

__all__ = ["served"]

SMUGGLED = b"POST /short HTTP/1.1\r\nHost: here\r\nX-Smuggled: 1\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
AMBIGUOUS = {
    "both lengths": b"Content-Length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "both lengths, the other way round": CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "the same length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": b"Content-Length: +3\r\n\r\nabc",
    "a negative length": b"Content-Length: -3\r\n\r\nabc",
    "a length of another base": b"Content-Length: 0x3\r\n\r\nabc",
    "a length beyond all": b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "a folded line": b"X-Long: a\r\n b\r\nContent-Length: 3\r\n\r\nabc",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 3\r\n\r\nabc",
    "a coding before chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is nearly chunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not the last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "a vertical tab before chunked": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk's size that is none": CHUNKED + b"\r\nxx\r\nabc\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"\r\n-3\r\nabc\r\n0\r\n\r\n",
    "a chunk's size beyond all": CHUNKED + b"\r\nfffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n",
    "a bare line end": b"X: 1\nContent-Length: 3\r\n\r\nabc",
    "a bare carriage return": b"X: 1\rContent-Length: 3\r\n\r\nabc",
    "a zero byte": b"X: a\0b\r\n\r\n",
    "two hosts": b"Host: there\r\n\r\n",
}


@pytest.mark.parametrize("part", [None, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("what", AMBIGUOUS)
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    served: Served, what: str, part: int | None
) -> None:
    """S30: the answer is 400 (501 for a coding that is none of ours), the only one, and what follows is not served."""
    before = len(served.front.served)
    said = served.said(b"POST /short HTTP/1.1\r\n" + HOST + AMBIGUOUS[what] + SMUGGLED, part=part)
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in said
    assert len(served.front.served) == before


@pytest.mark.parametrize(
    "data",
    [
        b"POST /short HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
        b"GET /\r\n\r\n",
        b"POST /short HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
        b"POST /short HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT there:80 HTTP/1.1\r\nHost: there:80\r\n\r\n" + SMUGGLED,
        b"NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
    ],
    ids=["chunked 1.0", "0.9", "no host", "2.0", "HTTP/2", "CONNECT", "no method", "no target", "TLS"],
)
def test_what_is_no_request_to_this_server_ends_the_connection(served: Served, data: bytes) -> None:
    """The status is of the 400s or 500s, no traceback is in it, and nothing of it is served."""
    before = len(served.front.served)
    said = served.said(data)
    assert said[9:10] in b"45"
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"Traceback" not in said
    assert len(served.front.served) == before


@pytest.mark.parametrize("part", [None, 1], ids=["at once", "byte by byte"])
def test_a_request_to_change_the_protocol_is_answered_in_the_old_one(served: Served, part: int | None) -> None:
    """h2c smuggling: the wish is not heard, and the body and what follows is HTTP/1.1 as without it."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    last = request(b"/", method=b"GET", fields=b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n")
    said = served.said(request(b"/short", b"abc", fields=upgrade) * 2 + last + SMUGGLED, part=part)
    assert said.count(b"HTTP/1.1 200 OK\r\n") == said.count(b"HTTP/1.1 ") == 3
    assert said.count(b"\r\n\r\nabc") == 2
    assert b"HTTP_UPGRADE" not in said


def test_a_field_with_an_underscore_does_not_pass_for_one_with_a_hyphen(served: Served) -> None:
    """X_User and X-User are one name in WSGI, and a proxy that removes the second lets the first pass."""
    with served.client() as client:
        client.sendall(request(b"/", method=b"GET", fields=b"X_User: a\r\nX-Real: b\r\nContent_Length: 9\r\n"))
        _, _, body = answer(client)
    assert b"HTTP_X_REAL" in body
    assert b"HTTP_X_USER" not in body
    assert b"'CONTENT_LENGTH': '0'" in body


@pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
def test_a_body_beyond_the_limit_is_refused_before_it_has_come(served: Served, chunked: bool) -> None:
    """S29: 413 and the end of the connection, long before the client could send its 100 MB."""
    size = 100 << 20
    sent = 0
    with served.client() as client:
        length = CHUNKED if chunked else b"Content-Length: %d\r\n" % size
        client.sendall(b"POST /short HTTP/1.1\r\n" + HOST + length + b"\r\n")
        data = bytes(1 << 16)
        try:
            while sent < size:
                client.sendall(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
                sent += len(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < size // 4
    assert served.front.refused[-1] == 413
    until(lambda: served.server.connections == 0)
    assert served.server.held == 0


@pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
def test_a_client_that_sent_too_much_reads_why(served: Served, chunked: bool) -> None:
    """The server reads on for a moment, so that a reset does not take the answer away from the client."""
    data = bytes((1 << 20) + 1)
    length = CHUNKED if chunked else b"Content-Length: %d\r\n" % len(data)
    body = b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
    said = served.said(b"POST /short HTTP/1.1\r\n" + HOST + length + b"\r\n" + body)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"1,048,576 bytes" in said


def test_a_body_that_is_too_large_is_not_asked_for(served: Served) -> None:
    """With Expect: 100-continue the refusal comes instead of the 100."""
    said = served.said(b"POST /short HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 5000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 200_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 30 + b"\r\n", b"431"),
        (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\n" + b"X: " + b"a" * 5000 + b"\r\n\r\n", b"431"),
    ],
    ids=["target", "header", "header without an end", "fields", "trailer"],
)
def test_a_header_beyond_the_limits_is_refused(served: Served, head: bytes, status: bytes) -> None:
    """What a client may make the server keep is bounded: 414 and 431."""
    assert served.said(head).startswith(b"HTTP/1.1 " + status)


def test_all_bodies_together_are_bounded() -> None:
    """Many clients who each stay below the limit cannot fill the memory either: 503 for those beyond."""
    server = Served(HttpLimits(body_bytes=1 << 20, all_body_bytes=2 << 20))
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for _ in range(4)]
            for client in clients:
                client.sendall(b"POST /held HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + bytes(999_999))
            until(lambda: server.front.refused == [503, 503])
            assert server.server.held <= 2 << 20
        until(lambda: server.server.held == 0)
    finally:
        server.close()


def test_five_hundred_slow_clients_do_not_keep_good_ones_waiting() -> None:
    """S33: slow headers, slow bodies and idle connections lie beside good requests, which are answered; then they end."""
    server = Served(HttpLimits(head_seconds=1.0, body_seconds=1.0, body_rate=1e9, idle_seconds=1.0))
    starts = [b"POST /short HTTP/1.1\r\nHost", b"", b"POST /short HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"]
    try:
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(500)]
        for number, client in enumerate(slow):
            client.sendall(starts[number % 3])
        with server.client() as good:
            for number in range(200):
                good.sendall(request(body=b"%d" % number))
                assert answer(good)[2] == b"%d" % number
                slow[3 * (number % 100)].sendall(b"x")  # a byte more does not buy time
            ends = [client.recv(12) for client in slow]
            assert ends == [(b"HTTP/1.1 408", b"", b"HTTP/1.1 408")[number % 3] for number in range(500)]
        for client in slow:
            client.close()
    finally:
        server.close()


def test_a_client_that_takes_nothing_of_its_answer_is_let_go() -> None:
    """What it asked for does not stay in memory, and it gets no more requests in meanwhile."""
    server = Served(HttpLimits(write_seconds=0.3))
    try:
        with server.client() as client:
            client.sendall(request(b"/large", method=b"GET") * 20)
            until(lambda: len(server.front.served) > 0)
            until(lambda: server.server.connections == 0)
            assert len(server.front.served) < 20
    finally:
        server.close()


def test_time_is_given_to_a_body_as_long_as_it_comes(served: Served) -> None:
    """A large body over a slow line is no attack: the time grows with what has come."""
    server = Served(HttpLimits(body_seconds=0.2, body_rate=100.0))
    try:
        with server.client() as client:
            client.sendall(b"POST /short HTTP/1.1\r\n" + HOST + b"Content-Length: 200\r\n\r\n")
            for _ in range(10):
                client.sendall(b"x" * 20)
                time.sleep(0.05)
            assert answer(client)[0] == 200
    finally:
        server.close()
