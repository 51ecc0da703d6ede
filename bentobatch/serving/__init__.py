"""This module is the online case: requests of few rows, joined into record batches and scored together.

``create_app`` makes the Flask application of a bundle. It is imported when it is asked for, so that who needs the
micro-batcher alone needs no Flask.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch.serving.app import create_app
    from bentobatch.serving.exchange import ServedService
    from bentobatch.serving.options import ServingOptions

__all__ = ["ServedService", "ServingOptions", "create_app"]

_HOMES = {"create_app": "app", "ServedService": "exchange", "ServingOptions": "options"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bentobatch.errors import MissingDependencyError

    try:
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name not in ("flask", "werkzeug"):
            raise
        raise MissingDependencyError(
            "the online server needs the library flask, which is not installed: pip install 'bentobatch[server]'"
        ) from error
    globals()[name] = value
    return value
