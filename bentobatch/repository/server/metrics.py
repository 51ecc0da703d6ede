"""This module counts the server's requests, and writes the counts as Prometheus reads them."""

from __future__ import annotations

import bisect
import threading
from collections import Counter, defaultdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PREFIX = "bentobatch_repository"


class Metrics:
    """Counts of one server process. Routes are patterns such as /bundles/<name>, so that their number is bounded, and no
    bundle's name is among them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_SECONDS) + 1))
        self._sums: dict[str, float] = defaultdict(float)
        self._active = 0
        self._bytes: Counter[str] = Counter()

    def begin(self) -> None:
        """A request has come."""
        with self._lock:
            self._active += 1

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Its answer was sent, or its client is gone."""
        with self._lock:
            self._active -= 1
            self._requests[method if method in _METHODS else "other", route, status] += 1
            self._seconds[route][bisect.bisect_left(_SECONDS, seconds)] += 1
            self._sums[route] += seconds

    def add_bytes(self, direction: str, count: int) -> None:
        """So many bytes of archives were "pushed" or "pulled"."""
        with self._lock:
            self._bytes[direction] += count

    def text(self) -> str:
        """All of them, in Prometheus' text format."""
        with self._lock:
            lines = [*self._requests_text(), *self._seconds_text(), *self._others_text()]
        return "\n".join(lines) + "\n"

    def _requests_text(self) -> list[str]:
        name = f"{_PREFIX}_requests_total"
        return [
            f"# HELP {name} Requests that were answered.",
            f"# TYPE {name} counter",
            *(
                f'{name}{{method="{method}",route="{route}",status="{status}"}} {count}'
                for (method, route, status), count in sorted(self._requests.items())
            ),
        ]

    def _seconds_text(self) -> list[str]:
        name = f"{_PREFIX}_request_seconds"
        lines = [f"# HELP {name} Seconds from a request to the end of its answer.", f"# TYPE {name} histogram"]
        for route, counts in sorted(self._seconds.items()):
            total = 0
            for bound, count in zip((*map(str, _SECONDS), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {total}')
            lines += [
                f'{name}_sum{{route="{route}"}} {self._sums[route]:.6f}',
                f'{name}_count{{route="{route}"}} {total}',
            ]
        return lines

    def _others_text(self) -> list[str]:
        active, total = f"{_PREFIX}_requests_active", f"{_PREFIX}_archive_bytes_total"
        return [
            f"# HELP {active} Requests that are being answered.",
            f"# TYPE {active} gauge",
            f"{active} {self._active}",
            f"# HELP {total} Bytes of archives that were pushed and pulled.",
            f"# TYPE {total} counter",
            *(f'{total}{{direction="{one}"}} {self._bytes[one]}' for one in ("pulled", "pushed")),
        ]
