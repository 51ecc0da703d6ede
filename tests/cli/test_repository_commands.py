"""Tests of push, pull, retrieve, delete, label, repository, config, keygen, sign and verify on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle.layout import SIGNATURES
from bentobatch.cli import repository_options
from bentobatch.cli.main import main
from bentobatch.repository.local import LocalRepository
from tests.repository.making import make_bundle

Command = Callable[..., list[str]]


@pytest.fixture
def command(capfd: Any) -> Command:
    """Runs a command line; its lines on stdout. ``says``: what must stand in the one line on stderr."""

    def run(*words: str, code: int = 0, says: str = "") -> list[str]:
        assert main([str(word) for word in words]) == code
        out, err = capfd.readouterr()
        assert says in err
        assert err.count("\n") <= 1 or not says
        return out.splitlines()

    return run


def test_a_bundle_goes_to_another_repository_and_back(command: Command, home: Path, tmp_path: Path) -> None:
    """push, pull and retrieve; each prints where the bundle is then."""
    make_bundle(home / "repository/Iris/1", labels={"a": "b"})
    shared = str(tmp_path / "shared")
    assert command("push", "Iris:latest", "--repository-url", shared, says="pushed Iris:1") == [f"{shared}/Iris/1"]
    command("delete", "Iris:1", "-y", says="deleted Iris:1")
    assert command("pull", "Iris", "--repository-url", shared) == [f"{home}/repository/Iris/1"]
    assert json.loads("\n".join(command("get", "Iris:1")))["bentoServiceMetadata"]["labels"] == {"a": "b"}
    target = tmp_path / "out"
    assert command("retrieve", "Iris:1", "--target_dir", str(target), "-q") == [str(target)]
    assert command("retrieve", "Iris:1", f"--target-dir={target}", code=73, says="is not overwritten") == []


def test_retrieve_without_a_target_makes_a_folder_here(
    command: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NAME_VERSION."""
    make_bundle(home / "repository/Iris/1")
    monkeypatch.chdir(tmp_path)
    assert command("retrieve", "Iris:latest") == [str(tmp_path / "Iris_1")]


def test_push_takes_a_folder_and_may_leave_the_labels(command: Command, tmp_path: Path) -> None:
    """--without-labels."""
    make_bundle(tmp_path / "b", labels={"a": "b"})
    shared = tmp_path / "shared"
    command("push", str(tmp_path / "b"), "--without-labels", "--repository-url", str(shared))
    assert LocalRepository(shared).labels("Iris:1") == {}
    other = make_bundle(tmp_path / "c", model=b"other")
    command("push", str(other), "--repository-url", str(shared), code=73, says="with other content")


def test_push_and_pull_need_another_repository(command: Command, home: Path, tmp_path: Path) -> None:
    """By the option, or by a setting."""
    make_bundle(home / "repository/Iris/1")
    for verb in ("push", "pull"):
        command(verb, "Iris:1", code=2, says="give --repository-url")
    command("config", "set", f"repository_url={tmp_path / 'shared'}")
    command("push", "Iris:1")
    command("delete", "Iris:1", "--repository-url", f"{home}/repository", "-y")
    command(
        "run", "Iris:1", "--input", "1", code=65, says="service"
    )  # found in the shared one, whose code is no service
    command("pull", "Iris:1")
    assert [str(entry.tag) for entry in LocalRepository().list()] == ["Iris:1"]


def test_delete_asks_and_takes_names_lists_and_labels(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NAME:VERSION, NAME, lists with commas, --labels, --all; without a terminal it needs --yes."""
    for tag, labels in (("A:1", {}), ("A:2", {"x": "y"}), ("B:1", {"x": "y"}), ("B:2", {}), ("C:1", {}), ("D:1", {})):
        make_bundle(home / "repository" / tag.replace(":", "/"), tag, labels=labels)

    def left() -> list[str]:
        return [str(entry.tag) for entry in LocalRepository().list(ascending=True)]

    command("delete", code=2, says="say what to delete")
    command("delete", "A:1", "--all", code=2, says="say what to delete")
    command("delete", "A:latest", "-y", code=2, says="needs a version")
    command("delete", "A:1,Nothing:1", "-y", code=66, says="no bundle Nothing:1")
    command("delete", "A:1", code=2, says="give --yes")
    assert len(left()) == 6
    answers: list[tuple[str, bool]] = []
    monkeypatch.setattr(repository_options.sys.stdin.__class__, "isatty", lambda self: True, raising=False)
    monkeypatch.setattr(repository_options.click, "confirm", lambda text, err: answers.append((text, err)))
    command("delete", "A:1", code=1, says="nothing was done")
    assert answers == [(f"Delete A:1 from {home}/repository?", True)]
    assert len(left()) == 6
    command("delete", "A:1,C:1", "-y")
    assert left() == ["A:2", "B:1", "B:2", "D:1"]
    command("delete", "B", "--labels", "x=y", "-y")
    assert left() == ["A:2", "B:2", "D:1"]
    command("delete", "--labels", "x Exists", "--yes")
    command("delete", "B", "--yes", "-q")
    assert left() == ["D:1"]
    command("delete", "--all", "-y")
    assert left() == []
    command("delete", "--all", "-y", says="nothing to delete")


def test_labels_are_set_and_removed(command: Command, home: Path) -> None:
    """What is left is printed."""
    make_bundle(home / "repository/Iris/1", labels={"a": "b"})
    assert command("label", "set", "Iris:1", "c=d,e=f", "g=h") == ["a=b", "c=d", "e=f", "g=h"]
    assert command("label", "unset", "Iris:latest", "a", "e,nothing") == ["c=d", "g=h"]
    command("label", "set", "Iris:1", "c", code=2, says="write KEY=VALUE")
    command("label", "set", "Iris:1", "c=", code=2, says="1 to 63")
    command("label", "unset", "Iris:9", "c", code=66, says="no bundle Iris:9")


def test_repository_check_and_gc(command: Command, home: Path, tmp_path: Path) -> None:
    """What is wrong is printed by its name, and the exit code is 65; gc prints what it removes."""
    command("repository", "check", says="is sound")
    make_bundle(home / "repository/Iris/1")
    (home / "repository/Iris/1/requirements.txt").write_text("siX\n")
    (home / "repository/.bentobatch-x").mkdir()
    assert [line[:8] for line in command("repository", "check", says="is sound")] == ["leftover"]
    (line, _) = command("repository", "check", "--read-data", code=65, says="1 objects")
    assert line == "changed: Iris/1/requirements.txt (of Iris:1): it is not what was saved"
    assert command("repository", "gc") == []
    assert command("repository", "gc", "--min-age", "0", "--dry-run") == [".bentobatch-x"]
    assert command("repository", "gc", "--min-age", "0") == [".bentobatch-x"]
    assert command("repository", "gc", "--min-age", "0") == []
    command("repository", "check", "--storage-url", "s3://bucket", code=2, says="give --db-url")
    db = f"sqlite:///{tmp_path}/c.db"
    command("repository", "check", "--storage-url", str(tmp_path / "x"), "--db-url", db, "-q")


def test_config_shows_where_a_setting_comes_from(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment comes before the file; a token is not shown in a list."""
    assert command("config", "view")[1].split() == ["home", str(home), "environment", "(BENTOBATCH_HOME)"]
    command("config", "get", "policy", code=66, says="not set")
    command("config", "set", "repository_url=http://host:3000")
    command("config", "set", "repository_token", "geheim")
    monkeypatch.chdir(tmp_path)
    command("config", "set", "policy=policy.yml")
    assert command("config", "get", "policy") == [str(tmp_path / "policy.yml")]
    assert command("config", "get", "repository_token") == ["geheim"]
    monkeypatch.setenv("BENTOBATCH_POLICY", "/other")
    shown = {line.split()[0]: line.split()[1:] for line in command("config", "view")}
    assert shown["repository_url"] == ["http://host:3000", "file"]
    assert shown["repository_token"] == ["***", "file"]
    assert shown["policy"] == ["/other", "environment", "(BENTOBATCH_POLICY)"]
    command("config", "unset", "repository_token")
    command("config", "unset", "repository_token")
    command("config", "get", "repository_token", code=66)
    for words in (
        ["set", "x=y"],
        ["get", "x"],
        ["unset", "x"],
        ["set", "policy"],
        ["set", "policy="],
        ["set", "a=b", "c"],
    ):
        command("config", *words, code=2)


def test_signing_and_verifying(command: Command, home: Path, tmp_path: Path) -> None:
    """keygen, sign, verify; by tag and by folder. A key is never overwritten, nor readable for others."""
    folder = make_bundle(home / "repository/Iris/1")
    key = tmp_path / "key"
    (public,) = command("keygen", str(key))
    assert (tmp_path / "key.pub").read_text() == f"{public}\n"
    assert key.stat().st_mode & 0o777 == 0o600
    command("keygen", str(key), code=73, says="exists already")
    assert command("verify", "Iris:1", says="is sound") == []
    command("sign", "Iris:latest", "--key", str(key), says=f"with {public}")
    command("sign", str(folder), "--key", str(key))
    assert command("verify", str(folder)) == [public]
    assert len(json.loads((folder / SIGNATURES).read_text())["signatures"]) == 1
    command("sign", str(folder), "--key", str(tmp_path / "key.pub"), code=2, says="no private ed25519 key")
    command("sign", str(folder), "--key", str(tmp_path / "none"), code=66, says="cannot be read")
    (folder / "requirements.txt").write_text("evil")
    command("sign", str(folder), "--key", str(key), code=65, says="was changed")
    command("verify", str(folder), code=65, says="was changed")


@pytest.mark.parametrize(
    "words", [["get", "x"], ["label", "set"], ["repository", "gc"], ["config", "view"], ["sign", "x"]]
)
def test_every_command_has_help(words: list[str], command: Command) -> None:
    """Without doing anything."""
    assert command(*words, "--help")[0].startswith("Usage: bentobatch ")
