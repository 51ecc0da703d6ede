"""Killed at any instant and repeated, a run ends in the output of an undisturbed one, and no reader ever sees another.

Twenty kills by default; BENTOBATCH_CRASH_KILLS (``make crash N=1000``) asks for more.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.engine.test_promises import check_output, command, list_receipts, score, wait_for, write_input

KILLS = int(os.environ.get("BENTOBATCH_CRASH_KILLS", "20"))
ROWS = 6000
OLD, NEW = 1, 2
"""Seeds of the two inputs: the output of the first stands while the second is scored."""


class Watcher(threading.Thread):
    """A reader that opens the output again and again; ``wrong`` holds whatever was neither the old nor the new one."""

    def __init__(self, output: Path, whole: set[tuple[int, int, float]]) -> None:
        super().__init__(daemon=True)
        self.output, self.whole = output, whole
        self.wrong: list[object] = []
        self.looks = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            found = seen(self.output)
            self.looks += found is not None
            if found is not None and found not in self.whole:
                self.wrong.append(found)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def seen(output: Path) -> tuple[int, int, float] | None:
    """What a reader finds: rows, first id and the sum of the predictions; None where there is nothing to read."""
    try:
        files = [output]
        if output.suffix != ".parquet":
            files = [output / name for name in json.loads((output / "_SUCCESS").read_text())["parts"]]
        # opened once: a reader that opens a path twice may meet two files there, whoever wrote them
        tables = [pq.read_table(pa.BufferReader(file.read_bytes())) for file in files]
    except FileNotFoundError:
        return None  # absent, or exchanged while it was being read
    if not tables:
        return None
    table = pa.concat_tables(tables)
    total = round(float(np.sum(table.column("prediction").to_numpy())), 6)
    return len(table), table.column("id")[0].as_py(), total


@pytest.mark.parametrize("name", ["out.parquet", "out"])
@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_run_killed_at_any_instant_and_repeated_is_as_if_undisturbed(
    bundles: Path, tmp_path: Path, name: str
) -> None:
    """The whole process group is killed at strided instants, over an old output that must stand until the new one is
    whole; the second try is killed too, half a stride later."""
    frames = {seed: write_input(tmp_path / f"{seed}.parquet", ROWS, seed=seed, group=500) for seed in (OLD, NEW)}
    output = tmp_path / name

    def arguments(seed: int, target: Path) -> list[str | Path]:
        return [
            bundles / "linear", "predict", "--input-file", tmp_path / f"{seed}.parquet", "--output-file", target,
            "--keep", "id", "--executor", "threads", "--split-rows", "500", "--overwrite", "--quiet",
        ]  # fmt: skip

    whole: dict[int, tuple[int, int, float]] = {}
    for seed in (OLD, NEW):
        started = time.monotonic()
        calm = score(*arguments(seed, tmp_path / f"calm-{seed}{name}"))
        lasted = time.monotonic() - started
        assert calm.returncode == 0, calm.stderr
        found = seen(tmp_path / f"calm-{seed}{name}")
        assert found is not None
        whole[seed] = found
    watcher = Watcher(output, set(whole.values()))
    watcher.start()
    kills = max(1, KILLS // 2)
    for number in range(kills):
        shutil.rmtree(tmp_path / f".{name}.bentobatch", ignore_errors=True)
        place_old(tmp_path / f"calm-{OLD}{name}", output)
        for part in (0.0, 0.5):
            run = subprocess.Popen(command(*arguments(NEW, output)), start_new_session=True, stderr=subprocess.DEVNULL)
            try:
                run.wait(timeout=lasted * (number + part) / kills)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
        last = score(*arguments(NEW, output))
        assert last.returncode == 0, last.stderr
        assert seen(output) == whole[NEW], f"kill {number}"
    watcher.stop()
    assert not watcher.wrong, watcher.wrong[:3]
    assert watcher.looks > kills
    if output.is_file():
        check_output(output, frames[NEW])


def place_old(calm: Path, output: Path) -> None:
    """Put a copy of the old output in place as a whole, as a user would who moves a folder there."""
    fresh = output.with_name("fresh")
    aside = output.with_name("aside")
    shutil.copytree(calm, fresh) if calm.is_dir() else shutil.copy(calm, fresh)
    if output.is_dir():
        os.rename(output, aside)
    os.rename(fresh, output)
    shutil.rmtree(aside, ignore_errors=True)


def test_a_full_disk_stops_the_run_and_the_rerun_goes_on(bundles: Path, tmp_path: Path) -> None:
    """A tmpfs of less than the output: exit 74, one line, the old output untouched; with more room the run goes on."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    frame = write_input(tmp_path / "in.parquet", 40_000, group=5000)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=True)
    try:
        (disk / "o.parquet").write_text("old")
        arguments = [
            bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", disk / "o.parquet",
            "--keep", "id", "--executor", "inline", "--split-rows", "5000", "--overwrite",
        ]  # fmt: skip
        full = score(*arguments)
        assert full.returncode == 74, full.stderr
        assert "No space left" in full.stderr.strip().splitlines()[-1]
        assert "Traceback" not in full.stderr
        assert (disk / "o.parquet").read_text() == "old"
        finished = len(list_receipts(disk / "o.parquet"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        done = score(*arguments)
        assert done.returncode == 0, done.stderr
        assert finished >= 1
        check_output(disk / "o.parquet", frame)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_size_limit_is_an_io_error_and_no_death(bundles: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE: exit 74 and not a signal; without the limit the same command goes on."""
    frame = write_input(tmp_path / "in.parquet", 40_000, group=5000)
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--keep", "id", "--executor", "inline", "--split-rows", "20000",
    ]  # fmt: skip

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    full = subprocess.run(
        command(*arguments), capture_output=True, text=True, preexec_fn=limit, timeout=120, check=False
    )
    assert full.returncode == 74, full.stderr
    assert "File too large" in full.stderr
    assert not (tmp_path / "o.parquet").exists()
    assert score(*arguments).returncode == 0
    check_output(tmp_path / "o.parquet", frame)


def test_an_output_folder_that_is_removed_in_mid_run_is_said_so(bundles: Path, tmp_path: Path) -> None:
    """One line and no success; the folder back, the same command works."""
    frame = write_input(tmp_path / "in.parquet")
    folder = tmp_path / "results"
    folder.mkdir()
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", folder / "o.parquet",
        "--keep", "id", "--executor", "inline", "--split-rows", "2000",
    ]  # fmt: skip
    run = subprocess.Popen(
        command(*arguments), env={**os.environ, "BENTOBATCH_TEST_SLEEP": "0.2"}, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: bool(list_receipts(folder / "o.parquet")), 60)
    shutil.rmtree(folder, ignore_errors=True)
    _, told = run.communicate(timeout=120)
    assert run.returncode in {73, 74}, told
    assert "Traceback" not in told
    folder.mkdir(exist_ok=True)
    assert score(*arguments).returncode == 0
    check_output(folder / "o.parquet", frame)


def test_files_are_made_durable_in_the_right_order(bundles: Path, tmp_path: Path) -> None:
    """strace of a whole run: no plan, record or output is renamed into place before it was synced, and the folder is synced
    after; small parts and their receipts are synced together, by one call, before the output appears."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    write_input(tmp_path / "in.parquet", 4000)
    log = tmp_path / "strace"
    traced = subprocess.run(
        [
            strace, "-f", "-y", "-qq", "-e", "trace=fsync,syncfs,rename,renameat,renameat2", "-o", str(log),
            *command(
                bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file",
                tmp_path / "o.parquet", "--executor", "inline", "--split-rows", "2000",
            ),
        ],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert traced.returncode == 0, traced.stderr
    contents: set[str] = set()  # paths whose bytes are safe, under whatever name they were synced
    folders: set[str] = set()  # folders without a rename since they were synced
    renamed: list[tuple[str, str]] = []
    unsynced: set[str] = set()
    for line in log.read_text().splitlines():
        call = line.partition(" ")[2].strip()
        if call.startswith("syncfs("):
            folders |= {str(Path(path).parent) for path in unsynced}
            unsynced.clear()
        elif call.startswith("fsync("):
            path = call.partition("<")[2].partition(">")[0]
            contents.add(path)
            folders.add(path)
        elif call.startswith("rename"):
            source, target = call.split('"')[1], call.split('"')[3]
            if Path(target).parent.name in ("parts", "receipts"):
                renamed.append((source, target))
                unsynced.add(target)
            elif str(tmp_path) in target:
                assert source in contents, f"{source} was renamed to {target} before it was synced"
                assert target != str(tmp_path / "o.parquet") or not unsynced
                renamed.append((source, target))
                contents.add(target)
                folders.discard(str(Path(target).parent))
    kinds = {Path(target).parent.name for _, target in renamed}
    assert {"parts", "receipts"} <= kinds
    assert str(tmp_path / "o.parquet") in {target for _, target in renamed}
    assert {str(Path(target).parent) for _, target in renamed} <= folders
