"""Spark DataFrames, streams and SQL are scored as a run over files would score them, row for row, type for type."""

from __future__ import annotations

import datetime as dt
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import types
from pyspark.sql.functions import col, lit

import bentobatch
from bentobatch.engine.stream import StreamScorer
from bentobatch.errors import DataError, NoInputError, UsageError
from bentobatch_spark import map_in_arrow, map_in_pandas, predict, register_udf
from bentobatch_spark.schemas import for_spark
from bentobatch_spark.scoring import batch_of
from tests.conftest import feature_frame

pytestmark = [
    pytest.mark.xdist_group("schedulers"),
    # pyspark 4.3 warns of pandas 3 at every function that takes Python code, mapInArrow included; see the tests here
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]


def features(rows: int = 1000) -> pa.Table:
    """x0, x1, x2, a long ``id``, and a long ``n`` with nulls among values that no float holds."""
    table = pa.Table.from_pandas(feature_frame(rows), preserve_index=False)
    table = table.append_column("id", pa.array(range(rows), pa.int64()))
    return table.append_column("n", pa.array([None if i % 3 else 2**53 + 1 + i for i in range(rows)], pa.int64()))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return features()


@pytest.fixture(scope="module")
def df(spark: Any, table: pa.Table) -> Any:
    return spark.createDataFrame(table).repartition(3, "id").cache()


@pytest.fixture(scope="module")
def linear(bundles: Path) -> str:
    return str(bundles / "linear")


def scored(frame: Any, order: str = "id") -> pa.Table:
    return frame.toArrow().sort_by(order)


def expected(table: pa.Table) -> pa.Array:
    """What the service ``linear`` predicts for such rows."""
    columns = [table.column(name).to_numpy() for name in ("x0", "x1", "x2")]
    return pa.array(np.column_stack(columns) @ np.array([1.0, -2.0, 0.5]))


def test_predictions_are_those_of_a_run_over_files(
    df: Any, table: pa.Table, bundles: Path, linear: str, tmp_path: Path
) -> None:
    """Kept columns come first and are what they were; a long with nulls stays a long."""
    pq.write_table(table, tmp_path / "in.parquet")
    bentobatch.run(linear, input_file=tmp_path / "in.parquet", output_file=tmp_path / "out.parquet", keep=["n", "id"])
    frame = predict(df, bundle=linear, keep=["n", "id"])
    assert [(field.name, field.dataType) for field in frame.schema] == [
        ("n", types.LongType()),
        ("id", types.LongType()),
        ("prediction", types.DoubleType()),
    ]
    local = pq.read_table(tmp_path / "out.parquet")
    found = scored(frame)
    assert found.select(["n", "id"]).equals(local.select(["n", "id"]))
    np.testing.assert_allclose(found.column("prediction"), local.column("prediction"), rtol=1e-9)


def test_pandas_frames_give_the_same(df: Any, linear: str) -> None:
    """``via="pandas"`` goes through mapInPandas; integers without nulls are exact there too."""
    frame = predict(df, bundle=linear, keep=["id"], via="pandas")
    assert scored(frame).equals(scored(predict(df, bundle=linear, keep=["id"])))


def test_integers_that_pandas_has_rounded_are_refused(df: Any, linear: str) -> None:
    """Spark makes floats of a long with nulls for mapInPandas: where that has lost digits, the task says so."""
    with pytest.raises(PySparkException, match="rounded floats: use mapInArrow"):
        predict(df, bundle=linear, keep=["n"], via="pandas").toArrow()


def test_small_integers_among_nulls_come_through_pandas(spark: Any, watched: Path) -> None:
    """As features, and as predictions."""
    rows = pa.table({"n": pa.array([1, None, 3], pa.int64()), "x0": [0.0, 1.0, 2.0]})
    frame = predict(spark.createDataFrame(rows), bundle=watched / "bundle", api="columns", keep=["n"], via="pandas")
    assert frame.toArrow().sort_by("n").to_pydict() == {
        "n": [1, 3, None],
        "half": [7, 7, 7],
        "text": ["a", "a", "a"],
        "count": [2, 4, None],
    }


def test_declared_output_types_become_those_that_spark_has(spark: Any, watched: Path) -> None:
    """An unsigned byte needs a short; every batch is cast to what was declared."""
    rows = spark.createDataFrame(features(5))
    frame = predict(rows, bundle=watched / "bundle", api="columns", keep=["id"])
    assert frame.schema.simpleString() == "struct<id:bigint,half:smallint,text:string,count:bigint>"
    assert scored(frame).column("count").to_pylist() == [2**53 + 2, None, None, 2**53 + 5, None]


def test_the_order_of_the_columns_and_other_columns_do_not_matter(df: Any, linear: str, table: pa.Table) -> None:
    """Spark itself looks at neither names nor types of what a Python function returns."""
    turned = df.select(lit("x").alias("other"), "x2", "n", "x1", "id", "x0")
    found = scored(predict(turned, bundle=linear, keep=["id"]))
    np.testing.assert_allclose(found.column("prediction"), expected(table), rtol=1e-9)


def test_integers_narrower_than_the_declared_type_are_cast(spark: Any, bundles: Path) -> None:
    """An int and a float where the api declares float64; what is kept stays an int."""
    rows = spark.createDataFrame([(1, 2.5), (3, 1.0)], "x0 int, x1 float").coalesce(1)
    frame = predict(rows, bundle=bundles / "picky", api="numbers", keep=["x0"])
    assert frame.schema.simpleString() == "struct<x0:int,prediction:double>"
    assert frame.toArrow().to_pydict() == {"x0": [1, 3], "prediction": [3.5, 4.0]}


def test_every_type_of_spark_is_kept_as_it_was(spark: Any, linear: str) -> None:
    """Among them names that SQL would have to quote."""
    day = dt.datetime(2026, 11, 23, 1, 2, 3, 456789)
    rows = spark.createDataFrame(
        [(1.0, 2.0, 3.0, "té", b"\0", Decimal("1.10"), day, day, day.date(), [1, None], {"k": 1}, ("s", 2), 7, True)],
        "x0 double, x1 double, x2 double, `a.b` string, `c``d` binary, e decimal(10,2), f timestamp, g timestamp_ntz,"
        " h date, i array<int>, j map<string,int>, k struct<l:string,m:int>, n tinyint, o boolean",
    )
    kept = [name for name in rows.columns if not name.startswith("x")]
    frame = predict(rows, bundle=linear, keep=kept)
    assert frame.drop("prediction").schema == rows.drop("x0", "x1", "x2").schema
    assert frame.drop("prediction").collect() == rows.drop("x0", "x1", "x2").collect()
    assert predict(rows, bundle=linear, keep_all=True).drop("prediction").schema == rows.schema


def test_empty_partitions_and_empty_frames_give_no_rows(spark: Any, df: Any, linear: str) -> None:
    """The columns are there all the same."""
    few = df.limit(2).repartition(8)
    assert predict(few, bundle=linear).count() == 2
    none = predict(df.where("id < 0"), bundle=linear, keep=["id"])
    assert none.toArrow().num_rows == 0
    assert none.columns == ["id", "prediction"]
    assert predict(df.where("id < 0"), bundle=linear, via="pandas").count() == 0


def test_a_last_batch_of_a_single_row_is_scored(spark: Any, df: Any, linear: str, table: pa.Table) -> None:
    """Whether Spark's batches or the bundle's leave it over; batches are limited by bytes too."""
    one = df.where("id < 11").coalesce(1)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "10")
    try:
        by_spark = scored(predict(one, bundle=linear, keep=["id"]))
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    by_rows = scored(predict(one, bundle=linear, keep=["id"], batch_rows=10))
    by_bytes = scored(predict(one, bundle=linear, keep=["id"], batch_bytes=100))
    for found in (by_spark, by_rows, by_bytes):
        np.testing.assert_allclose(found.column("prediction"), expected(table.slice(0, 11)), rtol=1e-9)


def test_a_poison_row_is_told_in_the_rejects_column(spark: Any, bundles: Path) -> None:
    """Its prediction is null; without such a column it fails its task, and the message says what to give."""
    rows = spark.createDataFrame([(1.0, 1.0), (-1.0, 5.0), (2.0, 2.0)], "x0 double, x1 double").coalesce(1)
    frame = predict(rows, bundle=bundles / "picky", keep=["x1"], rejects_column="why", status_column="status")
    assert frame.toArrow().to_pydict() == {
        "x1": [1.0, 5.0, 2.0],
        "prediction": [4.0, None, 8.0],
        "status": ["ok", "rejected", "ok"],
        "why": [None, "ValueError: x0 is -1", None],
    }
    with pytest.raises(PySparkException, match="1 of 3 rows were rejected"):
        predict(rows, bundle=bundles / "picky").collect()


@pytest.mark.parametrize("via", ["arrow", "pandas"])
def test_users_may_call_spark_themselves(df: Any, linear: str, via: str) -> None:
    """The function knows the schema that Spark asks for, and finds its features in the whole frame."""
    if via == "arrow":
        score = map_in_arrow(linear, keep=["id"])
        frame = df.mapInArrow(score, score.schema(df))
    else:
        rest = df.drop("n")
        function = map_in_pandas(linear, keep=["id"])
        frame = rest.mapInPandas(function, function.schema(rest))
    assert scored(frame).equals(scored(predict(df, bundle=linear, keep=["id"])))


def test_what_is_missing_is_told_before_any_task_runs(spark: Any, df: Any, linear: str) -> None:
    """A feature, a kept column, the bundle; and options that make no sense."""
    with pytest.raises(DataError, match="x2"):
        predict(df.drop("x2"), bundle=linear)
    with pytest.raises(DataError, match="nowhere"):
        predict(df, bundle=linear, keep=["nowhere"])
    with pytest.raises(UsageError, match="'id'"):
        predict(df, bundle=linear, keep=["id"], output_column="id")
    with pytest.raises(UsageError, match="via is"):
        predict(df, bundle=linear, via="rows")
    with pytest.raises(NoInputError):
        predict(df, bundle="Nobody:latest")
    with pytest.raises(UsageError, match="pin what it is"):
        predict(df, bundle="https://127.0.0.1:9/bundle.zip")


def test_the_first_rows_are_tried_where_made_up_ones_show_nothing(spark: Any, watched: Path, tmp_path: Path) -> None:
    """A stream and an empty frame have no first rows: they ask for a schema."""
    rows = spark.createDataFrame([("red",), ("green",)], "name string").coalesce(1)
    assert predict(rows, bundle=watched / "bundle", api="lookup").toArrow().to_pydict() == {"prediction": [1, 2]}
    stream = spark.readStream.schema("name string").json(str(tmp_path))
    for nothing in (rows.where("name = 'blue'"), stream):
        with pytest.raises(DataError, match=r"give output_schema=\{\"prediction\""):
            predict(nothing, bundle=watched / "bundle", api="lookup")
        given = predict(nothing, bundle=watched / "bundle", api="lookup", output_schema={"prediction": "int32"})
        assert given.schema.simpleString() == "struct<prediction:int>"


def test_a_stream_is_scored_by_the_same_function(spark: Any, df: Any, linear: str, tmp_path: Path) -> None:
    """readStream, predict, parquet: with what is there now."""
    df.write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(df.schema).parquet(str(tmp_path / "in"))
    frame = predict(stream, bundle=linear, keep=["id"])
    assert frame.isStreaming
    query = (
        frame.writeStream.format("parquet")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(tmp_path / "out"))
    )
    assert query.awaitTermination(120)
    assert scored(spark.read.parquet(str(tmp_path / "out"))).equals(scored(predict(df, bundle=linear, keep=["id"])))


@pytest.mark.parametrize("via", [None, "pandas"])
def test_sql_scores_columns_in_order_and_structs_by_name(spark: Any, df: Any, linear: str, via: str | None) -> None:
    """Literals, which SQL has as decimals and ints, are numbers to the model."""
    register_udf(spark, f"linear_{via}", bundle=linear, via=via)
    df.createOrReplaceTempView("features")
    found = spark.sql(
        f"SELECT id, linear_{via}(x0, x1, x2) AS p, linear_{via}(struct(x2, n, x1, x0)) AS q,"
        f" linear_{via}(1.5, 2, x2) - x2 / 2 AS r FROM features"
    )
    rows = scored(found)
    local = scored(predict(df, bundle=linear, keep=["id"])).column("prediction")
    assert rows.column("p").equals(local)
    assert rows.column("q").equals(local)
    np.testing.assert_allclose(rows.column("r"), -2.5, atol=1e-9)


@pytest.mark.parametrize("via", [None, "pandas"])
def test_a_sql_function_of_several_predictions_returns_a_struct(spark: Any, watched: Path, via: str | None) -> None:
    """Its return value serves in DataFrames as well."""
    both = register_udf(spark, f"columns_{via}", bundle=watched / "bundle", api="columns", via=via)
    rows = spark.createDataFrame([(1.0, 5), (2.0, 6)], "x0 double, n long").coalesce(1)
    assert rows.select(both(col("x0"), col("n")).alias("all")).select("all.*").toArrow().to_pydict() == {
        "half": [7, 7],
        "text": ["a", "a"],
        "count": [6, 7],
    }


def test_a_sql_function_needs_named_features(spark: Any, bundles: Path, linear: str) -> None:
    """Nobody could tell which argument is which; columns beside the predictions have no place."""
    with pytest.raises(UsageError, match="names features"):
        register_udf(spark, "single", bundle=bundles / "picky", api="single")
    with pytest.raises(UsageError, match="predictions only"):
        register_udf(spark, "kept", bundle=linear, keep=["id"])
    with pytest.raises(UsageError, match="via is"):
        register_udf(spark, "rows", bundle=linear, via="rows")
    register_udf(spark, "linear_of_three", bundle=linear)
    with pytest.raises(PySparkException, match=r"takes 3 columns \(x0, x1, x2\) or a struct of them, not 2"):
        spark.sql("SELECT linear_of_three(id, id) FROM range(1)").collect()
    with pytest.raises(PySparkException, match="the struct has no x0, x1, x2"):
        spark.sql("SELECT linear_of_three(struct(id)) FROM range(1)").collect()


def test_the_bundle_reaches_executors_that_do_not_have_its_folder(spark: Any, bundles: Path, tmp_path: Path) -> None:
    """It is distributed with the session, and what arrives is checked against the digest before it runs."""
    service = bentobatch.load(bundles / "picky")
    service.pack("weights", {"a": 2.0})
    service.save_to_dir(str(tmp_path / "bundle"))
    rows = spark.createDataFrame([(1.0, 1.0)], "x0 double, x1 double")
    frame = predict(rows, bundle=tmp_path / "bundle")
    digest = StreamScorer(tmp_path / "bundle").job.bundle_digest
    shutil.rmtree(tmp_path / "bundle")
    from pyspark import SparkFiles

    arrived = Path(SparkFiles.get(f"bentobatch-{digest}"))
    changed = next(arrived.rglob("*.py"))
    text = changed.read_text()
    changed.write_text(f"{text}\n# changed\n")
    with pytest.raises(PySparkException, match="BundleError"):
        frame.collect()
    changed.write_text(text)
    assert [row.prediction for row in frame.collect()] == [3.0]


def test_a_pinned_url_is_fetched_by_the_executors(spark: Any, bundles: Path, tmp_path: Path) -> None:
    """Nothing is distributed then; without a digest it is refused."""
    archive = shutil.make_archive(str(tmp_path / "bundle"), "zip", bundles / "picky")
    digest = StreamScorer(bundles / "picky").job.bundle_digest
    score = map_in_arrow(f"file://{archive}@sha256:{digest}", session=spark)
    assert score.archive is None
    rows = spark.createDataFrame([(1.0, 1.0)], "x0 double, x1 double")
    assert [row.prediction for row in rows.mapInArrow(score, score.schema(rows)).collect()] == [4.0]


def test_one_worker_process_loads_a_bundle_once_for_all_tasks(spark: Any, watched: Path) -> None:
    """The model cache outlives a task; the executors have two cores, and so two Python workers for a stage."""
    (watched / "loads").unlink(missing_ok=True)
    for _ in range(3):
        rows = spark.range(40).selectExpr("id * 1.0D AS x0").repartition(8)
        assert predict(rows, bundle=watched / "bundle").count() == 40
    pids = [line.split()[0] for line in (watched / "loads").read_text().splitlines()]
    assert len(pids) == len(set(pids))


def test_types_that_spark_lacks_are_replaced_by_wider_ones_or_refused() -> None:
    """No value is lost on the way."""
    given = {
        "uint8": (pa.uint8(), pa.int16()),
        "uint64": (pa.uint64(), pa.decimal128(20, 0)),
        "half": (pa.float16(), pa.float32()),
        "large": (pa.large_string(), pa.string()),
        "words": (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        "ns": (pa.timestamp("ns"), pa.timestamp("us")),
        "zoned": (pa.timestamp("ms", "Europe/Paris"), pa.timestamp("us", "UTC")),
        "box": (pa.list_(pa.float16(), 4), pa.list_(pa.float32())),
        "pair": (pa.struct([("a", pa.uint8())]), pa.struct([("a", pa.int16())])),
        "map": (pa.map_(pa.large_string(), pa.uint8()), pa.map_(pa.string(), pa.int16())),
        "fixed": (pa.binary(3), pa.binary()),
        "nothing": (pa.null(), pa.string()),
    }
    found = for_spark(pa.schema([(name, type) for name, (type, _) in given.items()]))
    assert found == pa.schema([(name, type) for name, (_, type) in given.items()])
    with pytest.raises(UsageError, match=r"column 'a\.b' is .*decimal256"):
        for_spark(pa.schema([("a", pa.struct([("b", pa.decimal256(60, 2))]))]))


def test_frames_get_back_the_types_that_their_columns_had(table: pa.Table) -> None:
    """Columns that a frame lacks are no matter; times are local ones there."""
    schema = pa.schema([("a", pa.int64()), ("t", pa.timestamp("us", "Europe/Paris")), ("gone", pa.int64())])
    frame = pa.table({"a": [1.0, None], "t": [dt.datetime(2026, 1, 1), None]}).to_pandas()
    batch = batch_of(frame, schema)
    assert batch.schema == pa.schema(list(schema)[:2])
    assert batch.column("a").to_pylist() == [1, None]
    assert batch.column("t").cast(pa.timestamp("us", "UTC"))[0].as_py().hour == 23


def test_the_example_of_the_manual_runs(
    spark: Any, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/spark.md, with a folder of this test for /data."""
    text = (Path(__file__).parents[3] / "docs" / "spark.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    shutil.copytree(bundles / "linear", tmp_path / "bundles" / "iris")
    pq.write_table(features(20), tmp_path / "flowers.parquet")
    names: dict[str, Any] = {}
    exec(compile(code.replace("/data", str(tmp_path)), "docs/spark.md", "exec"), names)
    assert "|prediction" in capsys.readouterr().out.replace(" ", "")
    assert names["report"].rows == 20
    assert pq.read_table(tmp_path / "scored").num_rows == 20
