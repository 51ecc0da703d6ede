"""This module keeps the bundle tests apart: each one has a repository of its own and forgets what it loaded."""

from __future__ import annotations

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
