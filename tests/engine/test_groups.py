"""Files of a few rows share splits: they are cut where one more file changes little, and nothing else shows of it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch import runs
from bentobatch.engine.groups import GROUP_FILES, GROUP_ROWS, MANY_FILES, share_splits
from bentobatch.engine.plan import Plan
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.base import FileScan, InputFile, Range

FILES = MANY_FILES + 44
ROWS = 3


def scanned(rows: list[int], name: str = "day") -> tuple[list[InputFile], list[FileScan]]:
    """Files of so many rows, as planning knows them."""
    files = [InputFile(f"/in/{name}-{number}.parquet", 10, "1", "parquet") for number in range(len(rows))]
    scans = [FileScan(count, pa.schema([]), (Range(0, 1, count, 0),) if count else (), 8.0) for count in rows]
    return files, scans


def members_of(files: list[InputFile], scans: list[FileScan]) -> list[tuple[str, ...]]:
    """The files of each group or single file, in order."""
    shared = share_splits(files, scans, split_rows=262_144)
    return [
        tuple(each.file.uri for each in shared.groups[file.uri]) if file.uri in shared.groups else (file.uri,)
        for file in shared.files
    ]


def test_groups_hold_every_file_once_in_order_and_large_files_stand_alone() -> None:
    """Groups are bounded by rows and by files; a file without rows is a member like any other."""
    rows = [500, 0, 3000, 100_000, 7] * 200
    files, scans = scanned(rows)
    groups = members_of(files, scans)
    assert [uri for group in groups for uri in group] == [file.uri for file in files]
    held = dict(zip([file.uri for file in files], rows, strict=True))
    assert all(len(group) == 1 for group in groups if any(held[uri] == 100_000 for uri in group))
    assert max(len(group) for group in groups) > 1
    small, scans = scanned([500] * 4000)
    groups = members_of(small, scans)
    assert max(len(group) for group in groups) <= GROUP_FILES
    assert all(500 * len(group) <= GROUP_ROWS for group in groups)
    assert 31 <= len(groups) <= 70


def test_few_files_have_a_split_each() -> None:
    """There, what splits cost by themselves is little, and a file that changes costs itself alone."""
    files, scans = scanned([5] * (MANY_FILES - 1))
    assert share_splits(files, scans, split_rows=262_144).files == files


def test_a_split_of_a_costly_model_has_no_more_rows_than_that_allows() -> None:
    """Grouping never makes what is lost with a worker larger than a split may be."""
    files, scans = scanned([100] * 1000)
    shared = share_splits(files, scans, split_rows=256)
    assert max(scan.rows for scan in shared.scans) <= 256


def test_one_file_more_changes_the_groups_beside_it_only() -> None:
    """Wherever it sorts."""
    files, scans = scanned([500] * 3000)
    before = set(members_of(files, scans))
    for place in random.Random(4).sample(range(3000), 10):
        (new,), (scan,) = scanned([400], name="new")
        more = members_of([*files[:place], new, *files[place:]], [*scans[:place], scan, *scans[place:]])
        assert len(set(more) - before) <= 6


def write(path: Path, values: np.ndarray) -> None:
    columns = {"id": np.arange(len(values)), "x0": values, "x1": values + 0.5}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        path.write_text("id,x0,x1\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Many files of a few rows, of the format that the test names (Parquet by default)."""
    made = tmp_path / "in"
    made.mkdir()
    for number in range(FILES):
        write(made / f"f-{number}.{getattr(request, 'param', 'parquet')}", np.arange(ROWS, dtype=float) + 10 * number)
    return made


def values_of(output: Path) -> pa.Table:
    files = [output] if output.is_file() else sorted(output.glob("part-*"))
    return pa.concat_tables([pq.read_table(file) for file in files])


@pytest.mark.parametrize("folder", ["parquet", "csv"], indirect=True)
def test_rejects_name_the_file_and_the_row_in_it(bundles: Path, folder: Path, tmp_path: Path) -> None:
    """One row is lost in the middle of a group, wherever its split begins; its mates keep their predictions."""
    suffix = next(folder.iterdir()).suffix
    bad = folder / f"f-70{suffix}"
    write(bad, np.array([700.0, -1.0, 702.0]))
    output = tmp_path / "out.parquet"
    report = bentobatch.run(
        bundles / "picky", input_file=folder, output_file=output, executor="threads", keep=["x0"], max_rejects="1"
    )
    assert (report.rows, report.rejected, report.files) == (FILES * ROWS, 1, FILES)
    assert report.splits < FILES / 10
    (lost,) = pq.read_table(f"{output}.rejects.parquet").to_pylist()
    assert (lost["row"], lost["file"], lost["file_row"]) == (70 * ROWS + 1, str(bad), 1)
    assert lost["line"] == (3 if suffix == ".csv" else None)
    table = values_of(output)
    kept = table.column("x0").to_numpy()
    assert kept[0] == 0
    assert kept[-1] == 10 * (FILES - 1) + ROWS - 1
    assert table.column("prediction").null_count == 1
    found = table.column("prediction").to_numpy()
    fine = kept != -1
    np.testing.assert_array_equal(found[fine], 4 * kept[fine] + 0.5)


def test_a_bad_line_in_a_small_text_file_is_told_with_its_file_and_line(bundles: Path, tmp_path: Path) -> None:
    """Reading finds it, far behind the first file of its group."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        lines = [json.dumps({"x0": number, "x1": 0.5})] * ROWS
        if number == 99:
            lines[2] = '{"x0": 1, '
        (folder / f"f-{number}.jsonl").write_text("\n".join(lines) + "\n")
    output = tmp_path / "out"
    bentobatch.run(bundles / "picky", input_file=folder, output_file=output, executor="inline", max_rejects="1")
    (lost,) = pq.read_table(f"{output}.rejects.parquet").to_pylist()
    assert (lost["file"], lost["file_row"], lost["line"], lost["stage"]) == (str(folder / "f-99.jsonl"), 2, 3, "read")
    assert lost["raw"] == b'{"x0": 1, '


def test_a_file_that_changed_after_planning_is_named_alone(bundles: Path, folder: Path, tmp_path: Path) -> None:
    """Its group is not scored; the message does not blame the group."""
    options = {"input_file": folder, "output_file": tmp_path / "out"}
    plan = Plan.from_json(json.loads(json.dumps(bentobatch.plan(bundles / "picky", **options).to_json())))
    write(folder / "f-40.parquet", np.zeros(ROWS))
    index = next(
        split.index
        for split in plan.splits
        if any(each.file.uri.endswith("/f-40.parquet") for each in plan.groups[plan.files[split.file].uri])
    )
    with pytest.raises(DataError, match=r"/f-40\.parquet changed since planning"):
        bentobatch.run_split(plan, index)


def test_a_limit_may_end_within_a_group(bundles: Path, folder: Path, tmp_path: Path) -> None:
    """The first rows are the first files' rows, and the others are not read."""
    output = tmp_path / "out.parquet"
    report = bentobatch.run(bundles / "picky", input_file=folder, output_file=output, keep=["x0"], limit=200)
    assert report.rows == 200
    assert values_of(output).column("x0").to_pylist() == [float(10 * (row // ROWS) + row % ROWS) for row in range(200)]


def test_a_dry_run_lists_every_file_and_leaves_nothing(bundles: Path, folder: Path, tmp_path: Path) -> None:
    """Files in groups are files to their user."""
    told = runs.describe(bundles / "picky", input_file=folder, output_file=tmp_path / "out", limit=200)
    assert [file["path"] for file in told["files"]] == [str(folder / f"f-{number}.parquet") for number in range(FILES)]
    assert sum(file["rows"] for file in told["files"]) == 200
    assert sorted(tmp_path.iterdir()) == [folder]


def test_files_that_are_added_later_have_parts_of_their_own(bundles: Path, folder: Path, tmp_path: Path) -> None:
    """--only-new after a plain run knows the members of groups; one of them that changed cannot be replaced."""
    output = tmp_path / "out"
    options = {"input_file": folder, "output_file": output, "executor": "inline", "keep": ["x0"]}
    first = bentobatch.run(bundles / "picky", **options)
    write(folder / "f-5b.parquet", np.array([1.5]))
    report = bentobatch.run(bundles / "picky", **options, only_new=True)
    assert (report.rows, report.rows_reused) == (FILES * ROWS + 1, FILES * ROWS)
    assert len(list(output.glob("part-*"))) == first.splits + 1
    assert values_of(output).column("x0").to_pylist()[-1] == 1.5
    write(folder / "f-6b.parquet", np.array([2.5]))
    assert bentobatch.run(bundles / "picky", **options, only_new=True).rows == FILES * ROWS + 2
    write(folder / "f-7.parquet", np.array([2.5]))
    with pytest.raises(UsageError, match=r"/f-7\.parquet changed since"):
        bentobatch.run(bundles / "picky", **options, only_new=True)


@pytest.mark.parametrize("folder", ["parquet", "csv"], indirect=True)
def test_lost_rows_of_a_group_are_redriven_after_their_file_was_mended(
    bundles: Path, folder: Path, tmp_path: Path
) -> None:
    """The row goes back to its place; what is still bad keeps its file and row; another number of rows is refused."""
    suffix = next(folder.iterdir()).suffix
    mended, other = folder / f"f-70{suffix}", folder / f"f-71{suffix}"
    write(mended, np.array([700.0, -1.0, 702.0]))
    write(other, np.array([-1.0, 711.0, 712.0]))
    output = tmp_path / "out.parquet"
    bentobatch.run(
        bundles / "picky", input_file=folder, output_file=output, executor="inline", keep=["x0"], max_rejects="2"
    )
    write(mended, np.array([700.0, 5.0]))
    with pytest.raises(DataError, match=r"f-70\.\w+ has 2 rows now and had 3"):
        bentobatch.redrive(output, max_rejects="2")
    write(mended, np.array([700.0, 5.0, 70200.25]))  # longer, so that a text's ranges are others
    report = bentobatch.redrive(output, max_rejects="2")
    assert report.rejected == 1
    table = values_of(output)
    assert table.column("x0").to_pylist()[70 * ROWS + 1] == 5.0
    assert table.column("prediction").to_pylist()[70 * ROWS + 1] == 20.5
    (lost,) = pq.read_table(f"{output}.rejects.parquet").to_pylist()
    assert (lost["row"], lost["file"], lost["file_row"]) == (71 * ROWS, str(other), 0)
