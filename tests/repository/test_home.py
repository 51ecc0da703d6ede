"""This module tests how the folders of this machine's repository and its catalog stay in step."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bentobatch.errors import ConflictError, MissingDependencyError, NoInputError, UsageError
from bentobatch.repository import catalogued
from bentobatch.repository.local import LocalRepository, is_home, open_repository, resolve
from bentobatch.repository.opening import storage_of
from tests.bundle.projects import project
from tests.bundle.services import files_of
from tests.repository.making import make_bundle

ROOT = Path(__file__).resolve().parents[2]


def listed(**query: object) -> list[str]:
    return [str(entry.tag) for entry in LocalRepository().list(**query)]  # type: ignore[arg-type]


def test_folders_saved_without_the_catalog_are_entered(home: Path) -> None:
    """With the labels that they were saved with; also beside a catalog that is there already."""
    make_bundle(home / "repository/Iris/1", labels={"a": "b"})
    assert listed(labels="a=b") == ["Iris:1"]
    make_bundle(home / "repository/Iris/2", "Iris:2", second=1)
    assert listed() == ["Iris:2", "Iris:1"]
    assert LocalRepository().set_labels("Iris:2", {"c": "d"}) == {"c": "d"}
    assert listed(labels="c=d") == ["Iris:2"]


def test_a_pushed_bundle_is_a_folder_that_runs_need_no_catalog_for(home: Path, tmp_path: Path) -> None:
    """NAME/VERSION."""
    LocalRepository().push(make_bundle(tmp_path / "b"))
    (home / "catalog.db").unlink()
    assert resolve("Iris:latest") == home / "repository/Iris/1"
    assert listed() == ["Iris:1"]


def test_a_damaged_folder_does_not_hide_the_others(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named in a warning, and its tag cannot be taken."""
    make_bundle(home / "repository/Iris/1")
    (make_bundle(home / "repository/Iris/2", "Iris:2") / "bentoml.yml").write_text("a: b")
    make_bundle(home / "repository/Iris/3", "Iris:7")
    (home / "repository/Iris/not a version").mkdir()
    shutil.copy(home / "repository/Iris/1/bentoml.yml", home / "repository/Iris/not a version/bentoml.yml")
    with caplog.at_level(logging.WARNING, "bentobatch"):
        assert listed() == ["Iris:1"]
    assert "Iris/2" in caplog.text
    assert "it is Iris:7, and lies where Iris:3 belongs" in caplog.text
    with pytest.raises(ConflictError, match="Iris/2"):
        LocalRepository().push(make_bundle(home / "b", "Iris:2"))


def test_pushing_what_a_folder_holds_already_is_no_conflict(home: Path, tmp_path: Path) -> None:
    """svc.save() needs no catalog, and may come between a push's first look and its last step."""
    LocalRepository().push(make_bundle(tmp_path / "a", "Other:1"))
    source = make_bundle(tmp_path / "b")
    repository = LocalRepository()
    catalog = repository.catalog  # in step, as of now
    make_bundle(home / "repository/Iris/1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalRepository, "catalog", catalog)
        assert repository.push(source).digest == LocalRepository().get("Iris:1").digest
        make_bundle(home / "repository/Iris/2", "Iris:2", model=b"saved meanwhile")
        with pytest.raises(ConflictError):
            repository.push(make_bundle(tmp_path / "c", "Iris:2"))


def test_a_deletion_that_was_cut_off_is_finished(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder goes first; whoever looks next forgets the entry. A folder that is lost is not taken for deleted."""
    repository = LocalRepository()
    for version in ("1", "2"):
        repository.push(make_bundle(tmp_path / version, f"Iris:{version}"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(repository.catalog), "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            repository.delete("Iris:1")
    shutil.rmtree(home / "repository/Iris/2")
    assert listed() == ["Iris:2"]
    assert list((home / "repository").iterdir()) == []
    repository.push(tmp_path / "1")
    assert listed() == ["Iris:2", "Iris:1"]


def test_a_home_without_the_library_is_listed_by_its_folders(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """list, get, labels, retrieve and find work; what has to keep a catalog says which extra it needs."""
    for number in range(3):
        make_bundle(home / f"repository/Iris/{number}", f"Iris:{number}", second=number, labels={"n": str(number)})
    monkeypatch.setattr(catalogued, "find_spec", lambda name: None)
    assert listed() == ["Iris:2", "Iris:1", "Iris:0"]
    assert listed(labels="n!=1", limit=1, offset=1, ascending=True) == ["Iris:2"]
    repository = LocalRepository()
    assert repository.get("Iris:latest").labels == repository.labels("Iris:2") == {"n": "2"}
    assert repository.retrieve("Iris:1", tmp_path / "x").is_dir()
    assert repository.find("Iris:1") == home / "repository/Iris/1"
    for verb in (repository.push, repository.delete, repository.set_labels):
        with pytest.raises(MissingDependencyError, match=r"bentobatch\[repository\]"):
            verb("Iris:1" if verb != repository.push else home / "repository/Iris/1")
    assert not (home / "catalog.db").exists()


def test_a_home_that_cannot_be_written_is_listed_by_its_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in an image with bundles baked in."""
    make_bundle(home / "repository/Iris/1")
    monkeypatch.setattr(catalogued.os, "access", lambda path, mode: False)
    assert listed() == ["Iris:1"]
    assert "labels that were set later are not shown" in caplog.text
    assert not (home / "catalog.db").exists()


def test_the_settings_name_the_repository_for_tags(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument, by the environment; a folder that others share is used in place."""
    shared = tmp_path / "shared"
    LocalRepository(shared).push(make_bundle(tmp_path / "b"))
    assert is_home(open_repository())
    with pytest.raises(NoInputError):
        resolve("Iris:1")
    monkeypatch.setenv("BENTOBATCH_REPOSITORY_URL", f"file://{shared}")
    assert resolve("Iris:1") == shared / "Iris/1"
    assert not is_home(open_repository())
    monkeypatch.delenv("BENTOBATCH_REPOSITORY_URL")
    assert resolve("Iris:1", repository_url=str(shared)) == shared / "Iris/1"
    assert open_repository(str(home / "repository")).catalog.file == home / "catalog.db"
    with pytest.raises(UsageError, match="needs its catalog"):
        LocalRepository(storage=storage_of("memory://x"))
    monkeypatch.setenv("BENTOBATCH_REPOSITORY_URL", "ftp://host/x")
    with pytest.raises(UsageError, match="names no folder"):
        resolve("Iris:1")


def test_saving_pushes_to_the_repository_that_is_named(tmp_path: Path, home: Path) -> None:
    """It is saved at home as well, and the folder there is returned."""
    with project(tmp_path / "p", files_of("a")) as module:
        service = module.Scorer()
        service.pack("model", module.helper.Thing())
        folder = service.save(version="7", labels={"a": "b"}, repository_url=str(tmp_path / "shared"))
    assert folder == str(home / "repository/Scorer/7")
    assert LocalRepository(tmp_path / "shared").get("Scorer:7").labels == {"a": "b"}
    assert listed(labels="a=b") == ["Scorer:7"]


def test_a_run_by_tag_needs_neither_the_catalog_nor_its_library(home: Path) -> None:
    """They are an extra; finding a bundle by its tag imports no data library either."""
    make_bundle(home / "repository/Iris/1")
    code = (
        "import sys\nfrom bentobatch.repository.local import resolve\nprint(resolve('Iris:latest'))\n"
        "heavy = {'sqlalchemy', 'alembic', 'cryptography', 'fsspec', 'pyarrow', 'pandas', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == [str(home / "repository/Iris/1"), "[]"]
