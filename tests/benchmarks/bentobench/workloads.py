"""This module lists the workloads: for each one its input, its model, and the loops that it is measured against."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bentobench import data
from bentobench.models import WIDE_COLUMNS, model_folder


def scratch(root: Path) -> Path:
    """A folder for outputs and logs of this process alone: two benchmarks may run at a time, if not to be believed."""
    folder = root / "out" / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


LOOPS = Path(__file__).resolve().parents[1] / "loops"


EXECUTORS = ("auto", "threads", "processes", "inline")
"""``--executor auto`` and the choices by hand that it must come near to."""


@dataclass(frozen=True)
class Loop:
    """One hand-written script. ``words`` go before its INPUT, MODEL and OUTPUT; ``one_file`` says whether it writes one
    file or a folder of two parts."""

    name: str
    script: str
    words: tuple[str, ...] = ()
    one_file: bool = True

    def command(self, source: Path, model: Path, output: Path) -> list[str]:
        """What to run."""
        return [sys.executable, str(LOOPS / self.script), *self.words, str(source), str(model), str(output)]


@dataclass(frozen=True)
class Workload:
    """One thing to measure. ``source`` is a file or a folder; the first loop's output is what the others must equal.
    ``executors`` are those of ours to run; ``places`` are where ours writes: dir, file. ``key`` is the kept column that
    names the rows."""

    name: str
    title: str
    rows: int
    source: Path
    model: Path
    bundle: Path
    loops: tuple[Loop, ...]
    executors: tuple[str, ...] = EXECUTORS
    places: tuple[str, ...] = ("dir", "file")
    key: str = "id"


PARQUET_LOOPS = (
    Loop("1 process, tuned", "tuned_loop.py"),
    Loop("1 process, naive", "naive_loop.py"),
    Loop("2 processes, tuned", "two_processes.py", one_file=False),
    Loop("2 forked processes, tuned", "two_forks.py", one_file=False),
    Loop("2 threads", "two_threads.py"),
    Loop("2 threads, tuned", "two_threads.py", ("--tuned",)),
)


@dataclass(frozen=True)
class Size:
    """How large the workloads are made: ``scale`` 1 is what the targets are for."""

    root: Path
    scale: float = 1.0
    made: dict[str, Workload] = field(default_factory=dict)

    def rows(self, full: int) -> int:
        """``full`` rows at this scale, at least two."""
        return max(2, round(full * self.scale))


def _workload(
    size: Size, name: str, title: str, rows: int, source: Path, model: str, loops: Sequence[Loop], **more: object
) -> Workload:
    folder = model_folder(size.root, model)
    file = next(path for path in sorted(folder.glob("model.*")))
    return Workload(name, title, rows, source, file, folder / "bundle", tuple(loops), **more)  # type: ignore[arg-type]


def _parquet(size: Size, full: int) -> tuple[int, Path]:
    rows = size.rows(full)
    path = size.root / "data" / f"rows-{rows}.parquet"
    return rows, data.made(path, {"rows": rows, "group": data.ROW_GROUP}, lambda made: data.write_parquet(made, rows))


def _w(name: str, full: int, model: str, what: str) -> Callable[[Size], Workload]:
    def build(size: Size) -> Workload:
        rows, source = _parquet(size, full)
        return _workload(size, name, f"{rows:,} rows of Parquet, {what}", rows, source, model, PARQUET_LOOPS)

    return build


def _csv(size: Size) -> Workload:
    rows = size.rows(1_000_000)
    path = size.root / "data" / f"rows-{rows}.csv"
    source = data.made(path, {"rows": rows}, lambda made: data.write_csv(made, rows))
    loops = (Loop("pyarrow.csv, blocks", "csv_loop.py"), Loop("pyarrow.csv, whole", "csv_loop.py", ("--whole",)))
    return _workload(size, "CSV", f"{rows:,} × 20 CSV, LogisticRegression", rows, source, "logistic", loops)


def _json(size: Size) -> Workload:
    rows = size.rows(1_000_000)
    path = size.root / "data" / f"rows-{rows}.jsonl"
    source = data.made(path, {"rows": rows}, lambda made: data.write_json_lines(made, rows))
    loops = (Loop("pyarrow.json, blocks", "json_loop.py"), Loop("pyarrow.json, whole", "json_loop.py", ("--whole",)))
    return _workload(size, "JSON", f"{rows:,} JSON lines, LogisticRegression", rows, source, "logistic", loops)


def _small_files(size: Size) -> Workload:
    files, each = size.rows(4_000), 500
    path = size.root / "data" / f"files-{files}"
    source = data.made(path, {"files": files, "each": each}, lambda made: data.write_small_files(made, files, each))
    loops = (
        Loop("1 process, tuned", "small_files_loop.py", ("--tuned",)),
        Loop("1 process, naive", "small_files_loop.py"),
    )
    title = f"{files:,} Parquet files of {each} rows, LogisticRegression"
    return _workload(size, "FILES", title, files * each, source, "logistic", loops)


def _wide(size: Size) -> Workload:
    rows = size.rows(20_000)
    path = size.root / "data" / f"wide-{rows}.parquet"
    recipe = {"rows": rows, "width": WIDE_COLUMNS}
    source = data.made(path, recipe, lambda made: data.write_wide(made, rows, WIDE_COLUMNS))
    loops = (PARQUET_LOOPS[0], PARQUET_LOOPS[1], PARQUET_LOOPS[5])
    return _workload(size, "WIDE", f"{rows:,} rows of {WIDE_COLUMNS:,} columns, Ridge", rows, source, "wide", loops)


def _python(size: Size) -> Workload:
    rows, source = _parquet(size, 100_000)
    title = f"{rows:,} rows, a pure-Python model"
    return _workload(size, "PYTHON", title, rows, source, "python", PARQUET_LOOPS[1:2])


def _thousand(size: Size) -> Workload:
    path = size.root / "data" / "rows-1000.parquet"
    source = data.made(path, {"rows": 1000}, lambda made: data.write_parquet(made, 1000))
    loops = (Loop("bare script", "bare_script.py"), Loop("1 process, tuned", "tuned_loop.py"))
    return _workload(size, "SMALL", "1,000 rows, LogisticRegression", 1000, source, "logistic", loops)


def _images(size: Size) -> Workload:
    count, side = size.rows(2_000), 512
    path = size.root / "data" / f"images-{count}"
    recipe = {"count": count, "side": side}
    source = data.made(path, recipe, lambda made: data.write_images(made, count, side))
    loops = (
        Loop("1 process", "images_loop.py", ("1",)),
        Loop("2 threads", "images_loop.py", ("2",)),
    )
    title = f"{count:,} JPEG files of {side} × {side} pixels, a small numpy model"
    return _workload(size, "IMAGES", title, count, source, "brightness", loops, key="path")


BUILDERS: dict[str, Callable[[Size], Workload]] = {
    "W1": _w("W1", 2_000_000, "logistic", "LogisticRegression"),
    "W1L": _w("W1L", 10_000_000, "logistic", "LogisticRegression"),
    "W2": _w("W2", 1_000_000, "lightgbm", "LightGBM with 200 trees"),
    "W3": _w("W3", 500_000, "forest", "RandomForest with 100 trees"),
    "SMALL": _thousand,
    "CSV": _csv,
    "JSON": _json,
    "FILES": _small_files,
    "WIDE": _wide,
    "PYTHON": _python,
    "IMAGES": _images,
}
EVERYTHING = (*BUILDERS, "RESUME")
"""All that is measured: the workloads, and what is done with one of them."""


def build(name: str, size: Size) -> Workload:
    """The workload of that name, its data and model made if they are not there."""
    if name not in size.made:
        size.made[name] = BUILDERS[name](size)
    return size.made[name]
