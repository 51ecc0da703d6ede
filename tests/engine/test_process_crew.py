"""Child processes may go at any time; the leader gets another."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

import bentobatch
from bentobatch.engine.process_crew import ProcessCrew
from bentobatch.runs import make_job
from tests.engine.test_promises import write_input


def test_a_worker_that_is_killed_before_the_commit_is_replaced(bundles: Path, tmp_path: Path) -> None:
    """All splits are finished by then, so nothing is lost but its start."""
    write_input(tmp_path / "in.parquet", 2000)
    job = make_job(bundles / "linear", input_file=tmp_path / "in.parquet", output_file=tmp_path / "o.parquet")
    crew = ProcessCrew()
    try:
        crew.plan(job)
        plan = bentobatch.plan(job)
        for index in range(len(plan.splits)):
            bentobatch.run_split(plan, index)
        (child,) = crew._children
        child.process.kill()
        child.process.wait()
        assert crew.commit()["rows"] == 2000
    finally:
        crew.close()
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 2000
