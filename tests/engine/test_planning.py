"""What planning refuses before anything is scored."""

from __future__ import annotations

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
