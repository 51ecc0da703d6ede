"""This module runs a job on a Dask cluster from Python, with the keywords of ``bentobatch.run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Client, default_client

from bentobatch import runs
from bentobatch.engine.job import BatchJob
from bentobatch.errors import UsageError
from bentobatch_dask.executor import DaskScheduler

if TYPE_CHECKING:
    from bentobatch.engine.report import RunReport


def run_job(
    job_or_bundle: BatchJob | str | Path,
    api: str = "predict",
    *,
    client: Client | None = None,
    address: str | None = None,
    workers: int | None = None,
    **keywords: Any,
) -> RunReport:
    """Score a job, or an input with a bundle, on Dask; all keywords of ``bentobatch.run`` but ``executor`` are taken.

    The cluster is that of ``client``, or at ``address``, else that of the client that is open in this process, else
    ``workers`` processes of this machine, for this run alone. Files are read and written by the workers, so that they
    have to see input, output and state by the same paths or URLs.

    Raises:
        BentobatchError: one of its subclasses, each with its ``exit_code``; see bentobatch.errors.
    """
    for name in ("executor", "executor_options"):
        if name in keywords:
            raise UsageError(f"{name} is no keyword here: this runs on Dask; bentobatch.run takes it")
    if client is None and address is None:
        client = _open_client()
    scheduler = DaskScheduler(workers, address=address, client=client)
    if not isinstance(job_or_bundle, BatchJob):
        return runs.run(job_or_bundle, api, executor=scheduler, workers=workers, **keywords)
    if job_or_bundle.api != api and api != "predict":
        raise UsageError(f"the job is of the api {job_or_bundle.api!r}, not {api!r}")
    return runs.run_job(job_or_bundle, executor=scheduler, workers=workers, **keywords)


def _open_client() -> Client | None:
    try:
        client = default_client()
    except ValueError:
        return None
    return None if client.asynchronous else client
