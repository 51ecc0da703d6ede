"""This module scores lost rows again, and merges what comes out into the output that lost them.

Rows that were fine are not scored again: their bytes are copied (CSV, JSON lines), their values written again as they
are (Parquet, Arrow), or their whole part is linked (a directory's parts without lost rows).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.engine import parts
from bentobatch.engine.column_counts import count_columns
from bentobatch.engine.commits import Commit
from bentobatch.engine.earlier import Earlier, HeldPart
from bentobatch.engine.job import digest_of
from bentobatch.engine.merge import Patches, merge_file, merge_part, merge_texts
from bentobatch.engine.parts import Receipt
from bentobatch.engine.plan import Plan
from bentobatch.engine.publish import SUCCESS
from bentobatch.engine.redrive_plan import Rows, lost_files, lost_rows, rejected_batches
from bentobatch.engine.rejects import SCHEMA as REJECTS_SCHEMA
from bentobatch.engine.split_run import SplitRun, part_metadata
from bentobatch.engine.store import LocalStore, link_or_copy, remove, sync_folder, whole_file
from bentobatch.errors import OutputError, StorageError
from bentobatch.expectations import ColumnCounts, counts_from_json, counts_to_json
from bentobatch.formats.base import Chunk, origin_of
from bentobatch.formats.write import part_writer
from bentobatch.rows import BadRow


def parent_commit(plan: Plan, store: LocalStore) -> Earlier:
    """The commit whose lost rows ``plan`` scores again.

    Raises:
        StorageError: its record is gone.
    """
    assert plan.parent is not None
    data = store.read(parts.commit_name(plan.parent["plan_id"]))
    if data is None:
        raise StorageError(f"the record of {plan.parent['plan_id']} is gone from {store.uri('')}; redrive again")
    return Earlier(plan.parent["plan_id"], json.loads(data))


def rows_of(plan: Plan, store: LocalStore, earlier: Earlier, index: int) -> tuple[Rows, Rows]:
    """The rows that a split of a redrive scores: their positions in the file, and in the output."""
    split = plan.splits[index]
    held = lost_files(earlier)[split.file]
    return lost_rows(store, earlier, held, split.range.first_row, split.range.first_row + split.range.rows)


class RedriveRun(SplitRun):
    """A split of which the lost rows are scored, and no others."""

    @cached_property
    def lost(self) -> tuple[Rows, Rows]:
        """Positions in the file and in the output."""
        assert isinstance(self.store, LocalStore)
        return rows_of(self.plan, self.store, parent_commit(self.plan, self.store), self.split.index)

    def _chunks(self) -> Iterator[Chunk]:
        wanted = self.lost[0]
        start = self.split.range.first_row
        for chunk in super()._chunks():
            stop = start + chunk.batch.num_rows
            first, last = np.searchsorted(wanted, [start, stop])
            if last > first:
                yield chosen_rows(chunk, wanted[first:last] - start)
            start = stop

    def _keep_rejects(self, chunk: Chunk, bad: Sequence[BadRow], offset: int) -> None:
        known = len(self.rejects)
        super()._keep_rejects(chunk, bad, offset)
        for record in self.rejects[known:]:
            position = record["row"]
            record["row"] = int(self.lost[1][position])
            if not chunk.origins:
                record["file_row"] = int(self.lost[0][position])


def chosen_rows(chunk: Chunk, rows: Rows) -> Chunk:
    """The given rows of a chunk, by their sorted positions in it."""
    places = {int(row): place for place, row in enumerate(rows)}
    bad = [
        BadRow(places[item.index], item.stage, item.error_type, item.error, item.line, item.raw)
        for item in chunk.bad
        if item.index in places
    ]
    lines: list[int] | None = None
    if chunk.lines is not None:
        lines = [int(chunk.lines[int(row)]) for row in rows]
    elif chunk.first_line:
        lines = [chunk.first_line + int(row) for row in rows]
    features = None if chunk.features is None else chunk.features.take(pa.array(rows))
    files = None if chunk.files is None else [chunk.files[int(row)] for row in rows]
    origins = [
        replace(origin_of(int(row), chunk.origins), start=place) for place, row in enumerate(rows) if chunk.origins
    ]
    return Chunk(chunk.batch.take(pa.array(rows)), bad, 0, lines, features, files, origins)


class RedriveCommit(Commit):
    """Merges the rows that were scored again into the output; rejects of a split have their rows in the output."""

    store: LocalStore

    @cached_property
    def earlier(self) -> Earlier:
        """The commit that is mended."""
        return parent_commit(self.plan, self.store)

    @cached_property
    def lost_parts(self) -> list[HeldPart]:
        """The parts with lost rows, all of which were scored again."""
        return [part for part in self.earlier.parts if part.lost]

    @property
    def rows(self) -> int:
        return self.earlier.rows

    def _check_place(self) -> None:
        if not self.earlier.still_stands(self.place, self.storage_options):
            raise OutputError(f"{self.place.output} was changed since this plan was made; redrive again")

    def _patches(self) -> Patches:
        """The rows that were scored again, in the order of the output, from the first."""

        def pieces() -> Iterator[tuple[Rows, pa.RecordBatch]]:
            for split in self.plan.splits:
                rows = rows_of(self.plan, self.store, self.earlier, split.index)[1]
                done = 0
                for batch in self._batches(parts.part_name(self.plan.plan_id, split.key)):
                    yield rows[done : done + batch.num_rows], batch
                    done += batch.num_rows

        return Patches(pieces(), self.plan.output_schema)

    # -- rejects and counts

    def _rejects(self, receipts: Mapping[int, Receipt]) -> list[tuple[str, int]]:
        return [(name, 0) for name, _ in super()._rejects(receipts)]

    def _counted(self, receipts: list[Receipt]) -> list[dict[str, Any]]:
        del receipts
        return [dict(self._columns.get(part.number, part.columns)) for part in self.earlier.parts]

    @cached_property
    def _columns(self) -> dict[int, dict[str, list[Any]]]:
        """The counts of the parts with lost rows, as they are now: a lost row had no prediction, and now may have. Kept
        columns count as they did."""
        predictions = self.plan.prediction_schema.names
        found: dict[int, dict[str, list[Any]]] = {}
        patches = self._patches()
        for part in self.lost_parts:
            rows, batch = patches.within(part.first_row, part.first_row + part.rows)
            counts = counts_from_json(part.columns)
            fresh: dict[str, ColumnCounts] = {}
            count_columns(batch.select(predictions), fresh)
            for name, item in fresh.items():
                item.nulls -= len(rows)
                counts.setdefault(name, ColumnCounts()).add(item)
            found[part.number] = counts_to_json(counts)
        return found

    def _new_key(self, part: HeldPart) -> str:
        """Not the old one: by that, a later plan would take the part for what the old bundle alone made."""
        return digest_of([part.key, self.plan.plan_id])[:32]

    def _keep_part_rejects(self) -> dict[int, tuple[int, int]]:
        """Write what is still lost of each part under its new key; the numbers of rejected and discarded rows."""
        first = np.array([part.first_row for part in self.lost_parts], dtype=np.int64)
        counts: dict[int, tuple[int, int]] = {}
        waiting: list[pa.RecordBatch] = []
        current = -1

        def finish() -> None:
            if not waiting:
                return
            part = self.lost_parts[current]
            name = parts.rejects_name(self.plan.plan_id, self._new_key(part))
            discarded = 0
            with self.store.create(name) as sink, part_writer("arrow", REJECTS_SCHEMA, sink) as writer:
                for batch in waiting:
                    rows = pc.subtract(batch.column("row"), part.first_row)
                    writer.write(pa.RecordBatch.from_arrays([rows, *batch.columns[1:]], schema=REJECTS_SCHEMA))
                    discarded += pc.sum(pc.equal(batch.column("stage"), "discard")).as_py() or 0
            counts[part.number] = (sum(batch.num_rows for batch in waiting) - discarded, discarded)
            waiting.clear()

        for split in self.plan.splits:
            path = self.store.path(parts.rejects_name(self.plan.plan_id, split.key))
            for batch in rejected_batches(str(path)) if path.exists() else ():
                places = np.searchsorted(first, batch.column("row").to_numpy(), side="right") - 1
                edges = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(places)]
                for start, stop in pairwise(edges):
                    if stop > start and int(places[start]) != current:
                        finish()
                        current = int(places[start])
                    if stop > start:
                        waiting.append(batch.slice(start, stop - start))
        finish()
        return counts

    # -- the output

    def _stage(self) -> Path:
        self.merged: list[list[int]] = []
        self.offsets = [[] for _ in self.plan.splits]
        if not self.place.single:
            path = self._staging() / "output"
            remove(path)
            self._stage_folder(path)
            return path
        path = self._staging() / f"output.{self.place.format}"
        old = Path(self.place.output)
        with whole_file(path) as sink:
            if self.place.format in ("csv", "jsonl"):
                self.merged = merge_texts(old, sink, self.earlier.parts, self._patches(), format=self.place.format)
            else:
                merge_file(old, sink, self._patches(), self.place.format, part_metadata(self.plan), self.rows)
        return path

    def _part_names(self) -> list[str]:
        """A part with lost rows gets this plan's name; the others keep theirs, and are linked."""
        names = list(self.earlier.record["names"])
        for part in self.lost_parts:
            (names[part.number],) = self._own_names(1, int(part.name.split("-")[1]))
        return names

    def _stage_folder(self, path: Path) -> None:
        names = self._part_names()
        lost = {part.number: part for part in self.lost_parts}
        patches = self._patches()
        path.mkdir(parents=True)
        for number, (name, old) in enumerate(zip(names, self.earlier.record["names"], strict=True)):
            source = Path(self.place.output) / old
            if number not in lost:
                link_or_copy(source, path / name)
                continue
            with whole_file(path / name) as sink:
                merge_part(source, sink, lost[number], patches, self.place.format, part_metadata(self.plan))
        with whole_file(path / SUCCESS) as sink:
            sink.write(self._success(names))
        sync_folder(path)

    def _with_earlier(self, record: dict[str, Any]) -> dict[str, Any]:
        counts = self._keep_part_rejects()
        listed: list[list[Any]] = []
        for part in self.earlier.parts:
            offset = self.merged[part.number] if self.merged else []
            if part.lost:
                rejected, discarded = counts.get(part.number, (0, 0))
                listed.append([self._new_key(part), part.rows, rejected, discarded, part.number in counts, *offset])
            else:
                listed.append([*part.entry[:5], *offset])
        fresh = iter(record["files"])
        files = [
            {**next(fresh), "parts": len(held.parts)} if held.lost else held.to_json() for held in self.earlier.files
        ]
        columns = [dict(self._columns.get(part.number, part.columns)) for part in self.earlier.parts]
        held = self.earlier.rows - self.plan.rows
        return {**record, "rows_held": held, "parts": listed, "columns": columns, "files": files}

    def _drop_parts(self, *, siblings: bool) -> None:
        for split in self.plan.splits:  # what is still lost lies under the parts' keys now
            self.store.delete(parts.rejects_name(self.plan.plan_id, split.key))
        super()._drop_parts(siblings=siblings)
