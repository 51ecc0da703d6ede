"""The scorer's rules: one bad row costs itself alone, and a contract that is broken is said so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import bentobatch
from bentobatch.adapters import ArrowInput, DataframeInput, JsonInput
from bentobatch.errors import ModelError, UnavailableError
from bentobatch.rows import BadRow
from bentobatch.scorer import EveryRowFails, Scorer
from bentobatch.service.core import ServiceCore
from bentobatch.tasks import InferenceError, InferenceResult


def scorer_of(function: Callable[..., Any], *, input: Any = None, batch: bool = True, **options: Any) -> Scorer:
    """A scorer over a service with the one api ``function``."""
    declared = bentobatch.api(input=input or ArrowInput(), batch=batch, api_name="predict")(function)
    service = type("Service", (ServiceCore,), {"predict": declared})()
    return Scorer(service, service.get_inference_api("predict"), **options)


def numbers(*values: float) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"x": pa.array(values, pa.float64())})


def lines(*texts: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"line": pa.array(texts, pa.large_binary())})


def refuses(bad: set[float], calls: list[int] | None = None) -> Callable[..., Any]:
    def predict(self: Any, batch: pa.RecordBatch) -> Any:
        values = batch.column("x").to_numpy()
        if calls is not None:
            calls.append(len(values))
        if bad & set(values.tolist()):
            raise ValueError(f"cannot take {sorted(bad & set(values.tolist()))}")
        return values * 2

    return predict


@pytest.mark.parametrize("bad", [set(), {0.0}, {9.0}, {0.0, 9.0}, {3.0, 4.0, 5.0}, {1.0, 3.0, 5.0, 7.0}])
def test_a_row_that_makes_the_model_raise_costs_itself_alone(bad: set[float]) -> None:
    """Every other row gets its own value, in order."""
    scored = scorer_of(refuses(bad)).score(numbers(*map(float, range(10))))
    expected = [None if value in bad else value * 2 for value in map(float, range(10))]
    assert scored.columns.column("prediction").to_pylist() == expected
    assert [item.index for item in scored.bad] == sorted(int(value) for value in bad)
    assert all(item.stage == "model" and item.error_type == "ValueError" for item in scored.bad)


def test_bisection_calls_the_model_a_logarithmic_number_of_times() -> None:
    """One bad row among 1,024 costs about two calls for each halving."""
    calls: list[int] = []
    scorer_of(refuses({700.0}, calls)).score(numbers(*map(float, range(1024))))
    assert len(calls) == 21


def test_a_model_that_fails_on_every_row_is_broken_rather_than_given_bad_rows() -> None:
    """Both halves of everything fail."""
    with pytest.raises(EveryRowFails, match=r"every one of 8 rows.*ValueError"):
        scorer_of(refuses(set(map(float, range(8))))).score(numbers(*map(float, range(8))))


def test_a_thousand_failures_in_a_row_end_the_bisection() -> None:
    """Good rows before them do not hide a model that has broken."""
    with pytest.raises(EveryRowFails, match="1000 rows"):
        scorer_of(refuses(set(map(float, range(1, 5000))))).score(numbers(*map(float, range(5000))))


def test_a_single_row_that_fails_is_a_reject() -> None:
    """With one row alone nobody can tell, and one bad row costs that row."""
    scored = scorer_of(refuses({1.0}), output_schema=pa.schema([("prediction", pa.float64())])).score(numbers(1.0))
    assert scored.columns.column("prediction").to_pylist() == [None]
    assert scored.bad[0].error == "cannot take [1.0]"


@pytest.mark.parametrize("rows", [0, 1, 2, 4, 6])
def test_another_number_of_results_than_rows_is_refused(rows: int) -> None:
    """A result that is not as long as its input cannot be matched to rows, so nothing of it is used."""
    with pytest.raises(ModelError, match=rf"returned {rows} rows for 3 rows"):
        scorer_of(lambda self, batch: np.zeros(rows)).score(numbers(1, 2, 3))


def test_rows_that_are_skipped_are_not_shown_to_the_model() -> None:
    """What the reader could not parse never reaches the api, and stands null in its place."""
    seen: list[float] = []

    def predict(self: Any, batch: pa.RecordBatch) -> Any:
        seen.extend(batch.column("x").to_pylist())
        return batch.column("x")

    scored = scorer_of(predict).score(
        numbers(1, 2, 3, 4), skip=[BadRow(1, "read", "ValueError", "not a number", line=3)]
    )
    assert seen == [1, 3, 4]
    assert scored.columns.column("prediction").to_pylist() == [1, None, 3, 4]
    assert scored.bad == [BadRow(1, "read", "ValueError", "not a number", line=3)]


def test_discarded_rows_owe_no_result() -> None:
    """Results are matched to the rows that were not discarded."""

    def predict(self: Any, values: list[Any], tasks: list[Any]) -> list[Any]:
        for value, task in zip(values, tasks, strict=True):
            if value < 0:
                task.discard(f"{value} is negative", http_status=400)
        return [value * 10 for value in values if value >= 0]

    scored = scorer_of(predict, input=JsonInput()).score(lines(b"1", b"-2", b"3", b"oops", b"5"))
    assert scored.columns.column("prediction").to_pylist() == [10, None, 30, None, 50]
    assert [(item.index, item.stage) for item in scored.bad] == [(1, "discard"), (3, "convert")]
    assert scored.bad[0].error == "-2 is negative"


def test_a_place_holder_for_a_discarded_row_breaks_the_length_contract() -> None:
    """len(results) + discarded must be the number of rows, as in BentoML; anything else may be misaligned."""

    def predict(self: Any, values: list[Any], tasks: list[Any]) -> list[Any]:
        tasks[0].discard("no")
        return values

    with pytest.raises(ModelError, match="returned 3 rows for 2 rows"):
        scorer_of(predict, input=JsonInput()).score(lines(b"1", b"2", b"3"))


def test_results_and_errors_are_unwrapped() -> None:
    """InferenceResult gives its data, InferenceError rejects its row."""

    def predict(self: Any, values: list[Any]) -> list[Any]:
        return [InferenceResult(data=1), InferenceError(err_msg="not this one"), 3]

    scored = scorer_of(predict, input=JsonInput()).score(lines(b"0", b"0", b"0"))
    assert scored.columns.column("prediction").to_pylist() == [1, None, 3]
    assert scored.bad == [BadRow(1, "model", "InferenceError", "not this one")]


def test_a_single_item_api_is_called_row_by_row() -> None:
    """batch=False: a row that raises or is discarded leaves the others alone."""

    def predict(self: Any, value: Any, task: Any) -> Any:
        if value == 2:
            raise KeyError("two")
        if value == 3:
            task.discard("three")
        return value

    scored = scorer_of(predict, input=JsonInput(), batch=False).score(lines(b"1", b"2", b"3", b"4"))
    assert scored.columns.column("prediction").to_pylist() == [1, None, None, 4]
    assert [item.stage for item in scored.bad] == ["model", "discard"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "ran out of memory;"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "ran out of memory on the GPU;"),
    ],
    ids=["this machine's", "a GPU's, by PyTorch's name"],
)
def test_memory_that_runs_out_is_no_rows_fault(error: Exception, told: str) -> None:
    """The split may be tried again, with smaller batches or fewer workers."""

    def predict(self: Any, batch: pa.RecordBatch) -> Any:
        raise error

    with pytest.raises(UnavailableError, match=told):
        scorer_of(predict).score(numbers(1, 2, 3, 4))


@pytest.mark.parametrize("error", [ConnectionError("reset"), TimeoutError("late"), bentobatch.Retryable("later")])
def test_an_outage_is_no_bad_row(error: Exception) -> None:
    """A service out of reach is not the row's fault: the whole batch is to be tried again."""

    def predict(self: Any, batch: pa.RecordBatch) -> Any:
        raise error

    with pytest.raises(UnavailableError, match=str(error)):
        scorer_of(predict).score(numbers(1, 2))


def test_a_call_of_sys_exit_is_an_error_of_the_model() -> None:
    """The process must not end with status 0 because a library calls sys.exit."""

    def predict(self: Any, batch: pa.RecordBatch) -> Any:
        sys.exit(0)

    with pytest.raises(ModelError, match=r"sys\.exit\(0\)"):
        scorer_of(predict).score(numbers(1))


def test_rows_that_depend_on_each_other_are_never_bisected() -> None:
    """row_independent=False: half a batch would give other values, so the failure is the batch's."""
    declared = bentobatch.api(input=ArrowInput(), batch=True, row_independent=False)(refuses({2.0}))
    service = type("Service", (ServiceCore,), {"predict": declared})()
    with pytest.raises(ModelError, match="row_independent"):
        Scorer(service, service.get_inference_api("predict")).score(numbers(1, 2, 3))


def test_a_later_batch_is_held_to_the_schema() -> None:
    """Types are settled once; integers are cast to the held float, text is refused."""
    held = pa.schema([("prediction", pa.float64())])
    ints = scorer_of(lambda self, batch: [1] * batch.num_rows, output_schema=held).score(numbers(1, 2))
    assert ints.columns.schema.equals(held)
    with pytest.raises(ModelError, match="prediction"):
        scorer_of(lambda self, batch: ["a"] * batch.num_rows, output_schema=held).score(numbers(1, 2))


def test_a_frame_api_gets_a_frame_with_its_columns() -> None:
    """DataframeInput and the default output work through the scorer."""
    scored = scorer_of(lambda self, df: df["x"] + 1, input=DataframeInput()).score(numbers(1, 2))
    assert scored.columns.column("prediction").to_pylist() == [2, 3]
