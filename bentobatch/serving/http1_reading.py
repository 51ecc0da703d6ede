"""This module reads the requests of one connection, within limits.

The bytes are parsed by httptools (llhttp), which refuses what two parsers could read in two ways: both lengths, two
lengths, folded lines, bare line ends, bad chunks. Whatever is refused ends the connection.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING

import httptools

from bentobatch.serving.call import RequestError, too_large
from bentobatch.serving.http1_exchange import Exchange
from bentobatch.serving.http1_head import check_head

if TYPE_CHECKING:
    from bentobatch.serving.http1 import Connection
    from bentobatch.serving.http1_server import HttpServer

IDLE, HEAD, BODY, LINGER = range(4)
"""What is received: nothing, a header, a body; and after a refusal what is thrown away."""

_UPGRADES = frozenset({b"connection", b"http2-settings", b"upgrade"})


class _Stop(Exception):  # noqa: N818 - no error, but the way out of the parser
    """Nothing more is parsed on this connection."""


class RequestReading:
    """The receiving half of a Connection; the methods ``on_…`` are called by the parser."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self._limits = server.limits
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        self._receiving = IDLE
        self._since = 0.0
        self._ended = False  # what else comes is thrown away
        self._exchange: Exchange | None = None
        self._upgrading: Exchange | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._fed = 0
        self._chunks: list[bytes] = []
        self._received = 0
        self._continue_due = False

    @abstractmethod
    def refuse(self, error: RequestError) -> None:
        """Answer what came before, then this, and end the connection."""

    @abstractmethod
    def head_is_whole(self) -> None:
        """The header of a request has come to its end."""

    @abstractmethod
    def whole(self, exchange: Exchange) -> None:
        """A request has come to its end."""

    @abstractmethod
    def _connection(self) -> Connection:
        """What the exchanges belong to."""

    def read(self, data: memoryview) -> None:
        """Parse what has come."""
        self._fed += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Stop):
                raise
        except httptools.HttpParserError as error:
            if not self._ended:
                self.refuse(RequestError(400, f"the request is no valid HTTP/1.1: {error}", close=True))
        if self._receiving == HEAD and self._fed > self._limits.head_bytes + self._limits.target_bytes:
            self._refuse_head("is too long")

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

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._receiving = HEAD
        self._since = time.monotonic()
        self._target = b""
        self._headers = []
        self._head_bytes = self._fed = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url
        if len(self._target) > self._limits.target_bytes:
            self.refuse(RequestError(414, f"the target is longer than {self._limits.target_bytes} bytes", close=True))
            raise _Stop

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """A field of the header, or of a chunked body's trailer, which nobody asks for."""
        value = value or b""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._limits.head_bytes:
            self._refuse_head("is too long")
            raise _Stop
        if self._receiving != HEAD:
            return
        self._headers.append((name.lower(), value))
        if len(self._headers) > self._limits.head_fields:
            self._refuse_head(f"has more than {self._limits.head_fields} fields")
            raise _Stop

    def on_headers_complete(self) -> None:
        """The header is whole: refuse what cannot become a request, before its body is read."""
        parser = self._parser
        try:
            exchange = Exchange(
                self._connection(), parser.get_method().decode("ascii"), self._target, parser.get_http_version()
            )
            exchange.headers = self._headers
            self._continue_due = check_head(exchange, self._limits)
        except RequestError as error:
            self.refuse(error)
            raise _Stop from error
        except ValueError as error:
            self.refuse(RequestError(400, f"the target is no valid URL: {error}", close=True))
            raise _Stop from error
        if parser.should_upgrade():
            self._upgrading = exchange
            return
        exchange.received_at = self._since
        exchange.keep_alive = parser.should_keep_alive()
        self._exchange = exchange
        self._receiving = BODY
        self.head_is_whole()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        size = len(body)
        self._received += size
        self.server.held += size
        self._continue_due = False
        if self._received > self._limits.body_bytes:
            self.refuse(too_large(self._limits.body_bytes))
            raise _Stop
        if self.server.held > self._limits.all_body_bytes:
            self.refuse(RequestError(503, "the server holds too many large requests; try again later", close=True))
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
        self._receiving = IDLE
        self._since = time.monotonic()
        self._fed = 0
        self._ended = not exchange.keep_alive
        self.whole(exchange)

    def stopped(self) -> Exchange:
        """Read no more; the request that was being read, as far as it is known."""
        exchange = self._exchange or Exchange(self._connection(), "GET", b"*", "1.1")
        self._exchange = None
        self._ended = True
        self._receiving = LINGER
        self._since = time.monotonic()
        self._continue_due = False
        self.release()
        return exchange

    def release(self) -> None:
        """Forget the body that was being read."""
        self.server.held -= self._received
        self._received = 0
        self._chunks = []

    def _refuse_head(self, problem: str) -> None:
        self.refuse(RequestError(431, f"the header of the request {problem}", close=True))
