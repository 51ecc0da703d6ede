"""This module compares a runner's output with that of the hand loop: rows, ids in order, predictions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class WrongOutput(Exception):
    """A runner's output is not what the loop's is; its time says nothing then."""


def read_output(path: Path, key: str = "id") -> pa.Table:
    """The key column and prediction of a file, or of a folder's parts in the natural order of their names."""
    if path.is_file():
        return pq.read_table(path, columns=[key, "prediction"])
    parts = [part for part in path.rglob("*.parquet") if not part.name.startswith(("_", "."))]
    if not parts:
        raise WrongOutput(f"{path} holds no Parquet file")
    parts.sort(key=lambda part: [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", str(part))])
    return pa.concat_tables([pq.read_table(part, columns=[key, "prediction"]) for part in parts])


def check(output: Path, expected: Path, *, key: str = "id", ordered: bool = True) -> None:
    """Raise unless ``output`` equals ``expected``; where ``ordered`` is false, both are sorted by ``key`` first.

    What is no Parquet with these columns is wrong as well. The tolerances are those of models that sum in another order:
    1e-6 for float64, 1e-4 where the loop's are float32.
    """
    theirs = read_output(expected, key)
    try:
        mine = read_output(output, key)
        values = np.asarray(mine["prediction"].to_numpy(), dtype=np.float64)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise WrongOutput(f"{output.name} cannot be read: {error!r}") from error
    if mine.num_rows != theirs.num_rows:
        raise WrongOutput(f"{output.name} has {mine.num_rows:,} rows, not {theirs.num_rows:,}")
    ids, wanted = mine[key].to_numpy(), theirs[key].to_numpy()
    if not ordered:
        order = np.argsort(ids, kind="stable")
        ids, values = ids[order], values[order]
    if not np.array_equal(ids, wanted):
        raise WrongOutput(
            f"{output.name}: the {key}s from row {int(np.argmax(ids != wanted)):,} on are not the input's"
        )
    target = theirs["prediction"].to_numpy()
    tolerance = 1e-4 if target.dtype == np.float32 else 1e-6
    close = np.isclose(values, target, rtol=tolerance, atol=tolerance)
    if not close.all():
        row = int(np.argmin(close))
        raise WrongOutput(f"{output.name}: row {row:,} is {values[row]!r}, the loop's is {target[row]!r}")
