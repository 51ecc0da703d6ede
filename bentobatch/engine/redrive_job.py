"""This module makes the job of a redrive from what the output's state folder tells of its parent; without pyarrow, since
a leader uses it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.earlier import Earlier, standing
from bentobatch.engine.job import BatchJob, allowed_rows
from bentobatch.engine.place import Place, absolute, place_of
from bentobatch.engine.store import is_url, store_at
from bentobatch.errors import DataError, NoInputError, UsageError

AS_PARENT = "parent"
"""The limit that lets a redrive lose no more rows than its parent did (rejects), or was allowed to (discards)."""


def find_parent(
    output: str, *, state_dir: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> tuple[BatchJob, Earlier]:
    """The job that made the output that stands at this path, as if it had been given this path, and its commit.

    Raises:
        UsageError: the output lies in a bucket.
        NoInputError: there is no output.
        DataError: nobody knows how it was made.
    """
    made = absolute(output)
    if is_url(made) or (state_dir is not None and is_url(state_dir)):
        raise UsageError(
            f"redrive works on outputs on a local disk, not in a bucket such as {made}; copy the output and its state folder"
            " here, or run again in full with --overwrite"
        )
    if not os.path.lexists(made):
        raise NoInputError(f"No such output: {made}")
    if os.path.isdir(made):
        made += "/"  # a directory, whatever its name ends in
    state = None if state_dir is None else absolute(state_dir)
    place = _place(made, state)
    store = store_at(place.state, storage_options)
    found = standing(place, store, storage_options)
    data = None if found is None else store.read(parts.plan_name(found.plan_id))
    if found is None or data is None:
        raise DataError(
            f"{place.output} was changed, or made by something else: no commit record in {place.state} speaks of it (is"
            " --state-dir missing?); run again in full"
        )
    job = BatchJob.from_json(json.loads(data)["job"])
    return replace(job, output_file=made if made.endswith("/") else place.output, state_dir=state), found


def redrive_job(
    parent: BatchJob,
    earlier: Earlier,
    *,
    bundle: tuple[str, str, str],
    max_rejects: str | None,
    max_discards: str | None,
) -> BatchJob:
    """The job that scores the lost rows of ``parent`` again with ``bundle`` (folder, digest, tag). A share is one of all
    rows of the output."""
    folder, digest, tag = bundle
    if max_rejects == AS_PARENT:
        max_rejects = str(earlier.record["rejected"])
    if max_discards == AS_PARENT:
        max_discards = parent.max_discards
    rejects = allowed_rows(max_rejects, earlier.rows, option="max_rejects")
    discards = allowed_rows(max_discards, earlier.rows, option="max_discards")
    return replace(
        parent,
        bundle=folder,
        bundle_digest=digest,
        bundle_tag=tag,
        redrive=earlier.plan_id,
        only_new=False,
        overwrite=False,
        max_rejects=None if rejects is None else str(rejects),
        max_discards=None if discards is None else str(discards),
    )


def _place(output: str, state_dir: str | None) -> Place:
    """Where an output's state lies, which nothing else of its job changes."""
    return place_of(
        BatchJob(
            bundle="", bundle_digest="", bundle_tag="", api="", inputs=("",), output_file=output, state_dir=state_dir
        )
    )
