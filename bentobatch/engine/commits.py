"""This module makes finished parts the output: counted, assembled, and visible all at once or not at all.

Order: count the rows, check the limits, stage the output, note what is about to appear, publish the rejects, publish the
output, note that it is done, drop the parts. A crash between any two leaves the old output or the new one, and the same
command ends the work.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.boot import sync_disk
from bentobatch.engine.limits import over_limits
from bentobatch.engine.objects import Found
from bentobatch.engine.parts import Receipt
from bentobatch.engine.place import Place
from bentobatch.engine.plan import Plan, schema_to_text
from bentobatch.engine.publish import check_place, identity, publish
from bentobatch.engine.staging import Staging
from bentobatch.engine.store import (
    LocalStore,
    Store,
    bucket,
    bucket_errors,
    end_uploads,
    is_url,
    remove,
    whole_file,
)
from bentobatch.errors import ExpectationError, LockedError, StorageError, TooManyRejectsError
from bentobatch.expectations import ColumnCounts, counts_from_json, parse, unmet

_LOG = logging.getLogger("bentobatch")
_COPY = 1 << 20


class Commit(Staging):
    """The commit of one plan whose splits are all finished."""

    def run(self) -> dict[str, Any]:
        """Publish the output; the record of the commit. A plan that is committed already is left as it is.

        Raises:
            TooManyRejectsError: more rows were lost than the limits allow; the parts are kept, the rejects are written.
            ExpectationError: the output is not as expected; the parts are kept.
            StorageError: a split is not finished, or a part is not what its receipt says.
            OutputError: something else stands in the output's place.
        """
        record = committed(self.plan, self.place, self.store, self.storage_options)
        if record is not None:
            self._finish(record, siblings=False)
            return record
        try:
            return self._commit()
        finally:
            self._end_scratch()

    def _commit(self) -> dict[str, Any]:
        receipts = self._receipts()
        self.checksums = {receipt.key: receipt.checksum for receipt in receipts}
        rejected = sum(receipt.rejected for receipt in receipts)
        discarded = sum(receipt.discarded for receipt in receipts)
        over = self._over_limits(rejected, discarded)
        rejects = self._stage_rejects(dict(enumerate(receipts)))
        if over:
            self._fence()
            self._publish_rejects(rejects)
            raise TooManyRejectsError(over)
        self._check_expectations(receipts, rejected, discarded)
        seen = self.bucket.seen() if self.bucket else None
        self._check_place()
        if any(receipt.boot is not None for receipt in receipts) and isinstance(self.store, LocalStore):
            sync_disk(self.store.root)  # small parts were left to the system so far
        staged = self._stage()
        text = self._record(staged, receipts, rejects)
        receipts.clear()  # there may be a million, and the record has what they tell
        record: dict[str, Any] = json.loads(text)  # the same to this caller and to later readers
        del text
        # the intent: if the process dies right after the output appeared, the next run knows it by its identity
        self._write_record(record)
        self._fence()
        self._publish_rejects(rejects)
        self._publish(staged, seen)
        if record["identity"] is None:
            record["identity"] = identity(self.place, self.storage_options)
            self._write_record(record)
        self._finish(record, siblings=True)
        return record

    def _record(self, staged: Path, receipts: list[Receipt], rejects: Path | None) -> str:
        """The record of the commit as JSON."""
        record: dict[str, Any] = {
            "plan_id": self.plan.plan_id,
            "rows": self.rows,
            "rejected": sum(receipt.rejected for receipt in receipts),
            "discarded": sum(receipt.discarded for receipt in receipts),
            "rejects_file": self.place.rejects if rejects else None,
            "identity": self._identity(staged),
            "stale": self.bucket.stale(self._part_names()) if self.bucket and not self.place.single else [],
            "parts": [
                [split.key, receipt.rows, receipt.rejected, receipt.discarded, receipt.has_rejects, *offset]
                for split, receipt, offset in zip(self.plan.splits, receipts, self.offsets, strict=True)
            ],
            "columns": [receipt.columns for receipt in receipts],
            **self._lineage(),
            "seconds": _summed(receipts),
            "time": time.time(),
        }
        return json.dumps(self._with_earlier(record))

    def _fence(self) -> None:
        """Raise LockedError if another run has taken over."""
        if self.lease is not None:
            self.lease.check()

    def _finish(self, record: Mapping[str, Any], *, siblings: bool) -> None:
        """What is left to do once the output is there: it is whole, so nothing of this can fail the run in a bucket."""
        if self.bucket is None:
            self._drop_parts(siblings=siblings)
            return
        try:
            self._fence()
            if not self.place.single:
                self.bucket.remove_parts([name for name in record.get("stale", []) if name not in record["names"]])
            self._drop_parts(siblings=siblings)
            if ended := self.bucket.end_uploads() + end_uploads(self.store):
                _LOG.warning("%d uploads that were left unfinished into %s were ended", ended, self.place.output)
        except (StorageError, LockedError) as error:
            _LOG.warning(
                "the output is whole, but what only its making needed was not all removed: %s; the same command or"
                " bentobatch clean does it",
                error,
            )

    def write_rejects(self) -> None:
        """Publish the rejects of the splits that are finished, for a run that stops early because of them."""
        receipts = {
            split.index: receipt
            for split in self.plan.splits
            if (receipt := parts.read_receipt(self.store, self.plan.plan_id, split.key)) is not None
        }
        try:
            staged = self._stage_rejects(receipts)
            self._fence()
            self._publish_rejects(staged)
        finally:
            self._end_scratch()

    def _receipts(self) -> list[Receipt]:
        receipts: list[Receipt] = []
        for split in self.plan.splits:
            receipt = parts.read_receipt(self.store, self.plan.plan_id, split.key)
            if receipt is None:
                raise StorageError(f"split {split.index} of plan {self.plan.plan_id} is not finished; run it first")
            size = self.store.size(parts.part_name(self.plan.plan_id, split.key))
            if receipt.rows != split.take or size != receipt.part_bytes:
                raise StorageError(
                    f"the part of split {split.index} is not what its receipt says ({size} bytes for"
                    f" {receipt.part_bytes}); run again with --restart"
                )
            receipts.append(receipt)
        return receipts

    def _check_place(self) -> None:
        check_place(self.place, overwrite=self.job.overwrite, storage_options=self.storage_options)

    def _lineage(self) -> dict[str, Any]:
        """Which parts came from which file, for whoever builds on this commit (see ``earlier``): the parts of the first
        file come first, and so on. ``names`` are the files of a directory output."""
        files: list[dict[str, Any]] = []
        count = Counter(split.file for split in self.plan.splits)
        for number, file in enumerate(self.plan.files):
            source = self.plan.sources[number] if self.plan.sources else (file.uri, file.size, file.stamp)
            label = self.plan.labels.get(file.uri)
            members = [member.to_json() for member in self.plan.groups.get(file.uri, ())]
            files.append(
                {
                    "file": asdict(file),
                    "source": list(source),
                    "label": label,
                    "parts": count[number],
                    "members": members,
                }
            )
        return {
            "bundle": self.job.bundle_tag,
            "bundle_digest": self.job.bundle_digest,
            "parent": None if self.plan.parent is None else dict(self.plan.parent),
            "format": self.place.format,
            "schema": schema_to_text(self.plan.output_schema),
            "names": [] if self.place.single else self._part_names(),
            "files": files,
        }

    def _with_earlier(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with what was committed before and stays."""
        return record

    def _over_limits(self, rejected: int, discarded: int) -> str | None:
        job = self.job
        return over_limits(job.max_rejects, job.max_discards, self.plan.rows, rejected, discarded, self.place.rejects)

    def _check_expectations(self, receipts: list[Receipt], rejected: int, discarded: int) -> None:
        expectations = [parse(line) for line in (*self.plan.expect, *self.job.expect)]
        if not expectations:
            return
        counts = {name: ColumnCounts() for name in self.plan.output_schema.names}
        for columns in self._counted(receipts):
            for name, item in counts_from_json(columns).items():
                counts[name].add(item)
        problems = unmet(expectations, counts, rows=self.rows, rejects=rejected, discards=discarded)
        if problems:
            raise ExpectationError(
                f"{self.place.output} was not written: not as expected: {'; '.join(problems)}; the parts are kept, so the"
                " same command without the expectation, or with another one, scores nothing again"
            )

    def _counted(self, receipts: list[Receipt]) -> list[dict[str, Any]]:
        """The counts of the columns of every part of the output."""
        return [receipt.columns for receipt in receipts]

    # -- publishing

    def _publish_rejects(self, staged: Path | None) -> None:
        target = self.place.rejects
        if is_url(target):
            fs, path = bucket(target, self.storage_options)
            with bucket_errors("write", target, self.storage_options):
                if staged is not None:
                    fs.put_file(str(staged), path)
                elif fs.exists(path):
                    fs.rm_file(path)
            return
        if staged is None:
            remove(Path(target))
            return
        with whole_file(Path(target)) as sink, staged.open("rb") as source:
            shutil.copyfileobj(source, sink, _COPY)
        remove(staged)

    def _publish(self, staged: Path, seen: Found | None) -> None:
        if self.bucket is None:
            publish(staged, self.place)
        elif self.place.single:
            self.bucket.publish_file(staged, seen=seen, mark=self.mark, fence=self._fence)
        else:
            success = self._success(self._part_names())
            self.bucket.publish_parts(self.store, self._sources(), success, seen=seen, fence=self._fence)

    def _write_record(self, record: dict[str, Any]) -> None:
        self.store.write(parts.commit_name(self.plan.plan_id), json.dumps(record).encode())

    def _drop_parts(self, *, siblings: bool) -> None:
        """Remove what only an unfinished run needs; the plan, the record and the rejects stay. ``siblings``: other plans
        into this output go as well, since what they had in common with this one was taken over."""
        for name in ("parts", "receipts", "attempts", "staging", "empty", "bundle.zip"):
            self.store.delete(f"{self.plan.plan_id}/{name}")
        if not self.place.remote:
            remove(self._staging())
        for name in self.store.names("") if siblings else ():
            if len(name) == len(self.plan.plan_id) and name != self.plan.plan_id:
                self.store.delete(name)


def committed(
    plan: Plan, place: Place, store: Store, storage_options: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The record of this very plan's commit, if what it published still stands."""
    data = store.read(parts.commit_name(plan.plan_id))
    if data is None:
        return None
    record: dict[str, Any] = json.loads(data)
    return record if record["identity"] is not None and record["identity"] == identity(place, storage_options) else None


def _summed(receipts: list[Receipt]) -> dict[str, float]:
    return {
        stage: round(sum(receipt.seconds.get(stage, 0.0) for receipt in receipts), 6)
        for stage in ("read", "model", "write")
    }
