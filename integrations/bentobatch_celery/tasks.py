"""This module registers bentobatch's tasks with a Celery app: splits of kept plans, their commit, and queued rows.

Messages are JSON and hold where a plan is kept, its id and numbers of splits; or, for ``predict``, rows and the name of a
bundle that the worker is configured with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery, Task

from bentobatch.errors import BentobatchError, UsageError
from bentobatch_celery import split_tasks, worker

SCORE_SPLIT = "bentobatch.score_split"
SCORE_SPLITS = "bentobatch.score_splits"
COMMIT = "bentobatch.commit"
PREDICT = "bentobatch.predict"
JSON = "json"
_JSON_TYPES = {JSON, "application/json"}


def register_tasks(app: Celery) -> Celery:
    """Add bentobatch's tasks to ``app``, which is returned. Call it after the app was configured.

    The app takes and sends JSON only, and its workers take one message at a time for each of their processes. An app that
    registers tasks a second time has those of the first.

    Raises:
        UsageError: the app is configured to take or send anything but JSON.
    """
    check_json(app)
    app.conf.update(
        accept_content=[JSON],
        result_accept_content=[JSON],
        task_serializer=JSON,
        result_serializer=JSON,
        worker_prefetch_multiplier=1,
    )
    # a task ends when its work is done and acknowledged; one whose process is lost is delivered again
    late = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": None, "throws": (BentobatchError,)}
    app.task(_score_split, name=SCORE_SPLIT, bind=True, ignore_result=True, **late)
    app.task(_score_splits, name=SCORE_SPLITS, bind=True, ignore_result=True, **late)
    app.task(_commit, name=COMMIT, bind=True, **late)
    # at most once: a row that ends its process would otherwise end one worker after the other
    app.task(_predict, name=PREDICT, bind=True, acks_late=False, throws=(BentobatchError,))
    worker.serve(app)
    return app


def check_json(app: Celery) -> None:
    """Refuse an app that reads or writes anything but JSON.

    Raises:
        UsageError: it does.
    """
    for name in ("accept_content", "result_accept_content"):
        other = sorted(set(app.conf[name] or ()) - _JSON_TYPES)
        if other:
            raise UsageError(
                f"the Celery app {app.main!r} takes {', '.join(other)} ({name}); such a message can run any code: set"
                " accept_content = ['json'], and give tasks that need more an app of their own"
            )
    for name in ("task_serializer", "result_serializer"):
        if app.conf[name] not in _JSON_TYPES:
            raise UsageError(f"the Celery app {app.main!r} sends {app.conf[name]} ({name}): set it to 'json'")


def _score_split(self: Task, kept: Mapping[str, str], index: int) -> None:
    """Score one split, for a leader that reads its outcome beside the plan."""
    split_tasks.score_split(self, kept, index)


def _score_splits(self: Task, kept: Mapping[str, str], splits: str) -> None:
    """Score the first of these splits ("0-99,104") that is not finished, and send the rest on as a message."""
    split_tasks.score_splits(self, kept, splits)


def _commit(self: Task, kept: Mapping[str, str]) -> dict[str, Any]:
    """Publish the output; the report."""
    return split_tasks.commit(self, kept)


def _predict(
    self: Task,
    bundle: str,
    row: Any = None,
    *,
    rows: list[Any] | None = None,
    api: str = "predict",
    timeout: float | None = None,
) -> Any:
    """The answer for ``row``, or a list of them for ``rows``; see rows.predict. ``timeout`` is in seconds.

    Raises:
        DataError, ModelError: the one ``row`` was refused by the api; of ``rows``, such a one has {"error": …}.
    """
    from bentobatch_celery.rows import (
        predict,
        row_error,
    )  # here: a worker's main process forks, and must not hold pyarrow

    if rows is not None:
        return predict(self.app, bundle, rows, api=api, timeout=timeout)
    (answer,) = predict(self.app, bundle, [row], api=api, timeout=timeout)
    error = row_error(answer)
    if error is not None:
        raise error
    return answer
