"""Tests of bentobatch.cli.run with a fake engine: what it is asked, and what is shown of its answer."""

from __future__ import annotations

import json
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bentobatch.cli.main import main
from bentobatch.engine.report import Progress

REPORT_LINES = """\
rows 10, rejected 1, discarded 0
seconds 2.0, 5 rows/s: plan 0.5, read 0.5, model 0.5, write 0.2, commit 0.2
output /data/out.parquet, plan 0123456789abcdef, executor inline (auto: nothing to share out)
"""
TO_FILE = ["run", "bundle", "score", "--input-file", "in.parquet", "--output-file", "out.parquet"]


def test_all_options_reach_the_engine(fake_runs, capfd) -> None:
    """Each with its type; nothing is lost between the command line and the Python API."""
    words = """run Iris:latest score --input-file a.csv b.csv --format csv --delimiter ; --nulls ,NA --limit 100
        --storage-option anon=true --features x,y --keep id --keep-all --exclude z --output-file out.csv
        --output-format csv --output-column p --status-column s --overwrite --rejects-file r.parquet
        --max-rejects 1% --max-discards 5 --split-timeout 1.5 --executor threads --workers 2 --batch-rows 10
        --batch-bytes 1MB --split-rows 20 --restart --state-dir state --trust --no-pickle --env bundle
        --device cpu --trust-type some.Type --quiet"""
    assert main([*words.split(), "--expect", "rejects < 1%", "rows > 5"]) == 0
    asked = fake_runs.asked
    assert callable(asked.pop("on_progress"))
    assert asked == {
        "bundle": "Iris:latest",
        "api": "score",
        "input": (),
        "input_file": ("a.csv", "b.csv"),
        "format": "csv",
        "delimiter": ";",
        "nulls": ("", "NA"),
        "limit": 100,
        "storage_options": {"anon": True},
        "features": ("x", "y"),
        "keep": ("id",),
        "keep_all": True,
        "exclude": ("z",),
        "output_file": "out.csv",
        "output_format": "csv",
        "output_column": "p",
        "status_column": "s",
        "overwrite": True,
        "rejects_file": "r.parquet",
        "max_rejects": "1%",
        "max_discards": "5",
        "expect": ("rejects < 1%", "rows > 5"),
        "split_timeout": 1.5,
        "executor": "threads",
        "executor_options": None,
        "workers": 2,
        "batch_rows": 10,
        "batch_bytes": 1_000_000,
        "split_rows": 20,
        "restart": True,
        "state_dir": "state",
        "trust": True,
        "trust_types": ("some.Type",),
        "env": "bundle",
        "device": "cpu",
        "break_lock": False,
        "only_new": False,
        "files_root": None,
        "allow_pickle": False,
        "isolated": True,
        "print_to": None,
    }


def test_user_code_is_isolated_and_the_api_is_predict_by_default(fake_runs, capfd) -> None:
    """Under the command line nothing of the user's runs in the leader."""
    assert main(["run", "bundle", "--input", "1"]) == 0
    assert fake_runs.asked["isolated"] is True
    assert fake_runs.asked["api"] == "predict"
    assert fake_runs.asked["restart"] is False
    assert {"keep", "exclude", "nulls"}.isdisjoint(fake_runs.asked)  # the engine's own defaults hold


def test_the_report_is_three_lines_on_stderr(fake_runs, capfd) -> None:
    """stdout stays empty when the output is a file."""
    assert main(TO_FILE) == 0
    assert capfd.readouterr() == ("", REPORT_LINES)


def test_results_are_alone_on_stdout(fake_runs, capfd) -> None:
    """With no output file the engine prints to stdout, and the report goes to stderr."""
    fake_runs.act = lambda keywords: keywords["print_to"].write(b'{"prediction":1}\n')
    assert main(["run", "bundle", "--input", "1"]) == 0
    assert capfd.readouterr() == ('{"prediction":1}\n', REPORT_LINES)


def test_quiet_leaves_warnings_and_errors(fake_runs, capfd) -> None:
    """--quiet: neither progress nor report."""

    def act(keywords: dict[str, Any]) -> None:
        keywords["on_progress"](Progress("score", 1, 2))
        logging.getLogger("bentobatch").info("not this")
        logging.getLogger("bentobatch").warning("this")

    fake_runs.act = act
    assert main([*TO_FILE, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "bentobatch: warning: this\n")


def test_the_report_is_one_object_with_json_logs(fake_runs, capfd) -> None:
    """All its fields are the object's own."""
    assert main([*TO_FILE, "--log-format", "json"]) == 0
    out, err = capfd.readouterr()
    event = json.loads(err)
    assert out == ""
    assert (event["level"], event["message"], event["rows"], event["seconds"]) == ("info", "report", 10, 2.0)
    assert (event["event"], event["stages"]["plan"]) == ("report", 0.5)


def test_the_report_file_is_json_and_readable_by_others(fake_runs, capfd, tmp_path: Path) -> None:
    """The whole report; permissions as of any new file; no temporary file stays."""
    fake_runs.report = replace(fake_runs.report, output=os.fsdecode(b"/data/\xff.parquet"))
    target = tmp_path / "report.json"
    target.write_text("old")
    before = os.umask(0o022)
    try:
        assert main([*TO_FILE, "--report", str(target)]) == 0
    finally:
        os.umask(before)
    report = json.loads(target.read_text())
    assert report == {**fake_runs.report.to_json(), "features": ["a", "b"], "output": "/data/\\xff.parquet"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize(
    ("report", "code", "says"),
    [
        ("-", 2, "--report needs a file's name"),
        ("missing/report.json", 73, "No such directory"),
        (".", 73, "is a directory"),
        ("out.parquet", 2, "the same file"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_run(
    report: str, code: int, says: str, fake_runs, capfd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of scoring must not end in a usage error."""
    monkeypatch.chdir(tmp_path)
    assert main([*TO_FILE, "--report", report]) == code
    assert says in capfd.readouterr().err
    assert fake_runs.asked == {}


def test_a_report_that_fails_at_the_end_is_an_io_error(fake_runs, capfd, tmp_path: Path) -> None:
    """It says that the output is whole, and leaves nothing half-written."""
    folder = tmp_path / "folder"
    folder.mkdir()
    fake_runs.act = lambda keywords: folder.rmdir()
    assert main([*TO_FILE, "--report", str(folder / "report.json")]) == 74
    assert "the output itself is whole" in capfd.readouterr().err


def test_a_failed_run_writes_no_report(fake_runs, capfd, tmp_path: Path) -> None:
    """A report tells of an output that exists."""

    def act(keywords: dict[str, Any]) -> None:
        raise OSError(5, "Input/output error")

    fake_runs.act = act
    assert main([*TO_FILE, "--report", str(tmp_path / "report.json")]) == 74
    assert os.listdir(tmp_path) == []


PLAN = {
    "plan_id": "0123",
    "bundle": "Iris:1",
    "api": "predict",
    "files": [
        {"path": f"/data/{number}.csv", "bytes": 1000, "format": "csv", "rows": 400, "splits": 1}
        for number in range(25)
    ],
    "rows": 10_000,
    "rows_done": 4000,
    "splits": 5,
    "splits_done": 2,
    "committed": False,
    "features": ["a", "b"],
    "feature_rule": "declared by the api",
    "columns_read": {"a": "double", "b": "int64", "id": "string"},
    "kept": ["id"],
    "output": "/tmp/bentobatch-x/output.jsonl",
    "output_format": "jsonl",
    "output_schema": {"id": "string", "prediction": "int64"},
    "state": "/tmp/bentobatch-x/.output.jsonl.bentobatch",
}


def test_a_dry_run_shows_the_plan_and_scores_nothing(fake_runs, capfd) -> None:
    """Files, rows, splits, what is done, features and by which rule, columns read, output."""
    fake_runs.plan = {**PLAN, "output": "/data/out.parquet", "output_format": "parquet", "state": "/data/.state"}
    assert main([*TO_FILE, "--dry-run", "--workers", "2"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0] == "plan       0123 (a dry run: nothing was scored)"
    assert lines[1] == "bundle     Iris:1, api predict"
    assert lines[2] == "files      25"
    assert lines[3] == "           /data/0.csv (1,000 bytes, csv, 400 rows, 1 split)"
    assert "           and 5 more" in lines
    assert "rows       10,000 in 5 splits" in lines
    assert "done       4,000 rows in 2 splits, by an earlier run" in lines
    assert "features   a, b (declared by the api)" in lines
    assert "reads      a: double, b: int64, id: string" in lines
    assert "keeps      id" in lines
    assert "output     /data/out.parquet (parquet)" in lines
    assert "           id: string, prediction: int64" in lines
    assert "state      /data/.state" in lines
    assert {"executor", "workers", "restart", "split_timeout"}.isdisjoint(fake_runs.asked)
    assert fake_runs.asked["isolated"] is True


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"committed": True}, "done       all of it; the output stands"),
        ({"splits_done": 0, "rows_done": 0}, "done       nothing yet"),
        ({"splits_done": 1, "rows_done": 1}, "done       1 row in 1 split, by an earlier run"),
    ],
)
def test_a_dry_run_says_what_is_done_already(more: dict[str, Any], line: str, fake_runs, capfd) -> None:
    """So that the user knows what the run will cost."""
    fake_runs.plan = {**PLAN, **more}
    assert main([*TO_FILE, "--dry-run"]) == 0
    assert line in capfd.readouterr().out.splitlines()


def test_a_dry_run_without_output_file_names_no_temporary_file(fake_runs, capfd) -> None:
    """Where the planner put its things is nobody's business."""
    fake_runs.plan = PLAN
    assert main(["run", "bundle", "--input", "1", "--dry-run"]) == 0
    out = capfd.readouterr().out
    assert "standard output (jsonl)" in out
    assert "/tmp/" not in out


def test_a_dry_run_is_json_with_json_logs(fake_runs, capfd) -> None:
    """The plan as one object on stdout."""
    fake_runs.plan = PLAN
    assert main([*TO_FILE, "--dry-run", "--log-format", "json"]) == 0
    assert json.loads(capfd.readouterr().out) == PLAN


@pytest.mark.parametrize(
    ("option", "executor"),
    [("--dask-scheduler", "dask"), ("--spark-master", "spark"), ("--broker", "celery"), ("--celery-app", "celery")],
)
def test_an_option_of_one_executor_is_refused_with_another(fake_runs, capfd, option, executor) -> None:
    """It would be without effect, and the user would believe that the cluster works."""
    assert main([*TO_FILE, option, "tcp://127.0.0.1:1"]) == 2
    assert f"{option} belongs to --executor {executor}: give both" in capfd.readouterr().err
    assert main([*TO_FILE, "--executor", executor, option, "tcp://127.0.0.1:1"]) == 0
    assert list(fake_runs.asked["executor_options"].values()) == ["tcp://127.0.0.1:1"]


def test_an_unknown_executor_is_told_all_that_there_are(capfd, tmp_path) -> None:
    """Those of this machine too; nothing is started for it."""
    assert main([*TO_FILE, "--executor", "slurm"]) == 2
    told = capfd.readouterr().err
    assert "no executor is named 'slurm'; known are auto, inline, threads, processes, celery, dask, spark" in told
