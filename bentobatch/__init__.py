"""This package scores data with saved model bundles, offline first; here are its public names.

Each name is imported from its home when it is first used: importing the package has no effect and costs next to
nothing, so that workers and command lines start fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch import errors
    from bentobatch.bento_service import BentoService, load
    from bentobatch.engine.job import BatchJob
    from bentobatch.engine.report import RunReport
    from bentobatch.errors import (
        BentobatchError,
        BundleError,
        DataError,
        LockedError,
        MissingDependencyError,
        ModelError,
        NoInputError,
        OutputError,
        Retryable,
        StorageError,
        TooManyRejectsError,
        UnavailableError,
        UsageError,
    )
    from bentobatch.runs import commit, plan, redrive, run, run_split
    from bentobatch.service.declarations import api, artifacts, env, ver, web_static_content
    from bentobatch.tasks import InferenceError, InferenceResult, InferenceTask

__version__ = "0.1.0"

__all__ = [
    "BatchJob",
    "BentoService",
    "BentobatchError",
    "BundleError",
    "DataError",
    "InferenceError",
    "InferenceResult",
    "InferenceTask",
    "LockedError",
    "MissingDependencyError",
    "ModelError",
    "NoInputError",
    "OutputError",
    "Retryable",
    "RunReport",
    "StorageError",
    "TooManyRejectsError",
    "UnavailableError",
    "UsageError",
    "__version__",
    "api",
    "artifacts",
    "commit",
    "env",
    "errors",
    "load",
    "plan",
    "redrive",
    "run",
    "run_split",
    "ver",
    "web_static_content",
]

_HOMES = {
    "BatchJob": "engine.job",
    **dict.fromkeys(("BentoService", "load"), "bento_service"),
    "RunReport": "engine.report",
    **dict.fromkeys(("commit", "plan", "redrive", "run", "run_split"), "runs"),
    **dict.fromkeys(("api", "artifacts", "env", "ver", "web_static_content"), "service.declarations"),
    **dict.fromkeys(("InferenceError", "InferenceResult", "InferenceTask"), "tasks"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error") and name != "InferenceError"), "errors"),
    "Retryable": "errors",
}
"""Where each public name lives, relative to this package."""


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module(f"{__name__}.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
