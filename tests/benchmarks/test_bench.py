"""This module tests the benchmarks on tiny inputs: the makers of data, the statistics, the page. No time is asserted."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pytest

MODULES = (
    "chart",
    "checks",
    "data",
    "machine",
    "peer_list",
    "render",
    "results",
    "resume",
    "scale_page",
    "stats",
    "targets",
    "workloads",
)


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The benchmarks' own package, which lies beside this file and is importable only while these tests run."""
    home = str(Path(__file__).resolve().parent)
    sys.path.insert(0, home)
    try:
        yield SimpleNamespace(**{name: importlib.import_module(f"bentobench.{name}") for name in MODULES})
    finally:
        sys.path.remove(home)
        for name in [name for name in sys.modules if name.partition(".")[0] == "bentobench"]:
            del sys.modules[name]


def run_of(kind: str, wall: list[float], **more: Any) -> dict[str, Any]:
    """What a session keeps of a runner."""
    return {"kind": kind, "one_file": True, "wall": wall, "cpu": wall, "peak_mb": [100.0], "others": [0.0], **more}


def session_of(runs: dict[str, Any], title: str = "a workload") -> dict[str, Any]:
    """A session as it is kept."""
    machine = {"cores": 2, "memory_gb": 8, "processor": "a processor", "system": "Linux", "python": "3.11"}
    date = "2026-01-02T03:04:05+00:00"
    return {"title": title, "date": date, "rounds": 2, "machine": machine, "versions": {"numpy": "2"}, "runs": runs}


def ours(wall: list[float], **report: Any) -> dict[str, Any]:
    """A run of ours with a report."""
    return run_of("ours", wall, report={"executor": "threads", "workers": 2, "seconds": {"total": 2.0}, **report})


def test_the_same_seed_makes_the_same_rows_in_every_format(bench: SimpleNamespace, tmp_path: Path) -> None:
    """Data is deterministic: formats agree with each other (text to six decimals), and a smaller input is the start of a
    larger one."""
    for path in (tmp_path / "a.parquet", tmp_path / "b.parquet"):
        bench.data.write_parquet(path, 50)
    bench.data.write_csv(tmp_path / "a.csv", 50)
    bench.data.write_json_lines(tmp_path / "a.jsonl", 50)
    typed = pq.read_table(tmp_path / "a.parquet")
    assert typed.equals(pq.read_table(tmp_path / "b.parquet"))
    assert typed.column_names == ["id", *bench.data.FEATURES, *bench.data.TEXTS]
    assert typed["id"].to_pylist() == list(range(50))
    for text in (pa_csv.read_csv(tmp_path / "a.csv"), pa_json.read_json(str(tmp_path / "a.jsonl"))):
        assert text.column_names == ["id", *bench.data.FEATURES]
        for name in text.column_names:
            np.testing.assert_allclose(text[name].to_numpy(), typed[name].to_numpy(), atol=5.1e-7)


def test_rows_are_cut_into_row_groups_that_continue_each_other(bench: SimpleNamespace, monkeypatch, tmp_path) -> None:
    """Row groups have the fixed size, ids go on across them, and their values differ."""
    monkeypatch.setattr(bench.data, "ROW_GROUP", 20)
    bench.data.write_parquet(tmp_path / "a.parquet", 50)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [20, 20, 10]
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["id"].to_pylist() == list(range(50))
    assert len(set(table["x00"].to_pylist())) == 50


def test_small_files_continue_each_other_in_the_order_of_their_names(bench: SimpleNamespace, tmp_path: Path) -> None:
    """The ids of the files, taken in the order of their names, are those of one input."""
    bench.data.write_small_files(tmp_path / "files", 12, 3)
    found = [pq.read_table(path)["id"].to_pylist() for path in sorted((tmp_path / "files").iterdir())]
    assert [row for rows in found for row in rows] == list(range(36))


def test_a_wide_file_has_an_id_and_float32_columns(bench: SimpleNamespace, tmp_path: Path) -> None:
    """The wide workload's columns are float32, so that a loop may read them without a cast."""
    bench.data.write_wide(tmp_path / "wide.parquet", 6, 30)
    schema = pq.read_schema(tmp_path / "wide.parquet")
    assert schema.names == ["id", *(f"w{index:04d}" for index in range(30))]
    assert {field.type for field in schema if field.name != "id"} == {pa.float32()}


def test_what_is_made_is_kept_until_its_recipe_changes(bench: SimpleNamespace, tmp_path: Path) -> None:
    """A made file is not made twice by one recipe, is made anew by another, and is never half made."""
    calls: list[Path] = []

    def make(path: Path) -> None:
        calls.append(path)
        path.write_text(str(len(calls)))

    for recipe in ({"rows": 1}, {"rows": 1}, {"rows": 2}):
        bench.data.made(tmp_path / "file", recipe, make, tell=lambda _: None)
    assert (tmp_path / "file").read_text() == "2"
    assert [path.name for path in calls] == ["making-file"] * 2

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        bench.data.made(tmp_path / "other", {}, fail, tell=lambda _: None)
    assert not (tmp_path / "other").exists()


def test_a_ratio_is_the_median_of_the_rounds_ratios(bench: SimpleNamespace) -> None:
    """A round in which the machine was slow for both counts as any other."""
    assert bench.stats.speed_ratio([1.0, 10.0, 2.0], [2.0, 20.0, 3.0]) == 2.0
    assert bench.stats.speed_ratio([1.0, 1.0], [3.0]) == 3.0
    assert bench.stats.speed_ratio([], [1.0]) is None


def test_the_order_of_runners_begins_elsewhere_each_round(bench: SimpleNamespace) -> None:
    """Over as many rounds as runners, each one is first once."""
    names = ["a", "b", "c"]
    rounds = [bench.stats.rotated(names, turn) for turn in range(3)]
    assert sorted(order[0] for order in rounds) == names
    assert all(sorted(order) == names for order in rounds)


def test_the_best_choice_of_executor_by_hand_is_found(bench: SimpleNamespace) -> None:
    """``auto`` is compared with the fastest of ours by hand, never with itself or a loop."""
    runs = {
        "bentobatch → dir": ours([1.2, 1.2]),
        "bentobatch → dir, threads": ours([1.0, 1.0]),
        "bentobatch → dir, processes": ours([3.0, 3.0]),
        "a loop": run_of("loop", [0.1, 0.1]),
    }
    row = bench.targets.auto_beside_hand({"W1": session_of(runs)}, "W1")
    assert row.value == pytest.approx(1.2)
    assert row.met is False
    assert row.short == pytest.approx(1.2 / 1.1 - 1)
    assert "the best is threads" in row.text


def test_ours_is_compared_with_the_best_loop_that_ended_well(bench: SimpleNamespace) -> None:
    """A loop that failed, or one that writes two files where one is asked for, is no rival."""
    runs = {
        "bentobatch → dir": ours([1.0, 1.0]),
        "bentobatch → file": ours([2.0, 2.0]),
        "broken": run_of("loop", [0.1, 0.1], failed="exit code 1"),
        "two files": run_of("loop", [0.9, 0.9]) | {"one_file": False},
        "one file": run_of("loop", [3.0, 3.0]),
    }
    sessions = {"W1": session_of(runs)}
    to_folder = bench.targets.beside_best(sessions, "W1", "dir", 0.95, "the best loop")
    to_file = bench.targets.beside_best(sessions, "W1", "file", 0.95, "the best loop", one_file=True)
    assert (to_folder.value, to_folder.met) == (0.9, False)
    assert (to_file.value, to_file.met) == (1.5, True)


def test_what_was_not_measured_is_neither_met_nor_missed(bench: SimpleNamespace) -> None:
    """Without results every target says so."""
    rows = bench.targets.targets({})
    assert len(rows) > 20
    assert {row.met for row in rows} == {None}
    assert "not measured" in bench.render.target_table(rows)


def test_the_page_holds_the_figures_and_says_what_failed(bench: SimpleNamespace, tmp_path: Path) -> None:
    """The page has the medians, the ratio, the date, the machine and a failed runner's reason; the chart has the bars."""
    runs = {
        "bentobatch → dir": ours([1.0, 3.0]),
        "1 process, tuned": run_of("loop", [4.0, 4.0]),
        "Ray Data": run_of("peer", [], failed="pip install …: no matching distribution"),
    }
    sessions = {"W1": session_of(runs, "2,000,000 rows <of> data")}
    bench.render.write(sessions, tmp_path, ["W1"])
    page, drawn = (tmp_path / "performance.md").read_text(), (tmp_path / "performance.svg").read_text()
    assert "| **bentobatch → dir** | 2.00 |" in page
    assert "| 1 process, tuned | 4.00 | 0% | 4.00 | 100 | 2.67 × |" in page
    for words in ("2026-01-02", "a processor", "numpy 2", "Ray Data: did not run: pip install …: no matching"):
        assert words in page
    assert "2,000,000 rows &lt;of&gt; data" in drawn
    assert drawn.count("<rect") == 1 + 3 + 2


def test_a_partial_run_leaves_the_other_results(bench: SimpleNamespace, tmp_path: Path) -> None:
    """Sessions are merged by key, replaced whole, and never lost from the history."""
    path = bench.results.results_file(tmp_path, 1.0)
    for key, wall in (("W1", 1.0), ("W2", 2.0), ("W1", 3.0)):
        bench.results.store(path, key, session_of({"bentobatch → dir": ours([wall])}))
    found = bench.results.load(path)
    assert {key: one["runs"]["bentobatch → dir"]["wall"] for key, one in found.items()} == {"W1": [3.0], "W2": [2.0]}
    history = path.with_name("history.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in history] == ["W1", "W2", "W1"]
    assert bench.results.results_file(tmp_path, 0.1) != path


def write_output(path: Path, ids: list[int], predictions: list[float]) -> Path:
    """An output, or the expected one."""
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": ids, "prediction": predictions}), path)
    return path


def test_a_wrong_output_is_found(bench: SimpleNamespace, tmp_path: Path) -> None:
    """Rows, their order and their values are compared; parts are read in natural order."""
    expected = write_output(tmp_path / "expected.parquet", [0, 1, 2, 3], [0.0, 0.1, 0.2, 0.3])
    write_output(tmp_path / "good" / "part-2.parquet", [0, 1], [0.0, 0.1])
    write_output(tmp_path / "good" / "part-10.parquet", [2, 3], [0.2, 0.3])
    bench.checks.check(tmp_path / "good", expected)
    swapped = write_output(tmp_path / "swapped.parquet", [1, 0, 2, 3], [0.1, 0.0, 0.2, 0.3])
    bench.checks.check(swapped, expected, ordered=False)
    wrong = {
        "3 rows": write_output(tmp_path / "short.parquet", [0, 1, 2], [0.0, 0.1, 0.2]),
        "ids from row 0": swapped,
        "row 3 is": write_output(tmp_path / "value.parquet", [0, 1, 2, 3], [0.0, 0.1, 0.2, 0.4]),
    }
    for words, path in wrong.items():
        with pytest.raises(bench.checks.WrongOutput, match=words):
            bench.checks.check(path, expected)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"id": [0, 1, 2, 3], "score": [0.0] * 4}), tmp_path / "other.parquet")
    for path in (tmp_path / "torn.parquet", tmp_path / "other.parquet"):
        with pytest.raises(bench.checks.WrongOutput, match="cannot be read"):
            bench.checks.check(path, expected)


def measured_here(bench: SimpleNamespace) -> dict[str, Any]:
    """A session of this machine and these versions, at whatever load."""
    session = session_of({"bentobatch → dir": ours([1.0])})
    return session | {"machine": bench.machine.machine() | {"load": [9]}, "versions": bench.machine.versions()}


def test_the_page_is_written_when_all_was_measured_here(bench: SimpleNamespace, tmp_path: Path) -> None:
    """One workload that is missing, or was measured with other versions, leaves the page as it is, unless it is asked for."""
    path, docs, told = bench.results.results_file(tmp_path, 1.0), tmp_path / "docs", []
    docs.mkdir()
    page = docs / "performance.md"
    page.write_text("as it was")
    whole = measured_here(bench)
    resume = {"rows": 1, "reused": 0.99, "resumed": 1.0, "whole": 9.0, "start": 1.0, "allowed": 1.2}
    sessions = {name: whole | (resume if name == "RESUME" else {}) for name in bench.workloads.EVERYTHING}
    for name, session in sessions.items():
        if name != "WIDE":
            bench.results.store(path, name, session)
    assert not bench.render.publish(path, docs, anyway=False, tell=told.append)
    bench.results.store(path, "WIDE", whole | {"versions": {"bentobatch": "0.0.1"}})
    assert not bench.render.publish(path, docs, anyway=False, tell=told.append)
    assert page.read_text() == "as it was"
    assert "WIDE (not measured)" in told[1]
    assert "WIDE (measured with other versions or on another machine)" in told[-1]
    assert bench.render.publish(path, docs, anyway=True, tell=told.append)
    bench.results.store(path, "WIDE", whole)
    page.write_text("as it was")
    assert bench.render.publish(path, docs, anyway=False, tell=told.append)
    assert "## Targets" in page.read_text()


def test_every_target_has_a_row_with_a_figure_once_all_is_measured(bench: SimpleNamespace) -> None:
    """With all sessions there, peers included, no row of the table says "not measured"."""
    report = {"executor": "threads", "workers": 2, "seconds": {"total": 2.0, "plan": 1.0, "fsync": 0.01}}
    loops = ("2 threads, tuned", "bare script")
    places = ("dir", "file", "dir, threads", "dir, inline")
    mine = {f"bentobatch → {place}": run_of("ours", [1.0], report=report) for place in places}
    sessions = {
        name: session_of({**mine, **{loop: run_of("loop", [1.0]) for loop in loops}})
        for name in bench.workloads.BUILDERS
    }
    sessions["RESUME"] = {
        "start": 1.0,
        "whole": 9.0,
        "allowed": 1.2,
        "resumed": 1.1,
        "reused": 0.99,
        "date": "2026-01-02",
    }
    for peer in bench.peer_list.PEER_LIST:
        for name in peer.only:
            beside = sessions.setdefault(bench.results.peers_key(name), session_of(dict(mine)))
            beside["runs"][peer.name] = run_of("peer", [2.0])
    rows = bench.targets.targets(sessions)
    assert [row.text for row in rows if row.met is None] == []
    texts = [f"{row.work}: {row.text}" for row in rows]
    for words in (
        "W1: speed ≥ 8 × Ray Data",
        "W1: speed ≥ 8 × Spark",
        "W1: speed ≥ 8 × MLflow",
        "W2: speed ≥ 2.5 × MLflow",
        "PYTHON: to a directory, speed ≥ 1.8 × one process",
        "SMALL: wall ≤ 1.3",
        "RESUME: resume of a run that is 99 %",
        "W1L: peak memory ≤ 1.1 × W1's",
        "W1L: peak memory ≤ 1.3 × the tuned",
        "CSV: CPU ≤ 1/50",
        "FILES: planning < 5 s",
        "W1L: to a file, speed ≥ 1 × the best peer",
    ):
        assert any(text.startswith(words) for text in texts), words


def test_a_resume_is_measured_over_links_to_one_file(bench: SimpleNamespace, tmp_path: Path) -> None:
    """The input is the file some times over, and what must come out is the loop's output as often."""
    source = write_output(tmp_path / "in" / "rows.parquet", [0, 1], [0.5, 0.25])
    work = bench.workloads.Workload("W1L", "", 2, source, source, tmp_path, ())
    folder = tmp_path / "out"
    folder.mkdir()
    many, expected = bench.resume.linked(work, folder, source)
    assert many.rows == 2 * bench.resume.LINKS
    assert [path.stat().st_ino for path in many.source.iterdir()] == [source.stat().st_ino] * bench.resume.LINKS
    assert pq.read_table(expected)["id"].to_pylist() == [0, 1] * bench.resume.LINKS


def test_the_large_job_is_reckoned_from_what_grows(bench: SimpleNamespace) -> None:
    """A term's constant part is not multiplied; a linear one of 1 s and 1 ms a split takes 1,001 s for a million splits."""

    def plan(splits: int) -> dict[str, Any]:
        took = {"seconds": 1 + splits / 1000, "peak_mb": 100.0, "bytes": 80 * splits, "record": 300 * splits}
        return {"splits": splits, "files": splits // 10, "parts": {"receipt": 400}} | dict.fromkeys(
            bench.scale_page.TERMS, took
        )

    plans = [plan(1_000), plan(10_000)]
    assert bench.scale_page.at_target(plans, "plan", "seconds") == pytest.approx(1001)
    assert bench.scale_page.growth([plan(100_000), plan(1_000_000)], "plan") == "n^1.00"
    words = bench.scale_page.plan_words(plans, "2026-01-02")
    for cost in (
        "| 1,001 s |",
        "| size of the plan | 80 MB |",
        "while the run goes on | 400 MB |",
        "record | 300 MB |",
    ):
        assert cost in words
