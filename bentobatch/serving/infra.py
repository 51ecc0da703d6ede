"""This module is what the machines around the server ask: health, readiness, metadata, metrics, documents, feedback."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from flask import Flask, Response, g, request

from bentobatch.errors import BentobatchError, DataError
from bentobatch.serving.call import RequestError
from bentobatch.serving.metadata import metadata_of
from bentobatch.serving.openapi import openapi
from bentobatch.serving.prometheus import CONTENT_TYPE, text_of
from bentobatch.serving.site import Site
from bentobatch.serving.wsgi import body_of

_feedback_log = logging.getLogger("bentobatch.serving.feedback")
_MOST_FEEDBACK = 1 << 20


def add_infra(app: Flask, site: Site) -> None:
    """Add the views."""
    views = _Views(site)
    app.add_url_rule("/healthz", "healthz", views.alive)
    app.add_url_rule("/livez", "livez", views.alive)
    app.add_url_rule("/readyz", "readyz", views.ready)
    app.add_url_rule("/ping", "ping", views.ready)  # SageMaker's
    if site.options.health_route is not None:
        app.add_url_rule(f"/{site.options.health_route.strip('/')}", "vertex_health", views.ready)
    app.add_url_rule("/metadata", "metadata", views.metadata)
    app.add_url_rule("/metrics", "metrics", views.metrics)
    app.add_url_rule("/docs.json", "docs_json", views.document)
    app.add_url_rule("/openapi.json", "openapi_json", views.document)
    app.add_url_rule("/feedback", "feedback", views.feedback, methods=["POST"])


class _Views:
    def __init__(self, site: Site) -> None:
        self._site = site

    def alive(self) -> Response:
        """The process answers: all that it says."""
        return _json({"status": "ok"})

    def ready(self) -> Response:
        """503 before the service is loaded, and from when the server was told to stop."""
        if self._site.is_ready:
            return _json({"status": "ready"})
        return _json({"status": "stopping" if self._site.is_loaded else "loading"}, 503)

    def metadata(self) -> Response:
        """The bundle's manifest, as JSON."""
        return _json(metadata_of(self._site.served.service))

    def metrics(self) -> Response:
        """The counts of all workers."""
        served = self._site.served
        counts, workers = served.counts.together()
        text = text_of(
            counts,
            workers,
            service=served.service.name,
            version=served.service.version or "",
            ready=self._site.is_ready,
        )
        return Response(text, content_type=CONTENT_TYPE)

    def document(self) -> Response:
        """The OpenAPI document."""
        return _json(openapi(self._site.served, request.url_root.rstrip("/")))

    def feedback(self) -> Response:
        """Log what came of a prediction."""
        if request.mimetype != "application/json":
            raise RequestError(415, "feedback is JSON: send it with Content-Type: application/json")
        content = body_of(request.environ, min(_MOST_FEEDBACK, self._site.options.max_body_bytes))
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise DataError(f"the body is not JSON: {error}") from error
        if not isinstance(value, dict) or not isinstance(value.get("request_id"), str):
            raise DataError('feedback is a JSON object with the "request_id" of the prediction')
        try:
            service = self._site.served.service
            name, version = service.name, service.version
        except BentobatchError:
            name, version = None, None
        told = {"service": name, "version": version, "received_as": g.request_id, "feedback": value}
        _feedback_log.info("%s", orjson.dumps(told).decode())
        return _json({"status": "logged", "request_id": value["request_id"]})


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value) + b"\n", status=status, content_type="application/json")
