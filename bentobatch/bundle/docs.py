"""This module writes what a bundle says to its readers: docs.json (OpenAPI) for programs and README.md for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch.service.apis import InferenceAPI

OPENAPI_VERSION = "3.0.3"


def openapi(name: str, version: str, apis: Sequence[InferenceAPI]) -> dict[str, Any]:
    """The OpenAPI document of the apis, each a POST under its route."""
    paths = {f"/{api.route.strip('/')}": {"post": _operation(api)} for api in apis}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": name, "version": version, "description": f"The apis of {name}, saved by bentobatch."},
        "tags": [{"name": "app"}],
        "paths": paths,
    }


def readme(manifest: Mapping[str, Any]) -> str:
    """README.md for the bundle of this manifest: what it holds and how to use it, in text that cannot be markup."""
    metadata = manifest["metadata"]
    name, version = metadata["service_name"], metadata["service_version"]
    lines = [
        f"# {name}:{version}",
        "",
        f"A bentobatch bundle, saved on {metadata['created_at'].isoformat(sep=' ', timespec='seconds')} UTC"
        f" with bentobatch {manifest['bentobatch_version']} on Python {manifest['env']['python_version']}.",
        "",
        "    pip install -r requirements.txt",
    ]
    lines += [
        f"    bentobatch run . {api['name']} --input-file rows.parquet --output-file scored.parquet"
        for api in manifest["apis"]
    ]
    lines += [
        "",
        "or, in Python:",
        "",
        "    import bentobatch",
        '    service = bentobatch.load(".")',
        "",
        f"`pip install .` makes a package of it (`import {name}; {name}.load()`) with the command `{name} run`, and",
        "`bentobatch containerize .` an image that serves and scores.",
        "",
        "## Apis",
        "",
    ]
    for api in manifest["apis"]:
        lines.append(f"* `{api['name']}` ({api['input_type']} to {api['output_type']})")
        lines += ["", *(f"      {line}" for line in str(api["docs"]).splitlines()), ""] if api["docs"] else []
    lines += ["", "## Models", ""]
    lines += [f"* `{artifact['name']}` ({artifact['artifact_type']})" for artifact in manifest["artifacts"]] or ["none"]
    return "\n".join(lines) + "\n"


def _operation(api: InferenceAPI) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": dict(api.input.request_schema or {})}
    if api.input.http_input_example is not None:
        content["example"] = api.input.http_input_example
    return {
        "tags": ["app"],
        "operationId": api.name,
        "summary": (api.doc.strip().splitlines() or [f"api {api.name}"])[0],
        "description": api.doc,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": {"description": "one result for each row", "content": {"application/json": {"schema": {}}}},
            "400": {"description": "the request's data is malformed"},
            "500": {"description": "the api failed"},
        },
    }
