"""What planning refuses before anything is scored."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.errors import DataError, UsageError
from tests.conftest import feature_frame


def write(path: Path, **columns: object) -> Path:
    frame = feature_frame(20).assign(**columns)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return path


@pytest.mark.parametrize(
    ("input", "output"),
    [("in.parquet", "in.parquet"), (".", "out.parquet"), (".", "out"), ("out/in.parquet", "out"), ("out/", "out")],
)
def test_an_output_among_the_inputs_is_refused(bundles: Path, tmp_path: Path, input: str, output: str) -> None:
    """It would be replaced while it is read, or be read as input by the next run; --overwrite does not help."""
    (tmp_path / "out").mkdir()
    write(tmp_path / "in.parquet")
    write(tmp_path / "out" / "in.parquet")
    before = (tmp_path / "in.parquet").read_bytes()
    if output == "out" and input != ".":
        (tmp_path / "out" / "in.parquet").touch()
    with pytest.raises(UsageError, match="lie in each other"):
        bentobatch.run(
            bundles / "linear", input_file=f"{tmp_path}/{input}", output_file=tmp_path / output, overwrite=True
        )
    assert (tmp_path / "in.parquet").read_bytes() == before


def test_text_where_the_model_takes_numbers_names_the_column(bundles: Path, tmp_path: Path) -> None:
    """The file is at fault, not a million rows."""
    write(tmp_path / "in.parquet", x1="many")
    with pytest.raises(DataError, match=r"column x1 is (large_)?string.*dtype"):
        bentobatch.run(bundles / "linear", input_file=tmp_path / "in.parquet", output_file=tmp_path / "o.parquet")


def test_a_prediction_named_like_a_kept_column_is_refused(bundles: Path, tmp_path: Path) -> None:
    """And --output-column mends it."""
    write(tmp_path / "in.parquet", prediction=0)
    options = {"input_file": tmp_path / "in.parquet", "output_file": tmp_path / "o.parquet", "keep": ["prediction"]}
    with pytest.raises(UsageError, match=r"'prediction'.*--output-column"):
        bentobatch.run(bundles / "linear", **options)
    bentobatch.run(bundles / "linear", **options, output_column="score")
    assert pq.read_schema(tmp_path / "o.parquet").names == ["prediction", "score"]


def test_a_column_of_text_in_one_csv_and_of_numbers_in_another_is_text_in_both(bundles: Path, tmp_path: Path) -> None:
    """Text files have no types of their own: the widest over the whole input holds."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("x0,x1,x2,code\n1,2,3,007\n")
    (tmp_path / "in" / "b.csv").write_text("x0,x1,x2,code\n1,2,3,A1\n")
    bentobatch.run(bundles / "linear", input_file=tmp_path / "in", output_file=tmp_path / "o.parquet", keep=["code"])
    assert pq.read_table(tmp_path / "o.parquet").column("code").to_pylist() == ["007", "A1"]


def test_the_type_of_a_column_that_begins_with_nulls_is_found_further_on(bundles: Path, tmp_path: Path) -> None:
    """The first probe may see no value at all; later ones settle the type."""
    lines = ['{"x0": null}'] * 150 + ['{"x0": 1}'] * 10
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    with pytest.raises(bentobatch.ModelError, match="every one"):
        bentobatch.run(
            bundles / "picky",
            "single",
            input_file=tmp_path / "in.jsonl",
            output_file=tmp_path / "o.parquet",
            batch_rows=100,
        )
    bentobatch.run(bundles / "picky", "shout", input_file=tmp_path / "in.jsonl", output_file=tmp_path / "o.parquet")
    assert len(pq.read_table(tmp_path / "o.parquet")) == 160


def test_a_plan_is_made_of_a_job_or_of_keywords(bundles: Path, tmp_path: Path) -> None:
    """The three steps take what ``run`` takes, pass JSON, and change nothing when they are run again."""
    from bentobatch.engine.plan import Plan
    from bentobatch.runs import make_job

    options = {"input_file": write(tmp_path / "in.parquet"), "output_file": tmp_path / "o.parquet", "split_rows": 5}
    plan = bentobatch.plan(bundles / "linear", **options)
    assert bentobatch.plan(make_job(bundles / "linear", **options)) == plan
    travelled = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert travelled == plan
    with pytest.raises(bentobatch.StorageError, match="not finished"):
        bentobatch.commit(travelled)
    receipts = [bentobatch.run_split(travelled, index) for index in range(len(plan.splits))]
    assert [bentobatch.run_split(plan, index) for index in range(len(plan.splits))] == receipts
    record = bentobatch.commit(travelled)
    assert record["rows"] == 20
    assert bentobatch.commit(plan) == record
    with pytest.raises(UsageError, match="keep"):
        bentobatch.plan(make_job(bundles / "linear", **options), keep=["x0"])
    with pytest.raises(UsageError, match="output_file"):
        bentobatch.plan(bundles / "linear", input_file=options["input_file"])
