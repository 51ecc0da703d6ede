"""This package is bentobatch on Celery: jobs split over its workers, and queued single rows scored in batches.

Each name is imported when it is first used, so that a worker's main process, which forks, stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch_celery.executor import CeleryScheduler
    from bentobatch_celery.jobs import submit
    from bentobatch_celery.result import BentoResult
    from bentobatch_celery.tasks import register_tasks

__all__ = ["BentoResult", "CeleryScheduler", "register_tasks", "submit"]

_HOMES = {"BentoResult": "result", "CeleryScheduler": "executor", "register_tasks": "tasks", "submit": "jobs"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
