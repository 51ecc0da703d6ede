"""This module runs the servers in turn, several rounds, and keeps what each window of load saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bentobench import online_load, stats
from bentobench.machine import machine, versions
from bentobench.online_load import Sample, Wrong
from bentobench.online_servers import Server, running

LEVELS = {"1": 1, "64": 64, "256": 256, "1, after": 1}
"""Connections, in this order in each round: the last one tells whether a server is as quick as before its burst."""
FIELDS = ("rate", "p50", "p99", "cpu_us")
LIBRARIES = ("bentobatch", "gunicorn", "httptools", "uvloop", "scikit-learn", "numpy")


def measure_online(
    work: Any,
    sample: Sample,
    pythons: Mapping[str, Path],
    servers: Sequence[Server],
    *,
    rounds: int,
    seconds: float,
    folder: Path,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """``rounds`` rounds over all servers, each started anew in each round. A server that fails is told with its reason and
    left out of further rounds."""
    by_name = {server.name: server for server in servers}
    runs: dict[str, dict[str, Any]] = {name: {"memory_mb": [], "levels": _empty()} for name in by_name}
    for turn in range(rounds):
        for name in stats.rotated(list(by_name), turn):
            if "failed" in runs[name]:
                continue
            try:
                _one_round(by_name[name], pythons[name], work, sample, runs[name], seconds, folder)
            except Wrong as error:
                log = (folder / "server.log").read_bytes()[-600:].decode("utf-8", "replace").strip()
                runs[name]["failed"] = f"{error}"
                tell(f"  {name}: FAILED: {error}\n{log}")
                continue
            tell(_line(turn, name, runs[name]))
    return {
        "name": work.name,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rounds": rounds,
        "seconds": seconds,
        "generator": online_load.generator(),
        "machine": machine(),
        "versions": versions(LIBRARIES),
        "runs": runs,
    }


def _empty() -> dict[str, dict[str, Any]]:
    counts = {"failed": 0, "cut_off": 0, "checked": 0}
    return {level: {**{field: [] for field in FIELDS}, **counts} for level in LEVELS}


def _one_round(
    server: Server, python: Path, work: Any, sample: Sample, run: dict[str, Any], seconds: float, folder: Path
) -> None:
    port = online_load.free_port()
    with running(server, python, port, work, folder / "server.log") as process:
        online_load.await_ready(server, process, sample)
        online_load.window(server, process, sample, connections=16, seconds=1, folder=folder)  # warm
        windows = {}
        for level, connections in LEVELS.items():
            online_load.settle(process)
            windows[level] = online_load.window(
                server, process, sample, connections=connections, seconds=seconds, folder=folder
            )
        memory = process.memory_mb()
    run["memory_mb"].append(memory)
    for level, window in windows.items():
        for name, value in dataclasses.asdict(window).items():
            kept = run["levels"][level]
            if name in FIELDS:
                kept[name].append(value)
            else:
                kept[name] += value


def _line(turn: int, name: str, run: Mapping[str, Any]) -> str:
    told = "; ".join(
        f"{level}: {kept['rate'][-1]:,.0f}/s, p50 {kept['p50'][-1]:.2f}, p99 {kept['p99'][-1]:.2f} ms, "
        f"{kept['cpu_us'][-1]:,.0f} µs"
        for level, kept in run["levels"].items()
    )
    return f"  round {turn + 1}  {name:32s} {told}"
