"""What every caller of a micro-batcher is promised, on all three drivers."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import bentobatch
from bentobatch.adapters import DataframeInput, JsonInput
from bentobatch.errors import DataError, DeadlineError, ModelError, OverloadedError, UnavailableError
from bentobatch.scorer import Scorer
from bentobatch.serving.scoring import Answer


def x(*values: Any, type: Any = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, type)], names=["x"])


def lines(*texts: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.large_binary())], names=["line"])


def values_of(answer: Answer) -> list[Any]:
    return answer.columns.column("prediction").to_pylist()


def outcome_of(future: Future[Any]) -> Any:
    """The prediction values, or the error."""
    try:
        return values_of(future.result(60))
    except (bentobatch.errors.BentobatchError, CancelledError) as error:
        return error


def errors_of(future: Future[Any]) -> list[str]:
    return [item.error for item in future.result(60).bad]


def settled_counts(driver: Any) -> None:
    """At rest every admitted request has exactly one end."""
    found = driver.statistics()
    assert found.admitted == found.answered + found.failed + found.expired + found.cancelled
    assert (found.waiting_requests, found.waiting_rows, found.running_requests) == (0, 0, 0)


@pytest.mark.parametrize("max_batch_size", [1, 16, 4000])
def test_each_of_64_threads_gets_the_answers_to_its_own_rows(
    bundles: Path, open_driver: Callable[..., Any], max_batch_size: int
) -> None:
    """Mixed requests of one to three rows, two apis at a time: as ``model.predict`` says row by row."""
    service = bentobatch.load(str(bundles / "linear"))
    drivers = {
        name: open_driver(
            Scorer(service, service.get_inference_api(name)), max_batch_size=max_batch_size, max_queue_rows=9999
        )
        for name in ("predict", "both")
    }

    def caller(number: int) -> int:
        random = np.random.default_rng(number)
        for turn in range(8):
            frame = pd.DataFrame(random.normal(size=(1 + (number + turn) % 3, 3)), columns=["x2", "x0", "x1"])
            name = "both" if random.random() < 0.3 else "predict"
            columns = drivers[name].submit(pa.RecordBatch.from_pandas(frame)).result(60).columns
            if name == "both":
                assert columns.column("double").to_pylist() == (frame["x0"] * 2).tolist()
                assert columns.column("x1").to_pylist() == frame["x1"].tolist()
            else:
                expected = service.artifacts.model.predict(frame[["x0", "x1", "x2"]])
                np.testing.assert_allclose(columns.column("prediction").to_numpy(), expected, rtol=1e-12)
        return 8

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(caller, range(64))) == 512
    for driver in drivers.values():
        settled_counts(driver)


def test_waiting_requests_are_scored_in_one_call_and_in_their_order(open_driver: Any, gate: Any) -> None:
    """First in, first out: behind the first call the others are joined, oldest first, up to the row cap."""
    calls: list[list[float]] = []

    def predict(self: Any, df: pd.DataFrame) -> Any:
        calls.append(df["x"].tolist())
        gate()
        return df["x"] * 10

    driver = open_driver(predict, max_batch_size=8)
    futures = gate.pile_up(driver, x(0.0), [x(1.0, 2.0), x(3.0), x(4.0, 5.0, 6.0), x(7.0, 8.0, 9.0), x(10.0)])
    gate.opened.set()
    assert [value for future in futures for value in outcome_of(future)] == [value * 10.0 for value in range(11)]
    assert calls == [[0.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 10.0]]
    assert driver.statistics().batch_requests.sum == 6


def test_one_bad_row_costs_no_good_request_its_answer(bundles: Path, open_driver: Callable[..., Any]) -> None:
    """12 waves of 24 with one row that makes the model raise, and one request that lacks a column."""
    service = bentobatch.load(str(bundles / "picky"))
    driver = open_driver(Scorer(service, service.get_inference_api("predict")))

    def ask(number: int) -> Any:
        batch = pa.RecordBatch.from_pydict({"x0": [float(number), number + 0.5], "x1": [1.0, 2.0]})
        if number % 24 == 7:
            batch = pa.RecordBatch.from_pydict({"x0": [-1.0, 3.0], "x1": [1.0, 2.0]})
        if number % 24 == 15:
            batch = batch.select(["x0"])
        try:
            return driver.submit(batch).result(60)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(12 * 24)))
    for number, answer in enumerate(answers):
        if number % 24 == 15:
            assert "lacks the column 'x1'" in answer
        elif number % 24 == 7:
            assert [(item.index, item.stage, item.error) for item in answer.bad] == [(0, "model", "x0 is -1")]
            assert values_of(answer) == [None, 11.0]
        else:
            assert (values_of(answer), answer.bad) == ([number * 3.0 + 1.0, number * 3.0 + 3.5], ())
    settled_counts(driver)


def test_a_model_that_always_raises_fails_each_request_for_itself_and_goes_on(open_driver: Any, gate: Any) -> None:
    """Two bad requests in a batch do not make a broken model; and when it is mended, it answers."""
    broken = [True]

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        if broken[0]:
            raise RuntimeError(f"no {df['x'].tolist()}" if len(df) == 1 else "none of these")
        return df["x"]

    driver = open_driver(predict)
    futures = gate.pile_up(driver, x(0.0), [x(1.0), x(2.0, 3.0), x(4.0)])
    gate.opened.set()
    assert [errors_of(future) for future in futures] == [
        ["no [0.0]"],
        ["no [1.0]"],
        ["no [2.0]", "no [3.0]"],
        ["no [4.0]"],
    ]
    broken[0] = False
    assert outcome_of(driver.submit(x(5.0))) == [5.0]


def test_a_model_that_returns_the_wrong_length_fails_all_and_the_batcher_lives(open_driver: Any, gate: Any) -> None:
    """The message names the api and both numbers."""
    broken = [True]

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"].iloc[: -1 if broken[0] else None]

    driver = open_driver(predict)
    futures = gate.pile_up(driver, x(0.0), [x(1.0), x(2.0, 3.0), x(4.0)])
    gate.opened.set()
    for future, rows in zip(futures, [1, 1, 2, 1], strict=True):
        with pytest.raises(ModelError, match=rf"'predict' returned {rows - 1} rows for {rows} rows"):
            future.result(60)
    broken[0] = False
    assert outcome_of(driver.submit(x(5.0))) == [5.0]
    settled_counts(driver)


@pytest.mark.parametrize("harm", ["short", "exit", "outage", "none", "panic", "text"])
def test_a_request_that_breaks_the_whole_call_breaks_only_its_own(open_driver: Any, gate: Any, harm: str) -> None:
    """A wrong length, an exit, an outage, no result at all, what is no Exception, another type: 8 good ones around it."""

    class Panic(BaseException):
        """What libraries in Rust raise."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        if (df["x"] == -1).any():
            if harm == "exit":
                raise SystemExit(3)
            if harm == "outage":
                raise ConnectionError("no route to the host of this row")
            if harm == "panic":
                raise Panic("index out of bounds")
            if harm == "text":
                return [value if value >= 0 else "text" for value in df["x"]]
            return None if harm == "none" else df["x"][df["x"] >= 0]
        return df["x"].tolist()

    driver = open_driver(predict, api={"output_schema": {"prediction": "float64"}})
    rows = [x(float(value)) for value in (1, 2, 3, 4, -1, 5, 6, 7)]
    futures = gate.pile_up(driver, x(0.0), rows)
    gate.opened.set()
    outcomes = [outcome_of(future) for future in futures]
    assert isinstance(outcomes.pop(5), UnavailableError if harm == "outage" else ModelError)
    assert outcomes == [[float(value)] for value in range(8)]
    settled_counts(driver)


def test_no_request_changes_the_types_of_another(open_driver: Any, gate: Any) -> None:
    """Integers beside floats, nulls beside none, text beside numbers: each sees the dtype that it sees alone."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return [str(df["x"].dtype)] * len(df)

    driver = open_driver(predict)
    requests = [
        x(1),
        x(1.5),
        x(1, None),
        x(None),
        x("a"),
        x(2),
        x(None, 3),
        x(True),
        x(True, None),
        x(2.5, None),
        x([1]),
    ]
    futures = gate.pile_up(driver, x(0), requests)
    gate.opened.set()
    found = [outcome_of(future)[0] for future in futures]
    alone = [str(outcome_of(driver.submit(rows))[0]) for rows in [x(0), *requests]]
    assert found == alone
    assert [found[at] for at in (1, 2, 3, 4)] == ["int64", "float64", "Int64", "float64"]
    assert driver.statistics().batch_rows.counts[1] >= 1  # the two int64 requests, or the two Int64 ones, were joined


def test_no_answer_takes_its_types_from_another(open_driver: Any, gate: Any) -> None:
    """A list of Python values becomes columns request by request: 1 stays an integer beside 2.5, objects keep their keys."""

    def predict(self: Any, values: list[Any]) -> Any:
        gate()
        return values

    texts = [b"1", b"2.5", b'{"a": 1}', b'{"b": 2}', b"null", b"[1]"]
    driver = open_driver(predict, input=JsonInput())
    futures = gate.pile_up(driver, lines(b"0"), [lines(text) for text in texts] + [lines(b"1", b"2.5")])
    gate.opened.set()
    kinds = [future.result(60).columns.schema.field("prediction").type for future in futures]
    assert [str(kind) for kind in kinds] == [
        "int64", "int64", "double", "struct<a: int64>", "struct<b: int64>", "null", "list<item: int64>", "double",
    ]  # fmt: skip
    assert [outcome_of(future) for future in futures[1:4]] == [[1], [2.5], [{"a": 1}]]
    assert driver.statistics().batch_requests.count == 2


def test_answers_around_bad_rows_have_the_types_that_they_have_alone(open_driver: Any, gate: Any) -> None:
    """Where the batch was bisected, or rows were discarded, every row still finds its own result."""

    def predict(self: Any, values: list[Any], tasks: list[Any]) -> Any:
        gate()
        if -1 in values:
            raise ValueError("minus one")
        for value, task in zip(values, tasks, strict=True):
            if value == -2:
                task.discard("minus two")
        return [value for value in values if value != -2]

    driver = open_driver(predict, input=JsonInput())
    others = [lines(b"1", b"-1", b"2"), lines(b"-2"), lines(b"3.5", b"-2"), lines(b"oops", b"4"), lines(b"-1", b"-1")]
    futures = gate.pile_up(driver, lines(b"0"), others)
    gate.opened.set()
    answers = [future.result(60) for future in futures]
    assert [answer.columns.to_pydict().get("prediction") for answer in answers] == [
        [0], [1, None, 2], None, [3.5, None], [None, 4], None,
    ]  # fmt: skip
    assert [[(item.index, item.stage) for item in answer.bad] for answer in answers[1:]] == [
        [(1, "model")], [(0, "discard")], [(1, "discard")], [(0, "convert")], [(0, "model"), (1, "model")],
    ]  # fmt: skip


def test_a_request_larger_than_the_cap_goes_alone_in_chunks(open_driver: Any) -> None:
    """Its rows stay in order, and so do the positions of its bad rows."""
    calls: list[int] = []

    def predict(self: Any, df: pd.DataFrame) -> Any:
        calls.append(len(df))
        if 33.0 in df["x"].tolist():
            raise ValueError("33")
        return df["x"]

    driver = open_driver(predict, max_batch_size=16, max_queue_rows=100)
    answer = driver.submit(x(*map(float, range(100)))).result(60)
    assert values_of(answer) == [None if row == 33 else float(row) for row in range(100)]
    assert [item.index for item in answer.bad] == [33]
    assert max(calls) <= 16
    assert driver.statistics().batch_requests.sum == driver.statistics().batch_requests.count > 6


def test_what_one_chunk_breaks_fails_the_request_and_leaves_no_rest(open_driver: Any) -> None:
    """The rows behind it are not scored any more, and the next request is answered."""
    seen: list[float] = []

    def predict(self: Any, df: pd.DataFrame) -> Any:
        seen.extend(df["x"])
        return None if 20.0 in df["x"].tolist() else df["x"]

    driver = open_driver(predict, max_batch_size=16, max_queue_rows=100)
    assert isinstance(outcome_of(driver.submit(x(*map(float, range(100))))), ModelError)
    assert max(seen) < 50
    assert outcome_of(driver.submit(x(1.0))) == [1.0]
    settled_counts(driver)


def test_rows_that_depend_on_each_other_are_neither_joined_nor_cut(open_driver: Any, gate: Any) -> None:
    """row_independent=False: each request is one call, whatever its size."""
    calls: list[int] = []

    def predict(self: Any, df: pd.DataFrame) -> Any:
        calls.append(len(df))
        gate()
        return df["x"].rank()

    driver = open_driver(predict, api={"row_independent": False}, max_batch_size=4, max_queue_rows=50)
    futures = gate.pile_up(driver, x(3.0, 1.0), [x(9.0), x(*map(float, range(20))), x(5.0, 4.0)])
    gate.opened.set()
    assert [outcome_of(future) for future in futures] == [[2, 1], [1], list(range(1, 21)), [2, 1]]
    assert calls == [2, 1, 20, 2]


def test_more_than_may_wait_is_shed(open_driver: Any, gate: Any) -> None:
    """The queue is bounded in rows; what is refused is told when to come again, and what waits is answered."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    driver = open_driver(predict, max_queue_rows=10)
    futures = gate.pile_up(driver, x(0.0), [x(1.0, 2.0, 3.0), x(*[4.0] * 7)])
    with pytest.raises(OverloadedError, match="10 rows are waiting") as caught:
        driver.submit(x(5.0)).result(60)
    assert (caught.value.retry_after >= 0, caught.value.exit_code) == (True, 69)
    with pytest.raises(DataError, match=r"has 11 rows, more than the 10"):
        driver.submit(x(*[6.0] * 11)).result(60)
    gate.opened.set()
    assert [len(outcome_of(future)) for future in futures] == [1, 3, 7]
    assert outcome_of(driver.submit(x(5.0))) == [5.0]
    assert driver.statistics().shed_full == 1


def test_a_request_whose_deadline_passes_in_the_queue_is_not_scored(open_driver: Any, gate: Any) -> None:
    """Those beside it are."""
    seen: list[float] = []

    def predict(self: Any, df: pd.DataFrame) -> Any:
        seen.extend(df["x"])
        gate()
        return df["x"]

    driver = open_driver(predict)
    futures = gate.pile_up(driver, x(0.0), [x(1.0)])
    deadline = time.monotonic() + 0.5
    futures += [driver.submit(x(2.0), deadline=deadline)]
    futures.append(driver.submit(x(3.0), deadline=time.monotonic() + 600))
    until_admitted(driver, 4)
    time.sleep(max(0.0, deadline - time.monotonic()))
    gate.opened.set()
    late = outcome_of(futures.pop(2))
    assert isinstance(late, DeadlineError)
    assert [outcome_of(future) for future in futures] == [[0.0], [1.0], [3.0]]
    assert 2.0 not in seen
    with pytest.raises(DeadlineError):
        driver.submit(x(9.0), deadline=time.monotonic()).result(60)
    settled_counts(driver)


def until_admitted(driver: Any, count: int) -> None:
    end = time.monotonic() + 30
    while driver.statistics().admitted < count and time.monotonic() < end:
        time.sleep(0.001)


def test_after_a_thousand_cancels_the_next_request_is_answered(open_driver: Any, gate: Any) -> None:
    """What is cancelled while it waits is not scored, and makes room at once."""
    seen: list[float] = []

    def predict(self: Any, df: pd.DataFrame) -> Any:
        seen.extend(df["x"])
        gate()
        return df["x"]

    driver = open_driver(predict, max_queue_rows=120)
    futures = gate.pile_up(driver, x(0.0), [x(1.0)])
    for _ in range(10):
        doomed = [driver.submit(x(-1.0)) for _ in range(100)]
        until_admitted(driver, driver.statistics().admitted)
        assert all(future.cancel() for future in doomed)
        end = time.monotonic() + 30
        while driver.statistics().waiting_rows > 1 and time.monotonic() < end:
            time.sleep(0.001)
    futures.append(driver.submit(x(2.0)))
    gate.opened.set()
    assert [outcome_of(future) for future in futures] == [[0.0], [1.0], [2.0]]
    assert seen == [0.0, 1.0, 2.0]
    settled_counts(driver)
    assert not futures[0].cancel()


def test_a_drain_answers_all_that_was_taken(open_driver: Any, gate: Any) -> None:
    """close(drain=True) returns when all are answered; whoever comes later is refused."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    driver = open_driver(predict, max_batch_size=2)
    futures = gate.pile_up(driver, x(0.0), [x(float(value)) for value in range(1, 30)])
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(driver.batcher.close) if not hasattr(driver, "loop") else pool.submit(driver.close)
        gate.opened.set()
        closing.result(60)
    assert [outcome_of(future) for future in futures] == [[float(value)] for value in range(30)]
    if not hasattr(driver, "loop"):
        with pytest.raises(UnavailableError, match="stopping"):
            driver.submit(x(1.0))


def test_a_close_without_drain_fails_what_waits(open_driver: Any, gate: Any) -> None:
    """The call that is under way is answered all the same."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"]

    driver = open_driver(predict)
    futures = gate.pile_up(driver, x(0.0), [x(1.0), x(2.0)])
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(driver.close, drain=False)
        assert all(isinstance(outcome_of(future), UnavailableError) for future in futures[1:])
        gate.opened.set()
        closing.result(60)
    assert outcome_of(futures[0]) == [0.0]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted one by one in /proc")
def test_at_rest_no_processor_time_is_spent(open_driver: Any) -> None:
    """Nothing polls. Counted in wake-ups, since a tick each millisecond would make 300 of them, and of the driver's own
    threads, since those that other tests left may run in this process."""
    before = set(os.listdir("/proc/self/task"))
    driver = open_driver(lambda self, df: df["x"], max_wait_ms=5)
    for _ in range(3):
        assert outcome_of(driver.submit(x(1.0))) == [1.0]
    own = set(os.listdir("/proc/self/task")) - before | {str(threading.get_native_id())}
    wakes = {thread: wakes_of(thread) for thread in own}
    time.sleep(0.3)
    assert {thread: count for thread in own if (count := wakes_of(thread) - wakes[thread]) > 15} == {}


def wakes_of(thread: str) -> int:
    """How often a thread of this process gave its core back of its own will. 0 once it has ended."""
    try:
        status = Path("/proc/self/task", thread, "status").read_text()
    except FileNotFoundError:
        return 0
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


def test_a_request_without_rows_is_answered_without_a_call(open_driver: Any) -> None:
    """No row in, no row out; with a declared schema the columns are there."""
    driver = open_driver(lambda self, df: 1 / 0, api={"output_schema": {"prediction": "float64"}})
    assert driver.submit(x(type=pa.float64())).result(60).columns.to_pydict() == {"prediction": []}


def test_the_counts_add_up(open_driver: Any, gate: Any) -> None:
    """Batches, rows, requests, waits, shed and cancelled requests: what a server exports."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        if (df["x"] < 0).any():
            raise ValueError("negative")
        return df["x"]

    driver = open_driver(predict, max_queue_rows=12)
    futures = gate.pile_up(driver, x(0.0), [x(1.0), x(-2.0, 2.0), x(3.0), x(4.0)])
    futures[3].cancel()
    end = time.monotonic() + 30
    while driver.statistics().waiting_rows > 4 and time.monotonic() < end:
        time.sleep(0.001)
    found = driver.statistics()
    assert (found.waiting_requests, found.waiting_rows, found.running_requests) == (3, 4, 1)
    with pytest.raises(OverloadedError):
        driver.submit(x(*[1.0] * 9)).result(60)
    gate.opened.set()
    assert Counter(type(outcome_of(future)).__name__ for future in futures) == {"list": 4, "CancelledError": 1}
    found = driver.statistics()
    assert (found.admitted, found.answered, found.cancelled, found.shed_full, found.bad_rows) == (5, 4, 1, 1, 1)
    assert (found.batch_rows.sum, found.batch_requests.sum) == (5, 4)
    assert found.batch_rows.count == found.batch_requests.count == found.predict_seconds.count == 2
    assert (found.wait_seconds.count, found.row_cap) == (4, 8)
    settled_counts(driver)


def test_a_single_item_api_is_served_too(open_driver: Any) -> None:
    """batch=False: called row by row, whoever the rows belong to."""

    def predict(self: Any, value: Any) -> Any:
        if value == 2:
            raise KeyError("two")
        return value * 10

    driver = open_driver(predict, input=JsonInput(), api={"batch": False})
    answer = driver.submit(lines(b"1", b"2", b"3")).result(60)
    assert (values_of(answer), [item.index for item in answer.bad]) == ([10, None, 30], [1])


def test_a_declared_dtype_joins_what_clients_write_differently(open_driver: Any, gate: Any) -> None:
    """1, 1.5 and null in one call, since the api says what they are."""

    def predict(self: Any, df: pd.DataFrame) -> Any:
        gate()
        return df["x"].fillna(-1.0).to_numpy() * 2

    driver = open_driver(predict, input=DataframeInput(columns=["x"], dtype={"x": "float64"}))
    futures = gate.pile_up(driver, x(0), [x(1), x(1.5), x(None), x("2.5")])
    gate.opened.set()
    assert [outcome_of(future) for future in futures] == [[0.0], [2.0], [3.0], [-2.0], [5.0]]
    assert driver.statistics().batch_rows.count == 2


def test_an_array_that_the_api_fills_anew_changes_no_answer(open_driver: Any) -> None:
    """Models reuse their output buffers; the columns of an answer are made when they are asked for, which may be later."""
    buffer = np.zeros(2)

    def predict(self: Any, df: pd.DataFrame) -> Any:
        buffer[:] = df["x"]
        return buffer

    driver = open_driver(predict)
    first, second = (driver.submit(x(low, low + 1)).result(60) for low in (1.0, 3.0))
    assert (values_of(first), values_of(second)) == ([1.0, 2.0], [3.0, 4.0])
    assert (first.values, second.values) == ([1.0, 2.0], [3.0, 4.0])
