"""This module computes what identifies a bundle: the sha256 of each file, and one digest over the whole manifest."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.bundle.layout import open_member
from bentobatch.errors import BundleError

DIGEST_KEY = "digest"
_BLOCK = 1 << 20


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) of the canonical JSON of ``manifest`` without its own digest key.

    The manifest lists every file's sha256, so this digest covers the content of the whole bundle.
    """
    content = {key: value for key, value in manifest.items() if key != DIGEST_KEY}
    text = json.dumps(_as_json(content), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def file_entry(file: Path) -> dict[str, Any]:
    """What the manifest keeps of one file: its sha256 (hex) and its size in bytes."""
    digest = hashlib.sha256()
    size = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return {"sha256": digest.hexdigest(), "size": size}


def member_entry(root: Path, path: str) -> dict[str, Any]:
    """The entry of one file of the bundle ``root`` as it is now, for a manifest that lists none.

    Raises:
        BundleError: it is no regular file, or stands behind a symbolic link.
    """
    digest = hashlib.sha256()
    size = 0
    with open_member(root, path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return {"sha256": digest.hexdigest(), "size": size}


def verify_file(root: Path, path: str, entry: Mapping[str, Any], *, keep: bool = False) -> bytes | None:
    """Check one file of the bundle ``root`` against its manifest entry; with ``keep`` return the very bytes checked.

    Raises:
        BundleError: the file is missing, replaced by a link, or differs; the message names it.
    """
    digest = hashlib.sha256()
    kept = bytearray()
    left = int(entry["size"])
    with open_member(root, path) as stream:
        while block := stream.read(min(_BLOCK, left + 1)):  # one byte more than expected tells that the file grew
            digest.update(block)
            left -= len(block)
            if left < 0:
                break
            if keep:
                kept += block
    if left != 0 or digest.hexdigest() != entry["sha256"]:
        raise BundleError(
            f"bundle {root}: the file {path} was changed after the bundle was saved; save or copy the bundle again"
        )
    return bytes(kept) if keep else None


def _as_json(value: Any) -> Any:
    """``value`` in JSON's types. YAML has more: dates, bytes, and keys that are no text (models' labels, such as 0)."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _as_json(item) for key, item in value.items()}
        return {"!map": sorted(([_as_json(key), _as_json(item)] for key, item in value.items()), key=repr)}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, datetime.date):  # datetimes too
        return {"!date": value.isoformat()}
    if isinstance(value, bytes):
        return {"!bytes": base64.b64encode(value).decode("ascii")}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise BundleError(f"the manifest holds a value of type {type(value).__name__}, which no bundle has")
