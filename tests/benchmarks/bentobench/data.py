"""This module makes the benchmarks' inputs, the same for the same seed, and keeps them in a folder.

A made file or folder has a recipe beside it (``NAME.recipe.json``, written last); it is made anew when the recipe
differs, so that a half-made or outdated one is never measured.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

SEED = 20_260_101
FEATURES = [f"x{index:02d}" for index in range(20)]
TEXTS = [f"note{index}" for index in range(5)]
ROW_GROUP = 131_072
TEXT_WIDTH = 32
VERSION = 1
"""Raised when a maker writes other bytes."""

Maker = Callable[[Path], None]


def made(path: Path, recipe: dict[str, Any], make: Maker, *, tell: Callable[[str], None] = print) -> Path:
    """``path``, made by ``make`` unless it is there already by the same recipe. ``make`` gets a temporary path."""
    stamp = path.with_name(f"{path.name}.recipe.json")
    wanted = {"version": VERSION, **recipe}
    if path.exists() and stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return path
    tell(f"making {path.name} ...")
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    temporary = path.with_name(f"making-{path.name}")
    for stale in (path, temporary):
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink(missing_ok=True)
    make(temporary)
    os.replace(temporary, path)
    stamp.write_text(json.dumps(wanted))
    return path


def feature_matrix(rows: int, *, group: int = 0, width: int = len(FEATURES), stream: int = 0) -> np.ndarray:
    """Standard normal float64 values of shape (rows, width), in column-major order."""
    random = np.random.default_rng([SEED, stream, width, group])
    return random.standard_normal((width, rows)).T


def labels(matrix: np.ndarray) -> np.ndarray:
    """0 or 1 for each row: a linear rule with an interaction and some noise, so that every model learns something."""
    random = np.random.default_rng([SEED, 99])
    weights = random.standard_normal(matrix.shape[1])
    value = matrix @ weights + 1.5 * matrix[:, 0] * matrix[:, 1] + random.standard_normal(len(matrix))
    return (value > 0).astype(np.int64)


def wide_texts(rows: int) -> list[pa.Array]:
    """Five columns of distinct hexadecimal texts."""
    random = np.random.default_rng([SEED, 7])
    made = []
    for _ in TEXTS:
        digits = np.frombuffer(random.bytes(rows * TEXT_WIDTH // 2).hex().encode(), dtype=f"S{TEXT_WIDTH}")
        made.append(pa.array(digits).cast(pa.string()))
    return made


def tables(rows: int, *, texts: bool = True, first_id: int = 0) -> Iterator[pa.Table]:
    """``rows`` rows as tables of one row group each: id, 20 features and, if asked for, 5 wide texts."""
    notes = wide_texts(min(rows, ROW_GROUP)) if texts else []
    for group, start in enumerate(range(0, rows, ROW_GROUP)):
        count = min(ROW_GROUP, rows - start)
        values = feature_matrix(count, group=group)
        columns: dict[str, Any] = {"id": pa.array(np.arange(first_id + start, first_id + start + count))}
        columns.update({name: pa.array(values[:, index]) for index, name in enumerate(FEATURES)})
        columns.update({name: note[:count] for name, note in zip(TEXTS, notes, strict=False)})
        yield pa.table(columns)


def write_parquet(path: Path, rows: int) -> None:
    """One Parquet file as pyarrow writes it by default, in row groups of 131,072 rows."""
    writer = None
    for table in tables(rows):
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    assert writer is not None
    writer.close()


def write_csv(path: Path, rows: int) -> None:
    """id and 20 features with a header; six decimals, as such files have."""
    with pa.OSFile(str(path), "wb") as sink:
        writer = None
        for table in tables(rows, texts=False):
            rounded = pa.table({name: _rounded(table[name]) for name in table.column_names})
            writer = writer or pa_csv.CSVWriter(sink, rounded.schema, write_options=_PLAIN)
            writer.write_table(rounded)
        assert writer is not None
        writer.close()


def write_json_lines(path: Path, rows: int) -> None:
    """One object a line: id and 20 features with six decimals."""
    import orjson  # here: the other makers do without

    with path.open("wb") as file:
        for table in tables(rows, texts=False):
            rounded = pa.table({name: _rounded(table[name]) for name in table.column_names})
            for batch in rounded.to_batches(max_chunksize=8192):
                file.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist()))


def write_small_files(folder: Path, files: int, rows_each: int) -> None:
    """``files`` Parquet files of ``rows_each`` rows, named so that the order of their names is that of their rows."""
    folder.mkdir()
    width = len(str(files - 1))
    notes = wide_texts(rows_each)
    for number in range(files):
        values = feature_matrix(rows_each, group=number, stream=1)
        columns: dict[str, Any] = {"id": pa.array(np.arange(number * rows_each, (number + 1) * rows_each))}
        columns.update({name: pa.array(values[:, index]) for index, name in enumerate(FEATURES)})
        columns.update(dict(zip(TEXTS, notes, strict=True)))
        pq.write_table(pa.table(columns), folder / f"events-{number:0{width}d}.parquet")


def write_wide(path: Path, rows: int, width: int) -> None:
    """``width`` float32 columns and an id, in row groups of 4,096 rows."""
    writer = None
    for group, start in enumerate(range(0, rows, 4096)):
        count = min(4096, rows - start)
        values = feature_matrix(count, group=group, width=width, stream=2).astype(np.float32)
        columns: dict[str, Any] = {"id": pa.array(np.arange(start, start + count))}
        columns.update({f"w{index:04d}": pa.array(values[:, index]) for index in range(width)})
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def write_images(folder: Path, count: int, side: int) -> None:
    """``count`` JPEG files of ``side`` × ``side`` pixels: smooth gradients with noise, as photographs compress."""
    from PIL import Image  # here: only the workload of images needs it

    folder.mkdir()
    ramp = np.linspace(0, 200, side)
    for number in range(count):
        random = np.random.default_rng([SEED, 3, number])
        picture = np.add.outer(ramp, ramp[:: random.choice([-1, 1])])[..., None] / 2 + random.integers(0, 55, 3)
        picture = picture + random.normal(0, 6, (side, side, 3))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"image-{number:06d}.jpg", quality=88)


_PLAIN = pa_csv.WriteOptions(quoting_style="none")


def _rounded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([np.round(column.to_numpy(), 6)]) if pa.types.is_floating(column.type) else column
