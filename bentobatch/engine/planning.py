"""This module makes the plan of a job: from what its input holds (see inputs) it settles the output and cuts splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.engine import features as naming
from bentobatch.engine.column_counts import is_numeric
from bentobatch.engine.cost import COSTLY_SECONDS, read_kept, split_rows_for
from bentobatch.engine.crew import PROBING
from bentobatch.engine.inputs import LINE_FORMATS, Inputs
from bentobatch.engine.job import DEFAULT_SPLIT_ROWS, BatchJob, digest_of
from bentobatch.engine.model_devices import device_kinds, on_gpu, with_settled_device
from bentobatch.engine.place import place_of
from bentobatch.engine.plan import PLAN_VERSION, Plan, Split, schema_to_text, split_key
from bentobatch.engine.probe import probe_cost, probe_predictions
from bentobatch.expectations import check_columns, parse
from bentobatch.formats.base import FileScan, InputFile
from bentobatch.formats.write import written_schema
from bentobatch.scorer import Scorer
from bentobatch.service.core import ServiceCore

LEAST_JOINED_ROWS = 32_768
"""Rows of a part, on average, that make a row group which readers of Parquet are not slowed down by."""
STATUS_TYPE = pa.string()


class Planner(Inputs):
    """The steps from a job to its plan, in order; each leaves what the next ones need."""

    def __init__(
        self,
        job: BatchJob,
        service: ServiceCore,
        *,
        storage_options: Mapping[str, Any] | None = None,
        doing: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(job, service, storage_options=storage_options, doing=doing)
        self.probe_deaths = 0
        self.environment: Mapping[str, Any] | None = None
        """What is installed where the bundle runs, for a job with an ``env``."""
        self.parent: Mapping[str, str] | None = None
        self.probe_seconds: float | None = None
        self.interpreted: bool | None = None
        self.cost: Mapping[str, Any] | None = None
        """What was measured now, to be kept with the plan."""

    def plan(self) -> Plan:
        """The plan; nothing of the user's rows was scored but the first, to find the output's columns."""
        files = self._files()
        if not files:
            return self._nothing()
        # inline texts have become an Arrow file with the texts as its one column, so nothing more is to be done for them
        lines = self.api.input.lines and files[0].format in LINE_FORMATS
        kept_cost = self._kept_cost()
        self.interpreted = None if kept_cost is None else kept_cost["interpreted"]
        self.split_rows = self.job.split_rows if kept_cost is None else kept_cost["split_rows"]
        scans = self._scan(files, lines)
        features, kept, schema = self._columns(files, scans, lines)
        schema = self._settled(schema, kept)
        predictions = self._predictions(files, scans, features, schema, lines)
        if kept_cost is None and self._settle_cost(files, scans, features, schema, lines, predictions):
            scans = self._scan(files, lines)
        self.doing("the plan was being made")
        naming.check_names(self.job, kept, predictions)
        output = self._output_schema(kept, schema, predictions)
        self._check_output(output)
        expectations = [parse(line) for line in (*self.api.expect, *self.job.expect)]
        check_columns(expectations, {field.name: is_numeric(field.type) for field in output})
        files, scans = self._shared(files, scans, kept if lines else ())
        return self._assemble(files, scans, lines, features, kept, schema, predictions, output)

    def _kept_cost(self) -> Mapping[str, Any] | None:
        """What an earlier planning has found of the api's cost."""
        return read_kept(self.store, self.job)

    def _settle_cost(
        self,
        files: Sequence[InputFile],
        scans: Sequence[FileScan],
        features: tuple[str, ...],
        schema: pa.Schema,
        lines: bool,
        predictions: pa.Schema,
    ) -> bool:
        """Measure what the api costs, and keep it; whether splits have fewer rows for it than the job says."""
        if self.job.split_rows != DEFAULT_SPLIT_ROWS or self.probe_deaths:
            return False  # the user has settled it; or some row ends its process, and is not looked for here
        if self.probe_seconds is not None and self.probe_seconds < COSTLY_SECONDS:
            return False
        self.doing(PROBING)
        cost = probe_cost(
            Scorer(self.service, self.api, output_column=self.job.output_column, output_schema=predictions),
            self.job,
            files=[(self._format(file), file, scan) for file, scan in zip(files, scans, strict=True)],
            features=features,
            schema=schema,
            lines=lines,
            storage_options=self.storage_options,
        )
        if cost is None:
            return False
        row_bytes = max(scan.row_bytes for scan in scans)
        self.split_rows, self.interpreted = split_rows_for(self.job, cost, row_bytes=row_bytes), cost.interpreted
        self.cost = {"split_rows": self.split_rows, "interpreted": self.interpreted, "row_seconds": cost.row_seconds}
        return self.split_rows != self.job.split_rows

    # what a plan that builds on an earlier commit does otherwise; see earlier_plan

    def _nothing(self) -> Plan:
        """The plan where no file is to be scored."""
        raise AssertionError("discover finds a file or raises")

    def _settled(self, schema: pa.Schema, kept: Sequence[str]) -> pa.Schema:
        """The columns to read, as they are read."""
        del kept
        return schema

    def _check_output(self, output: pa.Schema) -> None:
        """Refuse an output that cannot be committed."""

    def _cut(self, files: Sequence[InputFile], scans: Sequence[FileScan], values: str) -> list[Split]:
        """The splits, in the order of the output."""
        return _splits(files, scans, values, self.job.limit)

    def _predictions(
        self,
        files: Sequence[InputFile],
        scans: Sequence[FileScan],
        features: tuple[str, ...],
        schema: pa.Schema,
        lines: bool,
    ) -> pa.Schema:
        """The prediction columns: declared by the api, or found by scoring the first rows."""
        if self.api.output_schema is not None:
            return self.api.output_schema
        self.doing(PROBING)
        width = naming.known_width(self.service) if self.rule.names is None and not lines else None
        schema, self.probe_seconds = probe_predictions(
            self.job,
            self.service,
            self.api,
            files=[(self._format(file), file, scan) for file, scan in zip(files, scans, strict=True)],
            features=features,
            schema=schema,
            lines=lines,
            advice=naming.width_advice(features, width, self.api),
            storage_options=self.storage_options,
            deaths=self.probe_deaths,
            labels=self.labels,
        )
        return schema

    def _output_schema(self, kept: Sequence[str], schema: pa.Schema, predictions: pa.Schema) -> pa.Schema:
        job = self.job
        fields = [schema.field(name) for name in kept]
        # a row that is rejected has no prediction, so every prediction may be null
        fields += [field.with_nullable(True) for field in predictions]
        if job.status_column:
            fields.append(pa.field(job.status_column, STATUS_TYPE))
        return written_schema(fields)

    def _assemble(
        self,
        files: Sequence[InputFile],
        scans: Sequence[FileScan],
        lines: bool,
        features: tuple[str, ...],
        kept: tuple[str, ...],
        schema: pa.Schema,
        predictions: pa.Schema,
        output: pa.Schema,
    ) -> Plan:
        job = self.job
        joined = _joins(job, scans)
        kinds = device_kinds(self.service)
        devices = on_gpu(kinds)
        values = digest_of(
            {
                "plan": PLAN_VERSION,
                "bundle": job.bundle_digest,
                "api": job.api,
                "names": [job.output_column, job.status_column],
                "columns": [features, kept, lines],
                "schemas": [schema_to_text(part) for part in (schema, predictions)],
                "chunks": [job.batch_rows, job.batch_bytes],
                "text": [job.delimiter, job.nulls],
                "part": part_format(job, joined=joined),
                **({} if self.environment is None else {"environment": self.environment}),
                **({"devices": devices} if devices else {}),
            }
        )
        splits = self._cut(files, scans, values)
        rows = splits[-1].first_row + splits[-1].take if splits else 0
        identities = [values, [split.key for split in splits], [file.uri for file in files]]
        settled = digest_of(identities if self.parent is None else [*identities, self.parent["plan_id"]])
        return Plan(
            job=with_settled_device(job, kinds),
            plan_id=job.values_digest(settled=settled)[:16],
            files=tuple(files),
            splits=tuple(splits),
            rows=rows,
            lines=lines,
            features=features,
            feature_rule="each record's text" if lines else self.rule.rule,
            kept=kept,
            read_schema=schema,
            prediction_schema=predictions,
            output_schema=output,
            state=self.place.state,
            labels=self.labels,
            expect=self.api.expect,
            parent=self.parent,
            sources=tuple(self.sources),
            joined=joined,
            environment=self.environment,
            devices=devices,
            groups=self.groups,
        )


def part_format(job: BatchJob, *, joined: bool) -> tuple[str, bool]:
    """The format of a job's parts, and whether a CSV part has a header.

    The format is the output's own, but Arrow for a single Parquet file of small parts, which is encoded at commit, in row
    groups that readers like (``joined``: the parts are large enough to be its row groups themselves); parts of a single
    CSV file are put one behind the other, so only the whole has a header. Rows that are scored again are Arrow too: they
    are merged into the output value for value.
    """
    if job.redrive is not None:
        return "arrow", True
    place = place_of(job)
    format = "arrow" if place.single and place.format == "parquet" and not joined else place.format
    return format, not place.single


def _joins(job: BatchJob, scans: Sequence[FileScan]) -> bool:
    """Whether the parts of the output will be one Parquet file's row groups."""
    place = place_of(job)
    pieces = sum(len(scan.ranges) for scan in scans)
    rows = sum(scan.rows for scan in scans)
    return (
        place.single
        and place.format == "parquet"
        and job.redrive is None
        and pieces > 0
        and rows >= pieces * LEAST_JOINED_ROWS
    )


def _splits(files: Sequence[InputFile], scans: Sequence[FileScan], values: str, limit: int | None) -> list[Split]:
    splits: list[Split] = []
    row = 0
    for number, (file, scan) in enumerate(zip(files, scans, strict=True)):
        for piece in scan.ranges:
            take = piece.rows if limit is None else min(piece.rows, limit - row)
            if take <= 0:
                continue
            splits.append(Split(len(splits), number, piece, take, row, split_key(values, file, piece, take)))
            row += take
    return splits
