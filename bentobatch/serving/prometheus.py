"""This module writes the counts of a server as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bentobatch.serving.counts import OTHERS, ApiCounts
from bentobatch.serving.measures import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS: tuple[tuple[str, str, str, str], ...] = (
    ("shed_total", 'reason="full"', "shed_full", "Requests refused since too much was waiting."),
    ("shed_total", 'reason="deadline"', "shed_deadline", ""),
    ("expired_total", "", "expired", "Requests whose deadline passed before their turn."),
    ("cancelled_total", "", "cancelled", "Requests whose client left while they waited."),
    ("bad_rows_total", "", "bad_rows", "Rows that could not be scored."),
)
_GAUGES = (
    ("queue_requests", "waiting_requests", "Requests that wait."),
    ("queue_rows", "waiting_rows", "Rows that wait."),
    ("in_flight", "", "Requests that wait or are being scored."),
)
_HISTOGRAMS = (
    ("batch_rows", "batch_rows", "Rows of one call of the api."),
    ("batch_requests", "batch_requests", "Requests of one call of the api."),
    ("queue_seconds", "wait_seconds", "Seconds from a request's arrival to its call."),
    ("predict_seconds", "predict_seconds", "Seconds of one call of the api."),
)


def text_of(counts: Mapping[str, ApiCounts], workers: int, *, service: str, version: str, ready: bool) -> str:
    """All counts in the text format 0.0.4; ``workers``: how many live."""
    apis = {name: found for name, found in counts.items() if name != OTHERS}
    lines = [
        "# HELP bentobatch_service_info The service that is served.",
        "# TYPE bentobatch_service_info gauge",
        f'bentobatch_service_info{{service="{_escaped(service)}",version="{_escaped(version)}"}} 1',
        *_simple("workers", "gauge", "Worker processes that live.", workers),
        *_simple("ready", "gauge", "1 where requests should be sent here.", int(ready)),
        *_requests(counts),
    ]
    for name, attribute, told in _HISTOGRAMS:
        found_by_api = {api: getattr(found.statistics, attribute) for api, found in apis.items()}
        lines += _histograms(name, told, found_by_api)
    for name, label, attribute, told in _COUNTERS:
        if told:
            lines += _head(name, "counter", told)
        for api, found in apis.items():
            labels = ",".join(filter(None, (f'api="{api}"', label)))
            lines.append(f"bentobatch_{name}{{{labels}}} {getattr(found.statistics, attribute)}")
    for name, attribute, told in _GAUGES:
        lines += _head(name, "gauge", told)
        for api, found in apis.items():
            statistics = found.statistics
            value = (
                getattr(statistics, attribute)
                if attribute
                else statistics.waiting_requests + statistics.running_requests
            )
            lines.append(f'bentobatch_{name}{{api="{api}"}} {value}')
    return "\n".join(lines) + "\n"


def _requests(counts: Mapping[str, ApiCounts]) -> Iterator[str]:
    yield from _head("requests_total", "counter", "Requests that were answered; 499 are those whose client left.")
    for api, found in counts.items():
        for status, count in found.requests.by_status().items():
            yield f'bentobatch_requests_total{{api="{api}",status="{status or "other"}"}} {count}'
    told = "Seconds from a request's arrival to its reply."
    yield from _histograms("request_seconds", told, {api: found.requests.seconds for api, found in counts.items()})


def _histograms(name: str, told: str, by_api: Mapping[str, Histogram]) -> Iterator[str]:
    yield from _head(name, "histogram", told)
    for api, histogram in by_api.items():
        total = 0
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            total += count
            yield f'bentobatch_{name}_bucket{{api="{api}",le="{bound}"}} {total}'
        yield f'bentobatch_{name}_sum{{api="{api}"}} {histogram.sum:.6f}'
        yield f'bentobatch_{name}_count{{api="{api}"}} {total}'


def _simple(name: str, kind: str, told: str, value: int) -> Iterator[str]:
    yield from _head(name, kind, told)
    yield f"bentobatch_{name} {value}"


def _head(name: str, kind: str, told: str) -> tuple[str, str]:
    return f"# HELP bentobatch_{name} {told}", f"# TYPE bentobatch_{name} {kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
