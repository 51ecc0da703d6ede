"""A worker that is killed in the middle of a split costs its split only, whatever executor it worked for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integrations.fleets import (
    EXECUTORS,
    SPLIT_ROWS,
    SPLITS,
    Fleet,
    Gate,
    read_output,
    rows_of,
    wait_for,
    write_input,
)

pytestmark = pytest.mark.xdist_group("schedulers")
VICTIMS = [(name, "scorer") for name in EXECUTORS] + [(name, "worker") for name in ("dask", "spark", "celery")]
CALM = 2
"""So many splits are finished before the kill."""


@contextlib.contextmanager
def meanwhile(deed: Callable[[], Any]) -> Iterator[list[Any]]:
    """Does a deed on a thread while the body runs, which stays on the main one; what the deed returned, after the body."""
    done: list[Any] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            done.append(deed())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    yield done
    thread.join()
    if failed:
        raise failed[0]


def kill_one(gate: Gate, victim: str) -> int:
    """SIGKILL of the process that scores a split now, or first of the scheduler's worker process that it is a child of
    (or, left alone, it might end its split yet, and nothing were lost); then all calls go on. The scorer's pid."""
    try:
        pid, parent = wait_for(gate.held, told="a split came to the gate")[0]
        scorer = psutil.Process(pid)
        assert scorer.ppid() == parent
        assert "bentobatch.engine.worker" in " ".join(scorer.cmdline())
        assert pid != os.getpid()
        if victim == "worker":
            os.kill(parent, signal.SIGKILL)
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have noticed that its worker is gone
            scorer.kill()
        return pid
    finally:
        gate.release()


@pytest.mark.parametrize(("executor", "victim"), VICTIMS)
def test_a_process_killed_in_mid_split_costs_its_split_only(
    gate: Gate, fleet_of: Callable[[str], Fleet], tmp_path: Path, executor: str, victim: str
) -> None:
    """SIGKILL of who scores, or of the worker above it: the run ends by itself, in the output of an undisturbed run, and
    only what was under way is scored again."""
    options: dict[str, Any] = {
        "input_file": write_input(tmp_path / "in.parquet"),
        "split_rows": SPLIT_ROWS,
        "keep": ["id"],
    }
    fleet_of("inline").run(gate, output_file=tmp_path / "calm.parquet", **options)
    fleet = fleet_of(executor)
    gate.shut(after=CALM)
    with meanwhile(lambda: kill_one(gate, victim)) as killed:
        report = fleet.run(gate, isolated=True, output_file=tmp_path / "killed.parquet", **options)
    assert len(killed) == 1
    assert (report.rows, report.scored, report.rejected) == (SPLITS * SPLIT_ROWS, SPLITS * SPLIT_ROWS, 0)
    assert (report.splits, report.splits_reused, report.executor) == (SPLITS, 0, executor)
    seen = [read_output(tmp_path / name) for name in ("killed.parquet", "calm.parquet")]
    assert rows_of(seen[0]).replace_schema_metadata() == rows_of(seen[1]).replace_schema_metadata()
    # the split that was killed is scored a second time; so may be one of a worker's other threads or children, and no more
    assert SPLITS + 1 <= len(gate.calls()) <= SPLITS + 2
