"""What a job says of itself."""

from __future__ import annotations

import json

import pytest

from bentobatch.engine.job import BatchJob, allowed_rows
from bentobatch.errors import UsageError


def job(**options: object) -> BatchJob:
    values: dict[str, object] = {"input_files": ("/data/a.parquet",), "output_file": "/out.parquet", **options}
    return BatchJob("/bundle", "digest", "Name:1", "predict", **values)  # type: ignore[arg-type]


def test_a_job_survives_json() -> None:
    """Frozen data that any process can rebuild."""
    made = job(keep=("a", "b"), features=("x",), max_rejects="1%")
    assert BatchJob.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("limit", "allowed"), [(None, None), ("0", 0), ("10", 10), ("1%", 10), ("0.05%", 0), ("100%", 1000), (" 5 ", 5)]
)
def test_a_limit_is_a_count_or_a_share(limit: str | None, allowed: int | None) -> None:
    """Shares are of the input's rows, rounded down."""
    assert allowed_rows(limit, 1000, option="max_rejects") == allowed


@pytest.mark.parametrize("limit", ["-1", "x", "101%", "-3%", "1.5", "%"])
def test_a_limit_that_is_neither_is_refused_when_the_job_is_made(limit: str) -> None:
    """Before anything is scored."""
    with pytest.raises(UsageError, match="--max-rejects takes a count"):
        job(max_rejects=limit)


def test_a_job_has_inline_values_or_files_but_not_both() -> None:
    """And not neither."""
    with pytest.raises(UsageError, match="not both"):
        job(inputs=("[1]",))
    with pytest.raises(UsageError, match="not both"):
        job(input_files=())


@pytest.mark.parametrize("option", ["max_rejects", "max_discards", "rejects_file", "overwrite", "state_dir"])
def test_options_that_change_no_value_do_not_change_the_digest(option: str) -> None:
    """So that accepting rejects later finds the same plan."""
    changed = {"max_rejects": "5", "max_discards": "5", "rejects_file": "/r", "overwrite": True, "state_dir": "/s"}
    assert job(**{option: changed[option]}).values_digest() == job().values_digest()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("keep", ("id",)),
        ("batch_rows", 10),
        ("limit", 5),
        ("output_column", "p"),
        ("nulls", ("-",)),
        ("delimiter", ";"),
    ],
)
def test_options_that_change_values_change_the_digest(option: str, value: object) -> None:
    """So that old parts never mix with new ones."""
    assert job(**{option: value}).values_digest() != job().values_digest()
