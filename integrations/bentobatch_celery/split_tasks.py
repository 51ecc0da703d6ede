"""This module is what the tasks of a job do: to score splits, one a message, and to commit after the last of them.

Every task may be delivered twice, or after the run has ended; then it finds that beside the plan, and does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Task
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore

from bentobatch.engine import parts, remote
from bentobatch.engine.driver import BACKOFF_SECONDS, MOST_RETRIES
from bentobatch.engine.wire import error_from_json
from bentobatch.errors import BentobatchError, LockedError, UnavailableError
from bentobatch_celery.committing import commit_plan
from bentobatch_celery.deliveries import BusyError, delivery_of, note_sent, working_on
from bentobatch_celery.numbers import from_text, to_text
from bentobatch_celery.state import JobState, RunRecord, to_json

_LOG = logging.getLogger("bentobatch")
MOST_LOCKED = 10
"""So often a commit waits for another run that holds the lease, up to LONGEST_WAIT seconds each time."""
LONGEST_WAIT = 30.0
PROGRESS_SECONDS = 2.0
"""A process tells a result backend of a run's progress no more often than that."""
_told = {"at": 0.0}


def score_split(task: Task, kept: Mapping[str, str], index: int) -> None:
    """Score one split and leave the outcome for the leader of the run, who decides what follows from it."""
    state = JobState.of_worker(kept)
    run = state.run()
    if _over(state, run):
        return
    try:
        outcome = _scored(state, run, index)
    except BusyError as busy:
        _later(task, run, busy)
        return
    except BentobatchError as error:
        outcome = {"index": index, "error": to_json(error)}
    state.write(outcome, "outcomes", str(index))


def score_splits(task: Task, kept: Mapping[str, str], splits: str) -> None:
    """Score one of these splits and send the others on; after the last of all, let the run be committed.

    Raises:
        BentobatchError: a split failed for good, and the run is stopped.
        celery.exceptions.Retry: a service does not answer; the message comes again.
    """
    state = JobState.of_worker(kept)
    run = state.run()
    if _over(state, run):
        return
    try:
        with _stopping(task, state, run):
            _go_on(task, state, run, splits)
    except BusyError as busy:
        _later(task, run, busy)


def _go_on(task: Task, state: JobState, run: RunRecord, splits: str) -> None:
    keys = remote.server_of(state.kept.to_json()).keys
    numbers = from_text(splits, len(keys))
    for place, index in enumerate(numbers):
        rest = to_text(numbers[place + 1 :])
        scored = parts.read_receipt(state.store, state.kept.plan_id, keys[index]) is None
        if scored:
            result = _scored(state, run, index)
            if "error" in result:
                raise error_from_json(result["error"])
            _tell(task, state, run)
        if not rest:
            break
        if rest in delivery_of(state, keys[index]).sent:
            return  # another delivery of this message went on from here
        if scored:
            task.apply_async(args=[state.kept.to_json(), rest], queue=run.queue)
            note_sent(state, keys[index], rest)
            return
    if state.all_finished(keys):
        # two tasks may both see that they were the last: a second commit finds that nothing is left to do
        send_commit(task.app, state, run)


def send_commit(app: Any, state: JobState, run: RunRecord) -> None:
    """Let a worker commit; the task's id is the run's."""
    app.send_task("bentobatch.commit", args=[state.kept.to_json()], task_id=run.id, queue=run.queue)


def commit(task: Task, kept: Mapping[str, str]) -> dict[str, Any]:
    """Publish the output; the report.

    Raises:
        BentobatchError: it cannot be published, and the run is stopped.
        celery.exceptions.Retry: another run works on this output, or a service does not answer.
        celery.exceptions.Ignore: the run was stopped, or another delivery commits; the result is not this one's to tell.
    """
    state = JobState.of_worker(kept)
    run = state.run()
    if state.stopped() is not None:
        raise Ignore
    record = state.committed(run)
    try:
        if record is None:
            with _stopping(task, state, run), working_on(state, "commit", told="the commit"):
                record = commit_plan(state, run)
            state.clear()
            remote.close_server(state.kept.to_json())
    except BusyError as busy:
        _later(task, run, busy)
        raise Ignore from busy
    from bentobatch_celery.reports import report_of

    return report_of(state, run, record).to_json()


def _scored(state: JobState, run: RunRecord, index: int) -> dict[str, Any]:
    """What ``PlanServer.score`` tells of a split that is scored now, or was before."""
    server = remote.server_of(state.kept.to_json())
    key = server.keys[index] if 0 <= index < len(server.keys) else str(index)
    with working_on(state, key, told=f"split {index}"):
        return server.score(index, split_timeout=run.split_timeout)


def _over(state: JobState, run: RunRecord) -> bool:
    """Whether the run has ended, one way or the other."""
    over = state.stopped() is not None or state.committed(run) is not None
    if over:
        remote.close_server(state.kept.to_json())
    return over


@contextlib.contextmanager
def _stopping(task: Task, state: JobState, run: RunRecord) -> Iterator[None]:
    """Turns errors into what becomes of the run: another try some seconds later, or its end."""
    try:
        yield
    except BentobatchError as error:
        tries = task.request.retries
        most = MOST_LOCKED if isinstance(error, LockedError) else MOST_RETRIES
        if isinstance(error, (UnavailableError, LockedError)) and tries < most:
            wait = min(BACKOFF_SECONDS * 2**tries, LONGEST_WAIT)
            _LOG.warning("%s; trying again in %g s", error, wait)
            # a retry keeps its task's id; the error is in the log, since a backend would have to import its class
            raise task.retry(countdown=wait, queue=run.queue) from error
        state.stop(error)
        task.backend.mark_as_failure(run.id, error)
        raise


def _later(task: Task, run: RunRecord, busy: BusyError) -> None:
    """Look again after a while. A new message and no retry: that another delivery works is no failure to be counted."""
    options = {"task_id": run.id} if task.name == "bentobatch.commit" else {}
    task.apply_async(
        args=task.request.args, kwargs=task.request.kwargs, countdown=busy.seconds, queue=run.queue, **options
    )


def _tell(task: Task, state: JobState, run: RunRecord) -> None:
    """Progress as the state of the run's task, where there is a backend to hold it."""
    if isinstance(task.backend, DisabledBackend) or time.monotonic() - _told["at"] < PROGRESS_SECONDS:
        return
    _told["at"] = time.monotonic()
    meta = {"splits_done": state.finished(), "splits_total": run.splits}
    task.update_state(task_id=run.id, state="PROGRESS", meta=meta)
    error = state.stopped()
    if error is not None and not state.revoked():  # by another task, meanwhile: a backend keeps what was told last
        task.backend.mark_as_failure(run.id, error)
