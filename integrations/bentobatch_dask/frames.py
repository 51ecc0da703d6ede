"""This module scores Dask DataFrames lazily, partition by partition, with a bundle that each worker process loads once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from dask.dataframe.utils import meta_nonempty

from bentobatch.bundle.fetch import is_fetched
from bentobatch.bundle.manifest import read_manifest
from bentobatch.engine.job import DEFAULT_BATCH_BYTES, DEFAULT_BATCH_ROWS
from bentobatch.engine.stream import StreamScorer
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.convert import shown_names
from bentobatch.repository.local import resolve

_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
"""A lost row is null, which numpy's integers cannot be; one partition must not have other dtypes than the next."""


def predict(
    ddf: dd.DataFrame,
    *,
    bundle: str | Path,
    api: str = "predict",
    keep: Sequence[str] = (),
    keep_all: bool = False,
    exclude: Sequence[str] = (),
    features: Sequence[str] | None = None,
    output_column: str = "prediction",
    status_column: str | None = None,
    rejects_column: str | None = None,
    output_schema: pa.Schema | Mapping[str, Any] | None = None,
    on_reject: str | None = None,
    batch_rows: int = DEFAULT_BATCH_ROWS,
    batch_bytes: int = DEFAULT_BATCH_BYTES,
    allow_pickle: bool = True,
    trust: bool = False,
) -> dd.DataFrame:
    """The predictions for ``ddf``, lazily, with its index and divisions: the kept columns as they are, then those of the
    predictions, then ``status_column`` (ok, rejected or discarded) and ``rejects_column`` where they are named.

    The keywords mean what they mean for ``bentobatch.run``. ``bundle`` is a tag, a folder, an archive or a URL with its
    digest; the workers have to reach the folder, archive or URL, and take nothing there but this very bundle. The api
    runs in the workers' own processes. Predicted integers and truth values have pandas' nullable dtypes, text is
    string[pyarrow], what pandas has no dtype for is an ArrowDtype.

    The output's columns are those that the api declares or ``output_schema`` names (forms as in ``@api(output_schema=…)``),
    else they are found by scoring two made-up rows here. A rejected row fails its task, unless ``rejects_column``
    names a column that says why a row's prediction is null, or ``on_reject="null"``.

    Raises:
        DataError: a column is missing, or the output's columns have to be declared.
        UsageError: the options contradict each other.
    """
    if not isinstance(ddf, dd.DataFrame):
        raise UsageError(f"predict takes a Dask DataFrame, not {type(ddf).__name__}: make one with dask.dataframe")
    folder = resolve(str(bundle), trust=trust)
    scorer = StreamScorer(
        bundle if is_fetched(str(bundle)) else folder,
        api,
        digest=read_manifest(folder).digest,
        features=features,
        exclude=(*exclude, *keep),
        output_column=output_column,
        status_column=status_column,
        rejects_column=rejects_column,
        output_schema=output_schema,
        on_reject=on_reject,
        batch_rows=batch_rows,
        batch_bytes=batch_bytes,
        allow_pickle=allow_pickle,
    )
    sample = meta_nonempty(ddf._meta)
    names = [str(label) for label in sample.columns]
    _check_twice(names)
    everything = _batch(sample, names)
    chosen = scorer.features_of(everything.schema)
    made = scorer.output_schema(everything.schema, sample=everything)
    kept = [name for name in names if name not in exclude] if keep_all else list(dict.fromkeys(keep))
    _check_names(names, kept, made.names)
    return ddf.map_partitions(
        score_partition, scorer, chosen, kept, meta=score_partition(ddf._meta, scorer, chosen, kept)
    )


def score_partition(
    frame: pd.DataFrame, scorer: StreamScorer, features: Sequence[str], kept: Sequence[str]
) -> pd.DataFrame:
    """One partition's kept columns, which never leave pandas, and its predictions, with its index."""
    scored = scorer.score(_batch(frame, features))
    columns = {name: _values(column) for name, column in zip(scored.schema.names, scored.columns, strict=True)}
    return pd.concat([_select(frame, kept), pd.DataFrame(columns, index=frame.index)], axis=1)


def _select(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The columns whose labels, as text, are ``names``."""
    places = {str(label): place for place, label in enumerate(frame.columns)}
    return frame.iloc[:, [places[name] for name in names]]


def _batch(frame: pd.DataFrame, names: Sequence[str]) -> pa.RecordBatch:
    """Columns of ``frame`` as Arrow has them; NaN is null there, as in a Parquet file that pandas wrote."""
    selected = _select(frame, names).set_axis(list(names), axis=1)
    try:
        table = pa.Table.from_pandas(selected, preserve_index=False)
    except pa.ArrowException as error:
        text = " ".join(str(error).split())
        raise DataError(
            f"a column of the Dask DataFrame holds values of several kinds ({text}): give it one dtype"
        ) from error
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema.remove_metadata())


def _values(column: pa.Array) -> Any:
    """A column in a dtype that follows from its type alone, whatever values are in it."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.to_pandas(types_mapper=_dtype).array


def _dtype(type: pa.DataType) -> Any:
    """The dtype of a type, None for pandas' own (floats, date-times and spans of time)."""
    if type in _NULLABLE:
        return _NULLABLE[type]
    if pa.types.is_string(type) or pa.types.is_large_string(type):
        return pd.StringDtype("pyarrow")
    if pa.types.is_floating(type) or pa.types.is_timestamp(type) or pa.types.is_duration(type):
        return None
    return pd.ArrowDtype(type)


def _check_twice(names: Sequence[str]) -> None:
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise DataError(f"the Dask DataFrame has two columns named {twice[0]!r}: rename or drop one")


def _check_names(names: Sequence[str], kept: Sequence[str], made: Sequence[str]) -> None:
    missing = [name for name in kept if name not in names]
    if missing:
        raise DataError(f"the Dask DataFrame has no column {missing[0]!r} to keep; it has {shown_names(names)}")
    clash = [name for name in made if name in kept]
    if clash:
        raise UsageError(
            f"two output columns would be named {clash[0]!r}: give another output_column or status_column, or do not keep"
            " that column"
        )
