"""This module tests what the worker's own HTTP/1.1 does with requests that are right: order, lengths, ends, pauses."""

from __future__ import annotations

import gc
import os
import resource
import socket
import threading
import time

import pytest

from bentobatch.serving.http1_exchange import Exchange, HttpLimits
from tests.serving.http1_serving import HOST, Served, answer, everything, request, served, until

__all__ = ["served"]


def test_answers_come_in_the_order_of_the_requests(served: Served) -> None:
    """Row 18, pipelining: requests that are at work together are answered in their order all the same."""
    with served.client() as client:
        client.sendall(b"".join(request(b"/held", b"%d" % number) for number in range(5)) + request(b"/short", b"last"))
        until(lambda: len(served.front.held) == 5)
        served.call(served.front.release)
        assert [answer(client)[2] for _ in range(6)] == [b"0", b"1", b"2", b"3", b"4", b"last"]


def test_a_request_that_is_none_of_an_api_waits_for_those_before_it(served: Served) -> None:
    """Two requests of one client that may change something are not at work at one time."""
    with served.client() as client:
        client.sendall(request(b"/held", b"1") + request(b"/feedback", b"2") + request(b"/short", b"3"))
        until(lambda: len(served.front.held) == 1)
        assert served.front.served[-1] == "POST /held"
        served.call(served.front.release)
        assert answer(client)[2] == b"1"
        assert answer(client)[2].endswith(b"\n2")
        assert answer(client)[2] == b"3"


def test_an_answered_request_is_forgotten_at_once(served: Served) -> None:
    """Its memory is free with its answer, not when the garbage collector comes to look: bodies may be large."""
    gc.disable()
    try:
        with served.client() as client:
            client.sendall(b"".join(request(b"/held", b"%d" % number) for number in range(20)))
            until(lambda: len(served.front.held) == 20)
            served.call(served.front.release)
            assert [answer(client)[2] for _ in range(20)] == [b"%d" % number for number in range(20)]
            kept = [each for each in gc.get_objects() if isinstance(each, Exchange)]
            assert [each.target for each in kept if each.connection.server is served.server] == []
    finally:
        gc.enable()


def test_pipelined_requests_beyond_the_bound_stay_unread(served: Served) -> None:
    """A client that sends and never reads fills its own buffers, not the server's memory: 32 requests are at work."""
    with served.client() as client:
        client.settimeout(0.5)

        def send_much() -> None:
            for _ in range(4_000):
                client.sendall(request(b"/held", bytes(1000)) * 50)

        with pytest.raises(TimeoutError):
            send_much()
        assert len(served.front.held) == 32
        assert served.server.held < 1 << 20
    served.call(served.front.release)  # an answer shows that the client has left, since nothing more was read
    until(lambda: served.call(served.front.release) or served.server.connections == 0)
    assert served.server.held == 0


def test_the_connection_stays_open_and_is_ended_when_the_client_says_so(served: Served) -> None:
    """Keep-alive is the rule of HTTP/1.1, and the exception of HTTP/1.0."""
    with served.client() as client:
        for number in range(3):
            client.sendall(request(body=b"%d" % number))
            status, fields, body = answer(client)
            assert (status, body) == (200, b"%d" % number)
            assert "connection" not in fields
            assert "date" in fields
        client.sendall(request(fields=b"Connection: close\r\n"))
        assert b"Connection: close\r\n" in everything(client)


def test_http_1_0_is_answered_and_ended_unless_it_asks_otherwise(served: Served) -> None:
    """Row 18, HTTP/1.0, with and without keep-alive, and without a Host."""
    assert b"Connection: close\r\n" in served.said(b"POST /short HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")
    with served.client() as client:
        client.sendall(b"POST /short HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab")
        assert answer(client)[1]["connection"] == "keep-alive"
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    """Row 18, Expect: 100-continue, when the answers before it have gone out; other expectations are refused."""
    head = b"POST /short HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n"
    with served.client() as client:
        client.sendall(request(b"/held", b"1") + head + b"Expect: 100-continue\r\n\r\n")
        until(lambda: len(served.front.held) == 1)
        served.call(served.front.release)
        assert answer(client)[2] == b"1"
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert answer(client)[2] == b"abc"
    assert served.said(head + b"Expect: a-miracle\r\n\r\n").startswith(b"HTTP/1.1 417 ")


@pytest.mark.parametrize("part", [None, 1], ids=["at once", "byte by byte"])
def test_chunked_bodies_are_put_together(served: Served, part: int | None) -> None:
    """Row 18: with extensions and a trailer, which mean nothing here, and however they are cut on the way."""
    body = b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    data = b"POST %b HTTP/1.1\r\nHost: here\r\n%bTransfer-Encoding: chunked\r\n\r\n" + body
    said = served.said(data % (b"/short", b"") + data % (b"/", b"Connection: close\r\n"), part=part)
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.endswith(b"\nabcde")
    assert b"'CONTENT_LENGTH': '5'" in said
    assert b"HTTP_X_TRAILER" not in said


def test_head_has_the_length_and_no_body(served: Served) -> None:
    """Row 18: what follows a HEAD is the next answer."""
    with served.client() as client:
        client.sendall(request(b"/large", method=b"HEAD") + request(body=b"next"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        assert b"Content-Length: 8388608\r\n" in head
        assert answer(client)[2] == b"next"


def test_the_target_reaches_the_application_decoded_once(served: Served) -> None:
    """The origin form and the absolute form; the query stays as it is, and double encoding is not resolved."""
    with served.client() as client:
        for target in (b"/a%20b%252e?x=%20", b"http://there/a%20b%252e?x=%20"):
            client.sendall(request(target, method=b"GET"))
            body = answer(client)[2]
            assert b"'PATH_INFO': '/a b%2e'" in body
            assert b"'QUERY_STRING': 'x=%20'" in body


def test_an_application_that_fails_costs_its_own_request(served: Served) -> None:
    """500 without a traceback, on a connection that goes on."""
    with served.client() as client:
        client.sendall(request(b"/raise", method=b"GET") + request(body=b"next"))
        status, _, body = answer(client)
        assert status == 500
        assert b"broken" not in body
        assert answer(client)[2] == b"next"


def test_length_and_connection_are_the_servers_own(served: Served) -> None:
    """An application that tells a wrong Content-Length cannot make two answers of one."""
    with served.client() as client:
        client.sendall(request(b"/large", method=b"GET"))
        _, fields, body = answer(client)
        assert fields["content-length"] == str(8 << 20) == str(len(body))


def test_requests_of_a_client_that_left_are_dropped(served: Served) -> None:
    """Row 13: whoever serves them is told, once, and an answer that comes all the same goes nowhere."""
    before = len(served.front.gone)
    with served.client() as client:
        client.sendall(request(b"/held") * 3)
        until(lambda: len(served.front.held) == 3)
    until(lambda: len(served.front.gone) == before + 3)
    served.call(served.front.release)
    assert len(served.front.gone) == before + 3
    assert served.said(request(fields=b"Connection: close\r\n")).startswith(b"HTTP/1.1 200 ")


def test_stopping_answers_what_was_accepted_and_takes_no_more() -> None:
    """Row 16: also a connection that only the kernel had accepted; idle ones get a last call; answers end connections."""
    server = Served(HttpLimits())
    idle = socket.create_connection(("127.0.0.1", server.port))
    busy = socket.create_connection(("127.0.0.1", server.port))
    half = socket.create_connection(("127.0.0.1", server.port))
    busy.sendall(request(b"/wait", method=b"GET"))
    half.sendall(request(body=b"abc")[:-1])
    until(lambda: len(server.front.served) == 1 and server.server.connections == 3)
    held = threading.Event()
    server.loop.call_soon_threadsafe(held.wait, 30)
    late = socket.create_connection(("127.0.0.1", server.port))
    late.sendall(request(body=b"late"))
    server.stop()
    held.set()
    until(lambda: server.listener.fileno() == -1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port))
    idle.sendall(request(body=b"idle"))
    half.sendall(b"c")
    for client, body in ((idle, b"idle"), (half, b"abc"), (late, b"late")):
        status, fields, found = answer(client)
        assert (status, fields["connection"], found) == (200, "close", body)
    server.front.gate.set()
    assert answer(busy)[0] == 200
    server.close()
    for client in (idle, busy, half, late):
        client.close()


def test_idle_connections_are_ended() -> None:
    """Between two requests, and before the first one."""
    server = Served(HttpLimits(idle_seconds=0.2, head_seconds=0.2))
    try:
        with server.client() as first, server.client() as second:
            first.sendall(request())
            assert answer(first)[0] == 200
            assert everything(first) == b""
            assert everything(second) == b""
    finally:
        server.close()


def test_running_out_of_descriptors_ends_idle_connections_and_not_the_server() -> None:
    """EMFILE at accept: the next client is served when the idle ones have made room."""
    server = Served(HttpLimits())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients: list[socket.socket] = []
    try:
        used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 41, hard))

        def connect_many() -> None:
            while True:
                clients.append(socket.create_connection(("127.0.0.1", server.port)))

        with pytest.raises(OSError, match="Too many open files"):
            connect_many()
        last = clients[-1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        last.sendall(request(body=b"here"))
        assert answer(last)[2] == b"here"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            client.close()
        server.close()


def test_connections_beyond_the_bound_wait_for_their_turn() -> None:
    """They stay in the kernel's queue until others end."""
    server = Served(HttpLimits(connections=3))
    try:
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        until(lambda: server.server.connections == 3)
        with server.client() as last:
            last.sendall(request(body=b"last"))
            time.sleep(0.2)
            assert server.server.connections == 3
            clients.pop().close()
            assert answer(last)[2] == b"last"
        for client in clients:
            client.close()
    finally:
        server.close()
