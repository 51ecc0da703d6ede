"""This package is an Airflow provider: operators, a decorator and triggers that run bentobatch jobs.

A DAG file imports from here; neither Airflow nor bentobatch's engine is imported before one of the names is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch_airflow.bundle_trigger import NewBundleTrigger
    from bentobatch_airflow.inference import BentoInferenceOperator
    from bentobatch_airflow.mapped import BentoCommitOperator, BentoPlanOperator, BentoSplitOperator
    from bentobatch_airflow.splits_trigger import BentoSplitsTrigger

__all__ = [
    "BentoCommitOperator",
    "BentoInferenceOperator",
    "BentoPlanOperator",
    "BentoSplitOperator",
    "BentoSplitsTrigger",
    "NewBundleTrigger",
    "get_provider_info",
]

_HOMES = {
    "BentoInferenceOperator": "inference",
    **dict.fromkeys(("BentoCommitOperator", "BentoPlanOperator", "BentoSplitOperator"), "mapped"),
    "BentoSplitsTrigger": "splits_trigger",
    "NewBundleTrigger": "bundle_trigger",
}
"""Where each public name lives, relative to this package."""
_INTEGRATION = "bentobatch"


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider manager asks for; nothing of Airflow is imported for it."""
    return {
        "package-name": "bentobatch",
        "name": "bentobatch",
        "description": "Score data with saved model bundles.",
        "versions": ["0.1.0"],
        "integrations": [{"integration-name": _INTEGRATION, "external-doc-url": "", "tags": ["software"]}],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["bentobatch_airflow.inference", "bentobatch_airflow.mapped"],
            }
        ],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["bentobatch_airflow.splits_trigger", "bentobatch_airflow.bundle_trigger"],
            }
        ],
        "task-decorators": [{"name": "bento", "class-name": "bentobatch_airflow.decorator.bento_task"}],
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
