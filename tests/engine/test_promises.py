"""The promises of the README, each shown through the command line as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import feature_frame, rows_scored

ROWS = 20_000
SPLIT = ("--split-rows", "2000", "--batch-rows", "1000")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "bentobatch", "run", *map(str, arguments)]


def score(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=240, env={**os.environ, **environment}, check=False
    )


def write_input(path: Path, rows: int = ROWS, *, seed: int = 7, group: int = 1000) -> pd.DataFrame:
    frame = feature_frame(rows, seed)
    frame.insert(0, "id", np.arange(rows) + 10 * seed)
    frame["unused"] = "text"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=group)
    return frame


def expected(frame: pd.DataFrame) -> np.ndarray:
    return (frame["x0"] - 2 * frame["x1"] + 0.5 * frame["x2"]).to_numpy()


def check_output(path: Path, frame: pd.DataFrame) -> None:
    scored = pq.read_table(path).to_pandas()
    assert scored["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(scored["prediction"], expected(frame), atol=1e-9)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("executor", ["inline", "threads", "processes", "auto"])
def test_one_row_out_for_each_row_in_and_in_order(bundles: Path, tmp_path: Path, executor: str) -> None:
    """Promise 3; kept columns are carried along, unneeded ones are not."""
    frame = write_input(tmp_path / "in.parquet")
    done = score(
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "out.parquet",
        "--keep", "id", "--executor", executor, *SPLIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert pq.read_schema(tmp_path / "out.parquet").names == ["id", "prediction"]
    check_output(tmp_path / "out.parquet", frame)


def test_every_executor_gives_the_same_bits(bundles: Path, tmp_path: Path) -> None:
    """Promise 5, on one machine: the output files are equal byte for byte."""
    write_input(tmp_path / "in.parquet")
    digests = set()
    for executor in ("inline", "threads", "processes"):
        output = tmp_path / executor / "out.parquet"
        output.parent.mkdir()
        done = score(
            bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", output,
            "--executor", executor, *SPLIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        scored = pq.read_table(output)
        digests.add(hashlib.sha256(scored.column("prediction").combine_chunks().buffers()[1].to_pybytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out"])
def test_a_killed_run_goes_on_from_its_finished_splits(bundles: Path, tmp_path: Path, name: str) -> None:
    """Promise 2: after SIGKILL at random instants the same command ends in the file of an undisturbed run, no split that
    had a receipt is scored again, and promise 1: a reader sees no output before the last run commits it."""
    write_input(tmp_path / "in.parquet")
    arguments = [
        str(bundles / "linear"), "predict", "--input-file", str(tmp_path / "in.parquet"), "--keep", "id",
        "--executor", "inline", *SPLIT,
    ]  # fmt: skip
    (tmp_path / "calm").mkdir()
    calm = score(*arguments, "--output-file", tmp_path / "calm" / name)
    assert calm.returncode == 0, calm.stderr
    output = tmp_path / name
    trace = tmp_path / "trace"
    environment = {**os.environ, "BENTOBATCH_TEST_SLEEP": "0.1", "BENTOBATCH_TEST_TRACE": str(trace)}
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    kills = 0
    lost_again = 0
    for _ in range(3):
        run = subprocess.Popen(
            command(*arguments, "--output-file", output), env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        receipts = list_receipts(output)
        wait_for(lambda: len(list_receipts(output)) > len(receipts) or run.poll() is not None, 60)  # noqa: B023
        time.sleep(rng.uniform(0, 0.3))
        assert not output.exists()
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
            lost_again += 2 * 2000  # at most the split in work, and one that ended between the look and the kill
        run.wait()
    before = rows_scored(trace)
    finished = len(list_receipts(output))
    assert kills == 3
    assert finished >= 3
    last = subprocess.run(
        command(*arguments, "--output-file", output), env={**environment, "BENTOBATCH_TEST_SLEEP": "0"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert last.returncode == 0, last.stderr
    probe = 100
    assert rows_scored(trace) - before == ROWS - 2000 * finished + probe
    assert_same_output(output, tmp_path / "calm" / name)


def list_receipts(output: Path) -> list[Path]:
    return list(output.parent.glob(f".{output.name}.bentobatch/*/receipts/[!.]*"))


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def assert_same_output(left: Path, right: Path) -> None:
    if left.is_dir():
        # part names carry the plan's id, and so the output's path
        pairs = zip(sorted(left.glob("part-*")), sorted(right.glob("part-*")), strict=True)
        assert all(pq.read_table(one).equals(pq.read_table(other)) for one, other in pairs)
    elif left.suffix == ".parquet":
        assert pq.read_table(left).equals(pq.read_table(right))
    else:
        assert digest(left) == digest(right)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl", "out.arrow", "out"])
def test_one_more_file_among_a_hundred_scores_that_file_only(bundles: Path, tmp_path: Path, name: str) -> None:
    """After a commit as well: rows that an earlier plan scored are taken from its output."""
    folder = tmp_path / "in"
    folder.mkdir()
    frames = [write_input(folder / f"day-{number}.parquet", 20, seed=number) for number in range(1, 101)]
    trace = tmp_path / "trace"
    arguments = [
        bundles / "linear", "predict", "--input-file", folder, "--output-file", tmp_path / name, "--keep", "id",
        "--executor", "inline",
    ]  # fmt: skip
    assert score(*arguments).returncode == 0
    # the new file sorts into the middle, so every later row moves
    more = write_input(folder / "day-50b.parquet", 30, seed=333)
    done = score(*arguments, "--overwrite", BENTOBATCH_TEST_TRACE=str(trace))
    assert done.returncode == 0, done.stderr
    probe = 20
    assert rows_scored(trace) == 30 + probe
    frame = pd.concat([*frames[:50], more, *frames[50:]], ignore_index=True)
    scored = read_output(tmp_path / name)
    assert scored["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(scored["prediction"].astype(float), expected(frame), atol=1e-9)


def read_output(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True)
    if path.suffix == ".arrow":
        with pa.ipc.open_file(path) as reader:
            return reader.read_all().to_pandas()
    if path.is_dir():
        parts = sorted(path.glob("part-*.parquet"))
        return pd.concat([pq.read_table(part).to_pandas() for part in parts], ignore_index=True)
    return pq.read_table(path).to_pandas()


def test_a_run_that_was_done_already_is_left_as_it_is(bundles: Path, tmp_path: Path) -> None:
    """Exit 0, 'already done', not a byte changed, nothing scored but the probe."""
    write_input(tmp_path / "in.parquet", 2000)
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
    ]  # fmt: skip
    assert score(*arguments).returncode == 0
    before = (tmp_path / "o.parquet").stat()
    trace = tmp_path / "trace"
    again = score(*arguments, BENTOBATCH_TEST_TRACE=str(trace))
    assert again.returncode == 0
    assert "already done" in again.stderr
    after = (tmp_path / "o.parquet").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert rows_scored(trace) == 100


def test_an_output_of_another_origin_is_refused_and_left_untouched(bundles: Path, tmp_path: Path) -> None:
    """Exit 73 before anything is scored; --overwrite replaces it, and only at the commit."""
    write_input(tmp_path / "in.parquet", 2000)
    (tmp_path / "o.parquet").write_text("mine")
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
    ]  # fmt: skip
    refused = score(*arguments)
    assert refused.returncode == 73
    assert "exists" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "o.parquet").read_text() == "mine"
    assert score(*arguments, "--overwrite").returncode == 0
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 2000


def test_the_bundle_and_the_plan_stand_in_the_outputs_metadata(bundles: Path, tmp_path: Path) -> None:
    """Tag, digest and plan id tell where a file came from."""
    write_input(tmp_path / "in.parquet", 2000)
    done = score(
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--report", tmp_path / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    metadata = pq.read_schema(tmp_path / "o.parquet").metadata
    assert metadata[b"bentobatch.plan"].decode() == report["plan_id"]
    assert metadata[b"bentobatch.bundle_digest"].decode() == report["bundle_digest"]
    assert metadata[b"bentobatch.bundle"].decode().startswith("Linear:")


def test_peak_memory_does_not_grow_with_the_input(bundles: Path, tmp_path: Path) -> None:
    """Promise 4: ten times the rows, the same peak within 15 %."""
    peaks = []
    for rows in (300_000, 3_000_000):
        write_input(tmp_path / f"in-{rows}.parquet", rows, group=50_000)
        run = subprocess.Popen(
            command(
                bundles / "linear", "predict", "--input-file", tmp_path / f"in-{rows}.parquet", "--keep", "id",
                "--output-file", tmp_path / f"out-{rows}.parquet", "--executor", "inline", "--quiet",
                "--split-rows", "50000", "--batch-rows", "20000",
            )
        )  # fmt: skip
        peaks.append(peak_memory(run))
        assert run.returncode == 0
    assert peaks[1] <= 1.15 * peaks[0], peaks


def peak_memory(run: subprocess.Popen[bytes]) -> int:
    """The largest sum of resident bytes of a process and its children, sampled until it ends."""
    process = psutil.Process(run.pid)
    peak = 0
    while run.poll() is None:
        total = 0
        for member in [process, *_children(process)]:
            try:
                total += member.memory_info().rss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(0.01)
    return peak


def _children(process: psutil.Process) -> Sequence[psutil.Process]:
    try:
        children: Sequence[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return children


def picky_input(path: Path, values: dict[int, float], rows: int = 1000) -> None:
    x0 = np.arange(rows, dtype=float)
    for row, value in values.items():
        x0[row] = value
    pq.write_table(pa.table({"id": np.arange(rows), "x0": x0, "x1": np.ones(rows)}), path, row_group_size=100)


def picky(bundles: Path, tmp_path: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return score(
        bundles / "picky", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--split-rows", "250", "--keep", "id", *more, **environment,
    )  # fmt: skip


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_a_bad_row_costs_that_row_and_nothing_else(bundles: Path, tmp_path: Path, executor: str) -> None:
    """Promise 3: null prediction, a status, and a record that says where and why."""
    picky_input(tmp_path / "in.parquet", {3: -1, 500: -1, 999: -1})
    done = picky(bundles, tmp_path, "--max-rejects", "3", "--status-column", "status", "--executor", executor)
    assert done.returncode == 0, done.stderr
    scored = pq.read_table(tmp_path / "o.parquet").to_pandas()
    assert len(scored) == 1000
    assert scored.index[scored["prediction"].isna()].tolist() == [3, 500, 999]
    assert scored["status"].value_counts().to_dict() == {"ok": 997, "rejected": 3}
    assert scored["prediction"][4] == 13.0
    lost = pq.read_table(tmp_path / "o.parquet.rejects.parquet").to_pylist()
    assert [row["row"] for row in lost] == [3, 500, 999]
    assert lost[1]["file_row"] == 500
    assert lost[1]["file"].endswith("in.parquet")
    assert (lost[1]["stage"], lost[1]["error_type"], lost[1]["error"]) == ("model", "ValueError", "x0 is -1")
    assert json.loads(lost[1]["values"]) == {"x0": -1.0, "x1": 1.0, "id": 500}


def test_too_many_rejects_stop_the_run_and_accepting_them_scores_nothing_again(bundles: Path, tmp_path: Path) -> None:
    """Exit 71, no output, the rejects file written, and a line that says how to go on."""
    picky_input(tmp_path / "in.parquet", {3: -1, 500: -1})
    first = picky(bundles, tmp_path)
    assert first.returncode == 71
    assert "--max-rejects 2" in first.stderr
    assert not (tmp_path / "o.parquet").exists()
    assert pq.read_metadata(tmp_path / "o.parquet.rejects.parquet").num_rows == 2
    second = picky(bundles, tmp_path, "--max-rejects", "2", "--report", str(tmp_path / "report.json"))
    assert second.returncode == 0, second.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rows_reused"] == 1000
    assert report["rejected"] == 2
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows == 1000


def test_a_row_that_ends_its_worker_is_found_and_left_out(bundles: Path, tmp_path: Path) -> None:
    """Promise 6 and 3: os._exit(0) in the model is neither a success nor the end of the run."""
    picky_input(tmp_path / "in.parquet", {507: -2}, rows=520)
    done = picky(bundles, tmp_path, "--max-rejects", "1", "--batch-rows", "8", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    lost = pq.read_table(tmp_path / "o.parquet.rejects.parquet").to_pylist()
    assert [(row["row"], row["error_type"]) for row in lost] == [(507, "WorkerDied")]
    scored = pq.read_table(tmp_path / "o.parquet").to_pandas()
    assert scored.index[scored["prediction"].isna()].tolist() == [507]


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (-3, 70, r"sys.exit\(0\)"),
        (-4, 70, "returned .* rows"),
        (-8, 70, "prediction"),
        (-5, 69, "feature store is down"),
        (-6, 69, "no route to host"),
    ],
)
def test_a_model_that_breaks_its_contract_or_cannot_work_stops_the_run(
    bundles: Path, tmp_path: Path, value: float, code: int, words: str
) -> None:
    """70 for what a rerun would not mend, 69 (after retries) for what it may; one line, and no output."""
    import re

    picky_input(tmp_path / "in.parquet", {700: value})
    done = picky(bundles, tmp_path, "--max-rejects", "100%", "--executor", "inline")
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(words, last), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o.parquet").exists()


def test_an_outage_that_passes_is_no_failure(bundles: Path, tmp_path: Path) -> None:
    """The split is tried again after a while."""
    picky_input(tmp_path / "in.parquet", {700: -9})
    done = picky(bundles, tmp_path, BENTOBATCH_TEST_FLAG=str(tmp_path / "flag"))
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "o.parquet").column("prediction").null_count == 0


def test_a_hang_is_ended_by_the_split_timeout(bundles: Path, tmp_path: Path) -> None:
    """The row that hangs costs itself alone, like one that crashes."""
    picky_input(tmp_path / "in.parquet", {101: -7}, rows=104)
    done = picky(
        bundles, tmp_path, "--split-timeout", "2", "--max-rejects", "1", "--batch-rows", "2", "--executor", "inline"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--split-timeout" in done.stderr
    assert pq.read_table(tmp_path / "o.parquet").column("prediction").null_count == 1


def test_a_model_that_always_fails_is_not_a_million_rejects(bundles: Path, tmp_path: Path) -> None:
    """Exit 70 at planning, whatever --max-rejects says."""
    picky_input(tmp_path / "in.parquet", {})
    done = score(
        bundles / "picky", "broken", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--max-rejects", "100%",
    )  # fmt: skip
    assert done.returncode == 70
    assert "the model is broken" in done.stderr


def test_a_second_run_stops_at_once_and_harms_nothing(bundles: Path, tmp_path: Path) -> None:
    """Promise 8: exit 75, and the first one ends well."""
    frame = write_input(tmp_path / "in.parquet")
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--keep", "id", "--executor", "inline", *SPLIT,
    ]  # fmt: skip
    environment = {**os.environ, "BENTOBATCH_TEST_SLEEP": "0.2"}
    first = subprocess.Popen(command(*arguments), env=environment, stderr=subprocess.DEVNULL)
    wait_for(lambda: bool(list_receipts(tmp_path / "o.parquet")), 60)
    second = score(*arguments)
    assert second.returncode == 75
    assert "another run" in second.stderr
    assert first.wait(timeout=120) == 0
    check_output(tmp_path / "o.parquet", frame)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_and_the_same_command_goes_on(
    bundles: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Within ten seconds, with no process left behind."""
    frame = write_input(tmp_path / "in.parquet")
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--keep", "id", "--executor", "processes", *SPLIT,
    ]  # fmt: skip
    environment = {**os.environ, "BENTOBATCH_TEST_SLEEP": "0.3"}
    run = subprocess.Popen(command(*arguments), env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(list_receipts(tmp_path / "o.parquet")), 60)
    workers = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(number)
    _, told = run.communicate(timeout=10)
    assert run.returncode == code, told
    assert "Traceback" not in told
    psutil.wait_procs(workers, timeout=5)
    assert not [worker for worker in workers if worker.is_running()]
    assert score(*arguments).returncode == 0
    check_output(tmp_path / "o.parquet", frame)


def test_workers_end_with_their_leader(bundles: Path, tmp_path: Path) -> None:
    """The leader alone is killed: its workers do not live on, and do not keep the lock."""
    write_input(tmp_path / "in.parquet")
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--executor", "processes", "--workers", "2", *SPLIT,
    ]  # fmt: skip
    environment = {**os.environ, "BENTOBATCH_TEST_SLEEP": "0.5"}
    run = subprocess.Popen(command(*arguments), env=environment, stderr=subprocess.DEVNULL)
    wait_for(lambda: bool(list_receipts(tmp_path / "o.parquet")), 60)
    workers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    psutil.wait_procs(workers, timeout=5)
    assert workers
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    assert score(*arguments).returncode == 0


def test_a_worker_that_is_killed_is_replaced(bundles: Path, tmp_path: Path) -> None:
    """The job goes on, and the output is whole."""
    frame = write_input(tmp_path / "in.parquet")
    run = subprocess.Popen(
        command(
            bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file",
            tmp_path / "o.parquet", "--keep", "id", "--executor", "processes", "--workers", "2", *SPLIT,
        ),
        env={**os.environ, "BENTOBATCH_TEST_SLEEP": "0.3"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: bool(list_receipts(tmp_path / "o.parquet")), 60)
    psutil.Process(run.pid).children()[0].kill()
    _, told = run.communicate(timeout=120)
    assert run.returncode == 0, told
    check_output(tmp_path / "o.parquet", frame)


def test_an_input_that_changed_never_mixes_with_old_parts(bundles: Path, tmp_path: Path) -> None:
    """Promise 8: killed, the input replaced, repeated: every row is of the new input."""
    write_input(tmp_path / "in.parquet")
    arguments = [
        bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.parquet",
        "--keep", "id", "--executor", "inline", *SPLIT,
    ]  # fmt: skip
    run = subprocess.Popen(
        command(*arguments), env={**os.environ, "BENTOBATCH_TEST_SLEEP": "0.2"}, start_new_session=True
    )
    wait_for(lambda: len(list_receipts(tmp_path / "o.parquet")) > 1, 60)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    frame = write_input(tmp_path / "in.parquet", seed=8)
    done = score(*arguments)
    assert done.returncode == 0, done.stderr
    check_output(tmp_path / "o.parquet", frame)


def test_an_input_that_changes_while_it_is_scored_stops_the_run(bundles: Path, tmp_path: Path) -> None:
    """Exit 65: half of each would be a lie."""
    write_input(tmp_path / "in.parquet")
    run = subprocess.Popen(
        command(
            bundles / "linear", "predict", "--input-file", tmp_path / "in.parquet", "--output-file",
            tmp_path / "o.parquet", "--executor", "inline", *SPLIT,
        ),
        env={**os.environ, "BENTOBATCH_TEST_SLEEP": "0.2"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(list_receipts(tmp_path / "o.parquet")) > 1, 60)
    write_input(tmp_path / "new.parquet", seed=8)
    os.replace(tmp_path / "new.parquet", tmp_path / "in.parquet")
    _, told = run.communicate(timeout=120)
    assert run.returncode == 65, told
    assert "changed since planning" in told
    assert not (tmp_path / "o.parquet").exists()


def test_the_old_output_stands_until_the_new_one_is_whole(bundles: Path, tmp_path: Path) -> None:
    """Promise 1, with --overwrite of a directory: a reader polls all along and never sees a mixture."""
    for seed in (1, 2):
        write_input(tmp_path / f"in-{seed}.parquet", 4000, seed=seed, group=500)
    output = tmp_path / "out"
    arguments = ["--output-file", output, "--keep", "id", "--executor", "threads", "--split-rows", "500", "--overwrite"]
    assert score(bundles / "linear", "predict", "--input-file", tmp_path / "in-1.parquet", *arguments).returncode == 0
    seen: set[tuple[int, ...]] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            try:
                names = json.loads((output / "_SUCCESS").read_text())["parts"]
                tables = [pq.read_table(output / name) for name in names]
            except FileNotFoundError:
                continue  # the folder was exchanged between two opens; what was read is thrown away
            ids = np.concatenate([table.column("id").to_numpy() for table in tables])
            seen.add((len(ids), int(ids[0]), int(ids[-1])))

    reader = threading.Thread(target=look)
    reader.start()
    done = score(bundles / "linear", "predict", "--input-file", tmp_path / "in-2.parquet", *arguments)
    ended.set()
    reader.join()
    assert done.returncode == 0, done.stderr
    assert seen <= {(4000, 10, 4009), (4000, 20, 4019)}, seen
    assert (4000, 10, 4009) in seen


def test_a_tampered_bundle_is_refused_before_its_code_runs(bundles: Path, tmp_path: Path) -> None:
    """Promise 7: the file is named, and the canary is not written."""
    import shutil

    shutil.copytree(bundles / "linear", tmp_path / "bundle")
    (module,) = (tmp_path / "bundle" / "Linear").glob("*services.py")
    module.write_text(module.read_text() + f"\nopen({str(tmp_path / 'canary')!r}, 'w').close()\n")
    write_input(tmp_path / "in.parquet", 100)
    done = score(
        tmp_path / "bundle", "predict", "--input-file", tmp_path / "in.parquet", "--output-file", tmp_path / "o.csv"
    )
    assert done.returncode == 65
    assert module.name in done.stderr
    assert not (tmp_path / "canary").exists()


def test_an_output_that_is_not_as_expected_is_not_committed(bundles: Path, tmp_path: Path) -> None:
    """--expect: exit 71, the old output stays, and with another expectation nothing is scored again."""
    picky_input(tmp_path / "in.parquet", {5: -1})
    (tmp_path / "o.parquet").write_text("old")
    refused = picky(
        bundles, tmp_path, "--overwrite", "--max-rejects", "1", "--expect", "rows >= 1000", "--expect",
        "prediction between 0 and 1000",
    )  # fmt: skip
    assert refused.returncode == 71, refused.stderr
    assert "prediction between 0 and 1000" in refused.stderr
    assert "found 2998" in refused.stderr
    assert (tmp_path / "o.parquet").read_text() == "old"
    done = picky(
        bundles, tmp_path, "--overwrite", "--max-rejects", "1", "--expect", "nulls(prediction) <= 1", "--expect",
        "rejects = 1", "--expect", "max(id) = 999", "--report", str(tmp_path / "report.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["rows_reused"] == 1000


def test_what_a_model_prints_and_warns_goes_to_stderr_and_warnings_go_there_once(bundles: Path, tmp_path: Path) -> None:
    """Nothing but JSON lines on stdout; a warning for every batch would bury what matters."""
    picky_input(tmp_path / "in.parquet", {})
    done = score(bundles / "picky", "warning", "--input-file", tmp_path / "in.parquet", "--batch-rows", "10")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1000
    assert json.loads(done.stdout.splitlines()[-1]) == {"prediction": 999.0}
    assert done.stderr.count("UserWarning: beware") == 1
    assert "printed by the model" in done.stderr


@pytest.mark.parametrize("name", ["o.parquet", "o.csv"])
def test_a_part_that_was_damaged_on_disk_is_not_committed(bundles: Path, tmp_path: Path, name: str) -> None:
    """A flipped bit in a part is found before the commit; --restart scores it again."""
    import bentobatch

    frame = write_input(tmp_path / "in.parquet", 4000)
    options = {
        "input_file": tmp_path / "in.parquet",
        "output_file": tmp_path / name,
        "keep": ["id"],
        "split_rows": 1000,
    }
    plan = bentobatch.plan(bundles / "linear", **options)
    for index in range(len(plan.splits)):
        bentobatch.run_split(plan, index)
    part = next((tmp_path / f".{name}.bentobatch" / plan.plan_id / "parts").iterdir())
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(bentobatch.StorageError, match=r"damaged.*--restart"):
        bentobatch.commit(plan)
    assert not (tmp_path / name).exists()
    assert bentobatch.run(bundles / "linear", **options, restart=True).rows_reused == 0
    assert read_output(tmp_path / name)["id"].tolist() == frame["id"].tolist()


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_run_with_far_too_many_rejects_stops_early(bundles: Path, tmp_path: Path, executor: str) -> None:
    """Past the larger of the limit and a thousand: exit 71 at once, with the rejects so far in their file."""
    rows = 20_000
    lines = ["x0,x1"] + [f"{row},1" if row < 200 or row % 2 else f"{row},oops" for row in range(rows)]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    done = score(
        bundles / "picky", "numbers", "--input-file", tmp_path / "in.csv", "--output-file", tmp_path / "o.parquet",
        "--split-rows", "1000", "--batch-rows", "1000", "--executor", executor, "--max-rejects", "500",
    )  # fmt: skip
    assert done.returncode == 71, done.stderr
    assert "stopped after" in done.stderr
    assert not (tmp_path / "o.parquet").exists()
    lost = pq.read_table(tmp_path / "o.parquet.rejects.parquet").to_pylist()
    assert 1000 < len(lost) < rows // 4
    assert lost[0] == {
        "row": 200, "file": str(tmp_path / "in.csv"), "file_row": 200, "line": 202, "stage": "read",
        "error_type": lost[0]["error_type"], "error": lost[0]["error"], "values": lost[0]["values"], "raw": b"200,oops",
    }  # fmt: skip
    assert "oops" in lost[0]["error"]


def test_a_row_that_ends_its_worker_is_left_out_even_if_it_is_the_first(bundles: Path, tmp_path: Path) -> None:
    """Planning scores the first rows too; one of them that ends the process costs itself, like any other."""
    picky_input(tmp_path / "in.parquet", {0: -2}, rows=8)
    done = picky(bundles, tmp_path, "--max-rejects", "1", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    scored = pq.read_table(tmp_path / "o.parquet").to_pandas()
    assert scored.index[scored["prediction"].isna()].tolist() == [0]
    assert scored["prediction"][7] == 22.0


def test_a_model_that_ends_every_worker_is_said_so(bundles: Path, tmp_path: Path) -> None:
    """Exit 70, not 0, after a few tries."""
    picky_input(tmp_path / "in.parquet", dict.fromkeys(range(8), -2), rows=8)
    done = picky(bundles, tmp_path, "--max-rejects", "100%", "--executor", "inline")
    assert done.returncode == 70, done.stderr
    assert "status 0 while the model scored the first rows" in done.stderr
    assert not (tmp_path / "o.parquet").exists()


def test_a_hang_on_the_first_row_is_ended_by_the_split_timeout(bundles: Path, tmp_path: Path) -> None:
    """Planning scores the first rows, so it must not wait for ever either."""
    picky_input(tmp_path / "in.parquet", {0: -7}, rows=2)
    done = picky(bundles, tmp_path, "--split-timeout", "6", "--max-rejects", "1", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "o.parquet").column("prediction").to_pylist() == [None, 4.0]
