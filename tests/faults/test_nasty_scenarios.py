"""Bad places: outputs that cannot be made, disks that fill, models that break their contract; each is one line and a code."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.nasty import parquet, rows, table, truth

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).resolve().parents[2]


def bentobatch(*words: str, memory: int | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """``bentobatch WORDS`` as a process; ``memory`` is its RLIMIT_AS in MiB."""

    def bound() -> None:
        assert memory is not None
        resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))

    return subprocess.run(
        [sys.executable, "-m", "bentobatch", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=None if memory is None else bound,
    )


def refused(done: subprocess.CompletedProcess[bytes], code: int, says: str) -> None:
    """One line of stderr with ``says`` in it, and this exit code."""
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert said.count("\n") == 1, said
    assert says in said
    assert "Traceback" not in said


@pytest.fixture
def source(tmp_path: Path) -> Path:
    parquet(tmp_path / "in.parquet", rows(100))
    return tmp_path / "in.parquet"


def score(bundle: Path, source: Path | str, output: Path | str, *more: str, api: str = "predict", **how: object):  # type: ignore[no-untyped-def]
    """Score ``source`` into ``output``, keeping ids."""
    words = [
        "run",
        str(bundle),
        api,
        f"--input-file={source}",
        f"--output-file={output}",
        "--keep=id",
        "--quiet",
        *more,
    ]
    return bentobatch(*words, **how)  # type: ignore[arg-type]


def test_an_existing_output_is_left_alone(weighted: Path, source: Path, tmp_path: Path) -> None:
    """(scenario) out_exists: 73 without --overwrite, and the old file untouched."""
    output = tmp_path / "out.parquet"
    output.write_bytes(b"precious")
    refused(score(weighted, source, output), 73, "exists")
    assert output.read_bytes() == b"precious"


def test_a_directory_in_the_place_of_an_output_file_is_refused(weighted: Path, source: Path, tmp_path: Path) -> None:
    """(scenario) out_is_dir."""
    output = tmp_path / "out.parquet"
    output.mkdir()
    (output / "mine").write_text("precious")
    for more in ([], ["--overwrite"]):
        refused(score(weighted, source, output, *more), 73, "directory")
    assert (output / "mine").read_text() == "precious"


def test_an_output_whose_folder_is_missing_is_refused(weighted: Path, source: Path, tmp_path: Path) -> None:
    """(scenario) out_parent_missing: folders are not made, since a misspelled path would be too."""
    refused(score(weighted, source, tmp_path / "no" / "out.parquet"), 73, "No such")
    assert not (tmp_path / "no").exists()


def test_a_missing_input_and_an_unknown_scheme_are_refused(weighted: Path, tmp_path: Path) -> None:
    """(scenario) missing_input, unknown_scheme."""
    output = tmp_path / "out.parquet"
    refused(score(weighted, tmp_path / "gone.parquet", output), 66, "No such")
    refused(score(weighted, "s4://bucket/x.parquet", output), 2, "scheme")
    assert not output.exists()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/dev/random"])
def test_a_device_is_no_input(weighted: Path, tmp_path: Path, device: str) -> None:
    """(scenario) dev_zero: no endless read."""
    refused(score(weighted, device, tmp_path / "out.parquet", "--format=csv"), 65, "regular file")


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_pipe_is_no_output(weighted: Path, source: Path, form: str) -> None:
    """(scenario) output_to_pipe: a commit is a rename, which pipes do not have; JSON lines to stdout need no path."""
    refused(score(weighted, source, "/dev/stdout", f"--output-format={form}"), 73, "regular")


def test_a_reader_that_leaves_early_is_no_error(weighted: Path, tmp_path: Path) -> None:
    """(scenario) stdout_closed: as in `bentobatch run … | head -1`."""
    parquet(tmp_path / "in.parquet", rows(50_000))
    command = f'"{sys.executable}" -m bentobatch run "{weighted}" predict --input-file in.parquet --quiet | head -1'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=env, capture_output=True, timeout=60)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("api", "says"),
    [("short", "returned"), ("sys_exit", "exit"), ("os_exit", "ended"), ("raises", "every one of 100 rows")],
)
def test_a_model_that_breaks_its_contract_is_code_70(
    weighted: Path, source: Path, tmp_path: Path, api: str, says: str
) -> None:
    """(scenario) model_returns_short, model_sys_exit: never misaligned, and never a success."""
    done = score(weighted, source, tmp_path / "out.parquet", api=api)
    assert done.returncode == 70, done.stderr
    last = done.stderr.decode().splitlines()[-1]
    assert says in last
    assert "Traceback" not in done.stderr.decode()
    assert not (tmp_path / "out.parquet").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("only root may mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_full_disk_stops_the_run_and_freed_space_lets_it_go_on(
    weighted: Path, tmp_path: Path, small_disk: Path
) -> None:
    """(scenario) disk_full: 74 in one line, the old output untouched, and the same command ends well later."""
    many = rows(300_000)
    parquet(tmp_path / "in.parquet", many)
    output = small_disk / "out.parquet"
    output.write_bytes(b"precious")
    refused(score(weighted, tmp_path / "in.parquet", output, "--overwrite"), 74, "No space left")
    assert output.read_bytes() == b"precious"
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert score(weighted, tmp_path / "in.parquet", output, "--overwrite").returncode == 0
    found = pq.read_table(output)
    assert list(zip(found["id"].to_pylist(), found["prediction"].to_pylist(), strict=True)) == truth(many)


def test_a_large_row_group_is_scored_in_little_memory(weighted: Path, tmp_path: Path) -> None:
    """(scenario) low_mem: 640 MB of features in one row group, where the process may have 600 MB beside its libraries."""
    count = 20_000_000
    constant = {name: pa.repeat(1.5, count) for name in ("x0", "x1", "x2")}
    whole = pa.table({**constant, "id": pa.repeat(7, count)})
    pq.write_table(whole, tmp_path / "in.parquet", row_group_size=count)
    del whole
    output = tmp_path / "out.parquet"
    words = ["run", str(weighted), "predict", "--input-file=in.parquet", f"--output-file={output}", "--quiet"]
    done = bentobatch(*words, memory=2100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(output).num_rows == count


def test_ints_with_nulls_reach_a_model_that_declares_no_types(weighted: Path, tmp_path: Path) -> None:
    """A null in an integer column is missing and not 0, and large integers beside it stay exact."""
    plain = table(rows(4), x0=pa.array([1, None, 2**60 + 1, None], pa.int64()))
    pq.write_table(plain, tmp_path / "in.parquet")
    done = score(weighted, tmp_path / "in.parquet", tmp_path / "out.parquet", api="undeclared")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out.parquet")["prediction"].to_pylist() == [0.0, 1.0, 0.0, 1.0]
