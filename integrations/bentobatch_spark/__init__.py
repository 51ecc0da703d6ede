"""This package is bentobatch on Spark: jobs split over executors, and predictions for Spark DataFrames.

As in bentobatch itself, each name is imported from its home when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch_spark.executor import SparkScheduler
    from bentobatch_spark.files import run_job
    from bentobatch_spark.frames import map_in_arrow, map_in_pandas, predict
    from bentobatch_spark.sql import register_udf

__all__ = ["SparkScheduler", "map_in_arrow", "map_in_pandas", "predict", "register_udf", "run_job"]

_HOMES = {
    "SparkScheduler": "executor",
    "run_job": "files",
    **dict.fromkeys(("map_in_arrow", "map_in_pandas", "predict"), "frames"),
    "register_udf": "sql",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
