"""What planning and the first splits find out about an api decides how its job is cut and where it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine.choice import Choice, Watch, choose
from bentobatch.engine.clocks import Clock, wait_for_each_other
from bentobatch.engine.cost import LEAST_SPLIT_ROWS, Cost, measure, split_rows_for
from bentobatch.engine.crew import Outcome, PlanSummary
from bentobatch.engine.job import DEFAULT_SPLIT_ROWS
from bentobatch.runs import make_job
from bentobatch.scorer import Scorer
from tests.engine.test_promises import write_input

HELD = [Clock(1.0, 0.5, 0.0), Clock(1.0, 0.5, 0.0)]
FREE = [Clock(1.0, 0.95, 0.0), Clock(1.0, 0.95, 0.0)]
WAITING_OUTSIDE = [Clock(1.0, 0.01, 0.0), Clock(1.0, 0.01, 0.0)]
ON_A_BUSY_MACHINE = [Clock(3.0, 1.0, 1.9), Clock(3.0, 1.0, 1.9)]


class FakeCrew:
    """Only what ``choose`` and ``Watch`` look at."""

    def __init__(self, *, forks: bool = True) -> None:
        self.forks = forks
        self.started: list[tuple[str, int]] = []

    def start(self, executor: str, workers: int) -> int:
        self.started.append((executor, workers))
        return workers


def summary(*, splits: int = 10, table: bool = True, interpreted: bool | None = None) -> PlanSummary:
    return PlanSummary(
        plan_id="p",
        rows=splits,
        takes=(1,) * splits,
        keys=("k",) * splits,
        files=1,
        done={},
        features=(),
        feature_rule="",
        table=table,
        interpreted=interpreted,
    )


def test_only_threads_that_block_each_other_count_as_interpreted() -> None:
    """Not those that wait for a disk or a network, nor those that wait for a core on a busy machine."""
    assert wait_for_each_other(HELD)
    assert not wait_for_each_other(FREE)
    assert not wait_for_each_other(WAITING_OUTSIDE)
    assert not wait_for_each_other(ON_A_BUSY_MACHINE)
    assert not wait_for_each_other(HELD[:1])
    assert not wait_for_each_other([])


@pytest.mark.parametrize(
    ("row_seconds", "expected"),
    [
        (0.0, DEFAULT_SPLIT_ROWS),
        (1e-7, DEFAULT_SPLIT_ROWS),
        (13e-6, 131_072),
        (300e-6, 4_096),
        (10.0, LEAST_SPLIT_ROWS),
    ],
)
def test_a_costly_model_gets_smaller_splits(bundles: Path, row_seconds: float, expected: int) -> None:
    """Two seconds of work each, in powers of two, so that measurements which differ a little come to the same."""
    job = make_job(bundles / "linear", input_file="in.parquet", output_file="out")
    assert split_rows_for(job, Cost(row_seconds), row_bytes=8) == expected
    assert split_rows_for(job, Cost(row_seconds * 1.05), row_bytes=8) == expected


def test_rows_that_are_costly_to_read_are_not_read_again_for_smaller_splits(bundles: Path) -> None:
    """5,000 columns take as long to decode as a linear model takes to score them; a model of a second does not mind."""
    job = make_job(bundles / "linear", input_file="in.parquet", output_file="out")
    assert split_rows_for(job, Cost(300e-6), row_bytes=20_000) == DEFAULT_SPLIT_ROWS
    assert split_rows_for(job, Cost(1.0), row_bytes=20_000) == LEAST_SPLIT_ROWS


@pytest.mark.parametrize(
    ("of", "forks", "executor"),
    [
        (summary(splits=1), True, "inline"),
        (summary(), True, "threads"),
        (summary(table=False), True, "processes"),
        (summary(interpreted=True), True, "processes"),
        (summary(table=False, interpreted=False), True, "threads"),
        (summary(table=False), False, "inline"),
        (summary(interpreted=True), False, "inline"),
    ],
)
def test_auto_goes_by_what_is_known(of: PlanSummary, forks: bool, executor: str) -> None:
    """What was measured comes before what the kind of api suggests; a crew without processes is not asked for them."""
    choice = choose("auto", 2, of, crew=FakeCrew(forks=forks))
    assert choice.executor == executor
    assert choice.reason.startswith("auto: ")
    assert choose("threads", 2, of, crew=FakeCrew(forks=forks)).reason == "as asked"


def outcomes(clocks: list[Clock]) -> list[Outcome]:
    return [Outcome(0, counts={}, clock=(clock.wall, clock.cpu, clock.queued)) for clock in clocks]


def test_a_run_goes_on_with_processes_where_threads_wait_for_each_other() -> None:
    """Once every thread has shown a split, and only where enough is left; the report says what was seen."""
    crew = FakeCrew()
    watch = Watch(crew)
    choice = choose("auto", 2, summary(), crew=crew)
    watch.add(outcomes(HELD)[0])
    assert watch.advise(choice, pending=8) == choice
    watch.add(outcomes(HELD)[1])
    changed = watch.advise(choice, pending=8)
    assert (changed.executor, changed.workers, crew.started) == ("processes", 2, [("processes", 2)])
    assert "50%" in changed.reason
    assert not changed.open


@pytest.mark.parametrize(
    ("clocks", "pending", "executor"), [(FREE, 8, "auto"), (HELD, 1, "auto"), (HELD, 8, "threads")]
)
def test_a_run_stays_as_it_is_where_that_is_best(clocks: list[Clock], pending: int, executor: str) -> None:
    """Threads that do not wait, too little left to pay for another process, or an executor that was asked for."""
    crew = FakeCrew()
    watch = Watch(crew)
    choice = choose(executor, 2, summary(), crew=crew)
    for outcome in outcomes(clocks):
        watch.add(outcome)
    assert watch.advise(choice, pending=pending) == choice
    assert crew.started == []


SERVICE = '''
import bentobatch
from bentobatch.adapters import DataframeInput


class Slow(bentobatch.BentoService):
    """A model of plain Python: about a millisecond for each row."""

    @bentobatch.api(input=DataframeInput(columns=["x0"]), batch=True)
    def predict(self, df):
        def one(value):
            for _ in range(20_000):
                value = value * 0.5 + 1.0
            return value
        return [one(value) for value in df["x0"]]
'''


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "bentobatch_test_slow.py").write_text(SERVICE)
    sys.path.insert(0, str(folder))
    try:
        import bentobatch_test_slow  # type: ignore[import-not-found]

        bentobatch_test_slow.Slow().save_to_dir(str(folder / "bundle"))
    finally:
        sys.path.remove(str(folder))
    return folder / "bundle"


def test_what_was_measured_is_kept_and_found_again(slow: Path, tmp_path: Path) -> None:
    """The same job makes the same plan, whatever the machine does meanwhile; a cheap model keeps nothing."""
    pq.write_table(pa.table({"x0": np.arange(10_000.0)}), tmp_path / "in.parquet")
    options: dict[str, Any] = {"input_file": tmp_path / "in.parquet", "output_file": tmp_path / "out"}
    first = bentobatch.plan(slow, **options)
    assert 1 < len(first.splits) <= 40
    (kept,) = (tmp_path / ".out.bentobatch").glob("settled-*")
    changed = kept.read_text().replace('"row_seconds"', '"seen"')
    kept.write_text(changed)
    assert bentobatch.plan(slow, **options).plan_id == first.plan_id
    assert kept.read_text() == changed


def test_a_cheap_model_is_not_called_for_its_cost(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that finds the output's columns says enough."""
    write_input(tmp_path / "in.parquet", 500)
    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(tmp_path / "trace"))
    bentobatch.plan(bundles / "linear", input_file=tmp_path / "in.parquet", output_file=tmp_path / "out")
    assert len((tmp_path / "trace").read_text().splitlines()) == 1
    assert not list((tmp_path / ".out.bentobatch").glob("settled-*"))


@pytest.mark.parametrize("rows", [1, 100, 250])
def test_an_input_of_few_rows_is_measured_by_what_there_is(slow: Path, rows: int) -> None:
    """No more rows are asked for than there are."""
    service = bentobatch.load(slow)
    batch = pa.record_batch({"x0": pa.array(np.arange(float(rows)))})
    cost = measure(Scorer(service, service.get_inference_api("predict")), batch)
    assert cost is not None
    assert cost.row_seconds >= 0


def test_rows_that_the_api_refuses_tell_nothing_of_its_cost(bundles: Path) -> None:
    """The run will tell what is wrong with them, with their rows."""
    service = bentobatch.load(bundles / "picky")
    scorer = Scorer(service, service.get_inference_api("broken"))
    table: Callable[..., pa.RecordBatch] = pa.record_batch
    assert measure(scorer, table({"x0": [1.0] * 200, "x1": [1.0] * 200})) is None


def test_a_choice_that_is_closed_is_never_reconsidered() -> None:
    """``open`` is part of the choice, not of the crew."""
    crew = FakeCrew()
    watch = Watch(crew)
    for outcome in outcomes(HELD):
        watch.add(outcome)
    closed = Choice("threads", 2, "as asked")
    assert watch.advise(closed, pending=10) is closed
