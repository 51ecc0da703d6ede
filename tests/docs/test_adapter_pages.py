"""Tests of docs/adapters: each page's modules are written down, and its commands print what the page says."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bentobatch import plugins

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "adapters").glob("*.md"))
NEEDS = {"TorchTensorInput": "torch"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\w+\.py)\n")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing but what the page itself writes there."""
    needed = NEEDS.get(page.stem)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed (make test-frameworks has it)")
    commands: list[tuple[str, list[str]]] = []
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            commands += transcript(text)
        else:
            name = NAMED.match(text)
            assert name is not None, f"a block of {page.name} does not say in which file it stands"
            (tmp_path / name[1]).write_text(text)
    assert commands
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    for command, expected in commands:
        done = subprocess.run(
            words(command), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout.splitlines() == expected, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_of_an_adapter_and_its_links_lead_somewhere(page: Path) -> None:
    """A page is named like the class."""
    assert page.stem in plugins.TABLES["adapters"]
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
