"""Tests of reading the bentoml.yml that BentoML wrote, and of the digest that it has none of."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle.load import load
from bentobatch.bundle.manifest import read_manifest
from bentobatch.errors import BundleError
from bentobatch.legacy.yaml_1_2 import read_yaml
from tests.legacy.layout import MANIFEST, write_bundle

FIELDS = {
    "version": "0.13.1",
    "name": "Doubler",
    "service_version": "1",
    "module": "doubler_service",
    "module_file": "doubler_service.py",
    "python": "3.8.18",
}


def with_text(folder: Path, text: str) -> Path:
    return write_bundle(folder, manifest=text)


def test_the_manifest_is_read_as_it_is(tmp_path: Path) -> None:
    """Name, version, time, module and apis are those in the file; nothing is written into the folder."""
    root = write_bundle(tmp_path / "old")
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    manifest = read_manifest(root)
    assert manifest.tag == "Doubler:20210831111223_0A1B2C"
    assert manifest.written_by == "0.13.1"
    assert manifest.created_at == datetime.datetime(2021, 8, 31, 11, 12, 23, 55711)
    assert (manifest.module_name, manifest.class_name) == ("doubler_service", "Doubler")
    assert manifest.content["apis"][0]["input_config"] == {"orient": None, "typ": "frame", "dtype": None}
    assert manifest.artifacts == {"model": {}}
    load(root)
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before


def test_the_digest_covers_every_file_and_nothing_of_the_place(tmp_path: Path) -> None:
    """Two copies have one digest; a changed byte in any file, a new file, or another manifest gives another one."""
    root, copy = write_bundle(tmp_path / "a"), write_bundle(tmp_path / "b")
    digest = read_manifest(root).digest
    assert len(digest) == 64
    assert read_manifest(copy).digest == digest
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        old = path.read_bytes()
        path.write_bytes(old + b"\nchanged: 1\n")
        assert read_manifest(copy).digest != digest, path
        path.write_bytes(old)
    assert read_manifest(copy).digest == digest
    (copy / "Doubler" / "more.py").write_text("")
    assert read_manifest(copy).digest != digest


def test_caches_that_python_leaves_behind_do_not_change_the_digest(tmp_path: Path) -> None:
    """BentoML itself left __pycache__ in the folder that it loaded from."""
    root = write_bundle(tmp_path / "old")
    digest = read_manifest(root).digest
    cache = root / "Doubler" / "__pycache__"
    cache.mkdir()
    (cache / "doubler_service.cpython-38.pyc").write_bytes(b"\0")
    assert read_manifest(root).digest == digest


def test_a_bundle_that_changed_since_is_not_the_one_that_was_asked_for(tmp_path: Path) -> None:
    """The digest pins the content, as with a bundle of ours."""
    root = write_bundle(tmp_path / "old")
    digest = read_manifest(root).digest
    assert load(root, digest=digest).version == "20210831111223_0A1B2C"
    (root / "Doubler" / "artifacts" / "model.pkl").write_bytes(b"N.")
    with pytest.raises(BundleError, match="its digest is"):
        load(root, digest=digest)


def test_a_link_in_the_folder_is_refused(tmp_path: Path) -> None:
    """BentoML wrote no links; one may lead to a file that is no part of the bundle."""
    root = write_bundle(tmp_path / "old")
    secret = tmp_path / "secret"
    secret.write_text("x")
    os.symlink(secret, root / "Doubler" / "artifacts" / "more.txt")
    with pytest.raises(BundleError, match="symbolic link"):
        load(root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-05", 1e-05),
        ("2.5E+3", 2500.0),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("true", True),
        ("12", 12),
        ("-0x1F", -31),
        (".inf", float("inf")),
        ("~", None),
        ("", None),
        ("0.13.1", "0.13.1"),
        ("'12'", "12"),
        ("2021-01-02", datetime.date(2021, 1, 2)),
        ("!!binary aGk=", b"hi"),
    ],
)
def test_plain_words_mean_what_they_meant_to_the_writer(text: str, value: Any) -> None:
    """BentoML wrote YAML 1.2; a reader of 1.1 takes 1e-05 for a text, and yes for True."""
    found = read_yaml(f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_metadata_that_two_artifacts_share_is_read_through_its_alias(tmp_path: Path) -> None:
    """BentoML wrote &id001 and *id001 where one dict had been packed twice."""
    listed = (
        "artifacts:\n- name: model\n  artifact_type: PickleArtifact\n  metadata: &id001\n    lr: 1e-05\n    ok: yes\n"
        "- name: other\n  artifact_type: PickleArtifact\n  metadata: *id001\n"
    )
    text = MANIFEST.format(**FIELDS).partition("artifacts:")[0] + listed
    root = with_text(tmp_path / "old", text)
    assert read_manifest(root).artifacts == {name: {"lr": 1e-05, "ok": "yes"} for name in ("model", "other")}
    assert load(root).artifacts.get("model").metadata == {"lr": 1e-05, "ok": "yes"}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (BOMB, "unfold to more than"),
        ("a: &a [*a]\n", "holds itself"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "merge key"),
        ("a: " + "[" * 200 + "]" * 200 + "\n", "nested deeper"),
        ("a: !!python/object/apply:os.system [touch evil]\n", "could not determine a constructor"),
        ("a: !!python/name:os.system ''\n", "could not determine a constructor"),
        ("a: [1\n", "expected"),
        ("a: *nobody\n", "undefined alias"),
        ("---\nb: 1\n", "single document"),
    ],
)
def test_hostile_yaml_is_an_error_and_runs_nothing(
    more: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain values only, bounded; one line that names the bundle."""
    monkeypatch.chdir(tmp_path)
    root = with_text(tmp_path / "old", MANIFEST.format(**FIELDS) + more)
    with pytest.raises(BundleError, match=message) as caught:
        read_manifest(root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("service_name: Doubler", "service_name: ../evil"),
        ("service_name: Doubler", "service_name: [Doubler]"),
        ("service_version: 1", "service_version: ../../evil"),
        ("service_version: 1", "service_version: latest"),
        ("service_version: 1", "service_version: .hidden"),
        ("module_file: doubler_service.py", "module_file: ../../evil.py"),
        ("module_file: doubler_service.py", "module_file: /tmp/evil.py"),
        ("module_file: doubler_service.py", "module_file: doubler_service.sh"),
        ("module_file: doubler_service.py", "module_file: 5"),
        ("created_at: 2021-08-31 11:12:23.055711", "created_at: yesterday"),
        ("created_at: 2021-08-31 11:12:23.055711", "created_by: me"),
        ("- name: model", "- name: ../../evil"),
        ("- name: model", "- name: 7"),
        ("- name: model", "- named: model"),
    ],
)
def test_a_manifest_that_bentoml_did_not_write_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """Names become parts of paths, so each is checked; the message names the bundle and the version that it claims."""
    root = with_text(tmp_path / "bundle", MANIFEST.format(**FIELDS).replace(old, new))
    with pytest.raises(BundleError, match=r"is not what BentoML 0\.13\.1 wrote"):
        read_manifest(root)


@pytest.mark.parametrize("version", ["1.0.0", "2", "0.13.1; rm -rf /", "'..'"])
def test_another_major_version_is_not_taken_for_an_old_one(version: str, tmp_path: Path) -> None:
    """BentoML 1 has bundles of another form; its manifest would be misread."""
    text = MANIFEST.format(**FIELDS).replace("version: 0.13.1\nkind", f"version: {version}\nkind")
    with pytest.raises(BundleError, match="not saved by bentobatch"):
        read_manifest(with_text(tmp_path / "bundle", text))


def test_a_bundle_that_was_saved_on_windows_loads(tmp_path: Path) -> None:
    r"""Its module_file has \ between folders."""
    text = MANIFEST.format(**{**FIELDS, "module": "pkg.doubler_service", "module_file": "pkg\\doubler_service.py"})
    root = write_bundle(tmp_path / "old", module="pkg.doubler_service", manifest=text)
    assert load(root).name == "Doubler"


def test_a_script_with_a_dash_in_its_name_loads(tmp_path: Path) -> None:
    """BentoML loaded the service by its file, so the name of the file need not be one that can be imported."""
    root = write_bundle(tmp_path / "old", module="my-service")
    assert load(root).name == "Doubler"


def test_a_semantic_version_with_a_build_loads(tmp_path: Path) -> None:
    """BentoML allowed 1.0.0+build.5."""
    assert load(write_bundle(tmp_path / "old", service_version="1.0.0+build.5")).tag == "Doubler:1.0.0+build.5"
