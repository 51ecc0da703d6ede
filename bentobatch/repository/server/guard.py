"""This module looks at every request before a view does: where it comes from, who sends it, and what it may bring."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from flask import g, request
from werkzeug.exceptions import Forbidden, ServiceUnavailable, Unauthorized

from bentobatch.errors import UsageError
from bentobatch.repository.server.auth import RIGHTS, Right, Token
from bentobatch.repository.server.limits import SMALL, bound_body
from bentobatch.repository.server.state import HOST, State

PUBLIC = frozenset({"service.healthz", "pages.static", "pages.sign_in", "pages.signed_in"})
"""The views that need no token; everything else does, what is not found too."""
PUSH = "api.push"
COOKIE = "bentobatch_session"
FORM_KEY = "form_key"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_RIGHT: dict[str, Right] = {"pages.sign_out": "read"}
_log = logging.getLogger("bentobatch.repository.server")


def check_request(state: State) -> None:
    """Let a request through, with its rights in ``g.rights`` and its session in ``g.session``, or raise what is wrong.

    Raises:
        Forbidden: a foreign Host or Origin, a form of somebody else's, or a right that is lacking.
        Unauthorized: no token, or a wrong one.
        RequestEntityTooLarge, UnsupportedMediaType: of its body; see limits.py.
    """
    g.rights, g.session = (), ""
    endpoint = request.endpoint or ""
    if endpoint != "service.healthz":  # which a load balancer asks by an address, and which tells nothing
        _check_host(state)
    if request.method not in _SAFE:
        _check_origin(state)
    g.rights = _rights(state)
    if endpoint not in PUBLIC:
        needed = _OWN_RIGHT.get(endpoint, "read" if request.method in _SAFE else "write")
        if not g.rights:
            raise Unauthorized("this server asks for a token")
        if needed not in g.rights:
            raise Forbidden("this token may read, and not change anything")
    bound_body(request, state.options.most_bytes if endpoint == PUSH else SMALL)
    if endpoint.startswith("pages.") and request.method not in _SAFE:
        _check_form(state)


def is_for_programs() -> bool:
    """Whether the request's path is one that programs use, rather than people."""
    return request.path.startswith("/api/") or request.path in ("/api", "/metrics", "/healthz")


def _check_host(state: State) -> None:
    """Against DNS rebinding: another site's name may lead to this server's address, and its pages to this server."""
    match = HOST.fullmatch(request.headers.get("Host", ""))
    name = match["name"].lower().strip("[]") if match else None
    if name is None or (state.options.hosts is not None and name not in state.options.hosts):
        raise Forbidden("this server is not called by that name; --public-url tells it another one")


def _check_origin(state: State) -> None:
    """Browsers say which site a changing request comes from, programs say nothing."""
    origin = request.headers.get("Origin")
    own = {request.headers.get("Host", "").lower(), urlsplit(state.base_url).netloc.lower()}
    foreign = origin is not None and urlsplit(origin).netloc.lower() not in own
    if foreign or request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("this request comes from another site")


def _rights(state: State) -> tuple[Right, ...]:
    if state.options.tokens is None:
        return RIGHTS["write"]
    try:
        token = _token_of_program(state) if is_for_programs() else _token_of_session(state)
    except UsageError as error:  # somebody damaged the file: let nobody in
        _log.error("%s", error)
        raise ServiceUnavailable("the server's tokens cannot be read") from error
    return () if token is None else RIGHTS[token.kind]


def _token_of_program(state: State) -> Token | None:
    """By the header alone: a cookie would come along with what other sites make a browser send."""
    assert state.options.tokens is not None
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return state.options.tokens.find(text.strip()) if scheme.lower() == "bearer" else None


def _token_of_session(state: State) -> Token | None:
    assert state.options.tokens is not None
    cookie = request.cookies.get(COOKIE, "")
    identity = state.sessions.token_id(cookie) if cookie else None
    token = state.options.tokens.by_id(identity) if identity else None
    if token is not None:
        g.session = cookie
    return token


def _check_form(state: State) -> None:
    if request.mimetype != "application/x-www-form-urlencoded":
        raise Forbidden("this is no form of this server's pages")
    if not state.sessions.is_form_key(request.form.get(FORM_KEY, ""), g.session):
        raise Forbidden("this form is too old, or was not made by this server: open the page again")
