"""This module holds the plan: a job with its files, splits, columns and types settled, as data that survives JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import pyarrow as pa

from bentobatch.engine.job import BatchJob, digest_of
from bentobatch.formats.base import InputFile, Range, ReadPlan
from bentobatch.formats.file_groups import Member

_RANGE_FIELDS = tuple(each.name for each in fields(Range))
PLAN_VERSION = 1
"""Raised when a plan, a receipt or a part is written in another way: older ones are then not taken over."""


@dataclass(frozen=True, slots=True)
class Split:
    """One range of one file. ``take`` of its rows are scored (fewer than the range has only under --limit);
    ``first_row`` is the position of its first row in the whole output. ``key`` names its part and receipt: a digest of
    everything that its rows' values depend on, and of nothing else."""

    index: int
    file: int
    range: Range
    take: int
    first_row: int
    key: str


@dataclass(frozen=True)
class Plan:
    """What planning settled. ``features`` and ``kept`` are columns of ``read_schema``; ``output_schema`` is that of the
    output, ``prediction_schema`` its part that the api makes. ``feature_rule`` says in words why these features.
    ``labels`` names the origin of files that planning itself wrote (inline values, JSON documents), by their path.
    ``expect`` are the api's own expectations.

    ``parent`` (plan_id, bundle, bundle_digest) is the commit that this plan builds on, under --only-new and redrive.
    ``sources`` are the files as the user knows them (uri, size, stamp), where ``files`` were made from others.
    ``joined``: the parts of a single Parquet file are Parquet, and joined as they are (see formats.parquet_join).
    ``groups`` are the members of those files that stand for several (see engine.groups), by their paths.
    ``environment`` is what was installed where the plan was made (see environments.installed), for a job with an ``env``.
    ``devices`` names the kind of device of the models that are not on the CPU (see engine.model_devices)."""

    job: BatchJob
    plan_id: str
    files: tuple[InputFile, ...]
    splits: tuple[Split, ...]
    rows: int
    lines: bool
    features: tuple[str, ...]
    feature_rule: str
    kept: tuple[str, ...]
    read_schema: pa.Schema
    prediction_schema: pa.Schema
    output_schema: pa.Schema
    state: str
    labels: Mapping[str, str] = field(default_factory=dict)
    expect: tuple[str, ...] = ()
    parent: Mapping[str, str] | None = None
    sources: tuple[tuple[str, int, str], ...] = ()
    joined: bool = False
    environment: Mapping[str, Any] | None = None
    devices: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)

    @property
    def file_count(self) -> int:
        """How many files the job reads, those of a group each counted."""
        return sum(len(self.groups.get(file.uri, (file,))) for file in self.files)

    def label(self, file: InputFile) -> str:
        """What people call a file: its path, or where an inline value came from."""
        return self.labels.get(file.uri, file.uri)

    @property
    def read_plan(self) -> ReadPlan:
        """How every split is read."""
        return ReadPlan(
            schema=self.read_schema,
            lines=self.lines,
            chunk_rows=self.job.batch_rows,
            chunk_bytes=self.job.batch_bytes,
            delimiter=self.job.delimiter,
            nulls=self.job.nulls,
        )

    @cached_property
    def by_key(self) -> dict[str, Split]:
        """The splits by their keys."""
        return {split.key: split for split in self.splits}

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; splits as columns, since there may be a million."""
        ranges = [split.range for split in self.splits]
        return {
            "version": PLAN_VERSION,
            "plan_id": self.plan_id,
            "job": self.job.to_json(),
            "files": [asdict(file) for file in self.files],
            "splits": {
                "file": [split.file for split in self.splits],
                "start": [piece.start for piece in ranges],
                "stop": [piece.stop for piece in ranges],
                "rows": [piece.rows for piece in ranges],
                "first_row": [piece.first_row for piece in ranges],
                "skip": [piece.skip for piece in ranges],
                "first_line": [piece.first_line for piece in ranges],
                "take": [split.take for split in self.splits],
                "key": [split.key for split in self.splits],
            },
            "rows": self.rows,
            "lines": self.lines,
            "features": list(self.features),
            "feature_rule": self.feature_rule,
            "kept": list(self.kept),
            "read_schema": schema_to_text(self.read_schema),
            "prediction_schema": schema_to_text(self.prediction_schema),
            "output_schema": schema_to_text(self.output_schema),
            "state": self.state,
            "labels": dict(self.labels),
            "expect": list(self.expect),
            "parent": None if self.parent is None else dict(self.parent),
            "sources": [list(source) for source in self.sources],
            "joined": self.joined,
            "environment": None if self.environment is None else dict(self.environment),
            "devices": dict(self.devices),
            "groups": {uri: [member.to_json() for member in members] for uri, members in self.groups.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote."""
        columns = data["splits"]
        splits: list[Split] = []
        row = 0
        names = ("start", "stop", "rows", "first_row", "skip", "first_line")
        for index, (file, take, key) in enumerate(zip(columns["file"], columns["take"], columns["key"], strict=True)):
            piece = Range(**{name: columns[name][index] for name in names})
            splits.append(Split(index, file, piece, take, row, key))
            row += take
        return cls(
            job=BatchJob.from_json(data["job"]),
            plan_id=data["plan_id"],
            files=tuple(_file(item) for item in data["files"]),
            splits=tuple(splits),
            rows=data["rows"],
            lines=data["lines"],
            features=tuple(data["features"]),
            feature_rule=data["feature_rule"],
            kept=tuple(data["kept"]),
            read_schema=schema_from_text(data["read_schema"]),
            prediction_schema=schema_from_text(data["prediction_schema"]),
            output_schema=schema_from_text(data["output_schema"]),
            state=data["state"],
            labels=data["labels"],
            expect=tuple(data["expect"]),
            parent=data.get("parent"),
            sources=tuple((uri, size, stamp) for uri, size, stamp in data.get("sources", ())),
            joined=data.get("joined", False),
            groups={uri: tuple(map(Member.from_json, members)) for uri, members in data.get("groups", {}).items()},
            environment=data.get("environment"),
            devices=data.get("devices", {}),
        )


def split_key(values: str, file: InputFile, piece: Range, take: int) -> str:
    """The key of a split, from the digest of the value-changing options and its file's identity and range."""
    identity = [file.uri, file.size, file.stamp, file.format, file.compression, file.partition]
    cut = {name: getattr(piece, name) for name in _RANGE_FIELDS}  # asdict copies deeply, which a million splits feel
    return digest_of([PLAN_VERSION, values, identity, cut, take])[:32]


def schema_to_text(schema: pa.Schema) -> str:
    """An Arrow schema as text that keeps every type exactly."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def schema_from_text(text: str) -> pa.Schema:
    """The schema that ``schema_to_text`` wrote."""
    return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(text)))


def _file(data: Mapping[str, Any]) -> InputFile:
    partition = tuple((str(name), value) for name, value in data["partition"])
    return InputFile(**{**data, "partition": partition})
