"""This module checks the header of a request, before its body is read: what means nothing, or two things, is refused."""

from __future__ import annotations

from bentobatch.serving.call import RequestError, too_large
from bentobatch.serving.http1_exchange import Exchange, HttpLimits

_WATCHED = frozenset({b"content-length", b"transfer-encoding", b"host", b"expect"})


def check_head(exchange: Exchange, limits: HttpLimits) -> bool:
    """Whether the client waits for a 100 (Continue) before it sends the body.

    What httptools refuses by itself (two lengths, both lengths, folded lines) has not come here.

    Raises:
        RequestError: it is refused, and its connection ends.
    """
    if exchange.version not in ("1.1", "1.0"):
        raise RequestError(505, f"the server speaks HTTP/1.1, not {exchange.version}", close=True)
    if exchange.method == "CONNECT":
        raise RequestError(501, "the server is no proxy and does not know CONNECT", close=True)
    hosts = 0
    waits = False
    for name, value in exchange.headers:
        if name not in _WATCHED:
            continue
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            if int(value) > limits.body_bytes:
                raise too_large(limits.body_bytes)
        elif name == b"transfer-encoding":
            _check_coding(exchange, value)
        else:
            waits = _waits(exchange, value)
    if hosts > 1 or (hosts == 0 and exchange.version == "1.1"):
        raise RequestError(400, f"a request has one Host field, this one {hosts}", close=True)
    return waits


def _check_coding(exchange: Exchange, value: bytes) -> None:
    if exchange.version == "1.0":
        raise RequestError(400, "HTTP/1.0 has no Transfer-Encoding", close=True)
    if value.strip().lower() != b"chunked":
        raise RequestError(501, "the only Transfer-Encoding that is taken is chunked", close=True)


def _waits(exchange: Exchange, value: bytes) -> bool:
    if value.strip().lower() != b"100-continue":
        raise RequestError(417, "the only Expect that is taken is 100-continue", close=True)
    return exchange.version == "1.1"
