"""This module scores one split: its rows are read, scored and written as one part, and a receipt proves it.

Running a split twice changes nothing: a finished one is left as it is, and a part without a receipt is written anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.engine import overhead, parts
from bentobatch.engine.boot import boot_id
from bentobatch.engine.clocks import Clock
from bentobatch.engine.column_counts import count_columns
from bentobatch.engine.groups import format_of
from bentobatch.engine.listings import with_files
from bentobatch.engine.parts import MOST_DEATHS, Deaths, Receipt
from bentobatch.engine.plan import Plan, Split
from bentobatch.engine.planning import STATUS_TYPE, part_format
from bentobatch.engine.rejects import SCHEMA as REJECTS_SCHEMA
from bentobatch.engine.rejects import reject_rows
from bentobatch.engine.store import Store
from bentobatch.errors import DataError, ModelError, UnavailableError
from bentobatch.expectations import ColumnCounts, counts_to_json
from bentobatch.formats.base import Chunk, Format, ReadPlan
from bentobatch.formats.convert import cast_values
from bentobatch.formats.source import printable
from bentobatch.formats.unchanged import check_unchanged
from bentobatch.formats.write import part_writer
from bentobatch.rows import BadRow
from bentobatch.scorer import Scored, Scorer

OnStep = Callable[[int, int], None]
"""Told before rows [start, stop) of the split are scored, and (0, 0) after, so that a supervisor knows what a worker that
dies worked on."""
OnFile = Callable[[str], None]
"""Told of each file of a split that has several, before it is read."""


class SplitRun:
    """One split on its way to its part."""

    def __init__(
        self,
        plan: Plan,
        split: Split,
        scorer: Scorer,
        store: Store,
        *,
        storage_options: Mapping[str, Any] | None = None,
        on_step: OnStep | None = None,
        on_file: OnFile | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``clock`` is given the thread's time in the api and its adapters."""
        self.clock = clock or Clock()
        self.plan = plan
        self.split = split
        self.scorer = scorer
        self.store = store
        self.storage_options = storage_options
        self.on_step = on_step
        self.file = plan.files[split.file]
        self.format: Format = format_of(self.file, plan.groups, on_file=on_file)
        self.rejects: list[dict[str, Any]] = []
        self.counts = {"rejected": 0, "discarded": 0}
        self.columns: dict[str, ColumnCounts] = {}
        self.seconds = {"read": 0.0, "model": 0.0, "write": 0.0}

    def run(self) -> Receipt:
        """Score the split unless it is finished; its receipt."""
        plan_id, key = self.plan.plan_id, self.split.key
        finished = parts.read_receipt(self.store, plan_id, key)
        if finished is not None:
            return finished
        deaths = parts.read_deaths(self.store, plan_id, key)
        self._check_unchanged()
        name = parts.part_name(plan_id, key)
        format, header = part_format(self.plan.job, joined=self.plan.joined)
        with (
            self.store.create(name, lazily=boot_id() is not None) as sink,
            part_writer(
                format, self.plan.output_schema, sink, metadata=part_metadata(self.plan), header=header
            ) as writer,
        ):
            rows = self._write(writer, deaths)
            started = time.perf_counter()
        self._check_unchanged()
        if rows != self.split.take:
            raise DataError(
                f"{printable(self.plan.label(self.file))} gave {rows} rows where planning counted {self.split.take}: it"
                " changed meanwhile; run the same command again"
            )
        overhead.add("checksum", writer.checksum_seconds)
        if self.rejects:
            with overhead.spending("rejects"):
                self._write_rejects()
        self.seconds["write"] += time.perf_counter() - started
        part_bytes = self.store.size(name)
        receipt = Receipt(
            key=key,
            rows=rows,
            rejected=self.counts["rejected"],
            discarded=self.counts["discarded"],
            part_bytes=part_bytes,
            has_rejects=bool(self.rejects),
            seconds={stage: round(took, 6) for stage, took in self.seconds.items()},
            columns=counts_to_json(self.columns),
            checksum=writer.checksum,
            boot=parts.boot_of(self.store, part_bytes),
        )
        with overhead.spending("receipts"):
            # a receipt that a power cut takes is a split that is scored again: it need not be synced itself
            self.store.write(parts.receipt_name(plan_id, key), receipt.to_bytes(), lazily=True)
        return receipt

    def _write(self, writer: Any, deaths: Deaths) -> int:
        """Score chunk after chunk into ``writer``; the number of rows."""
        done: int = 0
        chunks = self._chunks()
        while True:
            started = time.perf_counter()
            chunk = self._next(chunks)
            self.seconds["read"] += time.perf_counter() - started
            if chunk is None:
                return done
            chunk = _first_rows(chunk, self.split.take - done)
            rows: int = chunk.batch.num_rows
            if rows:
                scored = self._score(chunk, done, deaths)
                started = time.perf_counter()
                output = self._output(chunk, scored)
                writer.write(output)
                count_columns(output, self.columns)
                self._keep_rejects(chunk, scored.bad, done)
                self.seconds["write"] += time.perf_counter() - started
            done += rows
            if done >= self.split.take:
                return done

    def _next(self, chunks: Iterator[Chunk]) -> Chunk | None:
        try:
            return next(chunks, None)
        except MemoryError as error:
            raise UnavailableError(
                f"{printable(self.plan.label(self.file))}: not enough memory to read it: give fewer --workers or smaller"
                " --batch-rows"
            ) from error

    def _chunks(self) -> Iterator[Chunk]:
        """The chunks of the range; in lines mode with kept columns, the text and the columns of the same rows."""
        plan = self.plan.read_plan
        if not self.plan.lines or not self.plan.kept:
            return self._with_files(self.format.read(self.file, self.split.range, plan, self.storage_options))
        return self._chunks_with_columns(plan)

    def _with_files(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks with the files that their columns name, where the api takes files."""
        return with_files(
            chunks,
            self.scorer.api,
            features=self.plan.features,
            job=self.plan.job,
            origin=self.plan.label(self.file),
            storage_options=self.storage_options,
        )

    def _chunks_with_columns(self, plan: ReadPlan) -> Iterator[Chunk]:
        def read(columns: Sequence[str], lines: bool) -> Iterator[Chunk]:
            schema = pa.schema([plan.schema.field(name) for name in columns])
            narrow = ReadPlan(schema, lines, plan.chunk_rows, plan.chunk_bytes, plan.delimiter, plan.nulls)
            return self.format.read(self.file, self.split.range, narrow, self.storage_options)

        texts = read(self.plan.features, True)
        columns = read(self.plan.kept, False)
        for text, kept in zip(texts, columns, strict=True):
            arrays = [*text.batch.columns, *kept.batch.columns]
            batch = pa.RecordBatch.from_arrays(arrays, schema=plan.schema)
            # what is malformed is found again, with its text, when the adapter converts it
            yield Chunk(batch, text.bad, text.first_line, text.lines)

    def _score(self, chunk: Chunk, offset: int, deaths: Deaths) -> Scored:
        """Score a chunk; in pieces where it took its worker with it too often."""
        features = chunk.batch.select(self.plan.features) if chunk.features is None else chunk.features
        pieces = _pieces(offset, offset + chunk.batch.num_rows, deaths)
        if len(pieces) > 1 and not self.scorer.api.row_independent:
            raise ModelError(
                f"api {self.scorer.api.name!r} ended its worker process {deaths.count} times on rows that depend on each"
                " other (row_independent=False), so no row can be left out"
            )
        outcomes: list[Scored] = []
        for start, stop, fatal in pieces:
            head, tail = start - offset, stop - offset
            skip = [
                BadRow(item.index - head, item.stage, item.error_type, item.error, item.line, item.raw)
                for item in chunk.bad
                if head <= item.index < tail
            ]
            if fatal:
                skip = skip or [BadRow(0, "model", "WorkerDied", "scoring this row alone ended the worker process")]
            elif self.on_step is not None:
                self.on_step(start, stop)
            with self.clock.running():
                scored = self.scorer.score(features.slice(head, tail - head), skip=skip)
            outcomes.append(scored)
            self.seconds["model"] += scored.seconds
        if self.on_step is not None:
            self.on_step(0, 0)
        return outcomes[0] if len(outcomes) == 1 else join_scored(outcomes)

    def _output(self, chunk: Chunk, scored: Scored) -> pa.RecordBatch:
        arrays = [chunk.batch.column(name) for name in self.plan.kept]
        arrays += scored.columns.columns
        if self.plan.job.status_column:
            arrays.append(_status(chunk.batch.num_rows, scored.bad))
        schema = self.plan.output_schema
        plain = [
            array if array.type.equals(field.type) else cast_values(array, field.type)
            for array, field in zip(arrays, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(plain, schema=schema)

    def _keep_rejects(self, chunk: Chunk, bad: Sequence[BadRow], offset: int) -> None:
        discarded = sum(item.stage == "discard" for item in bad)
        self.counts["discarded"] += discarded
        self.counts["rejected"] += len(bad) - discarded
        self.rejects += reject_rows(
            bad,
            chunk,
            offset=offset,
            file=printable(self.plan.label(self.file)),
            file_row=self.split.range.first_row + offset,
            raw_column=self.plan.features[0] if self.plan.lines else None,
        )

    def _write_rejects(self) -> None:
        batch = pa.RecordBatch.from_pylist(self.rejects, schema=REJECTS_SCHEMA)
        name = parts.rejects_name(self.plan.plan_id, self.split.key)
        with self.store.create(name) as sink, part_writer("arrow", REJECTS_SCHEMA, sink) as writer:
            writer.write(batch)

    def _check_unchanged(self) -> None:
        check_unchanged(self.file, self.plan.label(self.file), self.storage_options)


def part_metadata(plan: Plan) -> dict[str, str]:
    """What stands in an output file's metadata."""
    parent = {}
    if plan.job.redrive is not None and plan.parent is not None:
        parent["bentobatch.parent_plan"] = plan.parent["plan_id"]
        parent["bentobatch.parent_bundle_digest"] = plan.parent["bundle_digest"]
    return {
        "bentobatch.bundle": plan.job.bundle_tag,
        "bentobatch.bundle_digest": plan.job.bundle_digest,
        "bentobatch.api": plan.job.api,
        "bentobatch.plan": plan.plan_id,
        **parent,
    }


def join_scored(outcomes: Sequence[Scored]) -> Scored:
    """The outcomes of consecutive pieces as that of the whole."""
    columns = pa.Table.from_batches([item.columns for item in outcomes]).combine_chunks().to_batches()[0]
    bad: list[BadRow] = []
    offset = 0
    for item in outcomes:
        bad += [BadRow(row.index + offset, row.stage, row.error_type, row.error, row.line, row.raw) for row in item.bad]
        offset += item.columns.num_rows
    return Scored(columns, bad, sum(item.seconds for item in outcomes))


def _pieces(start: int, stop: int, deaths: Deaths) -> list[tuple[int, int, bool]]:
    """How to score rows [start, stop): whole, unless they were fatal too often; then halves of what was fatal, down to
    the single row (True) that is left out."""
    if deaths.count < MOST_DEATHS or (start, stop) not in deaths.ranges:
        return [(start, stop, False)]
    if stop - start == 1:
        return [(start, stop, True)]
    middle = (start + stop) // 2
    return _pieces(start, middle, deaths) + _pieces(middle, stop, deaths)


def _first_rows(chunk: Chunk, rows: int) -> Chunk:
    """The first rows of a chunk, for --limit."""
    if chunk.batch.num_rows <= rows:
        return chunk
    bad = [item for item in chunk.bad if item.index < rows]
    features = None if chunk.features is None else chunk.features.slice(0, rows)
    return Chunk(chunk.batch.slice(0, rows), bad, chunk.first_line, chunk.lines, features, chunk.files)


def _status(rows: int, bad: Sequence[BadRow]) -> pa.Array:
    status = ["ok"] * rows
    for item in bad:
        status[item.index] = "discarded" if item.stage == "discard" else "rejected"
    return pa.array(status, STATUS_TYPE)
