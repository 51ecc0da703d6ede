"""This package is an Airflow provider: operators that run bentobatch jobs."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider manager asks for; nothing of Airflow is imported for it."""
    return {
        "package-name": "bentobatch",
        "name": "bentobatch",
        "description": "Score data with saved model bundles.",
        "versions": ["0.1.0"],
    }
