"""This module speaks HTTP/1.1 (RFC 9112) with one client: it reads requests within limits and answers them in order.

The bytes are parsed by httptools (llhttp), which refuses what two parsers could read in two ways: both lengths, two
lengths, folded lines, bare line ends, bad chunks. Whatever is refused ends the connection.

A client that shuts its sending side down counts as gone, as with nginx and uvicorn: its requests are dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from bentobatch.serving.call import Reply, RequestError, too_large
from bentobatch.serving.http1_exchange import Exchange
from bentobatch.serving.http1_head import check_head

if TYPE_CHECKING:
    from bentobatch.serving.http1_server import HttpServer

_IDLE, _HEAD, _BODY, _LINGER = range(4)
_UPGRADES = frozenset({b"connection", b"http2-settings", b"upgrade"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Front(Protocol):
    """What answers the requests of a server; all calls come in the loop's thread."""

    def short_way(self, exchange: Exchange) -> object | None:
        """What serves this request beside others of its connection; None: it is served alone, after those before it."""

    def serve(self, exchange: Exchange) -> None:
        """Answer, now or later. ``exchange.short`` is what ``short_way`` gave."""

    def refuse(self, exchange: Exchange, error: RequestError) -> Reply:
        """The answer to a request that could not be read, for this reason. It may have no target and no header yet."""


class _Stop(Exception):  # noqa: N818 - no error, but the way out of the parser
    """Nothing more is parsed on this connection."""


class Connection(asyncio.BufferedProtocol):
    """One client. Requests that are whole wait in ``_parsed`` until they are at work, in ``_working`` until their turn to
    be answered has come. While any is in ``_parsed``, or the client does not take its answers, nothing is read."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self._limits = server.limits
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._parsed: deque[Exchange] = deque()
        self._working: deque[Exchange] = deque()
        self._alone = False  # the one at work tolerates no other
        self._dispatching = False
        self._receiving = _IDLE
        self._since = 0.0
        self._answered = False
        self._ended = False  # what else comes is thrown away
        self._reading = True
        self._unwritable = False
        self._unsent = 0
        self._unsent_since = 0.0
        self._exchange: Exchange | None = None
        self._upgrading: Exchange | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._fed = 0
        self._chunks: list[bytes] = []
        self._received = 0
        self._continue_due = False

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The beginning."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._since = time.monotonic()
        self.server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """The end: nobody waits for an answer any more."""
        self._ended = True
        self.server.closed(self)
        self.server.held -= self._received
        self._received = 0
        self._chunks = []
        for exchange in (*self._working, *self._parsed):
            self._forget(exchange)
        self._working.clear()
        self._parsed.clear()

    def eof_received(self) -> bool:
        """The client has nothing more to say, and so counts as gone."""
        return False

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """One buffer for all connections: what lies in it is parsed before anything else is read."""
        return self.server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        if self._ended:
            self._throw_away(nbytes)
            return
        self._fed += nbytes
        try:
            self._feed(self.server.buffer[:nbytes])
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Stop):
                raise
        except httptools.HttpParserError as error:
            if not self._ended:
                self._refuse(RequestError(400, f"the request is no valid HTTP/1.1: {error}", close=True))
        if self._receiving == _HEAD and self._fed > self._limits.head_bytes + self._limits.target_bytes:
            self._refuse_head("is too long")
        self._dispatch()

    def _feed(self, data: memoryview) -> None:
        """Parse. A wish to change the protocol is not heard, as RFC 9110 allows (Java's client has it in every first
        request); the parser would take what follows for the new protocol, so another one starts without the wish."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as error:
                data = data[error.args[0] :]
                last = b"" if self._parser.should_keep_alive() else b"Connection: close\r\n"
                exchange, self._upgrading = self._upgrading, None
                assert exchange is not None
                kept = [field for field in exchange.headers if field[0] not in _UPGRADES]
                fields = b"".join([b"%b: %b\r\n" % field for field in kept])
                head = (exchange.method.encode("ascii"), exchange.target, fields, last)
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(b"%b %b HTTP/1.1\r\n%b%b\r\n" % head)
                continue
            return

    def pause_writing(self) -> None:
        """The client does not take its answers: take no more requests of it."""
        self._unwritable = True
        self._set_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._unwritable = False
        self._dispatch()

    # the parser's side

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._receiving = _HEAD
        self._since = time.monotonic()
        self._target = b""
        self._headers = []
        self._head_bytes = self._fed = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url
        if len(self._target) > self._limits.target_bytes:
            self._refuse(RequestError(414, f"the target is longer than {self._limits.target_bytes} bytes", close=True))
            raise _Stop

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """A field of the header, or of a chunked body's trailer, which nobody asks for."""
        value = value or b""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._limits.head_bytes:
            self._refuse_head("is too long")
            raise _Stop
        if self._receiving != _HEAD:
            return
        self._headers.append((name.lower(), value))
        if len(self._headers) > self._limits.head_fields:
            self._refuse_head(f"has more than {self._limits.head_fields} fields")
            raise _Stop

    def on_headers_complete(self) -> None:
        """The header is whole: refuse what cannot become a request, before its body is read."""
        parser = self._parser
        try:
            exchange = Exchange(self, parser.get_method().decode("ascii"), self._target, parser.get_http_version())
            exchange.headers = self._headers
            self._continue_due = check_head(exchange, self._limits)
        except RequestError as error:
            self._refuse(error)
            raise _Stop from error
        except ValueError as error:
            self._refuse(RequestError(400, f"the target is no valid URL: {error}", close=True))
            raise _Stop from error
        if parser.should_upgrade():
            self._upgrading = exchange
            return
        exchange.received_at = self._since
        exchange.keep_alive = parser.should_keep_alive()
        self._exchange = exchange
        self._receiving = _BODY
        if self._continue_due and not self._working and not self._parsed:
            self._say_continue()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        size = len(body)
        self._received += size
        self.server.held += size
        self._continue_due = False
        if self._received > self._limits.body_bytes:
            self._refuse(too_large(self._limits.body_bytes))
            raise _Stop
        if self.server.held > self._limits.all_body_bytes:
            self._refuse(RequestError(503, "the server holds too many large requests; try again later", close=True))
            raise _Stop
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrading is not None:
            return
        exchange = self._exchange
        assert exchange is not None
        chunks = self._chunks
        if chunks:
            exchange.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._chunks = []
            self._received = 0  # from now on the exchange's own
        self._exchange = None
        self._continue_due = False
        self._receiving = _IDLE
        self._since = time.monotonic()
        self._fed = 0
        self._ended = not exchange.keep_alive
        exchange.short = self.server.front.short_way(exchange)
        self._parsed.append(exchange)

    # requests and answers

    def _dispatch(self) -> None:
        """Put to work what may be, in order."""
        if self._dispatching:
            return
        self._dispatching = True
        parsed, working, front = self._parsed, self._working, self.server.front
        while parsed and not self._alone and not self._unwritable and len(working) < self._limits.pipelined:
            exchange = parsed[0]
            if exchange.short is None:
                if working:
                    break
                self._alone = True
            working.append(parsed.popleft())
            if exchange.wire is None:
                front.serve(exchange)
            else:
                self.flush()  # a refusal, whose turn has come
        self._dispatching = False
        self._set_reading()

    def keeps_open_after(self, exchange: Exchange) -> bool:
        """Whether this answer leaves the connection open."""
        if not exchange.keep_alive:
            return False
        last = self._working[-1] is exchange and not self._parsed and self._receiving == _IDLE
        return not (last and self.server.draining)

    def flush(self) -> None:
        """Write the answers whose turn has come."""
        working = self._working
        while working and (wire := working[0].wire) is not None:
            exchange = working.popleft()
            self._alone = False
            self._answered = True
            if exchange.body:
                self.server.held -= len(exchange.body)
            self._transport.write(wire)
            if not exchange.keep_alive:
                self._end()
                return
        if self._continue_due and not working and not self._parsed:
            self._say_continue()
        if self._receiving == _IDLE:
            self._since = time.monotonic()
        if self._parsed:
            self._dispatch()

    def _say_continue(self) -> None:
        self._continue_due = False
        self._transport.write(_CONTINUE)

    def _refuse(self, error: RequestError) -> None:
        """Answer what came before, then this, and end the connection."""
        exchange = self._exchange or Exchange(self, "GET", b"*", "1.1")
        self._exchange = None
        self._ended = True
        self._receiving = _LINGER
        self._since = time.monotonic()
        self.server.held -= self._received
        self._received = 0
        self._chunks = []
        self._continue_due = False
        exchange.keep_alive = False
        exchange.prepare(self.server.front.refuse(exchange, error))
        self._parsed.append(exchange)

    def _refuse_head(self, problem: str) -> None:
        self._refuse(RequestError(431, f"the header of the request {problem}", close=True))

    def _end(self) -> None:
        """The last answer was written."""
        self._ended = True
        for exchange in (*self._working, *self._parsed):
            self._forget(exchange)
        self._working.clear()
        self._parsed.clear()
        if self._receiving == _LINGER and self._transport.can_write_eof() and not self._transport.is_closing():
            self._fed = 0
            self._since = time.monotonic()
            self._set_reading()
            self._transport.write_eof()
        else:
            self._transport.close()

    def _throw_away(self, nbytes: int) -> None:
        self._fed += nbytes
        if self._fed > self._limits.linger_bytes:
            self._transport.abort()

    def _forget(self, exchange: Exchange) -> None:
        exchange.gone = True
        if exchange.body:
            self.server.held -= len(exchange.body)
        if exchange.on_gone is not None:
            exchange.on_gone()

    def _set_reading(self) -> None:
        wanted = not self._unwritable and not self._parsed
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._since = time.monotonic()
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # time

    @property
    def peer(self) -> tuple[object, object]:
        """The client's address and port."""
        return _pair(self._transport.get_extra_info("peername"))

    @property
    def address(self) -> tuple[object, object]:
        """Our own address and port."""
        return _pair(self._transport.get_extra_info("sockname"))

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._receiving == _IDLE and not self._working and not self._parsed

    def close(self) -> None:
        """End it, after what was written has gone."""
        self._transport.close()

    def watch(self, now: float) -> None:
        """End what takes too long. ``now``: of time.monotonic()."""
        if self._transport.get_write_buffer_size():
            self._watch_writing(now)
            return
        self._unsent = 0
        limits, passed = self._limits, now - self._since
        if self._receiving == _IDLE:
            if self.idle and passed > (limits.idle_seconds if self._answered else limits.head_seconds):
                self._transport.close()
        elif self._receiving == _LINGER:
            if not self._working and not self._parsed and passed > limits.linger_seconds:
                self._transport.abort()
        elif self._reading:
            if self._receiving == _HEAD and passed > limits.head_seconds:
                self._give_up("header")
            elif self._receiving == _BODY and passed > limits.body_seconds + self._received / limits.body_rate:
                self._give_up("body")

    def _watch_writing(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > self._limits.write_seconds:
            self._transport.abort()

    def _give_up(self, part: str) -> None:
        self._refuse(RequestError(408, f"the {part} of the request did not come in time", close=True))
        self._dispatch()


def _pair(name: object) -> tuple[object, object]:
    """Address and port of a socket's name; that of a UNIX socket has neither."""
    return (name[0], name[1]) if isinstance(name, tuple) else ("", "")
