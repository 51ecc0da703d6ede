"""This module tests that everything missing, extra or changed in a storage is found by its name, and what gc removes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bentobatch.repository.check import check, gc
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.opening import storage_of
from tests.repository.making import make_bundle


def problems(repository: LocalRepository, *, read_data: bool = False) -> set[tuple[str, str]]:
    return {(problem.kind, problem.object) for problem in check(repository, read_data=read_data)}


class Objects:
    """The objects of a storage of either kind, by their names below its root."""

    def __init__(self, repository: LocalRepository) -> None:
        self.storage = repository.storage

    def write(self, name: str, data: bytes) -> None:
        if hasattr(self.storage, "fs"):
            self.storage.fs.pipe_file(self.storage.path(name), data)
        else:
            place = self.storage.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)

    def remove(self, name: str) -> None:
        if hasattr(self.storage, "fs"):
            self.storage.fs.rm_file(self.storage.path(name))
        else:
            (self.storage.root / name).unlink()


def test_each_kind_of_damage_is_found_by_its_name(repository: LocalRepository, tmp_path: Path) -> None:
    """A changed byte of the same length needs --read-data, the rest does not."""
    for version in range(6):
        repository.push(make_bundle(tmp_path / f"{version}", f"Iris:{version}"))
    assert problems(repository, read_data=True) == set()
    at = {tag.version: location for location, tag in repository.catalog.locations().items()}
    objects = Objects(repository)
    objects.remove(f"{at['0']}/requirements.txt")
    objects.write(f"{at['1']}/requirements.txt", b"longer than before\n")
    objects.write(f"{at['2']}/requirements.txt", b"siX\n")
    objects.write(f"{at['3']}/Iris/evil.py", b"evil")
    objects.write(f"{at['4']}/bentoml.yml", b"format_version: 1\n")
    objects.remove(f"{at['5']}/bentoml.yml")
    objects.write("stray.txt", b"somebody's")
    found = {
        ("missing", f"{at['0']}/requirements.txt"),
        ("changed", f"{at['1']}/requirements.txt"),
        ("extra", f"{at['3']}/Iris/evil.py"),
        ("changed", f"{at['4']}/bentoml.yml"),
        ("missing", f"{at['5']}/bentoml.yml"),
        ("extra", "stray.txt"),
    }
    assert problems(repository) == found
    assert problems(repository, read_data=True) == {*found, ("changed", f"{at['2']}/requirements.txt")}
    lines = [str(problem) for problem in check(repository)]
    assert f"missing: {at['0']}/requirements.txt (of Iris:0): it is listed, and not there" in lines


def test_a_lost_bundle_is_found_by_its_name(repository: LocalRepository, tmp_path: Path) -> None:
    """One line, and not one for each file."""
    repository.push(make_bundle(tmp_path / "b"))
    ((location, _),) = repository.catalog.locations().items()
    objects = Objects(repository)
    for path in repository.storage.sizes(location):
        objects.remove(f"{location}/{path}")
    # in a folder the empty folders are left, which are no bundle either
    assert problems(repository) == {("missing", location)}


def test_gc_removes_what_is_old_and_ours(tmp_path: Path, home: Path) -> None:
    """Of a push, a saving or a deletion that was cut off; not what somebody else has put there."""
    repository = LocalRepository()
    repository.push(make_bundle(tmp_path / "b"))
    root = home / "repository"
    names = (
        ".bentobatch-push",
        "Iris/.bentobatch-deleted-12345678-1",
        "Iris/.bentobatch-young",
        "Iris/somebodys",
        ".mine",
    )
    for name in names:
        (root / name).mkdir()
        (root / name / "file").write_text("x")
        if "young" not in name:
            os.utime(root / name, (time.time() - 90_000,) * 2)
    ours = [".bentobatch-push", "Iris/.bentobatch-deleted-12345678-1"]
    assert [one.path for one in gc(repository, dry_run=True)] == ours
    assert (root / names[0]).exists()
    assert [one.path for one in gc(repository)] == ours
    assert {kind for kind, _ in problems(repository)} == {"leftover", "extra"}
    assert [one.path for one in gc(repository, min_age=0)] == ["Iris/.bentobatch-young"]
    assert problems(repository) == {("extra", "Iris/somebodys"), ("extra", ".mine/file")}


def test_gc_in_a_bucket_removes_only_places_of_pushes(tmp_path: Path, bucket: str) -> None:
    """An object of another shape is somebody else's, in whatever bucket."""
    repository = LocalRepository(db_url=f"sqlite:///{tmp_path}/c.db", storage=storage_of(f"{bucket}/prefix"))
    repository.push(make_bundle(tmp_path / "b"))
    objects = Objects(repository)
    left = f"Iris/2/{'0' * 32}"
    for name in (f"{left}/bentoml.yml", f"{left}/a/b", "Iris/2/notes.txt", "readme"):
        objects.write(name, b"x")
    expected = {("leftover", left), ("extra", "Iris/2/notes.txt"), ("extra", "readme")}
    assert problems(repository, read_data=True) == expected
    assert list(gc(repository)) == []
    assert [one.path for one in gc(repository, min_age=0)] == [left]
    assert problems(repository, read_data=True) == expected - {("leftover", left)}
    assert repository.retrieve("Iris:1", tmp_path / "copy").is_dir()
