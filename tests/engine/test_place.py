"""Where a job's output and state lie, from the output path alone."""

from __future__ import annotations

import pytest

from bentobatch.engine.job import BatchJob
from bentobatch.engine.place import Place, place_of
from bentobatch.errors import UsageError


def place(path: str, **options: str) -> Place:
    return place_of(BatchJob("/b", "d", "N:1", "predict", input_files=("/in",), output_file=path, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "format", "single"),
    [
        ("/a/b.parquet", "parquet", True),
        ("/b.PQ", "parquet", True),
        ("s3://b/k.csv", "csv", True),
        ("/b.jsonl", "jsonl", True),
        ("/b.ndjson", "jsonl", True),
        ("/b.arrow", "arrow", True),
        ("/b.feather", "arrow", True),
        ("/out", "parquet", False),
        ("/out.v1", "parquet", False),
        ("/out.csv/", "parquet", False),
    ],
)
def test_the_extension_of_the_output_tells_its_format(path: str, format: str, single: bool) -> None:
    """A known one means one file; anything else a directory of parts."""
    found = place(path)
    assert (found.format, found.single) == (format, single)


@pytest.mark.parametrize("path", ["/out.csv.gz", "/out.json", "/out.orc", "/out.txt", "/out.parquet.zst"])
def test_an_extension_that_is_not_written_is_refused(path: str) -> None:
    """Rather than a directory of that name."""
    with pytest.raises(UsageError, match="not written"):
        place(path)


def test_the_state_lies_beside_the_output() -> None:
    """Hidden, on the same disk, so that parts can be renamed into place; in a bucket below _bentobatch/."""
    assert place("/data/out.parquet").state == "/data/.out.parquet.bentobatch"
    assert place("/data/out/").state == "/data/.out.bentobatch"
    assert place("s3://b/data/out").state == "s3://b/data/out/_bentobatch"
    assert place("s3://b/data/out.parquet").state == "s3://b/data/_bentobatch/out.parquet"
    assert place("/data/out.parquet", state_dir="/state").state == "/state/out.parquet.bentobatch"


def test_an_output_format_that_contradicts_the_extension_is_refused() -> None:
    """One of the two is a slip."""
    with pytest.raises(UsageError, match="--output-format"):
        place("/out.csv", output_format="parquet")
    with pytest.raises(UsageError, match="unknown output format 'xml'"):
        place("/out", output_format="xml")
