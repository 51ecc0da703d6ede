"""The same job ends in the same output and report on every executor, whatever kind of output it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentobatch.engine.report import RunReport
from tests.integrations.fleets import (
    BAD_ROWS,
    EXECUTORS,
    SAME,
    SPLIT_ROWS,
    SPLITS,
    Fleet,
    Gate,
    read_output,
    rows_of,
    write_input,
)

pytestmark = pytest.mark.xdist_group("schedulers")
KINDS = {
    "parquet": "out.parquet",
    "directory": "out",
    "csv": "out.csv",
    "jsonl": "out.jsonl",
    "arrow": "out.arrow",
    "rejects": "rejects.parquet",
}
IN_BUCKET = ("inline", "dask", "celery")


def options_of(kind: str, folder: Path) -> dict[str, Any]:
    """The job of a kind of output; those without rejects share their input."""
    options: dict[str, Any] = {
        "input_file": folder / "in.parquet",
        "output_file": folder / KINDS[kind],
        "split_rows": SPLIT_ROWS,
        "keep": ["id"],
    }
    if kind == "rejects":
        options |= {"input_file": folder / "bad.parquet", "status_column": "status", "max_rejects": len(BAD_ROWS)}
    return options


def said(report: RunReport) -> dict[str, Any]:
    """What a report says of the job, and not of who did it."""
    return {name: getattr(report, name) for name in (*SAME, "splits_reused", "already_done")}


def cleared(output: Path) -> None:
    """Nobody has run this job yet."""
    for path in (output, output.with_name(f".{output.name}.bentobatch")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    Path(f"{output}.rejects.parquet").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All executors read and write in it, since a plan's id holds the paths."""
    folder = tmp_path_factory.mktemp("conformance")
    write_input(folder / "in.parquet")
    write_input(folder / "bad.parquet", bad_rows=BAD_ROWS)
    return folder


@pytest.fixture(scope="session")
def references() -> dict[str, tuple[dict[str, Any], list[Any], Any]]:
    """By kind: what the inline executor reported, its output and its rejects."""
    return {}


@pytest.fixture
def reference(
    folder: Path,
    gate: Gate,
    fleet_of: Callable[[str], Fleet],
    references: dict[str, tuple[dict[str, Any], list[Any], Any]],
) -> Callable[[str], tuple[dict[str, Any], list[Any], Any]]:
    """The reference of a kind of output, made when it is asked for first."""

    def of(kind: str) -> tuple[dict[str, Any], list[Any], Any]:
        if kind not in references:
            options = options_of(kind, folder)
            report = fleet_of("inline").run(gate, **options)
            references[kind] = (said(report), read_output(options["output_file"]), rejects_of(report))
            cleared(options["output_file"])
        return references[kind]

    return of


def rejects_of(report: RunReport) -> pa.Table | None:
    return None if report.rejects_file is None else pq.read_table(report.rejects_file)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_right(
    reference: Callable[[str], tuple[dict[str, Any], list[Any], Any]], folder: Path, kind: str
) -> None:
    """Else all executors might be wrong in the same way: every row once, in order, with the prediction of its values."""
    report, seen, rejects = reference(kind)
    rows = rows_of(seen)
    source = pq.read_table(options_of(kind, folder)["input_file"]).to_pandas()
    bad = BAD_ROWS if kind == "rejects" else ()
    expected = source["x0"] - 2.0 * source["x1"] + 0.5 * source["x2"]
    assert rows.column("id").to_pylist() == list(range(SPLITS * SPLIT_ROWS))
    for row, (found, wanted) in enumerate(zip(rows.column("prediction").to_pylist(), expected, strict=True)):
        assert found is None if row in bad else found == pytest.approx(wanted, rel=1e-9), row
    assert (report["rows"], report["splits"], report["rejected"]) == (SPLITS * SPLIT_ROWS, SPLITS, len(bad))
    if kind == "rejects":
        assert rejects.column("row").to_pylist() == list(BAD_ROWS)
        assert [row for row, word in enumerate(rows.column("status").to_pylist()) if word != "ok"] == list(BAD_ROWS)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_report_are_those_of_the_inline_executor(
    reference: Callable[[str], tuple[dict[str, Any], list[Any], Any]],
    gate: Gate,
    folder: Path,
    fleet_of: Callable[[str], Fleet],
    kind: str,
    executor: str,
) -> None:
    """Value for value, name for name, rejects and plan id included; only executor, workers and seconds differ."""
    expected, output, rejects = reference(kind)
    options = options_of(kind, folder)
    fleet = fleet_of(executor)
    report = fleet.run(gate, **options)
    try:
        assert said(report) == expected
        assert report.executor == executor
        assert read_output(options["output_file"]) == output
        assert rejects_of(report) == rejects
    finally:
        cleared(options["output_file"])


@pytest.mark.parametrize("executor", IN_BUCKET)
def test_an_output_in_a_bucket_is_the_local_one(
    reference: Callable[[str], tuple[dict[str, Any], list[Any], Any]],
    gate: Gate,
    folder: Path,
    fleet_of: Callable[[str], Fleet],
    storage_server: Mapping[str, Any],
    executor: str,
) -> None:
    """The workers have the credentials from their own environment; no object in the bucket tells them."""
    expected, output, _ = reference("directory")
    files = fsspec.filesystem("s3", **storage_server, skip_instance_cache=True, use_listings_cache=False)
    bucket = f"conformance-{executor}"
    files.call_s3("create_bucket", Bucket=bucket)
    options = {**options_of("directory", folder), "output_file": f"s3://{bucket}/out"}
    fleet = fleet_of(executor)
    with fleet.with_storage(storage_server):
        report = fleet.run(gate, storage_options=storage_server, **options)
    differs = ("plan_id", "output")
    assert {name: value for name, value in said(report).items() if name not in differs} == {
        name: value for name, value in expected.items() if name not in differs
    }
    success = json.loads(files.cat_file(f"{bucket}/out/_SUCCESS"))
    tables = [pq.read_table(pa.BufferReader(files.cat_file(f"{bucket}/out/{name}"))) for name in success["parts"]]
    assert pa.concat_tables(tables).replace_schema_metadata().equals(rows_of(output).replace_schema_metadata())
    for name in files.find(bucket):
        assert storage_server["secret"].encode() not in files.cat_file(name), name
