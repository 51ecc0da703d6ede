"""This module describes a served service as an OpenAPI 3.1 document: its apis, from what they declare and their models
know, and what else the server answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from bentobatch.service.schemas import is_json
from bentobatch.serving.answers import ARROW, CSV, JSON
from bentobatch.serving.exchange import Endpoint, ServedService
from bentobatch.serving.problems import PROBLEM
from bentobatch.serving.reading import JSON_LINES, MULTIPART

_TEXT = {"type": "string"}
_BINARY: dict[str, Any] = {}
"""OpenAPI 3.1's schema of raw bytes."""
_ERRORS = {
    "400": "the request's data is malformed, or its columns are not those of the api",
    "401": "no token, or a wrong one",
    "403": "a foreign Host or Origin",
    "406": "Accept takes none of the forms that the answer can have",
    "413": "the body, or the number of its rows, is too large",
    "415": "the Content-Type is missing, or not taken",
    "500": "the api failed, or broke its contract",
    "503": "too much is waiting; try again after Retry-After",
    "504": "the request's deadline passed before its turn",
}


def openapi(served: ServedService, url: str) -> dict[str, Any]:
    """The document of a server at ``url``."""
    service = served.service
    paths: dict[str, Any] = {
        f"/{each.api.route.strip('/')}": {"post": _operation(served.endpoints[each.api.route.strip("/")])}
        for each in served.apis
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.name,
            "version": service.version or "0",
            "description": (type(service).__doc__ or f"The apis of {service.name}.").strip(),
        },
        "servers": [{"url": url}],
        "security": [{"token": []}] if served.options.token is not None else [],
        "tags": [{"name": "app"}, {"name": "infra"}],
        "paths": {**paths, **_others()},
        "components": {
            "schemas": {"Problem": _problem()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    api = endpoint.api
    good = {
        "description": "one result for each row" if api.input.batch_only else "the result",
        "headers": {"X-Request-Id": {"schema": _TEXT}},
        "content": {
            JSON: {"schema": _answer(endpoint)},
            ARROW: {"schema": _BINARY},
            CSV: {"schema": _TEXT},
        },
    }
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "tags": ["app"],
        "operationId": api.name,
        "summary": (api.doc.strip().splitlines() or [f"api {api.name}"])[0][:200],
        "description": api.doc,
        "parameters": [
            {"name": "X-Request-Id", "in": "header", "schema": _TEXT},
            {"name": "X-Request-Timeout", "in": "header", "schema": {"type": "number", "exclusiveMinimum": 0}},
        ],
        "requestBody": {"required": True, "content": _bodies(endpoint)},
        "responses": {
            "200": good,
            **{code: {"description": said, "content": problem} for code, said in _ERRORS.items()},
        },
    }


def _bodies(endpoint: Endpoint) -> dict[str, Any]:
    declared = endpoint.api.input.request_schema
    found: dict[str, Any] = {}
    for media in endpoint.media_types:
        if media == JSON:
            content: dict[str, Any] = {"schema": dict(declared) if declared else _input(endpoint)}
            if endpoint.api.input.http_input_example is not None:
                content["example"] = endpoint.api.input.http_input_example
        elif media == MULTIPART:
            names = getattr(endpoint.api.input, "input_names", ("file",))
            content = {"schema": {"type": "object", "properties": dict.fromkeys(names, _BINARY)}}
        else:
            content = {"schema": _TEXT if media in (CSV, JSON_LINES, "text/plain") else _BINARY}
        found[media] = content
    return found


def _input(endpoint: Endpoint) -> dict[str, Any]:
    """The schema of the JSON body where the api declares none."""
    columns = endpoint.batcher.columns
    if not endpoint.api.input.batch_only or columns.names is None:
        return {}
    types = columns.declared(columns.names)
    properties = {name: _json_type(types[name]) if name in types else {} for name in columns.names}
    record = {
        "type": "object",
        "properties": properties,
        "required": list(columns.names),
        "additionalProperties": False,
    }
    values = {"type": "array", "prefixItems": list(properties.values()), "minItems": len(properties), "items": False}
    return {
        "description": "rows as objects or as lists; the other orients of pandas' to_json are taken too",
        "anyOf": [{"type": "array", "items": record}, {"type": "array", "items": values}, {"type": "object"}],
    }


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    schema = endpoint.api.output_schema
    if schema is None:
        return {"type": "array", "description": "one item for each row"} if endpoint.api.input.batch_only else {}
    if len(schema) == 1:
        item = _json_type(schema.field(0).type, nullable=True) if not is_json(schema.field(0)) else {}
        return {"type": "array", "items": item} if endpoint.api.input.batch_only else item
    fields = {field.name: {} if is_json(field) else _json_type(field.type, nullable=True) for field in schema}
    return {"type": "array", "items": {"type": "object", "properties": fields}}


def _json_type(kind: pa.DataType, *, nullable: bool = True) -> dict[str, Any]:
    types = pa.types
    found: dict[str, Any]
    if types.is_dictionary(kind):
        return _json_type(kind.value_type, nullable=nullable)
    if types.is_boolean(kind):
        found = {"type": "boolean"}
    elif types.is_integer(kind):
        found = {"type": "integer"}
    elif types.is_floating(kind):
        found = {"type": "number"}
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        found = {"type": "array", "items": _json_type(kind.value_type)}
    elif types.is_struct(kind) or types.is_map(kind):
        return {}
    else:
        found = {"type": "string"}
    return {**found, "type": [found["type"], "null"]} if nullable else found


def _others() -> dict[str, Any]:
    anything = {"application/json": {"schema": {"type": "object"}}}
    status = {"200": {"description": "it is", "content": anything}}
    unready = {"503": {"description": "it is not"}}
    return {
        "/healthz": {"get": _infra("healthz", "Whether the server runs", status)},
        "/readyz": {"get": _infra("readyz", "Whether requests should be sent here", {**status, **unready})},
        "/metadata": {"get": _infra("metadata", "The bundle that is served", status)},
        "/metrics": {
            "get": _infra(
                "metrics",
                "Counts, in Prometheus' text format",
                {"200": {"description": "counts", "content": {"text/plain": {"schema": _TEXT}}}},
            )
        },
        "/feedback": {
            "post": {
                **_infra("feedback", "Tell what came of a prediction; it is logged", status),
                "requestBody": {"required": True, "content": {JSON: {"schema": _feedback()}}},
            }
        },
    }


def _infra(name: str, summary: str, responses: Mapping[str, Any]) -> dict[str, Any]:
    return {"tags": ["infra"], "operationId": f"{name}_of_the_server", "summary": summary, "responses": dict(responses)}


def _feedback() -> dict[str, Any]:
    return {"type": "object", "required": ["request_id"], "properties": {"request_id": _TEXT}}


def _problem() -> dict[str, Any]:
    row = {"type": "object", "properties": {"row": {"type": "integer"}, "error": _TEXT}}
    properties = {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "kind": _TEXT,
        "request_id": _TEXT,
        "bad_rows": {"type": "integer"},
        "rows": {"type": "array", "items": row},
    }
    return {"type": "object", "required": ["title", "status", "detail"], "properties": properties}
