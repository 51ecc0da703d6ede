"""This module keeps a copy of a job's bundle beside its plan, for workers on machines that do not have its folder.

The copy is an archive that nothing trusts: a worker unpacks it into its cache and verifies it, file by file, against the
digest in the plan.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from bentobatch.bundle.fetch import fetch
from bentobatch.bundle.layout import MANIFEST, SIGNATURES, open_member
from bentobatch.bundle.manifest import read_manifest
from bentobatch.engine.store import bring
from bentobatch.errors import BentobatchError, BundleError

if TYPE_CHECKING:
    from bentobatch.engine.job import BatchJob
    from bentobatch.engine.store import Store


def copy_name(plan_id: str) -> str:
    """Where the copy lies in a job's state; it goes with the parts when the output is committed."""
    return f"{plan_id}/bundle.zip"


def put_bundle(job: BatchJob, store: Store, plan_id: str) -> None:
    """Keep a copy of the job's bundle beside its plan, unless one is there."""
    name = copy_name(plan_id)
    if os.path.basename(name) in store.names(plan_id):
        return
    root = Path(job.bundle)
    # models hardly get smaller by compression, and a fixed time makes equal bundles equal archives
    with store.create(name) as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(_members(root)):
            with (
                open_member(root, path) as source,
                archive.open(zipfile.ZipInfo(path), "w", force_zip64=True) as member,
            ):
                while piece := source.read(1 << 20):
                    member.write(piece)


def _members(root: Path) -> set[str]:
    """The files of a bundle that its digest covers, and its signatures, which a worker's policy may ask for."""
    signatures = {SIGNATURES} if (root / SIGNATURES).is_file() else set()
    return {MANIFEST, *read_manifest(root).files} | signatures


def find_bundle(job: BatchJob, store: Store, plan_id: str) -> Path:
    """The folder of the job's bundle on this machine: its own where it holds the same, else the copy, verified.

    Raises:
        BundleError: neither is there.
    """
    folder = Path(job.bundle)
    try:
        if read_manifest(folder).digest == job.bundle_digest:
            return folder
    except BentobatchError:
        pass  # no bundle there, or not this one: the copy is looked at, and its absence is told
    if os.path.basename(copy_name(plan_id)) not in store.names(plan_id):
        raise BundleError(
            f"bundle {job.bundle_tag} is neither at {folder} on this machine nor beside the plan in {store.uri(plan_id)}:"
            " give the workers the folder, or start the run again with the command that starts it on a scheduler"
        )
    with tempfile.TemporaryDirectory(prefix="bentobatch-") as scratch:
        archive = Path(scratch) / "bundle.zip"
        bring(store, copy_name(plan_id), archive)
        return fetch(f"{archive}@sha256:{job.bundle_digest}")
