"""This module makes the plan of a job: it looks at every file, settles columns and types, and cuts splits."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import LINE_COLUMN
from bentobatch.adapters.files import FilesInput
from bentobatch.engine import features as naming
from bentobatch.engine.column_counts import is_numeric
from bentobatch.engine.cost import COSTLY_SECONDS, read_kept, split_rows_for
from bentobatch.engine.crew import PROBING
from bentobatch.engine.groups import format_of, share_splits
from bentobatch.engine.inline import document_file, inline_file
from bentobatch.engine.job import DEFAULT_SPLIT_ROWS, BatchJob, digest_of
from bentobatch.engine.listings import Found, find_files, write_listings
from bentobatch.engine.model_devices import device_kinds, on_gpu, with_settled_device
from bentobatch.engine.place import place_of
from bentobatch.engine.plan import PLAN_VERSION, Plan, Split, schema_to_text, split_key
from bentobatch.engine.probe import memory_errors, probe_cost, probe_predictions
from bentobatch.engine.store import Store, is_url, store_at
from bentobatch.errors import DataError, UsageError
from bentobatch.expectations import check_columns, parse
from bentobatch.formats.base import FileScan, Format, InputFile, ScanOptions
from bentobatch.formats.convert import conform_files, shown_names, widest
from bentobatch.formats.discover import discover
from bentobatch.formats.file_groups import Member
from bentobatch.formats.source import printable
from bentobatch.formats.write import written_schema
from bentobatch.scorer import Scorer
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore

_LOG = logging.getLogger("bentobatch")
_SCAN_THREADS = 8
_WITHOUT_COLUMNS = ("text",)
LEAST_JOINED_ROWS = 32_768
"""Rows of a part, on average, that make a row group which readers of Parquet are not slowed down by."""
_LINE_FORMATS = ("jsonl", "csv", "text")
STATUS_TYPE = pa.string()


class Planner:
    """The steps from a job to its plan, in order; each leaves what the next ones need."""

    def __init__(
        self,
        job: BatchJob,
        service: ServiceCore,
        *,
        storage_options: Mapping[str, Any] | None = None,
        doing: Callable[[str], None] | None = None,
    ) -> None:
        self.doing = doing or (lambda _: None)
        self.probe_deaths = 0
        self.environment: Mapping[str, Any] | None = None
        """What is installed where the bundle runs, for a job with an ``env``."""
        self.job = job
        self.service = service
        self.api: InferenceAPI = service.get_inference_api(job.api)
        self.storage_options = storage_options
        self.place = place_of(job)
        self.store: Store = store_at(self.place.state, storage_options)
        self.rule = naming.feature_rule(job, service, self.api)
        self.labels: dict[str, str] = {}
        self.sources: list[tuple[str, int, str]] = []
        self.groups: dict[str, tuple[Member, ...]] = {}
        self.parent: Mapping[str, str] | None = None
        self.split_rows = job.split_rows
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
        lines = self.api.input.lines and files[0].format in _LINE_FORMATS
        kept_cost = read_kept(self.store, self.job)
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

    def _files(self) -> list[InputFile]:
        listed = self._listings()
        if listed is not None:
            return listed
        columns = self.rule.names or self.api.input.columns
        if columns is not None and not self.api.input.lines:
            columns = tuple(dict.fromkeys((*columns, *self.job.keep)))
        if self.job.inputs:
            file, label = inline_file(self.job.inputs, self.api.input, columns, self.store)
            self.labels[file.uri] = label
            return [file]
        refuse_overlap(self.job.input_files, self.place.output)
        found = self._wanted(
            discover(self.job.input_files, format=self.job.format, storage_options=self.storage_options)
        )
        if not found or found[0].format != "json":
            return found
        files = []
        for document in found:
            self.sources.append((document.uri, document.size, document.stamp))
            made = document_file(document, self.api.input, columns, self.store, storage_options=self.storage_options)
            self.labels[made.uri] = document.uri
            files.append(made)
        return files

    def _listings(self) -> list[InputFile] | None:
        """The listings of an input whose rows are files; None where it is a table or inline values."""
        found = find_files(self.job, self.api, self.storage_options)
        if found is None:
            return None
        if self.job.features is not None:
            raise UsageError("--features chooses columns of a table, and files have none: leave it out")
        for _, given in (("", self.job.input_files), *self.job.named_files):
            refuse_overlap(given, self.place.output)
        found = self._wanted_files(found)
        if not any(found.values()):
            return []
        files, self.labels = write_listings(found, self.api, self.store, split_rows=self.job.split_rows)
        self.rule = naming.FeatureRule(self.api.input.input_names, "the files themselves")  # type: ignore[attr-defined]
        return files

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
        self.split_rows, self.interpreted = split_rows_for(self.job, cost), cost.interpreted
        self.cost = {"split_rows": self.split_rows, "interpreted": self.interpreted, "row_seconds": cost.row_seconds}
        return self.split_rows != self.job.split_rows

    def _shared(
        self, files: Sequence[InputFile], scans: Sequence[FileScan], beside: Sequence[str]
    ) -> tuple[list[InputFile], list[FileScan]]:
        """The files with small ones in groups; ``beside`` are columns that are kept beside each row's text."""
        # what planning made from other files, and what names files itself, is known by its one file
        if self.labels or self.sources or beside or isinstance(self.api.input, FilesInput):
            return list(files), list(scans)
        shared = share_splits(files, scans, split_rows=self.split_rows)
        self.groups, self.labels = shared.groups, shared.labels
        return shared.files, shared.scans

    # what a plan that builds on an earlier commit does otherwise; see earlier_plan

    def _wanted(self, found: list[InputFile]) -> list[InputFile]:
        """The files that are to be scored."""
        return found

    def _wanted_files(self, found: Found) -> Found:
        """The same of files that are rows themselves."""
        return found

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

    def _format(self, file: InputFile) -> Format:
        return format_of(file, self.groups)

    def _scan(self, files: Sequence[InputFile], lines: bool) -> list[FileScan]:
        """Look at every file; all headers and footers are checked here, before the first row is scored."""
        job = self.job
        wanted: tuple[str, ...] | None = None
        if lines:
            wanted = job.keep
        elif self.rule.names is not None and not job.keep_all:
            wanted = tuple(dict.fromkeys((*self.rule.names, *job.keep)))
        if lines and job.keep_all:
            raise UsageError("--keep-all needs columns, but this api gets each line's text: name columns with --keep")
        if lines and job.keep and files[0].format in _WITHOUT_COLUMNS:
            raise UsageError(f"--keep: a {files[0].format} file has no columns to keep")
        options = ScanOptions(
            columns=wanted,
            types=self._types(self.rule.names or ()),
            lines=lines and not job.keep,
            split_rows=self.split_rows,
            delimiter=job.delimiter,
            nulls=job.nulls,
        )

        def scan(file: InputFile) -> FileScan:
            label = printable(self.labels.get(file.uri, file.uri))
            self.doing(f"reading {label}")
            with memory_errors(label):
                return self._format(file).scan(file, options, self.storage_options)

        if len(files) == 1:
            return [scan(files[0])]
        with ThreadPoolExecutor(_SCAN_THREADS, thread_name_prefix="bentobatch-scan") as pool:
            return list(pool.map(scan, files))

    def _columns(
        self, files: Sequence[InputFile], scans: Sequence[FileScan], lines: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...], pa.Schema]:
        """The features, the kept columns and the settled schema of both."""
        job = self.job
        available = _all_columns(files, scans)
        if lines:
            kept = job.keep
            features: tuple[str, ...] = (LINE_COLUMN,)
            needed = kept
        else:
            features = naming.settle_features(job, self.rule, available)
            kept = naming.settle_kept(job, available)
            needed = tuple(dict.fromkeys((*features, *kept)))
        types = self._types(features)
        labelled = [
            (printable(self.labels.get(file.uri, file.uri)), _with_partitions(scan.schema, file, types))
            for file, scan in _of_each_kind(files, scans)
        ]
        if files[0].format in _LINE_FORMATS:
            # text has no types of its own: a declared type holds for whatever stands there, and what is no number in
            # every file is text in all of them
            types = {**dict.fromkeys(_mixed(labelled, needed, types), pa.string()), **types}
            labelled = [(label, _with_types(schema, types)) for label, schema in labelled]
        if needed and not lines:
            self._check_present(labelled, features)
        schema = conform_files(labelled, needed, types) if needed else pa.schema([])
        if lines:
            schema = pa.schema([pa.field(LINE_COLUMN, pa.large_binary()), *schema])
        return features, kept, schema

    def _types(self, features: Sequence[str]) -> dict[str, pa.DataType]:
        """Declared types, also those that are declared for whatever the features are."""
        return {**self.api.input.types, **self.api.input.types_for(features)}

    def _check_present(self, labelled: Sequence[tuple[str, pa.Schema]], features: Sequence[str]) -> None:
        """Refuse a missing feature with words that say how to mend it, which the formats cannot know."""
        for label, schema in labelled:
            held = set(schema.names)  # which makes its list anew each time
            missing = [name for name in features if name not in held]
            if not missing:
                continue
            shown = shown_names(schema.names)
            hint = ""
            if len(schema.names) == 1 and any(mark in schema.names[0] for mark in ";\t|"):
                hint = "; is another --delimiter used?"
            spaced = [name for name in missing if any(other.strip() == name.strip() for other in schema.names)]
            if spaced:
                hint = "; names in the file's header carry spaces around them"
            raise DataError(
                f"{label}: missing column {shown_names(missing)} (features are {self.rule.rule}); it has: {shown}{hint}"
            )

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


def _mixed(
    labelled: Sequence[tuple[str, pa.Schema]], needed: Sequence[str], declared: Mapping[str, pa.DataType]
) -> list[str]:
    """The needed columns whose types in different files no common type holds."""
    found: list[str] = []
    for name in needed:
        if name in declared:
            continue
        type: pa.DataType | None = pa.null()
        for _, schema in labelled:
            if type is not None and name in schema.names:
                type = widest(type, schema.field(name).type)
        if type is None:
            found.append(name)
    return found


def _with_types(schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema([field.with_type(types.get(field.name, field.type)) for field in schema])


def refuse_overlap(inputs: Sequence[str], output: str) -> None:
    """Refuse an output among the inputs: it would be replaced while it is read, or be read as input by the next run.

    Raises:
        UsageError: one of them is, or lies in, the other.
    """
    output = output.rstrip("/")
    for given in inputs:
        path = given.rstrip("/")
        within = output.startswith(f"{path}/") and (is_url(path) or os.path.isdir(path))
        if path == output or within or path.startswith(f"{output}/"):
            raise UsageError(
                f"the output {printable(output)} and the input {printable(given)} lie in each other, so a run would read"
                " what it or another one wrote: write elsewhere"
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


def _all_columns(files: Sequence[InputFile], scans: Sequence[FileScan]) -> list[str]:
    """Every column of any file, in the order of first sight, partition columns last."""
    kinds = _of_each_kind(files, scans)
    names = dict.fromkeys(name for _, scan in kinds for name in scan.schema.names)
    names.update(dict.fromkeys(name for file, _ in kinds for name, _ in file.partition))
    return list(names)


def _of_each_kind(files: Sequence[InputFile], scans: Sequence[FileScan]) -> list[tuple[InputFile, FileScan]]:
    """The first of those files that share one schema and hive keys: thousands of files need one look."""
    first: dict[Any, tuple[InputFile, FileScan]] = {}
    for file, scan in zip(files, scans, strict=True):
        first.setdefault((id(scan.schema), *(key for key, _ in file.partition)), (file, scan))
    return list(first.values())


def _with_partitions(schema: pa.Schema, file: InputFile, types: Mapping[str, pa.DataType]) -> pa.Schema:
    fields = [pa.field(name, types.get(name, pa.string())) for name, _ in file.partition if name not in schema.names]
    return pa.schema([*schema, *fields]) if fields else schema
