"""This module tests that no name, version, label or target leads any verb out of the repository (S12, S13, S18).

Sixty payloads go through every verb, in Python and on the command line. Beside the repository lies what they aim at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bentobatch.cli.main import main
from bentobatch.errors import BentobatchError, BundleError, NoInputError, UsageError
from bentobatch.repository.base import Repository
from bentobatch.repository.entry import Entry
from bentobatch.repository.local import LocalRepository, resolve
from bentobatch.repository.opening import storage_of
from bentobatch.tags import Tag
from tests.repository.making import make_bundle

UP = ["..", "../..", "../outside", "../../outside/victim", "..\\outside", "..\\..\\outside", "./../outside",
      "x/../../outside",
      "Iris/../../outside", "/etc/passwd", "//etc/passwd", "/outside", "~", "~root", "~/x", "file:///etc/passwd", "file:/etc",
      "C:\\x", "C:x:", "\\\\server\\share", "//server/share", "CON/", "a/b", "a\\b", "a//b", "./a", "a/.",
      "a/./b"]  # fmt: skip
ENCODED = ["%2e%2e", "%2e%2e%2foutside", "..%2foutside", "..%5coutside", "%252e%252e%252foutside", "..%252foutside",
           "%c0%ae%c0%ae/outside", "%c0%ae%c0%ae%c0%afoutside", "..%c0%af", "..%00", "%00"]  # fmt: skip
ODD = ["\0", "..\0", "Iris\0/../outside", "\n", "a\nb", "\r\n", "\t", " ", "", ".", ".hidden", "..;", "..;/outside", "a;b",
       "a#b", "#", "..#", "a?b", "\uff0e\uff0e/outside", "\u2024\u2024/outside", "\u2025", "é", "-rf$(id)",
       "a" * 129 + "/", "$HOME",
       "${HOME}", "`id`", "|id", "*", "[", "\x1b[2J", "\ud800"]  # fmt: skip
PAYLOADS = [*UP, *ENCODED, *ODD]

assert len(PAYLOADS) >= 60


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one bundle, and beside it everything that must stay as it is."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "world" / "home"))
    make_bundle(tmp_path / "world" / "outside" / "victim", "outside:victim")
    make_bundle(tmp_path / "world" / "home" / "victim", "victim:1")
    monkeypatch.chdir(tmp_path / "world" / "outside")
    LocalRepository().push(make_bundle(tmp_path / "world" / "b"))
    return tmp_path / "world"


def everything(world: Path) -> dict[str, bytes | None]:
    """All files but the catalog's own."""
    return {
        str(path.relative_to(world)): path.read_bytes() if path.is_file() else None
        for path in world.rglob("*")
        if not path.name.startswith("catalog.db")
    }


opened: list[str] = []


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.listdir", "os.scandir"):
        paths = arguments[:1] if event == "open" else arguments  # its others are a mode and flags
        opened.extend(os.path.abspath(os.fsdecode(one)) for one in paths if isinstance(one, (str, bytes, Path)))


sys.addaudithook(watch)


VERBS: dict[str, Callable[[LocalRepository, str, Path], object]] = {
    "get": lambda repository, tag, _: repository.get(tag),
    "find": lambda repository, tag, _: repository.find(tag),
    "labels": lambda repository, tag, _: repository.labels(tag),
    "set_labels": lambda repository, tag, _: repository.set_labels(tag, {"a": "b"}),
    "delete": lambda repository, tag, _: repository.delete(tag),
    "retrieve": lambda repository, tag, scratch: repository.retrieve(tag, scratch / "copy"),
    "pull": lambda repository, tag, scratch: repository.pull(tag, LocalRepository(scratch / "other")),
    "open": lambda repository, tag, _: repository.open(tag, "bentoml.yml"),
    "manifest": lambda repository, tag, _: repository.manifest(tag),
    "list": lambda repository, tag, _: repository.list(tag.rpartition(":")[0])[0],
    "place": lambda repository, tag, _: repository.place(Tag.parse(tag)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_tag_leads_a_verb_out_of_the_repository(verb: str, world: Path, tmp_path: Path) -> None:
    """As a name, and as a version: refused, without a file outside being read, written, listed or removed."""
    before = everything(world)
    repository = LocalRepository()
    repository.list()
    for payload in PAYLOADS:
        for tag in (f"{payload}:1", f"{payload}:{payload}", *([f"Iris:{payload}"] if verb != "list" else [])):
            opened.clear()
            with pytest.raises((UsageError, NoInputError, IndexError)):
                VERBS[verb](repository, tag, tmp_path)
            victims = [
                path for path in opened if path.startswith((str(world / "outside"), "/etc/passwd", str(world / "b")))
            ]
            assert victims == [], tag
    assert everything(world) == before
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("verb", ["get", "delete", "retrieve", "pull", "open"])
def test_nor_out_of_a_bucket(verb: str, world: Path, tmp_path: Path) -> None:
    """The same on a storage behind a URL: objects beside the prefix are not touched."""
    storage = storage_of(f"memory://{tmp_path.name}/prefix/inner")
    storage.fs.pipe_file(f"/{tmp_path.name}/outside", b"victim")
    repository = LocalRepository(db_url=f"sqlite:///{tmp_path}/c.db", storage=storage)
    repository.push(world / "b")
    before = {path: storage.fs.cat_file(path) for path in storage.fs.find(f"/{tmp_path.name}")}
    for payload in PAYLOADS:
        for tag in (f"{payload}:1", f"Iris:{payload}"):
            with pytest.raises((UsageError, NoInputError)):
                VERBS[verb](repository, tag, tmp_path)
    assert {path: storage.fs.cat_file(path) for path in storage.fs.find(f"/{tmp_path.name}")} == before


def test_no_path_in_a_bundle_leads_out_of_it(world: Path) -> None:
    """What a server or a web page asks of one file."""
    repository = LocalRepository()
    for payload in PAYLOADS:
        with pytest.raises(BundleError):
            repository.open("Iris:1", payload).close()


def test_no_manifest_leads_a_push_out_of_the_storage(world: Path, tmp_path: Path) -> None:
    """A bundle whose manifest names a service, a version or a file of that kind; nothing of it stays."""
    before = everything(world)
    repository = LocalRepository()
    for number, payload in enumerate(PAYLOADS):
        for content in ({"service_name": payload}, {"service_version": payload}):
            folder = tmp_path / f"{number}-{next(iter(content))}"
            try:
                make_bundle(folder, metadata=_metadata(**content))
            except BentobatchError:
                continue  # what YAML cannot hold cannot be in a manifest
            with pytest.raises((BundleError, UsageError)):
                repository.push(folder)
        folder = make_bundle(tmp_path / f"{number}-files")
        _list_file(folder, payload)
        with pytest.raises((BundleError, UsageError)):
            repository.push(folder)
    assert everything(world) == before


def _metadata(**changed: str) -> dict[str, object]:
    import datetime

    plain = {"service_name": "Iris", "service_version": "2", "module_name": "service", "class_name": "Iris"}
    return {"created_at": datetime.datetime(2026, 1, 1), **plain, **changed}


def _list_file(folder: Path, path: str) -> None:
    """Let the manifest list one more file, with a digest that fits."""
    import hashlib

    import yaml

    from bentobatch.bundle.manifest import manifest_text

    content = yaml.safe_load((folder / "bentoml.yml").read_text())
    content["files"][path.encode("utf-8", "replace").decode()] = {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    (folder / "bentoml.yml").write_text(manifest_text(content))


@pytest.mark.parametrize("verb", ["get", "delete", "retrieve", "pull", "label", "run", "info", "verify"])
def test_the_command_line_refuses_them_in_one_line(verb: str, world: Path, capfd) -> None:
    """Exit 2 or 66, no traceback, nothing that a terminal would obey; nothing outside changes."""
    before = everything(world)
    more = {"delete": ["-y"], "run": ["--input", "1"], "pull": ["--repository-url", str(world / "shared")]}
    for payload in PAYLOADS[::3]:
        tag = f"Iris:{payload}"
        words = ["label", "set", tag, "a=b"] if verb == "label" else [verb, tag, *more.get(verb, [])]
        assert main(words) in (2, 66), payload
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1), err
        assert all(char.isprintable() or char == "\n" for char in err)
    assert everything(world) == before


def test_temporary_folders_are_for_their_owner_and_have_names_that_nobody_can_guess(
    world: Path, tmp_path: Path
) -> None:
    """S18: on the same file system, mode 0700."""
    seen: list[tuple[str, int]] = []

    def fill(folder: Path) -> None:
        make_bundle(folder, "Iris:9")
        seen.append((folder.parent.name, folder.parent.stat().st_mode & 0o777))
        assert folder.parent.parent == world / "home" / "repository"

    for _ in range(2):
        LocalRepository().receive(fill)
    assert seen[0][0] != seen[1][0]
    assert {mode for _, mode in seen} == {0o700}
    assert resolve("Iris:9").stat().st_mode & 0o777 == 0o755


class Lying(LocalRepository):
    """A repository whose entries are not what they should be, as a server's may be."""

    changed: dict[str, object]

    def get(self, tag: Tag | str) -> Entry:
        return replace(super().get("Iris:1"), **self.changed)  # type: ignore[arg-type]

    def find(self, tag: Tag | str) -> Path:
        return Repository.find(self, tag)

    def fill(self, entry: Entry, folder: Path) -> None:
        honest = LocalRepository()
        honest.fill(honest.get("Iris:1"), folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "../../repository/Iris/1"},
        {"digest": "../../../outside/victim"},
        {"digest": ""},
        {"digest": "0" * 64},
        {"name": "Other"},
        {"version": "2"},
    ],
)
@pytest.mark.parametrize("verb", ["find", "retrieve", "pull"])
def test_a_server_that_lies_gets_nothing_in(verb: str, changed: dict[str, object], world: Path, tmp_path: Path) -> None:
    """S13: neither a digest nor a tag of its answer names a place here, and only what was asked for is kept."""
    repository = Lying()
    repository.changed = changed
    asked = f"{changed.get('name', 'Iris')}:{changed.get('version', '1')}"
    before = everything(world)
    for tag in {asked, "Iris:1", "Iris:latest"}:
        with pytest.raises((BundleError, NoInputError)):
            VERBS[verb](repository, tag, tmp_path)
    after = {path: data for path, data in everything(world).items() if not path.startswith("home/cache")}
    assert after == before
    cached = {path.name for path in (world / "home/cache/bundles").glob("*")}
    assert cached <= {LocalRepository().get("Iris:1").digest}  # whole, and under its own digest
    assert not (tmp_path / "copy").exists()
    assert list(LocalRepository(tmp_path / "other").list()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "../x"},
        {"digest": None},
        {"name": "../x"},
        {"version": "latest"},
        {"uri": None},
        {"size": "many"},
        {"signatures": [5]},
        {"bentoServiceMetadata": {}},
        {"bentoServiceMetadata": {"name": "", "version": "", "createdAt": "x", "env": {}, "apis": [], "artifacts": []}},
        {
            "bentoServiceMetadata": {
                "name": "",
                "version": "",
                "createdAt": "2026-01-01Z",
                "env": {},
                "apis": [1],
                "artifacts": [],
            }
        },
    ],
)
def test_a_malformed_answer_of_a_server_is_a_value_error(change: dict[str, object], world: Path) -> None:
    """Before anything is made of it."""
    value = LocalRepository().get("Iris:1").to_json()
    assert Entry.from_json(value) == LocalRepository().get("Iris:1")
    with pytest.raises(ValueError, match=r"entry|digest|many|isoformat"):
        Entry.from_json({**value, **change})
