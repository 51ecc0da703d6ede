"""This module scores record batches that an engine with data of its own streams by: partitions of Spark and Dask."""

from __future__ import annotations

import copy
import datetime as dt
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from bentobatch.bundle.fetch import fetch, is_fetched
from bentobatch.bundle.manifest import read_manifest
from bentobatch.engine.features import (
    check_names,
    feature_rule,
    known_width,
    settle_features,
    settle_kept,
    width_advice,
)
from bentobatch.engine.job import DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS, BatchJob
from bentobatch.engine.session import loaded
from bentobatch.errors import BentobatchError, DataError, TooManyRejectsError, UnavailableError, UsageError
from bentobatch.formats.base import Chunk, InputFile, Range, ReadPlan
from bentobatch.formats.chunks import pour
from bentobatch.formats.convert import conform_files
from bentobatch.rows import BadRow
from bentobatch.scorer import CONSECUTIVE_FAILURES, Scorer
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore
from bentobatch.service.schemas import schema_from

_LABEL = "the input"
_PROBE_ROWS = 100


@dataclass(frozen=True)
class _Columns:
    """What becomes of the columns of batches with one ``schema``."""

    schema: pa.Schema
    features: tuple[str, ...]
    kept: tuple[str, ...]
    read: ReadPlan


class StreamScorer:
    """One api of one bundle, for batches of any schema that has its features: a batch in, a batch of as many rows out,
    with the kept columns, the predictions, and what became of each row where that is asked for.

    It is small, and travels to other processes by pickle: the bundle's place and digest, never its models. Each process
    loads the bundle once, when it scores its first batch; threads may share one object if the user's api allows it.

    ``bundle`` is a folder, an archive or a URL (a tag is resolved by the caller), which every process that scores has to
    reach; ``digest`` is its content digest, by default that of what stands there now. ``features``, ``keep``,
    ``keep_all``, ``exclude``, ``output_column``, ``status_column``, ``batch_rows`` and ``batch_bytes`` mean what they mean
    for a job. ``rejects_column`` names a column of texts that say why a row was lost. ``output_schema`` gives the
    predictions' types, in the forms of ``@api(output_schema=…)``, where the api declares none. ``on_reject="raise"``
    refuses a batch with a rejected row, "null" gives it null predictions; the latter is the default where
    ``rejects_column`` is named. Rows that the api discards are null either way.

    Raises:
        UsageError: an option makes no sense.
        NoInputError, BundleError: there is no bundle, or another one than ``digest`` says.
    """

    def __init__(
        self,
        bundle: str | Path,
        api: str = "predict",
        *,
        digest: str | None = None,
        features: Sequence[str] | None = None,
        keep: Sequence[str] = (),
        keep_all: bool = False,
        exclude: Sequence[str] = (),
        output_column: str = "prediction",
        status_column: str | None = None,
        rejects_column: str | None = None,
        output_schema: pa.Schema | Mapping[str, Any] | None = None,
        on_reject: str | None = None,
        batch_rows: int = DEFAULT_BATCH_ROWS,
        batch_bytes: int = DEFAULT_BATCH_BYTES,
        allow_pickle: bool = True,
    ) -> None:
        on_reject = on_reject or ("raise" if rejects_column is None else "null")
        if on_reject not in ("raise", "null"):
            raise UsageError(f'on_reject is "raise" or "null", not {on_reject!r}')
        ref = str(bundle)
        pin = digest and digest.removeprefix("sha256:").lower()
        manifest = read_manifest(_folder_of(ref, pin))
        self.job = BatchJob(
            bundle=ref if is_fetched(ref) else str(Path(ref).resolve()),
            bundle_digest=pin or manifest.digest,
            bundle_tag=str(manifest.tag),
            api=api,
            input_files=(_LABEL,),
            features=None if features is None else tuple(features),
            keep=tuple(keep),
            keep_all=keep_all,
            exclude=tuple(exclude),
            output_column=output_column,
            status_column=status_column,
            batch_rows=batch_rows,
            batch_bytes=batch_bytes,
            allow_pickle=allow_pickle,
        )
        self.rejects_column = rejects_column
        self.on_reject = on_reject
        self.predictions = None if output_schema is None else schema_from(output_schema, "output_schema")
        """The prediction columns, once they are settled; they then hold for every batch, here and after a pickle."""
        self._seen: _Columns | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_seen": None}

    def moved_to(self, folder: str | Path) -> StreamScorer:
        """The same scorer for processes that find the same bundle in another ``folder``; it may be relative to the
        folder that they run in."""
        moved = copy.copy(self)
        moved.job = replace(self.job, bundle=str(folder))
        return moved

    @property
    def service(self) -> ServiceCore:
        """The bundle's service, loaded at first use in this process.

        Raises:
            BundleError: this process does not find the bundle of the digest.
        """
        with _LOADING:
            return _service(self.job.bundle, self.job.bundle_digest, self.job.allow_pickle, self.job.device)

    @property
    def api(self) -> InferenceAPI:
        """The api, which loads the bundle."""
        return self.service.get_inference_api(self.job.api)

    def features_of(self, input_schema: pa.Schema) -> tuple[str, ...]:
        """The columns that the api gets of batches with this schema."""
        return self._columns(input_schema).features

    def output_schema(self, input_schema: pa.Schema, *, sample: pa.RecordBatch | None = None) -> pa.Schema:
        """The columns of what ``score`` returns for batches of ``input_schema``. Where neither the api declares nor the
        caller gave the predictions, they are found by scoring the first rows of ``sample``, or made-up rows where there
        is none, and hold from then on.

        Raises:
            DataError: the features are not there, or the model takes no such rows: the message says what to declare.
            UsageError: two output columns would have one name.
        """
        columns = self._columns(input_schema)
        if self.predictions is None:
            self.predictions = self._find_predictions(columns, sample)
        names = [*columns.kept, *self.predictions.names, self.job.status_column]
        check_names(self.job, columns.kept, self.predictions)
        if self.rejects_column is not None and self.rejects_column in names:
            raise UsageError(f"two output columns would be named {self.rejects_column!r}: give another rejects_column")
        told = [pa.field(name, pa.string()) for name in (self.job.status_column, self.rejects_column) if name]
        kept = [columns.read.schema.field(name) for name in columns.kept]
        return pa.schema([*kept, *(field.with_nullable(True) for field in self.predictions), *told])

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The scored rows of ``batch``, in its order.

        Raises:
            DataError: the batch lacks a feature, or has it in a type that the api does not take.
            TooManyRejectsError: a row was rejected, and ``on_reject`` is "raise".
            ModelError, UnavailableError: as from ``Scorer.score``.
        """
        pieces = list(self._pieces(batch))
        if len(pieces) == 1:
            return pieces[0]
        schema = self.output_schema(batch.schema)
        arrays = [
            pa.concat_arrays([piece.column(index) for piece in pieces]) if pieces else _no_values(field)
            for index, field in enumerate(schema)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The scored rows of ``batches``, in order, in batches that are never larger than one call of the api."""
        for batch in batches:
            yield from self._pieces(batch)

    def _pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The scored rows of one batch, one call of the api at a time."""
        schema = self.output_schema(batch.schema, sample=batch)
        columns = self._columns(batch.schema)
        if batch.num_rows == 0:
            return
        offset = 0
        for chunk in _chunks(batch, columns.read):
            yield self._score(chunk, columns, schema, offset)
            offset += chunk.batch.num_rows

    def _score(self, chunk: Chunk, columns: _Columns, schema: pa.Schema, offset: int) -> pa.RecordBatch:
        rows = chunk.batch.num_rows
        # a partition or a micro-batch may be a handful of rows: that all of them are bad tells nothing of the model
        few = self.on_reject == "null" and rows < CONSECUTIVE_FAILURES
        scorer = Scorer(
            self.service,
            self.api,
            output_column=self.job.output_column,
            output_schema=self.predictions,
            every_row_may_fail=few,
        )
        scored = scorer.score(chunk.batch.select(columns.features), skip=chunk.bad)
        if self.on_reject == "raise":
            self._refuse_rejects(scored.bad, rows, offset)
        arrays = [*(chunk.batch.column(name) for name in columns.kept), *scored.columns.columns]
        if self.job.status_column:
            arrays.append(_texts(rows, scored.bad, _status, "ok"))
        if self.rejects_column:
            arrays.append(_texts(rows, scored.bad, _error, None))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _refuse_rejects(self, bad: Sequence[BadRow], rows: int, offset: int) -> None:
        rejected = [item for item in bad if item.stage != "discard"]
        if rejected:
            first = rejected[0]
            raise TooManyRejectsError(
                f"{len(rejected)} of {rows} rows were rejected, the first of them row {offset + first.index} of its batch"
                f' ({first.stage}: {_error(first)}); to accept them, give on_reject="null": their predictions are null'
                " then, and status_column and rejects_column tell which and why"
            )

    def _columns(self, schema: pa.Schema) -> _Columns:
        """Features, kept columns and their settled types, by the rules of a job."""
        seen = self._seen
        if seen is not None and seen.schema.equals(schema):
            return seen
        api = self.api
        features = settle_features(self.job, feature_rule(self.job, self.service, api), schema.names)
        kept = settle_kept(self.job, schema.names)
        types = {**api.input.types, **api.input.types_for(features)}
        read = conform_files([(_LABEL, schema)], tuple(dict.fromkeys((*features, *kept))), types)
        plan = ReadPlan(read, chunk_rows=self.job.batch_rows, chunk_bytes=self.job.batch_bytes)
        self._seen = made = _Columns(schema, features, kept, plan)
        return made

    def _find_predictions(self, columns: _Columns, sample: pa.RecordBatch | None) -> pa.Schema:
        api = self.api
        if api.output_schema is not None:
            return api.output_schema
        if sample is None or sample.num_rows == 0:
            sample = made_up_rows(columns.read.schema)
        sample = sample.slice(0, _PROBE_ROWS)
        scorer = Scorer(self.service, api, output_column=self.job.output_column)
        reason = "it returned nulls only"
        try:
            chunk = next(_chunks(sample, columns.read))
            scored = scorer.score(chunk.batch.select(columns.features), skip=chunk.bad)
        except UnavailableError:
            raise
        except BentobatchError as error:
            width = known_width(self.service)
            reason = width_advice(columns.features, width, api) or str(error)
        else:
            found = scored.columns.schema
            if len(found) and not any(pa.types.is_null(field.type) for field in found):
                return found
            reason = _error(scored.bad[0]) if scored.bad else reason
        raise DataError(
            f"api {api.name!r}: the output's columns are not declared, and the rows that were tried did not show them"
            f' ({reason}): declare @api(output_schema=…), or give output_schema={{"{self.job.output_column}": "float64"}}'
            " with the columns and types that the api returns"
        )


_LOADING = threading.Lock()
"""Threads that score their first batch at the same time load the bundle once."""


@lru_cache(maxsize=4)
def _service(ref: str, digest: str, allow_pickle: bool, device: str | None) -> ServiceCore:
    return loaded(str(_folder_of(ref, digest)), digest, allow_pickle, device)


def _folder_of(ref: str, digest: str | None) -> Path:
    """The folder of the bundle on this machine; what is fetched is pinned as soon as its digest is known."""
    if not is_fetched(ref):
        return Path(ref)
    return fetch(ref if digest is None or "@sha256:" in ref else f"{ref}@sha256:{digest}")


def _chunks(batch: pa.RecordBatch, plan: ReadPlan) -> Iterator[Chunk]:
    """The rows of one batch as a file's would be: in settled types, within the limits of one call."""
    return pour(iter([batch]), InputFile(_LABEL, 0, "", "arrow"), Range(0, 1, batch.num_rows, 0), plan)


def made_up_rows(schema: pa.Schema) -> pa.RecordBatch:
    """Two rows of plain values of the types of ``schema``, null where a type has none."""
    arrays = []
    for field in schema:
        type = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        arrays.append(pa.array(_plain_values(type), type).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([field.with_nullable(True) for field in schema]))


def _plain_values(type: pa.DataType) -> list[Any]:
    types = pa.types
    if types.is_boolean(type):
        return [False, True]
    if types.is_integer(type) or types.is_floating(type):
        return [0, 1]
    if types.is_decimal(type):
        return [Decimal(0), Decimal(0)]
    if types.is_string(type) or types.is_large_string(type) or types.is_string_view(type):
        return ["a", "b"]
    if types.is_timestamp(type) or types.is_date(type):
        day = dt.datetime(2000, 1, 1)
        return [day, day] if types.is_timestamp(type) else [day.date(), day.date()]
    return [None, None]


def _no_values(field: pa.Field) -> pa.Array:
    return pa.schema([field]).empty_table().column(0).combine_chunks()


def _texts(rows: int, bad: Sequence[BadRow], text: Any, otherwise: str | None) -> pa.Array:
    values = [otherwise] * rows
    for item in bad:
        values[item.index] = text(item)
    return pa.array(values, pa.string())


def _status(row: BadRow) -> str:
    return "discarded" if row.stage == "discard" else "rejected"


def _error(row: BadRow) -> str:
    return f"{row.error_type}: {row.error}"
