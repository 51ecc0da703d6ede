"""Two bundles are compared over one input: which rows changed, and how the predictions shifted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentobatch.cli.main import main
from bentobatch.comparison.comparing import Comparison, compare
from bentobatch.errors import OutputError, UsageError


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x from 0 to 99, and a key."""
    path = tmp_path_factory.mktemp("numbers") / "x.parquet"
    pq.write_table(pa.table({"key": [f"k{number}" for number in range(100)], "x": list(range(100))}), path)
    return path


@pytest.fixture(scope="module")
def found(pricing: Path, numbers: Path) -> Comparison:
    """The old bundle beside the new one."""
    return compare(
        pricing / "old",
        pricing / "new",
        input_file=numbers,
        output_file=numbers.with_name("changed.parquet"),
        keep=["key"],
        split_rows=30,
    )


def test_rows_that_changed_are_counted_and_written(found: Comparison, numbers: Path) -> None:
    """Ten whose price moved, and one that was rejected on each side; with their place in the input, and their key."""
    assert (found.rows, found.changed, found.share) == (100, 12, 0.12)
    assert found.statuses == [["ok", "ok", 98], ["ok", "rejected", 1], ["rejected", "ok", 1]]
    changed = pq.read_table(numbers.with_name("changed.parquet"))
    assert changed.schema.names == [
        "row", "key", "status_old", "status_new", "price_old", "price_new", "band_old", "band_new",
    ]  # fmt: skip
    rows = changed.to_pylist()
    assert [row["row"] for row in rows] == [13, 14, *range(90, 100)]
    assert [row["key"] for row in rows] == [f"k{row['row']}" for row in rows]
    assert rows[0] == {
        "row": 13, "key": "k13", "status_old": "rejected", "status_new": "ok",
        "price_old": None, "price_new": 13, "band_old": None, "band_new": "low",
    }  # fmt: skip
    assert (rows[-1]["price_old"], rows[-1]["price_new"]) == (99, 101)


def test_the_shift_of_a_column_is_told_by_its_quantiles(found: Comparison) -> None:
    """Of numbers; a rejected row has none."""
    price = found.columns["price"]
    assert price["changed"] == 12
    assert price["nulls"] == [1, 1]
    assert price["quantiles"]["min"] == [0.0, 0.0]
    assert price["quantiles"]["50%"] == [50.0, 50.0]
    assert price["quantiles"]["95%"] == [95.0, 97.0]
    assert price["quantiles"]["max"] == [99.0, 101.0]
    assert price["mean"] == [pytest.approx((4950 - 13) / 99), pytest.approx((4950 - 14 + 20) / 99)]


def test_classes_get_a_table_of_old_and_new(found: Comparison) -> None:
    """Text has no quantiles; null stands for a row without a prediction."""
    band = found.columns["band"]
    assert "quantiles" not in band
    assert band["classes"] == [["high", "high", 49], ["low", "low", 49], ["low", None, 1], [None, "low", 1]]


def test_the_same_bundle_changes_nothing(pricing: Path, numbers: Path, tmp_path: Path) -> None:
    """Rows that both reject count as unchanged; the file of changed rows has none."""
    same = compare(pricing / "old", pricing / "old", input_file=numbers, output_file=tmp_path / "c.csv")
    assert (same.rows, same.changed) == (100, 0)
    assert (tmp_path / "c.csv").read_text().count("\n") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "c.csv"]  # nothing of the two runs is left


def test_a_tolerance_lets_numbers_move(pricing: Path, numbers: Path) -> None:
    """Two of them do not count then; the two rejects and the ten others do."""
    within = compare(pricing / "old", pricing / "new", input_file=numbers, tolerance="2")
    assert within.changed == 2
    assert (
        compare(pricing / "old", pricing / "new", input_file=numbers, tolerance="2.1%").changed == 8
    )  # 2 is more of 95 and less


def test_nested_predictions_are_compared_part_by_part(pricing: Path, numbers: Path) -> None:
    """They have neither quantiles nor classes."""
    lists = compare(pricing / "old", pricing / "new", "lists", input_file=numbers)
    assert lists.changed == 100
    assert lists.columns["prediction"].keys() == {"changed", "types", "nulls"}


def test_a_column_that_one_side_lacks_has_changed_where_it_has_a_value(pricing: Path, numbers: Path) -> None:
    """And two sides without any column in common are no comparison."""
    with pytest.raises(UsageError, match="no prediction column is common to both: the old bundle makes price, band"):
        compare(pricing / "old", pricing / "old", input_file=numbers, new_api="first")


def test_each_bundle_runs_in_a_process_of_its_own(pricing: Path, numbers: Path) -> None:
    """So that two versions of one library never meet."""
    import os

    pids = compare(pricing / "old", pricing / "new", "nothing", input_file=numbers).columns["prediction"]["quantiles"]
    old, new = pids["min"]
    assert old != new
    assert os.getpid() not in (old, new)


def test_what_cannot_be_compared_is_refused_before_anything_is_scored(pricing: Path, numbers: Path) -> None:
    """Options of a run that mean nothing here; an existing file; a name that is taken."""
    both = (pricing / "old", pricing / "new")
    for option in ("keep_all", "only_new"):
        with pytest.raises(UsageError, match=option):
            compare(*both, input_file=numbers, **{option: True})
    with pytest.raises(UsageError, match="give a local"):
        compare(*both, input_file=numbers, output_file=numbers.with_name("folder"))
    with pytest.raises(OutputError, match="exists already"):
        compare(*both, input_file=numbers, output_file=numbers)


def test_the_command_ends_with_1_past_the_limit(
    pricing: Path, numbers: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it found is printed all the same, and one line says why."""
    arguments = ["compare", str(pricing / "old"), str(pricing / "new"), "--input-file", str(numbers), "--quiet"]
    output = tmp_path / "changed.jsonl"
    assert main([*arguments, "--max-changed", "12%", "--keep", "key", "--output-file", str(output)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines()[0] == "rows 100, changed 12 (12.00%)"
    assert "status rejected -> ok: 1" in out.splitlines()
    assert "  max              99           101            +2" in out.splitlines()
    assert len(output.read_text().splitlines()) == 12
    assert main([*arguments, "--max-changed", "11", "-o", "json"]) == 1
    out, err = capfd.readouterr()
    told: dict[str, Any] = json.loads(out)
    assert (told["rows"], told["changed"], told["changed_share"]) == (100, 12, 0.12)
    assert told["old"]["bundle"].startswith("Pricing:")
    assert err == "bentobatch: 12 of 100 rows changed (12.00%), more than --max-changed 11 allows\n"


def test_the_command_refuses_a_limit_that_is_none(pricing: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Before it scores."""
    arguments = ["compare", str(pricing / "old"), str(pricing / "new")]
    assert main([*arguments, "--input", '{"x": 1}', "--max-changed", "few"]) == 2
    assert "--max-changed takes a count such as 10 or a share such as 1%" in capfd.readouterr().err
    assert main(arguments) == 2
    assert "nothing to score" in capfd.readouterr().err
