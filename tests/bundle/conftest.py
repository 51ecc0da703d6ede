"""This module keeps the bundle tests apart: each one has a repository of its own and forgets what it loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentobatch.bundle import imports, load


@pytest.fixture(autouse=True)
def separate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    before = set(imports._installed)
    yield
    for package in set(imports._installed) - before:
        load._codes.pop(imports._installed[package].digest, None)
        imports.uninstall(package)


@pytest.fixture(scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which there is pip and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(folder)], check=True, stdin=subprocess.DEVNULL)
    return folder / "bin" / "python"
