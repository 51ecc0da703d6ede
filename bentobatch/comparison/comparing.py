"""This module compares two bundles over one input: it scores the rows with both, and puts the results side by side.

Each bundle gets what it would get in a run of its own, the columns and types that it declares, in child processes of its
own, or in another environment. The input is read once for both (see sides): what one model asks for is not what the
other one sees, since each chunk is settled by the plan of its own side.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bentobatch import runs
from bentobatch.comparison.cells import Tolerance, changed
from bentobatch.comparison.outputs import Output
from bentobatch.comparison.reading import SIDES
from bentobatch.comparison.sides import reads_once, score_apart, score_together
from bentobatch.comparison.tallies import ColumnTally, pairs_of
from bentobatch.engine.job import allowed_rows
from bentobatch.engine.place import absolute, place_at
from bentobatch.engine.publish import check_place, publish
from bentobatch.engine.report import Progress, RunReport
from bentobatch.errors import DataError, StorageError, UsageError
from bentobatch.formats.write import part_writer

_STATUS = "bentobatch_status"
_REFUSED = ("keep_all", "output_format", "status_column", "only_new", "state_dir", "rejects_file")
"""Options of a run that say what becomes of its output, which here is none that stays."""
_HOW = frozenset(signature(runs.run_job).parameters) - {"job", "isolated", "on_progress"}
"""The keywords that say how a job is run, and not what it is."""


@dataclass(frozen=True)
class Comparison:
    """What changed from ``old`` to ``new``, which tell each side's bundle, digest and environment.

    ``changed`` counts rows of which a prediction or the status (ok, discarded, rejected) is another one; ``statuses`` are
    [old, new, rows]. ``columns`` has, for each prediction column, ``changed`` rows, ``types``, ``nulls``, and for numbers
    ``nans``, ``mean`` and ``quantiles``, for few different values ``classes``; pairs are [old, new].
    """

    rows: int
    changed: int
    statuses: list[list[Any]]
    columns: dict[str, dict[str, Any]]
    old: dict[str, Any]
    new: dict[str, Any]
    output: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The changed rows' share of all, from 0 to 1."""
        return self.changed / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {**asdict(self), "changed_share": self.share}

    def within(self, limit: str | None) -> bool:
        """Whether no more rows changed than ``limit``, a count or a share such as "1%", allows; None allows all."""
        allowed = allowed_rows(limit, self.rows, option="max_changed")
        return allowed is None or self.changed <= allowed


def compare(
    old: str | Path,
    new: str | Path,
    api: str = "predict",
    *,
    new_api: str | None = None,
    old_env: str | Path | None = None,
    new_env: str | Path | None = None,
    output_file: str | Path | None = None,
    overwrite: bool = False,
    tolerance: str | float = "0",
    keep: Sequence[str] = (),
    isolated: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Comparison:
    """Score an input with two bundles, and compare the predictions row by row.

    ``api`` is that of both, ``new_api`` that of the new one where it has another name. The environments are as ``env`` of
    ``run``. ``output_file`` (.parquet, .csv, .jsonl, .arrow) gets the rows that changed: their position in the input
    (from 0), the columns of ``keep``, both statuses and both predictions. ``tolerance`` is how far a number may move: an
    amount, or a share of the old value such as "0.1%". All other keywords are those of ``bentobatch.run`` that say what
    is read and how it is shared out. Rejects and discards are compared like other results, and have no limit.
    ``isolated`` False, or the executor of a scheduler, makes two runs of it, one after the other.

    Raises:
        UsageError: the options make no sense, or the two sides have no prediction column in common.
        DataError: the input changed between two runs, or while it was read.
        BentobatchError: as ``bentobatch.run``.
    """
    started = time.monotonic()
    allowed = Tolerance.parse(str(tolerance))
    keep = tuple(keep)
    for name in _REFUSED:
        if options.get(name):
            raise UsageError(f"{name} has no meaning where two bundles are compared")
    target = None if output_file is None else _target(str(output_file), overwrite=overwrite)
    beside = None if target is None else os.path.dirname(target)
    with tempfile.TemporaryDirectory(prefix=".bentobatch-compare-", dir=beside) as folder:
        reports = _score(
            ((old, api, old_env), (new, new_api or api, new_env)),
            Path(folder),
            isolated=isolated,
            keep=keep,
            on_progress=on_progress,
            **options,
        )
        outputs = (Output(Path(folder) / "old.arrow"), Output(Path(folder) / "new.arrow"))
        if outputs[0].rows != outputs[1].rows:
            raise DataError(
                f"the input changed meanwhile: {outputs[0].rows:,} rows for the old bundle and {outputs[1].rows:,} for "
                "the new one; compare again"
            )
        found = _Sides(outputs, keep, allowed)
        found.walk(target)
        columns = {tally.name: tally.report(outputs, outputs[0].rows) for tally in found.tallies}
    seconds = {"old": reports[0].seconds["total"], "new": reports[1].seconds["total"]}
    return Comparison(
        rows=outputs[0].rows,
        changed=found.changed,
        statuses=[[*pair, count] for pair, count in sorted(found.statuses.items())],
        columns=columns,
        old=_described(reports[0]),
        new=_described(reports[1]),
        output=None if output_file is None else str(output_file),
        seconds={**seconds, "total": round(time.monotonic() - started, 3)},
    )


def _score(
    sides: Sequence[tuple[str | Path, str, str | Path | None]],
    folder: Path,
    *,
    isolated: bool,
    on_progress: Callable[[Progress], None] | None,
    **options: Any,
) -> list[RunReport]:
    """Score the input with each of ``sides``: a bundle, its api and environment. Outputs are ``old.arrow``, ``new.arrow``."""
    how = {name: options.pop(name) for name in _HOW if name in options}
    how["on_progress"] = on_progress
    jobs = [
        runs.make_job(
            bundle,
            called,
            output_file=folder / f"{side}.arrow",
            status_column=_STATUS,
            env=env,
            max_rejects=None,
            **options,
        )
        for side, (bundle, called, env) in zip(SIDES, sides, strict=True)
    ]
    if reads_once(how.get("executor", "auto"), isolated=isolated):
        return score_together(jobs, folder, **how)
    return score_apart(jobs, isolated=isolated, **how)


class _Sides:
    """The two outputs, chunk by chunk."""

    def __init__(self, outputs: tuple[Output, Output], keep: Sequence[str], tolerance: Tolerance) -> None:
        self.outputs = outputs
        self.keep = list(keep)
        self.tolerance = tolerance
        self.changed = 0
        self.statuses: dict[tuple[str, str], int] = {}
        names = [[name for name in output.schema.names if name not in (*keep, _STATUS)] for output in outputs]
        if not set(names[0]) & set(names[1]):
            raise UsageError(
                f"no prediction column is common to both: the old bundle makes {', '.join(names[0])}, and the new one "
                f"{', '.join(names[1])}"
            )
        self.tallies = [ColumnTally(name, *self._types(name)) for name in dict.fromkeys([*names[0], *names[1]])]
        self.schema = self._written_schema()

    def _types(self, name: str) -> tuple[Any, Any]:
        first, second = (
            output.schema.field(name).type if name in output.schema.names else None for output in self.outputs
        )
        return first, second

    def _written_schema(self) -> Any:
        fields = [pa.field("row", pa.int64()), *(self.outputs[0].schema.field(name) for name in self.keep)]
        fields += [pa.field(name, pa.string()) for name in ("status_old", "status_new")]
        for tally in self.tallies:
            for side, type in zip(("old", "new"), tally.types, strict=True):
                if type is not None:
                    fields.append(pa.field(f"{tally.name}_{side}", type))
        made = pa.schema(fields)
        twice = sorted({name for name in made.names if made.names.count(name) > 1})
        if twice:
            raise UsageError(
                f"--keep {', '.join(twice)}: the file of changed rows has a column of that name of its own"
            )
        return made

    def walk(self, target: str | None) -> None:
        """Count, and write the rows that changed."""
        if target is None:
            for _ in self._changes():
                pass
            return
        place = place_at(target)
        staged = Path(place.output).with_name(f".{place.name}.{os.getpid()}.tmp")
        try:
            with staged.open("wb") as sink:
                with part_writer(place.format, self.schema, sink) as writer:
                    for batch in self._changes():
                        writer.write(batch)
                sink.flush()
                os.fsync(sink.fileno())
            publish(staged, place)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
        finally:
            staged.unlink(missing_ok=True)

    def _changes(self) -> Any:
        """The changed rows, a record batch for each chunk."""
        start = 0
        for old, new in zip(self.outputs[0].chunks(), self.outputs[1].chunks(), strict=True):
            first, second = old.column(_STATUS), new.column(_STATUS)
            mask = changed(first, second, self.tolerance)
            for pair, count in pairs_of(first, second).items():
                self.statuses[pair] = self.statuses.get(pair, 0) + count
            columns: dict[str, Any] = {"status_old": first, "status_new": second}
            for tally in self.tallies:
                pair = tuple(_column(batch, tally.name) for batch in (old, new))
                mask |= tally.add(*pair, self.tolerance)
                columns |= {f"{tally.name}_{side}": column for side, column in zip(("old", "new"), pair, strict=True)}
            rows = np.flatnonzero(mask)
            self.changed += len(rows)
            if len(rows):
                columns |= {name: old.column(name) for name in self.keep}
                taken = [
                    pa.array(rows + start, pa.int64()) if name == "row" else columns[name].take(pa.array(rows))
                    for name in self.schema.names
                ]
                yield pa.RecordBatch.from_arrays(taken, schema=self.schema)
            start += old.num_rows


def _column(batch: Any, name: str) -> Any:
    """A column, or nulls where the side does not have it: each row with a value on the other side has changed."""
    return batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, pa.string())


def _target(path: str, *, overwrite: bool) -> str:
    made = absolute(path)
    place = place_at(made)
    if place.remote or not place.single:
        raise UsageError(f"--output-file {path}: give a local .parquet, .csv, .jsonl or .arrow file")
    check_place(place, overwrite=overwrite)
    return made


def _described(report: RunReport) -> dict[str, Any]:
    return {
        "bundle": report.bundle,
        "digest": report.bundle_digest,
        "rejected": report.rejected,
        "discarded": report.discarded,
        "environment": report.environment,
    }
