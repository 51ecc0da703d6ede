"""This module reads what the commit that stands says of itself: which rows, in which parts, came from which file.

It is for plans that build on an output (--only-new, redrive), and imports no pyarrow, since a leader uses it too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.place import Place
from bentobatch.engine.publish import SUCCESS, identity
from bentobatch.engine.store import Store, bucket, bucket_errors
from bentobatch.errors import OutputError


@dataclass(frozen=True)
class HeldPart:
    """One part of an output. ``first_row`` is the position of its first row in the output, ``file_row`` in its file;
    ``entry`` is what the record says of it, ``columns`` its counts, ``name`` its file in a directory output."""

    number: int
    first_row: int
    file_row: int
    entry: tuple[Any, ...]
    columns: Mapping[str, Any]
    name: str

    @property
    def key(self) -> str:
        """The name of its rejects in the state folder."""
        return str(self.entry[0])

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.entry[1])

    @property
    def lost(self) -> int:
        """How many of them were rejected or discarded."""
        return int(self.entry[2] + self.entry[3])

    @property
    def has_rejects(self) -> bool:
        """Whether rejects of it are kept."""
        return bool(self.entry[4])

    @property
    def offset(self) -> list[int]:
        """Where it begins and how long it is, in bytes, in a single text file."""
        return list(self.entry[5:])


@dataclass(frozen=True)
class HeldFile:
    """One input file whose rows an output holds. ``file`` are the fields of its InputFile, ``source`` is what the user
    knows it as (uri, size, stamp), ``label`` what messages call it where that is not its path. ``members`` are the files
    that it stands for, if it is a group of small ones, as JSON values (see formats.file_groups)."""

    file: Mapping[str, Any]
    source: tuple[str, int, str]
    label: str | None
    parts: tuple[HeldPart, ...]
    members: tuple[list[Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The file as a commit's record has it."""
        return {
            "file": dict(self.file),
            "source": list(self.source),
            "label": self.label,
            "parts": len(self.parts),
            "members": list(self.members),
        }

    @property
    def lost(self) -> int:
        """How many of its rows were rejected or discarded."""
        return sum(part.lost for part in self.parts)

    @property
    def rows(self) -> int:
        """How many of its rows the output holds."""
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True)
class Earlier:
    """The commit that made the output that stands, and its record."""

    plan_id: str
    record: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """The rows of the output."""
        return int(self.record["rows"])

    @property
    def as_parent(self) -> dict[str, str]:
        """What a plan says of its parent."""
        return {
            "plan_id": self.plan_id,
            "bundle": str(self.record["bundle"]),
            "bundle_digest": str(self.record["bundle_digest"]),
        }

    @cached_property
    def files(self) -> tuple[HeldFile, ...]:
        """The files that the output holds, in its order."""
        record = self.record
        found: list[HeldFile] = []
        number = row = 0
        for item in record["files"]:
            held: list[HeldPart] = []
            file_row = 0
            for _ in range(item["parts"]):
                entry = tuple(record["parts"][number])
                name = record["names"][number] if record["names"] else ""
                held.append(HeldPart(number, row, file_row, entry, record["columns"][number], name))
                number, row, file_row = number + 1, row + entry[1], file_row + entry[1]
            uri, size, stamp = item["source"]
            members = tuple(item.get("members", ()))
            found.append(HeldFile(item["file"], (uri, size, stamp), item["label"], tuple(held), members))
        return tuple(found)

    @cached_property
    def parts(self) -> tuple[HeldPart, ...]:
        """The parts of the output, in its order."""
        return tuple(part for file in self.files for part in file.parts)

    def still_stands(self, place: Place, storage_options: Mapping[str, Any] | None = None) -> bool:
        """Whether the output is still the one that this commit made."""
        return bool(self.record["identity"] == identity(place, storage_options))


def standing(place: Place, store: Store, storage_options: Mapping[str, Any] | None = None) -> Earlier | None:
    """The commit whose output stands in ``place``; None where there is none, or nobody knows where it came from."""
    seen = identity(place, storage_options)
    if seen is None:
        return None
    for name in store.names(""):
        data = store.read(parts.commit_name(name))
        if data is None:
            continue
        record = json.loads(data)
        if record["identity"] == seen and "files" in record:
            return Earlier(name, record)
    return None


def standing_or_nothing(place: Place, store: Store, storage_options: Mapping[str, Any] | None = None) -> Earlier | None:
    """The commit to add to; None where there is no output yet.

    Raises:
        OutputError: something stands there, and no record tells which files it holds.
    """
    found = standing(place, store, storage_options)
    if found is not None or not _something(place, storage_options):
        return found
    raise OutputError(
        f"{place.output} was changed, or made by something else, since no commit record in {store.uri('')} tells which"
        " files it holds, so nothing can be added to it; choose another output, or make it anew with --overwrite"
        " instead of --only-new"
    )


def _something(place: Place, storage_options: Mapping[str, Any] | None) -> bool:
    if not place.remote:
        return os.path.isdir(place.output) and bool(os.listdir(place.output))
    fs, path = bucket(place.output, storage_options)
    with bucket_errors("look at", place.output):
        return bool(fs.exists(f"{path}/{SUCCESS}"))
