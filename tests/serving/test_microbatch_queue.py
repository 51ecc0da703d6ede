"""The queue, the row cap and the estimates, without threads and with a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import DeadlineError, ModelError, OverloadedError, UnavailableError
from bentobatch.serving import waiting as module
from bentobatch.serving.columns import Rows
from bentobatch.serving.measures import Histogram, PredictTime, RowCap
from bentobatch.serving.scoring import Answer, Outcome
from bentobatch.serving.waiting import LOOK_AHEAD, Request, Waiting

KIND = pa.schema([("x", pa.int64())])
OTHER = pa.schema([("x", pa.float64())])


class Asked(Request):
    """A request that keeps what it is told."""

    def __init__(self, size: int = 1, deadline: float | None = None, kind: pa.Schema | None = KIND) -> None:
        schema = kind or KIND
        super().__init__(
            Rows(pa.RecordBatch.from_arrays([pa.array([0] * size, schema.types[0])], schema=schema), kind), deadline
        )
        self.wanted = True
        self.told: list[Outcome] = []

    def claim(self) -> bool:
        return self.wanted

    def resolve(self, outcome: Outcome) -> None:
        self.told.append(outcome)


def waiting(*requests: Request, **options: Any) -> Waiting:
    """A queue with these requests, which came at 0."""
    queue = Waiting(**{"max_batch_rows": 100, "objective": 1.0, "max_queue_rows": 1000, **options})
    for request in requests:
        queue.admit(request, 0.0)
    return queue


def score(queue: Waiting, seconds: float, now: float = 0.0) -> list[Request]:
    """Take a batch and answer it; the requests in it."""
    batch = queue.take(now)
    queue.finished([Answer(len(piece), piece.batch) for piece in batch.pieces], seconds)
    return batch.requests


@given(
    most=st.integers(1, 5000),
    steps=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200),
)
def test_the_row_cap_stays_within_its_bounds_and_moves_one_way_only(most: int, steps: list[tuple[bool, bool]]) -> None:
    """A miss makes it smaller unless it is 1, by no more than a half; a full batch in time larger unless it is at the
    top; anything else leaves it alone. Between two misses it grows by one and the same step."""
    cap = RowCap(most, objective=1.0)
    step, missed = None, False
    for misses, full in steps:
        before = cap.rows
        cap.learn(2.0 if misses else 0.5, full=full)
        assert 1 <= cap.rows <= most
        if misses:
            assert cap.rows < before or before == 1
            assert cap.rows >= (int(before * 0.9) if missed and before > 10 else before // 2)
            step, missed = None, True
        elif not full:
            assert cap.rows == before
        else:
            assert cap.rows > before or before == most
            if missed and cap.rows < most:
                assert step in (None, cap.rows - before)
                step = cap.rows - before


@settings(deadline=None)
@given(
    base=st.floats(0.001, 0.5),
    row=st.floats(0.0001, 0.5),
    most=st.integers(1, 4000),
)
def test_the_row_cap_finds_the_size_that_the_objective_allows(base: float, row: float, most: int) -> None:
    """A call costs base + row × rows: under steady load the cap settles about the largest size within the objective."""
    best = min(most, max(1, int((1.0 - base) / row)))
    cap = RowCap(most, objective=1.0)
    sizes = []
    for _ in range(400):
        sizes.append(cap.rows)
        cap.learn(base + row * cap.rows, full=True)
    assert min(sizes[200:]) >= int(best * 0.85) - 1
    assert max(sizes[200:]) <= best * 1.07 + 1


@given(calls=st.lists(st.tuples(st.integers(1, 300), st.floats(0.0, 10.0)), max_size=50), rows=st.integers(1, 1000))
def test_an_estimate_is_never_negative_and_grows_with_the_work(calls: list[tuple[int, float]], rows: int) -> None:
    """Whatever was measured."""
    predict = PredictTime()
    for size, seconds in calls:
        predict.learn(size, seconds)
    assert 0.0 <= predict.seconds(1, rows) <= predict.seconds(1, rows + 1) + 1e-9
    assert predict.seconds(1, rows) <= predict.seconds(2, rows) + 1e-9


def test_the_estimate_tells_the_cost_of_a_call_from_that_of_a_row() -> None:
    """18 ms for a call and 0.5 ms for a row, found from batches of mixed sizes."""
    predict = PredictTime()
    assert predict.seconds(3, 100) == 0.0
    for size in [1, 5, 60, 30, 2, 45, 17] * 5:
        predict.learn(size, 0.018 + 0.0005 * size)
    assert predict.seconds(1, 1) == pytest.approx(0.0185)
    assert predict.seconds(2, 200) == pytest.approx(0.136)


def test_a_request_that_cannot_make_its_deadline_is_refused_at_once() -> None:
    """The running call, what waits, and its own rows count; retry_after says by how much it is too much."""
    queue = waiting(Asked(), max_batch_rows=8)
    score(queue, 9.0)  # the first call also loads things, and teaches nothing
    for _ in range(3):
        queue.admit(Asked(), 0.0)
        score(queue, 0.1)
    queue.admit(Asked(), 10.0)
    queue.take(10.0)
    for _ in range(16):
        queue.admit(Asked(), 10.0)
    # 0.05 s of the running call, two full calls, and one for itself
    with pytest.raises(OverloadedError, match="16 rows are waiting, too many") as caught:
        queue.admit(Asked(deadline=10.05 + 0.30), 10.05)
    assert caught.value.retry_after == pytest.approx(0.05)
    queue.admit(Asked(deadline=10.05 + 0.40), 10.05)
    assert queue.statistics().shed_deadline == 1


def slow(patience: float) -> Waiting:
    """A queue to an api that is known to take thirty seconds for a call, of one row."""
    queue = waiting(Asked(), max_batch_rows=1, joins=False, patience=patience)
    score(queue, seconds=0.0)  # the first call teaches nothing
    queue.admit(Asked(), 0.0)
    score(queue, seconds=30.0)
    return queue


def test_who_would_wait_longer_than_the_api_allows_is_refused_at_once() -> None:
    """What others need counts, and not the request's own call: one that is slow by itself is answered, however slow."""
    queue = slow(patience=1.0)
    queue.admit(Asked(), 30.0)  # an idle api takes it
    queue.take(30.0)
    queue.admit(Asked(), 59.5)  # nobody waits yet
    with pytest.raises(
        OverloadedError, match="1 rows are waiting, which will take longer than mb_max_latency"
    ) as caught:
        queue.admit(Asked(), 59.5)
    assert caught.value.retry_after == pytest.approx(0.5 + 30.0 - 1.0)
    assert queue.statistics().shed_deadline == 1
    patient = slow(patience=31.0)
    patient.admit(Asked(), 30.0)
    patient.take(30.0)
    for _ in range(2):
        patient.admit(Asked(), 59.5)
    with pytest.raises(OverloadedError):
        patient.admit(Asked(), 59.5)


def test_an_idle_api_takes_what_it_may_not_manage() -> None:
    """Else one slow call would shut the door for good, since only calls correct the estimate."""
    queue = waiting(Asked())
    score(queue, 9.0)
    queue.admit(Asked(), 0.0)
    score(queue, 60.0)
    queue.admit(Asked(deadline=1.0), 0.0)
    with pytest.raises(OverloadedError):
        queue.admit(Asked(deadline=1.0), 0.0)
    with pytest.raises(DeadlineError):
        waiting().admit(Asked(deadline=1.0), 1.0)


def test_a_full_queue_tells_when_there_will_be_room() -> None:
    """After as many calls as free the rows that the request needs."""
    queue = waiting(Asked(), max_batch_rows=4, max_queue_rows=12)
    score(queue, 9.0)
    for _ in range(3):
        queue.admit(Asked(), 0.0)
        score(queue, 0.5)
    for _ in range(10):
        queue.admit(Asked(), 0.0)
    with pytest.raises(OverloadedError) as caught:
        queue.admit(Asked(6), 0.0)
    assert caught.value.retry_after == pytest.approx(0.5)


def test_only_requests_of_one_kind_are_joined_and_the_oldest_goes_next() -> None:
    """Those of another kind are passed over, and none of them for ever."""
    requests = [Asked(kind=kind) for kind in (KIND, OTHER, KIND, None, OTHER, KIND, None)]
    queue = waiting(*requests)
    order = [[requests.index(request) for request in score(queue, 0.1)] for _ in range(4)]
    assert order == [[0, 2, 5], [1, 4], [3], [6]]
    assert (len(queue), queue.rows) == (0, 0)


def test_a_batch_looks_no_further_than_it_must() -> None:
    """Ten thousand requests of another kind do not make each batch a search through all of them."""
    others = [Asked(kind=OTHER) for _ in range(LOOK_AHEAD + 200)]
    queue = waiting(Asked(), *others, Asked(), max_queue_rows=10_000)
    assert len(score(queue, 0.1)) == 1


def test_nothing_overtakes_a_request_that_does_not_fit_any_more() -> None:
    """First in, first out: the smaller one behind it waits too. And the batch counts as full."""
    requests = [Asked(5), Asked(5), Asked(1)]
    queue = waiting(*requests)
    batch = queue.take(0.0)
    assert (batch.requests, batch.full, batch.rows) == (requests[:1], True, 5)
    assert queue.ready_at(0.0) is None


def test_the_cap_grows_where_requests_do_not_fill_it_exactly() -> None:
    """Requests of five rows would stay alone under a cap of eight for ever."""
    queue = waiting()
    for _ in range(4):
        for _ in range(10):
            queue.admit(Asked(5), 0.0)
        score(queue, 0.1)
    assert queue.cap.rows == 64


def test_who_is_gone_or_late_is_left_out() -> None:
    """Cancelled ones are dropped, late ones are handed back, and both make room."""
    gone, late, good = Asked(2), Asked(3, deadline=5.0), Asked()
    queue = waiting(gone, late, good)
    gone.wanted = False
    batch = queue.take(6.0)
    assert (batch.requests, batch.late, queue.rows, len(queue)) == ([good], [late], 0, 0)
    found = queue.statistics()
    assert (found.cancelled, found.expired) == (1, 1)


def test_when_all_are_gone_there_is_no_batch() -> None:
    """And the queue is ready for the next."""
    gone = Asked()
    gone.wanted = False
    queue = waiting(gone)
    assert queue.take(0.0).requests == []
    queue.admit(Asked(), 0.0)
    assert queue.ready_at(1.0) == 1.0


@pytest.mark.parametrize(
    ("pause", "seconds", "ready"), [(0.0, 0.1, 1.0), (0.001, 0.1, 1.001), (0.004, 0.01, 1.001), (9.0, 5.0, 1.005)]
)
def test_the_pause_is_a_tenth_of_a_call_and_5_ms_at_most(pause: float, seconds: float, ready: float) -> None:
    """None by default; counted from the arrival of the oldest, so that one who has waited waits no more."""
    queue = waiting(Asked(), pause=pause)
    score(queue, 9.0)
    queue.admit(Asked(), 0.0)
    score(queue, seconds)
    queue.admit(Asked(), 1.0)
    assert queue.ready_at(1.0) == pytest.approx(ready)
    assert queue.ready_at(1.5) == 1.5
    for _ in range(queue.cap.rows):
        queue.admit(Asked(), 1.0)
    assert queue.ready_at(1.0) == 1.0


def test_a_large_request_stays_first_until_its_last_rows_went() -> None:
    """8 rows at a time at first; then twice as many, since they were quick. Others wait, and are not mixed in."""
    large, small = Asked(40), Asked()
    queue = waiting(large, small)
    sizes = []
    while len(queue):
        batch = queue.take(0.0)
        sizes.append(batch.rows)
        told = queue.finished([Answer(len(piece), piece.batch) for piece in batch.pieces], 0.1)
    assert sizes == [8, 8, 16, 8, 1]  # the first call teaches nothing
    assert told[0][0] is small
    assert queue.statistics().answered == 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_close_during_a_large_request_ends_it(fails: bool) -> None:
    """Its owner was told by the close, so what comes back from the call is for nobody."""
    large = Asked(40)
    queue = waiting(large)
    batch = queue.take(0.0)
    assert queue.close(drain=False) == [large]
    assert queue.finished([ModelError("no") if fails else Answer(8, batch.pieces[0].batch)], 0.1) == []
    assert (len(queue), queue.rows, queue.statistics().failed) == (0, 0, 1)
    with pytest.raises(UnavailableError):
        queue.admit(Asked(), 0.0)


def test_parts_that_cannot_be_joined_are_an_error_of_their_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: an exception here would leave the other requests of the call without any answer."""

    def join(parts: Any) -> Answer:
        raise MemoryError("no room")

    monkeypatch.setattr(module, "join_answers", join)
    large = Asked(9)
    queue = waiting(large)
    score(queue, 0.1)
    batch = queue.take(0.0)
    ((request, outcome),) = queue.finished([Answer(1, batch.pieces[0].batch)], 0.1)
    assert request is large
    assert isinstance(outcome, ModelError)
    assert "MemoryError: no room" in str(outcome)
    assert queue.statistics().failed == 1


def test_a_histogram_counts_each_value_once() -> None:
    """At most the bound, as Prometheus has it; the last count has no bound."""
    histogram = Histogram((1, 2, 4))
    for value in (0.5, 1, 1.5, 4, 5, 100):
        histogram.add(value)
    assert (histogram.counts, histogram.count, histogram.sum) == ([2, 1, 1, 2], 6, 112.0)
