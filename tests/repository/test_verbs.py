"""This module tests the verbs of a repository, on each kind of catalog and storage."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from bentobatch.bundle.layout import MANIFEST, SIGNATURES, files_below
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.verify import verify_bundle
from bentobatch.errors import BundleError, ConflictError, NoInputError, OutputError, UsageError
from bentobatch.repository.base import Repository
from bentobatch.repository.check import check
from bentobatch.repository.entry import Entry
from bentobatch.repository.local import LocalRepository
from bentobatch.tags import Tag
from tests.repository.making import make_bundle


def content(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in files_below(folder)}


def tags(repository: Repository, name: str | None = None, **query: object) -> list[str]:
    return [str(entry.tag) for entry in repository.list(name, **query)]  # type: ignore[arg-type]


def test_an_empty_repository_lists_nothing(repository: LocalRepository, home: Path) -> None:
    """And looking makes no home."""
    assert list(repository.list()) == []
    assert not home.exists()


def test_what_was_pushed_is_listed_and_comes_back_whole(repository: LocalRepository, tmp_path: Path) -> None:
    """Push, list, get, find, retrieve: the same files."""
    source = make_bundle(tmp_path / "b", labels={"framework": "sklearn"})
    pushed = repository.push(source)
    (entry,) = repository.list()
    assert (
        entry == pushed == repository.get("Iris:1") == repository.get("Iris") == repository.get(Tag("Iris", "latest"))
    )
    assert (entry.digest, entry.size) == (read_manifest(source).digest, 16 + 7 + 4)
    assert entry.labels == {"framework": "sklearn"}
    assert content(repository.retrieve("Iris:1", tmp_path / "new" / "copy")) == content(source)
    assert content(repository.find("Iris:latest")) == content(source)
    assert repository.manifest("Iris:1").content == read_manifest(source).content
    with repository.open("Iris:1", "requirements.txt") as stream:
        assert stream.read() == b"six\n"


def test_an_entry_survives_json(repository: LocalRepository, tmp_path: Path) -> None:
    """A server sends it, a client has the same again; the keys are those of BentoML's `get`."""
    entry = repository.push(make_bundle(tmp_path / "b", artifacts=[
        {"name": "model", "artifact_type": "PickleArtifact",
         "metadata": {"when": datetime.date(2026, 1, 1), "loss": float("nan"), "raw": b"x", 5: [None, True]}}]))  # fmt: skip
    value = entry.to_json()
    assert Entry.from_json(value) == entry
    assert list(value)[:4] == ["name", "version", "uri", "bentoServiceMetadata"]
    metadata = value["bentoServiceMetadata"]
    assert metadata["createdAt"] == "2026-01-01T00:00:00.000000Z"
    assert metadata["artifacts"][0]["metadata"] == {
        "when": "2026-01-01",
        "loss": "nan",
        "raw": "eA==",
        "5": [None, True],
    }
    assert metadata["apis"][0]["inputConfig"] == {"orient": "records"}
    assert metadata["env"]["pipDependencies"] == "six"
    with pytest.raises(ValueError, match="no entry"):
        Entry.from_json({**value, "name": "../x"})


def test_pushing_the_same_again_changes_nothing(repository: LocalRepository, tmp_path: Path) -> None:
    """Not even the labels."""
    source = make_bundle(tmp_path / "b")
    first = repository.push(source, labels={"a": "1"})
    assert repository.push(source, labels={"a": "2"}) == first
    assert list(repository.storage.leftovers(set(repository.catalog.locations()))) == []


def test_another_bundle_of_the_same_tag_is_a_conflict(repository: LocalRepository, tmp_path: Path) -> None:
    """What is there stays."""
    repository.push(make_bundle(tmp_path / "b"))
    with pytest.raises(ConflictError, match=r"Iris:1 is in the repository .* already") as caught:
        repository.push(make_bundle(tmp_path / "c", model=b"another"))
    assert caught.value.exit_code == 73
    assert content(repository.find("Iris:1")) == content(tmp_path / "b")


def test_a_changed_bundle_is_not_taken(repository: LocalRepository, tmp_path: Path) -> None:
    """The digest is verified before anything is entered, and nothing stays."""
    source = make_bundle(tmp_path / "b")
    (source / "requirements.txt").write_text("evil\n")
    with pytest.raises(BundleError, match=r"requirements\.txt was changed"):
        repository.push(source)
    assert tags(repository) == []
    assert list(repository.storage.leftovers(set())) == []


def test_a_receiver_takes_only_what_was_announced(repository: LocalRepository, tmp_path: Path) -> None:
    """The tag in the request is the tag in the bundle, and its digest; files that no manifest lists are dropped."""

    def fill(folder: Path) -> None:
        make_bundle(folder)
        (folder / "extra.py").write_text("evil")

    for wrong in ({"tag": Tag("Iris", "2")}, {"digest": "0" * 64}):
        with pytest.raises(BundleError):
            repository.receive(fill, **wrong)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"has no bentoml\.yml"):
        repository.receive(lambda folder: None)
    assert tags(repository) == []
    repository.receive(fill, tag=Tag("Iris", "1"))
    assert "extra.py" not in content(repository.find("Iris:1"))


def test_the_latest_is_the_newest_by_its_manifest(repository: LocalRepository, tmp_path: Path) -> None:
    """Of several made at once, the last by its version's text, by its bytes and in no language's order."""
    for version, second in (("v9", 1), ("v10", 5), ("v1", 3), ("a", 5), ("B", 5)):
        repository.push(make_bundle(tmp_path / version, f"Iris:{version}", second=second))
    repository.push(make_bundle(tmp_path / "other", "Other:1", second=9))
    assert repository.get("Iris").version == "v10"
    assert tags(repository, "Iris") == ["Iris:v10", "Iris:a", "Iris:B", "Iris:v1", "Iris:v9"]
    assert tags(repository) == [*tags(repository, "Iris"), "Other:1"]
    assert tags(repository, order_by="created_at")[0] == "Other:1"
    assert tags(repository, order_by="created_at", ascending=True) == tags(repository, order_by="created_at")[::-1]
    assert tags(repository, ascending=True) == [*tags(repository, "Iris")[::-1], "Other:1"]
    assert tags(repository, limit=2, offset=1) == ["Iris:a", "Iris:B"]
    assert tags(repository, limit=0) == []
    assert tags(repository, "Nothing") == []


@pytest.mark.parametrize(
    "query", [{"limit": -1}, {"offset": -1}, {"order_by": "size"}, {"labels": "a=="}, {"name": "../x"}]
)
def test_a_senseless_list_is_a_usage_error(query: dict[str, object], open_kind) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError):
        open_kind("home").list(**query)


def test_labels_select(repository: LocalRepository, tmp_path: Path) -> None:
    """As in labels.py: != and NotIn match what lacks the key, DoesNotExist only that."""
    for version, labels in (("1", {"a": "x", "b": "y"}), ("2", {"a": "z"}), ("3", {})):
        repository.push(make_bundle(tmp_path / version, f"Iris:{version}", labels=labels))

    def found(selector: str) -> list[str]:
        return [entry.version for entry in repository.list(labels=selector, ascending=True)]

    assert found("a=x") == ["1"]
    assert found("a!=x") == ["2", "3"]
    assert found("a In (x, z)") == ["1", "2"]
    assert found("a NotIn (z)") == ["1", "3"]
    assert found("a Exists, b DoesNotExist") == ["2"]
    assert found("a DoesNotExist") == ["3"]
    assert found("") == ["1", "2", "3"]


def test_labels_are_set_and_removed(repository: LocalRepository, tmp_path: Path) -> None:
    """Others stay; removing what is not there is no error; malformed ones change nothing."""
    repository.push(make_bundle(tmp_path / "b", labels={"a": "1", "b": "2"}))
    assert repository.set_labels("Iris:1", {"c": "3", "a": "9"}, unset=["b", "gone"]) == {"a": "9", "c": "3"}
    for bad in ({"labels": {"": "x"}}, {"labels": {"x": "-"}}, {"unset": ["a/b"]}):
        with pytest.raises(UsageError):
            repository.set_labels("Iris", **bad)  # type: ignore[arg-type]
    assert repository.labels("Iris:latest") == {"a": "9", "c": "3"}
    with pytest.raises(NoInputError):
        repository.set_labels("Iris:2", {"a": "1"})


def test_a_bundle_saved_with_malformed_labels_is_not_taken(repository: LocalRepository, tmp_path: Path) -> None:
    """A manifest may come from anywhere."""
    with pytest.raises(UsageError, match="1 to 63"):
        repository.push(make_bundle(tmp_path / "b", labels={"a": "<script>"}))
    assert tags(repository) == []


def test_a_deleted_bundle_is_gone_and_its_tag_is_free(repository: LocalRepository, tmp_path: Path) -> None:
    """Another bundle may be pushed under it."""
    repository.push(make_bundle(tmp_path / "b"))
    with pytest.raises(UsageError, match="needs a version"):
        repository.delete("Iris:latest")
    repository.delete("Iris:1")
    assert tags(repository) == []
    assert list(repository.storage.leftovers(set())) == []
    for verb in (repository.get, repository.find, repository.delete, repository.labels):
        with pytest.raises(NoInputError, match="no bundle Iris:1"):
            verb("Iris:1")
    repository.push(make_bundle(tmp_path / "c", model=b"another"))
    assert content(repository.find("Iris:1")) == content(tmp_path / "c")


def test_retrieve_overwrites_nothing(repository: LocalRepository, tmp_path: Path) -> None:
    """No file, no link, not even an empty folder; and what fails leaves nothing."""
    repository.push(make_bundle(tmp_path / "b"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("empty", "file", "link", "b"):
        with pytest.raises(OutputError, match="exists already"):
            repository.retrieve("Iris:1", tmp_path / name)
    with pytest.raises(NoInputError):
        repository.retrieve("Iris:2", tmp_path / "out" / "x")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_what_was_changed_in_the_storage_is_not_handed_out(repository: LocalRepository, tmp_path: Path) -> None:
    """Retrieve and pull compare every file with the digest in the catalog; nothing is left behind."""
    repository.push(make_bundle(tmp_path / "b"))
    ((location, _),) = repository.catalog.locations().items()
    if hasattr(repository.storage, "fs"):
        repository.storage.fs.pipe_file(repository.storage.path(location, "requirements.txt"), b"evil")
    else:
        (repository.storage.root / location / "requirements.txt").write_bytes(b"evil")
    with pytest.raises(BundleError, match=r"requirements\.txt was changed"):
        repository.retrieve("Iris:1", tmp_path / "copy")
    other = LocalRepository(tmp_path / "other")
    with pytest.raises(BundleError, match=r"requirements\.txt was changed"):
        repository.pull("Iris:1", other)
    assert not (tmp_path / "copy").exists()
    assert list(other.list()) == []
    assert [path.name for path in (tmp_path / "other").iterdir()] == [".catalog.db"]


def test_pull_takes_the_labels_along_and_conflicts_as_push_does(repository: LocalRepository, tmp_path: Path) -> None:
    """Into another repository; again is no error."""
    repository.push(make_bundle(tmp_path / "b", labels={"a": "1"}))
    repository.set_labels("Iris:1", {"b": "2"}, unset=["a"])
    other = LocalRepository(tmp_path / "other")
    pulled = repository.pull("Iris", other)
    assert (pulled.uri, pulled.labels) == (str(tmp_path / "other/Iris/1"), {"b": "2"})
    assert repository.pull("Iris", other) == pulled
    verify_bundle(tmp_path / "other/Iris/1", digest=repository.get("Iris").digest)
    third = LocalRepository(tmp_path / "third")
    third.push(make_bundle(tmp_path / "c", model=b"another"))
    with pytest.raises(ConflictError):
        repository.pull("Iris", third)


def test_a_lost_bundle_comes_back_by_pushing_it_again(repository: LocalRepository, tmp_path: Path) -> None:
    """A row whose files are gone is not taken for the same bundle; its labels stay."""
    source = make_bundle(tmp_path / "b")
    repository.push(source)
    repository.set_labels("Iris:1", {"kept": "yes"})
    ((location, _),) = repository.catalog.locations().items()
    if hasattr(repository.storage, "fs"):
        repository.storage.fs.rm(repository.storage.path(location), recursive=True)
    else:
        shutil.rmtree(repository.storage.root / location)
    with pytest.raises((BundleError, NoInputError)):
        repository.retrieve("Iris:1", tmp_path / "copy")
    assert repository.push(source).labels == {"kept": "yes"}
    assert content(repository.find("Iris:1")) == content(source)


def test_signatures_go_along_and_are_added_to(repository: LocalRepository, tmp_path: Path) -> None:
    """A bundle that is signed after it was pushed is signed there too, once it is pushed again."""
    from bentobatch.bundle.signatures import make_key, sign

    source = make_bundle(tmp_path / "b")
    repository.push(source)
    assert repository.get("Iris").signatures == ()
    first = repository.find("Iris:1")  # a cached copy, in some
    keys = {make_key(tmp_path / name) for name in ("one", "two")}
    sign(source, tmp_path / "one")
    repository.push(source)
    (source / SIGNATURES).unlink()
    sign(source, tmp_path / "two")
    assert {one["key"] for one in repository.push(source).signatures} == keys
    assert repository.find("Iris:1") == first
    assert (first / SIGNATURES).is_file()
    copy = repository.retrieve("Iris", tmp_path / "copy")
    assert content(copy)[SIGNATURES] == content(first)[SIGNATURES]
    assert sorted(content(copy)) == sorted({*content(source), MANIFEST})


def test_a_bundle_of_bentoml_is_kept_in_folders_only(repository: LocalRepository, tmp_path: Path) -> None:
    """Its manifest lists no files, so that the folder itself is what counts; elsewhere it has to be migrated first."""
    source = tmp_path / "b"
    (source / "Old").mkdir(parents=True)
    (source / "Old" / "service.py").write_text("class Old: ...")
    (source / MANIFEST).write_text(LEGACY)
    if hasattr(repository.storage, "fs"):
        with pytest.raises(UsageError, match="bentobatch migrate"):
            repository.push(source)
        assert tags(repository) == []
        return
    entry = repository.push(source)
    assert (str(entry.tag), entry.metadata["apis"][0]["InputType"]) == ("Old:1", "DataframeInput")
    assert content(repository.retrieve("Old:1", tmp_path / "copy")) == content(source)
    assert list(check(repository, read_data=True)) == []
    (Path(entry.uri) / "Old" / "service.py").write_text("class Evil: ...")
    assert [problem.kind for problem in check(repository)] == ["changed"]
    with pytest.raises(BundleError, match="digest"):
        repository.retrieve("Old:1", tmp_path / "copy2")


LEGACY = """\
version: 0.13.1
kind: BentoService
metadata:
  created_at: 2020-01-01 00:00:00.000001
  service_name: Old
  service_version: '1'
  module_name: service
  module_file: service.py
env:
  pip_packages: [bentoml==0.13.1]
  conda_env: {name: x, channels: [defaults], dependencies: [pip]}
  python_version: 3.7.5
apis:
- name: predict
  docs: "BentoService inference API"
  input_type: DataframeInput
  output_type: DefaultOutput
  mb_max_batch_size: 4000
  mb_max_latency: 20000
  batch: true
  route: predict
  input_config: {orient: records, typ: frame, dtype: null}
  output_config: {}
artifacts:
- {name: model, artifact_type: PickleArtifact, metadata: {}}
"""
