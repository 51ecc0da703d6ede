"""This module bounds what a request may bring: its body by its length as said and as read, its JSON by size and depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

SMALL = 1 << 20
"""Bytes that the body of any request but a push may have."""
_BLOCK = 1 << 20


def bound_body(request: Request, most: int) -> None:
    """Refuse a body that says it has more than ``most`` bytes, and let reading stop at so many where it says nothing.

    Raises:
        RequestEntityTooLarge: before anything of it was read.
    """
    request.max_content_length = most
    request.max_form_memory_size = SMALL
    request.max_form_parts = 20
    if request.content_length is not None and request.content_length > most:
        raise RequestEntityTooLarge(
            f"the request's body has {request.content_length:,} bytes; at most {most:,} are taken"
        )
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("bodies are taken as they are: send it without Content-Encoding")


def save_body(request: Request, file: Path) -> int:
    """Copy the body into a new file; returns how many bytes came.

    Raises:
        RequestEntityTooLarge: it has more than ``bound_body`` allows.
        BadRequest: it was cut off.
        OSError: the disk failed.
    """
    count = 0
    with file.open("xb") as target:
        while block := _read(request):
            count += len(block)
            target.write(block)
    return count


def _read(request: Request) -> bytes:
    try:
        return request.stream.read(_BLOCK)
    except OSError as error:  # of the connection, or of its chunks' sizes
        raise BadRequest("the body was cut off, or its chunks are malformed; send it again") from error


def json_object(request: Request, known: set[str]) -> dict[str, Any]:
    """The body as a JSON object with no keys but those ``known``.

    Raises:
        UnsupportedMediaType, BadRequest: it is none.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("the body is no JSON: send it with Content-Type: application/json")
    try:
        value = orjson.loads(request.get_data(cache=False))  # it bounds the depth by itself
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict) or not value.keys() <= known:
        raise BadRequest(f"the body is no JSON object with the keys {', '.join(sorted(known))}")
    return value
