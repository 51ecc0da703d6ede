"""This module tests reading bentoml.yml: it is bounded, plain data, and every change of it is seen."""

from __future__ import annotations

import datetime
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentobatch.bundle.digest import file_entry, manifest_digest, verify_file
from bentobatch.bundle.manifest import FORMAT_VERSION, manifest_text, parse_manifest
from bentobatch.errors import BundleError, UsageError

ROOT = Path(__file__).parents[2]
LEGACY = ROOT.parent / "shared" / "legacy-bundles"


def content(**changes: Any) -> dict[str, Any]:
    metadata = {
        "created_at": datetime.datetime(2026, 1, 2, 3, 4, 5, 678),
        "service_name": "Iris",
        "service_version": "v1",
        "module_name": "pkg.service",
        "class_name": "Iris",
    }
    whole = {
        "version": "0.1.0",
        "kind": "BentoService",
        "format_version": FORMAT_VERSION,
        "metadata": metadata,
        "files": {"Iris/service.py": {"sha256": "0" * 64, "size": 3}},
        "artifacts": [{"name": "model", "metadata": {0: "zero", "when": datetime.date(2026, 1, 1)}}],
    }
    whole.update(changes)
    return whole


def parse(text: str) -> Any:
    return parse_manifest(text.encode(), "here")


def sealed(**changes: Any) -> str:
    return manifest_text(content(**changes))


def test_what_was_written_is_read() -> None:
    """All parts that loading needs, keys that are no text and dates included."""
    manifest = parse(sealed())
    assert manifest.tag == "Iris:v1"
    assert manifest.created_at == datetime.datetime(2026, 1, 2, 3, 4, 5, 678)
    assert manifest.files == {"Iris/service.py": {"sha256": "0" * 64, "size": 3}}
    assert manifest.artifacts == {"model": {0: "zero", "when": datetime.date(2026, 1, 1)}}
    assert manifest.digest == manifest_digest(manifest.content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size: 3", "size: 4"),
        ("v1", "v2"),
        ("0: zero", "'0': zero"),
        ("when: 2026-01-01", "when: '2026-01-01'"),
        ("kind: BentoService", "kind: BentoService\nextra: 1"),
        ("digest: ", "digest: 1"),
    ],
)
def test_every_change_of_the_content_is_seen(old: str, new: str) -> None:
    """The digest covers all keys, values and their types but itself."""
    text = sealed()
    assert text.count(old) == 1
    with pytest.raises(BundleError, match=r"bentoml\.yml was changed"):
        parse(text.replace(old, new))


def test_comments_and_layout_are_no_content() -> None:
    """The digest is of what YAML says, not of how."""
    assert parse("# a comment\n\n" + sealed()).tag == "Iris:v1"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir [canary]",
        "a: !!python/object/new:os.system [touch canary]",
        "a: !!python/name:os.system",
        "a: !!set {b}",
        BOMB,
        "[" * 100_000,
        "a: " * 1000,
        "a:\n" + "".join(f"{' ' * i}- \n" for i in range(1, 500)),
        "a: " + "9" * 10_000,
        "a: 2026-13-45",
        "a: [1",
        "- just\n- a list",
        "text",
        "",
        "\x00",
        "a: b\n---\nc: d",
        "x" * (5 << 20),
    ],
)
def test_hostile_yaml_is_an_error_and_runs_nothing(text: str, tmp_path: Path, monkeypatch: Any) -> None:
    """S11: no tag of Python's, no alias, no depth, no size without bound; one line that names the bundle."""
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    with pytest.raises(BundleError, match=r"^bundle here: ") as caught:
        parse(text)
    assert time.process_time() - started < 1
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_alias_bomb_takes_no_memory() -> None:
    """S11: ten levels of ten aliases would be ten thousand million values; bounded to 50 MB and a second."""
    code = (
        "import sys, resource\n"
        "from bentobatch.bundle.manifest import parse_manifest\n"
        "from bentobatch.errors import BundleError\n"
        "text = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    parse_manifest(text, 'here')\nexcept BundleError:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=BOMB.encode(), capture_output=True, cwd=ROOT, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 50 << 20
    assert resource.RUSAGE_SELF == 0


def test_bytes_that_are_no_text_are_an_error() -> None:
    """bentoml.yml is UTF-8."""
    with pytest.raises(BundleError, match="cannot be read"):
        parse_manifest(b"a: \xff\xfe", "here")


@pytest.mark.parametrize("version", [2, 0, "1", True, 1.0])
def test_another_format_is_refused_with_the_way_out(version: Any) -> None:
    """A newer bentobatch's bundle is not half understood."""
    with pytest.raises(BundleError, match=r"format .* is unknown.*requirements\.txt"):
        parse(sealed(format_version=version))


def test_a_bundle_of_bentoml_is_told_apart() -> None:
    """Without a format_version it is not ours. Its folder is read (tests/legacy); where there is only its bentoml.yml,
    such as at a URL, the message says so."""
    if not LEGACY.is_dir():
        pytest.skip("there are no bundles of BentoML 0.13 beside this checkout")
    with pytest.raises(BundleError, match=r"not saved by bentobatch \(version says '0\.13\.1'\)"):
        parse_manifest((LEGACY / "iris_df" / "bundle" / "bentoml.yml").read_bytes(), "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {}},
        {"metadata": {**content()["metadata"], "service_name": "../evil"}},
        {"metadata": {**content()["metadata"], "service_version": ".."}},
        {"metadata": {**content()["metadata"], "module_name": "os; evil"}},
        {"metadata": {**content()["metadata"], "class_name": 5}},
        {"metadata": {**content()["metadata"], "created_at": "yesterday"}},
        {"files": {"a": {"sha256": "0" * 63, "size": 1}}},
        {"files": {"a": {"sha256": "0" * 64, "size": -1}}},
        {"files": {"a": {"sha256": "0" * 64, "size": True}}},
        {"files": {"a": {"size": 1}}},
        {"files": {5: {"sha256": "0" * 64, "size": 1}}},
        {"files": ["a"]},
        {"artifacts": [{}]},
    ],
)
def test_a_manifest_with_a_fitting_digest_but_wrong_parts_is_refused(changes: dict[str, Any]) -> None:
    """Whoever makes a manifest can make its digest: names, paths and types are checked all the same."""
    with pytest.raises(BundleError, match="not what bentobatch writes"):
        parse(sealed(**changes))


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a\\b", "", "a/", "..", "a\nb", "a\x00b", "x" * 2000]
)
def test_a_path_that_leads_out_of_the_bundle_is_refused_unopened(tmp_path: Path, path: str) -> None:
    """S14: the manifest names files below the bundle's folder, by plain relative paths."""
    (tmp_path / "x").write_text("secret")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(BundleError, match="do not use this bundle"):
        verify_file(tmp_path / "bundle", path, {"sha256": "0" * 64, "size": 1})


def test_a_file_that_is_larger_than_its_entry_is_not_read_to_its_end(tmp_path: Path) -> None:
    """The size bounds what is read, and what is kept in memory."""
    (tmp_path / "f").write_bytes(b"abc")
    entry = file_entry(tmp_path / "f")
    assert verify_file(tmp_path, "f", entry, keep=True) == b"abc"
    assert verify_file(tmp_path, "f", entry) is None
    with (tmp_path / "f").open("ab") as file:
        file.truncate(1 << 40)  # sparse: reading it would take minutes
    started = time.process_time()
    with pytest.raises(BundleError, match="f was changed"):
        verify_file(tmp_path, "f", entry)
    assert time.process_time() - started < 1


def test_a_value_without_yaml_form_is_refused_at_saving() -> None:
    """Not written as something else."""
    with pytest.raises(UsageError, match="cannot hold"):
        manifest_text(content(env={"odd": object()}))


def test_the_text_has_no_alias_and_its_own_digest() -> None:
    """Shared lists are written out."""
    shared = [1, 2]
    text = sealed(env={"a": shared, "b": shared})
    assert "*" not in text
    loaded = yaml.safe_load(text)
    assert loaded["digest"] == manifest_digest(loaded)
