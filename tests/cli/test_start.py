"""Tests of the program's first step: a run's worker process starts early, and only where it will be used."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentobatch.cli import start
from bentobatch.cli.start import starts_run
from bentobatch.engine import child
from tests.bundle.services import save_service

ROOT = Path(__file__).resolve().parents[2]

_COUNTED = """
import subprocess, sys
started = []
popen = subprocess.Popen
subprocess.Popen = lambda *a, **k: started.append("click" in sys.modules) or popen(*a, **k)
from bentobatch.cli.start import main
code = main()
print(code, started)
"""

_COLLECTS = """
import gc
import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.pickle import PickleArtifact
import helper

AT_IMPORT = gc.get_threshold()[0]

@bentobatch.artifacts([PickleArtifact("model")])
class Scorer(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [f"{AT_IMPORT} {gc.get_threshold()[0]}" for _ in values]
"""


@pytest.mark.parametrize(
    ("line", "early"),
    [
        ("run bundle", True),
        ("run bundle predict --input 1 --executor threads", True),
        ("run", False),
        ("run --help", False),
        ("run bundle --env bundle", False),
        ("run bundle --env=bundle", False),
        ("run bundle --log-format=json", False),
        ("--version", False),
        ("serve bundle", False),
        ("", False),
    ],
)
def test_what_starts_a_worker_early(line: str, early: bool) -> None:
    """A run of this interpreter's, with the leader's own stderr."""
    assert starts_run(line.split()) is early


def test_a_run_needs_one_process_which_starts_before_the_commands_are_imported(bundles: Path, tmp_path: Path) -> None:
    """It is the one that scores: a leader whose surroundings had changed since would start another."""
    pq.write_table(pa.table({"x0": [1.0], "x1": [2.0], "x2": [3.0]}), tmp_path / "in.parquet")
    words = ["run", str(bundles / "linear"), "predict", "--input-file", "in.parquet", "--output-file", "out.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", _COUNTED, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "0 [False]\n", done.stderr


def test_a_machine_without_room_for_a_process_is_told_of_by_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The early start says nothing: the run asks again, and its error is one line."""

    def refuse() -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(child, "Child", refuse)
    monkeypatch.setattr(sys, "argv", ["bentobatch", "run", str(tmp_path), "predict", "--input", "1"])
    assert start.main() == 74
    assert "Resource temporarily unavailable" in capsys.readouterr().err


def test_garbage_is_collected_again_once_the_bundle_is_loaded(tmp_path: Path) -> None:
    """It waits while libraries and models are imported, and no longer."""
    bundle = save_service(tmp_path / "code", tmp_path / "bundle", service_py=_COLLECTS)
    done = subprocess.run(
        [sys.executable, "-m", "bentobatch", "run", str(bundle), "predict", "--input", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert f'"1000000 {gc.get_threshold()[0]}"' in done.stdout, done.stderr
