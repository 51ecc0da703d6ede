"""This module makes a bundle's api a function of Spark SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import functions

from bentobatch.engine.features import feature_rule
from bentobatch.engine.stream import StreamScorer
from bentobatch.errors import DataError, MissingDependencyError, UsageError
from bentobatch_spark.frames import stream_scorer
from bentobatch_spark.schemas import cast, for_spark, spark_schema
from bentobatch_spark.scoring import opened, series_of
from bentobatch_spark.shipping import send_bundle


def register_udf(
    spark: Any,
    name: str,
    *,
    bundle: str | Path,
    api: str = "predict",
    via: str | None = None,
    ship: bool = True,
    **options: Any,
) -> Any:
    """Make ``name`` a function of the session's SQL that scores with a bundle, and return it for use in DataFrames.

    It takes the features, in the api's order, ``SELECT name(x0, x1) FROM t``; or one struct that has them by name,
    ``name(struct(*))``. It returns the prediction, or a struct where there are several columns of them. Decimals, which
    literals such as 0.5 are, come to the api as floats, unless it declares another type.

    The types of the predictions are the api's declared ones, or ``output_schema``; else they are found by scoring
    made-up rows, with floats for features whose type the api does not declare. ``via`` is "arrow" or "pandas", by
    default the former where this pyspark (from 4.1 on) has it. The other options are those of ``map_in_arrow``, less
    those for columns that a function does not have.

    Raises:
        UsageError: an option makes no sense, or nobody knows the features: give ``features``.
        DataError, NoInputError, BundleError: as ``predict``.
    """
    if via not in (None, "arrow", "pandas"):
        raise UsageError(f'via is "arrow" or "pandas", not {via!r}')
    if via == "arrow" and not hasattr(functions, "arrow_udf"):
        raise MissingDependencyError(
            'via="arrow" needs pyspark 4.1 or later: pip install "pyspark>=4.1", or leave it out'
        )
    scorer = stream_scorer(bundle, api, **options)
    if scorer.job.keep or scorer.job.keep_all or scorer.job.status_column or scorer.rejects_column:
        raise UsageError("a function returns predictions only: leave out keep, status_column and rejects_column")
    features = feature_rule(scorer.job, scorer.service, scorer.api).names
    if features is None:
        raise UsageError(f"neither api {api!r} nor its model names features: give them in order, features=[…]")
    declared = scorer.api.input.types_for(features)
    incoming = pa.schema([(feature, declared.get(feature, pa.float64())) for feature in features])
    outgoing = for_spark(scorer.output_schema(incoming))
    archive = send_bundle(spark, scorer) if ship else None
    returned = spark_schema(outgoing)
    type = returned if len(returned) > 1 else returned[0].dataType
    arrow = hasattr(functions, "arrow_udf") if via is None else via == "arrow"
    make = functions.arrow_udf if arrow else functions.pandas_udf
    body = _arrow_function if arrow else _pandas_function
    return spark.udf.register(name, make(body(scorer, archive, features, outgoing), type))


def _arrow_function(
    scorer: StreamScorer, archive: str | None, features: Sequence[str], outgoing: pa.Schema
) -> Callable[..., Any]:
    def score(calls: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        here = opened(scorer, archive)
        for arguments in calls:  # a single argument comes without its tuple
            batch = batch_of_arguments(arguments if isinstance(arguments, tuple) else (arguments,), features, here)
            scored = cast(here.score(batch), outgoing)
            yield scored.column(0) if scored.num_columns == 1 else scored.to_struct_array()

    return score


def _pandas_function(
    scorer: StreamScorer, archive: str | None, features: Sequence[str], outgoing: pa.Schema
) -> Callable[..., Any]:
    def score(calls: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.Series]:
        here = opened(scorer, archive)
        for arguments in calls:
            columns = arguments if isinstance(arguments, tuple) else (arguments,)
            arrays = [_array_of(column) for column in columns]
            scored = cast(here.score(batch_of_arguments(arrays, features, here)), outgoing)
            frame = {field.name: series_of(scored.column(field.name), columns[0].index) for field in outgoing}
            yield frame[outgoing[0].name] if len(outgoing) == 1 else pd.DataFrame(frame)

    if len(outgoing) > 1:  # Spark asks for frames where a struct is returned, and reads that off the annotations
        score.__annotations__["return"] = Iterator[pd.DataFrame]
    return score


def batch_of_arguments(arguments: Sequence[pa.Array], features: Sequence[str], scorer: StreamScorer) -> pa.RecordBatch:
    """The arguments of one call as a batch: the features in order, or one struct that has them by name.

    Raises:
        DataError: there are too few or too many, or the struct lacks one.
    """
    shown = ", ".join(features)
    if len(arguments) == 1 and pa.types.is_struct(arguments[0].type):
        batch = pa.RecordBatch.from_struct_array(arguments[0])
        missing = [name for name in features if name not in batch.schema.names]
        if missing:
            raise DataError(f"the struct has no {', '.join(missing)}; the function takes {shown}")
        batch = batch.select(list(features))
    elif len(arguments) == len(features):
        batch = pa.RecordBatch.from_arrays(list(arguments), names=list(features))
    else:
        raise DataError(
            f"the function takes {len(features)} columns ({shown}) or a struct of them, not {len(arguments)}"
        )
    declared = scorer.api.input.types_for(features)
    return cast(batch, pa.schema([_argument(field, declared) for field in batch.schema]))


def _argument(field: pa.Field, declared: Any) -> pa.Field:
    number = pa.types.is_decimal(field.type) and field.name not in declared
    return field.with_type(pa.float64()) if number else field


def _array_of(column: pd.Series | pd.DataFrame) -> pa.Array:
    if isinstance(column, pd.DataFrame):  # a struct
        return pa.RecordBatch.from_pandas(column, preserve_index=False).to_struct_array()
    return pa.Array.from_pandas(column)
