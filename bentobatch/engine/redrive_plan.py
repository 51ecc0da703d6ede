"""This module plans a redrive: which rows of a committed output were lost, and where in the input they stand now.

A row is known by its file and its position there. A file that was mended has other ranges, but must have as many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch.engine import parts
from bentobatch.engine.earlier import Earlier, HeldFile, standing
from bentobatch.engine.earlier_plan import EarlierPlanner
from bentobatch.engine.groups import group_of
from bentobatch.engine.inline import document_file
from bentobatch.engine.listings import listed_again
from bentobatch.engine.plan import Plan, Split, split_key
from bentobatch.engine.store import LocalStore
from bentobatch.errors import DataError, OutputError, UsageError
from bentobatch.formats.base import FileScan, InputFile
from bentobatch.formats.binary_files import NAME as BINARY_FILES
from bentobatch.formats.convert import widest
from bentobatch.formats.discover import discover
from bentobatch.formats.file_groups import NAME as FILE_GROUP
from bentobatch.formats.file_groups import Member
from bentobatch.formats.source import printable

IN_FULL = "run again in full with --overwrite"
Rows = np.ndarray[Any, np.dtype[np.int64]]


class RedrivePlanner(EarlierPlanner):
    """Plans the lost rows of the output that ``job.redrive``, a plan id, committed."""

    instead = IN_FULL

    def plan(self) -> Plan:
        found = standing(self.place, self.store, self.storage_options)
        done = found is not None and self._is_done(found)
        if found is None or not (done or found.plan_id == self.job.redrive):
            raise OutputError(f"{self.place.output} was changed meanwhile; give the same command again")
        self.build_on(found)
        if done:
            return self._nothing()
        if not self.api.row_independent:
            raise UsageError(
                f"api {self.api.name!r} has rows that depend on each other (row_independent=False), so single rows cannot"
                f" be scored again; {IN_FULL}"
            )
        self.before = self._earlier_plan()
        if any(pa.types.is_null(field.type) for field in self.before.prediction_schema):
            raise DataError(f"{self.place.output} has no prediction at all, and so no type of one; {IN_FULL}")
        return super().plan()

    def _is_done(self, found: Earlier) -> bool:
        """Whether the output is what this very redrive made of its parent."""
        parent = found.record["parent"]
        same = found.record["bundle_digest"] == self.job.bundle_digest
        return parent is not None and parent["plan_id"] == self.job.redrive and same

    def _files(self) -> list[InputFile]:
        """The files with lost rows, as they are now."""
        assert self.earlier is not None
        columns = self.rule.names or self.api.input.columns
        if columns is not None and not self.api.input.lines:
            columns = tuple(dict.fromkeys((*columns, *self.job.keep)))
        files: list[InputFile] = []
        for held in lost_files(self.earlier):
            file, source = self._now(held, columns)
            files.append(file)
            self.sources.append(source)
            if held.label is not None:
                self.labels[file.uri] = held.label
        return files

    def _now(self, held: HeldFile, columns: Sequence[str] | None) -> tuple[InputFile, tuple[str, int, str]]:
        partition = tuple((str(name), value) for name, value in held.file["partition"])
        before = InputFile(**{**held.file, "partition": partition})
        if before.format == FILE_GROUP:
            return self._group_now(held), held.source
        if before.format == BINARY_FILES:
            return listed_again(before, self.store, self.storage_options), held.source
        if held.label is not None and held.source[0] == before.uri:  # inline values: they are in the state folder
            return before, held.source
        document = held.source[0] != before.uri
        format = "json" if document else before.format
        found = discover([held.source[0]], format=format, storage_options=self.storage_options)[0]
        source = (found.uri, found.size, found.stamp)
        if not document:
            return replace(found, partition=partition, compression=before.compression), source
        options = self.storage_options
        return document_file(found, self.api.input, columns, self.store, storage_options=options), source

    def _group_now(self, held: HeldFile) -> InputFile:
        """A group of small files as they are now; one that was mended is looked at again."""
        members: list[Member] = []
        for values in held.members:
            member = Member.from_json(values)
            found = discover([member.file.uri], format=member.file.format, storage_options=self.storage_options)[0]
            members.append(member.now(found))
        group = group_of(members)
        self.groups[group.uri] = tuple(members)
        return group

    def _shared(
        self, files: Sequence[InputFile], scans: Sequence[FileScan], beside: Sequence[str]
    ) -> tuple[list[InputFile], list[FileScan]]:
        """The files are as they were when they were scored first."""
        del beside
        return list(files), list(scans)

    def _settled(self, schema: pa.Schema, kept: Sequence[str]) -> pa.Schema:
        """Columns are read as they were before, where they can be: these files alone might look narrower."""
        before = {field.name: field.type for field in self.before.read_schema}
        for index, field in enumerate(schema):
            type = before.get(field.name)
            if type is None:
                continue
            common = widest(field.type, type)
            if field.name in kept or (common is not None and common.equals(type)):
                schema = schema.set(index, pa.field(field.name, type, metadata=field.metadata))
        return schema

    def _predictions(
        self,
        files: Sequence[InputFile],
        scans: Sequence[FileScan],
        features: tuple[str, ...],
        schema: pa.Schema,
        lines: bool,
    ) -> pa.Schema:
        """Those of the output; results are cast to them safely."""
        del files, scans, features, schema, lines
        return self.before.prediction_schema

    def _cut(self, files: Sequence[InputFile], scans: Sequence[FileScan], values: str) -> list[Split]:
        assert self.earlier is not None
        assert isinstance(self.store, LocalStore)
        splits: list[Split] = []
        row = 0
        for number, held in enumerate(lost_files(self.earlier)):
            file, scan = files[number], scans[number]
            self._check_rows(file, scan, held)
            for piece in scan.ranges:
                take = len(lost_rows(self.store, self.earlier, held, piece.first_row, piece.first_row + piece.rows)[0])
                if not take:
                    continue
                key = split_key(f"{values} {self.job.redrive} {number}", file, piece, take)
                splits.append(Split(len(splits), number, piece, take, row, key))
                row += take
        return splits

    def _check_rows(self, file: InputFile, scan: FileScan, held: HeldFile) -> None:
        enough = scan.rows >= held.rows if self.job.limit is not None else scan.rows == held.rows
        if not enough:
            label = self.labels.get(file.uri, file.uri)
            raise DataError(
                f"{printable(label)} has {scan.rows:,} rows now and had {held.rows:,} when it was scored, so no row can be"
                f" known by its position; {IN_FULL}"
            )


def lost_files(earlier: Earlier) -> list[HeldFile]:
    """The files with rejected or discarded rows, in the order of the output; a redrive's files are these."""
    return [held for held in earlier.files if held.lost]


def lost_rows(store: LocalStore, earlier: Earlier, held: HeldFile, start: int, stop: int) -> tuple[Rows, Rows]:
    """The lost ones among rows [start, stop) of a file: their positions in the file, sorted, and in the output."""
    in_file: list[Rows] = []
    in_output: list[Rows] = []
    for part in held.parts:
        if part.has_rejects and part.file_row < stop and part.file_row + part.rows > start:
            path = store.path(parts.rejects_name(earlier.plan_id, part.key))
            rows = _rejected(str(path), path.stat().st_mtime_ns)
            wanted = rows[(rows + part.file_row >= start) & (rows + part.file_row < stop)]
            in_file.append(wanted + part.file_row)
            in_output.append(wanted + part.first_row)
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *in_file]), np.concatenate([empty, *in_output])


def rejected_batches(path: str) -> Iterator[pa.RecordBatch]:
    """The records of a rejects file of the state folder."""
    with pa.memory_map(path) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


@lru_cache(maxsize=64)
def _rejected(path: str, stamp: int) -> Rows:
    """The sorted rows of a kept rejects file, within its part. ``stamp`` tells the file from another of its name."""
    del stamp
    rows = [batch.column("row").to_numpy() for batch in rejected_batches(path)]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *rows]))
