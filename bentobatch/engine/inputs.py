"""This module looks at the input of a job: it finds the files, looks at each, and settles the columns that are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import LINE_COLUMN
from bentobatch.adapters.files import FilesInput
from bentobatch.engine import features as naming
from bentobatch.engine.groups import format_of, share_splits
from bentobatch.engine.inline import document_file, inline_file
from bentobatch.engine.job import BatchJob
from bentobatch.engine.listings import Found, find_files, write_listings
from bentobatch.engine.place import place_of
from bentobatch.engine.probe import memory_errors
from bentobatch.engine.store import Store, is_url, store_at
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.base import FileScan, Format, InputFile, ScanOptions
from bentobatch.formats.convert import conform_files, shown_names, widest
from bentobatch.formats.discover import discover
from bentobatch.formats.file_groups import Member
from bentobatch.formats.source import printable
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore

_SCAN_THREADS = 8
_WITHOUT_COLUMNS = ("text",)
LINE_FORMATS = ("jsonl", "csv", "text")


class Inputs:
    """The files of a job, and the steps that find what they hold. Each leaves what the next ones need."""

    def __init__(
        self,
        job: BatchJob,
        service: ServiceCore,
        *,
        storage_options: Mapping[str, Any] | None = None,
        doing: Callable[[str], None] | None = None,
    ) -> None:
        self.doing = doing or (lambda _: None)
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
        self.split_rows = job.split_rows

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
        if files[0].format in LINE_FORMATS:
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

    # what a plan that builds on an earlier commit does otherwise; see earlier_plan

    def _wanted(self, found: list[InputFile]) -> list[InputFile]:
        """The files that are to be scored."""
        return found

    def _wanted_files(self, found: Found) -> Found:
        """The same of files that are rows themselves."""
        return found


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
