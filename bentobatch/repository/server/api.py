"""This module is the HTTP API, /api/v1, for programs; openapi.py describes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

import bentobatch
from bentobatch.bundle.archives import unpack
from bentobatch.errors import StorageError
from bentobatch.repository.base import ORDERS, one_version
from bentobatch.repository.entry import Entry
from bentobatch.repository.packing import Member, packed
from bentobatch.repository.remote import API, DIGEST_HEADER, LABELS_HEADER
from bentobatch.repository.server.content import archive_members
from bentobatch.repository.server.limits import json_object, save_body
from bentobatch.repository.server.openapi import openapi
from bentobatch.repository.server.state import State
from bentobatch.tags import Tag

MOST_LISTED = 1000
KINDS = {"application/gzip": "tar.gz", "application/x-gzip": "tar.gz", "application/zip": "zip"}
"""What a pushed archive may be, by its Content-Type."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,9}")


def json_response(value: Any, status: int = 200) -> Response:
    """``value`` as JSON, whatever it holds."""
    return Response(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), status, mimetype="application/json")


class Api:
    """The views of the API."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._repository = state.repository

    def blueprint(self) -> Blueprint:
        """The routes."""
        found = Blueprint("api", __name__, url_prefix=API)
        one = "/bundles/<name>/<version>"
        found.add_url_rule("", "about", self.about)
        found.add_url_rule("/openapi.json", "document", self.document)
        found.add_url_rule("/bundles", "list", self.list)
        found.add_url_rule(one, "get", self.get)
        found.add_url_rule(one, "push", self.push, methods=["PUT"])
        found.add_url_rule(one, "delete", self.delete, methods=["DELETE"])
        found.add_url_rule(f"{one}/archive.tar.gz", "archive", self.archive)
        found.add_url_rule(f"{one}/labels", "set_labels", self.set_labels, methods=["PATCH"])
        return found

    def about(self) -> Response:
        """What this server is, and what the token may do."""
        return json_response(
            {
                "service": "bentobatch repository",
                "version": bentobatch.__version__,
                "rights": list(g.rights),
                "most_bytes": self._state.options.most_bytes,
            }
        )

    def document(self) -> Response:
        """The OpenAPI document."""
        return json_response(openapi(self._state.base_url))

    def list(self) -> Response:
        """The bundles that are asked for, and whether there are more."""
        limit = _number("limit", 100)
        if limit > MOST_LISTED:
            raise BadRequest(f"limit is {MOST_LISTED:,} at most")
        found = self._repository.list(
            request.args.get("name"),
            labels=request.args.get("labels", ""),
            limit=limit + 1,  # one more tells whether there are more
            offset=_number("offset", 0),
            order_by=request.args.get("order_by", ORDERS[0]),
            ascending=_flag("ascending"),
        )
        return json_response(
            {"bundles": [self._json(entry) for entry in found[:limit]], "more": len(found) > limit},
        )

    def get(self, name: str, version: str) -> Response:
        """One bundle; "latest" is the newest of its name."""
        return json_response(self._json(self._repository.get(Tag(name, version))))

    def push(self, name: str, version: str) -> Response:
        """Take an archive, whole or not at all."""
        tag = one_version(Tag(name, version), "a push")
        kind = KINDS.get(request.mimetype)
        if kind is None:
            raise UnsupportedMediaType(f"an archive's Content-Type is {' or '.join(KINDS)}")
        digest = request.headers.get(DIGEST_HEADER)
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise BadRequest(f"{DIGEST_HEADER} is no digest of 64 hexadecimal digits")
        entry = self._repository.receive(
            lambda folder: self._take(folder, kind, tag), tag=tag, digest=digest, labels=_labels()
        )
        return json_response(self._json(entry))

    def delete(self, name: str, version: str) -> Response:
        """Remove one bundle."""
        self._repository.delete(Tag(name, version))
        return Response(status=204)

    def archive(self, name: str, version: str) -> Response:
        """The bundle's files as a stream. What reads it verifies them by the digest."""
        tag = self._repository.get(Tag(name, version)).tag
        members = archive_members(self._repository, tag)
        headers = {"Content-Disposition": f'attachment; filename="{tag.name}-{tag.version}.tar.gz"'}
        return Response(self._blocks(members), mimetype="application/gzip", headers=headers)

    def set_labels(self, name: str, version: str) -> Response:
        """Set some labels, and remove others."""
        body = json_object(request, {"set", "unset"})
        wanted, unset = body.get("set", {}), body.get("unset", [])
        if (
            not isinstance(wanted, dict)
            or not isinstance(unset, list_type)
            or not all(isinstance(k, str) for k in unset)
        ):
            raise BadRequest('the body is {"set": {KEY: VALUE…}, "unset": [KEY…]}')
        return json_response({"labels": self._repository.set_labels(Tag(name, version), wanted, unset=unset)})

    def _json(self, entry: Entry) -> dict[str, Any]:
        """An entry as programs see it: where it lies on the server is none of their business."""
        uri = f"{self._state.base_url}{API}/bundles/{entry.name}/{entry.version}/archive.tar.gz"
        return replace(entry, uri=uri).to_json()

    def _take(self, folder: Path, kind: str, tag: Tag) -> None:
        """Unpack the body into ``folder``; the archive lies beside it meanwhile, where nobody else looks."""
        archive = folder.parent / "archive"
        try:
            self._state.metrics.add_bytes("pushed", save_body(request, archive))
            unpack(archive, folder, kind=kind, where=f"the archive of {tag}")
            archive.unlink()
        except OSError as error:
            raise StorageError(f"the server cannot store {tag}: {error.strerror or 'its disk failed'}") from error

    def _blocks(self, members: Sequence[Member]) -> Iterator[bytes]:
        for block in packed(members):
            self._state.metrics.add_bytes("pulled", len(block))
            yield block


list_type = list
"""``list`` itself, which within the class is a view."""


def _labels() -> dict[str, str] | None:
    text = request.headers.get(LABELS_HEADER)
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise BadRequest(f"{LABELS_HEADER} is no JSON object")
    return value  # receive checks its keys and values


def _number(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not _NUMBER.fullmatch(text):
        raise BadRequest(f"{name} is no number")
    return int(text)


def _flag(name: str) -> bool:
    text = request.args.get(name, "false")
    if text not in ("true", "false"):
        raise BadRequest(f"{name} is neither true nor false")
    return text == "true"
