"""This module is the server's web page, with a form to try each api, or the pages that the service brings along.

All text of the bundle is shown as text: it may be anybody's. Files are found below one folder only.
"""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, render_template, send_file

from bentobatch.serving.answers import JSON
from bentobatch.serving.exchange import Endpoint
from bentobatch.serving.site import Site

_HERE = Path(__file__).parent
_STATIC = {
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
}
_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)  # fmt: skip


def add_pages(app: Flask, site: Site) -> None:
    """Add the page at /docs, and at / unless the service has pages of its own."""
    pages = _Pages(site)
    app.add_url_rule("/docs", "docs", pages.docs)
    app.add_url_rule("/docs/<any('icon.svg', 'page.js', 'style.css'):name>", "static", pages.static)
    app.add_url_rule("/", "index", pages.index)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def docs(self) -> Response:
        """What the service is, and a form for each api."""
        served = self._site.served
        forms = [_form(served.endpoints[each.api.route.strip("/")]) for each in served.apis]
        text = render_template(
            "page.html",
            name=served.service.name,
            version=served.service.version or "",
            description=(type(served.service).__doc__ or "").strip(),
            forms=forms,
        )
        response = Response(text, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Frame-Options"] = "DENY"
        return response

    def static(self, name: str) -> Response:
        """The page's script and style."""
        return Response((_HERE / "static" / name).read_bytes(), content_type=_STATIC[name])

    def index(self) -> Response:
        """The service's own page, else ours."""
        return content(self._site, "/") or self.docs()


def content(site: Site, path: str) -> Response | None:
    """A file of the pages that the service brings along, of a folder its index.html; None where there is none."""
    file = content_file(site, path)
    if file is None:
        return None
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return send_file(file, mimetype=kind, conditional=True, etag=True, max_age=0)


def content_file(site: Site, path: str) -> Path | None:
    """Where that file lies; see file_below."""
    found = site.served.service._web_static_content if site.is_loaded else None
    return None if found is None else file_below(Path(found), path.removeprefix("/") or "index.html")


def file_below(folder: Path, path: str) -> Path | None:
    """The regular file at ``path`` below ``folder``, None where there is none or where it would lie elsewhere.

    Names that begin with a dot are nobody's business; links are followed within the folder only.
    """
    parts = path.rstrip("/").split("/")
    if any(not part or part.startswith(".") or "\\" in part or "\0" in part or ":" in part for part in parts):
        return None
    root = os.path.realpath(folder)
    try:
        for candidate in (Path(root, *parts), Path(root, *parts, "index.html")):
            real = os.path.realpath(candidate)
            if real.startswith(root + os.sep) and os.path.isfile(real):
                return Path(real)
    except (OSError, ValueError):  # a name that is too long
        return None
    return None


def _form(endpoint: Endpoint) -> dict[str, Any]:
    api = endpoint.api
    taken = endpoint.media_types
    texts = [media for media in taken if media in (JSON, "text/csv", "text/plain", "application/x-ndjson")]
    return {
        "name": api.name,
        "route": endpoint.route,
        "doc": api.doc,
        "input": type(api.input).__name__,
        "media_types": taken,
        "text_types": texts,
        "takes_file": not texts or any("*" in media for media in taken),
        "names": list(getattr(api.input, "input_names", ())) if len(getattr(api.input, "input_names", ())) > 1 else [],
        "example": _example(endpoint),
    }


def _example(endpoint: Endpoint) -> str:
    example = endpoint.api.input.http_input_example
    if isinstance(example, str):
        return example
    if example is not None:
        return orjson.dumps(example, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=str).decode()
    names = endpoint.batcher.columns.names
    if not endpoint.api.input.batch_only or names is None:
        return ""
    return orjson.dumps([dict.fromkeys(names, 0.0)]).decode()
