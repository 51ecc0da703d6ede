"""This module knows the executors that must all end in the same output, and the service that lets a test stop them midway."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.engine.report import RunReport
from tests.conftest import feature_frame

EXECUTORS = ("inline", "threads", "processes", "pool", "dask", "spark", "celery")
SPLITS = 8
SPLIT_ROWS = 50
BAD_ROWS = (0, 77, 333)
DEADLINE = 240.0
SAME = (
    "plan_id",
    "bundle",
    "bundle_digest",
    "api",
    "output",
    "rejects_file",
    "rows",
    "scored",
    "rejected",
    "discarded",
    "files",
    "splits",
    "features",
    "feature_rule",
)
"""What reports of the same job agree on, whoever scored it."""

SERVICES = '''
import os
import sys
import time
from pathlib import Path

import numpy as np

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.pickle import PickleArtifact

FEATURES = DataframeInput(columns=["x0", "x1", "x2"])


@bentobatch.artifacts([PickleArtifact("options")])
class Gated(bentobatch.BentoService):
    """x0 - 2 x1 + 0.5 x2. Tells a folder which process scores; while the file "pass" is there, so many calls come through
    as it says, and those after them wait. Calls that measure the api, as planning makes on a busy machine, do not count."""

    @bentobatch.api(input=FEATURES, batch=True, output_schema={"prediction": "float64"})
    def predict(self, df):
        frame = sys._getframe()
        while frame is not None:
            if frame.f_globals.get("__name__") == "bentobatch.engine.cost":
                return df.to_numpy() @ np.array([1.0, -2.0, 0.5])
            frame = frame.f_back
        folder = Path(self.artifacts.options["folder"])
        with open(folder / "calls", "ab", buffering=0) as calls:
            calls.write(f"{os.getpid()} {os.getppid()} {len(df)}\\n".encode())
            written = calls.tell()  # others may have written after it
        gate = folder / "pass"
        if gate.exists() and len((folder / "calls").read_bytes()[:written].splitlines()) > int(gate.read_text()):
            with open(folder / "held", "ab", buffering=0) as held:
                held.write(f"{os.getpid()} {os.getppid()}\\n".encode())
            while gate.exists():
                time.sleep(0.02)
        if (df["x0"] == -1).any():
            raise ValueError("x0 is -1")
        return df.to_numpy() @ np.array([1.0, -2.0, 0.5])
'''


@dataclass(frozen=True)
class Gate:
    """The bundle of the service Gated, and the folder by which it and the tests talk."""

    folder: Path
    bundle: Path

    def shut(self, after: int) -> None:
        """Let so many calls through, counted from now, and let the others wait."""
        self.open()
        (self.folder / "next").write_text(str(after))
        (self.folder / "next").rename(self.folder / "pass")  # at once: a service never sees it empty

    def open(self) -> None:
        """Let those who wait go on, and forget all calls."""
        self.release()
        for name in ("calls", "held"):
            (self.folder / name).unlink(missing_ok=True)

    def release(self) -> None:
        """Let those who wait go on."""
        (self.folder / "pass").unlink(missing_ok=True)

    def calls(self) -> list[list[int]]:
        """Pid, parent and rows of each call."""
        return self._lines("calls")

    def held(self) -> list[list[int]]:
        """Pid and parent of each call that had to wait."""
        return self._lines("held")

    def _lines(self, name: str) -> list[list[int]]:
        path = self.folder / name
        # a line is written by one call, and a reader may see none of it or all
        return [[int(part) for part in line.split()] for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Fleet:
    """An executor with whatever it needs, started once. ``made`` gives what ``run`` takes as executor: a name, or a
    scheduler for one run. ``leader`` are the keywords by which a process of its own reaches it. ``with_storage`` lets its
    workers have storage options while the context lasts. ``outlives``: the workers of a leader that was killed go on with
    what they were given."""

    name: str
    made: Callable[[], Any]
    leader: Mapping[str, Any] = field(default_factory=dict)
    with_storage: Callable[[Mapping[str, Any]], AbstractContextManager[None]] = lambda _: nullcontext()
    outlives: bool = False

    def run(self, gate: Gate, *, isolated: bool = False, **options: Any) -> RunReport:
        """Score with the bundle of ``gate``. ``isolated``: for local executors, so that a test may kill who scores."""
        return bentobatch.run(gate.bundle, executor=self.made(), workers=self.workers, isolated=isolated, **options)

    @property
    def workers(self) -> int | None:
        """Two, wherever it is for the run to say."""
        return 2 if self.name in {"threads", "processes"} else None


def write_input(path: Path, *, bad_rows: tuple[int, ...] = ()) -> Path:
    """A Parquet file of eight row groups: id, x0, x1, x2. The model rejects the rows ``bad_rows``."""
    frame = feature_frame(SPLITS * SPLIT_ROWS)
    frame.insert(0, "id", range(len(frame)))
    frame.loc[list(bad_rows), "x0"] = -1.0
    frame.to_parquet(path, index=False, row_group_size=SPLIT_ROWS)
    return path


def read_output(path: Path) -> list[Any]:
    """All that a reader of an output can see of it, file by file and in order: names, schemas with metadata, values."""
    if path.is_dir():
        named = json.loads((path / "_SUCCESS").read_text())["parts"]
        assert named
        return [(name, *_read_file(path / name)) for name in named]
    return [(path.name, *_read_file(path))]


def rows_of(seen: list[Any]) -> pa.Table:
    """The rows of an output that ``read_output`` has read."""
    return pa.concat_tables([table for *_, table in seen])


def _read_file(path: Path) -> tuple[Any, pa.Table]:
    if path.suffix == ".csv":
        return path.read_bytes(), pyarrow.csv.read_csv(path)
    if path.suffix == ".jsonl":
        return path.read_bytes(), pyarrow.json.read_json(path)
    table = pa.ipc.open_file(path).read_all() if path.suffix == ".arrow" else pq.read_table(path)
    return (table.schema.to_string(show_schema_metadata=True), dict(table.schema.metadata or {})), table


def need(module: str, *, extra: str) -> None:
    """Skip the test where a library is absent; in CI it must be there."""
    if importlib.util.find_spec(module) is not None:
        return
    absent = f"the library {module} is not installed: pip install bentobatch[{extra}]"
    if os.environ.get("CI"):
        pytest.fail(absent)
    pytest.skip(absent)


def free_port() -> int:
    """A port of the loopback interface that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], *, told: str) -> Any:
    """What ``condition`` returns once it is true; ``told`` says in the failure what did not happen."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen: {told}"
        time.sleep(0.03)
    return found
