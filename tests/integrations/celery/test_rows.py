"""Queued rows are joined into record batches before the model is called, and each caller gets its own answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bentobatch.errors import DataError, DeadlineError, ModelError, UsageError
from bentobatch_celery import rows
from bentobatch_celery.app import make_app
from tests.integrations.celery.conftest import REDIS, Workers, bundles_variable, started, wait_for

PREDICT = "bentobatch.predict"


@pytest.fixture(scope="module")
def threads(watched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A worker process of 32 threads that is configured with one bundle."""
    bundles = bundles_variable(watched={"bundle": str(watched), "max_wait_ms": 5, "max_batch_size": 100})
    folder = tmp_path_factory.mktemp("threads") / "worker"
    arguments = ("--pool", "threads", "--concurrency", "32")
    with started("redis", folder, *arguments, backend=REDIS, BENTOBATCH_CELERY_BUNDLES=bundles) as workers:
        yield workers


def test_rows_of_many_callers_share_calls_of_the_model(threads: Workers) -> None:
    """While the model is busy with some, the others gather; each answer is the one of its own row, and a row that the
    model refuses fails alone."""
    threads.calm()
    threads.sleeps(0.3)
    tasks = [
        threads.app.send_task(PREDICT, args=["watched", {"x0": -1 if number == 13 else number, "x1": 0.5}])
        for number in range(64)
    ]
    for number, task in enumerate(tasks):
        if number == 13:
            with pytest.raises(ModelError, match="ValueError: x0 is -1"):
                task.get(timeout=60)
        else:
            assert task.get(timeout=60) == {"prediction": 3.0 * number + 0.5}
    calls = [scored for _, _, scored in threads.trace()]
    assert len(calls) < 32
    assert max(calls) > 8


def test_the_forms_of_rows(threads: Workers) -> None:
    """Several rows at a time, in any order of columns or by position; values of JSON as they are."""
    threads.calm()
    many = threads.app.send_task(
        PREDICT, args=["watched"], kwargs={"rows": [{"x1": 1.0, "x0": 1.0}, {"x0": -1.0, "x1": 0}]}
    )
    assert many.get(timeout=60) == [
        {"prediction": 4.0},
        {"error": {"stage": "model", "type": "ValueError", "message": "x0 is -1"}},
    ]
    assert threads.app.send_task(PREDICT, args=["watched", [2.0, 0.0]]).get(timeout=60) == {"prediction": 6.0}
    doubled = threads.app.send_task(PREDICT, args=["watched", "ab"], kwargs={"api": "double"})
    assert doubled.get(timeout=60) == {"prediction": "abab"}


def test_what_cannot_be_answered_is_an_error_of_its_own(threads: Workers) -> None:
    """A message names a bundle of the worker's, never a folder; errors arrive with their class."""
    for arguments, error, match in (
        ([str(threads.control), {"x0": 1.0}], UsageError, "no bundle .* configured are: watched"),
        (["watched", {"x0": 1.0}], DataError, "x1"),
        (["watched", {"x0": "a", "x1": 1.0}], ModelError, "TypeError"),
    ):
        with pytest.raises(error, match=match):
            threads.app.send_task(PREDICT, args=arguments).get(timeout=60)
    with pytest.raises(DeadlineError):
        threads.app.send_task(PREDICT, args=["watched", [1.0, 1.0]], kwargs={"timeout": 0.0}).get(timeout=60)


def test_a_message_that_is_a_pickle_is_refused_unread(threads: Workers, tmp_path: Path) -> None:
    """Its content would be code; the worker goes on with the next message."""
    import pickle

    canary = tmp_path / "executed"

    class Canary:
        def __reduce__(self) -> Any:
            return (Path.touch, (canary,))

    headers = {"task": PREDICT, "id": "canary", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
    with threads.app.connection_for_write() as connection:
        producer = connection.Producer()
        producer.publish(
            pickle.dumps(Canary()),
            routing_key=threads.queue,
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers=headers,
        )
    assert threads.app.send_task(PREDICT, args=["watched", [1.0, 0.0]]).get(timeout=60) == {"prediction": 3.0}
    wait_for(lambda: b"ContentDisallowed" in threads.log.read_bytes())
    assert not canary.exists()


def test_a_bundle_is_opened_before_its_first_row(threads: Workers) -> None:
    """By the process that will need it, when it starts."""
    wait_for(lambda: b"the bundle watched is loaded" in threads.log.read_bytes())


def test_bundles_are_configured_by_name(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the app's configuration or in the environment; a mistake there is told as such."""
    app = make_app("memory://")
    assert rows.configured_bundles(app) == {}
    monkeypatch.setenv(rows.BUNDLES, bundles_variable(fraud="fraud:latest"))
    assert rows.configured_bundles(app) == {"fraud": "fraud:latest"}
    app.conf.bentobatch_bundles = {"a": str(watched)}
    assert rows.configured_bundles(app) == {"a": str(watched)}
    for entry in (3, {"bundle": "x", "batch": 1}, {}):
        app.conf.bentobatch_bundles = {"a": entry}
        with pytest.raises(UsageError, match="'a' of this worker is configured with"):
            rows.predict(app, "a", [1], api="predict", timeout=None)
    app.conf.bentobatch_bundles = None
    for text in ("{", "[]"):
        monkeypatch.setenv(rows.BUNDLES, text)
        with pytest.raises(UsageError, match="must be a JSON object"):
            rows.configured_bundles(app)
