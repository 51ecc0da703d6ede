"""This module is a Celery app that is configured by environment variables alone: ``celery -A bentobatch_celery.app worker``.

CELERY_BROKER_URL and CELERY_RESULT_BACKEND are Celery's own. BENTOBATCH_CELERY_QUEUE is the queue (default: celery), and
BENTOBATCH_CELERY_BUNDLES names the bundles for queued rows; see rows.py.
"""

from __future__ import annotations

import os

from celery import Celery

from bentobatch_celery.tasks import register_tasks

QUEUE = "BENTOBATCH_CELERY_QUEUE"


def make_app(broker: str | None = None) -> Celery:
    """A new app. ``broker`` is its URL, by default that of the environment."""
    app = Celery("bentobatch", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_default_queue=os.environ.get(QUEUE) or "celery",
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if broker is not None:
        # not broker_url: CELERY_BROKER_URL would win over it
        app.conf.update(broker_read_url=broker, broker_write_url=broker)
    return register_tasks(app)


app = make_app()
