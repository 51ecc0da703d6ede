"""A change in hundreds of files costs what it must and no more, before a commit and after one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine.groups import GROUP_FILES
from bentobatch.engine.report import RunReport

FILES = 250
"""Fewer than share splits."""
MANY = 1000
ROWS = 5


def write(path: Path, number: int, rows: int = ROWS) -> None:
    values = np.arange(rows, dtype=float) + number
    pq.write_table(pa.table({"x0": values, "x1": values, "x2": values}), path)


def score(bundles: Path, folder: Path, output: Path) -> RunReport:
    return bentobatch.run(
        bundles / "linear", input_file=folder, output_file=output, executor="inline", overwrite=True, keep=["x0"]
    )


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_a_new_a_changed_and_a_removed_file_cost_themselves_alone(bundles: Path, tmp_path: Path, name: str) -> None:
    """After a commit: what stands in the output is taken over, wherever its rows have moved to."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        write(folder / f"day-{number}.parquet", number)
    output = tmp_path / name
    assert score(bundles, folder, output).rows_reused == 0
    write(folder / "day-500b.parquet", 9000, rows=7)  # sorts behind day-500, so half of all rows move
    report = score(bundles, folder, output)
    assert (report.rows, report.rows - report.rows_reused) == (FILES * ROWS + 7, 7)
    write(folder / "day-3.parquet", 8000, rows=4)
    report = score(bundles, folder, output)
    assert report.rows - report.rows_reused == 4
    (folder / "day-0.parquet").unlink()
    report = score(bundles, folder, output)
    assert report.rows == report.rows_reused == (FILES - 2) * ROWS + 7 + 4
    found = pq.read_table(output if output.is_file() else sorted(output.glob("part-*")))
    kept, scored = found.column("x0").to_numpy(), found.column("prediction").to_numpy()
    np.testing.assert_array_equal(scored, kept - 2 * kept + 0.5 * kept)
    assert kept[0] == 1.0
    assert len(kept) == report.rows


def test_a_new_file_among_a_thousand_small_ones_costs_its_group_alone(bundles: Path, tmp_path: Path) -> None:
    """Files that share splits: all groups but those beside the new file are taken over, wherever their rows move to."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(MANY):
        write(folder / f"day-{number}.parquet", number)
    first = score(bundles, folder, tmp_path / "out.parquet")
    assert first.splits <= MANY / 32
    write(folder / "day-500b.parquet", 9000, rows=7)
    report = score(bundles, folder, tmp_path / "out.parquet")
    assert 7 <= report.rows - report.rows_reused <= 3 * GROUP_FILES * ROWS
    found = pq.read_table(tmp_path / "out.parquet")
    kept, scored = found.column("x0").to_numpy(), found.column("prediction").to_numpy()
    np.testing.assert_array_equal(scored, kept - 2 * kept + 0.5 * kept)
    assert (kept[0], len(kept)) == (0, MANY * ROWS + 7)


def test_another_bundle_reuses_nothing(bundles: Path, tmp_path: Path) -> None:
    """A receipt is keyed by the bundle's digest: another model's rows never stand in for this one's."""
    write(tmp_path / "in.parquet", 1)
    output = tmp_path / "o.parquet"
    bentobatch.run(bundles / "linear", input_file=tmp_path / "in.parquet", output_file=output)
    report = bentobatch.run(bundles / "picky", input_file=tmp_path / "in.parquet", output_file=output, overwrite=True)
    assert report.rows_reused == 0
    assert pq.read_table(output).column("prediction").to_pylist()[0] == 4.0
