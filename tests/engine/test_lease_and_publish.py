"""One run at a time, and an output that changes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import bentobatch
from bentobatch.engine.lease import FileLease, take_lease
from bentobatch.engine.local_crew import LocalCrew
from bentobatch.engine.place import Place
from bentobatch.engine.publish import check_place, publish
from bentobatch.errors import LockedError, OutputError, StorageError
from tests.engine.test_promises import write_input


def place(output: Path, *, single: bool = True) -> Place:
    state = output.parent / f".{output.name}.bentobatch"
    return Place(str(output), "parquet", single, str(state), f"{output}.rejects.parquet")


def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """The message names who holds the output."""
    where = place(tmp_path / "out.parquet")
    with take_lease(where):
        with pytest.raises(LockedError, match=str(os.getpid())):
            take_lease(where)
        with pytest.raises(LockedError):
            take_lease(where)
    take_lease(where).release()


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """A worker that outlives its leader must not keep the output locked."""
    where = place(tmp_path / "out.parquet")
    lease = take_lease(where)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    lease.release()
    try:
        take_lease(where).release()
    finally:
        child.kill()
        child.wait()


def test_a_folder_is_exchanged_while_a_reader_looks_on(tmp_path: Path) -> None:
    """At every instant the reader sees all old or all new files."""
    output = tmp_path / "out"
    where = place(output, single=False)
    seen: set[str] = set()
    ended = threading.Event()

    def make(version: str) -> Path:
        staged = tmp_path / f"staged-{version}"
        staged.mkdir()
        for name in ("a", "b"):
            (staged / name).write_text(version)
        return staged

    publish(make("0"), where)

    def read() -> None:
        while not ended.is_set():
            folder = os.open(output, os.O_RDONLY)
            try:
                texts = []
                for name in ("a", "b"):
                    handle = os.open(name, os.O_RDONLY, dir_fd=folder)
                    texts.append(os.read(handle, 10).decode())
                    os.close(handle)
                seen.add("/".join(texts))
            except FileNotFoundError:
                seen.add("removed while open")
            finally:
                os.close(folder)

    reader = threading.Thread(target=read)
    reader.start()
    for version in map(str, range(1, 50)):
        publish(make(version), where)
    ended.set()
    reader.join()
    mixed = {text for text in seen if text != "removed while open" and len(set(text.split("/"))) != 1}
    assert not mixed
    assert (output / "a").read_text() == "49"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_cannot_hold_the_output_are_refused_at_once(tmp_path: Path, overwrite: bool) -> None:
    """Exit 73, whatever --overwrite says."""
    (tmp_path / "dir.parquet").mkdir()
    (tmp_path / "file").write_text("x")
    for output, single, words in (
        (tmp_path / "dir.parquet", True, "is a directory"),
        (tmp_path / "file", False, "is a file"),
        (tmp_path / "missing" / "out.parquet", True, "No such directory"),
        (Path("/dev/null"), True, "not a regular file"),
    ):
        with pytest.raises(OutputError, match=words):
            check_place(place(output, single=single), overwrite=overwrite)


def test_an_existing_output_needs_overwrite(tmp_path: Path) -> None:
    """A file, or a folder that is not empty; an empty folder is none."""
    (tmp_path / "out.parquet").write_text("old")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("old")
    (tmp_path / "empty").mkdir()
    for name, single in (("out.parquet", True), ("full", False)):
        with pytest.raises(OutputError, match="--overwrite"):
            check_place(place(tmp_path / name, single=single), overwrite=False)
        check_place(place(tmp_path / name, single=single), overwrite=True)
    check_place(place(tmp_path / "empty", single=False), overwrite=False)


def test_what_a_successor_has_removed_is_told_as_the_lease_that_was_lost(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was asleep finds its parts gone; that is no fault of the storage, and a retry would meet the other run."""
    write_input(tmp_path / "in.parquet", 100)

    def gone(*_: object) -> None:
        raise StorageError("no such object")

    def lost(self: FileLease) -> None:
        raise LockedError("lost its lease")

    monkeypatch.setattr(LocalCrew, "poll", gone)
    options = {"input_file": tmp_path / "in.parquet", "output_file": tmp_path / "out.parquet", "isolated": False}
    with pytest.raises(StorageError, match="no such object"):
        bentobatch.run(bundles / "linear", **options)
    monkeypatch.setattr(FileLease, "check", lost)
    with pytest.raises(LockedError, match="lost its lease"):
        bentobatch.run(bundles / "linear", **options)
