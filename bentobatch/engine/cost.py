"""This module measures what calling an api costs: how long a row takes, and whether calls hold each other up in threads.

What a planning finds is kept beside the output, since split boundaries belong to the plan: the same job finds them again,
however busy the machine is then.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bentobatch.engine.clocks import Clock, wait_for_each_other
from bentobatch.engine.job import BatchJob, digest_of
from bentobatch.engine.store import Store
from bentobatch.errors import BentobatchError
from bentobatch.scorer import Scorer

PROBE_MOST_ROWS = 6_400
COSTLY_SECONDS = 0.025
"""A first call of a hundred rows that takes so long is looked at more closely; cheaper ones need no smaller splits."""
_ENOUGH_SECONDS = 0.1
SPLIT_SECONDS = 2.0
"""How long a split may take: what is lost with a worker, and about how unevenly workers may end."""
LEAST_SPLIT_ROWS = 256
READ_BYTES_PER_SECOND = 300e6
"""About what a thread decodes of Parquet, in bytes of memory."""
MOST_READING = 0.1
"""Splits are not made smaller for a model that takes less than ten times as long as reading its rows: a piece of a row
group decodes the rows before it, too."""


@dataclass(frozen=True)
class Cost:
    """``row_seconds`` of one thread; ``interpreted``: calls in two threads wait for each other (the interpreter's lock), so
    that processes serve them and threads do not. None where that was not looked at."""

    row_seconds: float
    interpreted: bool | None = None


def measure(scorer: Scorer, batch: pa.RecordBatch) -> Cost | None:
    """What a row of ``batch`` costs: ever more rows are scored until a call takes a tenth of a second, or there are no
    more, so that what each call costs by itself weighs little. None for a cheap api, and for rows that it does not take."""
    rows = 0
    took = 0.0
    while rows < min(batch.num_rows, PROBE_MOST_ROWS) and took < _ENOUGH_SECONDS:
        rows = min(max(100, rows * 4), batch.num_rows)
        seconds = _timed(scorer, batch.slice(0, rows))
        if seconds is None:
            return None
        took = seconds
        if rows == 100 and took < COSTLY_SECONDS:
            return None  # only its very first call was slow
    if rows == 0:
        return None
    return Cost(took / rows, _interpreted(scorer, batch.slice(0, rows)))


def split_rows_for(job: BatchJob, cost: Cost, *, row_bytes: float) -> int:
    """How many rows a split may have: as the job says, and no more than a costly model scores in two seconds."""
    if cost.row_seconds <= 0 or row_bytes / READ_BYTES_PER_SECOND > MOST_READING * cost.row_seconds:
        return job.split_rows
    wanted = int(SPLIT_SECONDS / cost.row_seconds)
    # powers of two: machines and moments that differ a little come to the same
    return max(LEAST_SPLIT_ROWS, min(job.split_rows, 1 << max(0, wanted.bit_length() - 1)))


def kept_name(job: BatchJob) -> str:
    """Where the answer is kept: one for each model, api and way of calling it, whatever the input."""
    return "settled-" + digest_of([job.bundle_digest, job.api, job.split_rows, job.batch_rows, job.batch_bytes])[:16]


def read_kept(store: Store, job: BatchJob) -> Mapping[str, Any] | None:
    """What an earlier planning found: ``split_rows`` and ``interpreted``."""
    data = store.read(kept_name(job))
    if not data:
        return None
    found: dict[str, Any] = json.loads(data)
    return found


def _timed(scorer: Scorer, batch: pa.RecordBatch) -> float | None:
    try:
        with Clock().running() as clock:
            scorer.score(batch)
        return clock.own
    except BentobatchError:
        return None  # whatever it is, the run itself will tell, with its row


def _interpreted(scorer: Scorer, batch: pa.RecordBatch) -> bool | None:
    """Score the same rows in two threads at once, and look at what they waited for."""
    clocks = [Clock(), Clock()]
    together = threading.Barrier(len(clocks))

    def score(clock: Clock) -> None:
        together.wait()
        with clock.running():
            _timed(scorer, batch)

    _in_threads([lambda clock=clock: score(clock) for clock in clocks])  # type: ignore[misc]
    return wait_for_each_other(clocks)


def _in_threads(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call, name="bentobatch-probe") for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
