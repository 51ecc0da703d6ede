"""This module finds the output's columns by scoring the first rows, once, while a job is planned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from bentobatch.engine.clocks import Clock
from bentobatch.engine.cost import PROBE_MOST_ROWS, Cost, measure
from bentobatch.engine.job import BatchJob
from bentobatch.engine.listings import with_files
from bentobatch.errors import BentobatchError, DataError
from bentobatch.formats.base import Chunk, FileScan, Format, InputFile, ReadPlan
from bentobatch.formats.source import printable
from bentobatch.scorer import EveryRowFails, Scorer
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore

PROBE_ROWS = 100
"""Rows of one probe: enough to see a column's type, few enough for a slow model."""
PROBE_CHUNKS = 10
"""So many probes without a single prediction, and the output has no type to be found."""


def probe_predictions(
    job: BatchJob,
    service: ServiceCore,
    api: InferenceAPI,
    *,
    files: Sequence[tuple[Format, InputFile, FileScan]],
    features: tuple[str, ...],
    schema: pa.Schema,
    lines: bool,
    advice: str | None,
    storage_options: Mapping[str, Any] | None,
    deaths: int = 0,
    labels: Mapping[str, str] | None = None,
) -> tuple[pa.Schema, float | None]:
    """The schema of the predictions for the first rows that can be scored, and the seconds that the first such call took.

    ``deaths``: so many earlier probes took their process with them. The first of them names no row, so single rows are
    probed from then on, and each further death has shown a row to pass over.

    Raises:
        DataError: every row fails, and ``advice`` says which declaration is missing.
        EveryRowFails: every one of the first rows fails.
    """
    scorer = Scorer(service, api, output_column=job.output_column)
    read_plan = ReadPlan(
        schema=schema.empty_table().select(features).schema,
        lines=lines,
        chunk_rows=min(PROBE_ROWS, job.batch_rows) if deaths == 0 else 1,
        chunk_bytes=job.batch_bytes,
        delimiter=job.delimiter,
        nulls=job.nulls,
    )
    failure: EveryRowFails | None = None
    found: pa.Schema | None = None
    chunks = 0
    seconds: float | None = None
    for chunk in _first_chunks(files, read_plan, storage_options, api, job, labels or {}):
        chunks += 1
        if chunks < deaths:
            continue
        try:
            with Clock().running() as clock:
                scored = scorer.score(chunk.batch if chunk.features is None else chunk.features, skip=chunk.bad)
        except EveryRowFails as error:
            failure = error
            continue
        if scored.columns.num_columns and len(scored.bad) < chunk.batch.num_rows:
            seconds = clock.own if seconds is None else min(seconds, clock.own)
            found = _with_known_types(found, scored.columns.schema)
            if not any(pa.types.is_null(field.type) for field in found):
                break
    if found is not None:
        return found, seconds
    if failure is not None:
        advice = advice or _type_advice(read_plan.schema)
        if advice:
            raise DataError(f"{advice} (the model said: {failure})") from failure
        raise failure
    if chunks == 0:
        return _without_rows(scorer, read_plan.schema), None
    return pa.schema([pa.field(job.output_column, pa.null())]), None


def probe_cost(
    scorer: Scorer,
    job: BatchJob,
    *,
    files: Sequence[tuple[Format, InputFile, FileScan]],
    features: tuple[str, ...],
    schema: pa.Schema,
    lines: bool,
    storage_options: Mapping[str, Any] | None,
) -> Cost | None:
    """What the api costs on the first rows; None where they cannot be had or scored as they are."""
    if not scorer.api.row_independent:
        return None
    read_plan = ReadPlan(
        schema=schema.empty_table().select(features).schema,
        lines=lines,
        chunk_rows=min(PROBE_MOST_ROWS, job.batch_rows),
        chunk_bytes=job.batch_bytes,
        delimiter=job.delimiter,
        nulls=job.nulls,
    )
    try:
        chunk = next(_first_chunks(files, read_plan, storage_options, scorer.api, job, {}), None)
    except BentobatchError:
        return None  # the run reads the same rows and tells what is wrong with them
    if chunk is None or chunk.bad or chunk.features is not None:  # files are cut by their bytes, not by what they cost
        return None
    return measure(scorer, chunk.batch)


def _type_advice(schema: pa.Schema) -> str | None:
    """What may be wrong with the types where the model takes no row: text among the features of a table."""
    texts = [field for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    if not texts or len(schema) == 1:
        return None
    shown = ", ".join(f"column {field.name} is {field.type}" for field in texts[:8])
    return (
        f"the model takes none of the first rows; {shown}: if it expects numbers, mend the file, declare the type,"
        " DataframeInput(dtype={…}), or leave the column out with --exclude or --features"
    )


def _with_known_types(found: pa.Schema | None, schema: pa.Schema) -> pa.Schema:
    """The schema that was found first, a column of nothing but nulls taking its type from a later probe."""
    if found is None or found.names != schema.names:
        return found or schema
    return pa.schema(
        [later if pa.types.is_null(first.type) else first for first, later in zip(found, schema, strict=True)]
    )


def _first_chunks(
    files: Sequence[tuple[Format, InputFile, FileScan]],
    plan: ReadPlan,
    storage_options: Mapping[str, Any] | None,
    api: InferenceAPI,
    job: BatchJob,
    labels: Mapping[str, str],
) -> Iterator[Chunk]:
    left = PROBE_CHUNKS
    for format, file, scan in files:
        for piece in scan.ranges:
            chunks = with_files(
                format.read(file, piece, plan, storage_options),
                api,
                features=plan.schema.names,
                job=job,
                origin=labels.get(file.uri, file.uri),
                storage_options=storage_options,
            )
            while True:
                with memory_errors(printable(file.uri)):
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                if chunk.batch.num_rows == 0:
                    continue
                yield chunk
                left -= 1
                if left == 0:
                    return


@contextmanager
def memory_errors(label: str) -> Iterator[None]:
    """Turns what planning cannot read for lack of memory into one line. A retry would not help: nothing else runs yet.

    Raises:
        DataError: instead of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise DataError(
            f"{label}: not enough memory to read it: is it broken, or is one record or row group of it so large?"
        ) from error


def _without_rows(scorer: Scorer, schema: pa.Schema) -> pa.Schema:
    """The schema for an input without rows, from one made-up row; a null column where the api does not take it."""
    row = pa.RecordBatch.from_arrays([pa.array([_sample(field.type)], field.type) for field in schema], schema=schema)
    try:
        scored = scorer.score(row)
    except BentobatchError:
        # the made-up row meant nothing to the api: an output without rows needs no type that it would ever use
        return pa.schema([pa.field(scorer.output_column, pa.null())])
    return (
        scored.columns.schema if scored.columns.num_columns else pa.schema([pa.field(scorer.output_column, pa.null())])
    )


def _sample(type: pa.DataType) -> Any:
    """A plain value of an Arrow type."""
    if pa.types.is_integer(type) or pa.types.is_floating(type):
        return 0
    if pa.types.is_boolean(type):
        return False
    if pa.types.is_string(type) or pa.types.is_large_string(type):
        return ""
    if pa.types.is_timestamp(type):
        return dt.datetime(2000, 1, 1)
    return None
