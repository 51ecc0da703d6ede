"""Tests of the files around the source: they must agree with it, and with each other."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bentobatch

ROOT = Path(__file__).resolve().parents[2]


def setup_cfg() -> configparser.ConfigParser:
    """setup.cfg, read as setuptools reads it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def lines(option: str) -> list[str]:
    """The entries of a list in the section [options]."""
    return setup_cfg()["options"][option].split("\n")[1:]


def test_every_package_goes_into_the_wheel() -> None:
    """setup.cfg lists the packages of both source roots, one by one: a new one must not be forgotten."""
    found = set()
    for root in (ROOT, ROOT / "integrations"):
        for init in root.glob("bentobatch*/**/__init__.py"):
            found.add(".".join(init.parent.relative_to(root).parts))
    assert set(lines("packages")) == found


def test_every_folder_with_code_is_a_package() -> None:
    """A folder without __init__.py would be missing from the wheel without a word."""
    for root in (ROOT / "bentobatch", ROOT / "integrations"):
        for file in root.rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_every_data_file_goes_into_the_wheel() -> None:
    """package_data names what is no Python."""
    data = {path.relative_to(ROOT) for path in (ROOT / "bentobatch").rglob("*") if path.is_file()}
    others = {str(path) for path in data if path.suffix not in (".py", ".pyc")}
    section = setup_cfg()["options.package_data"]
    assert others == {f"{package}/{name}" for package in section for name in section[package].split()}


def test_every_integration_has_its_place_in_package_dir() -> None:
    """The second source root: an import package of integrations/ is not found where the core is."""
    places = dict(re.split(r"\s*=\s*", line) for line in lines("package_dir"))
    tops = {path.name for path in (ROOT / "integrations").glob("bentobatch_*")}
    assert places == {"bentobatch": "bentobatch", **{name: f"integrations/{name}" for name in tops}}


def test_the_version_is_said_once_by_all() -> None:
    """pyproject.toml (the wheel) and ``bentobatch.__version__`` agree."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1] == bentobatch.__version__


def test_the_readme_and_the_makefile_have_the_same_apt_line() -> None:
    """What make prints when something is missing is what the README says."""
    apt = re.search(r"^APT_LINE := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert f"    {apt} " in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["Makefile", ".ci/run", "pyproject.toml", "setup.cfg", "tests/packaging/check_install"]
)
def test_no_registry_is_named(name: str) -> None:
    """Where packages come from is the machine's own setting."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|index-url|find-links|pypi\.org", text)


@pytest.mark.parametrize("name", [".ci/run", "tests/packaging/check_install"])
def test_scripts_can_be_run_and_stop_at_the_first_failure(name: str) -> None:
    """A step that fails must not be passed over."""
    script = ROOT / name
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_readme_example_is_python() -> None:
    """Every Python block of the README compiles."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, "README.md", "exec")


def make(folder: Path, *words: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run make with a PATH of its own in a folder that holds the Makefile."""
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    environment = {"PATH": path, "HOME": str(folder)}
    return subprocess.run(["/usr/bin/env", "make", *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder for a PATH with make's own needs; the test adds or leaves out the rest."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("make", "bash", "sh", "uname", "grep", "mkdir", "touch", "rm", "sed", "expand", "env"):
        target = next((Path(folder) / name for folder in ("/usr/bin", "/bin") if (Path(folder) / name).exists()), None)
        if target is None:
            pytest.skip(f"this machine has no {name}")
        (binaries / name).symlink_to(target)
    return binaries


def command(folder: Path, name: str, body: str) -> None:
    """A shell script on the PATH."""
    script = folder / name
    script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    script.chmod(0o755)


@pytest.mark.parametrize(
    ("missing", "python"),
    [
        ("git", f'exec "{sys.executable}" "$@"'),
        ("python3-venv", f'case "$2" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"'),
        ("libgomp1", f'case "$2" in *libgomp*) exit 1;; esac; exec "{sys.executable}" "$@"'),
        ("a Python from 3.10 to 3.13", "exit 1"),
    ],
)
def test_make_says_what_the_machine_lacks(missing: str, python: str, machine: Path, tmp_path: Path) -> None:
    """One line with the apt command, before anything is made."""
    if missing == "libgomp1" and sys.platform != "linux":
        pytest.skip("libgomp is looked for on Linux only")
    command(machine, "python3.11", python)
    if missing != "git":
        command(machine, "git", "exit 0")
    done = make(tmp_path, "setup", path=str(machine))
    assert done.returncode != 0
    assert (
        f"{missing} is missing; on Debian and Ubuntu: apt-get install -y git make python3-venv libgomp1" in done.stderr
    )
    assert not (tmp_path / ".venv").exists()


def test_make_help_lists_the_targets(machine: Path, tmp_path: Path) -> None:
    """It needs nothing but make."""
    done = make(tmp_path, path=str(machine))
    assert done.returncode == 0
    for target in ("setup", "test", "lint", "format", "demo", "clean"):
        assert f"make {target} " in done.stdout
