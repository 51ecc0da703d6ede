"""This module tests that no input file is ever unpickled, whatever it is called and whatever its metadata say (S07, S08)."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.cli.main import main
from bentobatch.errors import BentobatchError, DataError, UsageError
from bentobatch.plugins import TABLES
from bentobatch.runs import run


class Canary:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


PROGRAMS = ("bentobatch.__main__", "bentobatch.repository.migrations.env")
"""Modules that do their work when they are imported; the second is Alembic's to run."""


@pytest.fixture(autouse=True)
def all_of_bentobatch() -> None:
    """CVE-2026-41486: Ray's own registered types unpickled, so everything of ours is imported before a file is read."""
    for module in pkgutil.walk_packages(bentobatch.__path__, "bentobatch."):
        if module.name not in PROGRAMS:
            importlib.import_module(module.name)


EXTENSIONS = [
    "arrow.py_extension_type",
    "ray.data.arrow_tensor",
    "ray.data.arrow_pickled_object",
    "ray.data.arrow_variable_shaped_tensor",
    "pandas.interval",
    "pandas.period",
    "arrow.fixed_shape_tensor",
    "bentobatch.model",
]


def table(canary: Path, extension: str) -> Any:
    """x0, x1 and x2, whose fields and schema say that a pickle must be loaded to read them."""
    packed = pickle.dumps(Canary(canary))
    metadata = {"ARROW:extension:name": extension, "ARROW:extension:metadata": packed}
    schema = pa.schema(
        [pa.field(f"x{i}", pa.float64(), metadata=metadata) for i in range(3)],
        metadata={"pandas": packed, "ARROW:extension:metadata": packed},
    )
    return pa.Table.from_arrays([pa.array([0.5, 1.5])] * 3, schema=schema)


def write(rows: Any, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
    elif path.suffix == ".orc":
        pyarrow.orc.write_table(rows, path)
    else:
        make = pyarrow.ipc.new_stream if path.name.startswith("stream") else pyarrow.ipc.new_file
        with make(str(path), rows.schema) as sink:
            sink.write_table(rows)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream.arrow", "x.feather", "x.orc"])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_pickled_extension_type_is_not_run(extension: str, name: str, bundles: Path, tmp_path: Path) -> None:
    """S07: the file is scored by its plain values or refused, in this process and with all of bentobatch imported."""
    canary = tmp_path / "canary"
    write(table(canary, extension), tmp_path / name)
    job = {"input_file": tmp_path / name, "output_file": tmp_path / "o.jsonl", "executor": "inline"}
    with contextlib.suppress(DataError):
        assert run(bundles / "linear", **job).scored == 2
    assert not canary.exists()


def test_the_command_line_does_not_run_one_either(bundles: Path, tmp_path: Path, capfd: Any) -> None:
    """S07, in its child process."""
    canary = tmp_path / "canary"
    write(table(canary, "arrow.py_extension_type"), tmp_path / "x.parquet")
    assert main(["run", str(bundles / "linear"), "--input-file", str(tmp_path / "x.parquet"), "--quiet"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2
    assert not canary.exists()


def test_no_extension_type_is_registered_by_bentobatch() -> None:
    """An extension type's own reader would be Python that runs for every file of its name."""
    for name in ("bentobatch", "bentobatch.model", "bentobatch.tensor"):
        with pytest.raises(pa.ArrowKeyError):
            pa.unregister_extension_type(name)


def hostile_bytes(canary: Path) -> dict[str, bytes]:
    array = io.BytesIO()
    np.save(array, np.array([Canary(canary)], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, x=np.array([Canary(canary)], dtype=object))
    text = pickle.dumps(Canary(canary), protocol=0)
    return {"pickle": pickle.dumps(Canary(canary)), "npy": array.getvalue(), "npz": archive.getvalue(), "text": text}


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".npy", ".npz", ".joblib", ".pt", ".dill", ".pkl.gz"])
def test_a_pickle_given_as_input_is_refused_by_its_extension(suffix: str, bundles: Path, tmp_path: Path) -> None:
    """S08: there is no reader for it."""
    canary = tmp_path / "canary"
    for data in hostile_bytes(canary).values():
        (tmp_path / f"x{suffix}").write_bytes(data)
        with pytest.raises(UsageError, match="its extension tells no format"):
            run(bundles / "linear", input_file=tmp_path / f"x{suffix}", output_file=tmp_path / "o.jsonl")
    assert not canary.exists()


def test_the_command_line_refuses_one_with_exit_2(bundles: Path, tmp_path: Path, capfd: Any) -> None:
    """S08: the same in its child process."""
    (tmp_path / "x.pkl").write_bytes(hostile_bytes(tmp_path / "canary")["pickle"])
    assert main(["run", str(bundles / "linear"), "--input-file", str(tmp_path / "x.pkl")]) == 2
    assert "its extension tells no format" in capfd.readouterr().err
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("format", sorted(TABLES["formats"]))
@pytest.mark.parametrize("kind", ["pickle", "npy", "npz", "text"])
def test_a_pickle_under_another_formats_name_is_read_as_that_format(
    format: str, kind: str, bundles: Path, tmp_path: Path
) -> None:
    """S08: it is broken data to every reader, and none looks into it to find out what it is."""
    canary = tmp_path / "canary"
    path = tmp_path / "x.pkl"
    path.write_bytes(hostile_bytes(canary)[kind])
    with pytest.raises(BentobatchError):
        run(
            bundles / "linear",
            input_file=path,
            format=format,
            output_file=tmp_path / "o.jsonl",
            executor="inline",
        )
    assert not canary.exists()


def test_a_pickle_in_a_value_stays_text(bundles: Path, tmp_path: Path) -> None:
    """Neither inline nor in a column."""
    canary = tmp_path / "canary"
    text = pickle.dumps(Canary(canary), protocol=0).decode("ascii")
    (tmp_path / "x.jsonl").write_text(json.dumps({"x0": 1.0, "t": text}) + "\n")
    report = run(
        bundles / "picky",
        "single",
        input_file=tmp_path / "x.jsonl",
        output_file=tmp_path / "o.jsonl",
        executor="inline",
    )
    assert report.scored == 1
    run(bundles / "picky", "shout", input=text.split("\n")[0], output_file=tmp_path / "p.jsonl", executor="inline")
    assert not canary.exists()


def test_the_canary_sings(tmp_path: Path) -> None:
    """So that the tests above can fail."""
    for number, data in enumerate(hostile_bytes(tmp_path / "canary").values()):
        if number in (0, 3):
            pickle.loads(data)
        else:
            loaded = np.load(io.BytesIO(data), allow_pickle=True)
            _ = loaded if number == 1 else loaded["x"]
        (tmp_path / "canary").rmdir()
