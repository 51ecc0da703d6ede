"""A scheduler's worker is told where a plan lies and a split's number; the rest it finds, guards and counts itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine import parts, remote
from bentobatch.engine.place import place_of
from bentobatch.engine.remote import KeptPlan, PlanServer, check_root, score_split, worker_storage_options
from bentobatch.engine.store import LocalStore
from bentobatch.errors import BundleError, UsageError
from bentobatch.runs import make_job, run_job
from tests.conformance.pool_scheduler import PoolScheduler
from tests.engine.test_promises import write_input


@pytest.fixture(autouse=True)
def _no_children() -> Any:
    yield
    remote.close_servers()


def planned(bundle: Path, tmp_path: Path, **options: Any) -> tuple[bentobatch.Plan, dict[str, str]]:
    """A plan over ten splits, and what a task on a scheduler carries of it."""
    if not (tmp_path / "in.parquet").exists():
        write_input(tmp_path / "in.parquet", 1000)
    job = make_job(
        bundle, input_file=tmp_path / "in.parquet", output_file=tmp_path / "o.parquet", split_rows=100, **options
    )
    plan = bentobatch.plan(job)
    return plan, KeptPlan(place_of(job).state, plan.plan_id).to_json()


def test_a_run_on_worker_processes_equals_a_local_one(bundles: Path, tmp_path: Path) -> None:
    """Value for value, file for file; the report names the scheduler and what it offered."""
    write_input(tmp_path / "in.parquet", 1000)
    options: dict[str, Any] = {"input_file": tmp_path / "in.parquet", "split_rows": 100, "keep": ["id"]}
    bentobatch.run(bundles / "linear", output_file=tmp_path / "local.parquet", **options)
    job = make_job(bundles / "linear", output_file=tmp_path / "pool.parquet", **options)
    report = run_job(job, executor=PoolScheduler(2))
    assert (report.executor, report.workers, report.rows, report.splits) == ("pool", 2, 1000, 10)
    assert pq.read_table(tmp_path / "pool.parquet").equals(pq.read_table(tmp_path / "local.parquet"))


def test_the_bundle_is_loaded_once_for_all_splits(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One child process scores them all, though each split is a task of its own."""
    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(tmp_path / "trace"))
    _, kept = planned(bundles / "linear", tmp_path)
    (tmp_path / "trace").unlink()
    for index in range(10):
        assert score_split(kept, index) == {"index": index, "counts": {"rejected": 0, "discarded": 0}}
    lines = (tmp_path / "trace").read_text().splitlines()
    assert len(lines) == 10
    assert len({line.split()[0] for line in lines}) == 1


def test_a_finished_split_is_not_scored_again(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler may deliver a task twice."""
    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(tmp_path / "trace"))
    _, kept = planned(bundles / "linear", tmp_path)
    (tmp_path / "trace").unlink()
    assert score_split(kept, 3) == score_split(kept, 3)
    assert len((tmp_path / "trace").read_text().splitlines()) == 1


def test_a_row_that_ends_its_process_is_found_and_costs_itself_alone(bundles: Path, tmp_path: Path) -> None:
    """The deaths are counted beside the output, and the worker process itself survives all of them."""
    table = pa.table({"x0": [float(i) for i in range(1000)], "x1": [1.0] * 1000})
    values = table.column("x0").to_pylist()
    values[555] = -2.0
    pq.write_table(table.set_column(0, "x0", pa.array(values)), tmp_path / "in.parquet")
    plan, kept = planned(bundles / "picky", tmp_path, max_rejects=1)
    answer = score_split(kept, 5)
    deaths = answer.pop("deaths")
    assert answer == {"index": 5, "counts": {"rejected": 1, "discarded": 0}}
    counted = parts.read_deaths(LocalStore(kept["state"]), plan.plan_id, plan.splits[5].key)
    assert len(deaths) == counted.count >= parts.MOST_DEATHS


def test_errors_come_back_as_values(bundles: Path, tmp_path: Path) -> None:
    """A scheduler's own retries are for lost workers: what the job does wrong reaches the driver as its class and text."""
    _, kept = planned(bundles / "linear", tmp_path)
    assert score_split(kept, 10)["error"]["type"] == "UsageError"
    assert "no plan" in score_split({**kept, "plan_id": "0" * 16}, 0)["error"]["message"]
    outcome = remote.outcome_from_json(score_split(kept, -1))
    assert isinstance(outcome.error, UsageError)


def test_a_worker_without_the_bundles_folder_takes_the_copy_beside_the_plan(bundles: Path, tmp_path: Path) -> None:
    """It is verified against the plan's digest; without folder and copy the error says what to do."""
    shutil.copytree(bundles / "linear", tmp_path / "bundle")
    plan, kept = planned(tmp_path / "bundle", tmp_path)
    store = LocalStore(kept["state"])
    from bentobatch.engine.bundle_copy import put_bundle

    put_bundle(plan.job, store, plan.plan_id)
    shutil.rmtree(tmp_path / "bundle")
    assert score_split(kept, 0)["counts"] == {"rejected": 0, "discarded": 0}
    remote.close_servers()
    shutil.rmtree(bentobatch_home() / "cache")
    store.delete(f"{plan.plan_id}/bundle.zip")
    with pytest.raises(BundleError, match="neither at"):
        PlanServer(KeptPlan(**kept))


def test_a_changed_copy_of_the_bundle_is_refused(bundles: Path, tmp_path: Path) -> None:
    """Whoever can write beside the output cannot give the workers other code than the plan's."""
    shutil.copytree(bundles / "linear", tmp_path / "bundle")
    plan, kept = planned(tmp_path / "bundle", tmp_path)
    from bentobatch.engine.bundle_copy import put_bundle

    other = make_job(bundles / "picky", input_file=tmp_path / "in.parquet", output_file=tmp_path / "x.parquet")
    put_bundle(other, LocalStore(kept["state"]), plan.plan_id)
    shutil.rmtree(tmp_path / "bundle")
    assert score_split(kept, 0)["error"]["type"] == "BundleError"


def bentobatch_home() -> Path:
    from bentobatch.settings import read_settings

    return read_settings().home


def test_a_worker_may_name_the_only_roots_that_it_takes_plans_from(tmp_path: Path) -> None:
    """A message in a queue names a folder, and the plan there names a bundle whose code would run."""
    (tmp_path / "allowed").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    roots = {remote.ROOTS: f"{tmp_path}/allowed\ns3://bucket/out/"}
    for good in (f"{tmp_path}/allowed/.o.bentobatch", "s3://bucket/out/_bentobatch"):
        check_root(good, roots)
    for bad in (
        f"{tmp_path}/allowed2/x",
        f"{tmp_path}/allowed/../x",
        f"{tmp_path}/allowed",
        "s3://bucket/out/../x",
        "s3://bucket/outside",
        f"{tmp_path}/link/x",
        "relative",
    ):
        with pytest.raises(UsageError, match="takes plans below"):
            check_root(bad, roots)
    check_root("/anywhere", {})


def test_storage_options_of_a_worker_are_its_own_and_never_shown() -> None:
    """They come from the worker's environment; a mistake in them is told without their text."""
    assert worker_storage_options({}) is None
    assert worker_storage_options({remote.STORAGE_OPTIONS: json.dumps({"key": "k"})}) == {"key": "k"}
    for text in ("sécret", "[]", '"x"'):
        with pytest.raises(UsageError, match="JSON object") as caught:
            worker_storage_options({remote.STORAGE_OPTIONS: text})
        assert text not in str(caught.value)
