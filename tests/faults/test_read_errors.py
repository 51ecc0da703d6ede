"""A disk or network that fails in mid-file is an I/O error; the rerun goes on from the finished splits."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

import bentobatch
from bentobatch.errors import StorageError


class FailingFile(MemoryFile):
    """Reads beyond ``FailingFileSystem.bad_from`` bytes fail, as a bad sector does."""

    def read(self, size: int | None = -1) -> bytes:
        return self._unless_bad(super().read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        return self._unless_bad(super().readinto(buffer))

    def _unless_bad(self, result: Any) -> Any:
        if FailingFileSystem.bad_from is not None and self.tell() > FailingFileSystem.bad_from:
            raise OSError(errno.EIO, "Input/output error")
        return result


class FailingFileSystem(MemoryFileSystem):
    """fsspec's memory file system, with bad sectors."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    bad_from: ClassVar[int | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("failing://", "memory://")))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        found = super()._open(path, mode, **options)
        if mode != "rb":
            return found
        return FailingFile(self, path, found.getvalue())


@pytest.fixture
def failing() -> Iterator[type[FailingFileSystem]]:
    fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
    FailingFileSystem.store.clear()
    FailingFileSystem.bad_from = None
    yield FailingFileSystem
    FailingFileSystem.bad_from = None


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_read_error_in_mid_file_is_an_io_error_and_the_rerun_goes_on(
    bundles: Path, tmp_path: Path, failing: type[FailingFileSystem], format: str
) -> None:
    """Exit 74, one line that names the file, no output; once the disk is well, only the rest is scored."""
    rows = 4000
    values = np.arange(rows, dtype=float)
    if format == "csv":
        text = "x0,x1,x2\n" + "".join(f"{value},{value},{value}\n" for value in values)
    else:
        text = "".join(f'{{"x0":{value},"x1":{value},"x2":{value}}}\n' for value in values)
    with failing().open(f"failing://data/in.{format}", "wb") as file:
        file.write(text.encode())
    options: dict[str, Any] = {
        "input_file": f"failing://data/in.{format}",
        "output_file": tmp_path / "o.parquet",
        "split_rows": 500,
        "executor": "inline",
    }
    calm = bentobatch.run(bundles / "linear", **{**options, "output_file": tmp_path / "calm.parquet"})
    assert calm.rows == rows

    def go_bad(progress: Any) -> None:  # planning has read the whole text by then
        if progress.stage == "score" and progress.splits_done >= 2:
            failing.bad_from = len(text) // 2

    with pytest.raises(StorageError, match=rf"in\.{format}.*Input/output error") as caught:
        bentobatch.run(bundles / "linear", **options, on_progress=go_bad)
    assert caught.value.exit_code == 74
    assert not (tmp_path / "o.parquet").exists()
    failing.bad_from = None
    report = bentobatch.run(bundles / "linear", **options)
    assert 1000 <= report.rows_reused < rows
    assert pq.read_table(tmp_path / "o.parquet").equals(pq.read_table(tmp_path / "calm.parquet"))


def test_a_read_error_in_a_parquet_file_is_an_io_error(
    bundles: Path, tmp_path: Path, failing: type[FailingFileSystem]
) -> None:
    """The same through pyarrow's own reader."""
    values = np.random.default_rng(1).normal(size=20_000)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x0": values, "x1": values, "x2": values}), sink, row_group_size=1000)
    data = sink.getvalue().to_pybytes()
    with failing().open("failing://data/in.parquet", "wb") as file:
        file.write(data)

    def go_bad(progress: Any) -> None:
        if progress.stage == "score" and progress.splits_done >= 2:
            failing.bad_from = 100

    with pytest.raises(StorageError, match=r"in\.parquet.*Input/output error"):
        bentobatch.run(
            bundles / "linear", input_file="failing://data/in.parquet", output_file=tmp_path / "o.parquet",
            split_rows=2000, executor="inline", on_progress=go_bad,
        )  # fmt: skip
    assert not (tmp_path / "o.parquet").exists()
