"""This module runs a workload's runners in turn, several rounds, and keeps what each run took."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bentobench import checks, measure, stats
from bentobench.machine import machine, versions
from bentobench.runners import Runner
from bentobench.workloads import Workload, scratch


class Failed(Exception):
    """A runner ended with an exit code, or what the workload needs could not be made."""


def expected_output(work: Workload, root: Path) -> Path:
    """What the workload's first loop writes, kept, since every output is compared with it."""
    from bentobench.data import made

    path = root / "expected" / f"{work.name}-{work.rows}.parquet"
    source, model = (file.with_name(f"{file.name}.recipe.json") for file in (work.source, work.model.parent))
    recipe = {"source": source.read_text(), "model": model.read_text(), "loop": work.loops[0].name}

    def make(temporary: Path) -> None:
        done = measure.run(work.loops[0].command(work.source, work.model, temporary), log=scratch(root) / "log.txt")
        if done.code:
            raise Failed(f"{work.name}, {work.loops[0].name}: exit code {done.code}\n{done.output}")

    return made(path, recipe, make)


def one_run(runner: Runner, log: Path, *, memory: bool = False) -> measure.Measured:
    """One run from a fresh state, with the disk's queue emptied before, since the last runner's output may be in it."""
    runner.fresh()
    os.sync()
    done = measure.run(runner.command, log=log, env=runner.env, memory=memory, timeout=runner.timeout)
    if done.code:
        raise Failed(f"{runner.name}: exit code {done.code}\n{done.output}")
    return done


def measure_workload(
    work: Workload,
    chosen: Sequence[Runner],
    *,
    root: Path,
    rounds: int,
    memory_rounds: int = 1,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """``rounds`` timed rounds over all runners and ``memory_rounds`` untimed ones; every output of the first round of
    each kind is checked. A runner that fails is reported with its reason and left out of further rounds."""
    expected = expected_output(work, root)
    measure.warm([work.source])
    results: dict[str, dict[str, Any]] = {
        runner.name: {
            "kind": runner.kind,
            "one_file": runner.one_file,
            "wall": [],
            "cpu": [],
            "peak_mb": [],
            "others": [],
        }
        for runner in chosen
    }
    by_name = {runner.name: runner for runner in chosen}
    tell(f"{work.name}: {work.title}; {rounds} timed rounds, {memory_rounds} for memory")
    for turn in range(rounds + memory_rounds):
        memory = turn >= rounds
        for name in stats.rotated(list(by_name), turn):
            runner, result = by_name[name], results[name]
            if "failed" in result:
                continue
            try:
                done = one_run(runner, scratch(root) / "log.txt", memory=memory)
                checks.check(runner.output, expected, key=work.key, ordered=runner.ordered)
            except (Failed, checks.WrongOutput) as error:
                tell(f"  {name}: FAILED: {error}")
                if not memory:  # what was timed before stands
                    result["failed"] = str(error)
                continue
            if memory:
                result["peak_mb"].append(done.peak_mb)
            else:
                result["wall"].append(done.wall)
                result["cpu"].append(done.cpu)
                result["others"].append(done.others)
                result["report"] = _shortened(runner.told())
            tell(_line(turn, name, done))
            runner.fresh()
    return {
        "name": work.name,
        "title": work.title,
        "rows": work.rows,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rounds": rounds,
        "machine": machine(),
        "versions": versions(),
        "runs": results,
    }


def _line(turn: int, name: str, done: measure.Measured) -> str:
    tail = (
        f"{done.peak_mb:7.0f} MB" if done.peak_mb is not None else f"{done.cpu:7.2f} s CPU, others {done.others:4.0%}"
    )
    head = f"  round {turn + 1}" if done.peak_mb is None else "  memory "
    return f"{head}  {name:34s} {done.wall:7.2f} s {tail}"


def _shortened(report: dict[str, Any]) -> dict[str, Any]:
    """Of a report, what the tables and the checks use; features may be thousands."""
    unwanted = {"features", "output", "rejects_file", "bundle_digest"}
    return {name: value for name, value in report.items() if name not in unwanted}


def print_summary(session: dict[str, Any], tell: Callable[[str], None] = print) -> None:
    """Medians of a session, and how fast ours is beside each."""
    runs = session["runs"]
    mine = next((run for run in runs.values() if run["kind"] == "ours" and run["wall"]), None)
    tell(f"{session['name']}: median of {session['rounds']} rounds (wall s, CPU s, peak MB, speed of ours beside it)")
    for name, run in runs.items():
        if "failed" in run:
            tell(f"  {name:34s} failed")
            continue
        wall, cpu, peak = (stats.middle(run[key]) for key in ("wall", "cpu", "peak_mb"))
        ratio = stats.speed_ratio(mine["wall"], run["wall"]) if mine else None
        memory = f"{peak:7.0f}" if peak is not None else "      –"
        tell(f"  {name:34s} {wall or 0:7.2f} {cpu or 0:7.2f} {memory} {ratio or 0:6.2f}")
    sys.stdout.flush()
