"""``bentobatch redrive``: lost rows are scored again and merged, and nothing else changes."""

from __future__ import annotations

import csv
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.expectations import counts_from_json
from tests.conformance.dying import Killed, die_at

SERVICES = """
import os
import time

import bentobatch
from bentobatch.adapters import DataframeInput, JsonInput
from bentobatch.frameworks.pickle import PickleArtifact


@bentobatch.artifacts([PickleArtifact("how")])
class Strict(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True)
    def predict(self, df):
        trace = os.environ.get("BENTOBATCH_TEST_TRACE")
        if trace:
            with open(trace, "a") as file:
                file.write(f"{len(df)}\\n")
        time.sleep(float(os.environ.get("BENTOBATCH_TEST_SLEEP", "0")))
        if df["x0"].isin(self.artifacts.how["bad"]).any():
            raise ValueError("x0 is bad")
        return df["x0"] * self.artifacts.how["factor"] + df["x1"]

    @bentobatch.api(input=JsonInput(), batch=True)
    def values(self, values, tasks):
        kept = []
        for value, task in zip(values, tasks):
            if "x0" in value or self.artifacts.how["factor"] == 10:
                kept.append(value)
            else:
                task.discard("x0 is missing")
        return [value.get("x0", 0) * 2.5 for value in kept]

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True, row_independent=False)
    def ranks(self, df):
        return df["x0"].rank()
"""
BAD = [-1.0, -2.0]
TEXTS = ["plain", 'with "quotes"', "two\nlines", "comma, and", "", 'end"\n"']


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Bundles: ``strict`` fails on x0 = -1 and -2, ``half`` on -2, ``mended`` on none; only ``strict`` has factor 3."""
    folder = tmp_path_factory.mktemp("scorers")
    (folder / "bentobatch_redrive_services.py").write_text(SERVICES)
    sys.path.insert(0, str(folder))
    try:
        services = importlib.import_module("bentobatch_redrive_services")
        for name, factor, bad in (("strict", 3, BAD), ("half", 10, [-2.0]), ("mended", 10, [])):
            service = services.Strict()
            service.pack("how", {"factor": factor, "bad": bad})
            service.save_to_dir(str(folder / name))
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("bentobatch_redrive_services", None)


def cli(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bentobatch", *map(str, arguments)], capture_output=True, text=True, timeout=240,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def write(path: Path, bad: dict[int, float], rows: int = 100, *, group: int = 10) -> pa.Table:
    """Rows of id, a text that is hard on CSV, x0 (the row's number, but for ``bad``), x1."""
    x0 = np.arange(rows, dtype=float)
    for row, value in bad.items():
        x0[row] = value
    table = pa.table(
        {
            "id": np.arange(rows), "text": [TEXTS[row % len(TEXTS)] for row in range(rows)], "x0": x0,
            "x1": np.ones(rows) / 3,
        }
    )  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return table


def read(output: Path) -> pd.DataFrame:
    if output.is_dir():
        names = json.loads((output / "_SUCCESS").read_text())["parts"]
        assert sorted(names) == sorted(path.name for path in output.glob("part-*"))
        return pd.concat([read(output / name) for name in names], ignore_index=True)
    if output.suffix == ".csv":
        with output.open(newline="") as file:
            frame = pd.DataFrame(list(csv.DictReader(file)))
        frame["prediction"] = [float(text) if text else None for text in frame["prediction"]]
        return frame
    if output.suffix == ".jsonl":
        return pd.read_json(output, lines=True, precise_float=True)
    if output.suffix == ".arrow":
        return pa.ipc.open_file(output).read_all().to_pandas()
    return pq.read_table(output).to_pandas()


def run_strict(scorers: Path, input: Path, output: Path, **more: Any) -> bentobatch.RunReport:
    options: dict[str, Any] = {
        "input_file": input, "output_file": output, "keep": ["id", "text"], "status_column": "status",
        "split_rows": 30, "batch_rows": 10, "max_rejects": 100, "executor": "inline",
    }  # fmt: skip
    return bentobatch.run(scorers / "strict", **{**options, **more})


def trace_rows(trace: Path) -> int:
    return sum(int(line) for line in trace.read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("o.parquet", None),
        ("o.csv", None),
        ("o.jsonl", None),
        ("o.arrow", None),
        ("o", None),
        ("o", "csv"),
        ("o", "jsonl"),
    ],
)
def test_a_mended_model_scores_the_lost_rows_and_no_others(
    scorers: Path, tmp_path: Path, name: str, format: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine rows keep the old bundle's values, though the new one would give others; what is still bad stays a reject;
    and when the last is mended, the rejects file goes."""
    write(tmp_path / "in.parquet", {3: -1, 44: -1, 45: -2, 99: -1})
    output, rejects, trace = tmp_path / name, tmp_path / f"{name}.rejects.parquet", tmp_path / "trace"
    run_strict(scorers, tmp_path / "in.parquet", output, output_format=format)
    before = read(output)
    assert before.index[before["prediction"].isna()].tolist() == [3, 44, 45, 99]

    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(trace))
    report = bentobatch.redrive(output, scorers / "half", executor="inline")
    assert (report.rows, report.rows_reused, report.rejected, report.already_done) == (100, 96, 1, False)
    assert trace_rows(trace) <= 4 + 3  # of those, two that share a batch of two are scored once more, alone
    wanted = before.copy()
    for row in (3, 44, 99):
        wanted.loc[row, "prediction"] = -10 + 1 / 3
        wanted.loc[row, "status"] = "ok"
    pd.testing.assert_frame_equal(read(output), wanted, check_exact=True)
    lost = pq.read_table(rejects).to_pylist()
    assert [(row["row"], row["file_row"], row["error"]) for row in lost] == [(45, 45, "x0 is bad")]

    report = bentobatch.redrive(output, scorers / "mended", executor="inline")
    assert (report.rows_reused, report.rejected) == (99, 0)
    wanted.loc[45, "prediction"] = -20 + 1 / 3
    wanted.loc[45, "status"] = "ok"
    pd.testing.assert_frame_equal(read(output), wanted, check_exact=True)
    assert not rejects.exists()
    again = bentobatch.redrive(output, scorers / "mended", executor="inline")
    assert again.already_done
    states = [path.name for path in (tmp_path / f".{name}.bentobatch").iterdir() if path.name != "lock"]
    assert states == [report.plan_id]
    assert not list((tmp_path / f".{name}.bentobatch" / report.plan_id).glob("rejects/*"))
    record = json.loads((tmp_path / f".{name}.bentobatch" / report.plan_id / "commit.json").read_text())
    counts = [counts_from_json(columns)["prediction"] for columns in record["columns"]]
    assert sum(item.nulls for item in counts) == 0
    assert min(item.low for item in counts if item.low is not None) == -20 + 1 / 3
    # the old bundle, run in full again, takes over the one split that only it has scored, and gives its own answers
    monkeypatch.delenv("BENTOBATCH_TEST_TRACE")
    rerun = run_strict(scorers, tmp_path / "in.parquet", output, output_format=format, overwrite=True)
    assert (rerun.rejected, rerun.rows_reused) == (4, 30)
    pd.testing.assert_frame_equal(read(output), before, check_exact=True)


def test_the_command_line_tells_what_it_did_and_the_output_names_its_parent(scorers: Path, tmp_path: Path) -> None:
    """Plan id and bundle digest of the parent stand in the metadata."""
    write(tmp_path / "in.parquet", {3: -1, 45: -2})
    output = tmp_path / "o.parquet"
    parent = run_strict(scorers, tmp_path / "in.parquet", output)
    done = cli(
        "redrive",
        output,
        "--bundle",
        scorers / "mended",
        "--executor",
        "processes",
        "--report",
        tmp_path / "report.json",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "98 of them scored by an earlier run" in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    metadata = pq.read_schema(output).metadata
    assert metadata[b"bentobatch.plan"].decode() == report["plan_id"] != parent.plan_id
    assert metadata[b"bentobatch.bundle_digest"].decode() == report["bundle_digest"] != parent.bundle_digest
    assert metadata[b"bentobatch.parent_plan"].decode() == parent.plan_id
    assert metadata[b"bentobatch.parent_bundle_digest"].decode() == parent.bundle_digest
    again = cli("redrive", output, "--bundle", scorers / "mended")
    assert again.returncode == 0
    assert "already done" in again.stderr


def test_a_mended_input_is_found_by_file_and_row(scorers: Path, tmp_path: Path) -> None:
    """Another size, stamp and row groups: the lost rows are those at the same places; kept columns of them are new."""
    days, output = tmp_path / "in", tmp_path / "o"
    write(days / "1.parquet", {})
    write(days / "2.parquet", {3: -1, 50: -2, 88: -1})
    write(days / "3.parquet", {7: -1})
    run_strict(scorers, days, output)
    before = read(output)
    old = {path.name: path.stat().st_ino for path in output.glob("part-*")}
    mended = write(days / "2.parquet", {3: 1000, 50: 2000, 88: -1}, group=17)
    mended = mended.set_column(0, "id", pa.array(np.where(np.arange(100) == 3, 777, np.arange(100) + 5)))
    pq.write_table(mended, days / "2.parquet", row_group_size=17)
    report = bentobatch.redrive(output, executor="threads", workers=2)
    assert report.rejected == 2
    wanted = before.copy()
    for row, x0, id in ((103, 1000, 777), (150, 2000, 55)):
        wanted.loc[row, ["prediction", "status", "id"]] = (x0 * 3 + 1 / 3, "ok", id)
    wanted.loc[188, "id"] = 93
    pd.testing.assert_frame_equal(read(output), wanted, check_exact=True)
    lost = pq.read_table(tmp_path / "o.rejects.parquet").to_pydict()
    assert (lost["row"], lost["file_row"]) == ([188, 207], [88, 7])
    kept = {path.name for path in output.glob("part-*") if old.get(path.name) == path.stat().st_ino}
    assert len(kept) == len(old) - 4  # parts without a lost row are the same files
    # the output holds the mended file now, so that a nightly run does not score it again
    assert run_strict(scorers, days, output, only_new=True).already_done


def test_a_file_with_another_number_of_rows_is_refused(scorers: Path, tmp_path: Path) -> None:
    """65: no row can be known by its place any more."""
    write(tmp_path / "in.parquet", {3: -1})
    output = tmp_path / "o.parquet"
    run_strict(scorers, tmp_path / "in.parquet", output)
    before = output.read_bytes()
    write(tmp_path / "in.parquet", {3: 5}, rows=101)
    done = cli("redrive", output)
    assert done.returncode == 65
    last = done.stderr.strip().splitlines()[-1]
    assert "101 rows now and had 100" in last
    assert "in full" in last
    assert output.read_bytes() == before


def test_discarded_rows_are_scored_again_too_from_text(scorers: Path, tmp_path: Path) -> None:
    """JSON lines, one of them malformed: mended, its line is read anew, and the others' lines stay byte for byte."""
    lines = [json.dumps({"x0": row}) for row in range(40)]
    lines[7], lines[20], lines[33] = '{"x1": 1}', '{"x0": 5', '{"x1": 2}'
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    output = tmp_path / "o.jsonl"
    options = {"keep": [], "status_column": None, "split_rows": 12}
    report = run_strict(scorers, tmp_path / "in.jsonl", output, api="values", **options)
    assert (report.rejected, report.discarded) == (1, 2)
    before = output.read_text().splitlines()
    lines[20] = '{"x0": 5}     '
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    report = bentobatch.redrive(output, executor="inline")
    assert (report.rejected, report.discarded, report.rows_reused) == (0, 2, 37)
    after = output.read_text().splitlines()
    assert after == [*before[:20], '{"prediction":12.5}', *before[21:]]
    lost = pq.read_table(f"{output}.rejects.parquet").to_pydict()
    assert (lost["row"], lost["line"], lost["stage"]) == ([7, 33], [8, 34], ["discard"] * 2)
    bentobatch.redrive(output, scorers / "mended", executor="inline")
    after[7] = after[33] = '{"prediction":0.0}'
    assert output.read_text().splitlines() == after


def test_a_redrive_that_loses_more_rows_than_it_may_leaves_the_output_as_it_was(scorers: Path, tmp_path: Path) -> None:
    """71; by default no more rows may be rejected than were; a share is one of all the output's rows."""
    write(tmp_path / "in.parquet", {3: -1, 4: -1, 45: -2})
    output = tmp_path / "o.parquet"
    run_strict(scorers, tmp_path / "in.parquet", output)
    before = output.read_bytes()
    with pytest.raises(bentobatch.TooManyRejectsError, match="--max-rejects 1 "):
        bentobatch.redrive(output, scorers / "half", executor="inline", max_rejects=0)
    assert output.read_bytes() == before
    # every lost row fails again, which says nothing of the model
    assert bentobatch.redrive(output, executor="inline").rejected == 3
    assert bentobatch.redrive(output, scorers / "half", executor="inline", max_rejects="1%").rejected == 1
    assert read(output)["prediction"].isna().sum() == 1


def test_inline_values_and_documents_can_be_redriven(scorers: Path, tmp_path: Path) -> None:
    """A mended document is read anew; inline values lie in the state folder."""
    for name, second in (("1", 1), ("2", -1)):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"x0": 1, "x1": 2}, {"x0": second, "x1": 4}]))
    output = tmp_path / "o.parquet"
    run_strict(scorers, tmp_path / "[12].json", output, keep=[])
    (tmp_path / "2.json").write_text(json.dumps([{"x0": 1, "x1": 2}, {"x0": 100, "x1": 4}]))
    bentobatch.redrive(output, executor="inline")
    assert read(output)["prediction"].tolist() == [5.0, 7.0, 5.0, 304.0]
    output = tmp_path / "i.parquet"
    bentobatch.run(scorers / "strict", input="[[1, 2], [-1, 4]]", output_file=output, max_rejects=1, executor="inline")
    bentobatch.redrive(output, scorers / "mended", executor="inline")
    assert read(output)["prediction"].tolist() == [5.0, -6.0]


def test_what_cannot_be_redriven_is_refused(scorers: Path, tmp_path: Path) -> None:
    """No output, one of unknown origin, one in a bucket, rows that depend on each other."""
    write(tmp_path / "in.parquet", {3: -1})
    output = tmp_path / "o.parquet"
    with pytest.raises(bentobatch.NoInputError, match="No such output"):
        bentobatch.redrive(output)
    with pytest.raises(bentobatch.UsageError, match="in a bucket"):
        bentobatch.redrive("memory://bucket/o.parquet")
    run_strict(scorers, tmp_path / "in.parquet", output)
    pq.write_table(pq.read_table(output), output)
    with pytest.raises(bentobatch.DataError, match="no commit record"):
        bentobatch.redrive(output)
    (tmp_path / "in.csv").write_text("x0,x1\n1,2\n2,3\nthree\n")
    output = tmp_path / "r.parquet"
    run_strict(scorers, tmp_path / "in.csv", output, api="ranks", keep=[])
    with pytest.raises(bentobatch.UsageError, match="row_independent=False"):
        bentobatch.redrive(output, executor="inline")


@pytest.mark.parametrize("name", ["o.parquet", "o"])
def test_killed_at_any_instant_and_repeated_it_ends_as_if_undisturbed(scorers: Path, tmp_path: Path, name: str) -> None:
    """SIGKILL of the whole group; the output is the old or the new one at every look."""
    write(tmp_path / "in.parquet", dict.fromkeys(range(0, 100, 9), -1))
    output = tmp_path / name
    run_strict(scorers, tmp_path / "in.parquet", output)
    old = read(output)
    new = old.copy()
    new.loc[::9, "prediction"], new.loc[::9, "status"] = -10 + 1 / 3, "ok"
    arguments = [
        sys.executable,
        "-m",
        "bentobatch",
        "redrive",
        output,
        "--bundle",
        scorers / "mended",
        "--executor",
        "inline",
    ]
    environment = {**os.environ, "BENTOBATCH_TEST_SLEEP": "0.1"}
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    kills = 0
    for _ in range(3):
        run = subprocess.Popen(
            arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = receipts(output)
        while receipts(output) <= before and run.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.wait()
        seen = read(output)
        assert seen.equals(old) or seen.equals(new)
    assert kills
    done = cli("redrive", output, "--bundle", scorers / "mended")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(read(output), new, check_exact=True)
    assert not (tmp_path / f"{name}.rejects.parquet").exists()


def receipts(output: Path) -> int:
    return len(list(output.parent.glob(f".{output.name}.bentobatch/*/receipts/[!.]*")))


@pytest.mark.parametrize("name", ["o.parquet", "o"])
def test_dying_at_every_step_of_the_commit_loses_nothing(
    scorers: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at the k-th change of the disk, for every k; the output is the old or the new one, and the same
    command ends the work."""
    write(tmp_path / "in.parquet", {3: -1, 45: -2})
    first = random.choice((1, 2))  # every second change is enough for one run of the tests
    print("first", first)
    for k in range(first, 200, 2):
        output = tmp_path / str(k) / name
        output.parent.mkdir()
        run_strict(scorers, tmp_path / "in.parquet", output)
        old = read(output)
        new = old.copy()
        new.loc[3, ["prediction", "status"]] = (-10 + 1 / 3, "ok")
        with monkeypatch.context() as patch:
            deaths = die_at(k, patch)
            try:
                bentobatch.redrive(output, scorers / "half", executor="inline")
            except Killed:
                pass
            else:
                assert not deaths
                break
        seen = read(output)
        assert seen.equals(old) or seen.equals(new), k
        bentobatch.redrive(output, scorers / "half", executor="inline")
        pd.testing.assert_frame_equal(read(output), new, check_exact=True)
        lost = pq.read_table(f"{output}.rejects.parquet").to_pydict()
        assert (lost["row"], lost["error"]) == ([45], ["x0 is bad"]), k
    assert k > 15
