"""This module measures what a resume costs: a run is killed when nearly all of its splits are finished, and started again."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bentobench import checks, data
from bentobench.machine import machine, versions
from bentobench.runners import Runner, ours
from bentobench.session import Failed, expected_output, one_run
from bentobench.stats import middle
from bentobench.workloads import Size, Workload, build, scratch

DONE = 0.99
"""The share of finished splits at which the run is killed."""
LINKS = 4
"""Links to W1L's file that the run reads: one alone has 77 row groups, and a split is one at least."""
ALLOWED = 0.02
TRIES = 5


def measure_resume(size: Size, *, rounds: int, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """The medians of a whole run over W1L's file four times, of a run of 1,000 rows (start-up), and of a resumed run."""
    one, small = build("W1L", size), build("SMALL", size)
    folder = scratch(size.root)
    log = folder / "log.txt"
    work, expected = linked(one, folder, expected_output(one, size.root))
    splits = LINKS * -(-one.rows // data.ROW_GROUP)
    one_each = ["--split-rows", str(data.ROW_GROUP)]
    run = ours(work, folder, "dir", options=one_each)
    start = ours(small, folder, "dir")
    took: dict[str, list[float]] = {"whole": [], "start": [], "resumed": [], "reused": []}
    tell(f"RESUME: {work.rows:,} rows in {splits} splits, killed when {DONE:.1%} of them are finished")
    for turn in range(rounds):
        took["whole"].append(one_run(run, log).wall)
        took["start"].append(one_run(start, log).wall)
        start.fresh()
        killed_at(run, max(1, min(splits - 1, math.ceil(DONE * splits))))
        resumed = resumed_run(run, log)
        checks.check(run.output, expected)
        told = run.told()
        took["resumed"].append(resumed)
        took["reused"].append(told["splits_reused"] / told["splits"])
        tell(
            f"  round {turn + 1}  whole {took['whole'][-1]:.2f} s, 1,000 rows {took['start'][-1]:.2f} s,"
            f" resumed {resumed:.2f} s with {took['reused'][-1]:.1%} done"
        )
        run.fresh()
    middles: dict[str, Any] = {name: middle(values) for name, values in took.items()}
    return {
        "name": "RESUME",
        "rows": work.rows,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rounds": rounds,
        "machine": machine(),
        "versions": versions(),
        **middles,
        "allowed": middles["start"] + ALLOWED * middles["whole"],
        "all": took,
    }


def linked(work: Workload, folder: Path, expected: Path) -> tuple[Workload, Path]:
    """The workload over links to its file, and what the loop wrote for that file as many times."""
    links, many = folder / "resume-input", folder / "resume-expected.parquet"
    links.mkdir()
    for number in range(LINKS):
        os.link(work.source, links / f"events-{number}.parquet")
    pq.write_table(pa.concat_tables([pq.read_table(expected)] * LINKS), many)
    return replace(work, name="RESUME", rows=LINKS * work.rows, source=links), many


def resumed_run(run: Runner, log: Path) -> float:
    """Seconds of the same command, with what the killed run left in place."""
    from bentobench import measure

    done = measure.run(run.command, log=log)
    if done.code:
        raise Failed(f"resume: exit code {done.code}\n{done.output}")
    return done.wall


def killed_at(run: Runner, receipts: int) -> None:
    """Leave the state of a run that was killed, with its whole process group, when so many splits had receipts."""
    state = run.output.with_name(f".{run.output.name}.bentobatch")
    for _ in range(TRIES):
        run.fresh()
        child = subprocess.Popen(
            run.command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while child.poll() is None:
            if receipts_in(state) >= receipts:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                break
            time.sleep(0.001)
        # a worker may have outlived the group by a moment, and a run may have ended before it was killed
        time.sleep(0.2)
        if not run.output.exists() and receipts_in(state) >= receipts:
            return
    raise Failed(f"the run ended before it could be killed with {receipts} splits done, {TRIES} times")


def receipts_in(state: Path) -> int:
    """How many splits have a receipt."""
    count = 0
    for folder in state.glob("*/receipts"):
        with contextlib.suppress(FileNotFoundError):
            count += sum(not entry.name.startswith(".") for entry in os.scandir(folder))
    return count
