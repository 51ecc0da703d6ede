"""This module brings a bundle to the executors of a session, as an archive that is distributed once and unpacked there.

What is unpacked is verified, file by file, against the digest that the driver knows, before any of it runs.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from pyspark import SparkFiles
from pyspark.errors import PySparkException

from bentobatch.bundle.fetch import is_fetched
from bentobatch.engine.bundle_copy import put_bundle
from bentobatch.engine.store import LocalStore
from bentobatch.engine.stream import StreamScorer
from bentobatch.errors import UnavailableError
from bentobatch_spark.session import is_connect, one_line

_SHIPPED: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
"""For each session (or context) the archives that its executors get."""


def send_bundle(session: Any, scorer: StreamScorer) -> str | None:
    """Distribute the bundle of ``scorer``; returns the archive's name for ``shipped``. None for a bundle of a URL, which
    each executor fetches for itself.

    Raises:
        UnavailableError: Spark does not take it.
    """
    if is_fetched(scorer.job.bundle):
        return None
    name = f"bentobatch-{scorer.job.bundle_digest}"
    owner = session if is_connect(session) else session.sparkContext
    names = _SHIPPED.setdefault(owner, set())
    if name not in names:
        try:
            _distribute(session, owner, scorer, name)
        except (PySparkException, OSError) as error:
            raise UnavailableError(f"Spark does not take bundle {scorer.job.bundle_tag}: {one_line(error)}") from error
        names.add(name)
    return name


def shipped(scorer: StreamScorer, name: str | None) -> StreamScorer:
    """In a task: ``scorer`` with the bundle that ``send_bundle`` distributed under ``name``."""
    return scorer if name is None else scorer.moved_to(SparkFiles.get(name))


def _distribute(session: Any, owner: Any, scorer: StreamScorer, name: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bentobatch-spark-"))
    # executors ask for the file when they need it, the last of them perhaps at the session's end
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    put_bundle(scorer.job, LocalStore(str(folder)), name)
    archive = f"{folder / name / 'bundle.zip'}#{name}"
    if owner is session:
        session.addArtifacts(archive, archive=True)
    else:
        owner.addArchive(archive)
