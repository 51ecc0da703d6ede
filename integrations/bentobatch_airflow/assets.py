"""This module names outputs as Airflow assets, and tells their events what was written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

if TYPE_CHECKING:
    from airflow.sdk import Context


def asset_of(output: Any) -> Asset | None:
    """The asset of an output as it stands in the DAG file: of ``s3://out/{{ ds }}/`` it is ``s3://out/``, since an asset
    is the same from run to run. None where nothing is known before rendering, or for a relative path."""
    if not isinstance(output, str):
        return None
    fixed, template, _ = output.partition("{")
    if template:
        fixed = fixed.rpartition("/")[0]
    if "://" in fixed:
        return Asset(uri=fixed) if fixed.partition("://")[2] else None
    return Asset(uri=f"file://{os.path.normpath(fixed)}") if fixed.startswith("/") else None


def tell_assets(outlets: list[Any], report: Mapping[str, Any], context: Context) -> None:
    """Put the small report into the events of the assets that this task has made."""
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(report)
