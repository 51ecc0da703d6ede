"""This module names the adapters; each is imported at its first use, so that importing the package costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch.adapters.arrow import ArrowInput
    from bentobatch.adapters.base import LINE_COLUMN, Converted, InputAdapter, OutputAdapter
    from bentobatch.adapters.dataframe import DataframeInput
    from bentobatch.adapters.json_values import JsonInput, StringInput
    from bentobatch.adapters.outputs import DataframeOutput, DefaultOutput, JsonOutput
    from bentobatch.adapters.results import result_length, settle_result

__all__ = [
    "LINE_COLUMN",
    "ArrowInput",
    "Converted",
    "DataframeInput",
    "DataframeOutput",
    "DefaultOutput",
    "InputAdapter",
    "JsonInput",
    "JsonOutput",
    "OutputAdapter",
    "StringInput",
    "result_length",
    "settle_result",
]

_HOMES = {
    "LINE_COLUMN": "base",
    "ArrowInput": "arrow",
    "Converted": "base",
    "DataframeInput": "dataframe",
    "DataframeOutput": "outputs",
    "DefaultOutput": "outputs",
    "InputAdapter": "base",
    "JsonInput": "json_values",
    "JsonOutput": "outputs",
    "OutputAdapter": "base",
    "StringInput": "json_values",
    "result_length": "results",
    "settle_result": "results",
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
