"""This module speaks HTTP/1.1 (RFC 9112) with one client: it has requests answered in order, and ends what takes too long.

A client that shuts its sending side down counts as gone, as with nginx and uvicorn: its requests are dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

from bentobatch.serving.call import Reply, RequestError
from bentobatch.serving.http1_exchange import Exchange
from bentobatch.serving.http1_reading import BODY, HEAD, IDLE, LINGER, RequestReading

if TYPE_CHECKING:
    from bentobatch.serving.http1_server import HttpServer

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Front(Protocol):
    """What answers the requests of a server; all calls come in the loop's thread."""

    def short_way(self, exchange: Exchange) -> object | None:
        """What serves this request beside others of its connection; None: it is served alone, after those before it."""

    def serve(self, exchange: Exchange) -> None:
        """Answer, now or later. ``exchange.short`` is what ``short_way`` gave."""

    def refuse(self, exchange: Exchange, error: RequestError) -> Reply:
        """The answer to a request that could not be read, for this reason. It may have no target and no header yet."""


class Connection(RequestReading, asyncio.BufferedProtocol):
    """One client. Requests that are whole wait in ``_parsed`` until they are at work, in ``_working`` until their turn to
    be answered has come. While any is in ``_parsed``, or the client does not take its answers, nothing is read."""

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._parsed: deque[Exchange] = deque()
        self._working: deque[Exchange] = deque()
        self._alone = False  # the one at work tolerates no other
        self._dispatching = False
        self._answered = False
        self._reading = True
        self._unwritable = False
        self._unsent = 0
        self._unsent_since = 0.0

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
        self.release()
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
        self.read(self.server.buffer[:nbytes])
        self._dispatch()

    def pause_writing(self) -> None:
        """The client does not take its answers: take no more requests of it."""
        self._unwritable = True
        self._set_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._unwritable = False
        self._dispatch()

    # requests and answers

    def whole(self, exchange: Exchange) -> None:
        """A request has come to its end."""
        exchange.short = self.server.front.short_way(exchange)
        self._parsed.append(exchange)

    def _connection(self) -> Connection:
        return self

    def head_is_whole(self) -> None:
        """The header of a request has come to its end."""
        if self._continue_due and not self._working and not self._parsed:
            self._say_continue()

    def _dispatch(self) -> None:
        """Put to work what may be, in order."""
        if self._dispatching:
            return
        self._dispatching = True
        try:
            self._put_to_work()
        finally:
            self._dispatching = False
        self._set_reading()

    def _put_to_work(self) -> None:
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

    def keeps_open_after(self, exchange: Exchange) -> bool:
        """Whether this answer leaves the connection open."""
        if not exchange.keep_alive:
            return False
        last = self._working[-1] is exchange and not self._parsed and self._receiving == IDLE
        return not (last and self.server.draining)

    def flush(self) -> None:
        """Write the answers whose turn has come."""
        working = self._working
        while working and (wire := working[0].wire) is not None:
            exchange = working.popleft()
            exchange.on_gone = None  # which knows the exchange: both would stay until the garbage is looked through
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
        if self._receiving == IDLE:
            self._since = time.monotonic()
        if self._parsed:
            self._dispatch()

    def _say_continue(self) -> None:
        self._continue_due = False
        self._transport.write(_CONTINUE)

    def refuse(self, error: RequestError) -> None:
        """Answer what came before, then this, and end the connection."""
        exchange = self.stopped()
        exchange.keep_alive = False
        exchange.prepare(self.server.front.refuse(exchange, error))
        self._parsed.append(exchange)

    def _end(self) -> None:
        """The last answer was written."""
        self._ended = True
        for exchange in (*self._working, *self._parsed):
            self._forget(exchange)
        self._working.clear()
        self._parsed.clear()
        if self._receiving == LINGER and self._transport.can_write_eof() and not self._transport.is_closing():
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
            exchange.on_gone = None

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
        return self._receiving == IDLE and not self._working and not self._parsed

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
        if self._receiving == IDLE:
            if self.idle and passed > (limits.idle_seconds if self._answered else limits.head_seconds):
                self._transport.close()
        elif self._receiving == LINGER:
            if not self._working and not self._parsed and passed > limits.linger_seconds:
                self._transport.abort()
        elif self._reading:
            if self._receiving == HEAD and passed > limits.head_seconds:
                self._give_up("header")
            elif self._receiving == BODY and passed > limits.body_seconds + self._received / limits.body_rate:
                self._give_up("body")

    def _watch_writing(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > self._limits.write_seconds:
            self._transport.abort()

    def _give_up(self, part: str) -> None:
        self.refuse(RequestError(408, f"the {part} of the request did not come in time", close=True))
        self._dispatch()


def _pair(name: object) -> tuple[object, object]:
    """Address and port of a socket's name; that of a UNIX socket has neither."""
    return (name[0], name[1]) if isinstance(name, tuple) else ("", "")
