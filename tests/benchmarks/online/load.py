"""This module is a load generator for where wrk is not installed: a closed loop of connections, in one thread.

    load.py HOST PORT PATH BODY_FILE CONNECTIONS SECONDS

It writes the same line as post.lua. It costs more CPU than wrk, so a fast server shows slower by it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httptools


class Connection(asyncio.Protocol):
    """Sends the request again as soon as it is answered."""

    def __init__(self, request: bytes, seen: Seen) -> None:
        self.request = request
        self.seen = seen
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.sent = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if now < self.seen.end:
            self.seen.latencies.append(now - self.sent)
            self.seen.failed += not 200 <= self.parser.get_status_code() < 400
            asyncio.get_running_loop().call_soon(self.send)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.seen.cut_off += time.perf_counter() < self.seen.end


class Seen:
    """What all connections saw until ``end``."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.latencies: list[float] = []
        self.failed = 0
        self.cut_off = 0


async def load(host: str, port: int, request: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Send for so long, and tell what was seen."""
    started = time.perf_counter()
    seen = Seen(started + seconds)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(request, seen), host, port)
    await asyncio.sleep(max(0.0, seen.end - time.perf_counter()))
    found = sorted(seen.latencies) or [0.0]
    return {
        "requests": len(seen.latencies),
        "seconds": time.perf_counter() - started,
        "p50_us": found[len(found) // 2] * 1e6,
        "p99_us": found[min(len(found) - 1, int(len(found) * 0.99))] * 1e6,
        "failed": seen.failed,
        "cut_off": seen.cut_off,
    }


def main() -> None:
    """The command line."""
    host, port, path, file, connections, seconds = sys.argv[1:]
    body = Path(file).read_bytes()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    done = asyncio.run(load(host, int(port), head.encode() + body, int(connections), float(seconds)))
    print("RESULT " + json.dumps(done))


if __name__ == "__main__":
    main()
