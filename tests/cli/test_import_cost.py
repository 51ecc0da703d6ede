"""Tests of what the command line imports before it has something to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "pandas",
    "pyarrow",
    "numpy",
    "dask",
    "distributed",
    "pyspark",
    "airflow",
    "celery",
    "sklearn",
    "fsspec",
    "flask",
    "sqlalchemy",
    "alembic",
    "cryptography",
}

_PROBE = """
import json, sys
from bentobatch.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""
_MOST_MODULES = 300
"""Python's own, click's and ours are 230; a library such as pandas adds hundreds. Seconds would tell of the machine."""


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["run", "--unknown"]])
def test_help_imports_little_and_no_data_library(words: list[str]) -> None:
    """Help, the version and usage errors import a few hundred modules, and neither pandas nor a scheduler."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == (2 if "--unknown" in words else 0)
    assert not HEAVY & {name.partition(".")[0] for name in modules}
    assert len(modules) < _MOST_MODULES


def test_a_worker_begins_without_what_most_runs_never_need() -> None:
    """Each run waits for these imports: no fsspec for local files, and of all kinds of runs none but the plain one."""
    probe = "import sys, bentobatch.engine.session; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    engine = "bentobatch.engine."
    spared = {"fsspec", "pandas", *(engine + name for name in ("redrive", "only_new", "shared_reading", "remote"))}
    assert not spared & set(done.stdout.split())
