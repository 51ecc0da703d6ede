"""This module puts the Flask application together: the apis, pages, health, metadata, metrics, feedback, and errors.

Requests to apis do not reach Flask (see wsgi.py); what they answer is decided in exchange.py, for every server alike.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from bentobatch.bundle.load import load
from bentobatch.errors import BentobatchError
from bentobatch.service.core import ServiceCore
from bentobatch.serving.access import allowed_origin, check_access
from bentobatch.serving.call import Reply, RequestError
from bentobatch.serving.counts import OTHERS
from bentobatch.serving.exchange import ServedService, log_access, request_id_of
from bentobatch.serving.infra import add_infra
from bentobatch.serving.options import ServingOptions
from bentobatch.serving.pages import add_pages, content, content_file
from bentobatch.serving.problems import problem, problem_of
from bentobatch.serving.site import Site
from bentobatch.serving.wsgi import ApiRequests, headers_of, path_of

_log = logging.getLogger("bentobatch.serving")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}
PUBLIC = frozenset({"healthz", "livez", "readyz", "ping", "vertex_health"})
"""The views that need no token and no Host: a load balancer asks them by an address, and they tell nothing."""


def create_app(
    source: Any, *, in_background: bool = False, serving_options: ServingOptions | None = None, **options: Any
) -> Flask:
    """The WSGI application that serves ``source``: the folder of a bundle, a loaded service, or a ServedService.

    ``options`` are the fields of ServingOptions, or ``serving_options`` has them. ``in_background``: load the bundle on a
    thread, and answer for the health meanwhile. The application's Site is in ``app.extensions["bentobatch"]``. It never
    debugs, whatever the environment says.

    Raises:
        NoInputError, PolicyError, BundleError: of loading the bundle.
        UsageError: an option makes no sense.
    """
    chosen = serving_options or ServingOptions(**options)
    if isinstance(source, Site):
        site = source
    elif isinstance(source, ServedService):
        site = Site(lambda: source, source.options)
    else:
        site = Site(lambda: _served(source, chosen), chosen, in_background=in_background)
    app = Flask("bentobatch.serving", static_folder=None)
    app.debug = False
    app.url_map.merge_slashes = False  # it would answer with a redirect that the request's path decides on
    app.url_map.strict_slashes = True
    app.extensions["bentobatch"] = site
    _add_rules_of_all_requests(app, site)
    add_infra(app, site)
    add_pages(app, site)
    app.wsgi_app = ApiRequests(site, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _served(source: Any, options: ServingOptions) -> ServedService:
    service = source if isinstance(source, ServiceCore) else load(os.fspath(source))
    return ServedService(service, options)


def _begun(app: Flask, site: Site) -> Response | None:
    g.began = time.monotonic()
    headers = headers_of(request.environ)
    g.request_id = request_id_of(headers.get("x-request-id"))
    request.max_content_length = site.options.max_body_bytes
    if request.method == "OPTIONS":
        return _options(app, site, headers)
    if request.endpoint not in PUBLIC:
        check_access(headers, site.options, method=request.method)
    return None


def _add_rules_of_all_requests(app: Flask, site: Site) -> None:
    def finish(response: Response) -> Response:
        for header, value in _HEADERS.items():
            response.headers.setdefault(header, value)
        response.headers.setdefault("X-Request-Id", g.request_id)
        if site.options.cors_origins:
            _allow_origin(response, site)
        seconds = time.monotonic() - g.began
        if site.is_loaded:
            site.served.counts.apis[OTHERS].requests.add(response.status_code, seconds)
        log_access(g.request_id, request.method, request.path, response.status_code, seconds)
        return response

    def failed(error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.code == 404 and request.method in ("GET", "HEAD"):
            found = content(site, path_of(request.environ))
            if found is not None:
                return found
        return response_of(_problem_of(error, app, site))

    app.before_request(lambda: _begun(app, site))
    app.after_request(finish)
    app.register_error_handler(Exception, failed)


def response_of(reply: Reply) -> Response:
    """A reply as Flask takes it."""
    response = Response(reply.body, status=reply.status)
    del response.headers["Content-Type"]
    for name, value in reply.headers:
        response.headers.add(name, value)
    if reply.close:
        response.headers["Connection"] = "close"
    return response


def _problem_of(error: Exception, app: Flask, site: Site) -> Reply:
    request_id: str = g.request_id
    if isinstance(error, HTTPException):
        if error.code in (404, 405):
            return _not_found(app, site, request_id)
        if error.code is None or error.code >= 500:
            _log.error("request %s: %s %r: %s", request_id, request.method, request.path, error)
        detail = " ".join((error.description or error.name).split())
        return problem(error.code or 500, detail, kind="RequestError", request_id=request_id)
    if not isinstance(error, BentobatchError):
        _log.error("request %s: %s %r failed", request_id, request.method, request.path, exc_info=error)
    return problem_of(error, request_id)


def _not_found(app: Flask, site: Site, request_id: str) -> Reply:
    """404, or 405 with Allow where the path takes other methods."""
    methods = _methods(app, site)
    error: BentobatchError
    if not site.is_loaded and request.method == "POST":
        error = site.why_not  # it may be an api's, once there are any
    elif not methods:
        known = ", ".join(f"/{route}" for route in site.served.endpoints) if site.is_loaded else "none yet"
        error = RequestError(404, f"there is nothing at this path; the apis are {known}")
    else:
        allow = ", ".join(sorted(methods))
        error = RequestError(405, f"this path takes {allow}", headers=(("Allow", allow),))
    return problem_of(error, request_id)


def _methods(app: Flask, site: Site) -> set[str]:
    """What the request's path takes; OPTIONS is among them unless there is nothing."""
    adapter = app.create_url_adapter(request)
    found = set(adapter.allowed_methods()) if adapter is not None else set()
    if site.is_loaded and site.served.endpoint(path_of(request.environ)) is not None:
        found.add("POST")
    if content_file(site, path_of(request.environ)) is not None:
        found |= {"GET", "HEAD"}
    return found | {"OPTIONS"} if found - {"OPTIONS"} else set()


def _options(app: Flask, site: Site, headers: Mapping[str, str]) -> Response:
    methods = _methods(app, site)
    if not methods:
        return response_of(_not_found(app, site, g.request_id))
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Allow"] = ", ".join(sorted(methods))
    if allowed_origin(headers, site.options) is not None and "access-control-request-method" in headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers["Allow"]
        response.headers["Access-Control-Allow-Headers"] = (
            "Authorization, Content-Type, Content-Encoding, X-Request-Id, X-Request-Timeout"
        )
        response.headers["Access-Control-Max-Age"] = "600"
    return response


def _allow_origin(response: Response, site: Site) -> None:
    response.headers.add("Vary", "Origin")
    origin = allowed_origin(headers_of(request.environ), site.options)
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
