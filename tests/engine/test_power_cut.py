"""Small parts are not synced one by one; what a power cut may do to them is noticed, and costs their splits only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine import boot, overhead, parts
from bentobatch.engine.boot import boot_id, sync_disk
from bentobatch.engine.store import LAZY_BYTES, LocalStore, whole_file
from bentobatch.formats.write import part_writer
from tests.engine.test_promises import write_input


@pytest.fixture
def half_done(bundles: Path, tmp_path: Path) -> tuple[bentobatch.Plan, LocalStore, Callable[[], bentobatch.RunReport]]:
    """A plan of ten splits, five of them finished, and the run that goes on with it."""
    write_input(tmp_path / "in.parquet", 1000)
    options: dict[str, Any] = {
        "input_file": tmp_path / "in.parquet",
        "output_file": tmp_path / "out",
        "split_rows": 100,
    }
    plan = bentobatch.plan(bundles / "linear", **options)
    for index in range(5):
        bentobatch.run_split(plan, index)
    return plan, LocalStore(plan.state), lambda: bentobatch.run(bundles / "linear", **options)


def change_receipt(plan: bentobatch.Plan, store: LocalStore, index: int, **values: Any) -> None:
    path = store.path(parts.receipt_name(plan.plan_id, plan.splits[index].key))
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_small_parts_say_under_which_boot_they_were_written(half_done: Any) -> None:
    """And have a checksum, whatever their format; so the same boot needs no look at them."""
    plan, store, go_on = half_done
    receipt = parts.read_receipt(store, plan.plan_id, plan.splits[0].key)
    assert receipt is not None
    assert receipt.boot == boot_id() is not None
    assert receipt.checksum == parts.checksum_of(store, parts.part_name(plan.plan_id, plan.splits[0].key))
    assert go_on().splits_reused == 5


def test_after_a_new_boot_whole_parts_are_reused(half_done: Any) -> None:
    """Their checksums prove them."""
    plan, store, go_on = half_done
    for index in range(5):
        change_receipt(plan, store, index, boot="another")
    assert go_on().splits_reused == 5


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [Path.unlink, zeroed, lambda path: path.write_bytes(b"")])
def test_after_a_new_boot_a_damaged_part_is_scored_again(
    half_done: Any, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    """Gone, empty, or of the right length with nothing in it: disks leave all three."""
    plan, store, go_on = half_done
    damage(store.path(parts.part_name(plan.plan_id, plan.splits[2].key)))
    for index in range(5):
        change_receipt(plan, store, index, boot="another")
    report = go_on()
    assert (report.splits_reused, report.rows) == (4, 1000)
    assert pq.read_table(tmp_path / "out").num_rows == 1000


@pytest.mark.parametrize("content", [b"", b'{"key": ', b"\0" * 200, b"[]", b'{"other": 1}'])
def test_a_torn_receipt_is_none(half_done: Any, content: bytes) -> None:
    """Receipts are not synced either."""
    plan, store, go_on = half_done
    store.path(parts.receipt_name(plan.plan_id, plan.splits[1].key)).write_bytes(content)
    assert go_on().splits_reused == 4


def test_large_files_are_synced_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of work is worth a sync; a small file is not, unless it is asked for."""
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    with whole_file(tmp_path / "small", lazily=True) as file:
        file.write(b"x")
    assert not synced
    with whole_file(tmp_path / "large", lazily=True) as file:
        file.write(bytes(LAZY_BYTES))
    assert len(synced) == 2
    with whole_file(tmp_path / "plain") as file:
        file.write(b"x")
    assert len(synced) == 4


def test_a_machine_without_a_boot_id_syncs_everything(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can rest on what cannot be told."""
    monkeypatch.setattr(boot, "_BOOT_ID", tmp_path / "absent")
    boot_id.cache_clear()
    try:
        write_input(tmp_path / "in.parquet", 100)
        plan = bentobatch.plan(bundles / "linear", input_file=tmp_path / "in.parquet", output_file=tmp_path / "out")
        with overhead.collected() as spent:
            bentobatch.run_split(plan, 0)
        receipt = parts.read_receipt(LocalStore(plan.state), plan.plan_id, plan.splits[0].key)
        assert receipt is not None
        assert receipt.boot is None
        assert spent["fsync"] > 0
    finally:
        boot_id.cache_clear()


def test_a_disk_can_be_synced_as_a_whole(tmp_path: Path) -> None:
    """One call for all small parts, before they become the output."""
    sync_disk(tmp_path)


def test_a_report_tells_what_the_promises_cost(bundles: Path, tmp_path: Path) -> None:
    """Seconds, summed over the workers, in children as well as in this process."""
    write_input(tmp_path / "in.parquet", 1000)
    for isolated in (False, True):
        report = bentobatch.run(
            bundles / "linear",
            input_file=tmp_path / "in.parquet",
            output_file=tmp_path / f"o{isolated}",
            isolated=isolated,
        )
        assert report.seconds["receipts"] > 0
        assert report.seconds["checksum"] > 0


def test_time_is_counted_once_where_one_piece_lies_in_another() -> None:
    """The sync inside the writing of a receipt is a sync."""
    with overhead.collected() as spent:
        with overhead.spending("receipts"):
            overhead.add("fsync", 10.0)
        assert spent["fsync"] == 10.0
        assert spent["receipts"] < 1.0
    overhead.add("fsync", 1.0)
    assert spent["fsync"] == 10.0


@pytest.mark.parametrize(("rows", "checked"), [(10, True), (300_000, False)])
def test_a_large_parquet_part_rests_on_its_pages_checksums(tmp_path: Path, rows: int, checked: bool) -> None:
    """Counting them twice would cost time for nothing."""
    import numpy as np
    import pyarrow as pa

    batch = pa.record_batch({"x": np.random.default_rng(1).normal(size=rows)})
    with (tmp_path / "part").open("wb") as sink, part_writer("parquet", batch.schema, sink, metadata={}) as writer:
        writer.write(batch)
    assert (writer.checksum is not None) == checked
