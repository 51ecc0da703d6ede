"""This module lets the tests of the command line run without an engine: a fake one that records what it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bentobatch
from bentobatch.engine.report import RunReport

ROOT = Path(__file__).resolve().parents[2]

FAKE_REPORT = RunReport(
    plan_id="0123456789abcdef",
    bundle="Iris:1",
    bundle_digest="d" * 64,
    api="predict",
    executor="inline",
    executor_reason="auto: nothing to share out",
    workers=1,
    output="/data/out.parquet",
    rejects_file=None,
    rows=10,
    scored=9,
    rejected=1,
    discarded=0,
    files=1,
    splits=1,
    splits_reused=0,
    rows_reused=0,
    features=("a", "b"),
    feature_rule="declared by the api",
    seconds={"total": 2.0, "plan": 0.5, "read": 0.5, "model": 0.5, "write": 0.25, "commit": 0.25},
    version="0.1.0",
)


class FakeRuns(types.ModuleType):
    """Stands in for bentobatch.runs: ``act`` is called with the keywords of ``run`` before the fake report is given."""

    def __init__(self) -> None:
        super().__init__("bentobatch.runs")
        self.asked: dict[str, Any] = {}
        self.act: Callable[[dict[str, Any]], None] = lambda keywords: None
        self.report = FAKE_REPORT
        self.plan: dict[str, Any] = {}

    def run(self, bundle: str, api: str = "predict", **keywords: Any) -> RunReport:
        self.asked = {"bundle": bundle, "api": api, **keywords}
        self.act(keywords)
        return self.report

    def describe(self, bundle: str, api: str = "predict", **keywords: Any) -> dict[str, Any]:
        self.asked = {"bundle": bundle, "api": api, **keywords}
        return self.plan


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    """bentobatch.runs replaced by a fake."""
    fake = FakeRuns()
    monkeypatch.setitem(sys.modules, "bentobatch.runs", fake)
    monkeypatch.setattr(bentobatch, "runs", fake, raising=False)
    return fake


@pytest.fixture
def bentobatch_process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts ``bentobatch ARGUMENTS`` as a process of its own. ``act``: the source of a fake engine's body, which sees
    ``keywords``; without it the process has the real engine."""

    def start(*arguments: str | bytes, act: str | None = None, **popen: Any) -> subprocess.Popen[bytes]:
        command: list[str | bytes] = [sys.executable, "-m", "bentobatch"]
        if act is not None:
            script = tmp_path / "with_fake_engine.py"
            script.write_text(_FAKE_PROCESS.format(act=textwrap.indent(textwrap.dedent(act), " " * 4)))
            command = [sys.executable, str(script)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "cli")])
        environment = {**os.environ, "PYTHONPATH": path, **popen.pop("env", {})}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path}
        process = subprocess.Popen([*command, *arguments], env=environment, **{**pipes, **popen})
        started.append(process)
        return process

    started: list[subprocess.Popen[bytes]] = []
    yield start
    for process in started:
        process.kill()
        process.communicate()


_FAKE_PROCESS = """
import os, subprocess, sys, time, types
from bentobatch.engine.report import Progress, RunReport

report = RunReport("0123", "Iris:1", "d" * 64, "predict", "inline", "", 1, None, None, 1, 1, 0, 0, 1, 1, 0, 0, ("a",), "")

def run(bundle, api, **keywords):
{act}
    return report

fake = types.ModuleType("bentobatch.runs")
fake.run = run
sys.modules["bentobatch.runs"] = fake
from bentobatch.cli.main import main

sys.exit(main())
"""
