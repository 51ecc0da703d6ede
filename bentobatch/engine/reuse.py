"""This module takes over what earlier runs into the same output have scored: parts of unfinished plans, and the rows of
the committed output, where their keys say that they would come out the same."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet

from bentobatch.engine import parts
from bentobatch.engine.parts import Receipt
from bentobatch.engine.place import Place, place_of
from bentobatch.engine.plan import Plan
from bentobatch.engine.planning import part_format
from bentobatch.engine.publish import SUCCESS, identity
from bentobatch.engine.store import BucketStore, LocalStore, Store, bucket, bucket_errors, link_or_copy
from bentobatch.formats.write import part_writer

_PIECE = 1 << 20


def adopt(plan: Plan, store: Store, storage_options: Mapping[str, Any] | None = None) -> int:
    """Fill the plan's folder with every split that is finished elsewhere; the number of splits taken over."""
    own = set(store.names(f"{plan.plan_id}/receipts"))
    missing = {key for key in plan.by_key if key not in own}
    taken = 0
    for sibling in store.names(""):
        if not missing:
            break
        if len(sibling) != len(plan.plan_id) or sibling == plan.plan_id:
            continue
        found = missing & set(store.names(f"{sibling}/receipts"))
        for key in sorted(found):
            _adopt_part(plan, store, sibling, key)
        missing -= found
        taken += len(found)
        adopted = _adopt_output(plan, store, sibling, missing, storage_options)
        missing -= adopted
        taken += len(adopted)
    return taken


def _adopt_part(plan: Plan, store: Store, sibling: str, key: str) -> None:
    """A part of an unfinished plan, under a second name; its receipt last."""
    receipt = parts.read_receipt(store, sibling, key)
    assert receipt is not None
    store.copy(parts.part_name(sibling, key), parts.part_name(plan.plan_id, key))
    if receipt.has_rejects:
        store.copy(parts.rejects_name(sibling, key), parts.rejects_name(plan.plan_id, key))
    store.copy(parts.receipt_name(sibling, key), parts.receipt_name(plan.plan_id, key))


def _adopt_output(
    plan: Plan, store: Store, sibling: str, wanted: set[str], storage_options: Mapping[str, Any] | None
) -> set[str]:
    """Rows of the output that ``sibling`` committed, if that still stands untouched."""
    data = store.read(parts.commit_name(sibling))
    if data is None or not wanted:
        return set()
    record = json.loads(data)
    place = place_of(plan.job)
    if record["identity"] is None or record["identity"] != identity(place, storage_options):
        return set()
    pieces: list[_Piece] = []
    row = 0
    for number, (key, rows, rejected, discarded, has_rejects, *offset) in enumerate(record["parts"]):
        if key in wanted:
            lost = (rejected, discarded, has_rejects)
            pieces.append(_Piece(key, rows, row, number, offset, lost, record["columns"][number]))
        row += rows
    if pieces:
        _cut(plan, store, place, pieces, storage_options)
    for piece in pieces:
        _keep(plan, store, sibling, piece)
    return {piece.key for piece in pieces}


class _Piece:
    """Rows of a committed output that a split of the new plan would score again."""

    def __init__(
        self,
        key: str,
        rows: int,
        first_row: int,
        number: int,
        offset: list[int],
        lost: tuple[int, int, bool],
        columns: dict[str, list[Any]],
    ) -> None:
        self.key, self.rows, self.first_row, self.number = key, rows, first_row, number
        self.offset, self.lost, self.columns = offset, lost, columns


def _keep(plan: Plan, store: Store, sibling: str, piece: _Piece) -> None:
    rejected, discarded, has_rejects = piece.lost
    if has_rejects:
        store.copy(parts.rejects_name(sibling, piece.key), parts.rejects_name(plan.plan_id, piece.key))
    size = store.size(parts.part_name(plan.plan_id, piece.key))
    checksum = parts.checksum_of(store, parts.part_name(plan.plan_id, piece.key))
    receipt = Receipt(
        piece.key, piece.rows, rejected, discarded, size, has_rejects, columns=piece.columns, checksum=checksum
    )
    store.write(parts.receipt_name(plan.plan_id, piece.key), receipt.to_bytes())


def _cut(
    plan: Plan, store: Store, place: Place, pieces: list[_Piece], storage_options: Mapping[str, Any] | None
) -> None:
    """Write the parts of ``pieces`` from the committed output."""
    if place.remote:
        with bucket_errors("read", place.output, storage_options):
            _cut_remote(plan, store, place, pieces, storage_options)
    elif place.single:
        with Path(place.output).open("rb") as source:
            _cut_file(plan, store, place, pieces, source)
    else:
        output = Path(place.output)
        names = json.loads((output / SUCCESS).read_text())["parts"]
        for piece in pieces:
            _bring_part(store, output / names[piece.number], parts.part_name(plan.plan_id, piece.key))


def _cut_remote(
    plan: Plan, store: Store, place: Place, pieces: list[_Piece], storage_options: Mapping[str, Any] | None
) -> None:
    """The same in a bucket. Parts of a directory are copied by the server; a single file is read as far as needed, which
    costs less than scoring."""
    fs, root = bucket(place.output, storage_options)
    if place.single:
        with fs.open(root, "rb") as source:
            _cut_file(plan, store, place, pieces, source)
        return
    names = json.loads(fs.cat_file(f"{root}/{SUCCESS}"))["parts"]
    for piece in pieces:
        name = parts.part_name(plan.plan_id, piece.key)
        if isinstance(store, BucketStore):
            store.fs.cp_file(f"{root}/{names[piece.number]}", store.path(name))
        else:
            with fs.open(f"{root}/{names[piece.number]}", "rb") as part, store.create(name) as sink:
                shutil.copyfileobj(part, sink, _PIECE)


def _bring_part(store: Store, part: Path, name: str) -> None:
    if isinstance(store, LocalStore):
        link_or_copy(part, store.path(name))
        return
    with part.open("rb") as source, store.create(name) as sink:
        shutil.copyfileobj(source, sink, _PIECE)


def _cut_file(plan: Plan, store: Store, place: Place, pieces: list[_Piece], source: BinaryIO) -> None:
    if place.format in ("csv", "jsonl"):
        for piece in pieces:
            with store.create(parts.part_name(plan.plan_id, piece.key)) as sink:
                _copy_range(source, sink, *piece.offset)
    elif place.format == "parquet":
        with pa.parquet.ParquetFile(source, pre_buffer=False) as file:
            _slice(plan, store, pieces, file.iter_batches(use_threads=False))
    elif place.remote:
        _slice(plan, store, pieces, _arrow_batches(pa.PythonFile(source, mode="r")))
    else:
        with pa.memory_map(place.output) as mapped:
            _slice(plan, store, pieces, _arrow_batches(mapped))


def _arrow_batches(source: Any) -> Iterable[Any]:
    reader = pa.ipc.open_file(source)
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def _copy_range(source: BinaryIO, sink: BinaryIO, start: int, length: int) -> None:
    source.seek(start)
    while length > 0:
        data = source.read(min(_PIECE, length))
        if not data:
            return
        sink.write(data)
        length -= len(data)


def _slice(plan: Plan, store: Store, pieces: list[_Piece], batches: Iterable[Any]) -> None:
    """One pass over the rows of an output, each piece's going to its part; ``pieces`` are in row order."""
    waiting = list(reversed(pieces))
    first = 0
    with contextlib.ExitStack() as stack:
        writer: Any = None
        for batch in batches:
            while waiting and waiting[-1].first_row < first + batch.num_rows:
                piece = waiting[-1]
                if writer is None:
                    sink = stack.enter_context(store.create(parts.part_name(plan.plan_id, piece.key)))
                    writer = part_writer(part_format(plan.job, joined=plan.joined)[0], plan.output_schema, sink)
                start = max(piece.first_row - first, 0)
                stop = min(piece.first_row + piece.rows - first, batch.num_rows)
                rows = pa.RecordBatch.from_arrays(batch.slice(start, stop - start).columns, schema=plan.output_schema)
                writer.write(rows)
                if piece.first_row + piece.rows > first + batch.num_rows:
                    break
                writer.close()
                writer = None
                stack.close()
                waiting.pop()
            first += batch.num_rows
