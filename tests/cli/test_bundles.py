"""Tests of bentobatch.cli.bundles: ``info`` and ``list``."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle.layout import MANIFEST
from bentobatch.bundle.manifest import FORMAT_VERSION, KIND, manifest_text
from bentobatch.cli.bundles import table_lines
from bentobatch.cli.main import main


def save(folder: Path, name: str, version: str, **more: Any) -> Path:
    """A bundle's manifest in ``folder``; neither command needs more of a bundle."""
    content = {
        "version": "0.1.0",
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "metadata": {
            "created_at": datetime.datetime(2026, 1, int(version), 12, 30),
            "service_name": name,
            "service_version": version,
            "module_name": "service",
            "class_name": name,
        },
        "env": {},
        "apis": [{"name": "predict", "input_type": "DataframeInput", "output_type": "DefaultOutput"}],
        "artifacts": [{"name": "model", "artifact_type": "PickleArtifact"}],
        "files": {},
        **more,
    }
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(manifest_text(content), encoding="utf-8")
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the local repository, which does not exist yet."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "repository"


def test_list_shows_the_newest_of_each_name_first(repository: Path, capfd) -> None:
    """A header and one aligned line for each bundle."""
    save(repository / "Iris" / "1", "Iris", "1")
    save(repository / "Iris" / "20", "Iris", "20")
    save(repository / "Ask" / "3", "Ask", "3")
    assert main(["list"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "BENTO    CREATED (UTC)     APIS                                   ARTIFACTS",
        "Ask:3    2026-01-03 12:30  predict<DataframeInput:DefaultOutput>  model",
        "Iris:20  2026-01-20 12:30  predict<DataframeInput:DefaultOutput>  model",
        "Iris:1   2026-01-01 12:30  predict<DataframeInput:DefaultOutput>  model",
    ]


def test_list_of_nothing_is_a_header(repository: Path, capfd) -> None:
    """A repository that does not exist yet is an empty one, and is not made by looking."""
    assert main(["list"]) == 0
    assert capfd.readouterr().out == "BENTO  CREATED (UTC)  APIS  ARTIFACTS\n"
    assert not repository.exists()


def test_list_into_head_is_quiet(repository: Path, bentobatch_process, tmp_path: Path) -> None:
    """``bentobatch list | head -1``: no BrokenPipe traceback, exit 0."""
    for number in range(1, 10):
        save(repository / "Iris" / str(number), "Iris", str(number))
    process = bentobatch_process("list", env={"BENTOBATCH_HOME": str(tmp_path / "home")})
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def test_info_is_the_manifest_as_json(repository: Path, capfd) -> None:
    """By folder or by tag; times as ISO texts, the bytes of a setup script in base64."""
    folder = save(repository / "Iris" / "5", "Iris", "5", env={"setup_sh": b"echo \xff"})
    for ref in (str(folder), "Iris:5", "Iris:latest"):
        assert main(["info", ref]) == 0
        content = json.loads(capfd.readouterr().out)
        assert content["metadata"]["created_at"] == "2026-01-05T12:30:00"
        assert content["env"] == {"setup_sh": "ZWNobyD/"}
        assert content["apis"][0]["name"] == "predict"


def test_info_shows_control_characters_escaped(repository: Path, capfd) -> None:
    """A bundle from elsewhere must not move the cursor; the value stays what it is."""
    docs = "caf\u00e9\x1b[2J\x9b31m\u202e\U000e0001"
    save(repository / "Iris" / "5", "Iris", "5", apis=[{"name": "predict", "docs": docs}])
    assert main(["info", "Iris:5"]) == 0
    out = capfd.readouterr().out
    assert "caf\u00e9" in out
    assert all(char.isprintable() or char == "\n" for char in out)
    assert json.loads(out)["apis"][0]["docs"] == docs


@pytest.mark.parametrize("ref", ["Nothing:1", "Nothing:latest", "no/such/folder", "nothing"])
def test_info_of_no_bundle_is_one_line(ref: str, repository: Path, capfd) -> None:
    """Exit 66."""
    assert main(["info", ref]) == 66
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("bentobatch: no bundle ")


def test_cells_that_would_break_the_table_are_escaped() -> None:
    """One bundle is one line."""
    assert list(table_lines([("A", "B"), ("x\ny", "\x1b")])) == ["A    B", "x y  \\x1b"]
