"""This module describes the HTTP API as an OpenAPI 3.1 document; a test compares it with the routes."""

from __future__ import annotations

from typing import Any

import bentobatch
from bentobatch.repository.base import ORDERS
from bentobatch.repository.remote import API, DIGEST_HEADER, LABELS_HEADER

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_VERSION = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"
_TEXT = {"type": "string"}
_LABELS = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}
_ARCHIVE = {"schema": {"type": "string", "format": "binary"}}


def openapi(url: str) -> dict[str, Any]:
    """The document of a server at ``url``."""
    one = f"{API}/bundles/{{name}}/{{version}}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bentobatch repository",
            "version": bentobatch.__version__,
            "description": "Saved bundles by their tags, NAME:VERSION. Nothing of a bundle is run or unpickled here.",
        },
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": {
            API: {"get": _operation("about", "What this server is, and what the token may do", _ref("About"))},
            f"{API}/openapi.json": {"get": _operation("document", "This document", {"type": "object"})},
            f"{API}/bundles": {"get": _list()},
            one: {"parameters": _tag(), "get": _get(), "put": _push(), "delete": _delete()},
            f"{one}/archive.tar.gz": {"parameters": _tag(), "get": _archive()},
            f"{one}/labels": {"parameters": _tag(), "patch": _set_labels()},
            "/healthz": {"get": _healthz()},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "schemas": {"About": _about(), "Bundle": _bundle(), "Error": _error()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(name: str, summary: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    errors = {"401": "no token, or an unknown one", "403": "the token may not do this", **more.pop("errors", {})}
    answers = {code: {"description": said, "content": _json(_ref("Error"))} for code, said in errors.items()}
    good = {"200": {"description": summary, "content": _json(schema)}}
    return {"operationId": name, "summary": summary, "responses": {**good, **answers}, **more}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _list() -> dict[str, Any]:
    page = {
        "type": "object",
        "required": ["bundles", "more"],
        "properties": {"bundles": {"type": "array", "items": _ref("Bundle")}, "more": {"type": "boolean"}},
    }
    queries: dict[str, dict[str, Any]] = {
        "name": _TEXT,
        "labels": {"type": "string", "description": "a selector: key=value, key!=value, key In (a, b), key Exists …"},
        "limit": {"type": "integer", "minimum": 0, "maximum": 1000, "default": 100},
        "offset": {"type": "integer", "minimum": 0, "default": 0},
        "order_by": {"enum": list(ORDERS), "default": ORDERS[0]},
        "ascending": {"type": "boolean", "default": False},
    }
    parameters = [{"name": name, "in": "query", "schema": schema} for name, schema in queries.items()]
    return _operation("list", "The bundles that are asked for", page, parameters=parameters, errors=_BAD)


def _get() -> dict[str, Any]:
    return _operation("get", "One bundle; the version latest is the newest", _ref("Bundle"), errors=_BAD | _MISSING)


def _push() -> dict[str, Any]:
    headers = [
        {"name": LABELS_HEADER, "in": "header", "schema": _TEXT, "description": "a JSON object; by default its own"},
        {"name": DIGEST_HEADER, "in": "header", "schema": _TEXT, "description": "the digest that it must have"},
    ]
    body = {"required": True, "content": {"application/gzip": _ARCHIVE, "application/zip": _ARCHIVE}}
    errors = {
        **_BAD,
        "409": "another bundle has the tag",
        "413": "it is too large",
        "415": "it is no archive of these kinds",
    }
    summary = "Put a bundle in, whole or not at all; the same bundle again changes nothing"
    return _operation("push", summary, _ref("Bundle"), parameters=headers, requestBody=body, errors=errors)


def _delete() -> dict[str, Any]:
    found = _operation("delete", "Remove one bundle", {}, errors=_BAD | _MISSING)
    del found["responses"]["200"]
    found["responses"]["204"] = {"description": "it is gone"}
    return found


def _archive() -> dict[str, Any]:
    found = _operation("archive", "The bundle's files, to be verified by the digest", {}, errors=_BAD | _MISSING)
    found["responses"]["200"]["content"] = {"application/gzip": _ARCHIVE}
    return found


def _set_labels() -> dict[str, Any]:
    change = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"set": _LABELS, "unset": {"type": "array", "items": _TEXT}},
    }
    answer = {"type": "object", "required": ["labels"], "properties": {"labels": _LABELS}}
    body = {"required": True, "content": _json(change)}
    return _operation("set_labels", "Set and remove labels", answer, requestBody=body, errors=_BAD | _MISSING)


def _healthz() -> dict[str, Any]:
    answer = {"type": "object", "properties": {"status": {"const": "ok"}}}
    found = _operation("healthz", "Whether the catalog answers", answer, errors={"503": "it does not"}, security=[])
    for code in ("401", "403"):
        del found["responses"][code]
    return found


def _metrics() -> dict[str, Any]:
    found = _operation("metrics", "Counts of requests, in Prometheus' text format", {})
    found["responses"]["200"]["content"] = {"text/plain": {"schema": _TEXT}}
    return found


def _tag() -> list[dict[str, Any]]:
    patterns = {"name": _NAME, "version": _VERSION}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}
        for name, pattern in patterns.items()
    ]


def _about() -> dict[str, Any]:
    properties = {
        "service": _TEXT,
        "version": _TEXT,
        "rights": {"type": "array", "items": {"enum": ["read", "write"]}},
        "most_bytes": {"type": "integer"},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _bundle() -> dict[str, Any]:
    uri = {"type": "object", "properties": {"type": _TEXT, "uri": _TEXT}}
    metadata = {
        "type": "object",
        "required": ["name", "version", "createdAt", "labels", "env", "artifacts", "apis"],
        "properties": {
            "name": _TEXT,
            "version": _TEXT,
            "createdAt": {"type": "string", "format": "date-time"},
            "labels": _LABELS,
            "env": {"type": "object"},
            "artifacts": {"type": "array", "items": {"type": "object"}},
            "apis": {"type": "array", "items": {"type": "object"}},
        },
    }
    properties: dict[str, Any] = {
        "name": {"type": "string", "pattern": _NAME},
        "version": {"type": "string", "pattern": _VERSION},
        "uri": uri,
        "bentoServiceMetadata": metadata,
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "size": {"type": "integer", "description": "bytes of its files"},
        "signatures": {"type": "array", "items": {"type": "object", "additionalProperties": _TEXT}},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _error() -> dict[str, Any]:
    inner = {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}}
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}


_BAD = {"400": "a name, a version, a selector or the body is malformed"}
_MISSING = {"404": "there is no such bundle"}
