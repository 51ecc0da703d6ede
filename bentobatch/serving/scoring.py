"""This module scores the rows of several requests in one call of the api, and gives each request its own answer.

The Scorer is the batch engine's, but that it keeps what the api returned as it is, so that each request's share becomes
columns by itself: the types of an answer never depend on the other requests of the batch.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from bentobatch.adapters.pandas_arrays import is_pandas_column, is_pandas_frame
from bentobatch.errors import BentobatchError, DeadlineError, ModelError
from bentobatch.rows import BadRow
from bentobatch.scorer import Piece, Scorer
from bentobatch.serving.columns import Rows, join_rows
from bentobatch.tasks import HTTPHeaders, InferenceResult, InferenceTask

Form = Literal["values", "matrix", "table"]
_NO_RESULTS: Mapping[int, InferenceResult] = MappingProxyType({})


class Answer(NamedTuple):  # as Call: a frozen dataclass costs four times as much to make
    """What one request gets. ``made``: its columns, or what makes those of the rows from one to before another, when they
    are asked for; its own begin at ``start``.

    ``form`` is what the api returned: "values" of one column, the rows of a "matrix", or a "table" whose columns have names
    of their own. ``results`` are the InferenceResults among what it returned, by the row in the request. ``values`` are those
    of the one column as Python's own, where that was cheap to make for all requests at once."""

    rows: int
    made: pa.RecordBatch | Callable[[int, int], pa.RecordBatch]
    bad: tuple[BadRow, ...] = ()
    form: Form = "values"
    results: Mapping[int, InferenceResult] = _NO_RESULTS
    values: Sequence[Any] | None = None
    start: int = 0

    @property
    def columns(self) -> pa.RecordBatch:
        """One row for each of the request's ``rows``, null for those in ``bad``, whose positions count within the request.
        No columns where every row is bad and the api declares no output schema."""
        return self.made(self.start, self.start + self.rows) if callable(self.made) else self.made


Outcome = Answer | BentobatchError


class JoinedScorer:
    """Scores joined requests; one batch at a time, by whichever thread."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._takes_matrix = scorer.api.input.takes_matrix_batch
        self._inner = _KeepingScorer(
            scorer.service,
            scorer.api,
            every_row_may_fail=True,  # two bad requests that meet in a batch do not make a broken model
        )

    def score(self, pieces: Sequence[Rows], deadlines: Sequence[float | None]) -> list[Outcome]:
        """The outcome of each piece; they are of one kind. Nothing but KeyboardInterrupt is raised.

        An error of the whole batch (a wrong length, a service out of reach) may be one request's doing. So the requests
        are scored again in halves, down to single ones, but for those whose deadline (of time.monotonic) has passed.
        """
        outcomes: dict[int, Outcome] = {}
        pending = [list(range(len(pieces)))]
        while pending:
            some = pending.pop()
            if outcomes or pending:  # time has passed since the batch was put together
                outcomes.update({at: late() for at in some if passed(deadlines[at], time.monotonic())})
                some = [at for at in some if at not in outcomes]
            if not some:
                continue
            try:
                outcomes.update(zip(some, self._score([pieces[at] for at in some]), strict=True))
            except BentobatchError as error:
                if len(some) == 1:
                    outcomes[some[0]] = error
                else:
                    pending += [some[len(some) // 2 :], some[: len(some) // 2]]
        return [outcomes[at] for at in range(len(pieces))]

    def _score(self, pieces: Sequence[Rows]) -> list[Outcome]:
        bounds = list(accumulate(map(len, pieces), initial=0))
        letters = _FromRequests(pieces, bounds)
        try:
            scored, bad = self._inner.pieces(join_rows(pieces, matrix=self._takes_matrix), correspondence=letters)
        except (BentobatchError, KeyboardInterrupt):
            raise
        except BaseException as error:  # such as asyncio's CancelledError, or a panic of a library in Rust
            raise ModelError(
                f"api {self.scorer.api.name!r} raised {type(error).__name__}, which is no matter of a row: {error}"
            ) from error
        numbers = None if bad or len(scored) > 1 else self._numbers(scored[0].made)
        if numbers is not None:
            return self._shares_of(numbers, scored[0].made, bounds, letters)
        return self._shared_out(scored, bad, bounds, letters)

    def _numbers(self, result: Any) -> list[Any] | None:
        """The values of all answers, where they are told without making columns; see OutputAdapter."""
        try:
            return self.scorer.api.output.numbers(result, schema=self.scorer.output_schema)
        except Exception:  # noqa: BLE001 - an output adapter may be anyone's; its columns tell what is wrong
            return None

    def _shares_of(
        self, numbers: Sequence[Any], result: Any, bounds: Sequence[int], letters: _FromRequests
    ) -> list[Outcome]:
        kept = result.copy()  # the next call may write over it, before somebody asks for the columns

        def made(start: int, stop: int) -> pa.RecordBatch:
            return self._columns(kept[start:stop])

        of = letters.of
        return [
            Answer(stop - start, made, (), "values", of(start, stop), numbers[start:stop], start)
            for start, stop in pairwise(bounds)
        ]

    def _shared_out(
        self, scored: Sequence[Piece], bad: Sequence[BadRow], bounds: Sequence[int], letters: _FromRequests
    ) -> list[Outcome]:
        lost_of: dict[int, list[BadRow]] = {}
        for item in bad:
            owner = bisect_right(bounds, item.index) - 1
            lost_of.setdefault(owner, []).append(replace(item, index=item.index - bounds[owner]))
        whole = self._whole(scored, bounds[-1]) if scored else None
        form = _form(scored[0].made) if scored else "values"
        values = _listed(whole) if whole is not None and form == "values" else None
        outcomes: list[Outcome] = []
        for owner, (start, stop) in enumerate(pairwise(bounds)):
            lost = lost_of.get(owner, ())
            if values is not None and not lost:
                columns = whole.slice(start, stop - start)  # type: ignore[union-attr]  # where there are values
                outcomes.append(Answer(stop - start, columns, (), form, letters.of(start, stop), values[start:stop]))
                continue
            if len(lost) == stop - start:
                columns = self._no_columns(stop - start)
            elif whole is not None:
                columns = whole.slice(start, stop - start)
            else:
                try:
                    columns = self._columns_of(scored, start, stop)
                except BentobatchError as error:
                    outcomes.append(error)
                    continue
            outcomes.append(Answer(stop - start, columns, tuple(lost), form, letters.of(start, stop)))
        return outcomes

    def _whole(self, scored: Sequence[Piece], rows: int) -> pa.RecordBatch | None:
        """The columns for all requests at once, where that gives each the same as its share alone; else None."""
        if len(scored) > 1 or not (self.scorer.output_schema or _same_types(scored[0].made)):
            return None
        try:
            columns = self._columns(scored[0].made)
        except BentobatchError:
            return None  # one request's result may be to blame; each is tried by itself
        return _spread(columns, scored[0].rows, rows)

    def _columns_of(self, scored: Sequence[Piece], start: int, stop: int) -> pa.RecordBatch:
        """The columns of one request: those of its rows in each piece; null for bad rows."""
        shares: list[pa.RecordBatch] = []
        places: list[np.ndarray[Any, Any]] = []
        for piece in scored:
            first, end = np.searchsorted(piece.rows, (start, stop))
            if first < end:
                shares.append(self._columns(_part(piece.made, int(first), int(end))))
                places.append(piece.rows[first:end])
        return _spread(joined_columns(shares), np.concatenate(places) - start, stop - start)

    def _columns(self, result: Any) -> pa.RecordBatch:
        scorer = self.scorer
        try:
            return scorer.api.output.columns(
                result, name=scorer.output_column, classes=scorer.classes, schema=scorer.output_schema
            )
        except BentobatchError:
            raise
        except Exception as error:  # an output adapter may be anyone's
            raise ModelError(
                f"{type(scorer.api.output).__name__} cannot take the result of api {scorer.api.name!r}:"
                f" {type(error).__name__}: {error}"
            ) from error

    def _no_columns(self, rows: int) -> pa.RecordBatch:
        schema = self.scorer.output_schema or pa.schema([])
        return pa.RecordBatch.from_arrays([pa.nulls(rows, field.type) for field in schema], schema=schema)

    def nothing(self) -> Answer:
        """The answer to a request without rows; the api is not called for it."""
        return Answer(0, self._no_columns(0))


class _FromRequests:
    """What tasks know of the requests that the rows came with, and what the api said of them; see Correspondence."""

    def __init__(self, pieces: Sequence[Rows], bounds: Sequence[int]) -> None:
        self._pieces = pieces
        self._bounds = bounds
        self._results: dict[int, InferenceResult] = {}

    def task(self, row: int, data: Any) -> InferenceTask:
        """The task of a row, with the headers of its request where it came by HTTP."""
        headers = self._pieces[bisect_right(self._bounds, row) - 1].headers
        if headers is None:
            return InferenceTask(data=data)
        return InferenceTask(data=data, http_method="POST", http_headers=HTTPHeaders(headers))

    def result(self, row: int, result: InferenceResult) -> None:
        """Keep it for the answer."""
        self._results[row] = result

    def of(self, start: int, stop: int) -> Mapping[int, InferenceResult]:
        """The results of the rows of one request, counted in it."""
        if not self._results:
            return _NO_RESULTS
        return {row - start: result for row, result in self._results.items() if start <= row < stop}


class _KeepingScorer(Scorer):
    """Keeps what the api returned as it is."""

    def made(self, results: Any, rows: int) -> Any:  # noqa: ARG002 - the Scorer has counted them
        """The settled results."""
        return results


def _spread(columns: pa.RecordBatch, places: np.ndarray[Any, Any], rows: int) -> pa.RecordBatch:
    """The columns with null rows between them, so that each comes to its place among ``rows``."""
    if columns.num_rows == rows:
        return columns
    found = np.zeros(rows, dtype=np.int64)
    found[places] = np.arange(len(places))
    missing = np.ones(rows, dtype=bool)
    missing[places] = False
    return columns.take(pa.array(found, mask=missing))


def join_answers(parts: Sequence[Answer]) -> Answer:
    """The answer to a request that was scored in parts.

    Raises:
        ModelError: the parts have columns that do not fit together.
    """
    starts = list(accumulate((part.rows for part in parts), initial=0))
    bad = [
        replace(item, index=item.index + start) for part, start in zip(parts, starts, strict=False) for item in part.bad
    ]
    results = {
        row + start: result for part, start in zip(parts, starts, strict=False) for row, result in part.results.items()
    }
    first = next((part for part in parts if part.columns.num_columns), None)
    if first is None:
        return Answer(starts[-1], parts[0].columns, tuple(bad), results=results)
    known = first.columns.schema
    shares = [
        part.columns
        if part.columns.num_columns
        else pa.RecordBatch.from_arrays([pa.nulls(part.rows) for _ in known], names=known.names)
        for part in parts
    ]
    return Answer(starts[-1], joined_columns(shares), tuple(bad), first.form, results)


def joined_columns(shares: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Columns one after the other; integers beside floats become floats, as where a batch was bisected."""
    if len(shares) == 1:
        return shares[0]
    tables = [pa.Table.from_batches([share]) for share in shares]
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise ModelError(
            f"the api returned other types for some rows than for others ({error}); declare @api(output_schema=…)"
        ) from error
    return pa.RecordBatch.from_arrays([column.chunk(0) for column in table.columns], schema=table.schema)


def _same_types(result: Any) -> bool:
    """Whether the types of the columns made of ``result`` do not depend on which of its rows are looked at."""
    if isinstance(result, np.ndarray):
        return bool(result.dtype.kind != "O" and not result.dtype.hasobject)
    if is_pandas_frame(result):
        return not any("object" in str(kind) for kind in result.dtypes)
    if is_pandas_column(result):
        return "object" not in str(result.dtype)
    if isinstance(result, Mapping):
        return all(map(_same_types, result.values()))
    if isinstance(result, (list, tuple)):
        types = set(map(type, result))
        if types == {int}:
            return bool(min(result) >= -(2**63) and max(result) < 2**63)
        return types in ({float}, {str}, {bool})
    return True  # Arrow's own arrays and tables


def _listed(columns: pa.RecordBatch) -> list[Any] | None:
    """The values of a lone column of numbers or truth values."""
    schema = columns.schema
    if len(schema) != 1 or schema.field(0).metadata:
        return None
    kind = schema.types[0]
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or kind == pa.float64()):
        return None
    values: list[Any] = columns.column(0).to_pylist()
    return values


def _form(result: Any) -> Form:
    """What a settled result is to a reader of JSON."""
    if isinstance(result, np.ndarray):
        if result.dtype.names:
            return "table"
        return "matrix" if result.ndim == 2 else "values"
    if is_pandas_frame(result) or isinstance(result, (Mapping, pa.Table, pa.RecordBatch)):
        return "table"
    return "values"


def _part(result: Any, start: int, stop: int) -> Any:
    """Some rows of a settled result."""
    if hasattr(result, "iloc"):
        return result.iloc[start:stop]
    if isinstance(result, (pa.Array, pa.ChunkedArray, pa.Table, pa.RecordBatch)):
        return result.slice(start, stop - start)
    if isinstance(result, Mapping):
        return {name: _part(values, start, stop) for name, values in result.items()}
    return result[start:stop]


def passed(deadline: float | None, now: float) -> bool:
    """Whether a request with this deadline need not be scored any more."""
    return deadline is not None and now >= deadline


def late() -> DeadlineError:
    """What a request gets whose deadline passed in the queue."""
    return DeadlineError("the request's deadline passed before its turn, so it was not scored; send it again")
