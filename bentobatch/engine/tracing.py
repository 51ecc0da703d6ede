"""This module makes OpenTelemetry's spans of a run, where OpenTelemetry is installed and somebody has configured it.

Source of the variables: OpenTelemetry, "Environment Variable Specification"; TRACEPARENT: "Environment Variables as
Context Propagation Carriers", after W3C's Trace Context.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bentobatch

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_LOG = logging.getLogger("bentobatch")
_ASKED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_LAST_WORDS_SECONDS = 5.0
_MOST_TEXT = 1000

Moment = tuple[str, int, str]
"""What befell a span, when (ns since 1970), and in words."""


class Spans:
    """The spans of one run: a root, and children whose begin and end are known when they are made."""

    def __init__(self, tracer: Tracer, parent: Context | None, own: TracerProvider | None = None) -> None:
        """``own`` is a provider that was made for this run alone; it is shut down at its end."""
        self._tracer = tracer
        self._parent = parent
        self._own = own
        self._root: Span | None = None

    def begin(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Open the root."""
        self._root = self._tracer.start_span(name, context=self._parent, attributes=dict(attributes))

    def child(
        self,
        name: str,
        start: int,
        attributes: Mapping[str, Any],
        *,
        error: BaseException | None = None,
        moments: Sequence[Moment] = (),
    ) -> None:
        """A part of the run that began at ``start`` (ns since 1970) and ends now."""
        from opentelemetry import trace

        assert self._root is not None, "begin first"
        context = trace.set_span_in_context(self._root)
        span = self._tracer.start_span(name, context=context, attributes=dict(attributes), start_time=start)
        for what, when, text in moments:
            span.add_event(what, {"bentobatch.reason": text[:_MOST_TEXT]}, timestamp=when)
        _mark(span, error)
        span.end(end_time=max(start, time.time_ns()))

    def end(self, attributes: Mapping[str, Any], error: BaseException | None) -> None:
        """Close the root, and send what waits, for some seconds at the most."""
        assert self._root is not None, "begin first"
        self._root.set_attributes(dict(attributes))
        _mark(self._root, error)
        self._root.end()
        if self._own is not None:
            # a collector that does not answer would hold the end of the run up for half a minute
            thread = threading.Thread(target=self._own.shutdown, daemon=True, name="bentobatch-spans")
            thread.start()
            thread.join(_LAST_WORDS_SECONDS)


def spans_of(environ: Mapping[str, str]) -> Spans | None:
    """Spans, where this process has a tracer provider or ``environ`` asks for an exporter; else None, and OpenTelemetry
    is not even imported."""
    asked = any(environ.get(name) for name in _ASKED) and environ.get("OTEL_TRACES_EXPORTER") != "none"
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not (asked or "opentelemetry.trace" in sys.modules):
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        _LOG.debug("no spans: opentelemetry-api is not installed; install bentobatch[telemetry]")
        return None
    provider = trace.get_tracer_provider()
    own = None
    if isinstance(provider, trace.ProxyTracerProvider):  # nobody has set one
        own = _own_provider(environ) if asked else None
        if own is None:
            return None
        provider = own
    elif isinstance(provider, trace.NoOpTracerProvider):
        return None
    return Spans(provider.get_tracer("bentobatch", bentobatch.__version__), _parent(environ), own)


def _parent(environ: Mapping[str, str]) -> Context | None:
    """The context that the run belongs to: the caller's span, else the one that the environment names."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if trace.get_current_span().get_span_context().is_valid:
        return None  # the current one
    names = {"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE"}
    carrier = {header: environ[name] for header, name in names.items() if environ.get(name)}
    return TraceContextTextMapPropagator().extract(carrier) if carrier else None


def _own_provider(environ: Mapping[str, str]) -> TracerProvider | None:
    """A provider with the exporters that the environment asks for. It is not made the process's, which is its owner's to
    do; sampler, resource and limits are the SDK's own reading of the environment."""
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _LOG.debug("no spans: opentelemetry-sdk is not installed")
        return None
    try:
        exporters = [_exporter(names) for names in _exporter_names(environ)]
        provider = TracerProvider(shutdown_on_exit=False)
        for exporter in exporters:
            provider.add_span_processor(BatchSpanProcessor(exporter()))
    except Exception as error:  # noqa: BLE001 - other people's code, read from the environment: no reason to fail a run
        _LOG.warning("no spans: OpenTelemetry cannot be set up: %s", error)
        return None
    return provider


def _exporter_names(environ: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
    """For each exporter the names that it may be installed under."""
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    for name in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        if name.strip() != "otlp":
            yield (name.strip(),)
        elif protocol:
            yield (_PROTOCOLS.get(protocol, protocol),)
        else:
            yield ("otlp_proto_grpc", "otlp_proto_http")


def _exporter(names: tuple[str, ...]) -> Any:
    from importlib.metadata import entry_points

    for name in names:
        for found in entry_points(group="opentelemetry_traces_exporter", name=name):
            return found.load()
    raise LookupError(f"no exporter {' or '.join(names)} is installed")


def _mark(span: Span, error: BaseException | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR, str(error)[:_MOST_TEXT]))
