"""This module says in OpenLineage's words what a task has read and written; its provider is installed when it is used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attr
from airflow.providers.openlineage.extractors.base import OperatorLineage
from openlineage.client.event_v2 import Dataset, OutputDataset
from openlineage.client.facet_v2 import RunFacet, output_statistics_output_dataset

from bentobatch_airflow.reports import COUNTS


@attr.define
class BentobatchRunFacet(RunFacet):
    """What the job was and what became of its rows."""

    plan_id: str = ""
    bundle: str = ""
    api: str = ""
    rows: int = 0
    rejected: int = 0
    discarded: int = 0
    already_done: bool = False


def lineage_of(report: Mapping[str, Any], input_file: Any) -> OperatorLineage:
    """Inputs and output as datasets, the output with its rows, and the run's facet ``bentobatch``."""
    written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=report["rows"])
    namespace, name = _place(report["output"])
    counts = {key: report[key] for key in (*COUNTS, "plan_id", "bundle", "api", "already_done")}
    return OperatorLineage(
        inputs=[Dataset(*_place(path)) for path in _several(input_file)],
        outputs=[OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": written})],
        run_facets={"bentobatch": BentobatchRunFacet(**counts)},
    )


def _several(paths: Any) -> list[str]:
    if isinstance(paths, Mapping):
        return [path for several in paths.values() for path in _several(several)]
    if isinstance(paths, Sequence) and not isinstance(paths, str):
        return [str(path) for path in paths]
    return [] if paths is None else [str(paths)]


def _place(path: str) -> tuple[str, str]:
    """(namespace, name) by OpenLineage's naming: ("s3://bucket", "a/b.parquet"), ("file", "/a/b.parquet")."""
    if "://" not in path:
        return "file", os.path.abspath(path)
    parts = urlsplit(path)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}", parts.path.lstrip("/") or "/"
