"""This module reads pages of docs/ that show files and commands, and runs what they show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# ([\w.-]+\.\w+)\n")
_GROUP = re.compile(r"`make test-frameworks NAME=([a-z]+)`")
_NOT_RUN = "was not run"


def pages_of(folder: str, group: str | None = None) -> list[Path]:
    """The pages of docs/FOLDER whose commands run with the libraries of ``group``, which a page names as the command that
    tests it; None: those that run with the ordinary ones. Those that say that their example was not run are left out."""
    found = []
    for page in sorted((ROOT / "docs" / folder).glob("*.md")):
        text = page.read_text(encoding="utf-8")
        match = _GROUP.search(text)
        if (match and match[1]) == group and _NOT_RUN not in text:
            found.append(page)
    return found


def run_page(page: Path, folder: Path) -> None:
    """Write the page's files into ``folder``, run its commands there one by one, and compare what they print."""
    commands = written(page, folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    for command, expected in commands:
        done = subprocess.run(words(command), cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout.splitlines() == expected, command


def written(page: Path, folder: Path) -> list[tuple[str, list[str]]]:
    """The commands of a page, each with the lines that it prints, after its files were written into ``folder``."""
    commands: list[tuple[str, list[str]]] = []
    for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            commands += transcript(text)
        else:
            name = _NAMED.match(text)
            assert name is not None, f"a block of {page.name} does not say in which file it stands"
            (folder / name[1]).write_text(text)
    assert commands
    return commands


def check_links(page: Path) -> None:
    """Every link of a page leads to a file."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def transcript(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def words(command: str) -> list[str]:
    """A command as a list of arguments, without a shell."""
    program, *arguments = shlex.split(command)
    return [sys.executable, *{"python": [], "bentobatch": ["-m", "bentobatch"]}[program], *arguments]
