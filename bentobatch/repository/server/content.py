"""This module reads of a stored bundle what the server hands out, its files and its examples. Nothing of it runs."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from bentobatch.bundle import layout
from bentobatch.errors import BundleError, NoInputError, StorageError
from bentobatch.repository.catalogued import LocalRepository
from bentobatch.repository.packing import Member
from bentobatch.repository.storage import read_whole
from bentobatch.tags import Tag

_MOST_DOCS = 1 << 20


def archive_members(repository: LocalRepository, tag: Tag) -> list[Member]:
    """What the archive of the bundle is made of: what its manifest lists, and its signatures.

    Raises:
        NoInputError, BundleError: it is not there, or not whole.
    """
    location = _location(repository, tag)
    storage = repository.storage
    manifest, sizes = storage.manifest(location), storage.sizes(location)
    paths = [layout.MANIFEST, *([layout.SIGNATURES] if layout.SIGNATURES in sizes else []), *sorted(manifest.files)]
    lost = next((path for path in paths if path not in sizes), None)
    if lost is not None:
        raise BundleError(f"the file {lost} of {tag} is missing in the repository; push the bundle again")
    return [Member(path, sizes[path], partial(storage.open, location, path)) for path in paths]


def input_examples(repository: LocalRepository, tag: Tag) -> dict[str, Any]:
    """By the names of its apis, the examples of their input that the bundle's docs.json has; they come from a stranger."""
    try:
        stream = repository.storage.open(_location(repository, tag), layout.API_DOCS)
        content = json.loads(read_whole(stream, _MOST_DOCS, "docs.json"))
        operations = [path["post"] for path in content["paths"].values() if "post" in path]
        return {
            str(one["operationId"]): body["example"]
            for one in operations
            if "example" in (body := one["requestBody"]["content"]["application/json"])
        }
    except (BundleError, StorageError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # a bundle without that file, or with one that somebody else wrote, has none


def _location(repository: LocalRepository, tag: Tag) -> str:
    found = repository.catalog.get(tag)
    if found is None:
        raise NoInputError(f"no bundle {tag} in this repository")
    return found[1]
