"""This module calls the user's api: a record batch of feature columns goes in, prediction columns come out.

It is the only place where the user's code runs on rows. The engine, Spark, Dask and the online server all use it, so
that a bad row costs itself alone everywhere: a failing batch is bisected until the row that makes the api raise stands
alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from bentobatch.adapters.base import InputAdapter
from bentobatch.adapters.matrix_batch import MatrixBatch
from bentobatch.adapters.results import result_length, settle_result
from bentobatch.devices import on_device
from bentobatch.errors import BentobatchError, ModelError, Retryable, UnavailableError
from bentobatch.rows import BadRow
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore
from bentobatch.tasks import InferenceError, InferenceResult, InferenceTask

CONSECUTIVE_FAILURES = 1_000
"""So many rows in a row failing alone are no bad rows: the model is broken."""

_GPU_OUT_OF_MEMORY = "OutOfMemoryError"
"""PyTorch's name for it, which is no MemoryError of Python's."""
_OUTAGES = frozenset({"ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "TimeoutException", "RetryError"})


class EveryRowFails(ModelError):  # noqa: N818 - reads as the condition that it is
    """The api raised on every single row it was given: this is no matter of bad rows."""


@dataclass(frozen=True)
class Scored:
    """The outcome for one batch. ``columns`` has one row for each row of the batch, null for the rows in ``bad``, which
    are in row order. ``seconds`` is time spent in the api and its adapters."""

    columns: pa.RecordBatch
    bad: Sequence[BadRow]
    seconds: float


class Correspondence(Protocol):
    """Where rows come from requests: what their tasks know of these, and what the api says beside its values. Rows are
    counted in the batch that is scored. A row may be asked for again, where a batch is bisected: the last word counts."""

    def task(self, row: int, data: Any) -> InferenceTask:
        """The task of a row, for a function that takes tasks."""

    def result(self, row: int, result: InferenceResult) -> None:
        """The api returned this result for a row, or discarded the row by it; or it raised an exception that says which
        HTTP status it means (``status_code``, as BentoML's do)."""


class Piece(NamedTuple):
    """What one call of the api gave: ``made`` (see ``Scorer.made``) has one row for each of ``rows``, which are ascending
    positions in the batch."""

    made: Any
    rows: np.ndarray[Any, Any]


class Scorer:
    """One api of one loaded service, ready to score.

    ``output_schema`` is held since planning: results are cast to it safely. Without it (when planning probes) types are
    found from the values. Threads may share a Scorer if the user's api allows it. ``every_row_may_fail``: the rows are those
    that failed before, so that any number of them may fail again and tells nothing of the model.
    """

    def __init__(
        self,
        service: ServiceCore,
        api: InferenceAPI,
        *,
        output_column: str = "prediction",
        output_schema: pa.Schema | None = None,
        every_row_may_fail: bool = False,
    ) -> None:
        self.service = service
        self.api = api
        self.output_column = output_column
        self.output_schema = output_schema
        self.classes = known_classes(service)
        self.device: str | None = vars(service).get("_device")
        self.every_row_may_fail = every_row_may_fail

    @property
    def input(self) -> InputAdapter:
        """The api's input adapter."""
        return self.api.input

    def score(
        self,
        batch: pa.RecordBatch | MatrixBatch,
        *,
        skip: Sequence[BadRow] = (),
        correspondence: Correspondence | None = None,
    ) -> Scored:
        """Score the rows of ``batch`` but those in ``skip``, which were lost before (they are in the outcome's ``bad``). A
        MatrixBatch only where the input ``takes_matrix_batch``.

        Raises:
            ModelError: the api broke its contract (length, type, exit), or every row fails.
            UnavailableError: the api says that something it needs is out of reach; try the batch again later.
        """
        started = time.perf_counter()
        pieces, bad = self.pieces(batch, skip=skip, correspondence=correspondence)
        columns = _scatter(pieces, batch.num_rows, self.output_schema)
        return Scored(columns, bad, time.perf_counter() - started)

    def pieces(
        self,
        batch: pa.RecordBatch | MatrixBatch,
        *,
        skip: Sequence[BadRow] = (),
        correspondence: Correspondence | None = None,
    ) -> tuple[list[Piece], list[BadRow]]:
        """As ``score``: the results of each call, and the bad rows; both in row order."""
        lost = {bad.index: bad for bad in skip}
        rows = np.arange(batch.num_rows)
        if lost:
            rows = np.delete(rows, sorted(lost))
            batch = batch.take(pa.array(rows))
        attempt = _Attempt(self, lost, correspondence)
        if len(rows):
            attempt.run(batch, rows)
        return attempt.pieces, [lost[index] for index in sorted(lost)] if lost else []

    def made(self, results: Any, rows: int) -> Any:
        """What becomes of the results of one call, which are those of ``rows`` rows: here their columns.

        Raises:
            ModelError: they make no columns, or are of another number of rows.
        """
        columns = self.api.output.columns(
            results, name=self.output_column, classes=self.classes, schema=self.output_schema
        )
        if columns.num_rows != rows:
            raise self._wrong_length(columns.num_rows, rows)
        return columns

    def empty(self) -> pa.RecordBatch:
        """The columns of no rows at all, for an input without any; needs ``output_schema``."""
        if self.output_schema is None:
            raise ModelError(f"api {self.api.name!r}: the output's columns are unknown without a single row")
        return pa.RecordBatch.from_pylist([], schema=self.output_schema)

    def call(
        self, batch: pa.RecordBatch | MatrixBatch, letters: Letters | None = None
    ) -> tuple[Any, np.ndarray[Any, Any], list[BadRow]]:
        """Call the api once for all rows of ``batch``: what was ``made`` of the results (None of no rows), the positions
        that they belong to, the bad rows."""
        with on_device(self.device):
            return self._call(batch, letters or Letters(None, range(batch.num_rows)))

    def _call(
        self, batch: pa.RecordBatch | MatrixBatch, letters: Letters
    ) -> tuple[Any, np.ndarray[Any, Any], list[BadRow]]:
        converted = self.input.convert(batch)
        bad = list(converted.bad)
        rows = np.arange(batch.num_rows)
        if bad:
            rows = np.delete(rows, sorted(item.index for item in bad))
        if converted.rows == 0:
            return None, rows, bad
        if not self.api.batch:
            results, left_out = self._call_singly(converted.args, rows, letters)
        else:
            results, left_out = self._call_together(converted.args, rows, letters)
        bad.extend(left_out)
        gone = {item.index for item in left_out}
        if gone:
            rows = np.array([row for row in rows if row not in gone], dtype=np.int64)
        if len(rows) == 0:
            return None, rows, bad
        return self.made(results, len(rows)), rows, bad

    def _call_together(
        self, args: tuple[Any, ...], rows: np.ndarray[Any, Any], letters: Letters
    ) -> tuple[Any, list[BadRow]]:
        tasks = _tasks(args, rows, letters) if self.api.wants_tasks else None
        result = self._invoke(args, tasks)
        left_out = _discarded(tasks, rows, letters) if tasks else []
        kept = (
            [row for row, task in zip(rows, tasks, strict=True) if not task.is_discarded]
            if left_out and tasks
            else rows
        )
        result = settle_result(result)
        length = result_length(result)
        if length != len(kept):
            raise self._wrong_length(length, len(kept))
        if not isinstance(result, (list, tuple)) or not any(isinstance(value, InferenceResult) for value in result):
            return result, left_out
        values, refused = _unwrap(result, kept, letters)
        return values, left_out + refused

    def _call_singly(
        self, args: tuple[Any, ...], rows: np.ndarray[Any, Any], letters: Letters
    ) -> tuple[list[Any], list[BadRow]]:
        results: list[Any] = []
        left_out: list[BadRow] = []
        failures = 0
        for position, row in enumerate(rows):
            values = tuple(arg[position] for arg in args)
            data = values[0] if len(values) == 1 else values
            tasks = [letters.task(int(row), data)] if self.api.wants_tasks else None
            try:
                result = self._invoke(values, tasks)
            except BentobatchError:
                raise
            except Exception as error:
                failures += 1
                left_out.append(_model_failure(int(row), error, letters))
                if self.every_row_may_fail:
                    continue
                if failures >= CONSECUTIVE_FAILURES or (failures == len(rows) and failures > 1):
                    raise self._every_row_fails(failures, error) from error
                continue
            failures = 0
            if tasks and tasks[0].is_discarded:
                left_out.extend(_discarded(tasks, rows[position : position + 1], letters))
                continue
            values_of, refused = _unwrap([result], rows[position : position + 1], letters)
            results.extend(values_of)
            left_out.extend(refused)
        return results, left_out

    def _invoke(self, args: tuple[Any, ...], tasks: list[InferenceTask] | None) -> Any:
        """Call the user's function; what is no fault of a row leaves as an error of ours."""
        try:
            return self.api.call(args, tasks)
        except BentobatchError as error:
            if isinstance(error, Retryable):
                raise UnavailableError(f"api {self.api.name!r} asks for a retry: {_line(error)}") from error
            raise
        except SystemExit as error:
            raise ModelError(
                f"api {self.api.name!r} called sys.exit({error.code!r}) while it was scoring; remove that call"
            ) from error
        except MemoryError as error:
            raise self._out_of_memory("") from error
        except Exception as error:
            if type(error).__name__ == _GPU_OUT_OF_MEMORY:
                raise self._out_of_memory(" on the GPU") from error
            if is_outage(error):
                raise UnavailableError(f"api {self.api.name!r} could not reach a service: {_line(error)}") from error
            raise

    def _out_of_memory(self, where: str) -> UnavailableError:
        return UnavailableError(
            f"api {self.api.name!r} ran out of memory{where}; use smaller batches (--batch-rows) or fewer --workers"
        )

    def _wrong_length(self, got: int, expected: int) -> ModelError:
        return ModelError(
            f"api {self.api.name!r} returned {got} rows for {expected} rows of input; it must return one for each row"
            " that it does not discard, in the same order"
        )

    def _every_row_fails(self, rows: int, error: BaseException) -> EveryRowFails:
        return EveryRowFails(
            f"api {self.api.name!r} raised on every one of {rows} rows, so the model or its input is wrong, not a row:"
            f" {type(error).__name__}: {_line(error)}"
        )


class Letters:
    """The correspondence over some rows of a batch: row i here is row ``rows[i]`` there."""

    def __init__(self, correspondence: Correspondence | None, rows: Sequence[int] | np.ndarray[Any, Any]) -> None:
        self._correspondence = correspondence
        self._rows = rows

    def task(self, row: int, data: Any) -> InferenceTask:
        """See Correspondence."""
        if self._correspondence is None:
            return InferenceTask(data=data)
        return self._correspondence.task(int(self._rows[row]), data)

    def result(self, row: int, result: InferenceResult) -> None:
        """See Correspondence."""
        if self._correspondence is not None:
            self._correspondence.result(int(self._rows[row]), result)


class _Attempt:
    """The bisection of one batch: pieces that were scored, rows that were lost, and failures in a row so far."""

    def __init__(self, scorer: Scorer, lost: dict[int, BadRow], correspondence: Correspondence | None = None) -> None:
        self.scorer = scorer
        self.lost = lost
        self.correspondence = correspondence
        self.pieces: list[Piece] = []
        self.failures = 0
        self.succeeded = False

    def run(self, batch: pa.RecordBatch | MatrixBatch, rows: np.ndarray[Any, Any]) -> None:
        """Score ``batch``, whose row i is row ``rows[i]`` of the whole; halve what raises, front half first."""
        pending = list(pairwise((0, *self.scorer.input.cuts(batch), len(rows))))[::-1]
        while pending:
            start, stop = pending.pop()
            if not self._score(batch.slice(start, stop - start), rows[start:stop], total=len(rows)):
                middle = (start + stop) // 2
                pending.append((middle, stop))
                pending.append((start, middle))

    def _score(self, batch: pa.RecordBatch | MatrixBatch, rows: np.ndarray[Any, Any], *, total: int) -> bool:
        """Whether these rows are settled; False asks for their halves."""
        scorer, letters = self.scorer, Letters(self.correspondence, rows)
        try:
            made, positions, bad = scorer.call(batch, letters)
        except BentobatchError:
            raise
        except Exception as error:
            if not scorer.api.row_independent:
                raise ModelError(
                    f"api {scorer.api.name!r} raised, and its rows depend on each other (row_independent=False), so no"
                    f" row can be left out: {type(error).__name__}: {_line(error)}"
                ) from error
            if len(rows) > 1:
                return False
            self.lost[int(rows[0])] = replace(_model_failure(0, error, letters), index=int(rows[0]))
            self.failures += 1
            if scorer.every_row_may_fail:
                return True
            if self.failures >= CONSECUTIVE_FAILURES or (self.failures == total > 1 and not self.succeeded):
                raise scorer._every_row_fails(self.failures, error) from error
            return True
        for item in bad:
            index = int(rows[item.index])
            self.lost[index] = BadRow(index, item.stage, item.error_type, item.error, item.line, item.raw)
        if made is not None:
            self.pieces.append(Piece(made, rows[positions]))
            self.failures, self.succeeded = 0, True
        return True


def known_classes(service: ServiceCore) -> Sequence[Any] | None:
    """The class labels of the packed models, where exactly one set of them is known."""
    found = [labels for artifact in service.artifacts.values() if (labels := artifact.classes()) is not None]
    first = list(found[0]) if found else []
    return first if found and all(list(labels) == first for labels in found) else None


def is_outage(error: BaseException) -> bool:
    """Whether an exception of the user's code tells of a service out of reach rather than of a row.

    Libraries such as requests do not derive theirs from Python's own, so names count too.
    """
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return any(cls.__name__ in _OUTAGES for cls in type(error).__mro__)


def _tasks(args: tuple[Any, ...], rows: np.ndarray[Any, Any], letters: Letters) -> list[InferenceTask]:
    listed = isinstance(args[0], list) and len(args[0]) == len(rows)
    return [letters.task(int(row), args[0][position] if listed else None) for position, row in enumerate(rows)]


def _discarded(
    tasks: Sequence[InferenceTask], rows: Sequence[int] | np.ndarray[Any, Any], letters: Letters
) -> list[BadRow]:
    for task, row in zip(tasks, rows, strict=True):
        if task.is_discarded and task.error is not None:
            letters.result(int(row), task.error)
    return [
        BadRow(int(row), "discard", "Discarded", (task.error.err_msg if task.error else "") or "discarded by the api")
        for task, row in zip(tasks, rows, strict=True)
        if task.is_discarded
    ]


def _unwrap(
    results: Sequence[Any], rows: Sequence[int] | np.ndarray[Any, Any], letters: Letters
) -> tuple[list[Any], list[BadRow]]:
    """InferenceResults replaced by their data; InferenceErrors become bad rows of stage model."""
    values: list[Any] = []
    refused: list[BadRow] = []
    for value, row in zip(results, rows, strict=True):
        if isinstance(value, InferenceResult):
            letters.result(int(row), value)
        if isinstance(value, InferenceError):
            refused.append(BadRow(int(row), "model", "InferenceError", value.err_msg or "refused by the api"))
        else:
            values.append(value.data if isinstance(value, InferenceResult) else value)
    return values, refused


def _model_failure(row: int, error: BaseException, letters: Letters) -> BadRow:
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        letters.result(row, InferenceError(err_msg=_line(error), http_status=status))
    return BadRow(row, "model", type(error).__name__, _line(error))


def _line(error: BaseException) -> str:
    """The error's text in one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else text[:499] + "…"


def _scatter(pieces: Sequence[Piece], rows: int, schema: pa.Schema | None) -> pa.RecordBatch:
    """The pieces' columns put to their rows' places; null elsewhere."""
    if not pieces:
        empty = schema or pa.schema([])
        return pa.RecordBatch.from_arrays([pa.nulls(rows, field.type) for field in empty], schema=empty)
    if len(pieces) == 1:
        columns = pieces[0].made
    else:
        tables = [pa.Table.from_batches([piece.made]) for piece in pieces]
        try:
            columns = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        except pa.ArrowException as error:
            raise ModelError(
                f"the api returned other types for some rows than for others ({error}); declare @api(output_schema=…)"
            ) from error
    order = np.concatenate([piece.rows for piece in pieces])
    if len(order) == rows and np.array_equal(order, np.arange(rows)):
        return columns if isinstance(columns, pa.RecordBatch) else _one_batch(columns)
    places = np.full(rows, -1, dtype=np.int64)
    places[order] = np.arange(len(order))
    indices = pa.array(places, mask=places < 0)
    taken = columns.take(indices)
    return taken if isinstance(taken, pa.RecordBatch) else _one_batch(taken)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)
