"""What stands between a message and a split: the app's settings, the roots, who works, and how often a message came."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeoutError

import bentobatch
from bentobatch.engine.remote import KeptPlan
from bentobatch.errors import ModelError, UnavailableError, UsageError
from bentobatch_celery import BentoResult, CeleryScheduler, register_tasks, submit
from bentobatch_celery.app import make_app
from bentobatch_celery.broker import PINGS, slots
from bentobatch_celery.deliveries import MOST_LOST, BusyError, Delivery, delivery_of, note_sent, working_on
from bentobatch_celery.numbers import from_text, shared_out, to_text
from bentobatch_celery.state import JobState, RunRecord
from bentobatch_celery.tasks import COMMIT, PREDICT, SCORE_SPLIT, SCORE_SPLITS
from tests.integrations.celery.conftest import BROKERS, Workers, started, wait_for
from tests.integrations.celery.test_jobs import WAIT, local_and


@pytest.mark.slow
def test_a_visibility_timeout_shorter_than_a_split_changes_nothing(
    watched: Path, flowers: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Redis gives the message to a second process while the first still scores: that one sees it, waits, and finds the
    receipt. (Here it looks every second; kombu does so every hundred by itself.)"""
    folder = tmp_path_factory.mktemp("visibility")
    (folder / "short_app.py").write_text(
        "from bentobatch_celery.app import app\n"
        "options = {'visibility_timeout': 1, 'unacked_restore_interval': 1, 'unacked_restore_throttle': 1}\n"
        "app.conf.broker_transport_options = options\n"
    )
    options, expected, _ = local_and(watched, flowers, split_rows=500)
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    roots = str(tmp_path_factory.getbasetemp())
    with started(
        "redis",
        folder / "worker",
        *("-c", "2"),
        app="short_app:app",
        PYTHONPATH=path,
        BENTOBATCH_LEASE_SECONDS="3",
        BENTOBATCH_WORKER_ROOTS=roots,
    ) as workers:
        workers.sleeps(5)
        result = submit(workers.app, watched, overwrite=True, restart=True, **{**options, "split_rows": 500})
        state = JobState(result.kept)
        report = result.get(WAIT)
        log = workers.log.read_text()
    assert pq.read_table(options["output_file"]).equals(expected)
    assert (report["rows"], len(workers.trace())) == (1000, 2)
    assert log.count("bentobatch.score_splits[") > 2 * 2  # received more often than twice, each twice in the log
    assert not state.store.names(state.name("deliveries"))


def test_the_command_line_runs_on_celery(watched: Path, flowers: Path, rabbitmq: Workers) -> None:
    """A process of its own with --executor celery --broker; stdout is the output's alone."""
    arguments = ["run", str(watched), "predict", "--input-file", str(flowers), "--split-rows", "500", "--keep", "id"]
    arguments += ["--state-dir", str(flowers.parent), "--output-file", str(flowers.parent / "o.jsonl")]
    done = subprocess.run(
        [sys.executable, "-m", "bentobatch", *arguments, "--executor", "celery", "--broker", BROKERS["rabbitmq"]],
        env={**os.environ, "BENTOBATCH_CELERY_QUEUE": rabbitmq.queue, "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "executor celery" in done.stderr
    assert "Traceback" not in done.stderr
    rows = [json.loads(line) for line in (flowers.parent / "o.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(1000))


def test_without_workers_or_broker_it_is_said_so(
    watched: Path, flowers: Path, rabbitmq: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 69 in one line, without the broker's password, and before anything is queued."""
    options: dict[str, Any] = {"input_file": flowers, "output_file": flowers.parent / "o.parquet"}
    with pytest.raises(UnavailableError, match=r"redis://:\*\*@127.0.0.1:1/0 does not answer") as caught:
        bentobatch.run(
            watched, executor="celery", executor_options={"broker": "redis://:secret@127.0.0.1:1/0"}, **options
        )
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="this broker cannot be used"):
        CeleryScheduler(broker="nonsense://x").open(KeptPlan("/x", "0"), splits=1, split_timeout=None)
    other = make_app(BROKERS["rabbitmq"])
    other.conf.task_default_queue = "bentobatch-nobody-listens"
    with pytest.raises(UnavailableError, match="none takes from the queue 'bentobatch-nobody-listens'"):
        slots(other, SCORE_SPLIT)
    assert PINGS > 1
    monkeypatch.setattr("bentobatch_celery.broker.PINGS", 1)
    with pytest.raises(UnavailableError, match=r"no Celery worker answers at memory://.*start one"):
        slots(make_app("memory://"), SCORE_SPLIT)


def test_workers_that_go_away_in_mid_run_are_noticed(
    watched: Path, flowers: Path, rabbitmq: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader does not wait for ever for tasks that nobody takes."""
    scheduler = CeleryScheduler(app=rabbitmq.app, workers=1)
    kept = kept_plan(watched, flowers)
    assert scheduler.open(kept, splits=10, split_timeout=None) == 1
    monkeypatch.setattr("bentobatch_celery.executor.LOST_SECONDS", 0.0)
    monkeypatch.setattr("bentobatch_celery.executor.workers_answer", lambda app: False)
    scheduler._running.add(11)
    with pytest.raises(UnavailableError, match="no Celery worker answers any more, and 1 splits are queued"):
        scheduler.poll(0.1)
    scheduler.cancel()
    scheduler.close()
    assert JobState(kept).revoked()


def kept_plan(bundle: Path, flowers: Path) -> KeptPlan:
    """A plan of ten splits, kept beside its output."""
    from bentobatch.engine.place import place_of
    from bentobatch.runs import make_job

    job = make_job(bundle, input_file=flowers, output_file=flowers.parent / "planned.parquet", split_rows=100)
    return KeptPlan(place_of(job).state, bentobatch.plan(job).plan_id)


def test_an_app_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As celery -A does, also in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bentobatch_found_app.py").write_text(
        "from celery import Celery\nqueue = Celery('mine', broker='memory://', set_as_current=False)\nother = 3\n"
    )
    assert CeleryScheduler(app="bentobatch_found_app:queue").app.main == "mine"
    for name, match in (("bentobatch_found_app:other", "no Celery app but int"), ("nowhere:app", "give MODULE:NAME")):
        with pytest.raises(UsageError, match=match):
            CeleryScheduler(app=name)
    with pytest.raises(UsageError, match="one of broker and app"):
        CeleryScheduler(app="x:y", broker="memory://")


def test_an_app_takes_json_only() -> None:
    """One that is configured for more is refused, and tasks are acknowledged when they are done."""
    for setting in (
        {"accept_content": ["json", "pickle"]},
        {"task_serializer": "yaml"},
        {"result_serializer": "pickle"},
    ):
        app = Celery("unsafe", set_as_current=False)
        app.conf.update(setting)
        with pytest.raises(UsageError, match="json"):
            register_tasks(app)
    app = register_tasks(Celery("safe", set_as_current=False))
    assert register_tasks(app) is app
    assert (app.conf.accept_content, app.conf.worker_prefetch_multiplier) == (["json"], 1)
    for name in (SCORE_SPLIT, SCORE_SPLITS, COMMIT):
        assert (app.tasks[name].acks_late, app.tasks[name].reject_on_worker_lost) == (True, True)
    assert not app.tasks[PREDICT].acks_late


def test_a_message_names_a_plan_below_the_workers_roots_only(
    watched: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is read or written where it does not."""
    kept = kept_plan(watched, flowers)
    monkeypatch.setenv("BENTOBATCH_WORKER_ROOTS", str(flowers.parent))
    assert JobState.of_worker(kept.to_json()).kept == kept
    for bad, match in (
        ({"state": "/etc/x", "plan_id": kept.plan_id}, "takes plans below"),
        ({"state": kept.state, "plan_id": "../x"}, "no id of a plan"),
        ({"state": kept.state}, "the place and the id"),
        ({"state": 3, "plan_id": "0"}, "the place and the id"),
        ("x", "the place and the id"),
    ):
        with pytest.raises(UsageError, match=match):
            JobState.of_worker(bad)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no run of plan"):
        JobState.of_worker(kept.to_json()).run()
    JobState(kept).stop(ModelError("x"))
    assert not Path(kept.state, kept.plan_id, "celery").exists()


def test_who_works_is_seen_and_who_was_lost_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that proves that it lives keeps others away; one that is gone, or silent, does not."""
    monkeypatch.setenv("BENTOBATCH_LEASE_SECONDS", "30")
    state = JobState(KeptPlan(str(tmp_path), "0"))
    with working_on(state, "k", told="split 0"):
        assert delivery_of(state, "k").works
        with pytest.raises(BusyError) as caught, working_on(state, "k", told="split 0"):
            pass
        assert caught.value.seconds == 5.0
    assert (delivery_of(state, "k").works, delivery_of(state, "k").lost) == (False, 0)
    note_sent(state, "k", "1-9")
    assert delivery_of(state, "k").sent == ["1-9"]
    silent = {"lost": 1, "beat": time.time() - 31, "process": "", "working": True, "sent": []}
    state.write(silent, "deliveries", "k")
    with working_on(state, "k", told="split 0"):
        assert delivery_of(state, "k").lost == 2
    assert delivery_of(state, "k").lost == 1
    state.write({**silent, "lost": MOST_LOST}, "deliveries", "k")
    with (
        pytest.raises(ModelError, match=f"split 0: {MOST_LOST} Celery workers were lost"),
        working_on(state, "k", told="split 0"),
    ):
        pass
    assert not Delivery(beat=time.time()).works


def test_a_run_is_seen_from_any_process(tmp_path: Path) -> None:
    """By the place of its plan alone; it ends with a time-out where nothing comes."""
    kept = KeptPlan(str(tmp_path), "0" * 16)
    state = JobState(kept)
    state.begin(RunRecord(began=1.0, splits=3))
    result = BentoResult(make_app("memory://"), kept.to_json())
    assert (result.id, result.state, result.progress()) == (
        state.run().id,
        "PENDING",
        {"splits_done": 0, "splits_total": 3},
    )
    with pytest.raises(CeleryTimeoutError, match="has not ended after 0 s"):
        result.get(0)
    result.revoke()
    assert (result.state, result.ready()) == ("REVOKED", True)


def test_numbers_of_splits_are_short_texts() -> None:
    """Shared out in neighbours; what is no such text is refused before it takes memory."""
    assert to_text([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert from_text("0-2,5,7-8", 9) == [0, 1, 2, 5, 7, 8]
    assert shared_out(range(100_000), 1000)[:2] == ["0-99", "100-199"]
    assert shared_out([3, 4, 9], 1000) == ["3", "4", "9"]
    assert shared_out([], 10) == []
    for bad in ("", "a", "1-", "3-1", "5,4", "0-999999999", "1" * 20, "0-9;", 3):
        with pytest.raises(UsageError, match="splits"):
            from_text(bad, 10)  # type: ignore[arg-type]


def test_a_run_whose_output_another_run_has_written_says_so(watched: Path, flowers: Path, rabbitmq: Workers) -> None:
    """No lease is held between planning and commit; whoever commits first removes the plans of others."""
    output = flowers.parent / "o.parquet"
    rabbitmq.sleeps(0.3)
    result = submit(rabbitmq.app, watched, input_file=flowers, output_file=output, split_rows=100)
    wait_for(lambda: len(rabbitmq.trace()) >= 1)
    bentobatch.run(watched, executor="inline", input_file=flowers, output_file=output, limit=10)
    with pytest.raises(UsageError, match="another run has written this output"):
        result.get(WAIT)
