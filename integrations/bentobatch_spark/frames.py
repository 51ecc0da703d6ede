"""This module scores Spark DataFrames: ``predict``, and the functions that users hand to mapInArrow and mapInPandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from bentobatch.bundle.fetch import is_fetched
from bentobatch.engine.stream import StreamScorer
from bentobatch.errors import UsageError
from bentobatch.repository.local import resolve
from bentobatch_spark.scoring import ArrowScoring, PandasScoring, Scoring
from bentobatch_spark.shipping import send_bundle


def predict(
    df: Any,
    *,
    bundle: str | Path,
    api: str = "predict",
    via: str = "arrow",
    **options: Any,
) -> Any:
    """The DataFrame of the predictions for ``df``: a row for each row, lazily, in the same partitions.

    ``df`` may be streaming, or of Spark Connect. Only the features and the kept columns are handed to Python. ``via``
    is "arrow" (mapInArrow) or "pandas" (mapInPandas, for functions of ``pandas`` that follow; slower, and no way for
    integers from 2**53 on among nulls). The other options are those of ``map_in_arrow``.

    Raises:
        DataError: ``df`` lacks a feature, or the predictions' columns cannot be found without ``output_schema``.
        UsageError: an option makes no sense.
        NoInputError, BundleError: there is no such bundle, or it was changed.
    """
    if via not in ("arrow", "pandas"):
        raise UsageError(f'via is "arrow" or "pandas", not {via!r}')
    make = map_in_arrow if via == "arrow" else map_in_pandas
    scoring: Scoring = make(bundle, api, session=df.sparkSession, **options)
    schema = scoring.schema(df)
    names = scoring.needed(df)
    narrow = df.select(*[f"`{name.replace('`', '``')}`" for name in names])
    if any(mark in name for name in names for mark in ".`"):
        # mapInArrow takes the dot in a column's name for a field of a struct
        narrow = narrow.toDF(*[f"c{number}" for number in range(len(names))])
        scoring.names = names
    return narrow.mapInArrow(scoring, schema) if via == "arrow" else narrow.mapInPandas(scoring, schema)


def map_in_arrow(bundle: str | Path, api: str = "predict", **options: Any) -> ArrowScoring:
    """The function for ``df.mapInArrow``; its ``schema(df)`` is the other argument:

        score = map_in_arrow("fraud:latest", keep=["id"])
        scored = df.mapInArrow(score, score.schema(df))

    ``bundle`` is a folder, a tag, an archive or a pinned URL. The bundle is distributed to the executors with the
    session (but one of a URL, which they fetch), unless ``ship=False`` says that they have its folder at the same path.
    ``session`` is by default the active one; ``trust`` takes a URL without a digest.

    A rejected row fails its task, unless ``rejects_column`` names a column that says why a row's prediction is null
    (null for the others), or ``on_reject="null"``. The other options are those of
    ``bentobatch.engine.stream.StreamScorer``: features, keep, keep_all, exclude, output_column, output_schema,
    status_column, batch_rows, batch_bytes, allow_pickle.

    Raises:
        as ``predict``.
    """
    return ArrowScoring(*_prepared(bundle, api, **options))


def map_in_pandas(bundle: str | Path, api: str = "predict", **options: Any) -> PandasScoring:
    """The same for ``df.mapInPandas``. Call its ``schema(df)`` even where the schema is known otherwise: by it a task
    knows the types that the columns had before Spark made frames of them."""
    return PandasScoring(*_prepared(bundle, api, **options))


def stream_scorer(
    bundle: str | Path,
    api: str = "predict",
    *,
    trust: bool = False,
    **options: Any,
) -> StreamScorer:
    """The scorer of a bundle, which is looked up on this machine; a pinned URL stays one."""
    reference = str(bundle)
    if trust or not (is_fetched(reference) and "://" in reference):
        reference = str(resolve(reference, trust=trust))
    return StreamScorer(reference, api, **options)


def _prepared(
    bundle: str | Path, api: str, *, session: Any = None, ship: bool = True, **options: Any
) -> tuple[StreamScorer, str | None]:
    scorer = stream_scorer(bundle, api, **options)
    if not ship:
        return scorer, None
    session = session or SparkSession.getActiveSession()
    if session is None:
        raise UsageError("there is no active Spark session: give one as `session`")
    return scorer, send_bundle(session, scorer)
