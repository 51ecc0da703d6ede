"""A job on Celery is a local run elsewhere: the same output and report, whatever becomes of workers and messages."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.errors import ModelError, OutputError, TooManyRejectsError, UnavailableError, UsageError
from bentobatch.runs import make_job
from bentobatch_celery import BentoResult, CeleryScheduler, submit
from bentobatch_celery.deliveries import MOST_LOST
from bentobatch_celery.state import JobState
from bentobatch_celery.tasks import COMMIT, SCORE_SPLITS
from tests.integrations.celery.conftest import Workers, wait_for, with_x0

SAME = (
    "plan_id",
    "bundle",
    "bundle_digest",
    "api",
    "output",
    "rejects_file",
    "rows",
    "scored",
    "rejected",
    "discarded",
    "files",
    "splits",
    "splits_reused",
    "rows_reused",
    "features",
    "feature_rule",
)
WAIT = 120.0


def local_and(bundle: Path, flowers: Path, **more: Any) -> tuple[dict[str, Any], Any, Any]:
    """The options of a job of ten splits, the table that a local run makes of them, and its report."""
    output = flowers.parent / "out.parquet"
    options = {"input_file": flowers, "output_file": output, "split_rows": 100, "keep": ["id"], **more}
    report = bentobatch.run(bundle, executor="processes", workers=1, **options)
    return options, pq.read_table(output), report


def test_output_and_report_are_those_of_a_local_run(watched: Path, flowers: Path, workers: Workers) -> None:
    """Submitted, and with --executor: value for value; only executor, workers and seconds tell them apart."""
    options, expected, local = local_and(watched, flowers, status_column="status")
    result = submit(workers.app, watched, overwrite=True, restart=True, **options)
    report = result.get(WAIT)
    assert [report[name] for name in SAME] == [getattr(local, name) for name in SAME]
    assert (report["executor"], report["already_done"]) == ("celery", False)
    assert set(report["seconds"]) >= {"total", "plan", "read", "model", "write"}
    assert pq.read_table(options["output_file"]).equals(expected)
    assert (result.state, result.progress()) == ("SUCCESS", {"splits_done": 10, "splits_total": 10})
    if workers.broker == "redis":  # the one with a result backend
        task = workers.app.AsyncResult(result.id)
        assert wait_for(lambda: task.state == "SUCCESS")
        assert task.result == {**report, "features": list(report["features"])}
    calls = len(workers.trace())
    again = submit(workers.app, watched, overwrite=True, **options).get(WAIT)
    assert (again["already_done"], again["splits_reused"], len(workers.trace())) == (True, 10, calls)
    options["output_file"] = flowers.parent / "other.parquet"
    run = bentobatch.run(watched, executor=CeleryScheduler(app=workers.app), **options)
    assert (run.executor, run.workers, run.splits, run.scored) == ("celery", 2, 10, 1000)
    assert pq.read_table(options["output_file"]).equals(expected)


def test_a_killed_worker_process_costs_its_split_only(watched: Path, flowers: Path, workers: Workers) -> None:
    """SIGKILL in mid-split: the message is delivered again, no finished split is scored again, the output is the same."""
    options, expected, _ = local_and(watched, flowers)
    workers.sleeps(0.5)
    result = submit(workers.app, watched, overwrite=True, restart=True, **options)
    os.kill(wait_for(lambda: len(workers.trace()) >= 3 and workers.trace()[-1][1]), signal.SIGKILL)
    report = result.get(WAIT)
    assert (report["rows"], report["splits"], report["rejected"]) == (1000, 10, 0)
    assert pq.read_table(options["output_file"]).equals(expected)
    assert len(workers.trace()) <= 11
    assert len({parent for _, parent, _ in workers.trace()}) == 3


def test_messages_that_come_twice_change_nothing(watched: Path, flowers: Path, workers: Workers) -> None:
    """While the run goes on, and after its end: each split is scored once, and nothing is left beside the plan."""
    options, expected, _ = local_and(watched, flowers)
    workers.sleeps(0.2)
    result = submit(workers.app, watched, overwrite=True, restart=True, **options)
    kept = result.kept.to_json()
    for splits in ("0-9", "0-4", "5-9"):
        workers.app.send_task(SCORE_SPLITS, args=[kept, splits])
    result.get(WAIT)
    for name, arguments in ((SCORE_SPLITS, [kept, "0-9"]), (COMMIT, [kept])):
        workers.app.send_task(name, args=arguments)
    assert pq.read_table(options["output_file"]).equals(expected)
    assert len(workers.trace()) == 10
    follower = submit(workers.app, watched, **{**options, "output_file": flowers.parent / "after.parquet"})
    follower.get(WAIT)
    state = Path(result.kept.state, result.kept.plan_id)
    assert not (state / "receipts").exists()
    assert not (state / "parts").exists()


def test_a_row_that_raises_and_one_that_ends_its_process_cost_themselves(
    bundles: Path, flowers: Path, rabbitmq: Workers
) -> None:
    """Bisected as everywhere, in a child of the worker's process; the rejects are those of a local run."""
    with_x0(flowers, 150, -1.0)
    with_x0(flowers, 555, -2.0)
    options, expected, _ = local_and(bundles / "picky", flowers, max_rejects=2)
    rejects = Path(f"{options['output_file']}.rejects.parquet")
    expected_rejects = pq.read_table(rejects)
    report = submit(rabbitmq.app, bundles / "picky", overwrite=True, restart=True, **options).get(WAIT)
    assert (report["rejected"], report["scored"], report["rejects_file"]) == (2, 998, str(rejects))
    assert pq.read_table(options["output_file"]).equals(expected)
    assert pq.read_table(rejects).equals(expected_rejects)


@pytest.mark.slow
def test_a_split_that_ends_worker_after_worker_ends_the_run(watched: Path, flowers: Path, rabbitmq: Workers) -> None:
    """The Celery process itself dies each time: the deliveries are counted beside the output, and at last it is enough."""
    with_x0(flowers, 555, -10.0)
    output = flowers.parent / "out.parquet"
    result = submit(rabbitmq.app, watched, input_file=flowers, output_file=output, split_rows=100)
    with pytest.raises(ModelError, match=f"split 5: {MOST_LOST} Celery workers were lost in the middle of it"):
        result.get(WAIT)
    assert result.state == "FAILURE"
    assert not output.exists()
    with_x0(flowers, 555, 1.0)
    assert (
        submit(rabbitmq.app, watched, input_file=flowers, output_file=output, split_rows=100).get(WAIT)["rows"] == 1000
    )


def test_an_error_of_the_job_ends_the_run_and_is_raised(bundles: Path, flowers: Path, workers: Workers) -> None:
    """Its class and its line arrive, splits that are still queued are not scored, and the executor raises it too."""
    with_x0(flowers, 0, -4.0)
    options: dict[str, Any] = {
        "input_file": flowers,
        "output_file": flowers.parent / "out.parquet",
        "split_rows": 100,
    }
    job = make_job(bundles / "picky", "numbers", **options)
    result = submit(workers.app, job)
    assert result.get(WAIT)["rows"] == 1000
    with_x0(flowers, 0, 1.0)
    with_x0(flowers, 500, -4.0)
    options["overwrite"] = True
    result = submit(workers.app, bundles / "picky", **options)
    with pytest.raises(ModelError, match="returned 99 rows for 100"):
        result.get(WAIT)
    assert (result.state, BentoResult(workers.app, result.kept.to_json()).ready()) == ("FAILURE", True)
    with pytest.raises(ModelError, match="returned 99 rows for 100"):
        bentobatch.run(bundles / "picky", executor=CeleryScheduler(app=workers.app), **options)
    if workers.broker == "redis":
        assert workers.app.AsyncResult(result.id).state == "FAILURE"


def test_too_many_rejects_are_found_at_the_commit_and_accepted_later(
    watched: Path, flowers: Path, rabbitmq: Workers
) -> None:
    """As in a local run nothing is scored again."""
    with_x0(flowers, 150, 1.5)
    options: dict[str, Any] = {"input_file": flowers, "output_file": flowers.parent / "o.parquet", "split_rows": 100}
    with_x0(flowers, 150, -1.0)
    with pytest.raises(TooManyRejectsError, match="1 of 1,000 rows were rejected"):
        submit(rabbitmq.app, watched, **options).get(WAIT)
    calls = len(rabbitmq.trace())
    report = submit(rabbitmq.app, watched, max_rejects=1, **options).get(WAIT)
    assert (report["rejected"], report["splits_reused"]) == (1, 10)
    assert len(rabbitmq.trace()) == calls


def test_a_service_that_does_not_answer_is_asked_again_for_a_while(
    watched: Path, flowers: Path, rabbitmq: Workers
) -> None:
    """Three times, with growing pauses; then the run ends with that error."""
    with_x0(flowers, 950, -5.0)
    result = submit(rabbitmq.app, watched, input_file=flowers, output_file=flowers.parent / "o.parquet", split_rows=500)
    with pytest.raises(UnavailableError, match="asks for a retry: the feature store is down"):
        result.get(WAIT)
    assert len(rabbitmq.trace()) == 1 + 4


def test_a_revoked_run_stops_and_can_be_gone_on_with(watched: Path, flowers: Path, workers: Workers) -> None:
    """By another executor too: all state is beside the output."""
    options, expected, _ = local_and(watched, flowers)
    workers.sleeps(0.5)
    result = submit(workers.app, watched, overwrite=True, restart=True, **options)
    wait_for(lambda: result.progress()["splits_done"] >= 1)
    assert result.state == "PROGRESS"
    result.revoke()
    with pytest.raises(UnavailableError, match="was revoked"):
        result.get(WAIT)
    assert result.state == "REVOKED"
    wait_for(lambda: not any(rest for rest in _working(result)))
    done = result.progress()["splits_done"]
    assert 1 <= done < 10
    report = bentobatch.run(watched, executor="inline", overwrite=True, **options)
    assert (report.splits_reused, report.rows) == (done, 1000)
    assert pq.read_table(options["output_file"]).equals(expected)


def _working(result: BentoResult) -> list[bool]:
    from bentobatch_celery.deliveries import delivery_of

    state = JobState(result.kept)
    return [delivery_of(state, name).working for name in state.store.names(state.name("deliveries"))]


def test_what_no_run_could_be_made_of_is_refused_at_once(watched: Path, flowers: Path, rabbitmq: Workers) -> None:
    """Nothing is sent, and nothing is left beside the output."""
    app = rabbitmq.app
    with pytest.raises(UsageError, match="needs an output_file"):
        submit(app, watched, input_file=flowers)
    with pytest.raises(UsageError, match="executor is no keyword"):
        submit(app, watched, executor="threads", input_file=flowers, output_file=flowers.parent / "o")
    job = make_job(watched, input_file=flowers, output_file=flowers.parent / "o.parquet")
    with pytest.raises(UsageError, match="of the api 'predict', not 'double'"):
        submit(app, job, "double")
    with pytest.raises(UsageError, match="has its options already"):
        submit(app, job, keep=["id"])
    (flowers.parent / "o.parquet").write_bytes(b"mine")
    with pytest.raises(OutputError, match="overwrite"):
        submit(app, job)
    assert (flowers.parent / "o.parquet").read_bytes() == b"mine"


def test_a_submitted_job_is_told_to_the_outside_by_its_commit(
    watched: Path, flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody drives it from its start to its end; the worker that commits knows all the rows."""
    import bentobatch
    from bentobatch.runs import make_job
    from bentobatch_celery.committing import commit_plan, plan_job

    monkeypatch.setenv("BENTOBATCH_METRICS_FILE", str(tmp_path / "run.prom"))
    job = make_job(watched, input_file=flowers, output_file=tmp_path / "out.parquet", split_rows=500)
    state, run, _ = plan_job(job)
    plan = bentobatch.plan(job)
    for index in range(len(plan.splits)):
        bentobatch.run_split(plan, index)
    assert commit_plan(state, run)["rows"] == 1000
    told = (tmp_path / "run.prom").read_text()
    assert [
        line for line in told.splitlines() if line.startswith("bentobatch_run_rows_total") and line.endswith(" 1000")
    ]
    assert "bentobatch_run_last_success_timestamp_seconds" in told
