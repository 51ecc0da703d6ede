"""This module turns a workload into the runners that are measured in turn: bentobatch's command line and the loops."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bentobench.workloads import Loop, Workload

OURS = "bentobatch"


@dataclass(frozen=True)
class Runner:
    """One way to do a workload's work. ``kind`` is ours, loop or peer. ``one_file``: it writes one file, else a folder of
    parts. ``report``: where ours leaves its report."""

    name: str
    kind: str
    command: tuple[str, ...]
    output: Path
    one_file: bool
    report: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    ordered: bool = True
    timeout: float = 3600

    def fresh(self) -> None:
        """Remove the output and all state of an earlier run."""
        state = self.output.with_name(f".{self.output.name}.bentobatch")
        for path in (self.output, state, self.report):
            if path is not None and path.is_dir():
                shutil.rmtree(path)
            elif path is not None:
                path.unlink(missing_ok=True)

    def told(self) -> dict[str, Any]:
        """Ours: the report of the last run; else nothing."""
        if self.report is None or not self.report.exists():
            return {}
        told: dict[str, Any] = json.loads(self.report.read_text())
        return told


def ours(work: Workload, folder: Path, place: str, *, executor: str = "auto", options: Sequence[str] = ()) -> Runner:
    """bentobatch's command line. ``place`` is dir or file."""
    name = f"{OURS} → {place}" + (f", {executor}" if executor != "auto" else "")
    stem = f"{work.name}-ours-{place}-{executor}"
    output = folder / (f"{stem}.parquet" if place == "file" else stem)
    report = folder / f"{stem}.json"
    command = [str(Path(sys.executable).parent / "bentobatch"), "run", str(work.bundle), "predict"]
    command += ["--input-file", str(work.source), "--output-file", str(output), "--overwrite", "--quiet"]
    command += ["--report", str(report), "--executor", executor]
    command += ["--keep", work.key]
    return Runner(name, "ours", (*command, *options), output, place == "file", report)


def loop(work: Workload, folder: Path, script: Loop) -> Runner:
    """A hand-written loop."""
    stem = f"{work.name}-loop-{script.name.replace(' ', '-').replace(',', '')}"
    output = folder / (f"{stem}.parquet" if script.one_file else stem)
    return Runner(script.name, "loop", tuple(script.command(work.source, work.model, output)), output, script.one_file)


def runners(work: Workload, folder: Path, *, executors: Sequence[str] | None = None) -> list[Runner]:
    """All runners of a workload: ours for each executor and place, then the loops."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = [
        ours(work, folder, place, executor=executor)
        for executor in (work.executors if executors is None else executors)
        for place in (work.places if executor == "auto" else work.places[:1])
    ]
    return [*mine, *(loop(work, folder, script) for script in work.loops)]
