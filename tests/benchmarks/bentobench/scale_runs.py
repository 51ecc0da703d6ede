"""This module measures one very long run, and one under a limit on memory that its input exceeds ten times."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bentobench import measure
from bentobench.data import SEED, made
from bentobench.models import model_folder
from bentobench.runners import ours
from bentobench.workloads import Size, Workload, build, scratch

FILES = 100
TEXTS = [f"text{index}" for index in range(5)]
FILE_BYTES = 256 << 20
_POOL = 1 << 22


def long_run(size: Size) -> dict[str, Any]:
    """A hundred hard links to W1L's file: 1e9 rows at scale 1, to a directory of parts; memory is sampled all along."""
    work = build("W1L", size)
    folder = scratch(size.root) / "links"
    folder.mkdir()
    for number in range(FILES):
        os.link(work.source, folder / f"events-{number:03d}.parquet")
    linked = Workload("LONG", "", FILES * work.rows, folder, work.model, work.bundle, ())
    runner = ours(linked, scratch(size.root), "dir")
    done = measure.run(runner.command, log=scratch(size.root) / "log.txt", memory=True, timeout=6 * 3600)
    if done.code:
        raise SystemExit(f"the long run ended with {done.code}\n{done.output}")
    rows, last = 0, -1
    for part in sorted(runner.output.glob("*.parquet")):
        ids = pq.read_table(part, columns=["id"])["id"].to_numpy()
        # the ids of each link are 0, 1, 2 …; one that does not follow its predecessor is the first of the next link
        follows = np.diff(ids, prepend=last) == 1
        if not np.all(follows | (ids == 0)):
            raise SystemExit(f"{part.name}: its ids are out of order")
        rows, last = rows + len(ids), int(ids[-1])
    if rows != linked.rows:
        raise SystemExit(f"the output has {rows:,} rows, not {linked.rows:,}")
    told = runner.told()
    runner.fresh()
    return {"rows": rows, "files": FILES, "splits": told["splits"], "seconds": told["seconds"], **_taken(done)}


def limited_run(root: Path, total: int, limit: int, *, by: str = "auto") -> dict[str, Any]:
    """``total`` bytes of wide texts scored with at most ``limit`` bytes of memory."""
    folder, (rows, characters, written) = texts(root, total)
    model = model_folder(root, "text_length")
    work = Workload("MEMORY", "", rows, folder, model, model / "bundle", ())
    runner = ours(work, scratch(root), "dir")
    with limits(limit, by) as (words, how):
        done = measure.run([*words, *runner.command], log=scratch(root) / "log.txt", memory=True, timeout=6 * 3600)
    if done.code:
        raise SystemExit(f"the run under {how} ended with {done.code}\n{done.output}")
    scored = pq.read_table(runner.output, columns=["id", "prediction"])
    if scored.num_rows != rows or int(np.sum(scored["prediction"].to_numpy())) != characters:
        raise SystemExit(f"the output has {scored.num_rows:,} of {rows:,} rows, or other values")
    told = runner.told()
    runner.fresh()
    return {
        "bytes": written,
        "limit": limit,
        "how": how,
        "rows": rows,
        "executor": told["executor"],
        "workers": told["workers"],
        "seconds": told["seconds"],
        **_taken(done),
    }


def texts(root: Path, total: int) -> tuple[Path, tuple[int, int, int]]:
    """The folder of wide texts, made if it is not there, and what ``wide_texts`` told of it."""
    path = root / "data" / f"texts-{total}"
    facts = path.with_name(f"{path.name}.facts.json")

    def make(folder: Path) -> None:
        folder.mkdir()
        facts.write_text(json.dumps(wide_texts(folder, total)))

    made(path, {"bytes": total, "file": FILE_BYTES}, make)
    rows, characters, written = json.loads(facts.read_text())
    return path, (rows, characters, written)


def wide_texts(folder: Path, total: int) -> tuple[int, int, int]:
    """Files of about 256 MiB with five wide texts a row, of 100 to 700 characters and a few of 20,000, which neither
    compress nor repeat; (rows, characters, bytes)."""
    random = np.random.default_rng([SEED, 5])
    rows = characters = written = 0
    for number in range(max(1, round(total / FILE_BYTES))):
        pool = random.bytes(_POOL // 2).hex()
        with pq.ParquetWriter(
            folder / f"texts-{number:04d}.parquet", _schema(), compression="none", use_dictionary=False
        ) as writer:
            of_file = 0
            while of_file < min(FILE_BYTES, total - written):
                count = 16_384
                columns: dict[str, Any] = {"id": np.arange(rows, rows + count)}
                for name in TEXTS:
                    lengths = random.integers(100, 700, count)
                    lengths[random.integers(0, count, 8)] = 20_000
                    starts = random.integers(0, _POOL - 20_000, count)
                    columns[name] = [pool[at : at + length] for at, length in zip(starts, lengths, strict=True)]
                    of_file += int(lengths.sum())
                    characters += int(lengths.sum())
                writer.write_table(pa.table(columns, schema=_schema()))
                rows += count
        written += of_file
        if written >= total:
            break
    return rows, characters, written


@contextlib.contextmanager
def limits(limit: int, by: str) -> Iterator[tuple[list[str], str]]:
    """Words to put before a command, and how they limit it: a control group for the whole tree where one can be made, else
    RLIMIT_DATA (all that a process may write to), or RLIMIT_AS if asked for, for each process."""
    group = _control_group(limit) if by in {"auto", "cgroup"} else None
    if group is None and by == "cgroup":
        raise SystemExit("no control group with a memory limit can be made here")
    if group is not None:
        code = f"import os, sys; open({str(group / 'cgroup.procs')!r}, 'w').write('0'); os.execv(sys.argv[1], sys.argv[1:])"
        try:
            yield [sys.executable, "-c", code], f"a control group of {limit >> 20} MiB for the whole process tree"
        finally:
            _removed(group)
        return
    name = "RLIMIT_AS" if by == "as" else "RLIMIT_DATA"
    assert hasattr(resource, name)
    code = (
        f"import os, resource as r, sys; r.setrlimit(r.{name}, ({limit}, {limit})); os.execv(sys.argv[1], sys.argv[1:])"
    )
    yield [sys.executable, "-c", code], f"{name} of {limit >> 20} MiB for each process"


def _control_group(limit: int) -> Path | None:
    """A control group of our own with that limit, of version 2 or 1; None where this user cannot make one."""
    for root, setting in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        group = root / f"bentobatch-bench-{os.getpid()}"
        if not (root / "cgroup.procs").exists() or not os.access(root, os.W_OK):
            continue
        try:
            group.mkdir()
            if (group / setting).exists():
                (group / setting).write_text(str(limit))
                return group
            group.rmdir()
        except OSError:
            continue
    return None


def _removed(group: Path) -> None:
    """Remove a group when the kernel has seen the end of its last process."""
    for _ in range(100):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.05)
    print(f"could not remove {group}")


def _schema() -> pa.Schema:
    return pa.schema([("id", pa.int64()), *((name, pa.string()) for name in TEXTS)])


def _taken(done: measure.Measured) -> dict[str, Any]:
    return {name: value for name, value in asdict(done).items() if name in {"wall", "cpu", "peak_mb", "others"}}
