"""--only-new: a directory that grows by what no earlier commit there holds, shown through the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch import runs
from bentobatch.engine.plan import Plan
from tests.conformance.dying import Killed, die_at
from tests.conftest import feature_frame, rows_scored


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "bentobatch", "run", *map(str, arguments)]


def score(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=240, env={**os.environ, **environment}, check=False
    )


def write_day(folder: Path, day: int, rows: int = 60, *, seed: int | None = None) -> pd.DataFrame:
    frame = feature_frame(rows, day if seed is None else seed)
    frame.insert(0, "id", np.arange(rows) + 1000 * day)
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / f"day-{day}.parquet", row_group_size=20)
    return frame


def predicted(frame: pd.DataFrame) -> np.ndarray:
    return (frame["x0"] - 2 * frame["x1"] + 0.5 * frame["x2"]).to_numpy()


def parts_of(output: Path) -> list[Path]:
    return [output / name for name in json.loads((output / "_SUCCESS").read_text())["parts"]]


def read_parts(output: Path) -> pd.DataFrame:
    parts = parts_of(output)
    assert sorted(part.name for part in parts) == sorted(path.name for path in output.glob("part-*"))
    return pd.concat([pq.read_table(part).to_pandas() for part in parts], ignore_index=True)


def check(output: Path, frames: list[pd.DataFrame]) -> None:
    """The rows of ``frames`` in their order, each once, all with their predictions."""
    scored = read_parts(output)
    frame = pd.concat(frames, ignore_index=True)
    assert scored["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(scored["prediction"], predicted(frame), atol=1e-9)


def test_a_nightly_run_scores_the_new_files_only(bundles: Path, tmp_path: Path) -> None:
    """Old parts stay the same files, whatever bundle scored them, and expectations speak of the whole output; a file that
    changed replaces its rows, one that vanished keeps them; where nothing is new, nothing is scored or touched."""
    days, output, trace = tmp_path / "in", tmp_path / "out", tmp_path / "trace"
    frames = [write_day(days, day) for day in (1, 2, 3)]
    arguments = [
        "predict", "--input-file", days, "--output-file", output, "--keep", "id", "--executor", "inline", "--only-new",
        "--split-rows", "20", "--expect", "rows >= 100",
    ]  # fmt: skip
    first = score(bundles / "linear", *arguments)
    assert first.returncode == 0, first.stderr
    check(output, frames)
    old = {part.name: part.stat().st_ino for part in parts_of(output)}

    # night 2: another bundle, one new file that sorts first, one that is gone
    newer = tmp_path / "newer"
    other_bundle(bundles, newer)
    frames.append(write_day(days, 0, 40))
    (days / "day-2.parquet").unlink()
    second = score(newer, *arguments, "--report", tmp_path / "report.json", BENTOBATCH_TEST_TRACE=str(trace))
    assert second.returncode == 0, second.stderr
    probe = 20
    assert rows_scored(trace) == 40 + probe
    check(output, frames)
    assert old.items() <= {part.name: part.stat().st_ino for part in parts_of(output)}.items()
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["rows"], report["rows_reused"]) == (220, 180)
    assert [part.name for part in parts_of(output)] == sorted(part.name for part in parts_of(output))

    # night 3: a file changed, of those that the first bundle scored
    frames = [*frames[:2], frames[3], write_day(days, 3, 50, seed=33)]
    options: dict[str, Any] = {
        "input_file": days, "output_file": output, "keep": ["id"], "executor": "inline", "split_rows": 20,
    }  # fmt: skip
    bentobatch.run(newer, **options, only_new=True, restart=True)
    check(output, frames)

    # night 4: nothing
    before = (output / "_SUCCESS").stat().st_ino
    trace.unlink()
    fourth = score(bundles / "linear", *arguments, "--restart", BENTOBATCH_TEST_TRACE=str(trace))
    assert fourth.returncode == 0, fourth.stderr
    assert "already done" in fourth.stderr
    assert rows_scored(trace) == 0
    assert (output / "_SUCCESS").stat().st_ino == before

    # a plain run replaces all of it, in the input's own order
    with pytest.raises(bentobatch.OutputError, match="exists already"):
        bentobatch.run(bundles / "linear", **options)
    bentobatch.run(bundles / "linear", **options, overwrite=True)
    check(output, [frames[2], frames[0], frames[3]])


def other_bundle(bundles: Path, folder: Path) -> None:
    """A bundle like ``linear``, with another digest."""
    service = bentobatch.load(str(bundles / "linear"))
    service.artifacts.model.bentobatch_test_mark = 1
    service.save_to_dir(str(folder))


def test_killed_at_any_instant_and_repeated_no_row_is_twice_and_none_is_missing(bundles: Path, tmp_path: Path) -> None:
    """SIGKILL of the whole group, several times a night, over three nights; a reader sees old or new rows only."""
    days, output = tmp_path / "in", tmp_path / "out"
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    arguments = command(
        bundles / "linear", "predict", "--input-file", days, "--output-file", output, "--keep", "id", "--executor",
        "inline", "--only-new", "--split-rows", "20", "--batch-rows", "20",
    )  # fmt: skip
    environment = {**os.environ, "BENTOBATCH_TEST_SLEEP": "0.05"}
    frames: list[pd.DataFrame] = []
    span = 2.5
    for night in range(3):
        seen = sum(len(frame) for frame in frames)
        frames += [write_day(days, day) for day in (10 * night, 10 * night + 1)]
        for _ in range(2):
            run = subprocess.Popen(
                arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(rng.uniform(0.4, 1.1) * span)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            assert (len(read_parts(output)) if output.exists() else 0) in (seen, 120 * (night + 1))
        began = time.monotonic()
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        span = time.monotonic() - began
        check(output, frames)


def test_dying_at_every_step_of_the_commit_loses_nothing(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at the k-th change of the disk, for every k; the output is the old or the new one, and the same
    command, and the next night's, end in each row once."""
    for k in range(1, 200):
        days, output = tmp_path / str(k) / "in", tmp_path / str(k) / "out"
        days.parent.mkdir()
        options: dict[str, Any] = {
            "input_file": days, "output_file": output, "keep": ["id"], "executor": "inline", "only_new": True,
        }  # fmt: skip
        frames = [write_day(days, 1)]
        bentobatch.run(bundles / "linear", **options)
        frames.append(write_day(days, 2))
        with monkeypatch.context() as patch:
            deaths = die_at(k, patch)
            try:
                bentobatch.run(bundles / "linear", **options)
            except Killed:
                pass
            else:
                assert not deaths
                break
        rows = len(read_parts(output))
        assert rows in (60, 120), k
        report = bentobatch.run(bundles / "linear", **options)
        assert report.already_done == (rows == 120), k
        check(output, frames)
        frames.append(write_day(days, 3))
        bentobatch.run(bundles / "linear", **options)
        check(output, frames)
    assert k > 15


def test_rejects_of_all_nights_stand_in_the_rejects_file_at_their_rows(bundles: Path, tmp_path: Path) -> None:
    """The limit is one of the new rows; the file speaks of the whole output."""
    days, output = tmp_path / "in", tmp_path / "out"
    days.mkdir()
    options = {
        "input_file": days, "output_file": output, "keep": ["id"], "executor": "inline", "only_new": True,
        "max_rejects": 1, "status_column": "status",
    }  # fmt: skip
    for night, bad in ((1, 7), (2, 3), (3, 0)):
        x0 = np.arange(1.0, 11.0)
        x0[bad] = -1
        table = pa.table({"id": np.arange(10) + 100 * night, "x0": x0, "x1": np.ones(10)})
        pq.write_table(table, days / f"{9 - night}.parquet")
        report = bentobatch.run(bundles / "picky", **options)
        assert report.rejected == night
    scored = read_parts(output)
    lost = pq.read_table(f"{output}.rejects.parquet").to_pydict()
    assert lost["row"] == [7, 13, 20] == scored.index[scored["prediction"].isna()].tolist()
    assert [Path(file).name for file in lost["file"]] == ["8.parquet", "7.parquet", "6.parquet"]
    assert lost["file_row"] == [7, 3, 0]


def test_other_columns_than_those_committed_are_refused_before_a_row_is_scored(bundles: Path, tmp_path: Path) -> None:
    """65 and a line that names the column; whole numbers and nulls that fit the old type are no other column."""
    days, output, trace = tmp_path / "in", tmp_path / "out", tmp_path / "trace"
    days.mkdir()
    (days / "1.csv").write_text("id,x0,x1\n1.5,1,2\n2.5,3,4\n")
    arguments = ["predict", "--input-file", days, "--output-file", output, "--keep", "id", "--only-new"]
    assert score(bundles / "picky", *arguments).returncode == 0
    (days / "2.csv").write_text("id,x0,x1\n3,1,2\n4,3,4\n")
    (days / "3.csv").write_text("id,x0,x1\n,1,2\n")
    assert score(bundles / "picky", *arguments).returncode == 0
    assert read_parts(output)["id"].tolist()[:4] == [1.5, 2.5, 3.0, 4.0]
    (days / "4.csv").write_text("id,x0,x1\nfour,1,2\n")
    refused = score(bundles / "picky", *arguments, BENTOBATCH_TEST_TRACE=str(trace))
    assert refused.returncode == 65
    assert "'id' would be of type" in refused.stderr.splitlines()[-1]
    assert not list((tmp_path / ".out.bentobatch").glob("*/receipts/*"))
    with pytest.raises(bentobatch.DataError, match=r"columns would be prediction, but .* has id, prediction"):
        bentobatch.run(bundles / "picky", input_file=days / "[4].csv", output_file=output, only_new=True)
    with pytest.raises(bentobatch.OutputError, match="holds parquet parts, and this run would write csv"):
        bentobatch.run(
            bundles / "picky", input_file=days / "4.csv", output_file=output, only_new=True, output_format="csv"
        )
    assert len(read_parts(output)) == 5


def test_only_new_is_refused_where_it_means_nothing(bundles: Path, tmp_path: Path) -> None:
    """One file as output, a directory of unknown origin, and options that say the contrary."""
    days = tmp_path / "in"
    write_day(days, 1)
    done = score(
        bundles / "linear", "predict", "--input-file", days, "--output-file", tmp_path / "o.parquet", "--only-new"
    )
    assert done.returncode == 2
    assert "is one file" in done.stderr
    options = {"input_file": days, "output_file": tmp_path / "out", "executor": "inline", "only_new": True}
    for more in ({"overwrite": True}, {"limit": 3}, {"input_file": None, "input": "[[1, 2, 3]]"}):
        with pytest.raises(bentobatch.UsageError, match="--only-new"):
            bentobatch.run(bundles / "linear", **{**options, **more})
    bentobatch.run(bundles / "linear", **options)
    for spoil in (lambda: parts_of(tmp_path / "out")[0].unlink(), lambda: shutil.rmtree(tmp_path / ".out.bentobatch")):
        spoil()
        write_day(days, 2)
        with pytest.raises(bentobatch.OutputError, match="no commit record"):
            bentobatch.run(bundles / "linear", **options)


def test_the_three_steps_can_be_called_anywhere(bundles: Path, tmp_path: Path) -> None:
    """The plan survives JSON, and names what it builds on; a commit onto another output than that is refused."""
    days, output = tmp_path / "in", tmp_path / "out"
    frames = [write_day(days, 1)]
    options = {"input_file": days, "output_file": output, "keep": ["id"], "only_new": True}
    first = bentobatch.run(bundles / "linear", executor="inline", **options)
    frames.append(write_day(days, 2))
    job = runs.make_job(bundles / "linear", **options)
    plan = Plan.from_json(json.loads(json.dumps(bentobatch.plan(job).to_json())))
    assert plan.parent is not None
    assert (plan.rows, plan.parent["plan_id"]) == (60, first.plan_id)
    for split in plan.splits:
        bentobatch.run_split(plan, split.index)
    output.rename(tmp_path / "aside")
    with pytest.raises(bentobatch.OutputError, match="run the same command again"):
        bentobatch.commit(plan)
    (tmp_path / "aside").rename(output)
    assert bentobatch.commit(plan)["rows"] == 120
    assert bentobatch.commit(plan)["rows"] == 120
    check(output, frames)
    assert bentobatch.plan(job).splits == ()
    assert bentobatch.commit(bentobatch.plan(job))["rows"] == 120


def test_a_directory_in_a_bucket_grows_too(bundles: Path, tmp_path: Path) -> None:
    """New parts, then the new _SUCCESS, which names old and new ones."""
    fs = fsspec.filesystem("memory")
    days, output = tmp_path / "in", "memory://only-new/out"
    frames = [write_day(days, 1)]
    options = {"input_file": days, "output_file": output, "keep": ["id"], "executor": "inline", "only_new": True}
    try:
        bentobatch.run(bundles / "linear", **options)
        first = set(json.loads(fs.cat("/only-new/out/_SUCCESS"))["parts"])
        frames.append(write_day(days, 2))
        bentobatch.run(bundles / "linear", **options)
        assert bentobatch.run(bundles / "linear", **options).already_done
        frames = [write_day(days, 1, 30, seed=11), frames[1]]
        third = bentobatch.run(bundles / "linear", **options)
        assert (third.rows, third.rows_reused) == (90, 60)
        names = json.loads(fs.cat("/only-new/out/_SUCCESS"))["parts"]
        assert not first & set(names)
        assert sorted(names) == sorted(Path(path).name for path in fs.glob("/only-new/out/part-*"))
        fs.get([f"/only-new/out/{name}" for name in [*names, "_SUCCESS"]], f"{tmp_path}/copy/")
        check(tmp_path / "copy", frames[::-1])
    finally:
        fs.rm("/only-new", recursive=True)


def test_a_json_document_is_known_by_its_own_file(bundles: Path, tmp_path: Path) -> None:
    """Two documents of one content are two files, and each is scored once."""
    days, output = tmp_path / "in", tmp_path / "out"
    days.mkdir()
    for name in ("1", "2"):
        (days / f"{name}.json").write_text('[{"x0": 1, "x1": 2}, {"x0": 3, "x1": 4}]')
    options = {"input_file": days, "output_file": output, "executor": "inline", "only_new": True}
    assert bentobatch.run(bundles / "picky", **options).rows == 4
    assert bentobatch.run(bundles / "picky", **options).already_done
    (days / "3.json").write_text('[{"x0": 5, "x1": 6}]')
    assert bentobatch.run(bundles / "picky", **options).rows == 5
    assert read_parts(output)["prediction"].tolist() == [5.0, 13.0, 5.0, 13.0, 21.0]
