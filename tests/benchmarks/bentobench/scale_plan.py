"""This module measures how planning and committing grow with the number of files and splits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bentobench.data import FEATURES, feature_matrix
from bentobench.models import model_folder
from bentobench.workloads import scratch

SPLITS_PER_FILE = 10
ROWS_PER_SPLIT = 4
LINKS = 30_000
"""Links to one file; ext4 allows 65,000."""
TERMS = ("plan", "save", "load", "parts", "list", "commit")


def measure_plans(root: Path, counts: Sequence[int], *, tell: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """For each number of splits, what each term takes; ten splits a file."""
    return [_measure(root, count, tell) for count in counts]


def _measure(root: Path, splits: int, tell: Callable[[str], None]) -> dict[str, Any]:
    bundle = model_folder(root, "logistic") / "bundle"
    within = scratch(root) / "plan"
    folder, output = within / "input", within / "output"
    files = max(1, splits // SPLITS_PER_FILE)
    many_files(folder, files)
    script = Path(__file__).with_name("scale_terms.py")
    found: dict[str, Any] = {"splits": files * SPLITS_PER_FILE, "files": files}
    for term in TERMS:
        words = [str(script), term, str(bundle), str(folder), str(output), str(ROWS_PER_SPLIT)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{term} of {splits:,} splits: exit code {done.returncode}\n{done.stderr[-2000:]}")
        found[term] = json.loads(done.stdout)
        tell(f"  {splits:9,} splits  {term:7s} {found[term]['seconds']:8.2f} s {found[term]['peak_mb']:8.0f} MB")
    if found["plan"]["splits"] != found["splits"] or found["commit"]["rows"] != found["splits"] * ROWS_PER_SPLIT:
        raise SystemExit(
            f"planned {found['plan']['splits']} splits and committed {found['commit']['rows']} rows: not all"
        )
    shutil.rmtree(within)
    return found


def many_files(folder: Path, files: int) -> None:
    """A folder of names for a few small files of ten row groups each, 1,000 names in a folder."""
    rows = SPLITS_PER_FILE * ROWS_PER_SPLIT
    values = feature_matrix(rows, stream=4)
    columns: dict[str, Any] = {"id": pa.array(np.arange(rows))}
    columns.update({name: pa.array(values[:, index]) for index, name in enumerate(FEATURES)})
    table = pa.table(columns)
    original = folder
    for number in range(files):
        within = folder / f"day-{number // 1000:04d}"
        if number % 1000 == 0:
            within.mkdir(parents=True)
        name = within / f"events-{number:07d}.parquet"
        if number % LINKS == 0:
            pq.write_table(table, name, row_group_size=ROWS_PER_SPLIT)
            original = name
        else:
            os.link(original, name)
