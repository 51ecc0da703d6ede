"""The promises on an S3 API: moto's server, processes of one machine that act as two hosts, and requests that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine import lease as leases
from bentobatch.engine.clean import clean
from bentobatch.engine.lease import take_lease
from bentobatch.engine.objects import S3Objects
from bentobatch.engine.place import place_at
from bentobatch.errors import DataError, LockedError, OutputError, StorageError, UsageError
from tests.conftest import feature_frame, rows_scored
from tests.faults.s3_server import S3Server

pytest.importorskip("s3fs")
KEY, SECRET = "AKIAQUITESECRET", "anotherverysecretword"
ROWS = 600
SPLIT = {"split_rows": 200, "batch_rows": 100}
FLAGS = ("--split-rows", "200", "--batch-rows", "100", "--keep", "id")


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """moto's server, which takes small upload parts, so that small files are multipart uploads too."""
    from moto.s3 import models

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "S3_UPLOAD_PART_MIN_SIZE", 1)
        made = S3Server()
        yield made
        made.close()


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    """A bucket of the test's own; the endpoint comes from the environment, credentials from the storage options."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return Bucket(server, f"bucket-{abs(hash(request.node.nodeid)):x}")


class Bucket:
    """A bucket as a test sees it, by a file system instance that the code under test does not share."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.server = server
        self.name = name
        self.options = {"key": KEY, "secret": SECRET}
        self.fs = fsspec.filesystem("s3", **self.options, skip_instance_cache=True, use_listings_cache=False)
        self.fs.mkdir(name)

    def url(self, path: str) -> str:
        return f"s3://{self.name}/{path}"

    def listing(self, below: str = "") -> list[str]:
        found = self.fs.find(f"{self.name}/{below}".rstrip("/"))
        return sorted(key.partition("/")[2] for key in found)

    def write(self, path: str, rows: int = ROWS, *, seed: int = 7) -> pd.DataFrame:
        frame = feature_frame(rows, seed)
        frame.insert(0, "id", np.arange(rows) + 10_000 * seed)
        with self.fs.open(f"{self.name}/{path}", "wb") as file:
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), file, row_group_size=100)
        return frame

    def read(self, path: str) -> pa.Table:
        """An output as its readers should read it: a directory by what ``_SUCCESS`` names."""
        if not path.endswith(".parquet"):
            listed = json.loads(self.fs.cat_file(f"{self.name}/{path}/_SUCCESS"))
            tables = [self.read(f"{path}/{name}") for name in listed["parts"]]
            table = pa.concat_tables(tables)
            assert table.num_rows == listed["rows"]
            return table
        return pq.read_table(pa.BufferReader(self.fs.cat_file(f"{self.name}/{path}")))

    def present(self, path: str) -> bool:
        return bool(
            self.fs.exists(f"{self.name}/{path}" if path.endswith(".parquet") else f"{self.name}/{path}/_SUCCESS")
        )

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """All objects with their metadata, for ``restore``."""
        found = {}
        for key in self.listing():
            head = self.fs.call_s3("head_object", Bucket=self.name, Key=key)
            found[key] = {"Metadata": head["Metadata"], "Body": self.fs.cat_file(f"{self.name}/{key}")}
        return found

    def restore(self, before: dict[str, dict[str, Any]], untouched: tuple[str, ...]) -> None:
        for key in self.listing():
            if key not in before:
                self.fs.rm_file(f"{self.name}/{key}")
        for key, values in before.items():
            if key not in untouched:
                self.fs.call_s3("put_object", Bucket=self.name, Key=key, **values)

    def uploads(self) -> list[Any]:
        return list(self.fs.call_s3("list_multipart_uploads", Bucket=self.name).get("Uploads") or [])

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--storage-option", f"key={KEY}", "--storage-option", f"secret={SECRET}")

    def check_secrets(self, *texts: str) -> None:
        """No credential in any object or message."""
        for text in texts:
            assert KEY not in text
            assert SECRET not in text
        for key in self.fs.find(self.name):
            data = self.fs.cat_file(key)
            assert KEY.encode() not in data, key
            assert SECRET.encode() not in data, key


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "bentobatch", *map(str, arguments)]


def score(s3: Bucket, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; no credential may be in what it says."""
    done = subprocess.run(
        command("run", *arguments, *s3.flags), capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    s3.check_secrets(done.stdout, done.stderr)
    return done


def start(s3: Bucket, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", *arguments, *s3.flags), env={**os.environ, **environment}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def check(table: pa.Table, *frames: pd.DataFrame) -> None:
    frame = pd.concat(frames, ignore_index=True)
    assert table.column("id").to_pylist() == frame["id"].tolist()
    expected = (frame["x0"] - 2 * frame["x1"] + 0.5 * frame["x2"]).to_numpy()
    np.testing.assert_allclose(table.column("prediction").to_numpy(), expected, atol=1e-9)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


OUTPUTS = ["out.parquet", "out"]
FIRST_FAULT = {("outage", "out.parquet"): 0, ("outage", "out"): 1, ("lost", "out.parquet"): 2, ("lost", "out"): 3}
"""Every fifth request fails, from here on; BENTOBATCH_FAULT_STRIDE=1 takes every one."""


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("given", ["in/part-1.parquet", "in/part-*.parquet", "in", "hive"])
def test_files_globs_prefixes_and_hive_datasets_are_scored_from_a_bucket(
    s3: Bucket, bundles: Path, given: str, output: str
) -> None:
    """In order, into a file or a directory; hive values become columns; nothing but the output and the state is left."""
    folder = ["in/part-1", "in/part-2"] if given != "hive" else ["hive/day=1/a", "hive/day=2/a"]
    frames = [s3.write(f"{path}.parquet", seed=number) for number, path in enumerate(folder, 1)]
    keep = ["id", "day"] if given == "hive" else ["id"]
    report = bentobatch.run(
        bundles / "linear",
        input_file=s3.url(given),
        output_file=s3.url(output),
        keep=keep,
        storage_options=s3.options,
        **SPLIT,
    )
    table = s3.read(output)
    check(table, *(frames[:1] if given == "in/part-1.parquet" else frames))
    assert report.rows == table.num_rows
    if given == "hive":
        assert table.column("day").to_pylist() == ["1"] * ROWS + ["2"] * ROWS
    s3.check_secrets(repr(report))
    assert all(
        "_bentobatch/" in key
        for key in s3.listing()
        if not key.startswith((given[:2], "out.parquet", "out/part", "out/_S"))
    )
    assert not [key for key in s3.listing() if "/parts/" in key or "/receipts/" in key]
    again = bentobatch.run(
        bundles / "linear",
        input_file=s3.url(given),
        output_file=s3.url(output),
        keep=keep,
        storage_options=s3.options,
        **SPLIT,
    )
    assert again.already_done


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_killed_run_goes_on_from_its_finished_splits(s3: Bucket, bundles: Path, tmp_path: Path, output: str) -> None:
    """Receipts are objects: after SIGKILL the same command scores no finished split again. The dead process's lease is
    known to be dead on its own machine, so there is no waiting; no reader sees an output before the commit."""
    frame = s3.write("in.parquet", 2000)
    trace = tmp_path / "trace"
    arguments = (bundles / "linear", "--input-file", s3.url("in.parquet"), "--output-file", s3.url(output), *FLAGS)
    run = start(s3, *arguments, "--executor", "inline", BENTOBATCH_TEST_SLEEP="0.2", BENTOBATCH_TEST_TRACE=str(trace))

    def receipts() -> list[str]:
        return [key for key in s3.listing() if "/receipts/" in key]

    try:
        wait_for(lambda: len(receipts()) >= 3)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    assert not s3.present(output)
    wait_for(lambda: [time.sleep(0.2), True][1])  # a worker's last request may still be on its way
    finished, before = len(receipts()), rows_scored(trace)
    done = score(s3, *arguments, BENTOBATCH_TEST_TRACE=str(trace))
    assert done.returncode == 0, done.stderr
    probe = 100
    assert rows_scored(trace) - before == 2000 - 200 * finished + probe
    check(s3.read(output), frame)


@pytest.mark.parametrize("output", OUTPUTS)
def test_one_more_file_under_a_prefix_scores_that_file_only(
    s3: Bucket, bundles: Path, tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit as well: old parts are copied by the server, a single file is read. Old parts go."""
    frames = [s3.write(f"in/day-{number}.parquet", 100, seed=number) for number in range(1, 6)]
    trace = tmp_path / "trace"

    def run(**options: Any) -> None:
        bentobatch.run(
            bundles / "linear", input_file=s3.url("in"), output_file=s3.url(output), keep=["id"], executor="inline",
            storage_options=s3.options, **options,
        )  # fmt: skip

    run()
    old = set(s3.listing(output)) if output == "out" else set()
    more = s3.write("in/day-2b.parquet", 30, seed=9)
    monkeypatch.setenv("BENTOBATCH_TEST_TRACE", str(trace))
    with pytest.raises(OutputError, match="--overwrite"):
        run()
    before = rows_scored(trace)
    run(overwrite=True)
    # the refused run has scored nothing; each plan's probe scores the first 100 rows
    assert before == 100
    assert rows_scored(trace) - before == 30 + 100
    check(s3.read(output), *frames[:2], more, *frames[2:])
    if output == "out":
        left = [key for key in s3.listing("out") if "/_" not in key]
        assert len(left) == 6
        assert not old.intersection(left)


def test_a_reader_sees_the_old_output_or_the_new_one(s3: Bucket, bundles: Path) -> None:
    """A reader that polls a directory by its ``_SUCCESS`` while it is replaced sees one or the other, whole; parts that
    were removed under its hands make it look again."""
    frames = [s3.write(f"in-{number}.parquet", seed=number) for number in (1, 2)]
    wanted = [frame["id"].tolist() for frame in frames]
    seen: list[int] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                seen.append(wanted.index(s3.read("out").column("id").to_pylist()))
            except FileNotFoundError:
                continue

    def run(number: int) -> None:
        bentobatch.run(
            bundles / "linear", input_file=s3.url(f"in-{number}.parquet"), output_file=s3.url("out"), keep=["id"],
            storage_options=s3.options, overwrite=True, executor="inline", **SPLIT,
        )  # fmt: skip

    run(1)
    failures: list[BaseException] = []

    def reading() -> None:
        try:
            read()
        except BaseException as error:  # a reader's failure is told by the test
            failures.append(error)

    reader = threading.Thread(target=reading)
    reader.start()
    for number in (2, 1, 2):
        run(number)
    wait_for(lambda: bool(failures) or seen[-1:] == [1], 20)
    ended.set()
    reader.join()
    assert not failures
    assert set(seen) == {0, 1}
    parts = [key for key in s3.listing("out") if "/part-" in key]
    assert len(parts) == 3


def test_a_prefix_with_other_objects_is_no_place_for_an_output(s3: Bucket, bundles: Path) -> None:
    """Exit 73: without ``overwrite`` for parts of another origin, always for what no reader would take for a part."""
    s3.write("in.parquet")
    s3.write("spark/part-00000-abc.parquet", 10)
    s3.write("data/customers.parquet", 10)

    def run(output: str, **options: Any) -> None:
        bentobatch.run(
            bundles / "linear", input_file=s3.url("in.parquet"), output_file=s3.url(output), storage_options=s3.options,
            executor="inline", **options,
        )  # fmt: skip

    with pytest.raises(OutputError, match=r"part-00000-abc.*--overwrite"):
        run("spark")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"customers.parquet.*another prefix"):
            run("data", overwrite=overwrite)
    run("spark", overwrite=True)
    assert [key for key in s3.listing("spark") if "abc" in key] == []
    assert "data/customers.parquet" in s3.listing()


# -- the lease


def place(s3: Bucket, output: str = "out") -> Any:
    return place_at(s3.url(output))


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stale after 3 s; and owners count as processes of other hosts."""
    monkeypatch.setenv("BENTOBATCH_LEASE_SECONDS", "3")


def test_of_many_that_reach_for_a_stale_lease_one_gets_it(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The take-over is a conditional put: sixteen at once, from the same state, and exactly one holds it."""
    for stale in (False, True):
        if stale:
            monkeypatch.setattr(leases, "_is_free", lambda held: b"dead host" in held.data or b"released" in held.data)
            path = f"{s3.name}/out/_bentobatch/lease.json"
            s3.fs.pipe_file(path, json.dumps({"owner": "dead host", "renewed": 0, "seconds": 60}).encode())
        barrier = threading.Barrier(16)
        held: list[Any] = []
        refused: list[LockedError] = []

        def reach() -> None:
            barrier.wait()  # noqa: B023
            try:
                held.append(take_lease(place(s3), s3.options))  # noqa: B023
            except LockedError as error:
                refused.append(error)  # noqa: B023

        threads = [threading.Thread(target=reach) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(held), len(refused)) == (1, 15)
        held[0].check()
        held[0].release()


def test_a_second_host_is_refused_and_may_break_the_lock(s3: Bucket) -> None:
    """75, with the owner's name; ``--break-lock`` takes the lease, and the first owner cannot commit any more."""
    first = take_lease(place(s3), s3.options)
    with pytest.raises(LockedError, match=rf"{os.getpid()}.*--break-lock"):
        take_lease(place(s3), s3.options)
    second = take_lease(place(s3), s3.options, break_lock=True)
    with pytest.raises(LockedError, match="lost its lease"):
        first.check()
    first.release()  # must not end the lease of the second
    second.check()
    with pytest.raises(LockedError):
        clean(place(s3), storage_options=s3.options)
    second.release()
    take_lease(place(s3), s3.options).release()


def test_a_lease_is_renewed_and_goes_stale_without_renewal(
    s3: Bucket, short_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held longer than its time because it is renewed; free that time after the last renewal, by the server's clock."""
    monkeypatch.setattr(leases, "_machine", lambda: "")
    first = take_lease(place(s3), s3.options)
    time.sleep(4.5)
    with pytest.raises(LockedError):
        take_lease(place(s3), s3.options)
    first.forget()  # type: ignore[attr-defined]  # as if its host had died
    monkeypatch.setattr(
        leases, "time", SimpleNamespace(time=lambda: 0.0)
    )  # a host whose clock is wrong does not take it earlier or later
    with pytest.raises(LockedError):
        take_lease(place(s3), s3.options)
    time.sleep(4)
    taken = take_lease(place(s3), s3.options)
    with pytest.raises(LockedError):
        first.check()
    taken.release()


def test_a_wrong_lease_time_is_a_usage_error(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, for whatever is no positive number."""
    for text in ("soon", "-1", "0", "nan", "inf"):
        monkeypatch.setenv("BENTOBATCH_LEASE_SECONDS", text)
        with pytest.raises(UsageError, match="BENTOBATCH_LEASE_SECONDS"):
            take_lease(place(s3), s3.options)


def test_a_run_that_was_thought_dead_does_not_commit(s3: Bucket, bundles: Path) -> None:
    """Two hosts: the first is stopped (SIGSTOP) past its lease's time, the second takes over and commits; the first wakes
    and ends with 75, and the output is the second's."""
    frame, other = s3.write("in.parquet", 2000), s3.write("other.parquet", seed=8)
    output = ("--output-file", s3.url("out"), *FLAGS)
    slow = {"BENTOBATCH_TEST_SLEEP": "0.3", "BENTOBATCH_LEASE_SECONDS": "2"}
    first = start(s3, bundles / "linear", "--input-file", s3.url("in.parquet"), *output, "--executor", "inline", **slow)
    try:
        wait_for(lambda: any("/receipts/" in key for key in s3.listing()))
        second = (bundles / "linear", "--input-file", s3.url("other.parquet"), *output)
        refused = score(s3, *second)
        assert refused.returncode == 75, refused.stderr
        os.killpg(first.pid, signal.SIGSTOP)
        time.sleep(4)
        taken = score(s3, *second)
        assert taken.returncode == 0, taken.stderr
    finally:
        os.killpg(first.pid, signal.SIGCONT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 75, said
    assert "lost its lease" in said
    s3.check_secrets(said)
    check(s3.read("out"), other)
    assert len(frame) == 2000


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_fence_stands_right_before_the_commit(
    s3: Bucket, bundles: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is lost between the last byte's upload and the request that would make the output visible."""
    s3.write("in.parquet")
    monkeypatch.setattr(S3Objects, "part_bytes", 4096)
    broken: list[Any] = []

    def lose(number: int, method: str, path: str) -> None:
        last = (
            (method == "POST" and "?uploads" in path)
            if output.endswith("parquet")
            else ("/out/part-00002" in path and method == "PUT")
        )
        if last and not broken:
            broken.append(
                threading.Thread(
                    target=lambda: broken.append(take_lease(place(s3, output), s3.options, break_lock=True))
                )
            )
            broken[0].start()
            broken[0].join()

    with s3.server.faults(lose), pytest.raises(LockedError, match="lost its lease"):  # type: ignore[arg-type]
        bentobatch.run(
            bundles / "linear", input_file=s3.url("in.parquet"), output_file=s3.url(output), keep=["id"],
            storage_options=s3.options, executor="inline", **SPLIT,
        )  # fmt: skip
    assert not s3.present(output)
    assert not s3.uploads()
    broken[1].release()


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_changed_during_the_commit_is_not_replaced(
    s3: Bucket, bundles: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit itself is a conditional put: even past its fence a run cannot replace what it had not seen."""
    s3.write("in.parquet")
    key = f"{s3.name}/{output}" if output.endswith("parquet") else f"{s3.name}/{output}/_SUCCESS"
    checks: list[int] = []
    original = leases.BucketFence.check

    def check_and_let_another_commit(fence: leases.BucketFence) -> None:
        original(fence)
        checks.append(1)
        if len(checks) == 3:  # the driver's, the one before the rejects, and the one before the commit
            s3.fs.pipe_file(key, b"another run's")

    monkeypatch.setattr(leases.BucketFence, "check", check_and_let_another_commit)
    with pytest.raises(LockedError, match="changed by another run"):
        bentobatch.run(
            bundles / "linear", input_file=s3.url("in.parquet"), output_file=s3.url(output), storage_options=s3.options,
            executor="inline", **SPLIT,
        )  # fmt: skip
    assert s3.fs.cat_file(key) == b"another run's"


def test_an_input_that_changes_during_the_run_is_refused(
    s3: Bucket, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ETag is looked at before and after each split, so old and new rows never mix."""
    s3.write("in.parquet")
    from bentobatch.engine.session import Session

    plain = Session.run_split

    def change_then_run(session: Session, index: int, **options: Any) -> Any:
        if index == 1:
            s3.write("in.parquet", seed=8)
        return plain(session, index, **options)

    monkeypatch.setattr(Session, "run_split", change_then_run)
    with pytest.raises(DataError, match="changed"):
        bentobatch.run(
            bundles / "linear", input_file=s3.url("in.parquet"), output_file=s3.url("out"), storage_options=s3.options,
            executor="inline", **SPLIT,
        )  # fmt: skip
    assert not s3.present("out")


# -- requests that fail


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is tried again, neither by botocore nor by s3fs: the harder case, and the quicker one."""
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("fault", ["outage", "lost"])
def test_whichever_request_fails_the_output_is_whole_or_the_old_one(
    s3: Bucket, bundles: Path, output: str, fault: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every k: from the k-th request on all fail ("outage": nothing can be put in order either); or it alone is not
    answered ("lost": the server has done it). The run succeeds, or ends with an error of its own
    kind; a reader sees the old output or the new one; the same command then ends in the new one; and `clean` leaves the
    output alone."""
    monkeypatch.setattr(S3Objects, "part_bytes", 4096)  # multipart uploads for the single file
    old, new = s3.write("old.parquet", 100, seed=1), s3.write("new.parquet", 300, seed=2)

    def run(name: str, **options: Any) -> None:
        bentobatch.run(
            bundles / "linear", input_file=s3.url(f"{name}.parquet"), output_file=s3.url(output), keep=["id"],
            storage_options=s3.options, executor="inline", overwrite=True, split_rows=200, **options,
        )  # fmt: skip

    def at(k: int) -> Any:
        if fault == "outage":
            return lambda number, method, path: "error" if number >= k else None
        return lambda number, method, path: fault if number == k else None

    run("old")
    before = s3.snapshot()
    with s3.server.faults(None) as calls:
        run("new")
    total = len(calls)
    assert total > 20
    outcomes = {"succeeded": 0, "failed": 0}
    failed: dict[int, Exception] = {}
    stride = int(os.environ.get("BENTOBATCH_FAULT_STRIDE", "5"))
    for k in range(FIRST_FAULT[fault, output] % stride, total, stride):
        s3.restore(before, ("old.parquet", "new.parquet"))
        with s3.server.faults(at(k)):
            try:
                run("new")
                outcomes["succeeded"] += 1
            except (StorageError, LockedError, OutputError) as error:
                outcomes["failed"] += 1
                failed[k] = error
        ids = s3.read(output).column("id").to_pylist()
        assert ids in (old["id"].tolist(), new["id"].tolist()), k
        # the outage leaves the lease with a process that lives: this one
        run("new", break_lock=True)
        check(s3.read(output), new)
    print(total, outcomes)
    # every outage fails the run unless the output was there already; a lost answer may always be made good
    assert failed or fault == "lost"
    s3.check_secrets(*map(str, failed.values()))
    assert fault == "lost" or all(isinstance(error, StorageError) for error in failed.values())
    clean(place(s3, output), storage_options=s3.options)
    left = [key for key in s3.listing() if key not in ("old.parquet", "new.parquet")]
    assert all(key == "out.parquet" or key.startswith(("out/part-", "out/_SUCCESS")) for key in left), left
    check(s3.read(output), new)
    assert not s3.uploads()
    s3.check_secrets()


def test_a_single_failed_request_is_tried_again(s3: Bucket, bundles: Path) -> None:
    """As users have it, with botocore's retries: a 500 or a broken connection now and then is not noticed."""
    frame = s3.write("in.parquet")
    with s3.server.faults(lambda number, method, path: ("error", "reset")[number % 2] if number % 23 == 7 else None):
        bentobatch.run(
            bundles / "linear", input_file=s3.url("in.parquet"), output_file=s3.url("out"), keep=["id"],
            storage_options=s3.options, **SPLIT,
        )  # fmt: skip
    check(s3.read("out"), frame)


def test_a_bucket_that_does_not_answer_is_an_error_of_one_line(s3: Bucket, bundles: Path) -> None:
    """Exit 74 or 69 and no credential on stderr; a missing bucket is 73, and says so."""
    s3.write("in.parquet")
    arguments = (bundles / "linear", "--input-file", s3.url("in.parquet"), "--output-file")
    done = score(s3, *arguments, "s3://no-such-bucket-here/out", AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 73, done.stderr
    assert "no such bucket" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    gone = score(s3, *arguments, s3.url("out"), AWS_MAX_ATTEMPTS="1", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert gone.returncode in (69, 74), gone.stderr
    assert len(gone.stderr.splitlines()) == 1, gone.stderr


# -- what is left behind


def test_clean_removes_all_but_the_output(s3: Bucket, bundles: Path) -> None:
    """State, uncommitted parts and unfinished uploads of killed runs; not the output, not its neighbours, and not while a
    run holds the lease."""
    frame = s3.write("in.parquet")
    bentobatch.run(
        bundles / "linear", input_file=s3.url("in.parquet"), output_file=s3.url("out"), keep=["id"],
        storage_options=s3.options, **SPLIT,
    )  # fmt: skip
    whole = [key for key in s3.listing("out") if "_bentobatch" not in key]
    s3.fs.pipe_file(f"{s3.name}/out/part-00000-0123456789abcdef.parquet", b"of a commit that was killed")
    s3.fs.pipe_file(f"{s3.name}/out2/part-00000-0123456789abcdef.parquet", b"a neighbour's")
    for key in ("out/part-00001-0123456789abcdef.parquet", "out/_bentobatch/0123456789abcdef/parts/x", "out2/x"):
        s3.fs.call_s3("create_multipart_upload", Bucket=s3.name, Key=key)
    holder = take_lease(place(s3), s3.options)
    held = subprocess.run(command("clean", s3.url("out"), *s3.flags), capture_output=True, text=True, check=False)
    assert held.returncode == 75, held.stderr
    holder.release()
    done = subprocess.run(command("clean", s3.url("out"), *s3.flags), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 uncommitted parts" in done.stderr
    assert "2 unfinished uploads" in done.stderr
    s3.check_secrets(held.stderr, done.stderr)
    assert s3.listing("out") == whole
    assert s3.listing("out2") == ["out2/part-00000-0123456789abcdef.parquet"]
    assert [item["Key"] for item in s3.uploads()] == ["out2/x"]
    check(s3.read("out"), frame)
    again = subprocess.run(command("clean", s3.url("out"), *s3.flags), capture_output=True, text=True, check=False)
    assert "nothing to remove" in again.stderr
    assert s3.listing("out") == whole


def test_state_and_output_may_lie_on_different_sides(s3: Bucket, bundles: Path, tmp_path: Path) -> None:
    """A local --state-dir with an output in a bucket, and the other way round; and a rejects file in a bucket."""
    frame = s3.write("in.parquet")
    options: dict[str, Any] = {
        "input_file": s3.url("in.parquet"),
        "keep": ["id"],
        "storage_options": s3.options,
        **SPLIT,
    }
    (tmp_path / "state").mkdir()
    for output in OUTPUTS:
        bentobatch.run(bundles / "linear", output_file=s3.url(output), state_dir=tmp_path / "state", **options)
        check(s3.read(output), frame)
    assert not [key for key in s3.listing() if "_bentobatch" in key]
    bentobatch.run(bundles / "linear", output_file=tmp_path / "out.parquet", state_dir=s3.url("state"), **options)
    check(pq.read_table(tmp_path / "out.parquet"), frame)
    bentobatch.run(bundles / "linear", output_file=tmp_path / "out", state_dir=s3.url("state"), **options)
    check(pq.read_table(tmp_path / "out"), frame)
    s3.check_secrets()


def test_a_password_in_an_output_url_is_refused(s3: Bucket, bundles: Path) -> None:
    """It would stand in the plan and in every message; the message does not repeat it."""
    with pytest.raises(UsageError, match="--storage-option") as caught:
        place_at(f"ftp://user:{SECRET}@host/out.parquet")
    assert SECRET not in str(caught.value)
