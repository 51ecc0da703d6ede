"""This module tests `bentobatch install-completion`, and what a shell is answered."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bentobatch.cli.installed import command_of
from bentobatch.cli.main import main


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user of bash."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    return tmp_path


def test_the_completion_is_appended_once_to_the_shells_own_file(user: Path, capfd: Any) -> None:
    """What stands there stays; a second call replaces the block, and bash can read the file."""
    (user / ".bashrc").write_text("alias a=b")
    assert main(["install-completion"]) == 0
    first = (user / ".bashrc").read_text()
    assert first.startswith("alias a=b\n# >>> bentobatch completion >>>\n")
    assert "_BENTOBATCH_COMPLETE=bash_complete" in first
    assert main(["install-completion", "--append"]) == 0
    assert (user / ".bashrc").read_text() == first
    subprocess.run(["bash", "-n", str(user / ".bashrc")], check=True)
    assert capfd.readouterr().out.splitlines()[0] == f"bash completion is in {user}/.bashrc"


def test_overwrite_replaces_a_file_that_was_named_and_spares_a_startup_file(user: Path, capfd: Any) -> None:
    """--overwrite alone must not cost anybody his .zshrc."""
    (user / "mine").write_text("old")
    assert main(["install-completion", "--overwrite", "fish", str(user / "mine")]) == 0
    assert "old" not in (user / "mine").read_text()
    (user / ".zshrc").write_text("precious\n")
    assert main(["install-completion", "--overwrite", "zsh"]) == 2
    assert (user / ".zshrc").read_text() == "precious\n"
    assert "holds more than completions" in capfd.readouterr().err


def test_fish_has_a_file_of_its_own(user: Path, capfd: Any) -> None:
    """Whose folder is made."""
    assert main(["install-completion", "fish"]) == 0
    assert "_BENTOBATCH_COMPLETE" in (user / ".config/fish/completions/bentobatch.fish").read_text()


def test_an_unknown_shell_is_told(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Of $SHELL as well as by name."""
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["install-completion"]) == 2
    assert "'tcsh' is not known here: give one of bash, zsh, fish" in capfd.readouterr().err
    assert main(["install-completion", "tcsh"]) == 2


def test_a_file_that_cannot_be_written_is_told(user: Path, capfd: Any) -> None:
    """Exit 73."""
    (user / "file").write_text("")
    assert main(["install-completion", "bash", str(user / "file" / "below")]) == 73
    assert "cannot write" in capfd.readouterr().err


def test_a_shell_is_answered_with_what_may_follow(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """As click's scripts ask: by a variable; an installed bundle's command has its own."""
    monkeypatch.setenv("COMP_WORDS", "bentobatch contai")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_BENTOBATCH_COMPLETE", "bash_complete")
    assert main([]) == 0
    assert capfd.readouterr().out == "plain,containerize\n"
    monkeypatch.setenv("_IRIS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "Iris i")
    assert main([], command=command_of("Iris", "/x"), name="Iris") == 0
    assert capfd.readouterr().out == "plain,info\n"
