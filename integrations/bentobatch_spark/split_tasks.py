"""This module is what a Spark task does for a run over files: it scores the splits whose numbers it is given.

It runs in a Python worker of an executor. The bundle's code does not run there, but in a child of it (engine.remote).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any

import pyarrow as pa
from pyspark.accumulators import Accumulator

from bentobatch.engine.remote import score_split

RESULT = "result string"
"""What ``score_batches`` yields, as Spark spells a schema: one JSON text for each split."""


class News:
    """An AccumulatorParam: results of splits reach the driver while the other tasks of their job still run.

    The value is a queue in the driver, and a list in a worker; Spark sends the list when a task has succeeded.
    """

    def zero(self, value: Any) -> list[str]:  # noqa: ARG002 - Spark's signature
        return []

    def addInPlace(self, value: Any, term: list[str]) -> Any:  # noqa: N802 - Spark's name
        if isinstance(value, SimpleQueue):
            for item in term:
                value.put(item)
            return value
        return value + term


def score_numbers(
    numbers: Iterable[int], *, kept: Mapping[str, str], split_timeout: float | None, news: Accumulator[Any]
) -> Iterator[str]:
    """Score the splits of one partition; each result goes to ``news`` too."""
    for number in numbers:
        result = json.dumps(score_split(kept, number, split_timeout=split_timeout))
        news.add([result])
        yield result


def score_batches(
    batches: Iterable[pa.RecordBatch], *, kept: Mapping[str, str], split_timeout: float | None
) -> Iterator[pa.RecordBatch]:
    """The same for mapInArrow, where the numbers come as the column ``split``."""
    for batch in batches:
        for number in batch.column("split").to_pylist():
            result = json.dumps(score_split(kept, number, split_timeout=split_timeout))
            yield pa.RecordBatch.from_pydict({"result": [result]})
