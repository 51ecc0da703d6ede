"""This package is bentobatch on Dask: jobs split over a cluster's workers, and predictions for Dask DataFrames.

Each name is imported when it is first used, since ``predict`` needs pandas and ``run_job`` does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch_dask.executor import DaskScheduler
    from bentobatch_dask.frames import predict
    from bentobatch_dask.jobs import run_job

__all__ = ["DaskScheduler", "predict", "run_job"]

_HOMES = {"DaskScheduler": "executor", "predict": "frames", "run_job": "jobs"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
