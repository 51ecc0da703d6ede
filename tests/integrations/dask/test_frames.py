"""Predictions for Dask DataFrames: lazy, of settled columns, equal to the command line's, no model in the graph."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import cloudpickle
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dask.dataframe.utils import assert_eq
from distributed import Client

import bentobatch
from bentobatch.bundle.manifest import read_manifest
from bentobatch.engine import stream
from bentobatch.errors import DataError, NoInputError, TooManyRejectsError, UsageError
from bentobatch_dask import predict
from bentobatch_dask.frames import _batch, _values


@pytest.fixture
def frame(flowers: Path) -> pd.DataFrame:
    """The rows of ``flowers``, with an index of its own."""
    made = pd.read_parquet(flowers)
    made.index = pd.Index(range(5000, 6000), name="number")
    return made


def test_predictions_are_those_of_the_command_line(bundles: Path, flowers: Path, client: Client) -> None:
    """Value for value, from the same file, by the workers of a cluster."""
    bentobatch.run(bundles / "linear", input_file=flowers, output_file=flowers.parent / "o.parquet", keep=["id"])
    scored = predict(dd.read_parquet(flowers, split_row_groups=1), bundle=bundles / "linear", keep=["id"])
    assert scored.npartitions == 10
    result = client.compute(scored, sync=True)
    expected = pd.read_parquet(flowers.parent / "o.parquet")
    assert list(result.columns) == ["id", "prediction"]
    assert (result["id"].to_numpy() == expected["id"].to_numpy()).all()
    assert (result["prediction"].to_numpy() == expected["prediction"].to_numpy()).all()


def test_it_is_lazy_and_keeps_index_and_divisions(bundles: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    """No row is scored before the result is asked for; what was known of the frame is known of the result."""
    called: list[int] = []

    def note(part: pd.DataFrame) -> pd.DataFrame:
        called.append(len(part))
        return part

    ddf = dd.from_pandas(frame, npartitions=4)
    watched = ddf.map_partitions(note, meta=ddf._meta)
    scored = predict(watched, bundle=bundles / "linear", keep=["id"], status_column="status", rejects_column="error")
    assert called == []
    assert scored.divisions == ddf.divisions
    assert list(scored.columns) == ["id", "prediction", "status", "error"]
    result = scored.compute(scheduler="sync")
    assert sum(called) == 1000
    assert result.index.equals(frame.index)
    assert scored.dtypes.to_dict() == result.dtypes.to_dict()
    assert_eq(scored, result, scheduler="sync")


def test_empty_partitions_and_odd_heights_change_nothing(bundles: Path, frame: pd.DataFrame) -> None:
    """Partitions of no rows, of one row, and of one row more than a call takes."""
    pieces = [frame[:0], frame[:1], frame[1:12], frame[12:12], frame[12:]]
    ddf = dd.from_map(_piece, pieces, meta=frame[:0])
    scored = predict(ddf, bundle=bundles / "linear", keep=["id"], batch_rows=10)
    whole = predict(dd.from_pandas(frame, npartitions=1), bundle=bundles / "linear", keep=["id"])
    np.testing.assert_allclose(
        scored.compute(scheduler="sync")["prediction"], whole.compute(scheduler="sync")["prediction"], rtol=1e-12
    )
    lengths = [len(part.compute(scheduler="sync")) for part in scored.partitions]
    assert lengths == [0, 1, 11, 0, 988]
    nothing = predict(dd.from_pandas(frame[:0], npartitions=1), bundle=bundles / "linear", keep=["id"])
    assert nothing.compute(scheduler="sync").dtypes.to_dict() == scored.dtypes.to_dict()


def _piece(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def test_the_graph_holds_no_model(bundles: Path, frame: pd.DataFrame) -> None:
    """A path, a digest and a schema, of a size that depends on no model; equal calls have equal names."""
    ddf = dd.from_pandas(frame, npartitions=2)
    scored, again = (predict(ddf, bundle=bundles / "linear") for _ in range(2))
    graph = scored.optimize().__dask_graph__()
    data = b"".join(cloudpickle.dumps(task) for task in graph.values())
    assert bundle_digest(bundles / "linear").encode() in data
    assert b"LinearModel" not in data
    rows = b"".join(cloudpickle.dumps(task) for task in ddf.optimize().__dask_graph__().values())
    assert len(data) < len(rows) + 20_000
    assert scored._name == again._name
    other = predict(ddf, bundle=bundles / "linear", on_reject="null")
    assert other._name != scored._name


def bundle_digest(bundle: Path) -> str:
    return read_manifest(bundle).digest


def test_a_bundle_is_loaded_once_in_each_worker_process(
    bundles: Path, flowers: Path, client: Client, environment: Any
) -> None:
    """However many partitions it scores; the process is the worker's own."""
    trace = flowers.parent / "trace"
    environment(BENTOBATCH_TEST_TRACE=str(trace))
    scored = predict(dd.read_parquet(flowers, split_row_groups=1), bundle=bundles / "linear")
    client.compute(scored, sync=True)
    scored_by = {int(line.split()[0]) for line in trace.read_text().splitlines()}
    assert scored_by <= set(client.run(_pid).values())
    loads = client.run(_loads)
    assert sum(loads.values()) >= 1
    client.compute(
        predict(dd.read_parquet(flowers, split_row_groups=1), bundle=bundles / "linear", keep=["id"]), sync=True
    )
    assert {pid: loads[pid] for pid in loads if loads[pid]}.items() <= client.run(_loads).items()


def _pid() -> int:
    import os

    return os.getpid()


def _loads() -> int:
    from bentobatch.engine import stream

    return int(stream._service.cache_info().misses)


def test_pandas_dtypes_go_in_and_come_out_whole(bundles: Path) -> None:
    """Categoricals, nullable integers, text, times and objects are kept as they are; the features may be nullable."""
    frame = pd.DataFrame(
        {
            "x0": pd.array([1, None, 3, 4], dtype="Int64"),
            "x1": pd.array([1.5, 2.5, None, 4.5], dtype="Float64"),
            "colour": pd.Categorical(["red", None, "blue", "red"]),
            "text": pd.array(["a", None, "c", "d"], dtype="string[pyarrow]"),
            "at": pd.to_datetime(["2020-01-01", None, "2021-01-01", "2022-01-01"]).tz_localize("UTC"),
            "flag": pd.array([True, None, False, True], dtype="boolean"),
        }
    )
    keep = ["text", "colour", "at", "flag", "x0"]
    ddf = dd.from_pandas(frame, npartitions=2)
    scored = predict(ddf, bundle=bundles / "picky", keep=keep)
    result = scored.compute(scheduler="sync")
    pd.testing.assert_frame_equal(result[keep], ddf[keep].compute(scheduler="sync"))
    assert result.dtypes.to_dict() == scored.dtypes.to_dict()
    assert result["prediction"].isna().tolist() == [False, True, True, False]
    assert result["prediction"].dropna().tolist() == [4.5, 16.5]


def test_unknown_categories_may_differ_from_partition_to_partition(bundles: Path) -> None:
    """As features and as kept columns: each partition has its own."""
    pieces = [pd.DataFrame({"word": pd.Categorical(words)}) for words in (["a", "b"], ["c"], [None, "d"])]
    ddf = dd.from_map(_piece, pieces, meta=dd.utils.clear_known_categories(pieces[0][:0]))
    scored = predict(
        ddf.assign(text=ddf["word"].astype("string[pyarrow]")),
        bundle=bundles / "picky",
        api="shout",
        features=["text"],
        keep=["word"],
        on_reject="null",
    )
    result = scored.compute(scheduler="sync")
    assert result["word"].tolist()[:4] == ["a", "b", "c", np.nan]
    assert result["prediction"].tolist() == ["A", "B", "C", pd.NA, "D"]
    counted = predict(
        ddf, bundle=bundles / "picky", api="single", output_schema={"prediction": "int64"}, on_reject="null"
    )
    assert len(counted.compute(scheduler="sync")) == 5


def test_lost_rows_are_null_where_they_are_accepted(bundles: Path) -> None:
    """Their status and error are told, integers stay integers; by default they fail their task."""
    frame = pd.DataFrame({"x0": [1.0, -1.0, 3.0, -1.0], "x1": [0.0, 0.0, 0.0, 0.0]}, index=list("abcd"))
    ddf = dd.from_pandas(frame, npartitions=2)
    options: dict[str, Any] = {"bundle": bundles / "picky", "output_schema": {"prediction": "int32"}}
    scored = predict(ddf, **options, on_reject="null", status_column="status", rejects_column="error")
    result = scored.compute(scheduler="sync")
    assert result.index.tolist() == list("abcd")
    assert result["prediction"].dtype == pd.Int32Dtype() == scored.dtypes["prediction"]
    assert result["prediction"].isna().tolist() == [False, True, False, True]
    assert result["status"].tolist() == ["ok", "rejected", "ok", "rejected"]
    assert result["error"].iloc[1] == "ValueError: x0 is -1"
    with pytest.raises(TooManyRejectsError, match=r'1 of 2 rows .* give on_reject="null"'):
        predict(ddf, **options).compute(scheduler="sync")


def test_every_type_of_a_prediction_has_one_dtype(bundles: Path) -> None:
    """Whatever nulls a partition has, those of its meta."""
    batch = pa.table(
        {
            "int": pa.array([1, None], pa.int16()),
            "bool": pa.array([True, None]),
            "float": pa.array([1.5, None], pa.float32()),
            "text": pa.array(["a", None], pa.large_string()),
            "at": pa.array([1, None], pa.timestamp("us")),
            "day": pa.array([1, None], pa.date32()),
            "list": pa.array([[1], None], pa.list_(pa.int64())),
            "word": pa.array(["a", None]).dictionary_encode(),
        }
    )
    kinds = {name: [str(_values(piece).dtype) for piece in pieces] for name, pieces in _three_ways(batch).items()}
    assert {name: set(found) for name, found in kinds.items()} == {
        "int": {"Int16"},
        "bool": {"boolean"},
        "float": {"float32"},
        "text": {"string"},
        "at": {"datetime64[us]"},
        "day": {"date32[day][pyarrow]"},
        "list": {"list<item: int64>[pyarrow]"},
        "word": {"string"},
    }


def _three_ways(table: pa.Table) -> dict[str, list[pa.Array]]:
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    return {name: [column, column.slice(0, 1), column.slice(0, 0)] for name, column in columns.items()}


def test_what_cannot_be_is_told_when_the_graph_is_made(bundles: Path, frame: pd.DataFrame) -> None:
    """Not hours later on a worker; the line says what to do."""
    ddf = dd.from_pandas(frame, npartitions=2)
    with pytest.raises(DataError, match=r"missing column x2; it has id, x0, x1"):
        predict(ddf[["id", "x0", "x1"]], bundle=bundles / "linear")
    with pytest.raises(DataError, match="no column 'nope' to keep"):
        predict(ddf, bundle=bundles / "linear", keep=["nope"])
    with pytest.raises(UsageError, match="two output columns would be named 'id'"):
        predict(ddf, bundle=bundles / "linear", keep=["id"], output_column="id")
    with pytest.raises(DataError, match=r"api 'broken'.*output_schema="):
        predict(ddf, bundle=bundles / "picky", api="broken")
    with pytest.raises(UsageError, match="takes a Dask DataFrame, not DataFrame"):
        predict(frame, bundle=bundles / "linear")
    with pytest.raises(NoInputError, match="no bundle"):
        predict(ddf, bundle="Nothing:latest")
    twice = dd.from_map(_piece, [frame.set_axis(["x0", "x1", "x2", "x0"], axis=1)])
    with pytest.raises(DataError, match="two columns named 'x0'"):
        predict(twice, bundle=bundles / "linear")


def test_columns_may_have_numbers_for_names(bundles: Path) -> None:
    """They are found by their text, and kept with the label that they have."""
    frame = pd.DataFrame({0: [1.0, 2.0], 1: [3.0, 4.0], 7: [5, 6]})
    ddf = dd.from_pandas(frame, npartitions=1)
    scored = predict(
        ddf, bundle=bundles / "picky", api="single", keep=["7"], output_schema={"prediction": "int64"}, on_reject="null"
    )
    assert list(scored.columns) == [7, "prediction"]
    assert scored.compute(scheduler="sync")["prediction"].isna().all()  # this api wants x0


def test_a_bundle_in_an_archive_is_fetched_by_its_digest(
    bundles: Path, frame: pd.DataFrame, tmp_path: Path, client: Client
) -> None:
    """The workers unpack and verify it themselves; another archive at its place is refused."""
    archive = shutil.make_archive(str(tmp_path / "linear"), "zip", bundles / "linear")
    scored = predict(dd.from_pandas(frame, npartitions=2), bundle=archive, keep=["id"])
    assert len(client.compute(scored, sync=True)) == 1000
    shutil.make_archive(str(tmp_path / "linear"), "zip", bundles / "picky")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("BENTOBATCH_HOME", str(tmp_path / "empty"))
        stream._service.cache_clear()
        with pytest.raises(bentobatch.BundleError, match="digest"):
            scored.compute(scheduler="sync")
    stream._service.cache_clear()


def test_a_partition_of_mixed_values_is_refused() -> None:
    """pandas' objects may be anything."""
    with pytest.raises(DataError, match="values of several kinds"):
        _batch(pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)}), ["a"])
