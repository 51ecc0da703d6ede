"""This module is what a Python worker of Spark does with the rows of a DataFrame's partition.

Its objects travel to the executors; what they hold is small. The bundle is loaded once for each worker process, by the
cache in bentobatch.engine.session, which outlives a task.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql.types import StructType

from bentobatch.engine.session import limit_native_threads
from bentobatch.engine.stream import StreamScorer
from bentobatch.errors import DataError
from bentobatch_spark.schemas import arrow_schema, cast, for_spark, spark_schema
from bentobatch_spark.shipping import shipped

_EXACT = 2**53
"""From here on, float64 does not hold every integer."""
_SAMPLE_ROWS = 100


class Scoring:
    """A bundle's api for the partitions of DataFrames. ``archive`` is the bundle's name among the session's archives."""

    def __init__(self, scorer: StreamScorer, archive: str | None) -> None:
        self.scorer = scorer
        self.archive = archive

    incoming: pa.Schema | None = None
    """What ``schema`` was asked for last."""
    names: list[str] | None = None
    """The columns' own names, where they come under others."""

    def schema(self, df: Any) -> StructType:
        """The columns that ``df`` is scored into, kept ones first: what mapInArrow and mapInPandas ask for.

        Prediction columns that the api does not declare are found by scoring rows in this process: made-up ones, or,
        where the model does not take these, the first of ``df`` (not of a stream).

        Raises:
            DataError: ``df`` lacks a feature; or the columns of the predictions cannot be found.
            UsageError: two columns have one name.
        """
        incoming = self.incoming = arrow_schema(df)
        self.scorer.features_of(incoming)  # what is missing is told before any row is tried
        try:
            found = self.scorer.output_schema(incoming)
        except DataError:
            if df.isStreaming:
                raise
            sample = df.limit(_SAMPLE_ROWS).toArrow().combine_chunks().to_batches()
            if not sample:
                raise
            found = self.scorer.output_schema(incoming, sample=sample[0])
        kept = {name: df.schema[name] for name in found.names if name in self.kept(incoming, found)}
        columns = spark_schema(for_spark(pa.schema([field for field in found if field.name not in kept])))
        return StructType([kept.get(name) or columns[name] for name in found.names])

    def needed(self, df: Any) -> list[str]:
        """The columns of ``df`` that are features or kept, in its own order."""
        assert self.incoming is not None, "schema comes first"
        job = self.scorer.job
        needed = {*self.scorer.features_of(self.incoming), *job.keep}
        return [name for name in df.columns if name in needed or (job.keep_all and name not in job.exclude)]

    def kept(self, incoming: pa.Schema, outgoing: pa.Schema) -> frozenset[str]:
        """The columns of ``outgoing`` that are carried along from ``incoming``."""
        assert self.scorer.predictions is not None, "the output's schema comes first"
        made = {*self.scorer.predictions.names, self.scorer.job.status_column, self.scorer.rejects_column}
        return frozenset(name for name in outgoing.names if name in incoming.names and name not in made)

    def open(self) -> StreamScorer:
        """In a task: the scorer, with its bundle loaded."""
        return opened(self.scorer, self.archive)


class ArrowScoring(Scoring):
    """What ``df.mapInArrow`` takes."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score the batches of one partition; columns are found by name, and returned in the types of ``schema``."""
        scorer = self.open()
        for batch in batches:
            rows = batch.rename_columns(self.names or batch.schema.names)
            for scored in scorer.stream([rows]):
                yield cast(scored, self.returned(rows.schema, scored.schema))

    def returned(self, incoming: pa.Schema, outgoing: pa.Schema) -> pa.Schema:
        """``outgoing`` as Spark takes it: a kept column in the very type that it came in."""
        kept = self.kept(incoming, outgoing)
        made = for_spark(pa.schema([field for field in outgoing if field.name not in kept]))
        return pa.schema([incoming.field(name) if name in kept else made.field(name) for name in outgoing.names])


class PandasScoring(Scoring):
    """What ``df.mapInPandas`` takes. Spark has turned integers with nulls into floats by then, and times into local
    ones; the DataFrame's own types, which ``schema`` notes, bring them back."""

    def __call__(self, frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Score the frames of one partition."""
        scorer = self.open()
        for given in frames:
            frame = given.set_axis(self.names or given.columns, axis="columns")
            batch = batch_of(frame, self.incoming)
            scored = scorer.score(batch)
            kept = self.kept(batch.schema, scored.schema)
            columns = {
                name: frame[name] if name in kept else series_of(scored.column(name), frame.index)
                for name in scored.schema.names
            }
            yield pd.DataFrame(columns, index=frame.index)


def opened(scorer: StreamScorer, archive: str | None) -> StreamScorer:
    """``scorer`` in a task, its bundle loaded once for the process."""
    here = shipped(scorer, archive)
    here.service  # noqa: B018 - loads; what is loaded brings the thread pools that are limited next
    _limit_once(here.job.bundle_digest)
    return here


@lru_cache(maxsize=64)
def _limit_once(digest: str) -> None:  # noqa: ARG001 - a bundle may bring libraries that the one before had not
    limit_native_threads()


def batch_of(frame: pd.DataFrame, schema: pa.Schema | None) -> pa.RecordBatch:
    """A frame that Spark made, with the types that its columns had before.

    Raises:
        DataError: integers among nulls that no longer are what they were.
    """
    if schema is None:
        return pa.RecordBatch.from_pandas(frame, preserve_index=False)
    there = pa.schema([field for field in schema if field.name in frame.columns])
    return pa.RecordBatch.from_arrays([_column(frame[field.name], field) for field in there], schema=there)


def _column(series: pd.Series, field: pa.Field) -> pa.Array:
    type = field.type
    if pa.types.is_integer(type) and series.dtype.kind == "f" and (series.abs() >= _EXACT).any():
        raise DataError(
            f"column {field.name!r} has nulls and integers from 2**53 on, which mapInPandas turns into rounded floats: use"
            " mapInArrow (via='arrow')"
        )
    if pa.types.is_timestamp(type) and type.tz is not None and series.dt.tz is None:
        series = series.dt.tz_localize(type.tz)
    return pa.Array.from_pandas(series, type=type)


def series_of(column: pa.Array, index: Any) -> pd.Series:
    """A column of predictions with an integer among nulls still an integer, which Spark's conversion understands."""
    kinds = {pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype()}
    kinds |= {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    column = column.cast(for_spark(pa.schema([pa.field("", column.type)])).field(0).type)
    return column.to_pandas(types_mapper=kinds.get).set_axis(index)
