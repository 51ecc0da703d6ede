"""Tests of docs/packaging.md: the package and the manifest that it shows are made, and its commands have these options."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import click

from bentobatch.bundle.layout import files_below
from bentobatch.cli.main import cli
from tests.docs.pages import ROOT, check_links, transcript

PAGE = ROOT / "docs" / "packaging.md"


def test_the_packaging_page_does_what_it_says(tmp_path: Path) -> None:
    """In an empty folder. `pip`, and `python` after it, are those of a clean environment; this Python's libraries stand for
    what pip would fetch there."""
    text = PAGE.read_text(encoding="utf-8")
    ((name, source),) = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / name).write_text(source)
    consoles = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    clean = environment(tmp_path / "env")
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    there = {"PATH": f"{clean}:{os.environ['PATH']}", "BENTOBATCH_HOME": str(tmp_path / "home")}
    installed = False
    for command, expected in [one for console in consoles for one in transcript(console)]:
        program, *words = shlex.split(command)
        if program == "pip":
            installed = True
            words += ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
        inside = program in ("pip", "Doubler") or (installed and program == "python")
        start = (
            [str(clean / program)]
            if inside
            else [sys.executable, *(["-m", program] if program == "bentobatch" else [])]
        )
        done = subprocess.run(
            [*start, *words], cwd=tmp_path, env=there if inside else here, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout.splitlines() == expected, command
    check_table_of_files(text, tmp_path / "doubler")


def environment(folder: Path) -> Path:
    """The folder of the programs of an environment in which there is pip, and libraries without bentobatch."""
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(folder)], check=True, stdin=subprocess.DEVNULL)
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def check_table_of_files(text: str, bundle: Path) -> None:
    """Every file of a bundle is in the table, but the manifest, and the service's own code."""
    (table,) = re.findall(r"^\| file \|.*?\n((?:\|.*\n)+)", text, re.MULTILINE)
    named = {name.replace("<Service>", "Doubler") for name in re.findall(r"`([^`]+)`", table)}
    found = {f"{path.split('/')[0]}/" if path.startswith("bundled") else path for path in files_below(bundle)}
    left = {path for path in found if "__pycache__/" in path}  # by pip
    assert found - {"bentoml.yml", "Doubler/doubler_service.py"} - left <= named


def test_the_commands_of_the_packaging_page_exist_with_their_options() -> None:
    """Also those that are shown and not run, since they need a container engine; and links lead somewhere."""
    check_links(PAGE)
    text = PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"^(?:    |\$ )(bentobatch .*)$", text, re.MULTILINE) + re.findall(r"`(bentobatch [^`]+)`", text)
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line.partition(" -- ")[0])[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, line
