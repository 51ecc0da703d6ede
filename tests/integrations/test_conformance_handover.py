"""A run that one executor began, and whose leader was killed, is finished by any other."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
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
FINISHED = 3
"""So many of the splits have receipts when the leader is killed; others are being scored."""
PAIRS = [(first, second) for first in EXECUTORS for second in EXECUTORS if first != second]
ROOT = Path(__file__).parents[2]
LEADER = Path(__file__).with_name("leader.py")


@dataclass(frozen=True)
class Abandoned:
    """What a killed leader has left: ``kept`` is a copy of the state folder as it was at its death."""

    options: dict[str, Any]
    plan_id: str
    state: Path
    kept: Path

    @property
    def output(self) -> Path:
        """The path at which the run would have ended."""
        return Path(self.options["output_file"])

    def restore(self) -> None:
        """As if nobody had gone on from there yet."""
        self.output.unlink(missing_ok=True)
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.kept, self.state, symlinks=True)


def receipts(state: Path) -> list[Path]:
    """The receipts of all plans."""
    return [path for path in state.glob("*/receipts/*") if not path.name.startswith((".", "_"))]


@pytest.fixture(scope="session")
def handed_over() -> dict[str, Abandoned]:
    """By executor: what was left of the one run that it began."""
    return {}


@pytest.fixture
def abandoned(
    gate: Gate,
    fleet_of: Callable[[str], Fleet],
    handed_over: dict[str, Abandoned],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Abandoned]:
    """What is left of a run whose leader was killed; each executor begins one."""

    def of(executor: str) -> Abandoned:
        if executor not in handed_over:
            folder = tmp_path_factory.mktemp(f"begun-on-{executor}")
            handed_over[executor] = begin_and_kill(fleet_of(executor), gate, folder)
        return handed_over[executor]

    return of


@pytest.fixture(scope="session")
def reference(session_gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The rows of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    options = options_of(folder)
    Fleet("inline", lambda: "inline").run(session_gate, **options)
    return rows_of(read_output(folder / "out.parquet"))


def options_of(folder: Path) -> dict[str, Any]:
    write_input(folder / "in.parquet")
    return {
        "input_file": str(folder / "in.parquet"),
        "output_file": str(folder / "out.parquet"),
        "split_rows": SPLIT_ROWS,
        "keep": ["id"],
    }


def begin_and_kill(fleet: Fleet, gate: Gate, folder: Path) -> Abandoned:
    """Run in a process of its own, and kill that once some splits are finished and others are under way."""
    options = options_of(folder)
    state = folder / ".out.parquet.bentobatch"
    keywords = dict(fleet.leader)
    environ = {**os.environ, **keywords.pop("environ", {}), "PYTHONPATH": str(ROOT)}
    gate.shut(after=FINISHED)
    text = json.dumps({"bundle": str(gate.bundle), **keywords, **options})
    with (folder / "log").open("wb") as log:
        leader = subprocess.Popen(
            [sys.executable, str(LEADER), text],
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family: list[psutil.Process] = []
    try:
        wait_for(
            lambda: leader.poll() is not None or (len(receipts(state)) == FINISHED and gate.held()),
            told=f"{FINISHED} splits were finished on {fleet.name}, and another was begun",
        )
        assert leader.poll() is None, (folder / "log").read_text()
        family = psutil.Process(leader.pid).children(recursive=True)
    finally:
        leader.kill()
        leader.wait()
    kept = copied(state, folder / "kept")
    for process in family:  # what a leader took along anyway, or would leave on this machine for ever
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    gate.release()
    if fleet.outlives:
        settle(gate, state)
    (plan_id,) = {path.parents[1].name for path in receipts(kept)}
    assert not (folder / "out.parquet").exists()
    return Abandoned(options, plan_id, state, kept)


def copied(state: Path, target: Path) -> Path:
    """A copy of a folder in which workers still tell that they live."""
    while True:
        try:
            shutil.copytree(state, target, symlinks=True)
            return target
        except shutil.Error:  # a file was renamed meanwhile
            shutil.rmtree(target)


def settle(gate: Gate, state: Path) -> None:
    """Wait until workers that outlive their leader have scored what they were given."""
    quiet_since = time.monotonic()
    seen = (0, 0)

    def quiet() -> bool:
        nonlocal quiet_since, seen
        now = (len(gate.calls()), len(receipts(state)))
        if now != seen or now[0] != now[1]:
            seen, quiet_since = now, time.monotonic()
        return time.monotonic() - quiet_since > 1.0

    wait_for(quiet, told="the workers of a killed leader came to rest")


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_run_begun_on_one_executor_is_finished_on_another(
    abandoned: Callable[[str], Abandoned],
    fleet_of: Callable[[str], Fleet],
    gate: Gate,
    reference: pa.Table,
    first: str,
    second: str,
) -> None:
    """The leader of the first was killed in the middle; the second scores only what has no receipt, and ends in the output
    of an undisturbed run."""
    left = abandoned(first)
    fleet = fleet_of(second)
    left.restore()
    gate.open()
    report = fleet.run(gate, **left.options)
    assert (report.plan_id, report.executor) == (left.plan_id, second)
    assert (report.splits, report.splits_reused, report.rows_reused) == (SPLITS, FINISHED, FINISHED * SPLIT_ROWS)
    assert (report.rows, report.scored, report.rejected) == (SPLITS * SPLIT_ROWS, SPLITS * SPLIT_ROWS, 0)
    assert len(gate.calls()) == SPLITS - FINISHED
    assert rows_of(read_output(left.output)).replace_schema_metadata() == reference.replace_schema_metadata()
