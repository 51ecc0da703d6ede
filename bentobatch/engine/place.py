"""This module says where a job's output, state, rejects and lock lie, from the output path alone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bentobatch.engine.job import BatchJob
from bentobatch.engine.store import is_url
from bentobatch.errors import UsageError

EXTENSIONS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_NOT_WRITTEN = (".orc", ".json", ".txt", ".tsv", ".gz", ".zst", ".bz2", ".xlsx")
_PASSWORD = re.compile(r"://[^/@:]*:[^/@]*@")
FORMATS = ("parquet", "csv", "jsonl", "arrow")
SUFFIX = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl", "arrow": ".arrow"}


@dataclass(frozen=True)
class Place:
    """The paths of one job. ``single``: the output is one file, else a directory of parts with ``_SUCCESS``."""

    output: str
    format: str
    single: bool
    state: str
    rejects: str

    @property
    def remote(self) -> bool:
        """Whether the output lies in a bucket."""
        return is_url(self.output)

    @property
    def name(self) -> str:
        """The last part of the output's path."""
        return self.output.rstrip("/").rpartition("/")[2]


def place_of(job: BatchJob) -> Place:
    """Where the parts of ``job`` lie; it must have an output file.

    Raises:
        UsageError: the output format is unknown, or the path's extension says another.
    """
    assert job.output_file is not None
    return place_at(job.output_file, job.output_format, state_dir=job.state_dir, rejects_file=job.rejects_file)


def place_at(
    output: str, output_format: str | None = None, *, state_dir: str | None = None, rejects_file: str | None = None
) -> Place:
    """Where the parts of a job with this output lie; paths are absolute, or URLs.

    Raises:
        UsageError: as ``place_of``; or a URL holds a password, which would go into every message and record.
    """
    remote = is_url(output)
    for url in (output, state_dir or "", rejects_file or ""):
        if _PASSWORD.search(url):
            raise UsageError(
                "a URL of an output holds a user's password: give it as --storage-option password=... instead"
            )
    by_name = EXTENSIONS.get(os.path.splitext(output)[1].lower()) if not output.endswith("/") else None
    ending = os.path.splitext(output)[1].lower()
    if ending in _NOT_WRITTEN and not output_format:
        raise UsageError(
            f"{output}: {ending} files are not written; use one of {', '.join(EXTENSIONS)}, or say --output-format for a"
            " directory of that name"
        )
    chosen = output_format or by_name or "parquet"
    if chosen not in FORMATS:
        raise UsageError(f"unknown output format {chosen!r}; known are {', '.join(FORMATS)}")
    if by_name and chosen != by_name:
        raise UsageError(f"{output} ends like a {by_name} file, but --output-format says {chosen}: change one of them")
    output = output.rstrip("/") or output
    if remote:
        state = (
            f"{output.rpartition('/')[0]}/_bentobatch/{output.rpartition('/')[2]}"
            if by_name
            else f"{output}/_bentobatch"
        )
    else:
        folder, name = os.path.split(output)
        state = os.path.join(folder, f".{name}.bentobatch")
    if state_dir is not None:
        state = f"{state_dir.rstrip('/')}/{output.rpartition('/')[2]}.bentobatch"
    rejects = rejects_file or f"{output}.rejects.parquet"
    return Place(output, chosen, by_name is not None, state, rejects)


def absolute(path: str) -> str:
    """An absolute local path (links kept, since a user's name for a file is its name), or the URL itself."""
    return path if is_url(path) else os.path.abspath(os.path.expanduser(path))


def parent_of(path: str) -> Path:
    """The local folder that holds ``path``."""
    return Path(path).parent
