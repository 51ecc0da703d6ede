"""This module tests how a path or a tag finds a bundle on this machine."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from bentobatch.bundle.manifest import manifest_text
from bentobatch.errors import BundleError, NoInputError, UsageError
from bentobatch.repository.local import LocalRepository, resolve
from bentobatch.tags import Tag


def put(folder: Path, version: str, second: int = 0, name: str = "Iris") -> Path:
    """A folder with nothing but the manifest of a bundle."""
    metadata = {
        "created_at": datetime.datetime(2026, 1, 1, 0, 0, second),
        "service_name": name,
        "service_version": version,
        "module_name": "service",
        "class_name": name,
    }
    folder.mkdir(parents=True)
    content = {"format_version": 1, "metadata": metadata, "files": {}, "artifacts": []}
    (folder / "bentoml.yml").write_text(manifest_text(content))
    return folder


def test_a_path_comes_before_a_tag(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands at the path is meant, absolute or relative, even when its name looks like a tag."""
    monkeypatch.chdir(tmp_path)
    put(home / "repository/Iris/v1", "v1")
    there = put(tmp_path / "Iris:v1", "v1")
    assert resolve("Iris:v1") == there
    assert resolve(str(there)) == there
    assert resolve("./Iris:v1") == there
    monkeypatch.chdir(there)
    assert resolve(".") == there


def test_a_version_is_found_by_its_folder(home: Path) -> None:
    """NAME:VERSION is <home>/repository/NAME/VERSION."""
    folder = put(home / "repository/Iris/v1", "v1")
    assert resolve("Iris:v1") == folder


def test_the_latest_is_the_one_saved_last(home: Path) -> None:
    """By the manifest's created_at, not by name or mtime; of several saved at once, the last by name."""
    put(home / "repository/Iris/v9", "v9", 1)
    newest = put(home / "repository/Iris/v10", "v10", 5)
    put(home / "repository/Iris/v1", "v1", 3)
    put(home / "repository/Other/v1", "v1", 9, name="Other")
    assert resolve("Iris:latest") == newest
    twin = put(home / "repository/Iris/v11", "v11", 5)
    assert resolve("Iris:latest") == twin


def test_bundles_that_are_being_written_are_not_seen(home: Path) -> None:
    """Temporary folders begin with a dot; folders without a manifest are no bundles."""
    put(home / "repository/Iris/.bentobatch-x", "v2", 9)
    (home / "repository/Iris/empty").mkdir()
    (home / "repository/stray").touch()
    only = put(home / "repository/Iris/v1", "v1")
    assert resolve("Iris:latest") == only
    assert [str(one.path.name) for one in LocalRepository().bundles()] == ["v1"]


def test_listing_is_by_name_and_newest_first(home: Path) -> None:
    """For `bentobatch list`."""
    for name, version, second in (("B", "1", 1), ("A", "1", 1), ("A", "2", 2)):
        put(home / "repository" / name / version, version, second, name=name)
    assert [one.manifest.tag for one in LocalRepository().bundles()] == ["A:2", "A:1", "B:1"]
    assert [one.manifest.tag for one in LocalRepository().bundles("B")] == ["B:1"]
    assert LocalRepository(home / "nowhere").bundles() == []


def test_a_tag_that_is_not_there_says_what_is(home: Path) -> None:
    """Exit 66, with the versions of that name, else with all names, else with a hint to save."""
    with pytest.raises(NoInputError, match=r"it is empty; save a service with svc\.save\(\)"):
        resolve("Iris:latest")
    for number in range(12):
        put(home / f"repository/Iris/v{number:02d}", f"v{number:02d}")
    put(home / "repository/Other/v1", "v1", name="Other")
    with pytest.raises(NoInputError, match=r"there are Iris:v00, .*Iris:v09 and 2 more") as caught:
        resolve("Iris:gone")
    assert "Other" not in str(caught.value)
    with pytest.raises(NoInputError, match="there are Iris:latest, Other:latest"):
        resolve("Nothing:v1")
    assert caught.value.exit_code == 66


def test_a_folder_that_is_no_bundle_and_a_bare_name_are_told_apart(tmp_path: Path) -> None:
    """The message says what is wrong with what was given."""
    with pytest.raises(NoInputError, match=r"the folder has no bentoml\.yml"):
        resolve(str(tmp_path))
    with pytest.raises(NoInputError, match=r"no such folder.*or a tag: Iris:latest"):
        resolve("Iris")
    with pytest.raises(NoInputError, match="no such folder"):
        resolve("some/folder:v1")


@pytest.mark.parametrize(
    "ref",
    ["Iris:..", "Iris:../../x", "..:v1", "Iris:", "Iris:a/b", ".hidden:v1", "Iris:.x", "Iris:\x00", "", "I ris:v1"],
)
def test_a_malformed_tag_is_refused_before_any_path_is_made_of_it(ref: str) -> None:
    """S12: names and versions cannot lead out of the repository."""
    with pytest.raises((UsageError, NoInputError)):
        resolve(ref)


@pytest.mark.parametrize("ref", ["s3://bucket/bundle", "https://host/b@sha256:00"])
def test_a_url_without_a_sound_pin_is_refused(ref: str) -> None:
    """Remote bundles are not read as paths or tags; tests/bundle/test_fetch.py has the rest."""
    with pytest.raises(UsageError, match=r"pin what it is|64 hexadecimal"):
        resolve(ref)


def test_a_damaged_manifest_is_told_when_it_decides(home: Path) -> None:
    """The latest cannot be known while one of the candidates cannot be read; a named version can."""
    good = put(home / "repository/Iris/v1", "v1")
    (put(home / "repository/Iris/v2", "v2", 2) / "bentoml.yml").write_text("a: b")
    assert resolve("Iris:v1") == good
    with pytest.raises(BundleError, match="v2"):
        resolve("Iris:latest")


def test_latest_is_no_place(home: Path) -> None:
    """Nothing is ever saved under that version."""
    with pytest.raises(UsageError, match="no place"):
        LocalRepository().place(Tag("Iris", "latest"))
