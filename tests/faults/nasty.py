"""This module names the nasty inputs: what each is expected to do, and who makes its files, the same on every machine.

A maker writes one input at a path and gives back the truth: (id, prediction) for each row in order, where the
prediction is None for a row that must be rejected. It gives None where nothing may be scored at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Row: TypeAlias = tuple[int, Any, Any, Any]
Truth: TypeAlias = "list[tuple[int | None, float | None]] | None"
Maker: TypeAlias = Callable[[Path], Truth]

COLUMNS = ("id", "x0", "x1", "x2")
NAN = float("nan")
MAKERS: dict[str, Maker] = {}


@dataclass(frozen=True)
class Case:
    """One input. ``scored`` and ``rejects`` are counts of rows, ``code`` the exit code, ``says`` a pattern that the one
    line of an error must hold. ``scored`` None with code 0 means: the rows of the maker's truth. ``either``: ended well
    or with ``code``, but as the case says. ``alone`` runs it as a process under a memory limit in MiB."""

    name: str
    expect: str
    scored: int | None = None
    rejects: int = 0
    code: int = 0
    says: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    process: bool = False
    memory: int | None = None


def ok(name: str, scored: int | None = None, **more: Any) -> Case:
    """Every row is scored."""
    return Case(name, "ok", scored, **more)


def rejects(name: str, scored: int, rejected: int, says: str = "", **more: Any) -> Case:
    """Some rows are rejected, the others scored; ``says`` must match one of the rejects (as JSON)."""
    return Case(name, "rejects", scored, rejected, 0, says, **more)


def error(name: str, code: int, says: str = "", **more: Any) -> Case:
    """Refused in one line, without an output."""
    return Case(name, "error", None, 0, code, says, **more)


def either(name: str, code: int = 65, says: str = "", **more: Any) -> Case:
    """Scored (as the truth says, where the maker knows it) or refused in one line."""
    return Case(name, "either", None, 0, code, says, **more)


def makes(name: str) -> Callable[[Maker], Maker]:
    """Registers a maker by the name of its case."""

    def register(maker: Maker) -> Maker:
        assert name not in MAKERS, name
        MAKERS[name] = maker
        return maker

    return register


def row(index: int) -> Row:
    """The plain row ``index``: floats that text and binary hold alike."""
    return index, index * 0.5, index % 7 - 3.0, 1.0 / (1 << index % 4)


def rows(count: int, first: int = 0) -> list[Row]:
    """``count`` plain rows."""
    return [row(index) for index in range(first, first + count)]


def score(x0: float, x1: float, x2: float) -> float:
    """What the model answers."""
    return x0 - 2 * x1 + 0.5 * x2


def truth(of: Iterable[Row]) -> list[tuple[int | None, float | None]]:
    """The ids and predictions of rows; a missing feature makes NaN."""
    return [(key, score(*(NAN if value is None else float(value) for value in values))) for key, *values in of]


def table(of: list[Row], **columns: Any) -> pa.Table:
    """Rows as a table; ``columns`` replace some or are added."""
    data: dict[str, Any] = {
        name: pa.array([item[index] for item in of], pa.int64() if index == 0 else pa.float64())
        for index, name in enumerate(COLUMNS)
    }
    return pa.table({**data, **columns})


def parquet(path: Path, of: list[Row], *, written: dict[str, Any] | None = None, **columns: Any) -> Truth:
    """A Parquet file of these rows; ``written`` are options of pyarrow's writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:  # any name will do then
        pq.write_table(table(of, **columns), sink, **(written or {}))
    return truth(of)
