"""This module puts the server together: API, pages, health, counts, what each answer has and what errors mean."""

from __future__ import annotations

import logging
import time

from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from bentobatch.errors import (
    BentobatchError,
    BundleError,
    ConflictError,
    NoInputError,
    PolicyError,
    UnavailableError,
    UsageError,
)
from bentobatch.repository.catalogued import LocalRepository
from bentobatch.repository.server.api import Api, json_response
from bentobatch.repository.server.guard import check_request, is_for_programs
from bentobatch.repository.server.metrics import CONTENT_TYPE
from bentobatch.repository.server.pages import Pages
from bentobatch.repository.server.state import Options, State

_STATUS: tuple[tuple[type[BentobatchError], int], ...] = (
    (ConflictError, 409),
    (NoInputError, 404),
    (PolicyError, 403),
    (BundleError, 400),
    (UsageError, 400),
    (UnavailableError, 503),
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all, browsers hide a form's Origin as well
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_log = logging.getLogger("bentobatch.repository.server")


def create_app(repository: LocalRepository, options: Options | None = None) -> Flask:
    """The WSGI application of a server for ``repository``. It never debugs, whatever the environment says."""
    state = State(repository, options or Options())
    app = Flask("bentobatch.repository.server", static_folder=None)
    app.debug = False
    app.url_map.merge_slashes = False  # it would answer with a redirect that the request's path decides on
    pages = Pages(state)
    app.register_blueprint(_service(state))
    app.register_blueprint(Api(state).blueprint())
    if state.options.ui:
        app.register_blueprint(pages.blueprint())

    def begin() -> None:
        g.began = time.monotonic()
        state.metrics.begin()
        check_request(state)

    def finish(response: Response) -> Response:
        for header, value in _HEADERS.items():
            response.headers.setdefault(header, value)
        response.headers.setdefault("Cache-Control", "no-store")
        method, began = request.method, g.began
        route = request.url_rule.rule if request.url_rule else "none"
        response.call_on_close(lambda: state.metrics.end(method, route, response.status_code, time.monotonic() - began))
        return response

    def failed(error: Exception) -> Response:
        status, kind, message = _told(error)
        if is_for_programs() or not state.options.ui:
            response = json_response({"error": {"type": kind, "message": message}}, status)
            if status == 401:
                response.headers["WWW-Authenticate"] = 'Bearer realm="bentobatch repository"'
        else:
            response = pages.failure(status, message)
        if isinstance(error, HTTPException) and status == 405:
            response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return response

    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(Exception, failed)
    return app


def _service(state: State) -> Blueprint:
    """What the machines around the server ask."""
    found = Blueprint("service", __name__)

    def healthz() -> Response:
        with state.repository.catalog.reading():
            return json_response({"status": "ok"})

    def metrics() -> Response:
        return Response(state.metrics.text(), content_type=CONTENT_TYPE)

    found.add_url_rule("/healthz", "healthz", healthz)
    found.add_url_rule("/metrics", "metrics", metrics)
    return found


def _told(error: Exception) -> tuple[int, str, str]:
    """The status, the type and the message that the client is told."""
    if isinstance(error, HTTPException):
        return error.code or 500, _http_kind(error), error.description or error.name
    if isinstance(error, BentobatchError):
        status: int = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        if isinstance(error, BundleError) and request.method in ("GET", "HEAD") and status == 400:
            status = 500  # what is stored is damaged, and the client is not to blame
        if status >= 500:
            _log.error("%s %r: %s", request.method, request.path, error)
        return status, type(error).__name__, _healthy(str(error))
    _log.error("%s %r: unexpected %s", request.method, request.path, type(error).__name__, exc_info=error)
    return 500, "StorageError", "the server failed; its log tells more"


def _healthy(message: str) -> str:
    """Who asks for the health alone has shown no token, and is told no names of hosts and files."""
    return "the catalog does not answer" if request.path == "/healthz" else message


def _http_kind(error: HTTPException) -> str:
    kinds: dict[int, str] = {404: "NoInputError", 503: "UnavailableError", 500: "StorageError"}
    return kinds.get(error.code or 500, "UsageError")
