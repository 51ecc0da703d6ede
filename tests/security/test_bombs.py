"""This module measures what small files cost that claim to hold, or unpack to, hundreds of megabytes (S32).

The peak is that of the largest process of a run, by getrusage in a process of its own. What it may cost is
MAX_RECORD_BYTES, twice (a block is read on until a record ends), some seven times over (the masks of numpy, the copies
of the parser), beside the 250 MiB that pyarrow, pandas and scikit-learn take by themselves.
"""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentobatch.formats.text_source import MAX_RECORD_BYTES

ROOT = Path(__file__).parents[2]
BOUND = 14 * MAX_RECORD_BYTES + (300 << 20)
LINE = 300 << 20

_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
unit = 1 if sys.platform == "darwin" else 1024
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit)
sys.stderr.write(done.stderr)
"""


def cost_of_run(bundle: Path, api: str, path: Path) -> tuple[int, int, str]:
    """The exit code, the peak (bytes) and stderr of `bentobatch run` over the file."""
    words = ["run", str(bundle), api, "--input-file", str(path), "--output-file", str(path.parent / "out.jsonl")]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable, "-m", "bentobatch", *words, "--quiet", "--executor", "inline"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    code, peak = done.stdout.split()
    return int(code), int(peak), done.stderr


def gzipped(path: Path, head: bytes, tail: bytes) -> None:
    with gzip.open(path, "wb") as file:
        file.write(head)
        for _ in range(LINE >> 20):
            file.write(b"1" * (1 << 20))
        file.write(tail)
    assert path.stat().st_size < 400_000


def csv_line(path: Path) -> None:
    gzipped(path, b"x0,x1,x2\n1,2,3\n", b",2,3\n4,5,6\n")


def csv_quoted(path: Path) -> None:
    gzipped(path, b'x0,x1,x2\n1,2,3\n"', b'",2,3\n4,5,6\n')


def json_line(path: Path) -> None:
    gzipped(path, b'{"x0":1}\n{"x0":2,"t":"', b'"}\n{"x0":3}\n')


def text_line(path: Path) -> None:
    gzipped(path, b"a\n", b"\nb\n")


def without_an_end(path: Path) -> None:
    gzipped(path, b"x0,x1,x2\n", b"")


def huge_footer(path: Path) -> None:
    """A footer of 2 GiB, in a file that has them, as a hole."""
    with path.open("wb") as file:
        file.write(b"PAR1")
        file.truncate(3 << 30)
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<I", 0x7FFFFF00) + b"PAR1")


def footer_beyond_the_file(path: Path) -> None:
    pq.write_table(pa.table({"x0": [1.0], "x1": [1.0], "x2": [1.0]}), path)
    path.write_bytes(path.read_bytes()[:-8] + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "name", "bundle", "api"),
    [
        (csv_line, "x.csv.gz", "linear", "predict"),
        (csv_quoted, "x.csv.gz", "linear", "predict"),
        (without_an_end, "x.csv.gz", "linear", "predict"),
        (json_line, "x.jsonl.gz", "picky", "single"),
        (text_line, "x.txt.gz", "picky", "shout"),
        (huge_footer, "x.parquet", "linear", "predict"),
        (footer_beyond_the_file, "x.parquet", "linear", "predict"),
    ],
)
def test_a_bomb_is_refused_in_one_line_within_bounded_memory(
    make: Callable[[Path], None], name: str, bundle: str, api: str, bundles: Path, tmp_path: Path
) -> None:
    """Exit 65; 300 kB on the disk never cost gigabytes."""
    make(tmp_path / name)
    code, peak, err = cost_of_run(bundles / bundle, api, tmp_path / name)
    assert (code, err.count("\n")) == (65, 1), err
    assert name in err
    assert peak < BOUND, f"{peak >> 20} MiB"


@pytest.mark.slow
def test_many_rows_of_one_value_are_scored_within_bounded_memory(bundles: Path, tmp_path: Path) -> None:
    """Three million rows in some kilobytes of Parquet, in a single row group."""
    ones = pa.array([1.0]).take(pa.array([0] * 3_000_000, pa.int32()))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(dict.fromkeys(("x0", "x1", "x2"), ones)), path, compression="zstd", row_group_size=1 << 30)
    assert path.stat().st_size < 100_000
    code, peak, err = cost_of_run(bundles / "linear", "predict", path)
    assert code == 0, err
    assert peak < BOUND, f"{peak >> 20} MiB"
