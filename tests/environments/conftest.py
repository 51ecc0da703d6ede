"""This module saves the bundles that these tests run: two services that pin versions of one library."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.environments import wheels

SERVICE = """
import bentobatch
from bentobatch.adapters import DataframeInput


class {name}(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def predict(self, df):
        import rivals
        return [rivals.score(value) for value in df["x"]]


bentobatch.env(requirements_txt_file="{folder}/{name}.txt")({name})
"""


@dataclass(frozen=True)
class Rivals:
    """The bundles ``first`` and ``second``, the folder of the wheels that they find, and a home for their environments."""

    first: Path
    second: Path
    wheels: Path
    home: Path


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rivals]:
    """Two bundles, of which one needs rivals 1.0 and the other 2.0."""
    folder = tmp_path_factory.mktemp("rivals")
    found = folder / "wheels"
    found.mkdir()
    wheels.rivals(found)
    wheels.borrowed(found)
    sys.path.insert(0, str(folder))
    try:
        for name, version in (("First", "1.0"), ("Second", "2.0")):
            lines = f"--no-index\n--find-links {found}\nrivals=={version}\n"
            (folder / f"{name}.txt").write_text(lines)
            (folder / f"{name.lower()}_rival.py").write_text(SERVICE.format(name=name, folder=folder))
            service = getattr(importlib.import_module(f"{name.lower()}_rival"), name)()
            service.save_to_dir(str(folder / name))
        yield Rivals(folder / "First", folder / "Second", found, folder / "home")
    finally:
        sys.path.remove(str(folder))
        for name in ("first_rival", "second_rival"):
            sys.modules.pop(name, None)


@pytest.fixture
def kept(rivals: Rivals, monkeypatch: pytest.MonkeyPatch) -> Rivals:
    """The same, with the environments of this file's other tests kept."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(rivals.home))
    return rivals
