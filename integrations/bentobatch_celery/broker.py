"""This module reaches an app's broker and workers, or says in one line why it cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from bentobatch.errors import UnavailableError, UsageError

PING_SECONDS = 1.0
PINGS = 5
"""A worker that is busy starting, on a busy machine, may miss the first."""
_UNTIL_ALL_HAVE = 10.0


@contextlib.contextmanager
def reaching(app: Celery, *, try_first: bool = True) -> Iterator[None]:
    """Turns what the broker raises into one line, in which its address is shown without the password. With ``try_first``
    a connection is tried at once.

    Raises:
        UnavailableError: the broker does not answer.
        UsageError: no such kind of broker, or its library is not installed.
    """
    try:
        with app.connection_for_write() as connection:
            place = connection.as_uri()
            known = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
            if try_first:
                connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=10)
    except (KeyError, ImportError) as error:
        raise UsageError(f"this broker cannot be used: {_line(error)}; give one such as redis://host:6379/0") from error
    except Exception as error:
        if not isinstance(error, (KombuError, OSError)):
            raise
        raise _silent(app, error) from error
    try:
        yield
    except known as error:
        raise UnavailableError(f"the broker at {place} went away: {_line(error)}; run the same again") from error


def slots(app: Celery, task: str) -> int:
    """How many tasks of this name the workers that are there run at a time.

    Raises:
        UnavailableError: no worker answers, or none knows the task and takes it from this app's queue.
    """
    inspect = _answering(app)
    place = app.connection_for_write().as_uri()
    knowing = {
        name for name, tasks in (inspect.registered() or {}).items() if any(item.startswith(task) for item in tasks)
    }
    queue = app.amqp.router.route({}, task)["queue"].name
    listening = {
        name
        for name, queues in (inspect.active_queues() or {}).items()
        if any(item["name"] == queue for item in queues or ())
    }
    if not knowing & listening:
        reason = (
            f"takes from the queue {queue!r}" if knowing else "has bentobatch's tasks: call register_tasks(app) there"
        )
        raise UnavailableError(f"Celery workers answer at {place}, but none {reason}")
    stats = inspect.stats() or {}
    found = [(stats.get(name) or {}).get("pool", {}).get("max-concurrency", 1) for name in knowing & listening]
    return max(1, sum(count for count in found if isinstance(count, int)))


def workers_answer(app: Celery) -> bool:
    """Whether any worker is there."""
    return bool(app.control.ping(timeout=PING_SECONDS))


def _answering(app: Celery) -> Any:
    for _ in range(PINGS):
        names = [name for reply in app.control.ping(timeout=PING_SECONDS) or () for name in reply]
        if names:
            # by name, so that nobody waits once all have answered
            return app.control.inspect(destination=names, limit=len(names), timeout=_UNTIL_ALL_HAVE)
    raise UnavailableError(
        f"no Celery worker answers at {app.connection_for_write().as_uri()}: start one (celery -A bentobatch_celery.app"
        " worker), then run the same command"
    )


def _silent(app: Celery, error: BaseException) -> UnavailableError:
    place = app.connection_for_write().as_uri()
    return UnavailableError(
        f"the broker at {place} does not answer ({_line(error)}): is it running, and the address right?"
    )


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
