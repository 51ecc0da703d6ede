"""This module follows a worker process from its start to its end: it opens configured bundles, and ends its children."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from celery import Celery, signals

from bentobatch.engine import remote

_APPS: weakref.WeakSet[Celery] = weakref.WeakSet()


def serve(app: Celery) -> None:
    """Let the worker processes of ``app`` open its bundles when they start, and tidy up at their end."""
    _APPS.add(app)
    signals.worker_process_init.connect(_opened, weak=False, dispatch_uid="bentobatch-opened")
    signals.worker_init.connect(_started, weak=False, dispatch_uid="bentobatch-started")
    signals.worker_process_shutdown.connect(_closed, weak=False, dispatch_uid="bentobatch-closed")
    signals.worker_shutdown.connect(_closed, weak=False, dispatch_uid="bentobatch-shutdown")


def served_app() -> Celery | None:
    """The app that this worker serves: the current one, if bentobatch's tasks were registered with it."""
    from celery import current_app

    current = current_app._get_current_object()
    return current if current in _APPS else next(iter(_APPS), None)


def _started(sender: Any = None, **_: Any) -> None:
    """Pools of threads have no processes of their own to start."""
    pool = getattr(sender, "pool_cls", None)
    if "thread" in str(getattr(pool, "__module__", pool)):
        _opened()


def _opened(**_: Any) -> None:
    """Begin to load the configured bundles, on a thread: Celery ends a process that takes four seconds to start."""
    app = served_app()
    if app is None or not (app.conf.get("bentobatch_bundles") or os.environ.get("BENTOBATCH_CELERY_BUNDLES")):
        return
    threading.Thread(target=_open, args=(app,), daemon=True, name="bentobatch-open").start()


def _open(app: Celery) -> None:
    from bentobatch_celery.rows import open_bundles  # here: the main process of a pool of processes never needs it

    open_bundles(app)


def _closed(**_: Any) -> None:
    """End the children that score splits, and the threads that score rows."""
    import sys

    remote.close_servers()
    rows = sys.modules.get("bentobatch_celery.rows")
    if rows is not None:
        rows.close_bundles()
