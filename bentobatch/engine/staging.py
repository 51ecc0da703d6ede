"""This module puts a plan's finished parts together under another name: the whole output, and the file of its rejects."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute

from bentobatch.engine import parts
from bentobatch.engine.bucket_output import BucketOutput, directory_identity, mark_identity
from bentobatch.engine.lease import Fence
from bentobatch.engine.parts import Receipt
from bentobatch.engine.place import EXTENSIONS, SUFFIX, Place, place_of
from bentobatch.engine.plan import Plan, Split
from bentobatch.engine.publish import SUCCESS, identity
from bentobatch.engine.rejects import SCHEMA as REJECTS_SCHEMA
from bentobatch.engine.split_run import part_metadata
from bentobatch.engine.store import LocalStore, Store, bring, link_or_copy, remove, store_at, sync_folder, whole_file
from bentobatch.errors import StorageError
from bentobatch.formats.parquet_join import join_parquet
from bentobatch.formats.write import PartWriter, part_writer

_COPY = 1 << 20


class Staging:
    """What is about to be committed, on its way to being whole. Commits that build on an earlier one override what is
    taken over from it."""

    def __init__(
        self, plan: Plan, *, storage_options: Mapping[str, Any] | None = None, lease: Fence | None = None
    ) -> None:
        self.plan = plan
        self.job = plan.job
        self.place: Place = place_of(plan.job)
        self.store: Store = store_at(self.place.state, storage_options)
        self.storage_options = storage_options
        self.lease = lease
        self.offsets: list[list[int]] = []
        self.checksums: dict[str, int | None] = {}
        self.bucket = BucketOutput(self.place, storage_options) if self.place.remote else None
        self.mark = secrets.token_hex(16)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def rows(self) -> int:
        """The rows of the whole output."""
        return self.plan.rows

    # -- the rejects file

    def _stage_rejects(self, receipts: Mapping[int, Receipt]) -> Path | None:
        """The rejects of these splits (by index) as one local file, or None if there are none."""
        pieces = self._rejects(receipts)
        if not pieces:
            return None
        folder = self._staging()
        path = folder / f"{self.plan.plan_id}.rejects"
        format = EXTENSIONS.get(os.path.splitext(self.place.rejects)[1].lower(), "parquet")
        metadata = part_metadata(self.plan)
        with whole_file(path) as sink, part_writer(format, REJECTS_SCHEMA, sink, metadata=metadata) as writer:
            for name, first_row in pieces:
                self._copy_rejects(writer, name, first_row)
        return path

    def _rejects(self, receipts: Mapping[int, Receipt]) -> list[tuple[str, int]]:
        """The kept rejects, and what is to be added to their rows, in the order of the output."""
        return [
            (parts.rejects_name(self.plan.plan_id, split.key), split.first_row)
            for split in self.plan.splits
            if split.index in receipts and receipts[split.index].has_rejects
        ]

    def _copy_rejects(self, writer: PartWriter, name: str, first_row: int) -> None:
        for batch in self._batches(name):
            rows = pa.compute.add(batch.column("row"), first_row)
            writer.write(pa.RecordBatch.from_arrays([rows, *batch.columns[1:]], schema=REJECTS_SCHEMA))

    # -- the output

    def _staging(self) -> Path:
        """A local folder for what is being staged, on the output's own disk."""
        if self.place.remote:
            if self._scratch is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="bentobatch-")
            return Path(self._scratch.name)
        if self.job.state_dir is not None:
            return Path(self.place.output).parent / f".{self.place.name}.{self.plan.plan_id}.staging"
        return Path(self.place.state) / self.plan.plan_id / "staging"

    def _end_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _stage(self) -> Path:
        """The whole output under another name."""
        folder = self._staging()
        if self.place.single:
            path = folder / f"output{SUFFIX[self.place.format]}"
            with whole_file(path) as sink:
                self._assemble(sink)
            return path
        path = folder / "output"
        if not self.place.remote:
            remove(path)
            self._stage_folder(path)
        elif not self.plan.splits and not self._staying():
            with self.store.create(f"{self.plan.plan_id}/empty") as sink:
                self._write_empty(sink)
        self.offsets = [[] for _ in self.plan.splits]
        return path

    def _assemble(self, sink: BinaryIO) -> None:
        """All parts, in order, as one file."""
        format = self.place.format
        rows = 0
        if self.plan.joined and self.plan.splits:
            self._check_rows(self._join(sink))
            return
        with part_writer(format, self.plan.output_schema, sink, metadata=part_metadata(self.plan)) as writer:
            if format in ("csv", "jsonl"):
                self._append_texts(sink)
                return
            for split in self.plan.splits:
                self._check_part(split)
                for batch in self._batches(parts.part_name(self.plan.plan_id, split.key)):
                    writer.write(batch)
                    rows += batch.num_rows
        self._check_rows(rows)

    def _check_rows(self, rows: int) -> None:
        self.offsets = [[] for _ in self.plan.splits]
        if rows != self.plan.rows:
            raise StorageError(
                f"the parts hold {rows} rows for {self.plan.rows} rows of input; run again with --restart"
            )

    def _join(self, sink: BinaryIO) -> int:
        """Parquet parts as the row groups of one file; the rows. Their pages have checksums of their own."""
        template = io.BytesIO()
        self._write_empty(template)

        def opened() -> Iterator[BinaryIO]:
            for split in self.plan.splits:
                with self.store.open(parts.part_name(self.plan.plan_id, split.key)) as part:
                    yield part

        return join_parquet(opened(), sink, template=template.getvalue())

    def _append_texts(self, sink: BinaryIO) -> None:
        """Parts of text behind each other, after the header; where each begins is noted for later runs."""
        for split in self.plan.splits:
            self._check_part(split)
            start = sink.tell()
            with self.store.open(parts.part_name(self.plan.plan_id, split.key)) as source:
                shutil.copyfileobj(source, sink, _COPY)
            self.offsets.append([start, sink.tell() - start])

    def _check_part(self, split: Split) -> None:
        """Refuse a part whose bytes are not those that were written; a bucket checks its objects by itself."""
        wanted = self.checksums.get(split.key)
        if wanted is None or not isinstance(self.store, LocalStore):
            return
        if parts.checksum_of(self.store, parts.part_name(self.plan.plan_id, split.key)) != wanted:
            raise StorageError(
                f"the part of split {split.index} was damaged on the disk after it was written; run again with --restart"
            )

    def _batches(self, name: str) -> Iterator[pa.RecordBatch]:
        if isinstance(self.store, LocalStore):
            with pa.memory_map(str(self.store.path(name))) as source:
                yield from _record_batches(source)
            return
        with self.store.open(name) as file:
            yield from _record_batches(pa.PythonFile(file, mode="r"))

    def _part_names(self) -> list[str]:
        """The names of a directory output's files; an output without rows has one, for its schema.

        They carry the plan's id, so that a reader who listed the old output before it was exchanged finds a file gone
        instead of one of the new output.
        """
        return self._own_names(max(1, len(self.plan.splits)))

    def _own_names(self, count: int, first: int = 0) -> list[str]:
        digits = max(5, len(str(len(self.plan.splits))))
        ending = f"-{self.plan.plan_id}{SUFFIX[self.place.format]}"
        return [f"part-{number:0{digits}d}{ending}" for number in range(first, first + count)]

    def _staying(self) -> list[str]:
        """The files of the directory that stands that belong to the new one too; they come first in ``_part_names``."""
        return []

    def _success(self, names: list[str]) -> bytes:
        return json.dumps({"plan": self.plan.plan_id, "rows": self.rows, "parts": names}).encode()

    def _stage_folder(self, path: Path) -> None:
        names = self._part_names()
        path.mkdir(parents=True)
        staying = self._staying()
        for name in staying:
            link_or_copy(Path(self.place.output) / name, path / name)
        for name, split in zip(names[len(staying) :], self.plan.splits, strict=False):
            bring(self.store, parts.part_name(self.plan.plan_id, split.key), path / name)
        if not self.plan.splits and not staying:
            with whole_file(path / names[0]) as sink:
                self._write_empty(sink)
        with whole_file(path / SUCCESS) as sink:
            sink.write(self._success(names))
        sync_folder(path)

    def _write_empty(self, sink: BinaryIO) -> None:
        part_writer(self.place.format, self.plan.output_schema, sink, metadata=part_metadata(self.plan)).close()

    def _identity(self, staged: Path) -> Any:
        """What will tell the output from any other once it is there; None where only the store can say."""
        if self.bucket is None:
            return identity(self.place, at=staged)
        if self.place.single:
            return mark_identity(self.mark) if self.bucket.objects.keeps_marks else None
        standing = self.bucket.names() if self._staying() else {}
        sizes = [standing[name] for name in self._staying()]
        sizes += [self.store.size(name) for name in self._sources().values()]
        return directory_identity(self._success(self._part_names()), sizes)

    def _sources(self) -> dict[str, str]:
        """Where in the state each new file of a directory output lies, by its name there."""
        names = self._part_names()[len(self._staying()) :]
        sources = [parts.part_name(self.plan.plan_id, split.key) for split in self.plan.splits]
        if names and not sources:
            sources = [f"{self.plan.plan_id}/empty"]
        return dict(zip(names, sources, strict=True))


def _record_batches(source: Any) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(source)
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)
