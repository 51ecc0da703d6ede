"""This module holds the job: frozen, JSON-able data that says what to score, with which bundle, into which output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from bentobatch.devices import checked_device
from bentobatch.errors import UsageError
from bentobatch.expectations import parse

DEFAULT_BATCH_ROWS = 65_536
"""Rows of one call of the api: past this, calls of common models get no cheaper, and memory only grows."""
DEFAULT_BATCH_BYTES = 128 << 20
"""Bytes of one call's input, for wide rows."""
DEFAULT_SPLIT_ROWS = 262_144
"""Rows of one split: a few seconds of work at most for common models, so little is lost when a worker dies."""
DEFAULT_NULLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A")
"""The spellings of null in CSV."""


@dataclass(frozen=True)
class BatchJob:
    """What to score. Paths are absolute or URLs; credentials are never part of a job.

    ``bundle`` is the folder of the bundle, ``bundle_digest`` its content digest. ``inputs`` are inline values, each one
    a text; ``input_files`` are files, globs, directories or URLs; ``named_files`` are such for each input of an api with
    several, by its name: a job has one of the three. ``files_root`` is the folder of the files that a column of paths
    names, by default the table's own. ``output_file`` None means JSON lines for the caller to print. ``max_rejects`` and
    ``max_discards`` are a count ("10") or a share of the input's rows ("1%"); None is no limit. ``expect`` holds lines of
    the grammar in ``expectations``, checked before the commit. They, ``rejects_file`` and ``overwrite`` change no value
    and are left out of the plan id.

    ``only_new`` scores what the committed output directory does not hold and adds it there. ``redrive`` is the id of
    the plan whose lost rows are scored again; ``runs.redrive`` makes such a job. ``env`` is the environment that workers
    run in (see environments.choosing), None the one of their leader; what is installed there, and not this text, is part
    of the plan id. ``device`` is where models that can lie on a GPU are loaded, None what the worker's environment says
    (see devices.py); the kind of device that they came to lie on is part of the plan id (see model_devices). ``reading``
    is where a process reads the input for this job and another one (see shared_reading), None where workers do.
    """

    bundle: str
    bundle_digest: str
    bundle_tag: str
    api: str
    inputs: tuple[str, ...] = ()
    input_files: tuple[str, ...] = ()
    named_files: tuple[tuple[str, tuple[str, ...]], ...] = ()
    files_root: str | None = None
    format: str | None = None
    delimiter: str = ","
    nulls: tuple[str, ...] = DEFAULT_NULLS
    output_file: str | None = None
    output_format: str | None = None
    output_column: str = "prediction"
    status_column: str | None = None
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    exclude: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    limit: int | None = None
    batch_rows: int = DEFAULT_BATCH_ROWS
    batch_bytes: int = DEFAULT_BATCH_BYTES
    split_rows: int = DEFAULT_SPLIT_ROWS
    state_dir: str | None = None
    allow_pickle: bool = True
    max_rejects: str | None = "0"
    max_discards: str | None = None
    expect: tuple[str, ...] = ()
    rejects_file: str | None = None
    overwrite: bool = False
    only_new: bool = False
    redrive: str | None = None
    env: str | None = None
    device: str | None = None
    reading: str | None = None

    def __post_init__(self) -> None:
        if [bool(self.inputs), bool(self.input_files), bool(self.named_files)].count(True) != 1:
            raise UsageError("a job needs either inline values (--input) or files (--input-file), and not both")
        if self.device is not None:
            checked_device(self.device)
        for name in ("batch_rows", "batch_bytes", "split_rows"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"limit must be 0 or more, not {self.limit}")
        if len(self.delimiter) != 1:
            raise UsageError(f"the delimiter must be one character, not {self.delimiter!r}")
        if self.only_new:
            self._check_only_new()
        for option in ("max_rejects", "max_discards"):
            allowed_rows(getattr(self, option), 0, option=option)
        for line in self.expect:
            parse(line)

    def _check_only_new(self) -> None:
        if self.named_files:
            raise UsageError("--only-new does not know what belongs together: leave it out with --input-file-NAME")
        if self.inputs or self.output_file is None:
            raise UsageError("--only-new needs files (--input-file) and a directory to add to (--output-file)")
        if self.limit is not None:
            raise UsageError("--only-new and --limit exclude each other: a file would be held that was scored in part")
        if self.overwrite:
            raise UsageError("--only-new adds to the output and --overwrite replaces it: give one of them")

    @property
    def builds_on_output(self) -> bool:
        """Whether the commit is made from the output that stands, which is thus no reason to refuse."""
        return self.only_new or self.redrive is not None

    def to_json(self) -> dict[str, Any]:
        """The job as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BatchJob:
        """The job that ``to_json`` wrote."""
        tuples = {"inputs", "input_files", "nulls", "keep", "exclude", "features", "expect"}
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in data.items() if name in known}
        for name in tuples & values.keys():
            values[name] = None if values[name] is None else tuple(values[name])
        if "named_files" in values:
            values["named_files"] = tuple((name, tuple(paths)) for name, paths in values["named_files"])
        return cls(**values)

    def values_digest(self, **settled: Any) -> str:
        """A digest of the options that change values or their place, and of what planning settled."""
        silent = {"bundle", "bundle_tag", "max_rejects", "max_discards", "rejects_file", "overwrite", "state_dir"}
        silent |= {"expect", "only_new"}
        silent |= {"allow_pickle", "env", "device", "reading"}
        options = {name: value for name, value in self.to_json().items() if name not in silent}
        return digest_of({"options": options, "settled": settled})


def digest_of(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of ``value``; names with undecodable bytes are allowed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def allowed_rows(limit: str | None, rows: int, *, option: str) -> int | None:
    """How many rows a limit allows: "10" is a count, "1%" a share of ``rows``, None has no end.

    Raises:
        UsageError: the limit is neither.
    """
    if limit is None:
        return None
    text = str(limit).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            if not 0 <= share <= 100:
                raise ValueError
            return int(rows * share / 100)
        count = int(text)
        if count < 0:
            raise ValueError
    except ValueError:
        flag = "--" + option.replace("_", "-")
        raise UsageError(f"{flag} takes a count such as 10 or a share such as 1%, not {limit!r}") from None
    return count
