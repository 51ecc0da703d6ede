"""A comparison waits for nothing that does not come, and says truly what is left of it where it ends early."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from bentobatch import plugins
from bentobatch.cli.main import main
from bentobatch.cli.redrive import when_stopped
from bentobatch.comparison import comparing, sides
from bentobatch.comparison.comparing import compare
from bentobatch.comparison.pace import Pace, PacedCrew, StoppedError
from bentobatch.comparison.reader import Meetings, Reader, can_share
from bentobatch.comparison.reading import ReadingProcess
from bentobatch.engine.chunk_files import plan_to_json
from bentobatch.engine.report import Progress
from bentobatch.engine.shared_reading import SharedPlanner
from bentobatch.errors import BundleError, DataError, UsageError
from bentobatch.formats.base import ReadPlan
from bentobatch.formats.csv import CsvFormat


def test_a_side_whose_planning_is_over_fails_what_the_other_waits_for() -> None:
    """It will never say anything of that matter."""
    meetings = Meetings()
    with ThreadPoolExecutor(1) as pool:
        over = pool.submit(meetings.both, "plans", {"side": "old"})
        with pytest.raises(DataError, match="not planned alike"):
            meetings.both("cost", {"side": "new"})
        both = meetings.both("plans", {"side": "new"})
        assert over.result(30) == both == [{"side": "old"}, {"side": "new"}]


def test_nobody_waits_for_a_range_that_the_other_side_does_not_have(tmp_path: Path) -> None:
    """Where the two cut the input in different ways."""
    plan = plan_to_json(ReadPlan(pa.schema([("x", pa.int64())])))
    for cuts, readers in (("a", 2), ("b", 0)):
        reader = Reader(tmp_path, None, patience=1.0)
        with ThreadPoolExecutor(1) as pool:
            old = pool.submit(reader.do_plans, {"side": "old", "plans": [plan], "cuts": "a"})
            assert reader.do_plans({"side": "new", "plans": [plan], "cuts": cuts}) == {}
            assert old.result(30) == {}
        assert len(reader.streams.plans or ()) == 1
        assert len(reader.streams.readers) == readers


def test_state_is_not_kept_from_one_comparison_to_the_next(tmp_path: Path) -> None:
    """What one side finds there the other may not; and a kept cost is not looked for."""
    for option in ("state_dir", "rejects_file"):
        with pytest.raises(UsageError, match=f"{option} has no meaning"):
            compare("old", "new", input_file="x.csv", **{option: tmp_path / "d"})
    planner = SharedPlanner.__new__(SharedPlanner)
    assert planner._kept_cost() is None


def test_a_crew_that_is_stopped_does_not_wait_for_the_other_side() -> None:
    """Nor does it begin anything more; before, it waits until the other side has come near."""
    pace = Pace(("old", "new"), room=1)
    crew = PacedCrew(pace, "old")
    assert [crew.may(0), crew.may(1)] == [True, False]
    pace.ended("new", 0)
    crew.rest(60)  # at once
    assert crew.may(1)
    crew.close()
    for call in (lambda: crew.may(1), lambda: crew.rest(60)):
        with pytest.raises(StoppedError):
            call()


class Shouted(CsvFormat):
    """A plug-in that reads in a way of its own."""

    def read(self, *arguments: Any) -> Any:
        """No row."""
        return iter(())


def test_a_format_that_is_derived_from_one_of_ours_is_read_by_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own ``read``, also where several plans are asked for at once."""
    assert can_share("csv")
    assert not Shouted().reads_units
    assert list(Shouted().read_each(None, None, [None, None])) == []  # type: ignore[arg-type,list-item]
    monkeypatch.setitem(plugins.TABLES["formats"], "csv", plugins.Plugin(f"{__name__}:Shouted"))
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Shouted=Shouted))
    assert not can_share("csv")


def test_environments_are_built_before_anything_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no side is waited for while that goes on."""
    begun: list[str] = []

    def build(env: str, bundle: str, digest: str) -> None:
        begun.append(bundle)
        if len(begun) == 2:
            raise BundleError("it cannot be built")

    monkeypatch.setattr("bentobatch.environments.choosing.interpreters_for", build)
    monkeypatch.setattr(sides, "ReadingProcess", lambda *_, **__: begun.append("reading"))
    jobs: Any = [SimpleNamespace(env="bundle", bundle=side, bundle_digest="") for side in ("old", "new")]
    with pytest.raises(BundleError, match="cannot be built"):
        sides.score_together(jobs, tmp_path)
    assert begun == ["old", "new"]


def test_the_reading_process_has_a_short_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where temporary files lie far down; and it is ended."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    reading = ReadingProcess(tmp_path / "chunks", None)
    try:
        reading.start()
        path = Path(reading.address("old").rpartition("#")[0])
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o77 == 0
    finally:
        reading.close()
    assert not path.parent.exists()


def test_a_signal_is_told_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing before the file of changed rows is in its place, and the file after that."""
    output = tmp_path / "changed.csv"

    def stopped(*_: Any, **options: Any) -> None:
        if options["tolerance"] == "1":
            output.write_text("row\n")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(comparing, "compare", stopped)
    arguments = ["compare", "old", "new", "--input", "1", "--output-file", str(output), "--quiet", "--tolerance"]
    assert main([*arguments, "0"]) == 143
    assert capfd.readouterr().err == "bentobatch: stopped by SIGTERM; nothing was written\n"
    assert main([*arguments, "1"]) == 143
    assert capfd.readouterr().err == f"bentobatch: stopped by SIGTERM; {output} is written, and whole\n"


def test_a_redrive_that_has_begun_its_commit_does_not_say_that_the_output_is_as_it_was() -> None:
    """It may be the new one already."""
    progress = Progress("score", 1, 1, 0, 0, 1, 1, 0.1)
    assert when_stopped(None) == when_stopped(progress) == "the output is as it was, and the same command goes on"
    assert "with the new rows merged" in when_stopped(replace(progress, stage="commit"))


def test_types_that_a_model_file_may_make_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by ``bentobatch run``."""
    given: dict[str, Any] = {}

    def taken(*_: Any, **options: Any) -> None:
        given.update(options)
        raise UsageError("enough")

    monkeypatch.setattr(comparing, "compare", taken)
    assert main(["compare", "old", "new", "--input", "1", "--trust-type", "some.Type", "--workers", "2"]) == 2
    assert (given["trust_types"], given["workers"]) == (("some.Type",), 2)
