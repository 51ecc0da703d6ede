"""Child processes may go at any time; the leader gets another."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine import child
from bentobatch.engine.child import discard, prepare
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
        (worker,) = crew._children
        worker.process.kill()
        worker.process.wait()
        assert crew.commit()["rows"] == 2000
    finally:
        crew.close()
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 2000


def test_a_prepared_process_is_taken_only_where_it_sees_what_a_new_one_would(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started before its task was known, and must not bring an earlier environment with it; nor does it stay."""
    write_input(tmp_path / "in.parquet", 100)
    prepare()
    ((_, spare),) = child._SPARE
    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(tmp_path / "trace"))
    options: dict[str, Any] = {"input_file": tmp_path / "in.parquet", "isolated": True}
    bentobatch.run(bundles / "linear", output_file=tmp_path / "a.parquet", **options)
    assert spare.process.poll() is not None
    assert (tmp_path / "trace").exists()
    prepare()
    ((_, spare),) = child._SPARE
    bentobatch.run(bundles / "linear", output_file=tmp_path / "b.parquet", **options)
    assert str(spare.process.pid) in (tmp_path / "trace").read_text()
    prepare()
    ((_, spare),) = child._SPARE
    discard()
    assert spare.process.poll() is not None
    assert not child._SPARE


def test_a_child_leaves_a_ctrl_c_to_its_leader_from_its_first_import_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reaches the whole group, and a traceback of each process beside the leader's line would tell nobody anything."""
    (tmp_path / "interrupted.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\ndef main(words): print(words[:2])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    done = subprocess.run(child.program("interrupted", "one", "two"), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['one', 'two']\n", "")
