"""State appears whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bentobatch.engine.store import TEMPORARY, LocalStore, is_url, whole_file
from bentobatch.errors import OutputError, StorageError


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    """Until the context ends nothing stands under the name; after an error nothing ever does."""
    store = LocalStore(tmp_path)
    with store.create("parts/a") as file:
        file.write(b"half")
        assert store.read("parts/a") is None
        assert store.names("parts") == []
    assert store.read("parts/a") == b"half"

    def fail() -> None:
        with store.create("parts/b") as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert store.names("parts") == ["a"]
    assert not [name for name in os.listdir(tmp_path / "parts") if name.startswith(TEMPORARY)]


def test_a_write_syncs_the_file_then_renames_then_syncs_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order, else a power cut can leave an empty file under the final name."""
    calls: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def spy(*args: Any, _name: str = name, _original: Any = original) -> Any:
            target = os.readlink(f"/proc/self/fd/{args[0]}") if _name == "fsync" else str(args[1])
            calls.append(f"{_name} {'folder' if os.path.isdir(target) else 'file'}")
            return _original(*args)

        monkeypatch.setattr(os, name, spy)
    LocalStore(tmp_path).write("x", b"data")
    assert calls == ["fsync file", "replace file", "fsync folder"]


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 74, and the finished splits stay."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left.*run the same command again"):
        LocalStore(tmp_path).write("x", b"data")


def test_a_folder_that_may_not_be_written_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 73."""

    def denied(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(OutputError, match="permissions"), whole_file(tmp_path / "x"):
        pass


@pytest.mark.parametrize(
    ("path", "url"), [("s3://bucket/x", True), ("memory://x", True), ("/a/b", False), ("C:", False), ("://", False)]
)
def test_urls_are_told_from_paths_by_their_scheme(path: str, url: bool) -> None:
    """A path that merely holds '://' further on is a path."""
    assert is_url(path) is url


def test_a_folder_of_very_many_files_is_removed_whole(tmp_path):
    """Files go several at a time; those in folders below, links to folders and what is gone meanwhile are no trouble."""
    store = LocalStore(tmp_path / "state")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    for number in range(700):
        store.write(f"plan/parts/{number}", b"part", lazily=True)
    store.write("plan/parts/below/one", b"part")
    (tmp_path / "state/plan/parts/link").symlink_to(outside)
    store.delete("plan/parts")
    assert store.names("plan") == []
    assert (outside / "kept").read_text() == "kept"
