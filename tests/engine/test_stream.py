"""Partitions of another engine are scored by the rules of a job: features, types, limits and lost rows."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine import stream
from bentobatch.engine.stream import StreamScorer, made_up_rows
from bentobatch.errors import BundleError, DataError, ModelError, TooManyRejectsError, UsageError
from tests.conftest import feature_frame


def batch_of(rows: int) -> pa.RecordBatch:
    """Rows of id, x2, x0, other, x1: the features neither first nor in the model's order."""
    frame = feature_frame(rows)
    frame["id"], frame["other"] = range(rows), "text"
    return pa.RecordBatch.from_pandas(frame[["id", "x2", "x0", "other", "x1"]], preserve_index=False)


def picky_batch(x0: list[Any]) -> pa.RecordBatch:
    return pa.record_batch({"x0": pa.array(x0), "x1": pa.array([1.0] * len(x0)), "id": pa.array(range(len(x0)))})


@pytest.mark.parametrize("rows", [1, 10, 101])
def test_a_batch_is_scored_as_a_file_is(bundles: Path, tmp_path: Path, rows: int) -> None:
    """Value for value and in order, also where the rows divided by those of a call leave one."""
    batch = batch_of(rows)
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "in.parquet")
    bentobatch.run(
        bundles / "linear",
        input_file=tmp_path / "in.parquet",
        output_file=tmp_path / "o.parquet",
        keep=["id", "other"],
        status_column="status",
        batch_rows=10,
    )
    scorer = StreamScorer(bundles / "linear", keep=["id", "other"], status_column="status", batch_rows=10)
    scored = scorer.score(batch)
    assert scored.num_rows == rows
    assert pa.Table.from_batches([scored]).to_pylist() == pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert scored.schema.equals(scorer.output_schema(batch.schema))


def test_features_follow_the_rules_of_a_job(bundles: Path) -> None:
    """Named by hand, declared, known by the model, else all but the kept ones."""
    schema = pa.schema([("x1", pa.float64()), ("x0", pa.float64()), ("x2", pa.float64()), ("id", pa.int64())])
    assert StreamScorer(bundles / "linear").features_of(schema) == ("x0", "x1", "x2")
    assert StreamScorer(bundles / "linear", features=["x2", "x1", "id"]).features_of(schema) == ("x2", "x1", "id")
    assert StreamScorer(bundles / "picky").features_of(schema) == ("x0", "x1")
    rest = StreamScorer(bundles / "picky", "single", keep=["id"], exclude=["x2"])
    assert rest.features_of(schema) == ("x1", "x0")


def test_an_empty_batch_has_the_columns_of_the_others(bundles: Path) -> None:
    """Also where nothing but made-up rows can tell what they are."""
    scorer = StreamScorer(bundles / "linear", keep=["id"], status_column="status", rejects_column="error")
    empty = batch_of(3).slice(0, 0)
    assert scorer.score(empty).num_rows == 0
    assert scorer.score(empty).schema == scorer.score(batch_of(3)).schema
    assert scorer.output_schema(empty.schema).names == ["id", "prediction", "status", "error"]


def test_no_call_is_larger_than_the_limits(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and bytes both bound what the api gets at once."""
    batch = batch_of(100)
    for limits, most in (({"batch_rows": 30}, 30), ({"batch_bytes": 600}, 25)):
        monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(tmp_path / f"trace{most}"))
        scorer = StreamScorer(bundles / "linear", output_schema={"prediction": "float64"}, **limits)
        assert scorer.score(batch).num_rows == 100
        assert [piece.num_rows <= most for piece in scorer.stream([batch, batch])].count(False) == 0
        calls = [int(line.split()[1]) for line in (tmp_path / f"trace{most}").read_text().splitlines()]
        assert sum(calls) == 300
        assert max(calls) <= most


def test_it_travels_without_the_model_and_keeps_the_settled_columns(bundles: Path) -> None:
    """What a graph holds is a path, a digest and a schema; two equal ones are equal bytes."""
    scorer, other = StreamScorer(bundles / "linear"), StreamScorer(bundles / "linear")
    schema = scorer.output_schema(batch_of(1).schema)
    other.output_schema(batch_of(1).schema)
    data = pickle.dumps(scorer)
    assert len(data) < 4000
    assert b"LinearModel" not in data
    assert data == pickle.dumps(other)
    copy = pickle.loads(data)
    assert copy.predictions is not None
    assert copy.score(batch_of(5)).schema == schema


def test_threads_load_the_bundle_once(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many score their first batch at the same time."""
    loads = []
    real = stream.loaded

    def counted(*args: Any) -> Any:
        loads.append(args)
        return real(*args)

    stream._service.cache_clear()
    monkeypatch.setattr(stream, "loaded", counted)
    scorer = StreamScorer(bundles / "linear")
    threads = [threading.Thread(target=scorer.score, args=(batch_of(10),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1


def test_a_rejected_row_is_refused_with_words_that_say_how_to_accept_it(bundles: Path) -> None:
    """By default, as --max-rejects 0 does."""
    scorer = StreamScorer(bundles / "picky", output_schema={"prediction": "float64"}, batch_rows=4)
    with pytest.raises(TooManyRejectsError, match=r'1 of 4 rows .* row 5 .*ValueError: x0 is -1.*on_reject="null"'):
        scorer.score(picky_batch([1.0, 2.0, 3.0, 4.0, 5.0, -1.0, 7.0, 8.0]))


def test_an_accepted_reject_is_null_and_told(bundles: Path) -> None:
    """It costs its row alone; a row that the api discards is told apart, and never refused."""
    scorer = StreamScorer(
        bundles / "picky", on_reject="null", keep=["id"], status_column="status", rejects_column="error"
    )
    rows = scorer.score(picky_batch([1.0, -1.0, 3.0])).to_pylist()
    assert rows == [
        {"id": 0, "prediction": 4.0, "status": "ok", "error": None},
        {"id": 1, "prediction": None, "status": "rejected", "error": "ValueError: x0 is -1"},
        {"id": 2, "prediction": 10.0, "status": "ok", "error": None},
    ]
    discarding = StreamScorer(bundles / "picky", "discarding", status_column="status", rejects_column="error")
    values = pa.record_batch({"x0": pa.array([1, 2])})
    assert discarding.score(values).column("prediction").to_pylist() == [2, 4]
    other = StreamScorer(bundles / "picky", "discarding", status_column="status", output_schema={"prediction": "int64"})
    assert other.score(pa.record_batch({"y": pa.array([1])})).to_pylist() == [
        {"prediction": None, "status": "discarded"}
    ]


def test_a_small_batch_of_bad_rows_alone_is_no_broken_model(bundles: Path) -> None:
    """A micro-batch may be two rows; where rejects are refused, the model is what is told of."""
    accepting = StreamScorer(bundles / "picky", on_reject="null", output_schema={"prediction": "float64"})
    assert accepting.score(picky_batch([-1.0, -1.0])).column(0).to_pylist() == [None, None]
    with pytest.raises(ModelError, match="raised on every one of 2 rows"):
        StreamScorer(bundles / "picky", output_schema={"prediction": "float64"}).score(picky_batch([-1.0, -1.0]))


def test_where_made_up_rows_do_not_do_the_error_says_what_to_declare(bundles: Path) -> None:
    """A real sample does as well."""
    schema = picky_batch([1.0]).schema
    with pytest.raises(DataError, match=r"api 'broken'.*the model is broken.*give output_schema="):
        StreamScorer(bundles / "picky", "broken").output_schema(schema)
    with pytest.raises(DataError, match=r"ValueError: x0 is -1|every one"):
        StreamScorer(bundles / "picky").output_schema(schema, sample=picky_batch([-1.0]))
    given = StreamScorer(bundles / "picky", "broken", output_schema={"a": "int8", "b": "string"})
    assert given.output_schema(schema).names == ["a", "b"]
    sampled = StreamScorer(bundles / "picky").output_schema(schema, sample=picky_batch([2.0]))
    assert sampled.types == [pa.float64()]


def test_a_missing_column_and_clashing_names_are_refused(bundles: Path) -> None:
    """The message names them."""
    batch = picky_batch([1.0])
    with pytest.raises(DataError, match=r"missing column x2; it has x0, x1, id"):
        StreamScorer(bundles / "linear").score(batch)
    for options in (
        {"keep": ["id"], "output_column": "id"},
        {"status_column": "prediction"},
        {"rejects_column": "prediction"},
        {"status_column": "s", "rejects_column": "s"},
    ):
        with pytest.raises(UsageError, match="two output columns"):
            StreamScorer(bundles / "picky", **options).score(batch)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="on_reject"):
        StreamScorer(bundles / "picky", on_reject="drop")


def test_nullable_integers_and_dictionaries_are_what_the_files_of_a_job_give(bundles: Path) -> None:
    """Nulls among integers stay, and a dictionary's values are kept, whatever its codes in this batch."""
    colours = pa.array(["red", None, "blue"]).dictionary_encode()
    batch = pa.record_batch({"x0": pa.array([1, None, 3]), "x1": pa.array([1, 1, 1]), "colour": colours})
    scored = StreamScorer(bundles / "picky", keep=["colour", "x0"], batch_rows=2).score(batch)
    assert scored.to_pydict() == {
        "colour": ["red", None, "blue"],
        "x0": [1, None, 3],
        "prediction": [4.0, None, 10.0],
    }


def test_the_bundle_must_be_the_one_that_was_named(bundles: Path, tmp_path: Path) -> None:
    """A process that finds another bundle at the place refuses it; a moved copy of the same one does."""
    import shutil

    scorer = StreamScorer(bundles / "linear")
    with pytest.raises(BundleError, match="digest"):
        StreamScorer(bundles / "linear", digest="0" * 64).score(batch_of(1))
    shutil.copytree(bundles / "linear", tmp_path / "copy")
    assert scorer.moved_to(tmp_path / "copy").score(batch_of(2)) == scorer.score(batch_of(2))
    with pytest.raises(BundleError, match="digest"):
        scorer.moved_to(bundles / "picky").score(batch_of(1))


def test_made_up_rows_have_the_types_that_are_asked_for() -> None:
    """Of every type that a column may have; null where there is no plain value."""
    types = [pa.int8(), pa.uint64(), pa.float32(), pa.bool_(), pa.string(), pa.large_string(), pa.date32()]
    types += [pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.decimal128(5, 2), pa.list_(pa.int64())]
    types += [pa.dictionary(pa.int8(), pa.string()), pa.binary(), pa.time64("us"), pa.struct([("a", pa.int8())])]
    schema = pa.schema([pa.field(str(number), type, nullable=False) for number, type in enumerate(types)])
    rows = made_up_rows(schema)
    assert rows.schema.types == types
    assert rows.num_rows == 2
    assert np.array_equal(rows.column(0).to_numpy(), [0, 1])


def test_naming_a_column_for_rejects_accepts_them(bundles: Path) -> None:
    """As on every scheduler: who asks why rows were lost does not want the first of them to end the run."""
    assert StreamScorer(bundles / "picky").on_reject == "raise"
    assert StreamScorer(bundles / "picky", rejects_column="why").on_reject == "null"
    assert StreamScorer(bundles / "picky", rejects_column="why", on_reject="raise").on_reject == "raise"
